//! Entries and their chunks: what a history consists of. They never change once they are stored.

use super::ids::{EntryId, EntryKind, Time};
use uuid::Uuid;

/// One item of a history.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its id, one in the whole store.
    pub id: EntryId,
    /// When it began.
    pub created_at: Time,
    /// When it was finished; `None` while it is open or if it was cut off.
    pub completed_at: Option<Time>,
    /// The model that made it.
    pub model: Option<String>,
    /// The agent that made it.
    pub agent_id: Option<String>,
    /// What it is.
    pub body: Body,
}

impl Entry {
    /// About as many bytes as it takes in a message: its content, and an allowance for ids, times and names.
    pub fn size_bytes(&self) -> usize {
        let content = match &self.body {
            Body::MessageInput(message) => chunks_bytes(&message.content),
            Body::MessageOutput(message) => chunks_bytes(&message.content),
            Body::FunctionCall(call) => call.tool_call_id.len() + call.arguments.len(),
            Body::FunctionResult(result) => result.tool_call_id.len() + chunks_bytes(&result.content),
            Body::ToolExecution(run) => {
                let error = run.error.as_ref().map_or(0, String::len);
                run.arguments.len() + run.info.len() + error + chunks_bytes(&run.result)
            }
            Body::AgentHandoff(_) => 256,
            Body::HumanHandoff(handoff) => handoff.message.len(),
        };
        content + 256
    }
}

fn chunks_bytes(chunks: &[Chunk]) -> usize {
    chunks.iter().map(Chunk::size_bytes).sum()
}

/// An entry on its way in: the service gives it its id, and its time if it has none.
#[derive(Debug, Clone, PartialEq)]
pub struct EntryDraft {
    /// When it began, if the caller says.
    pub created_at: Option<Time>,
    /// When it was finished, if the caller says.
    pub completed_at: Option<Time>,
    /// The model that made it, if the caller says.
    pub model: Option<String>,
    /// The agent that made it, if the caller says.
    pub agent_id: Option<String>,
    /// What it is.
    pub body: Body,
}

impl EntryDraft {
    /// A draft of which only the body is given.
    pub fn new(body: Body) -> EntryDraft {
        EntryDraft { created_at: None, completed_at: None, model: None, agent_id: None, body }
    }

    /// A user message of plain text.
    pub fn user(text: String) -> EntryDraft {
        let content = vec![Chunk::Text(text)];
        EntryDraft::new(Body::MessageInput(MessageInput { role: Role::User, content, prefix: false }))
    }

    /// The entry with this id; times that the caller left out are `now`.
    pub fn into_entry(self, uuid: Uuid, now: Time) -> Entry {
        let created_at = self.created_at.unwrap_or(now);
        Entry {
            id: EntryId { kind: self.body.kind(), uuid },
            created_at,
            completed_at: self.completed_at.or(self.created_at.is_none().then_some(now)),
            model: self.model,
            agent_id: self.agent_id,
            body: self.body,
        }
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// A message that was put in.
    MessageInput(MessageInput),
    /// A message that a model wrote.
    MessageOutput(MessageOutput),
    /// The model asks for a function to be run.
    FunctionCall(FunctionCall),
    /// What the function returned.
    FunctionResult(FunctionResult),
    /// A tool that was run by the service or the provider.
    ToolExecution(ToolExecution),
    /// One agent handed over to another.
    AgentHandoff(AgentHandoff),
    /// An agent handed over to a person.
    HumanHandoff(HumanHandoff),
}

impl Body {
    /// Its kind.
    pub fn kind(&self) -> EntryKind {
        match self {
            Body::MessageInput(_) => EntryKind::MessageInput,
            Body::MessageOutput(_) => EntryKind::MessageOutput,
            Body::FunctionCall(_) => EntryKind::FunctionCall,
            Body::FunctionResult(_) => EntryKind::FunctionResult,
            Body::ToolExecution(_) => EntryKind::ToolExecution,
            Body::AgentHandoff(_) => EntryKind::AgentHandoff,
            Body::HumanHandoff(_) => EntryKind::HumanHandoff,
        }
    }
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Instructions within the history.
    System,
    /// The user.
    User,
    /// Said in the assistant's name.
    Assistant,
}

/// A message that was put in.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageInput {
    /// Who speaks.
    pub role: Role,
    /// At least one chunk.
    pub content: Vec<Chunk>,
    /// The model continues this text; only in the assistant's name and in the last place.
    pub prefix: bool,
}

/// Whether an output was finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutputStatus {
    /// The model finished it.
    #[default]
    Completed,
    /// It was cut off.
    Incomplete,
}

/// A message that a model wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageOutput {
    /// In the model's order.
    pub content: Vec<Chunk>,
    /// Whether the model finished it.
    pub status: OutputStatus,
    /// Which chunks came from which model, if several wrote it; otherwise empty.
    pub segments: Vec<Segment>,
}

/// The chunks of a message that one model wrote: from this one to the next segment's, or to the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The first of them, from 0.
    pub first_content_index: u32,
    /// The model.
    pub model: String,
}

/// Where a call that needs a person's consent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmation {
    /// Waits for a decision.
    Pending,
    /// Allowed.
    Allowed,
    /// Denied.
    Denied,
}

/// What was decided of a call that needed a person's consent, or of one that nobody answered. Kept in the entry that answers the
/// call: the call itself never changes, and on another branch it may have been decided otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What was decided.
    pub verdict: Verdict,
    /// Why, in the words of whoever decided; may be empty.
    pub reason: String,
    /// Who decided, as the caller names them; may be empty.
    pub decided_by: String,
    /// When.
    pub decided_at: Time,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The call was run.
    Allowed,
    /// It was not, because a person said so.
    Denied,
    /// It was not, because nobody decided in time.
    Expired,
    /// It was not, because the conversation went on without it.
    Skipped,
}

/// The model asks for a function to be run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FunctionCall {
    /// Names the call within its history; ours, mapped at the edge of each provider.
    pub tool_call_id: String,
    /// The function.
    pub name: String,
    /// The JSON text that the model wrote.
    pub arguments: String,
    /// Where it stands, if it needs consent.
    pub confirmation: Option<Confirmation>,
    /// Until when consent is waited for; `None`: for ever.
    pub confirmation_expires_at: Option<Time>,
}

/// What a function returned.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FunctionResult {
    /// The call that it answers.
    pub tool_call_id: String,
    /// May be empty.
    pub content: Vec<Chunk>,
    /// The function failed.
    pub is_error: bool,
    /// Why the call was not run, if that was decided.
    pub decision: Option<Decision>,
}

/// A tool that was run by the service or the provider.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ToolExecution {
    /// The tool.
    pub name: String,
    /// JSON text.
    pub arguments: String,
    /// JSON text; empty: none.
    pub info: String,
    /// What it returned.
    pub result: Vec<Chunk>,
    /// Whether it finished. One that did not is never run again: what it did is not known.
    pub status: OutputStatus,
    /// Why it failed, as the model is told; `None`: it did not.
    pub error: Option<String>,
    /// The function call that it answers, if it had to be agreed to first.
    pub tool_call_id: Option<String>,
    /// The model asked for it together with the entry before.
    pub parallel: bool,
    /// Who agreed to it, if somebody had to.
    pub decision: Option<Decision>,
}

/// One agent handed over to another.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentHandoff {
    /// The agent that handed over.
    pub previous_agent_id: String,
    /// Its name.
    pub previous_agent_name: String,
    /// The agent that took over.
    pub next_agent_id: String,
    /// Its name.
    pub next_agent_name: String,
}

/// An agent handed over to a person.
#[derive(Debug, Clone, PartialEq)]
pub struct HumanHandoff {
    /// What the person is asked.
    pub message: String,
}

/// A piece of content.
#[derive(Debug, Clone, PartialEq)]
pub enum Chunk {
    /// Plain text.
    Text(String),
    /// A picture by address (https or data URI). Empty detail: the model's default.
    ImageUrl {
        /// https or data URI.
        url: String,
        /// "low", "auto", "high" or empty.
        detail: String,
    },
    /// A document by address.
    DocumentUrl {
        /// https or data URI.
        url: String,
        /// May be empty.
        name: String,
    },
    /// What a reasoning model thought.
    Thinking(Thinking),
    /// A file that a tool made.
    ToolFile {
        /// The tool.
        tool: String,
        /// The provider's id.
        file_id: String,
        /// May be empty.
        file_name: String,
        /// May be empty.
        file_type: String,
    },
    /// A source that a tool found.
    ToolReference {
        /// The tool.
        tool: String,
        /// Title.
        title: String,
        /// Address; may be empty.
        url: String,
        /// Icon's address; may be empty.
        favicon: String,
        /// May be empty.
        description: String,
    },
    /// Speech: base64 or an https address.
    InputAudio {
        /// Base64 or an https address.
        data: String,
    },
    /// A file that was uploaded to the provider.
    File {
        /// The provider's id.
        file_id: String,
    },
    /// Sources by the provider's ids.
    Reference {
        /// Numbers as decimal digits.
        reference_ids: Vec<String>,
    },
}

/// For tags, lengths and names.
const ALLOWANCE: usize = 16;

impl Chunk {
    /// How many bytes of content it has: what a model has written, if it is an output.
    pub fn content_bytes(&self) -> usize {
        match self {
            Chunk::Text(text) => text.len(),
            Chunk::Thinking(thinking) => thinking.content.iter().map(Chunk::content_bytes).sum(),
            other => other.size_bytes() - ALLOWANCE,
        }
    }

    /// About as many bytes as it takes in a message.
    pub fn size_bytes(&self) -> usize {
        let content = match self {
            Chunk::Text(text) => text.len(),
            Chunk::ImageUrl { url, detail } => url.len() + detail.len(),
            Chunk::DocumentUrl { url, name } => url.len() + name.len(),
            Chunk::Thinking(thinking) => chunks_bytes(&thinking.content) + thinking.signature.len(),
            Chunk::ToolFile { tool, file_id, file_name, file_type } => {
                tool.len() + file_id.len() + file_name.len() + file_type.len()
            }
            Chunk::ToolReference { tool, title, url, favicon, description } => {
                tool.len() + title.len() + url.len() + favicon.len() + description.len()
            }
            Chunk::InputAudio { data } => data.len(),
            Chunk::File { file_id } => file_id.len(),
            Chunk::Reference { reference_ids } => reference_ids.iter().map(|id| id.len() + 2).sum(),
        };
        content + ALLOWANCE
    }
}

/// What a reasoning model thought: replayed only to the provider that made it.
#[derive(Debug, Clone, PartialEq)]
pub struct Thinking {
    /// Text, reference and tool_reference chunks.
    pub content: Vec<Chunk>,
    /// The provider's opaque proof; empty: none.
    pub signature: String,
    /// False: cut off, the model may go on with it.
    pub closed: bool,
    /// The provider that made it; empty: unknown.
    pub provider: String,
}
