//! Events. Out is the hot path of streaming: one call per token and reader, so it copies texts and nothing more.

use std::sync::Arc;

use super::{
    background,
    chunk::{self, Place},
    entry, failure, number,
    path::Path,
    rules, time, tool_event, turn,
    violations::Violations,
};
use crate::{
    domain::{
        Entry, EntryId, Event, EventKind, TurnId,
        event::{Author, CallHead},
        ids::EntryKind,
    },
    proto::{self, event::Kind},
};

/// An event as the wire has it. `turn_id` is the turn's id as text, which a reader makes once and not for every event.
pub fn write(turn_id: &str, event: &Event) -> proto::Event {
    let Event { sequence, first_sequence, created_at, kind } = event;
    proto::Event {
        sequence: number::write(*sequence),
        first_sequence: number::write(*first_sequence),
        created_at: Some(time::write(*created_at)),
        turn_id: turn_id.to_owned(),
        kind: Some(write_kind(kind)),
    }
}

/// The event that tells a reader that the connection is alive. It is in no log and has no sequence.
pub fn heartbeat(turn_id: &str, now: crate::domain::Time) -> proto::Event {
    proto::Event {
        sequence: 0,
        first_sequence: 0,
        created_at: Some(time::write(now)),
        turn_id: turn_id.to_owned(),
        kind: Some(Kind::Heartbeat(proto::Heartbeat {})),
    }
}

fn write_kind(kind: &EventKind) -> Kind {
    match kind {
        EventKind::MessageOutputDelta { entry_id, output_index, content_index, author, chunk } => {
            Kind::MessageOutputDelta(proto::MessageOutputDelta {
                entry_id: entry_id.to_string(),
                output_index: number::write_small(*output_index),
                content_index: number::write_small(*content_index),
                role: proto::Role::Assistant.into(),
                model: author.model.clone(),
                agent_id: author.agent_id.clone().unwrap_or_default(),
                content: Some(chunk::write(chunk)),
            })
        }
        EventKind::FunctionCallDelta { entry_id, output_index, call, author, arguments } => {
            Kind::FunctionCallDelta(proto::FunctionCallDelta {
                entry_id: entry_id.to_string(),
                output_index: number::write_small(*output_index),
                tool_call_id: call.tool_call_id.clone(),
                name: call.name.clone(),
                arguments: arguments.clone(),
                model: author.model.clone(),
                agent_id: author.agent_id.clone().unwrap_or_default(),
                confirmation_status: entry::write_confirmation(call.confirmation).into(),
                confirmation_expires_at: call.confirmation_expires_at.map(time::write),
            })
        }
        EventKind::ResponseStarted { conversation_id, parent_id, inputs } => {
            Kind::ResponseStarted(proto::ResponseStarted {
                conversation_id: conversation_id.map(|id| id.to_string()).unwrap_or_default(),
                parent_conversation_id: parent_id.map(|id| id.to_string()).unwrap_or_default(),
                inputs: inputs.iter().map(|input| entry::write(input)).collect(),
            })
        }
        EventKind::UpstreamRetry { model, attempt, delay_ms, failure } => Kind::UpstreamRetry(proto::UpstreamRetry {
            attempt: number::write_small(*attempt),
            error: Some(failure::write(failure)),
            delay_ms: number::write(*delay_ms),
            model: model.clone(),
        }),
        EventKind::UpstreamSwitched { from_model, to_model, attempts, failure } => {
            Kind::UpstreamSwitched(proto::UpstreamSwitched {
                from_model: from_model.clone(),
                to_model: to_model.clone(),
                attempts: number::write_small(*attempts),
                error: Some(failure::write(failure)),
            })
        }
        EventKind::TurnQueued { .. }
        | EventKind::TurnResumed { .. }
        | EventKind::TurnRequeued { .. }
        | EventKind::TurnConflict { .. } => background::write_event(kind).expect("these are the kinds that it writes"),
        EventKind::ToolExecutionStarted { .. }
        | EventKind::ToolExecutionDelta { .. }
        | EventKind::ToolExecutionDone { .. }
        | EventKind::AgentHandoffStarted { .. }
        | EventKind::AgentHandoffDone { .. }
        | EventKind::HumanHandoff { .. } => tool_event::write(kind),
        EventKind::EntryDone { entry } => Kind::EntryDone(proto::EntryDone { entry: Some(entry::write(entry)) }),
        EventKind::ResponseDone { turn } => Kind::ResponseDone(proto::ResponseDone { turn: Some(turn::write(turn)) }),
        EventKind::ResponseError { failure } => {
            Kind::ResponseError(proto::ResponseError { status: Some(failure::write(failure)) })
        }
    }
}

/// An event of an import, which must be one of `turn`.
pub(super) fn read(at: &Path<'_>, turn: TurnId, event: proto::Event, violations: &mut Violations) -> Option<Event> {
    let proto::Event { sequence, first_sequence, created_at, turn_id, kind } = event;
    let of = rules::turn_id(&at.field("turn_id"), &turn_id, violations);
    if of.is_some_and(|of| of != turn) {
        violations.add(&at.field("turn_id"), format_args!("must be the turn of the version before it"));
    }
    if sequence < 1 || first_sequence < 1 || first_sequence > sequence {
        let at = at.field("first_sequence");
        violations.add(&at, format_args!("must be 1 to `sequence`, is {first_sequence} with sequence {sequence}"));
    }
    let sequence = number::read(&at.field("sequence"), sequence, violations);
    let first_sequence = number::read(&at.field("first_sequence"), first_sequence, violations);
    let created_at = time::read_required(&at.field("created_at"), created_at, violations);
    let Some(kind) = kind else {
        violations.add(at, format_args!("must have exactly one kind that this release knows"));
        return None;
    };
    let kind = read_kind(at, kind, violations)?;
    Some(Event { sequence: sequence?, first_sequence: first_sequence?, created_at: created_at?, kind })
}

fn read_kind(at: &Path<'_>, kind: Kind, violations: &mut Violations) -> Option<EventKind> {
    match kind {
        Kind::ResponseStarted(started) => read_started(&at.field("response_started"), started, violations),
        Kind::MessageOutputDelta(delta) => read_message(&at.field("message_output_delta"), delta, violations),
        Kind::FunctionCallDelta(delta) => read_call(&at.field("function_call_delta"), delta, violations),
        Kind::EntryDone(proto::EntryDone { entry }) => {
            let at = at.field("entry_done");
            let at = at.field("entry");
            let entry = entry::read(&at, required(&at, entry, violations)?, violations)?;
            Some(EventKind::EntryDone { entry: Arc::new(entry) })
        }
        Kind::ResponseDone(proto::ResponseDone { turn }) => {
            let at = at.field("response_done");
            let at = at.field("turn");
            let turn = turn::read(&at, required(&at, turn, violations)?, violations)?;
            Some(EventKind::ResponseDone { turn: Arc::new(turn) })
        }
        Kind::ResponseError(proto::ResponseError { status }) => {
            let at = at.field("response_error");
            let at = at.field("status");
            let failure = failure::read(&at, required(&at, status, violations)?, violations)?;
            Some(EventKind::ResponseError { failure: Arc::new(failure) })
        }
        Kind::UpstreamRetry(retry) => read_retry(&at.field("upstream_retry"), retry, violations),
        Kind::UpstreamSwitched(switch) => read_switch(&at.field("upstream_switched"), switch, violations),
        kind @ (Kind::ToolExecutionStarted(_)
        | Kind::ToolExecutionDelta(_)
        | Kind::ToolExecutionDone(_)
        | Kind::AgentHandoffStarted(_)
        | Kind::AgentHandoffDone(_)
        | Kind::HumanHandoff(_)) => tool_event::read(at, kind, violations),
        Kind::TurnQueued(queued) => background::read_queued(&at.field("turn_queued"), queued, violations),
        Kind::TurnResumed(resumed) => background::read_resumed(&at.field("turn_resumed"), resumed, violations),
        Kind::TurnRequeued(again) => background::read_requeued(&at.field("turn_requeued"), again, violations),
        Kind::TurnConflict(conflict) => background::read_conflict(&at.field("turn_conflict"), conflict, violations),
        Kind::Heartbeat(proto::Heartbeat {}) => {
            violations.add(at, format_args!("is a heartbeat, which belongs to no log: leave it out"));
            None
        }
    }
}

fn required<T>(at: &Path<'_>, field: Option<T>, violations: &mut Violations) -> Option<T> {
    if field.is_none() {
        violations.add(at, format_args!("is required"));
    }
    field
}

fn read_started(at: &Path<'_>, started: proto::ResponseStarted, violations: &mut Violations) -> Option<EventKind> {
    let proto::ResponseStarted { conversation_id, parent_conversation_id, inputs } = started;
    let conversation_id = rules::optional_conversation_id(&at.field("conversation_id"), &conversation_id, violations);
    let parent_id =
        rules::optional_conversation_id(&at.field("parent_conversation_id"), &parent_conversation_id, violations);
    let inputs = inputs.into_iter().enumerate();
    let inputs: Vec<Arc<Entry>> =
        inputs.filter_map(|(i, input)| entry::read(&at.item("inputs", i), input, violations).map(Arc::new)).collect();
    Some(EventKind::ResponseStarted { conversation_id: conversation_id?, parent_id: parent_id?, inputs: inputs.into() })
}

fn read_retry(at: &Path<'_>, retry: proto::UpstreamRetry, violations: &mut Violations) -> Option<EventKind> {
    let proto::UpstreamRetry { attempt, error, delay_ms, model } = retry;
    let attempt = number::read_small(&at.field("attempt"), attempt, 0, violations);
    let delay_ms = number::read(&at.field("delay_ms"), delay_ms, violations);
    let at = at.field("error");
    let failure = Arc::new(failure::read(&at, required(&at, error, violations)?, violations)?);
    Some(EventKind::UpstreamRetry { model, attempt: attempt?, delay_ms: delay_ms?, failure })
}

fn read_switch(at: &Path<'_>, switch: proto::UpstreamSwitched, violations: &mut Violations) -> Option<EventKind> {
    let proto::UpstreamSwitched { from_model, to_model, attempts, error } = switch;
    let attempts = number::read_small(&at.field("attempts"), attempts, 0, violations);
    let at = at.field("error");
    let failure = Arc::new(failure::read(&at, required(&at, error, violations)?, violations)?);
    Some(EventKind::UpstreamSwitched { from_model, to_model, attempts: attempts?, failure })
}

fn read_message(at: &Path<'_>, delta: proto::MessageOutputDelta, violations: &mut Violations) -> Option<EventKind> {
    // Only the assistant writes outputs.
    let proto::MessageOutputDelta { entry_id, output_index, content_index, role: _, model, agent_id, content } = delta;
    let entry_id = rules::entry_id(&at.field("entry_id"), &entry_id, violations);
    let output_index = number::read_small(&at.field("output_index"), output_index, 0, violations);
    let content_index = number::read_small(&at.field("content_index"), content_index, 0, violations);
    let at = at.field("content");
    let chunk = chunk::read(&at, Place::Output, required(&at, content, violations)?, violations);
    Some(EventKind::MessageOutputDelta {
        entry_id: EntryId { kind: EntryKind::MessageOutput, uuid: entry_id?.uuid },
        output_index: output_index?,
        content_index: content_index?,
        author: Arc::new(Author { model, agent_id: rules::given(agent_id) }),
        chunk: chunk?,
    })
}

fn read_call(at: &Path<'_>, delta: proto::FunctionCallDelta, violations: &mut Violations) -> Option<EventKind> {
    let proto::FunctionCallDelta {
        entry_id,
        output_index,
        tool_call_id,
        name,
        arguments,
        model,
        agent_id,
        confirmation_status,
        confirmation_expires_at,
    } = delta;
    let confirmation = entry::read_confirmation(&at.field("confirmation_status"), confirmation_status, violations);
    let expires_at = time::read_optional(&at.field("confirmation_expires_at"), confirmation_expires_at, violations);
    let confirmation_expires_at = expires_at?;
    let entry_id = rules::entry_id(&at.field("entry_id"), &entry_id, violations);
    let output_index = number::read_small(&at.field("output_index"), output_index, 0, violations);
    Some(EventKind::FunctionCallDelta {
        entry_id: EntryId { kind: EntryKind::FunctionCall, uuid: entry_id?.uuid },
        output_index: output_index?,
        call: Arc::new(CallHead { tool_call_id, name, confirmation, confirmation_expires_at }),
        author: Arc::new(Author { model, agent_id: rules::given(agent_id) }),
        arguments,
    })
}
