//! The fields of a chat completion request: `ChatCompletionRequest` of Mistral's OpenAPI document and of its SDK 3.7.

use serde_json::Value;

use super::messages;
use super::shape::{self, Field, Path, Rule, Violations};

/// Mistral takes at most this many tools per request.
pub(super) const TOOLS_MAX: usize = 128;
/// Ours: every choice is made in memory.
const CHOICES_MAX: u64 = 128;

pub(super) const PENALTY: Rule = Rule::Number { low: -2.0, high: 2.0, above: false };
pub(super) const COUNT: Rule = Rule::Integer { least: 0, most: u64::MAX };

const BODY: &[Field] = &[
    Field::required("model", Rule::Text),
    Field::required("messages", Rule::List { check: messages::message, most: usize::MAX }),
    Field::nullable("temperature", Rule::Number { low: 0.0, high: 1.5, above: false }),
    Field::nullable("top_p", Rule::Number { low: 0.0, high: 1.0, above: true }),
    Field::nullable("max_tokens", COUNT),
    Field::optional("stream", Rule::Flag),
    Field::nullable("stop", Rule::Nested(stop)),
    Field::nullable("random_seed", COUNT),
    Field::nullable("metadata", Rule::Object),
    Field::optional("response_format", Rule::Nested(response_format)),
    Field::nullable("tools", Rule::List { check: tool, most: TOOLS_MAX }),
    Field::optional("tool_choice", Rule::Nested(tool_choice)),
    Field::nullable("presence_penalty", PENALTY),
    Field::nullable("frequency_penalty", PENALTY),
    Field::nullable("min_tokens", COUNT),
    Field::nullable("repetition_penalty", Rule::Number { low: 0.0, high: f64::MAX, above: true }),
    Field::nullable("top_k", COUNT),
    Field::nullable("logprobs", Rule::Flag),
    Field::nullable("top_logprobs", COUNT),
    Field::nullable("prompt_logprobs", Rule::Flag),
    Field::nullable("top_prompt_logprobs", COUNT),
    Field::nullable("n", Rule::Integer { least: 1, most: CHOICES_MAX }),
    Field::optional("prediction", Rule::Nested(prediction)),
    Field::optional("parallel_tool_calls", Rule::Flag),
    Field::nullable("reasoning_effort", Rule::OneOf(EFFORTS)),
    Field::nullable("prompt_mode", Rule::OneOf(&["reasoning"])),
    Field::nullable("guardrails", Rule::List { check: guardrail, most: usize::MAX }),
    Field::nullable("prompt_cache_key", Rule::Text),
    Field::nullable("service_tier", Rule::OneOf(&["auto", "standard_only"])),
    Field::optional("safe_prompt", Rule::Flag),
];

pub(super) const EFFORTS: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh", "max"];

const RESPONSE_FORMAT: &[Field] = &[
    Field::optional("type", Rule::OneOf(&["text", "json_object", "json_schema"])),
    Field::nullable("json_schema", Rule::Nested(json_schema)),
];

const JSON_SCHEMA: &[Field] = &[
    Field::required("name", Rule::Text),
    Field::required("schema", Rule::Object),
    Field::nullable("description", Rule::Text),
    Field::optional("strict", Rule::Flag),
];

const PREDICTION: &[Field] =
    &[Field::optional("type", Rule::OneOf(&["content"])), Field::optional("content", Rule::Text)];

const GUARDRAIL: &[Field] = &[
    Field::optional("block_on_error", Rule::Flag),
    Field::nullable("moderation_llm_v1", Rule::Object),
    Field::nullable("moderation_llm_v2", Rule::Object),
];

pub(super) const FUNCTION_TOOL: &[Field] = &[TYPE, Field::required("function", Rule::Nested(function))];

const FUNCTION: &[Field] = &[
    Field::required("name", Rule::Text),
    Field::required("parameters", Rule::Object),
    Field::optional("description", Rule::Text),
    Field::optional("strict", Rule::Flag),
];

pub(super) const TYPE: Field = Field::required("type", Rule::Anything);
pub(super) const CONFIGURATION: Field = Field::nullable("tool_configuration", Rule::Object);

/// Web search and the code interpreter are tools of the conversations API only.
pub(super) const TOOLS: &[(&str, &[Field])] = &[
    ("function", FUNCTION_TOOL),
    ("image_generation", &[TYPE, CONFIGURATION]),
    ("document_library", &[TYPE, CONFIGURATION, Field::required("library_ids", Rule::Texts)]),
    (
        "connector",
        &[
            TYPE,
            CONFIGURATION,
            Field::required("connector_id", Rule::Text),
            Field::nullable("authorization", Rule::Object),
        ],
    ),
];

const NAMED_CHOICE: &[Field] =
    &[Field::optional("type", Rule::OneOf(&["function"])), Field::required("function", Rule::Nested(function_name))];

const FUNCTION_NAME: &[Field] = &[Field::required("name", Rule::Text)];

/// The whole body.
pub(super) fn check(value: &Value, path: &Path<'_>, out: &mut Violations) {
    shape::object(value, path, out, BODY);
}

pub(super) fn stop(value: &Value, path: &Path<'_>, out: &mut Violations) {
    match value.is_array() {
        true => shape::list(value, path, out, shape::text, usize::MAX),
        false => shape::text(value, path, out),
    }
}

pub(super) fn response_format(value: &Value, path: &Path<'_>, out: &mut Violations) {
    shape::object(value, path, out, RESPONSE_FORMAT);
    if value["type"] == "json_schema" && value["json_schema"].is_null() {
        let message = "Value error, json_schema is required when type is json_schema";
        out.add("value_error", path, message, value);
    }
}

fn json_schema(value: &Value, path: &Path<'_>, out: &mut Violations) {
    shape::object(value, path, out, JSON_SCHEMA);
}

fn tool(value: &Value, path: &Path<'_>, out: &mut Violations) {
    // The SDK fills the type in, the API does not ask for it.
    match value.is_object() && value.get("type").is_none() {
        true => shape::object(value, &path.key("function"), out, &FUNCTION_TOOL[1..]),
        false => shape::tagged(value, path, out, "type", TOOLS),
    }
}

fn function(value: &Value, path: &Path<'_>, out: &mut Violations) {
    shape::object(value, path, out, FUNCTION);
}

fn tool_choice(value: &Value, path: &Path<'_>, out: &mut Violations) {
    const MODES: Rule = Rule::OneOf(&["auto", "none", "any", "required"]);
    match value.is_object() {
        true => shape::object(value, path, out, NAMED_CHOICE),
        false => shape::rule(value, &MODES, path, out),
    }
}

fn function_name(value: &Value, path: &Path<'_>, out: &mut Violations) {
    shape::object(value, path, out, FUNCTION_NAME);
}

pub(super) fn prediction(value: &Value, path: &Path<'_>, out: &mut Violations) {
    shape::object(value, path, out, PREDICTION);
}

pub(super) fn guardrail(value: &Value, path: &Path<'_>, out: &mut Violations) {
    shape::object(value, path, out, GUARDRAIL);
}
