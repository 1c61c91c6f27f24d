//! The JSON of Mistral's conversations. Chunks are those of chat completions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::upstream::chat::wire::{Content, PartContent};

/// An entry of the request.
#[derive(Serialize)]
#[serde(tag = "type")]
pub(super) enum Entry<'a> {
    #[serde(rename = "message.input")]
    MessageInput {
        role: &'static str,
        content: &'a Content<'a>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        prefix: bool,
    },
    #[serde(rename = "message.output")]
    MessageOutput { content: &'a Content<'a> },
    #[serde(rename = "function.call")]
    FunctionCall { tool_call_id: &'a str, name: &'a str, arguments: &'a str },
    #[serde(rename = "function.result")]
    FunctionResult { tool_call_id: &'a str, result: String },
}

/// An event of a streamed answer. Unknown fields are ignored, and so are events that are not known.
#[derive(Deserialize)]
#[serde(tag = "type")]
pub(super) enum Event {
    #[serde(rename = "message.output.delta")]
    Message(Message),
    #[serde(rename = "tool.execution.started")]
    ToolStarted(Run),
    #[serde(rename = "tool.execution.delta")]
    ToolDelta(Run),
    #[serde(rename = "tool.execution.done")]
    ToolDone(Run),
    #[serde(rename = "agent.handoff.started")]
    HandoffStarted(Handoff),
    #[serde(rename = "agent.handoff.done")]
    HandoffDone(Handoff),
    #[serde(rename = "function.call.delta")]
    Call(Call),
    #[serde(rename = "conversation.response.done")]
    Done { usage: Option<Usage> },
    #[serde(rename = "conversation.response.error")]
    Error { code: Option<Value> },
    #[serde(other)]
    Other,
}

/// An answer that was not streamed.
#[derive(Deserialize)]
pub(super) struct Response {
    pub(super) outputs: Vec<Output>,
    pub(super) usage: Option<Usage>,
}

/// An entry of an answer that was not streamed.
#[derive(Deserialize)]
#[serde(tag = "type")]
pub(super) enum Output {
    #[serde(rename = "message.output")]
    Message(Message),
    #[serde(rename = "tool.execution")]
    Run(Run),
    #[serde(rename = "agent.handoff")]
    Handoff(Handoff),
    #[serde(rename = "function.call")]
    Call(Call),
    #[serde(other)]
    Other,
}

/// A message, or a piece of it.
#[derive(Deserialize)]
pub(super) struct Message {
    pub(super) id: Option<String>,
    pub(super) content: Option<MessageContent>,
}

/// A stream has one chunk where a whole answer has a list.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum MessageContent {
    Chunk(serde_json::Map<String, Value>),
    Content(PartContent),
}

/// A tool that Mistral runs, or a piece of what it says of it.
#[derive(Deserialize)]
pub(super) struct Run {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) arguments: Option<Value>,
    pub(super) info: Option<Value>,
}

#[derive(Deserialize)]
pub(super) struct Handoff {
    pub(super) id: Option<String>,
    pub(super) previous_agent_id: Option<String>,
    pub(super) previous_agent_name: Option<String>,
    pub(super) next_agent_id: Option<String>,
    pub(super) next_agent_name: Option<String>,
}

/// A function call, or a piece of it.
#[derive(Deserialize)]
pub(super) struct Call {
    pub(super) id: Option<String>,
    pub(super) tool_call_id: Option<String>,
    pub(super) name: Option<String>,
    /// A string, or the object itself.
    pub(super) arguments: Option<Value>,
    /// "pending": it is no call for the caller to run, but one that Mistral asks consent for.
    pub(super) confirmation_status: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Usage {
    pub(super) prompt_tokens: Option<u64>,
    pub(super) completion_tokens: Option<u64>,
    pub(super) total_tokens: Option<u64>,
    pub(super) connector_tokens: Option<u64>,
    /// Calls by connector.
    pub(super) connectors: Option<BTreeMap<String, Option<u64>>>,
}
