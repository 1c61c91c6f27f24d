//! The JSON of chat completions, as servers write and take it. The conversations endpoint has the same chunks.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

type Text<'a> = Cow<'a, str>;

/// A message of the request.
#[derive(Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub(in crate::upstream) enum Message<'a> {
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
pub(in crate::upstream) enum Content<'a> {
    /// `null`: of an assistant message that has only calls.
    Nothing,
    Text(Text<'a>),
    Chunks(Vec<Chunk<'a>>),
}

/// A chunk of the request.
#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(in crate::upstream) enum Chunk<'a> {
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
pub(in crate::upstream) struct ImageUrl<'a> {
    pub(in crate::upstream) url: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(in crate::upstream) detail: &'a str,
}

#[derive(Debug, PartialEq, Serialize)]
pub(in crate::upstream) struct Recording<'a> {
    pub(in crate::upstream) data: &'a str,
    pub(in crate::upstream) format: &'static str,
}

#[derive(Debug, PartialEq, Serialize)]
pub(in crate::upstream) struct FileId<'a> {
    pub(in crate::upstream) file_id: &'a str,
}

/// Mistral numbers its references; others may name them.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(in crate::upstream) enum ReferenceId<'a> {
    Number(u64),
    Name(&'a str),
}

#[derive(Serialize)]
pub(in crate::upstream) struct ToolCall<'a> {
    pub(in crate::upstream) id: Text<'a>,
    #[serde(rename = "type")]
    pub(in crate::upstream) kind: &'static str,
    pub(in crate::upstream) function: FunctionCall<'a>,
}

#[derive(Serialize)]
pub(in crate::upstream) struct FunctionCall<'a> {
    pub(in crate::upstream) name: Text<'a>,
    pub(in crate::upstream) arguments: Text<'a>,
}

/// A whole answer, or one event of a streamed one. Unknown fields, such as the padding `p`, are ignored.
#[derive(Deserialize)]
pub(in crate::upstream) struct Reply {
    pub(in crate::upstream) object: Option<String>,
    pub(in crate::upstream) error: Option<Value>,
    pub(in crate::upstream) code: Option<Value>,
    #[serde(rename = "type")]
    pub(in crate::upstream) kind: Option<Value>,
    pub(in crate::upstream) choices: Option<Vec<Choice>>,
    pub(in crate::upstream) usage: Option<Usage>,
}

#[derive(Deserialize)]
pub(in crate::upstream) struct Choice {
    pub(in crate::upstream) index: Option<u32>,
    /// Of a stream.
    pub(in crate::upstream) delta: Option<Part>,
    /// Of a whole answer.
    pub(in crate::upstream) message: Option<Part>,
    /// In place of `message`, where the provider ran tools in between.
    pub(in crate::upstream) messages: Option<Vec<Part>>,
    pub(in crate::upstream) finish_reason: Option<String>,
}

/// A message of the answer, or a piece of one.
#[derive(Deserialize)]
pub(in crate::upstream) struct Part {
    pub(in crate::upstream) role: Option<String>,
    pub(in crate::upstream) content: Option<PartContent>,
    /// What OpenAI's models say in place of content if they will not answer.
    pub(in crate::upstream) refusal: Option<String>,
    /// Thinking, as DeepSeek, llama.cpp and older vLLMs name it. Some servers write other things than text under such names.
    pub(in crate::upstream) reasoning_content: Option<Value>,
    /// Thinking, as Ollama, newer vLLMs and OpenRouter name it.
    pub(in crate::upstream) reasoning: Option<Value>,
    pub(in crate::upstream) tool_calls: Option<Vec<ToolCallPart>>,
    /// The one call of old servers.
    pub(in crate::upstream) function_call: Option<FunctionPart>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(in crate::upstream) enum PartContent {
    Text(String),
    /// Read one by one, so that a kind that is not known yet can be passed over.
    Chunks(Vec<Map<String, Value>>),
}

#[derive(Deserialize)]
pub(in crate::upstream) struct ToolCallPart {
    pub(in crate::upstream) index: Option<u32>,
    pub(in crate::upstream) id: Option<String>,
    pub(in crate::upstream) function: Option<FunctionPart>,
}

#[derive(Deserialize)]
pub(in crate::upstream) struct FunctionPart {
    pub(in crate::upstream) name: Option<String>,
    /// A string or, from some models, the object itself.
    pub(in crate::upstream) arguments: Option<Value>,
}

#[derive(Deserialize)]
pub(in crate::upstream) struct Usage {
    pub(in crate::upstream) prompt_tokens: Option<u64>,
    pub(in crate::upstream) completion_tokens: Option<u64>,
    pub(in crate::upstream) total_tokens: Option<u64>,
    pub(in crate::upstream) prompt_tokens_details: Option<PromptDetails>,
    pub(in crate::upstream) completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Deserialize)]
pub(in crate::upstream) struct PromptDetails {
    pub(in crate::upstream) cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
pub(in crate::upstream) struct CompletionDetails {
    pub(in crate::upstream) reasoning_tokens: Option<u64>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_true(flag: &bool) -> bool {
    *flag
}
