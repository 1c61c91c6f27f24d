//! The content chunks that chat completions take: those of `ContentChunk` in Mistral's SDK 3.7, by their `type`.

use serde_json::Value;

use super::shape::{self, Field, Path, Rule, Violations};

const TYPE: Field = Field::required("type", Rule::Anything);

const TEXT: (&str, &[Field]) = ("text", &[TYPE, Field::required("text", Rule::Text)]);

const REFERENCE: (&str, &[Field]) =
    ("reference", &[TYPE, Field::required("reference_ids", Rule::Nested(reference_ids))]);

const IMAGE: (&str, &[Field]) = ("image_url", &[TYPE, Field::required("image_url", Rule::Nested(image_url))]);

const THINKING: (&str, &[Field]) = (
    "thinking",
    &[
        TYPE,
        Field::required("thinking", Rule::List { check: of_thinking, most: usize::MAX }),
        Field::nullable("signature", Rule::Text),
        Field::optional("closed", Rule::Flag),
    ],
);

const TOOL_REFERENCE: (&str, &[Field]) = (
    "tool_reference",
    &[
        TYPE,
        Field::required("tool", Rule::Text),
        Field::required("title", Rule::Text),
        Field::nullable("url", Rule::Text),
        Field::nullable("favicon", Rule::Text),
        Field::nullable("description", Rule::Text),
    ],
);

const ANY: &[(&str, &[Field])] = &[
    TEXT,
    REFERENCE,
    THINKING,
    IMAGE,
    DOCUMENT,
    ("file", &[TYPE, Field::required("file_id", Rule::Text)]),
    ("input_audio", &[TYPE, Field::required("input_audio", Rule::Text)]),
    ("resource", &[TYPE, Field::required("uri", Rule::Text), Field::required("content", Rule::Nested(of_resource))]),
    ("resource_link", &[TYPE, Field::required("uri", Rule::Text), Field::nullable("metadata", Rule::Object)]),
];

const DOCUMENT: (&str, &[Field]) = (
    "document_url",
    &[TYPE, Field::required("document_url", Rule::Text), Field::nullable("document_name", Rule::Text)],
);

const TOOL_FILE: (&str, &[Field]) = (
    "tool_file",
    &[
        TYPE,
        Field::required("tool", Rule::Text),
        Field::required("file_id", Rule::Text),
        Field::nullable("file_name", Rule::Text),
        Field::nullable("file_type", Rule::Text),
    ],
);

const IMAGE_URL: &[Field] =
    &[Field::required("url", Rule::Text), Field::nullable("detail", Rule::OneOf(&["low", "auto", "high"]))];

/// A chunk of a user, assistant or tool message.
pub(super) fn any(value: &Value, path: &Path<'_>, out: &mut Violations) {
    shape::tagged(value, path, out, "type", ANY);
}

/// A chunk of a conversation's message.
pub(super) fn of_entry(value: &Value, path: &Path<'_>, out: &mut Violations) {
    shape::tagged(value, path, out, "type", &[TEXT, IMAGE, DOCUMENT, TOOL_FILE, THINKING]);
}

/// A chunk of a system message.
pub(super) fn of_system(value: &Value, path: &Path<'_>, out: &mut Violations) {
    shape::tagged(value, path, out, "type", &[TEXT, THINKING]);
}

fn of_thinking(value: &Value, path: &Path<'_>, out: &mut Violations) {
    shape::tagged(value, path, out, "type", &[TEXT, REFERENCE, TOOL_REFERENCE]);
}

fn of_resource(value: &Value, path: &Path<'_>, out: &mut Violations) {
    shape::tagged(value, path, out, "type", &[TEXT, IMAGE]);
}

fn image_url(value: &Value, path: &Path<'_>, out: &mut Violations) {
    match value.is_object() {
        true => shape::object(value, path, out, IMAGE_URL),
        false => shape::text(value, path, out),
    }
}

fn reference_ids(value: &Value, path: &Path<'_>, out: &mut Violations) {
    shape::list(value, path, out, reference_id, usize::MAX);
}

fn reference_id(value: &Value, path: &Path<'_>, out: &mut Violations) {
    if !value.is_i64() && !value.is_u64() {
        shape::text(value, path, out);
    }
}
