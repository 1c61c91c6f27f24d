//! The events of a turn as server-sent events: what StreamEvents gives, from the same reader.

use bytes::Bytes;
use futures_util::StreamExt;
use http::Response;
use tonic::{Status, body::Body};

use super::{
    answer,
    plain::{Asked, Readers},
    sse,
};
use crate::{
    domain::{Failure, Reason, Turn, TurnState},
    grpc::{
        convert,
        stream::{self, Terms},
    },
    proto::{self, event::Kind},
};

/// `GET /v1/turns/{id}/events`: after the event that the reader had last, or from the beginning.
///
/// Browsers ask again when an answer ends, until they are told that there is nothing more: whoever had the last event of a turn
/// is told so.
pub(super) async fn of_turn(readers: &Readers, asked: &Asked, id: &str) -> Result<Response<Body>, Status> {
    let call = asked.call();
    let id = convert::lookup::turn_id("turn_id", id).map_err(call.refused())?;
    let (after, lifecycle) = read(asked).map_err(call.refused())?;
    let turn = readers.engine.turn(id).await.map_err(call.refused())?;
    if has_ended(&turn) && turn.last_sequence <= after {
        match turn.error {
            // Of a turn that a crash took nothing is left to go on with. From the beginning there is at least its end to be read.
            Some(lost) if lost.reason == Reason::TurnLost && after > 0 => return Err(call.refused()(lost)),
            Some(lost) if lost.reason == Reason::TurnLost => {}
            Some(_) | None => return Ok(answer::nothing()),
        }
    }
    let reader = readers.engine.resume(id, after).await.map_err(call.refused())?;
    let terms = Terms { lifecycle, heartbeat: readers.heartbeat, deadline: call.deadline, request_id: call.id.clone() };
    // Merged deltas have the sequence of the last one, after which their reader goes on.
    let told = stream::events(reader, terms).map(|event| event.and_then(|event| text(Some(event.sequence), &event)));
    Ok(sse::respond(told.map(|text| text.map(Bytes::from))))
}

/// After which sequence, and whether without deltas.
fn read(asked: &Asked) -> Result<(u64, bool), Failure> {
    let [after, view] = asked.parameters(["after_sequence", "view"])?;
    let lifecycle = match view.as_deref() {
        None | Some("full") => false,
        Some("lifecycle") => true,
        Some(_) => return Err(Failure::invalid_field("view", "must be full or lifecycle")),
    };
    let after = sse::position(&asked.headers, after.as_deref().map(|after| ("after_sequence", after)))?;
    Ok((after.unwrap_or(0), lifecycle))
}

fn has_ended(turn: &Turn) -> bool {
    match turn.state {
        TurnState::Queued | TurnState::Running => false,
        TurnState::RequiresAction
        | TurnState::Completed
        | TurnState::Incomplete
        | TurnState::Failed
        | TurnState::Cancelled => true,
    }
}

/// An event, or the comment that stands for a heartbeat.
pub(super) fn text(id: Option<i64>, event: &proto::Event) -> Result<String, Status> {
    match event.kind.as_ref().and_then(name) {
        Some(name) => sse::text(id, name, "causerie.v1.Event", event),
        None => Ok(sse::HEARTBEAT.to_owned()),
    }
}

/// Mistral's name of an event, and names like theirs for those that it has not. None for a heartbeat, which is in no log.
fn name(kind: &Kind) -> Option<&'static str> {
    let name = match kind {
        Kind::ResponseStarted(_) => "conversation.response.started",
        Kind::MessageOutputDelta(_) => "message.output.delta",
        Kind::FunctionCallDelta(_) => "function.call.delta",
        Kind::ToolExecutionStarted(_) => "tool.execution.started",
        Kind::ToolExecutionDelta(_) => "tool.execution.delta",
        Kind::ToolExecutionDone(_) => "tool.execution.done",
        Kind::AgentHandoffStarted(_) => "agent.handoff.started",
        Kind::AgentHandoffDone(_) => "agent.handoff.done",
        Kind::HumanHandoff(_) => "conversation.handoff",
        Kind::EntryDone(_) => "entry.done",
        Kind::UpstreamRetry(_) => "upstream.retry",
        Kind::UpstreamSwitched(_) => "upstream.switched",
        Kind::ResponseDone(_) => "conversation.response.done",
        Kind::ResponseError(_) => "conversation.response.error",
        Kind::TurnQueued(_) => "turn.queued",
        Kind::TurnResumed(_) => "turn.resumed",
        Kind::TurnRequeued(_) => "turn.requeued",
        Kind::TurnConflict(_) => "turn.conflict",
        Kind::Heartbeat(_) => return None,
    };
    Some(name)
}
