//! Settings and history to the body of `POST /v1/conversations`.
//!
//! Mistral refuses fields that it does not know, and whatever its agent brings itself, so only what can be told goes in, and only what
//! was set. [`super::check`] has refused the rest.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::entries;
use crate::{
    domain::{
        Settings,
        agent::AgentPin,
        settings::{CompletionArgs, ToolChoice},
        tool::{Connector, ConnectorKind, Tool},
    },
    upstream::{
        HostedAgent, Request, Secret,
        chat::{Encoded, FunctionTool, Messages, Target, effort_name, function_tool, response_format_json},
    },
};

/// Encodes a request over these messages, which were encoded for the same target. The history is copied as it is, not encoded
/// anew. The settings are checked. `secrets`: what connectors are authorized with.
pub(in crate::upstream) fn encode(
    request: &Request<'_>,
    messages: &Messages,
    target: Target<'_>,
    secrets: &BTreeMap<String, Secret>,
) -> Encoded {
    let mut body = serde_json::to_vec(&Head::new(request, secrets))
        .expect("writing to memory can't fail, and all keys are strings");
    let end = messages.end(target, request.continue_last);
    body.reserve(messages.closed().size_bytes() + end.json.len() + 200);
    body.pop();
    body.extend_from_slice(br#","inputs":["#);
    let list = body.len();
    let has_system = request.hosted.is_none() && !request.settings.instructions.is_empty();
    if end.continued.is_some() && messages.closed().is_empty() && !has_system {
        // Mistral refuses a text to continue that stands alone.
        entries::write_user(&mut body, "Continue.");
    }
    for page in messages.closed().iter() {
        body.extend_from_slice(page);
    }
    body.extend_from_slice(&end.json);
    if body.len() > list {
        // Every entry brings a comma; the first one has nothing to separate.
        body[list] = b' ';
    }
    body.extend_from_slice(b"]}");
    Encoded { body, continued: end.continued }
}

/// Everything but the history.
#[derive(Serialize)]
struct Head<'a> {
    #[serde(flatten)]
    led_by: LedBy<'a>,
    /// The history is ours: nothing is left there, and each request brings all of it.
    store: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "one is made for each request, and written at once")]
enum LedBy<'a> {
    Agent {
        agent_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        agent_version: Option<Value>,
    },
    Model {
        model: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        instructions: &'a str,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tools: Vec<AnyTool<'a>>,
        #[serde(skip_serializing_if = "Args::is_empty")]
        completion_args: Args<'a>,
        #[serde(skip_serializing_if = "<[Map<String, Value>]>::is_empty")]
        guardrails: &'a [Map<String, Value>],
    },
}

#[derive(Serialize)]
#[serde(untagged)]
enum AnyTool<'a> {
    Function(FunctionTool<'a>),
    Connector(ConnectorTool<'a>),
}

#[derive(Serialize)]
struct ConnectorTool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    library_ids: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    connector_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization: Option<Authorization<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_configuration: Option<Configuration<'a>>,
}

#[derive(Serialize)]
struct Authorization<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
struct Configuration<'a> {
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    include: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    exclude: &'a [String],
}

/// `CompletionArgs` of Mistral's document, closed to all others.
#[derive(Default, PartialEq, Serialize)]
struct Args<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    random_seed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prediction: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
}

impl Args<'_> {
    fn is_empty(&self) -> bool {
        *self == Args::default()
    }
}

impl<'a> Head<'a> {
    fn new(request: &Request<'a>, secrets: &'a BTreeMap<String, Secret>) -> Head<'a> {
        let Request { settings, model, transcript: _, stream, continue_last: _, max_tokens, key: _, hosted } = *request;
        let led_by = match hosted {
            Some(HostedAgent { version }) => LedBy::Agent { agent_id: model, agent_version: version.map(version_json) },
            None => LedBy::Model {
                model,
                instructions: &settings.instructions,
                tools: tools(settings, secrets),
                completion_args: args(&settings.completion_args, max_tokens),
                guardrails: &settings.completion_args.guardrails,
            },
        };
        Head { led_by, store: false, stream }
    }
}

fn version_json(pin: &AgentPin) -> Value {
    match pin {
        AgentPin::Version(number) => json!(number),
        AgentPin::Alias(name) => json!(name),
    }
}

/// What the service runs is told as functions before it comes here.
fn tools<'a>(settings: &'a Settings, secrets: &'a BTreeMap<String, Secret>) -> Vec<AnyTool<'a>> {
    let tools = settings.tools.iter().filter_map(|tool| match tool {
        Tool::Connector(connector) => Some(AnyTool::Connector(connector_tool(connector, secrets))),
        Tool::Function(_) | Tool::Mcp(_) | Tool::HttpRequest(_) | Tool::HumanHandoff(_) => {
            function_tool(tool).map(AnyTool::Function)
        }
    });
    tools.collect()
}

fn connector_tool<'a>(connector: &'a Connector, secrets: &'a BTreeMap<String, Secret>) -> ConnectorTool<'a> {
    let Connector { kind, include, exclude, requires_confirmation: _ } = connector;
    let (library_ids, connector_id, authorization): (&[String], &str, _) = match kind {
        ConnectorKind::DocumentLibrary { library_ids } => (library_ids, "", None),
        ConnectorKind::Custom { connector_id, authorization } => {
            let authorization = authorization.as_ref().and_then(|authorization| {
                let value = secrets.get(&authorization.secret)?.expose();
                Some(Authorization { kind: &authorization.kind, value })
            });
            (&[], connector_id, authorization)
        }
        ConnectorKind::WebSearch
        | ConnectorKind::WebSearchPremium
        | ConnectorKind::CodeInterpreter
        | ConnectorKind::ImageGeneration => (&[], "", None),
    };
    let is_chosen = !include.is_empty() || !exclude.is_empty();
    ConnectorTool {
        kind: connector.type_name(),
        library_ids,
        connector_id,
        authorization,
        tool_configuration: is_chosen.then_some(Configuration { include, exclude }),
    }
}

/// `ceiling` replaces the arguments' own.
fn args(args: &CompletionArgs, ceiling: Option<u32>) -> Args<'_> {
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
        parallel_tool_calls: _,
        prediction,
        reasoning_effort,
        safe_prompt: _,
        prompt_cache_key: _,
        prompt_mode: _,
        service_tier: _,
        min_tokens: _,
        repetition_penalty: _,
        top_k: _,
        // They stand beside the arguments.
        guardrails: _,
    } = args;
    Args {
        temperature: *temperature,
        top_p: *top_p,
        max_tokens: ceiling.or(*max_tokens),
        stop,
        random_seed: *random_seed,
        presence_penalty: *presence_penalty,
        frequency_penalty: *frequency_penalty,
        response_format: response_format.as_ref().map(response_format_json),
        tool_choice: tool_choice.as_ref().and_then(tool_choice_name),
        prediction: prediction.as_ref().map(|text| json!({ "type": "content", "content": text })),
        reasoning_effort: reasoning_effort.map(effort_name),
    }
}

/// One function can't be demanded here.
fn tool_choice_name(choice: &ToolChoice) -> Option<&'static str> {
    match choice {
        ToolChoice::Auto => Some("auto"),
        ToolChoice::None => Some("none"),
        ToolChoice::Any => Some("any"),
        ToolChoice::Required => Some("required"),
        ToolChoice::Function(_) => None,
    }
}
