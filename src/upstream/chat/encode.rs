//! Settings and history to the body of `POST /v1/chat/completions`.
//!
//! Mistral refuses fields that it does not know (422 extra_forbidden), and OpenAI too, so only what the dialect has goes in, and
//! only what was set.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::{
    dialect::{Dialect, MaxTokensField, Target},
    messages::Messages,
    render, wire,
};
use crate::{
    domain::{
        Settings,
        settings::{CompletionArgs, ReasoningEffort, ResponseFormat, ToolChoice},
        tool::{Function, Tool},
    },
    upstream::Request,
};

/// A request, encoded.
pub(in crate::upstream) struct Encoded {
    /// The body, in one piece: copying a megabyte of history takes 30 microseconds, not worth a body of several pieces.
    pub(in crate::upstream) body: Vec<u8>,
    /// The text that the model is asked to continue, and that it will repeat.
    pub(in crate::upstream) continued: Option<String>,
}

/// Encodes a request over these messages, which were encoded for the same target. The history is copied as it is, not encoded
/// anew. The arguments are checked ([`Dialect::check_args`]).
pub(in crate::upstream) fn encode(
    request: &Request<'_>,
    messages: &Messages,
    target: Target<'_>,
    max_tokens_field: MaxTokensField,
) -> Encoded {
    let settings = request.settings;
    let mut body = serde_json::to_vec(&Head::new(request, target.dialect, max_tokens_field))
        .expect("writing to memory can't fail, and all keys are strings");
    let end = messages.end(target, request.continue_last);
    body.reserve(settings.instructions.len() + messages.closed().size_bytes() + end.json.len() + 100);
    body.pop();
    body.extend_from_slice(br#","messages":["#);
    let list = body.len();
    if let Some(lead) = lead(settings, messages, &end.continued, target.dialect) {
        render::write(&mut body, &wire::Message::System { content: wire::Content::Text(lead.into()) }, target);
    }
    for page in messages.closed().iter() {
        body.extend_from_slice(page);
    }
    body.extend_from_slice(&end.json);
    if body.len() > list {
        // Every message brings a comma; the first one has nothing to separate.
        body[list] = b' ';
    }
    body.extend_from_slice(b"]}");
    Encoded { body, continued: end.continued }
}

/// The system message before the history. Without instructions there is none, unless a text to continue would stand alone,
/// which Mistral refuses.
fn lead<'a>(
    settings: &'a Settings,
    messages: &Messages,
    continued: &Option<String>,
    dialect: Dialect,
) -> Option<&'a str> {
    if !settings.instructions.is_empty() {
        return Some(&settings.instructions);
    }
    let alone = dialect.marks_prefix() && continued.is_some() && messages.closed().is_empty();
    alone.then_some("Continue.")
}

/// Everything but the messages.
#[derive(Serialize)]
struct Head<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(flatten)]
    max_tokens: Named,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(flatten)]
    seed: Named,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prediction: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    safe_prompt: Option<bool>,
    #[serde(skip_serializing_if = "str::is_empty")]
    prompt_cache_key: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    prompt_mode: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    service_tier: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repetition_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "<[Map<String, Value>]>::is_empty")]
    guardrails: &'a [Map<String, Value>],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<FunctionTool<'a>>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

/// A number, if it is set, under the name that the dialect has for it.
struct Named {
    name: &'static str,
    number: Option<u64>,
}

impl Serialize for Named {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.number.map(|number| (self.name, number)))
    }
}

#[derive(Serialize)]
pub(in crate::upstream) struct FunctionTool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: FunctionSpec<'a>,
}

#[derive(Serialize)]
struct FunctionSpec<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    parameters: Parameters<'a>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    strict: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Parameters<'a> {
    Schema(&'a Map<String, Value>),
    /// Mistral wants a schema of functions without arguments too, and everybody takes one.
    NoArguments(Value),
}

impl<'a> Head<'a> {
    fn new(request: &Request<'a>, dialect: Dialect, max_tokens_field: MaxTokensField) -> Head<'a> {
        let Request {
            settings,
            model,
            transcript: _,
            stream,
            continue_last: _,
            max_tokens: ceiling,
            key: _,
            hosted: _,
        } = *request;
        // In full, so that a new argument can't be forgotten here.
        let CompletionArgs {
            temperature,
            top_p,
            max_tokens,
            stop,
            random_seed,
            presence_penalty,
            frequency_penalty,
            response_format,
            tool_choice,
            parallel_tool_calls,
            prediction,
            reasoning_effort,
            safe_prompt,
            prompt_cache_key,
            prompt_mode,
            service_tier,
            min_tokens,
            repetition_penalty,
            top_k,
            guardrails,
        } = &settings.completion_args;
        let tools: Vec<FunctionTool<'_>> = settings.tools.iter().filter_map(function_tool).collect();
        let has_tools = !tools.is_empty();
        // A choice without tools is refused.
        let tool_choice = tool_choice.as_ref().filter(|_| has_tools);
        let parallel_tool_calls = parallel_tool_calls.filter(|_| has_tools || !dialect.parallel_calls_need_tools());
        Head {
            model,
            stream,
            stream_options: (stream && dialect.usage_on_request()).then_some(StreamOptions { include_usage: true }),
            temperature: *temperature,
            top_p: *top_p,
            max_tokens: Named { name: max_tokens_field.name(), number: ceiling.or(*max_tokens).map(u64::from) },
            stop,
            seed: Named { name: dialect.seed_field(), number: *random_seed },
            presence_penalty: *presence_penalty,
            frequency_penalty: *frequency_penalty,
            response_format: response_format.as_ref().map(response_format_json),
            tool_choice: tool_choice.map(|choice| tool_choice_json(choice, dialect)),
            parallel_tool_calls,
            prediction: prediction.as_ref().map(|text| json!({ "type": "content", "content": text })),
            reasoning_effort: reasoning_effort.map(effort_name),
            safe_prompt: safe_prompt.filter(|_| dialect.has_safe_prompt()),
            prompt_cache_key,
            prompt_mode,
            service_tier: dialect.service_tier(service_tier),
            min_tokens: *min_tokens,
            repetition_penalty: *repetition_penalty,
            top_k: *top_k,
            guardrails,
            tools,
        }
    }
}

/// What the service runs is told as functions before it comes here; chat completions know no other tools.
pub(in crate::upstream) fn function_tool(tool: &Tool) -> Option<FunctionTool<'_>> {
    let Tool::Function(Function { name, description, parameters, strict }) = tool else { return None };
    let parameters = match parameters {
        Some(schema) => Parameters::Schema(schema),
        None => Parameters::NoArguments(json!({ "type": "object", "properties": {} })),
    };
    Some(FunctionTool { kind: "function", function: FunctionSpec { name, description, parameters, strict: *strict } })
}

pub(in crate::upstream) fn response_format_json(format: &ResponseFormat) -> Value {
    match format {
        ResponseFormat::Text => json!({ "type": "text" }),
        ResponseFormat::JsonObject => json!({ "type": "json_object" }),
        ResponseFormat::JsonSchema { name, description, schema, strict, check: _ } => {
            let mut spec = json!({ "name": name, "schema": schema });
            if !description.is_empty() {
                spec["description"] = json!(description);
            }
            if *strict {
                spec["strict"] = json!(true);
            }
            json!({ "type": "json_schema", "json_schema": spec })
        }
    }
}

fn tool_choice_json(choice: &ToolChoice, dialect: Dialect) -> Value {
    match choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::None => json!("none"),
        ToolChoice::Any => json!(dialect.any_tool()),
        ToolChoice::Required => json!("required"),
        ToolChoice::Function(name) => json!({ "type": "function", "function": { "name": name } }),
    }
}

pub(in crate::upstream) fn effort_name(effort: ReasoningEffort) -> &'static str {
    match effort {
        ReasoningEffort::None => "none",
        ReasoningEffort::Minimal => "minimal",
        ReasoningEffort::Low => "low",
        ReasoningEffort::Medium => "medium",
        ReasoningEffort::High => "high",
        ReasoningEffort::Xhigh => "xhigh",
        ReasoningEffort::Max => "max",
    }
}
