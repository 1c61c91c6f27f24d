//! The JSON of chat completions, as servers write and take it. Private to this folder.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

type Text<'a> = Cow<'a, str>;

/// A message of the request.
#[derive(Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub(super) enum Message<'a> {
    System {
        content: Content<'a>,
    },
    User {
        content: Content<'a>,
    },
    Assistant {
        content: Content<'a>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall<'a>>,
        #[serde(skip_serializing_if = "is_false")]
        prefix: bool,
    },
    Tool {
        tool_call_id: Text<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<Text<'a>>,
        content: Content<'a>,
    },
}

/// A message's content: a string where that is enough, because not every model takes chunks.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Content<'a> {
    /// `null`: of an assistant message that has only calls.
    Nothing,
    Text(Text<'a>),
    Chunks(Vec<Chunk<'a>>),
}

/// A chunk of the request.
#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Chunk<'a> {
    Text {
        text: Text<'a>,
    },
    ImageUrl {
        image_url: ImageUrl<'a>,
    },
    DocumentUrl {
        document_url: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        document_name: &'a str,
    },
    InputAudio {
        input_audio: &'a str,
    },
    /// The same in OpenAI's form.
    #[serde(rename = "input_audio")]
    Recording {
        input_audio: Recording<'a>,
    },
    File {
        file_id: &'a str,
    },
    /// The same in OpenAI's form.
    #[serde(rename = "file")]
    FileById {
        file: FileId<'a>,
    },
    Thinking {
        thinking: Vec<Chunk<'a>>,
        #[serde(skip_serializing_if = "str::is_empty")]
        signature: &'a str,
        #[serde(skip_serializing_if = "is_true")]
        closed: bool,
    },
    Reference {
        reference_ids: Vec<ReferenceId<'a>>,
    },
    ToolReference {
        tool: &'a str,
        title: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        url: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        favicon: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        description: &'a str,
    },
}

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct ImageUrl<'a> {
    pub(super) url: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) detail: &'a str,
}

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Recording<'a> {
    pub(super) data: &'a str,
    pub(super) format: &'static str,
}

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct FileId<'a> {
    pub(super) file_id: &'a str,
}

/// Mistral numbers its references; others may name them.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum ReferenceId<'a> {
    Number(u64),
    Name(&'a str),
}

#[derive(Serialize)]
pub(super) struct ToolCall<'a> {
    pub(super) id: Text<'a>,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) function: FunctionCall<'a>,
}

#[derive(Serialize)]
pub(super) struct FunctionCall<'a> {
    pub(super) name: Text<'a>,
    pub(super) arguments: Text<'a>,
}

/// A whole answer, or one event of a streamed one. Unknown fields, such as the padding `p`, are ignored.
#[derive(Deserialize)]
pub(super) struct Reply {
    pub(super) object: Option<String>,
    pub(super) error: Option<Value>,
    pub(super) code: Option<Value>,
    #[serde(rename = "type")]
    pub(super) kind: Option<Value>,
    pub(super) choices: Option<Vec<Choice>>,
    pub(super) usage: Option<Usage>,
}

#[derive(Deserialize)]
pub(super) struct Choice {
    pub(super) index: Option<u32>,
    /// Of a stream.
    pub(super) delta: Option<Part>,
    /// Of a whole answer.
    pub(super) message: Option<Part>,
    /// In place of `message`, where the provider ran tools in between.
    pub(super) messages: Option<Vec<Part>>,
    pub(super) finish_reason: Option<String>,
}

/// A message of the answer, or a piece of one.
#[derive(Deserialize)]
pub(super) struct Part {
    pub(super) role: Option<String>,
    pub(super) content: Option<PartContent>,
    /// What OpenAI's models say in place of content if they will not answer.
    pub(super) refusal: Option<String>,
    /// Thinking, as DeepSeek, llama.cpp and older vLLMs name it. Some servers write other things than text under such names.
    pub(super) reasoning_content: Option<Value>,
    /// Thinking, as Ollama, newer vLLMs and OpenRouter name it.
    pub(super) reasoning: Option<Value>,
    pub(super) tool_calls: Option<Vec<ToolCallPart>>,
    /// The one call of old servers.
    pub(super) function_call: Option<FunctionPart>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum PartContent {
    Text(String),
    /// Read one by one, so that a kind that is not known yet can be passed over.
    Chunks(Vec<Map<String, Value>>),
}

#[derive(Deserialize)]
pub(super) struct ToolCallPart {
    pub(super) index: Option<u32>,
    pub(super) id: Option<String>,
    pub(super) function: Option<FunctionPart>,
}

#[derive(Deserialize)]
pub(super) struct FunctionPart {
    pub(super) name: Option<String>,
    /// A string or, from some models, the object itself.
    pub(super) arguments: Option<Value>,
}

#[derive(Deserialize)]
pub(super) struct Usage {
    pub(super) prompt_tokens: Option<u64>,
    pub(super) completion_tokens: Option<u64>,
    pub(super) total_tokens: Option<u64>,
    pub(super) prompt_tokens_details: Option<PromptDetails>,
    pub(super) completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Deserialize)]
pub(super) struct PromptDetails {
    pub(super) cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct CompletionDetails {
    pub(super) reasoning_tokens: Option<u64>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_true(flag: &bool) -> bool {
    *flag
}
