//! Ids and times. Ids are UUIDv7: they sort by time. Their text form is a prefix and 32 hex digits.

use std::{fmt, str::FromStr};

use uuid::Uuid;

/// A text that is not an id of the kind that was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseIdError {
    expected: &'static str,
    digits: usize,
}

impl ParseIdError {
    pub(super) fn new(expected: &'static str) -> ParseIdError {
        ParseIdError::digits(expected, 32)
    }

    pub(super) fn digits(expected: &'static str, digits: usize) -> ParseIdError {
        ParseIdError { expected, digits }
    }
}

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "must be {} followed by {} hex digits", self.expected, self.digits)
    }
}

impl std::error::Error for ParseIdError {}

pub(super) fn parse(text: &str, prefix: &str) -> Option<Uuid> {
    let hex = text.strip_prefix(prefix)?;
    let plain = hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    plain.then(|| Uuid::try_parse(hex).ok()).flatten()
}

/// Names a version of a conversation, for ever. `conv_` and 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConversationId(pub Uuid);

/// Names a turn: `turn_` and the hex digits of the version that the turn makes, if it makes one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TurnId(pub Uuid);

/// Names a batch of turns: `batch_` and 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub Uuid);

impl BatchId {
    const PREFIX: &'static str = "batch_";

    /// The 16 bytes of the id, as page tokens hold it.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id with these bytes; `None` if they are not 16.
    pub fn from_bytes(bytes: &[u8]) -> Option<BatchId> {
        Uuid::from_slice(bytes).ok().map(BatchId)
    }
}

/// Names an endpoint that is told of changes: `hook_` and 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WebhookId(pub Uuid);

impl WebhookId {
    const PREFIX: &'static str = "hook_";
}

impl ConversationId {
    const PREFIX: &'static str = "conv_";

    /// The 16 bytes of the id, as keys and page tokens hold it.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id with these bytes; `None` if they are not 16.
    pub fn from_bytes(bytes: &[u8]) -> Option<ConversationId> {
        Uuid::from_slice(bytes).ok().map(ConversationId)
    }

    /// The turn that made this version.
    pub fn turn(self) -> TurnId {
        TurnId(self.0)
    }
}

impl TurnId {
    const PREFIX: &'static str = "turn_";

    /// The 16 bytes of the id, as page tokens hold it.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id with these bytes; `None` if they are not 16.
    pub fn from_bytes(bytes: &[u8]) -> Option<TurnId> {
        Uuid::from_slice(bytes).ok().map(TurnId)
    }

    /// The version that this turn makes, if it makes one.
    pub fn conversation(self) -> ConversationId {
        ConversationId(self.0)
    }
}

macro_rules! id_text {
    ($id:ident) => {
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", Self::PREFIX, self.0.simple())
            }
        }

        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $id {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse(text, Self::PREFIX).map(Self).ok_or(ParseIdError::new(Self::PREFIX))
            }
        }
    };
}

id_text!(ConversationId);
id_text!(TurnId);
id_text!(BatchId);
id_text!(WebhookId);

/// The kind of an entry, as its id shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// A message that was put in.
    MessageInput = 1,
    /// A message that a model wrote.
    MessageOutput = 2,
    /// A function call.
    FunctionCall = 3,
    /// A function's result.
    FunctionResult = 4,
    /// A tool run by the service or the provider.
    ToolExecution = 5,
    /// From agent to agent.
    AgentHandoff = 6,
    /// From an agent to a person.
    HumanHandoff = 7,
}

impl EntryKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [EntryKind; 7] = [
        EntryKind::MessageInput,
        EntryKind::MessageOutput,
        EntryKind::FunctionCall,
        EntryKind::FunctionResult,
        EntryKind::ToolExecution,
        EntryKind::AgentHandoff,
        EntryKind::HumanHandoff,
    ];

    /// The kind with this number, as stores and sets of kinds write it.
    pub fn from_number(number: u8) -> Option<EntryKind> {
        EntryKind::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// The prefix of the ids of such entries.
    pub fn prefix(self) -> &'static str {
        match self {
            EntryKind::MessageInput | EntryKind::MessageOutput => "msg_",
            EntryKind::FunctionCall => "call_",
            EntryKind::FunctionResult => "result_",
            EntryKind::ToolExecution => "exec_",
            EntryKind::AgentHandoff => "handoff_",
            EntryKind::HumanHandoff => "human_",
        }
    }

    /// Mistral's name of the kind, the `type` of the entry.
    pub fn type_name(self) -> &'static str {
        match self {
            EntryKind::MessageInput => "message.input",
            EntryKind::MessageOutput => "message.output",
            EntryKind::FunctionCall => "function.call",
            EntryKind::FunctionResult => "function.result",
            EntryKind::ToolExecution => "tool.execution",
            EntryKind::AgentHandoff => "agent.handoff",
            EntryKind::HumanHandoff => "conversation.handoff",
        }
    }
}

/// Names an entry in the whole store. The kind only chooses the prefix of its text; the UUID alone is the identity.
#[derive(Clone, Copy)]
pub struct EntryId {
    /// The kind of the entry.
    pub kind: EntryKind,
    /// The identity.
    pub uuid: Uuid,
}

impl PartialEq for EntryId {
    fn eq(&self, other: &Self) -> bool {
        self.uuid == other.uuid
    }
}

impl Eq for EntryId {}

impl std::hash::Hash for EntryId {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.uuid.hash(state);
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.kind.prefix(), self.uuid.simple())
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EntryId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let found =
            EntryKind::ALL.into_iter().find_map(|kind| Some(EntryId { kind, uuid: parse(text, kind.prefix())? }));
        found.ok_or(ParseIdError::new("msg_, call_, result_, exec_, handoff_ or human_"))
    }
}

/// A moment, in microseconds since 1970 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Microseconds since 1970 UTC.
    pub unix_us: i64,
}

impl Time {
    /// The moment that a UUIDv7 was made, to the millisecond.
    pub fn of_uuid(uuid: Uuid) -> Time {
        let bytes = uuid.as_bytes();
        let ms = bytes[..6].iter().fold(0i64, |ms, byte| (ms << 8) | i64::from(*byte));
        Time { unix_us: ms * 1000 }
    }
}
