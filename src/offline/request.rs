//! A chat completion request after the checks: only the fields that change the answer.

use serde::Deserialize;
use serde_json::Value;

/// A request that passed [`super::check`].
#[derive(Debug, Deserialize)]
pub(super) struct Request {
    pub(super) model: String,
    pub(super) messages: Vec<Message>,
    #[serde(default)]
    pub(super) stream: bool,
    pub(super) max_tokens: Option<usize>,
    pub(super) stop: Option<Stop>,
    pub(super) n: Option<usize>,
    pub(super) tools: Option<Vec<Tool>>,
    pub(super) tool_choice: Option<ToolChoice>,
    pub(super) parallel_tool_calls: Option<bool>,
    pub(super) response_format: Option<ResponseFormat>,
    pub(super) reasoning_effort: Option<String>,
    pub(super) prompt_cache_key: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Message {
    pub(super) role: Role,
    pub(super) content: Option<Content>,
    pub(super) tool_calls: Option<Vec<ToolCall>>,
    pub(super) tool_call_id: Option<String>,
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) prefix: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    System,
    User,
    Assistant,
    Tool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Content {
    Text(String),
    Chunks(Vec<Value>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Stop {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Deserialize)]
pub(super) struct ToolCall {
    #[serde(default = "missing_id")]
    pub(super) id: String,
    pub(super) function: FunctionCall,
}

#[derive(Debug, Deserialize)]
pub(super) struct FunctionCall {
    pub(super) name: String,
}

/// A tool; those of Mistral's own have no function.
#[derive(Debug, Deserialize)]
pub(super) struct Tool {
    function: Option<Function>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) parameters: Value,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum ToolChoice {
    Mode(Mode),
    Named { function: FunctionName },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    Auto,
    None,
    Any,
    Required,
}

#[derive(Debug, Deserialize)]
pub(super) struct FunctionName {
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct ResponseFormat {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) json_schema: Option<JsonSchema>,
}

#[derive(Debug, Deserialize)]
pub(super) struct JsonSchema {
    pub(super) schema: Value,
}

/// What Mistral takes a tool call without an id to have.
fn missing_id() -> String {
    "null".to_owned()
}

impl Request {
    /// The functions offered, in the caller's order.
    pub(super) fn functions(&self) -> impl Iterator<Item = &Function> {
        self.tools.iter().flatten().filter_map(|tool| tool.function.as_ref())
    }

    /// The last user message, also when tool results follow it.
    pub(super) fn last_user(&self) -> Option<&Message> {
        self.messages.iter().rfind(|message| message.role == Role::User)
    }

    /// How often calls were answered since the last user message.
    pub(super) fn rounds(&self) -> usize {
        let after_user = self.messages.iter().rev().take_while(|message| message.role != Role::User);
        after_user.filter(|message| !message.calls().is_empty()).count()
    }

    /// The results at the end of the history.
    pub(super) fn tool_results(&self) -> &[Message] {
        let first = self.messages.iter().rposition(|message| message.role != Role::Tool).map_or(0, |last| last + 1);
        &self.messages[first..]
    }

    /// The start of the answer that the caller wrote, if the history ends with one.
    pub(super) fn prefix(&self) -> Option<String> {
        self.messages.last().filter(|last| last.prefix).map(Message::text)
    }
}

impl Message {
    /// The text of the message; chunks of text put together, other chunks left out.
    pub(super) fn text(&self) -> String {
        match &self.content {
            None => String::new(),
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Chunks(chunks)) => chunks.iter().filter_map(|chunk| chunk["text"].as_str()).collect(),
        }
    }

    /// The types of the chunks that are not text.
    pub(super) fn attachments(&self) -> impl Iterator<Item = &str> {
        let chunks = match &self.content {
            Some(Content::Chunks(chunks)) => chunks.as_slice(),
            Some(Content::Text(_)) | None => &[],
        };
        chunks.iter().filter_map(|chunk| chunk["type"].as_str()).filter(|kind| *kind != "text")
    }

    pub(super) fn calls(&self) -> &[ToolCall] {
        self.tool_calls.as_deref().unwrap_or_default()
    }

    /// Whether there is any content.
    pub(super) fn says_something(&self) -> bool {
        match &self.content {
            None => false,
            Some(Content::Text(text)) => !text.is_empty(),
            Some(Content::Chunks(chunks)) => !chunks.is_empty(),
        }
    }
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}
