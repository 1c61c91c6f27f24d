//! The fields of the four kinds of messages. Ids, names and reasoning fields that other APIs know are refused here.

use serde_json::Value;

use super::chunks;
use super::shape::{self, Field, Path, Rule, Violations};

const ROLE: Field = Field::required("role", Rule::Anything);

const MESSAGES: &[(&str, &[Field])] = &[("system", SYSTEM), ("user", USER), ("assistant", ASSISTANT), ("tool", TOOL)];

const SYSTEM: &[Field] = &[ROLE, Field::required("content", Rule::Nested(system_content))];

const USER: &[Field] = &[ROLE, Field::present("content", Rule::Nested(content))];

const ASSISTANT: &[Field] = &[
    ROLE,
    Field::nullable("content", Rule::Nested(content)),
    Field::nullable("tool_calls", Rule::List { check: tool_call, most: usize::MAX }),
    Field::optional("prefix", Rule::Flag),
];

const TOOL: &[Field] = &[
    ROLE,
    Field::present("content", Rule::Nested(content)),
    Field::nullable("tool_call_id", Rule::Text),
    Field::nullable("name", Rule::Text),
];

const TOOL_CALL: &[Field] = &[
    Field::optional("id", Rule::Text),
    Field::optional("type", Rule::Text),
    Field::required("function", Rule::Nested(function_call)),
    Field::optional("index", Rule::Integer { least: 0, most: u64::MAX }),
];

const FUNCTION_CALL: &[Field] =
    &[Field::required("name", Rule::Text), Field::required("arguments", Rule::Nested(arguments))];

/// One message.
pub(super) fn message(value: &Value, path: &Path<'_>, out: &mut Violations) {
    shape::tagged(value, path, out, "role", MESSAGES);
}

fn content(value: &Value, path: &Path<'_>, out: &mut Violations) {
    match value.is_array() {
        true => shape::list(value, path, out, chunks::any, usize::MAX),
        false => shape::text(value, path, out),
    }
}

fn system_content(value: &Value, path: &Path<'_>, out: &mut Violations) {
    match value.is_array() {
        true => shape::list(value, path, out, chunks::of_system, usize::MAX),
        false => shape::text(value, path, out),
    }
}

fn tool_call(value: &Value, path: &Path<'_>, out: &mut Violations) {
    shape::object(value, path, out, TOOL_CALL);
}

fn function_call(value: &Value, path: &Path<'_>, out: &mut Violations) {
    shape::object(value, path, out, FUNCTION_CALL);
}

fn arguments(value: &Value, path: &Path<'_>, out: &mut Violations) {
    if !value.is_object() {
        shape::text(value, path, out);
    }
}
