//! A turn and its event log on disk. What the row's entries already say is referred to, not repeated.

mod read;
mod write;

use prost::{Message, Oneof};

pub(super) use self::{read::Read, write::Written};
use super::{
    chunk::ChunkRecord,
    entry::{DecisionRecord, NamedEntry},
    turn::{FailureRecord, FullTurn, TurnRecord},
};

/// A turn and its event log.
#[derive(Clone, PartialEq, Message)]
pub(super) struct LogRecord {
    #[prost(message, optional, tag = "1")]
    turn: Option<TurnRecord>,
    #[prost(bytes = "vec", optional, tag = "2")]
    fingerprint: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "3")]
    events: Vec<EventRecord>,
    /// Ids that deltas speak of and that are no outputs of the turn, 17 bytes each.
    #[prost(bytes = "vec", tag = "4")]
    other_ids: Vec<u8>,
    #[prost(message, repeated, tag = "5")]
    authors: Vec<AuthorRecord>,
    #[prost(message, repeated, tag = "6")]
    calls: Vec<CallRecord>,
}

/// The same without its events: what is not named here is passed over.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TurnOfLog {
    #[prost(message, optional, tag = "1")]
    pub(super) turn: Option<TurnRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct AuthorRecord {
    #[prost(string, tag = "1")]
    model: String,
    #[prost(string, optional, tag = "2")]
    agent_id: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct CallRecord {
    #[prost(string, tag = "1")]
    tool_call_id: String,
    #[prost(string, tag = "2")]
    name: String,
    /// As of an entry's call.
    #[prost(uint32, tag = "3")]
    confirmation: u32,
    #[prost(sint64, optional, tag = "4")]
    confirmation_expires_at_us: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct EventRecord {
    /// First sequence, from the one that follows the event before.
    #[prost(sint64, tag = "1")]
    skipped: i64,
    /// Sequence, from the first one.
    #[prost(sint64, tag = "2")]
    merged: i64,
    /// From the event before, or from the turn's beginning.
    #[prost(sint64, tag = "3")]
    after_us: i64,
    #[prost(oneof = "KindRecord", tags = "4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21")]
    kind: Option<KindRecord>,
}

#[derive(Clone, PartialEq, Oneof)]
enum KindRecord {
    #[prost(message, tag = "4")]
    Started(StartedRecord),
    #[prost(message, tag = "5")]
    Output(OutputRecord),
    #[prost(message, tag = "6")]
    Call(CallDeltaRecord),
    #[prost(message, tag = "7")]
    EntryDone(DoneRecord),
    #[prost(message, tag = "8")]
    ResponseDone(ResponseRecord),
    #[prost(message, tag = "9")]
    ResponseError(Box<FailureRecord>),
    #[prost(message, tag = "10")]
    Retry(Box<RetryRecord>),
    #[prost(message, tag = "11")]
    Switched(Box<SwitchRecord>),
    #[prost(message, tag = "12")]
    ToolStarted(Box<ToolStartedRecord>),
    #[prost(message, tag = "13")]
    ToolDelta(Box<ToolDeltaRecord>),
    #[prost(message, tag = "14")]
    ToolDone(Box<ToolDoneRecord>),
    #[prost(message, tag = "15")]
    HandoffStarted(Box<HandoffRecord>),
    #[prost(message, tag = "16")]
    HandoffDone(Box<HandoffRecord>),
    #[prost(message, tag = "17")]
    HumanHandoff(Box<HandoffRecord>),
    #[prost(message, tag = "18")]
    Queued(QueuedRecord),
    #[prost(message, tag = "19")]
    Resumed(ResumedRecord),
    #[prost(message, tag = "20")]
    Requeued(Box<RequeuedRecord>),
    #[prost(message, tag = "21")]
    Conflict(ConflictRecord),
}

#[derive(Clone, PartialEq, Message)]
struct StartedRecord {
    /// Ids and inputs are those of the turn, and the other fields are empty.
    #[prost(bool, tag = "1")]
    usual: bool,
    #[prost(bytes = "vec", optional, tag = "2")]
    conversation_id: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    parent_id: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "4")]
    inputs: Vec<NamedEntry>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryRecord {
    #[prost(string, tag = "1")]
    model: String,
    #[prost(uint32, tag = "2")]
    attempt: u32,
    #[prost(uint64, tag = "3")]
    delay_ms: u64,
    #[prost(message, optional, tag = "4")]
    failure: Option<FailureRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct SwitchRecord {
    #[prost(string, tag = "1")]
    from_model: String,
    #[prost(string, tag = "2")]
    to_model: String,
    #[prost(uint32, tag = "3")]
    attempts: u32,
    #[prost(message, optional, tag = "4")]
    failure: Option<FailureRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct OutputRecord {
    /// Among the outputs, or after them among the other ids.
    #[prost(uint32, tag = "1")]
    entry: u32,
    #[prost(uint32, tag = "2")]
    output_index: u32,
    #[prost(uint32, tag = "3")]
    content_index: u32,
    #[prost(uint32, tag = "4")]
    author: u32,
    /// So many bytes of the output's text; otherwise `chunk`.
    #[prost(uint32, optional, tag = "5")]
    piece: Option<u32>,
    /// The piece is of a thought.
    #[prost(message, optional, tag = "6")]
    thought: Option<ThoughtRecord>,
    #[prost(message, optional, tag = "7")]
    chunk: Option<ChunkRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct ThoughtRecord {
    #[prost(bool, tag = "1")]
    closed: bool,
    #[prost(string, tag = "2")]
    provider: String,
    #[prost(string, tag = "3")]
    signature: String,
}

#[derive(Clone, PartialEq, Message)]
struct CallDeltaRecord {
    #[prost(uint32, tag = "1")]
    entry: u32,
    #[prost(uint32, tag = "2")]
    output_index: u32,
    #[prost(uint32, tag = "3")]
    call: u32,
    #[prost(uint32, tag = "4")]
    author: u32,
    /// So many bytes of the output's arguments; otherwise `arguments`.
    #[prost(uint32, optional, tag = "5")]
    piece: Option<u32>,
    #[prost(string, tag = "6")]
    arguments: String,
}

#[derive(Clone, PartialEq, Message)]
struct DoneRecord {
    /// An output; otherwise `entry`.
    #[prost(uint32, optional, tag = "1")]
    output: Option<u32>,
    #[prost(message, optional, tag = "2")]
    entry: Option<NamedEntry>,
}

#[derive(Clone, PartialEq, Message)]
struct ResponseRecord {
    /// None: the row's turn.
    #[prost(message, optional, boxed, tag = "1")]
    turn: Option<Box<FullTurn>>,
}

#[derive(Clone, PartialEq, Message)]
struct ToolStartedRecord {
    #[prost(uint32, tag = "1")]
    entry: u32,
    #[prost(uint32, tag = "2")]
    output_index: u32,
    #[prost(uint32, tag = "3")]
    author: u32,
    /// All that follows is as the output says.
    #[prost(bool, tag = "4")]
    usual: bool,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(string, tag = "6")]
    arguments: String,
    #[prost(string, optional, tag = "7")]
    tool_call_id: Option<String>,
    #[prost(bool, tag = "8")]
    parallel: bool,
    #[prost(message, optional, tag = "9")]
    decision: Option<DecisionRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct ToolDeltaRecord {
    #[prost(uint32, tag = "1")]
    entry: u32,
    #[prost(uint32, tag = "2")]
    output_index: u32,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    message: String,
    #[prost(string, tag = "5")]
    arguments: String,
}

#[derive(Clone, PartialEq, Message)]
struct ToolDoneRecord {
    #[prost(uint32, tag = "1")]
    entry: u32,
    #[prost(uint32, tag = "2")]
    output_index: u32,
    /// All that follows is as the output says.
    #[prost(bool, tag = "3")]
    usual: bool,
    #[prost(string, tag = "4")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    result: Vec<ChunkRecord>,
    #[prost(string, tag = "6")]
    info: String,
    #[prost(string, optional, tag = "7")]
    error: Option<String>,
}

/// The begin of a handoff, its end, or one to a person.
#[derive(Clone, PartialEq, Message)]
struct HandoffRecord {
    #[prost(uint32, tag = "1")]
    entry: u32,
    #[prost(uint32, tag = "2")]
    output_index: u32,
    /// Not of the end.
    #[prost(uint32, tag = "3")]
    author: u32,
    /// The agent's id; of a handoff to a person its message.
    #[prost(string, tag = "4")]
    text: String,
    #[prost(string, tag = "5")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct QueuedRecord {
    /// None: the version that is named after the turn.
    #[prost(bytes = "vec", optional, tag = "1")]
    conversation_id: Option<Vec<u8>>,
    #[prost(sint64, optional, tag = "2")]
    not_before_us: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "3")]
    after: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct ResumedRecord {
    #[prost(uint32, tag = "1")]
    attempt: u32,
    #[prost(uint32, tag = "2")]
    kept_outputs: u32,
}

#[derive(Clone, PartialEq, Message)]
struct RequeuedRecord {
    #[prost(uint32, tag = "1")]
    attempt: u32,
    #[prost(sint64, tag = "2")]
    not_before_us: i64,
    #[prost(message, optional, tag = "3")]
    failure: Option<FailureRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct ConflictRecord {
    #[prost(bytes = "vec", tag = "1")]
    other: Vec<u8>,
    /// As the domain numbers it.
    #[prost(uint32, tag = "2")]
    policy: u32,
    #[prost(bool, tag = "3")]
    newcomer: bool,
}
