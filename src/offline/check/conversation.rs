//! The fields of a conversation request: `ConversationRequest` of Mistral's OpenAPI document, with the entries that it really takes.
//! Tool runs, handoffs and citations are refused as input, although the document has them.

use serde_json::Value;

use super::body::{
    CONFIGURATION, COUNT, EFFORTS, FUNCTION_TOOL, PENALTY, TOOLS, TOOLS_MAX, TYPE, guardrail, prediction,
    response_format, stop,
};
use super::chunks;
use super::shape::{self, Field, Path, Rule, Violations};

const BODY: &[Field] = &[
    Field::required("inputs", Rule::Nested(inputs)),
    Field::optional("stream", Rule::Flag),
    Field::nullable("store", Rule::Flag),
    Field::nullable("handoff_execution", Rule::OneOf(&["client", "server"])),
    Field::nullable("instructions", Rule::Text),
    Field::optional("tools", Rule::List { check: tool, most: TOOLS_MAX }),
    Field::nullable("completion_args", Rule::Nested(completion_args)),
    Field::nullable("guardrails", Rule::List { check: guardrail, most: usize::MAX }),
    Field::nullable("name", Rule::Text),
    Field::nullable("description", Rule::Text),
    Field::nullable("metadata", Rule::Object),
    Field::nullable("agent_id", Rule::Text),
    Field::nullable("agent_version", Rule::Anything),
    Field::nullable("model", Rule::Text),
];

const COMPLETION_ARGS: &[Field] = &[
    Field::nullable("stop", Rule::Nested(stop)),
    Field::nullable("temperature", Rule::Number { low: 0.0, high: 1.0, above: false }),
    Field::nullable("top_p", Rule::Number { low: 0.0, high: 1.0, above: false }),
    Field::nullable("max_tokens", COUNT),
    Field::nullable("random_seed", COUNT),
    Field::nullable("presence_penalty", PENALTY),
    Field::nullable("frequency_penalty", PENALTY),
    Field::nullable("prediction", Rule::Nested(prediction)),
    Field::nullable("response_format", Rule::Nested(response_format)),
    Field::optional("tool_choice", Rule::OneOf(&["auto", "none", "any", "required"])),
    Field::nullable("reasoning_effort", Rule::OneOf(EFFORTS)),
];

const SEARCHES: &[(&str, &[Field])] = &[
    ("web_search", &[TYPE, CONFIGURATION]),
    ("web_search_premium", &[TYPE, CONFIGURATION]),
    ("code_interpreter", &[TYPE, CONFIGURATION]),
];

const OBJECT: Field = Field::optional("object", Rule::OneOf(&["entry"]));
const ID: Field = Field::optional("id", Rule::Text);
const CREATED_AT: Field = Field::optional("created_at", Rule::Text);
const COMPLETED_AT: Field = Field::nullable("completed_at", Rule::Text);
const AGENT_ID: Field = Field::nullable("agent_id", Rule::Text);
const MODEL: Field = Field::nullable("model", Rule::Text);

const ENTRIES: &[(&str, &[Field])] = &[
    (
        "message.input",
        &[
            OBJECT,
            TYPE,
            ID,
            CREATED_AT,
            COMPLETED_AT,
            Field::required("role", Rule::OneOf(&["user", "assistant"])),
            Field::required("content", Rule::Nested(content)),
            Field::optional("prefix", Rule::Flag),
        ],
    ),
    (
        "message.output",
        &[
            OBJECT,
            TYPE,
            ID,
            CREATED_AT,
            COMPLETED_AT,
            AGENT_ID,
            MODEL,
            Field::optional("role", Rule::OneOf(&["assistant"])),
            Field::required("content", Rule::Nested(content)),
        ],
    ),
    (
        "function.call",
        &[
            OBJECT,
            TYPE,
            ID,
            CREATED_AT,
            COMPLETED_AT,
            AGENT_ID,
            MODEL,
            Field::required("tool_call_id", Rule::Text),
            Field::required("name", Rule::Text),
            Field::required("arguments", Rule::Nested(arguments)),
            Field::nullable("confirmation_status", Rule::OneOf(&["pending", "allowed", "denied"])),
        ],
    ),
    (
        "function.result",
        &[
            OBJECT,
            TYPE,
            ID,
            CREATED_AT,
            COMPLETED_AT,
            Field::required("tool_call_id", Rule::Text),
            Field::required("result", Rule::Text),
        ],
    ),
];

/// The whole body.
pub(super) fn check(value: &Value, path: &Path<'_>, out: &mut Violations) {
    shape::object(value, path, out, BODY);
}

fn inputs(value: &Value, path: &Path<'_>, out: &mut Violations) {
    match value.is_array() {
        true => shape::list(value, path, out, entry, usize::MAX),
        false => shape::text(value, path, out),
    }
}

fn entry(value: &Value, path: &Path<'_>, out: &mut Violations) {
    shape::tagged(value, path, out, "type", ENTRIES);
}

fn content(value: &Value, path: &Path<'_>, out: &mut Violations) {
    match value.is_array() {
        true => shape::list(value, path, out, chunks::of_entry, usize::MAX),
        false => shape::text(value, path, out),
    }
}

fn arguments(value: &Value, path: &Path<'_>, out: &mut Violations) {
    if !value.is_object() {
        shape::text(value, path, out);
    }
}

fn completion_args(value: &Value, path: &Path<'_>, out: &mut Violations) {
    shape::object(value, path, out, COMPLETION_ARGS);
}

fn tool(value: &Value, path: &Path<'_>, out: &mut Violations) {
    let kind = value.get("type").and_then(Value::as_str);
    match kind.and_then(|kind| SEARCHES.iter().find(|(name, _)| *name == kind)) {
        Some((name, fields)) => shape::object(value, &path.key(name), out, fields),
        None if value.is_object() && kind.is_none() => {
            shape::object(value, &path.key("function"), out, &FUNCTION_TOOL[1..]);
        }
        None => shape::tagged(value, path, out, "type", TOOLS),
    }
}
