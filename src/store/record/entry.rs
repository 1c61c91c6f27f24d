//! Entries on disk.

use prost::{Message, Oneof};

use super::{
    Damaged,
    chunk::{ChunkRecord, chunk_records, chunks},
    entry_id, entry_id_bytes, required,
};
use crate::domain::{
    Body, Entry, EntryDraft, EntryId, Time,
    entry::{
        AgentHandoff, Confirmation, Decision, FunctionCall, FunctionResult, HumanHandoff, MessageInput, MessageOutput,
        OutputStatus, Role, Segment, ToolExecution, Verdict,
    },
};

/// An entry without its id.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EntryRecord {
    #[prost(sint64, tag = "1")]
    created_at_us: i64,
    #[prost(sint64, optional, tag = "2")]
    completed_at_us: Option<i64>,
    #[prost(string, optional, tag = "3")]
    model: Option<String>,
    #[prost(string, optional, tag = "4")]
    agent_id: Option<String>,
    #[prost(oneof = "BodyRecord", tags = "5, 6, 7, 8, 9, 10, 11")]
    body: Option<BodyRecord>,
}

/// An entry that is not of the row's own, with its id.
#[derive(Clone, PartialEq, Message)]
pub(super) struct NamedEntry {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    entry: Option<EntryRecord>,
}

/// An entry on its way in: it has no id, and its times only if the caller gave them.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DraftRecord {
    #[prost(sint64, optional, tag = "1")]
    created_at_us: Option<i64>,
    #[prost(sint64, optional, tag = "2")]
    completed_at_us: Option<i64>,
    #[prost(string, optional, tag = "3")]
    model: Option<String>,
    #[prost(string, optional, tag = "4")]
    agent_id: Option<String>,
    #[prost(oneof = "BodyRecord", tags = "5, 6, 7, 8, 9, 10, 11")]
    body: Option<BodyRecord>,
}

#[derive(Clone, PartialEq, Oneof)]
enum BodyRecord {
    #[prost(message, tag = "5")]
    MessageInput(MessageInputRecord),
    #[prost(message, tag = "6")]
    MessageOutput(MessageOutputRecord),
    #[prost(message, tag = "7")]
    FunctionCall(FunctionCallRecord),
    #[prost(message, tag = "8")]
    FunctionResult(FunctionResultRecord),
    #[prost(message, tag = "9")]
    ToolExecution(ToolExecutionRecord),
    #[prost(message, tag = "10")]
    AgentHandoff(AgentHandoffRecord),
    #[prost(message, tag = "11")]
    HumanHandoff(HumanHandoffRecord),
}

#[derive(Clone, PartialEq, Message)]
struct MessageInputRecord {
    /// 0 user, 1 system, 2 assistant.
    #[prost(uint32, tag = "1")]
    role: u32,
    #[prost(message, repeated, tag = "2")]
    content: Vec<ChunkRecord>,
    #[prost(bool, tag = "3")]
    prefix: bool,
}

#[derive(Clone, PartialEq, Message)]
struct MessageOutputRecord {
    #[prost(message, repeated, tag = "1")]
    content: Vec<ChunkRecord>,
    #[prost(bool, tag = "2")]
    incomplete: bool,
    #[prost(message, repeated, tag = "3")]
    segments: Vec<SegmentRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct SegmentRecord {
    #[prost(uint32, tag = "1")]
    first_content_index: u32,
    #[prost(string, tag = "2")]
    model: String,
}

#[derive(Clone, PartialEq, Message)]
struct FunctionCallRecord {
    #[prost(string, tag = "1")]
    tool_call_id: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    arguments: String,
    /// 0 none, 1 pending, 2 allowed, 3 denied.
    #[prost(uint32, tag = "4")]
    confirmation: u32,
    #[prost(sint64, optional, tag = "5")]
    confirmation_expires_at_us: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DecisionRecord {
    /// 1 allowed, 2 denied, 3 expired, 4 skipped.
    #[prost(uint32, tag = "1")]
    verdict: u32,
    #[prost(string, tag = "2")]
    reason: String,
    #[prost(string, tag = "3")]
    decided_by: String,
    #[prost(sint64, tag = "4")]
    decided_at_us: i64,
}

#[derive(Clone, PartialEq, Message)]
struct FunctionResultRecord {
    #[prost(string, tag = "1")]
    tool_call_id: String,
    #[prost(message, repeated, tag = "2")]
    content: Vec<ChunkRecord>,
    #[prost(bool, tag = "3")]
    is_error: bool,
    #[prost(message, optional, tag = "4")]
    decision: Option<DecisionRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct ToolExecutionRecord {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    arguments: String,
    #[prost(string, tag = "3")]
    info: String,
    #[prost(message, repeated, tag = "4")]
    result: Vec<ChunkRecord>,
    #[prost(bool, tag = "5")]
    incomplete: bool,
    #[prost(string, optional, tag = "6")]
    error: Option<String>,
    #[prost(string, optional, tag = "7")]
    tool_call_id: Option<String>,
    #[prost(bool, tag = "8")]
    parallel: bool,
    #[prost(message, optional, tag = "9")]
    decision: Option<DecisionRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct AgentHandoffRecord {
    #[prost(string, tag = "1")]
    previous_agent_id: String,
    #[prost(string, tag = "2")]
    previous_agent_name: String,
    #[prost(string, tag = "3")]
    next_agent_id: String,
    #[prost(string, tag = "4")]
    next_agent_name: String,
}

#[derive(Clone, PartialEq, Message)]
struct HumanHandoffRecord {
    #[prost(string, tag = "1")]
    message: String,
}

impl From<&Entry> for EntryRecord {
    fn from(entry: &Entry) -> EntryRecord {
        EntryRecord {
            created_at_us: entry.created_at.unix_us,
            completed_at_us: entry.completed_at.map(|time| time.unix_us),
            model: entry.model.clone(),
            agent_id: entry.agent_id.clone(),
            body: Some(body_record(&entry.body)),
        }
    }
}

impl EntryRecord {
    /// The entry with its id.
    pub(super) fn into_entry(self, id: EntryId) -> Result<Entry, Damaged> {
        Ok(Entry {
            id,
            created_at: Time { unix_us: self.created_at_us },
            completed_at: self.completed_at_us.map(|unix_us| Time { unix_us }),
            model: self.model,
            agent_id: self.agent_id,
            body: body(required(self.body)?)?,
        })
    }
}

impl From<&Entry> for NamedEntry {
    fn from(entry: &Entry) -> NamedEntry {
        NamedEntry { id: entry_id_bytes(entry.id).to_vec(), entry: Some(entry.into()) }
    }
}

impl TryFrom<NamedEntry> for Entry {
    type Error = Damaged;

    fn try_from(record: NamedEntry) -> Result<Entry, Damaged> {
        required(record.entry)?.into_entry(entry_id(&record.id)?)
    }
}

impl From<&EntryDraft> for DraftRecord {
    fn from(draft: &EntryDraft) -> DraftRecord {
        let EntryDraft { created_at, completed_at, model, agent_id, body } = draft;
        DraftRecord {
            created_at_us: created_at.map(|time| time.unix_us),
            completed_at_us: completed_at.map(|time| time.unix_us),
            model: model.clone(),
            agent_id: agent_id.clone(),
            body: Some(body_record(body)),
        }
    }
}

impl TryFrom<DraftRecord> for EntryDraft {
    type Error = Damaged;

    fn try_from(record: DraftRecord) -> Result<EntryDraft, Damaged> {
        let DraftRecord { created_at_us, completed_at_us, model, agent_id, body: kind } = record;
        Ok(EntryDraft {
            created_at: created_at_us.map(|unix_us| Time { unix_us }),
            completed_at: completed_at_us.map(|unix_us| Time { unix_us }),
            model,
            agent_id,
            body: body(required(kind)?)?,
        })
    }
}

fn body_record(body: &Body) -> BodyRecord {
    match body {
        Body::MessageInput(MessageInput { role, content, prefix }) => {
            let role = match role {
                Role::User => 0,
                Role::System => 1,
                Role::Assistant => 2,
            };
            BodyRecord::MessageInput(MessageInputRecord { role, content: chunk_records(content), prefix: *prefix })
        }
        Body::MessageOutput(MessageOutput { content, status, segments }) => {
            let segments = segments.iter().map(|Segment { first_content_index, model }| SegmentRecord {
                first_content_index: *first_content_index,
                model: model.clone(),
            });
            BodyRecord::MessageOutput(MessageOutputRecord {
                content: chunk_records(content),
                incomplete: *status == OutputStatus::Incomplete,
                segments: segments.collect(),
            })
        }
        Body::FunctionCall(call) => BodyRecord::FunctionCall(call_record(call)),
        Body::FunctionResult(FunctionResult { tool_call_id, content, is_error, decision }) => {
            BodyRecord::FunctionResult(FunctionResultRecord {
                tool_call_id: tool_call_id.clone(),
                content: chunk_records(content),
                is_error: *is_error,
                decision: decision.as_ref().map(DecisionRecord::from),
            })
        }
        Body::ToolExecution(run) => BodyRecord::ToolExecution(run_record(run)),
        Body::AgentHandoff(AgentHandoff { previous_agent_id, previous_agent_name, next_agent_id, next_agent_name }) => {
            BodyRecord::AgentHandoff(AgentHandoffRecord {
                previous_agent_id: previous_agent_id.clone(),
                previous_agent_name: previous_agent_name.clone(),
                next_agent_id: next_agent_id.clone(),
                next_agent_name: next_agent_name.clone(),
            })
        }
        Body::HumanHandoff(HumanHandoff { message }) => {
            BodyRecord::HumanHandoff(HumanHandoffRecord { message: message.clone() })
        }
    }
}

fn run_record(run: &ToolExecution) -> ToolExecutionRecord {
    let ToolExecution { name, arguments, info, result, status, error, tool_call_id, parallel, decision } = run;
    ToolExecutionRecord {
        name: name.clone(),
        arguments: arguments.clone(),
        info: info.clone(),
        result: chunk_records(result),
        incomplete: *status == OutputStatus::Incomplete,
        error: error.clone(),
        tool_call_id: tool_call_id.clone(),
        parallel: *parallel,
        decision: decision.as_ref().map(DecisionRecord::from),
    }
}

fn run(record: ToolExecutionRecord) -> Result<ToolExecution, Damaged> {
    let ToolExecutionRecord { name, arguments, info, result, incomplete, error, tool_call_id, parallel, decision } =
        record;
    Ok(ToolExecution {
        name,
        arguments,
        info,
        result: chunks(result)?,
        status: status(incomplete),
        error,
        tool_call_id,
        parallel,
        decision: decision.map(Decision::try_from).transpose()?,
    })
}

impl From<&Decision> for DecisionRecord {
    fn from(decision: &Decision) -> DecisionRecord {
        let Decision { verdict, reason, decided_by, decided_at } = decision;
        DecisionRecord {
            verdict: match verdict {
                Verdict::Allowed => 1,
                Verdict::Denied => 2,
                Verdict::Expired => 3,
                Verdict::Skipped => 4,
            },
            reason: reason.clone(),
            decided_by: decided_by.clone(),
            decided_at_us: decided_at.unix_us,
        }
    }
}

impl TryFrom<DecisionRecord> for Decision {
    type Error = Damaged;

    fn try_from(record: DecisionRecord) -> Result<Decision, Damaged> {
        let DecisionRecord { verdict, reason, decided_by, decided_at_us } = record;
        let verdict = match verdict {
            1 => Verdict::Allowed,
            2 => Verdict::Denied,
            3 => Verdict::Expired,
            4 => Verdict::Skipped,
            _ => return Err(Damaged("a decision is unknown")),
        };
        Ok(Decision { verdict, reason, decided_by, decided_at: Time { unix_us: decided_at_us } })
    }
}

fn call_record(call: &FunctionCall) -> FunctionCallRecord {
    FunctionCallRecord {
        tool_call_id: call.tool_call_id.clone(),
        name: call.name.clone(),
        arguments: call.arguments.clone(),
        confirmation: confirmation_number(call.confirmation),
        confirmation_expires_at_us: call.confirmation_expires_at.map(|time| time.unix_us),
    }
}

fn body(record: BodyRecord) -> Result<Body, Damaged> {
    Ok(match record {
        BodyRecord::MessageInput(MessageInputRecord { role, content, prefix }) => {
            let role = match role {
                0 => Role::User,
                1 => Role::System,
                2 => Role::Assistant,
                _ => return Err(Damaged("a role is unknown")),
            };
            Body::MessageInput(MessageInput { role, content: chunks(content)?, prefix })
        }
        BodyRecord::MessageOutput(MessageOutputRecord { content, incomplete, segments }) => {
            let segments = segments
                .into_iter()
                .map(|SegmentRecord { first_content_index, model }| Segment { first_content_index, model });
            let (content, status) = (chunks(content)?, status(incomplete));
            Body::MessageOutput(MessageOutput { content, status, segments: segments.collect() })
        }
        BodyRecord::FunctionCall(record) => Body::FunctionCall(call(record)?),
        BodyRecord::FunctionResult(FunctionResultRecord { tool_call_id, content, is_error, decision }) => {
            let decision = decision.map(Decision::try_from).transpose()?;
            Body::FunctionResult(FunctionResult { tool_call_id, content: chunks(content)?, is_error, decision })
        }
        BodyRecord::ToolExecution(record) => Body::ToolExecution(run(record)?),
        BodyRecord::AgentHandoff(record) => {
            let AgentHandoffRecord { previous_agent_id, previous_agent_name, next_agent_id, next_agent_name } = record;
            Body::AgentHandoff(AgentHandoff { previous_agent_id, previous_agent_name, next_agent_id, next_agent_name })
        }
        BodyRecord::HumanHandoff(HumanHandoffRecord { message }) => Body::HumanHandoff(HumanHandoff { message }),
    })
}

fn call(record: FunctionCallRecord) -> Result<FunctionCall, Damaged> {
    let FunctionCallRecord { tool_call_id, name, arguments, confirmation: number, confirmation_expires_at_us } = record;
    let confirmation_expires_at = confirmation_expires_at_us.map(|unix_us| Time { unix_us });
    Ok(FunctionCall { tool_call_id, name, arguments, confirmation: confirmation(number)?, confirmation_expires_at })
}

/// 0 none, 1 pending, 2 allowed, 3 denied.
pub(super) fn confirmation_number(confirmation: Option<Confirmation>) -> u32 {
    match confirmation {
        None => 0,
        Some(Confirmation::Pending) => 1,
        Some(Confirmation::Allowed) => 2,
        Some(Confirmation::Denied) => 3,
    }
}

pub(super) fn confirmation(number: u32) -> Result<Option<Confirmation>, Damaged> {
    Ok(match number {
        0 => None,
        1 => Some(Confirmation::Pending),
        2 => Some(Confirmation::Allowed),
        3 => Some(Confirmation::Denied),
        _ => return Err(Damaged("a confirmation is unknown")),
    })
}

fn status(incomplete: bool) -> OutputStatus {
    if incomplete { OutputStatus::Incomplete } else { OutputStatus::Completed }
}
