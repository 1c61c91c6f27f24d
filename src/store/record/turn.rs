//! Turns and failures on disk.

use std::{borrow::Cow, sync::Arc};

use prost::Message;

use super::{
    Damaged,
    entry::NamedEntry,
    id, id_bytes, optional_id, required,
    spend::{ModelUsageRecord, MoneyRecord, OmissionRecord, UsageRecord},
};
use crate::domain::{
    ConversationId, Entry, Failure, FinishReason, ModelUsage, Money, Omission, Reason, Time, Turn, TurnId, TurnState,
    Usage, Violation,
};

/// A turn without its id and outputs.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TurnRecord {
    #[prost(uint32, tag = "1")]
    state: u32,
    /// 0: none.
    #[prost(uint32, tag = "2")]
    finish_reason: u32,
    #[prost(bytes = "vec", optional, tag = "3")]
    conversation_id: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "4")]
    parent_id: Option<Vec<u8>>,
    #[prost(string, tag = "5")]
    model: String,
    #[prost(string, optional, tag = "6")]
    agent_id: Option<String>,
    #[prost(message, optional, tag = "7")]
    usage: Option<UsageRecord>,
    #[prost(message, optional, tag = "8")]
    error: Option<FailureRecord>,
    #[prost(sint64, tag = "9")]
    created_at_us: i64,
    #[prost(sint64, optional, tag = "10")]
    completed_at_us: Option<i64>,
    #[prost(uint64, tag = "11")]
    last_sequence: u64,
    #[prost(string, optional, tag = "12")]
    request_id: Option<String>,
    #[prost(message, optional, tag = "13")]
    cost: Option<MoneyRecord>,
    #[prost(message, repeated, tag = "14")]
    models: Vec<ModelUsageRecord>,
    #[prost(message, repeated, tag = "15")]
    omissions: Vec<OmissionRecord>,
    #[prost(uint32, optional, tag = "16")]
    agent_version: Option<u32>,
}

/// A turn with all that belongs to it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct FullTurn {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    turn: Option<TurnRecord>,
    #[prost(message, repeated, tag = "3")]
    outputs: Vec<NamedEntry>,
}

/// A failure.
#[derive(Clone, PartialEq, Message)]
pub(super) struct FailureRecord {
    #[prost(uint32, tag = "1")]
    reason: u32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<Pair>,
    #[prost(message, repeated, tag = "4")]
    violations: Vec<Pair>,
    #[prost(uint64, optional, tag = "5")]
    retry_after_ms: Option<u64>,
    #[prost(message, optional, tag = "6")]
    resource: Option<Pair>,
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

impl From<&Turn> for TurnRecord {
    fn from(turn: &Turn) -> TurnRecord {
        TurnRecord {
            state: state_number(turn.state),
            finish_reason: turn.finish_reason.map_or(0, finish_number),
            conversation_id: turn.conversation_id.map(|id| id_bytes(id.0)),
            parent_id: turn.parent_id.map(|id| id_bytes(id.0)),
            model: turn.model.clone(),
            agent_id: turn.agent_id.clone(),
            agent_version: turn.agent_version,
            usage: (turn.usage != Usage::default()).then(|| (&turn.usage).into()),
            error: turn.error.as_ref().map(FailureRecord::from),
            created_at_us: turn.created_at.unix_us,
            completed_at_us: turn.completed_at.map(|time| time.unix_us),
            last_sequence: turn.last_sequence,
            request_id: turn.request_id.clone(),
            cost: turn.cost.map(MoneyRecord::from),
            models: turn.models.iter().map(ModelUsageRecord::from).collect(),
            omissions: turn.omissions.iter().map(OmissionRecord::from).collect(),
        }
    }
}

impl TurnRecord {
    /// The turn with its id and outputs.
    pub(super) fn into_turn(self, id: TurnId, outputs: Vec<Arc<Entry>>) -> Result<Turn, Damaged> {
        Ok(Turn {
            id,
            state: state(self.state)?,
            finish_reason: if self.finish_reason == 0 { None } else { Some(finish(self.finish_reason)?) },
            conversation_id: optional_id(self.conversation_id)?.map(ConversationId),
            parent_id: optional_id(self.parent_id)?.map(ConversationId),
            model: self.model,
            agent_id: self.agent_id,
            agent_version: self.agent_version,
            outputs,
            usage: self.usage.map(Usage::from).unwrap_or_default(),
            cost: self.cost.map(Money::from),
            models: self.models.into_iter().map(ModelUsage::from).collect(),
            omissions: self.omissions.into_iter().map(Omission::try_from).collect::<Result<_, _>>()?,
            error: self.error.map(Failure::try_from).transpose()?,
            created_at: Time { unix_us: self.created_at_us },
            completed_at: self.completed_at_us.map(|unix_us| Time { unix_us }),
            last_sequence: self.last_sequence,
            request_id: self.request_id,
            background: None,
        })
    }
}

impl From<&Turn> for FullTurn {
    fn from(turn: &Turn) -> FullTurn {
        let outputs = turn.outputs.iter().map(|entry| (&**entry).into()).collect();
        FullTurn { id: id_bytes(turn.id.0), turn: Some(turn.into()), outputs }
    }
}

impl TryFrom<FullTurn> for Turn {
    type Error = Damaged;

    fn try_from(record: FullTurn) -> Result<Turn, Damaged> {
        let outputs = record.outputs.into_iter().map(|entry| Ok(Arc::new(entry.try_into()?)));
        let outputs = outputs.collect::<Result<_, Damaged>>()?;
        required(record.turn)?.into_turn(TurnId(id(&record.id)?), outputs)
    }
}

/// The number of a turn's state on disk.
pub(super) fn state_number(state: TurnState) -> u32 {
    match state {
        TurnState::Queued => 1,
        TurnState::Running => 2,
        TurnState::RequiresAction => 3,
        TurnState::Completed => 4,
        TurnState::Incomplete => 5,
        TurnState::Failed => 6,
        TurnState::Cancelled => 7,
    }
}

/// The state with this number.
pub(super) fn state(number: u32) -> Result<TurnState, Damaged> {
    Ok(match number {
        1 => TurnState::Queued,
        2 => TurnState::Running,
        3 => TurnState::RequiresAction,
        4 => TurnState::Completed,
        5 => TurnState::Incomplete,
        6 => TurnState::Failed,
        7 => TurnState::Cancelled,
        _ => return Err(Damaged("a turn state is unknown")),
    })
}

fn finish_number(reason: FinishReason) -> u32 {
    match reason {
        FinishReason::Stop => 1,
        FinishReason::Length => 2,
        FinishReason::ToolCalls => 3,
        FinishReason::ContentFilter => 4,
        FinishReason::ModelLength => 5,
        FinishReason::Error => 6,
    }
}

fn finish(number: u32) -> Result<FinishReason, Damaged> {
    Ok(match number {
        1 => FinishReason::Stop,
        2 => FinishReason::Length,
        3 => FinishReason::ToolCalls,
        4 => FinishReason::ContentFilter,
        5 => FinishReason::ModelLength,
        6 => FinishReason::Error,
        _ => return Err(Damaged("a finish reason is unknown")),
    })
}

fn pair(name: &str, value: &str) -> Pair {
    Pair { name: name.to_owned(), value: value.to_owned() }
}

impl From<&Failure> for FailureRecord {
    fn from(failure: &Failure) -> FailureRecord {
        let Failure { reason, message, metadata, violations, retry_after_ms, resource } = failure;
        FailureRecord {
            reason: *reason as u32,
            message: message.clone(),
            metadata: metadata.iter().map(|(name, value)| pair(name, value)).collect(),
            violations: violations.iter().map(|violation| pair(&violation.field, &violation.description)).collect(),
            retry_after_ms: *retry_after_ms,
            resource: resource.as_ref().map(|(kind, name)| pair(kind, name)),
        }
    }
}

impl TryFrom<FailureRecord> for Failure {
    type Error = Damaged;

    fn try_from(record: FailureRecord) -> Result<Failure, Damaged> {
        let FailureRecord { reason, message, metadata, violations, retry_after_ms, resource } = record;
        let reason = u8::try_from(reason).ok().and_then(Reason::from_number);
        Ok(Failure {
            reason: reason.ok_or(Damaged("a reason is unknown"))?,
            message,
            metadata: metadata.into_iter().map(|pair| (Cow::Owned(pair.name), pair.value)).collect(),
            violations: violations
                .into_iter()
                .map(|pair| Violation { field: pair.name, description: pair.value })
                .collect(),
            retry_after_ms,
            resource: resource.map(|pair| (Cow::Owned(pair.name), pair.value)),
        })
    }
}
