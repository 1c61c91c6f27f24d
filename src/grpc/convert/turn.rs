//! Turns.

use std::sync::Arc;

use super::{background, entry, failure, number, omission, path::Path, rules, spend, time, violations::Violations};
use crate::{
    domain::{FinishReason, Turn, TurnState},
    proto::{
        self,
        turn::{FinishReason as ProtoReason, State},
    },
};

/// A turn as the wire has it.
pub fn write(turn: &Turn) -> proto::Turn {
    let Turn {
        id,
        state,
        finish_reason,
        conversation_id,
        parent_id,
        model,
        agent_id,
        agent_version,
        outputs,
        usage,
        cost,
        models,
        omissions,
        error,
        created_at,
        completed_at,
        last_sequence,
        request_id,
        background,
    } = turn;
    proto::Turn {
        id: id.to_string(),
        state: write_state(*state).into(),
        finish_reason: write_reason(*finish_reason).into(),
        conversation_id: conversation_id.map(|id| id.to_string()).unwrap_or_default(),
        parent_conversation_id: parent_id.map(|id| id.to_string()).unwrap_or_default(),
        model: model.clone(),
        agent_id: agent_id.clone().unwrap_or_default(),
        agent_version: number::write_small(agent_version.unwrap_or_default()),
        outputs: outputs.iter().map(|output| entry::write(output)).collect(),
        usage: Some(spend::write_usage(usage)),
        cost: cost.map(spend::write_money),
        models: models.iter().map(spend::write_model_usage).collect(),
        omissions: omissions.iter().map(omission::write).collect(),
        error: error.as_ref().map(failure::write),
        created_at: Some(time::write(*created_at)),
        completed_at: completed_at.map(time::write),
        last_sequence: number::write(*last_sequence),
        request_id: request_id.clone().unwrap_or_default(),
        background: background.as_deref().map(background::write_state),
    }
}

/// A turn of an import.
pub(super) fn read(at: &Path<'_>, turn: proto::Turn, violations: &mut Violations) -> Option<Turn> {
    let proto::Turn {
        id,
        state,
        finish_reason,
        conversation_id,
        parent_conversation_id,
        model,
        agent_id,
        outputs,
        usage,
        cost,
        models,
        omissions,
        error,
        created_at,
        completed_at,
        last_sequence,
        request_id,
        agent_version,
        background,
    } = turn;
    let v = violations;
    if background.is_some() {
        v.add(&at.field("background"), format_args!("must be left out: the turn has ended"));
    }
    let id = rules::turn_id(&at.field("id"), &id, v);
    let state = read_state(&at.field("state"), state, v);
    let finish_reason = read_reason(&at.field("finish_reason"), finish_reason, v);
    let conversation_id = rules::optional_conversation_id(&at.field("conversation_id"), &conversation_id, v);
    let parent_id = rules::optional_conversation_id(&at.field("parent_conversation_id"), &parent_conversation_id, v);
    let outputs = outputs.into_iter().enumerate();
    let outputs = outputs.filter_map(|(i, output)| entry::read(&at.item("outputs", i), output, v).map(Arc::new));
    let outputs = outputs.collect();
    let usage = spend::read_usage(&at.field("usage"), usage, v);
    let cost = spend::read_optional_money(&at.field("cost"), cost, v);
    let models = models.into_iter().enumerate();
    let models = models.filter_map(|(i, model)| spend::read_model_usage(&at.item("models", i), model, v)).collect();
    let omissions = omissions.into_iter().enumerate();
    let omissions = omissions.filter_map(|(i, left_out)| omission::read(&at.item("omissions", i), left_out, v));
    let omissions = omissions.collect();
    let error = error.and_then(|error| failure::read(&at.field("error"), error, v));
    let created_at = time::read_required(&at.field("created_at"), created_at, v);
    let completed_at = time::read_optional(&at.field("completed_at"), completed_at, v);
    let last_sequence = number::read(&at.field("last_sequence"), last_sequence, v);
    let agent_version = number::read_small(&at.field("agent_version"), agent_version, 0, v);
    Some(Turn {
        id: id?,
        state: state?,
        finish_reason: finish_reason?,
        conversation_id: conversation_id?,
        parent_id: parent_id?,
        model,
        agent_id: rules::given(agent_id),
        agent_version: Some(agent_version?).filter(|version| *version > 0),
        outputs,
        usage: usage?,
        cost: cost?,
        models,
        omissions,
        error,
        created_at: created_at?,
        completed_at: completed_at?,
        last_sequence: last_sequence?,
        request_id: rules::given(request_id),
        background: None,
    })
}

pub(super) fn write_state(state: TurnState) -> State {
    match state {
        TurnState::Queued => State::Queued,
        TurnState::Running => State::Running,
        TurnState::RequiresAction => State::RequiresAction,
        TurnState::Completed => State::Completed,
        TurnState::Incomplete => State::Incomplete,
        TurnState::Failed => State::Failed,
        TurnState::Cancelled => State::Cancelled,
    }
}

pub(super) fn read_state(at: &Path<'_>, number: i32, violations: &mut Violations) -> Option<TurnState> {
    match State::try_from(number) {
        Ok(State::Queued) => Some(TurnState::Queued),
        Ok(State::Running) => Some(TurnState::Running),
        Ok(State::RequiresAction) => Some(TurnState::RequiresAction),
        Ok(State::Completed) => Some(TurnState::Completed),
        Ok(State::Incomplete) => Some(TurnState::Incomplete),
        Ok(State::Failed) => Some(TurnState::Failed),
        Ok(State::Cancelled) => Some(TurnState::Cancelled),
        Ok(State::Unspecified) => {
            violations.add(at, format_args!("is required"));
            None
        }
        Err(_) => {
            rules::unknown_number(at, number, violations);
            None
        }
    }
}

fn write_reason(reason: Option<FinishReason>) -> ProtoReason {
    match reason {
        None => ProtoReason::Unspecified,
        Some(FinishReason::Stop) => ProtoReason::Stop,
        Some(FinishReason::Length) => ProtoReason::Length,
        Some(FinishReason::ToolCalls) => ProtoReason::ToolCalls,
        Some(FinishReason::ContentFilter) => ProtoReason::ContentFilter,
        Some(FinishReason::ModelLength) => ProtoReason::ModelLength,
        Some(FinishReason::Error) => ProtoReason::Error,
    }
}

/// The inner `None`: the model has not stopped, or none was asked.
fn read_reason(at: &Path<'_>, number: i32, violations: &mut Violations) -> Option<Option<FinishReason>> {
    match ProtoReason::try_from(number) {
        Ok(ProtoReason::Unspecified) => Some(None),
        Ok(ProtoReason::Stop) => Some(Some(FinishReason::Stop)),
        Ok(ProtoReason::Length) => Some(Some(FinishReason::Length)),
        Ok(ProtoReason::ToolCalls) => Some(Some(FinishReason::ToolCalls)),
        Ok(ProtoReason::ContentFilter) => Some(Some(FinishReason::ContentFilter)),
        Ok(ProtoReason::ModelLength) => Some(Some(FinishReason::ModelLength)),
        Ok(ProtoReason::Error) => Some(Some(FinishReason::Error)),
        Err(_) => {
            rules::unknown_number(at, number, violations);
            None
        }
    }
}
