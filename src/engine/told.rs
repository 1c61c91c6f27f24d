//! How a turn has ended, as its readers and the log are told.

use std::sync::Arc;

use super::live::Live;
use crate::domain::{EventKind, Failure, Reason, Time, Turn, TurnState};

/// Tells readers how a turn has ended, after it is on disk.
pub(super) fn tell(live: &Live, turn: Turn) {
    if let Some(failure) = &turn.error {
        log_failure(&turn, failure);
    }
    let at = ended_at(&turn);
    let last = terminal(&turn);
    live.end(turn);
    live.log.push(at, [last]);
}

/// The reason and where it comes from. The message may quote what others wrote.
fn log_failure(turn: &Turn, failure: &Failure) {
    let Turn { state, model, .. } = turn;
    let told = |key: &str| failure.metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    let (provider, http_status, attempts) = (told("provider"), told("http_status"), told("attempts"));
    let reason = failure.reason;
    match reason {
        // Every turn will fail so until the operator does something.
        Reason::InvalidApiKey
        | Reason::ApiKeyMissing
        | Reason::InsufficientCredits
        | Reason::StoreFailed
        | Reason::Internal => {
            tracing::warn!(turn = %turn.id, ?state, ?reason, model, provider, http_status, attempts, "the turn failed");
        }
        _ => {
            tracing::info!(turn = %turn.id, ?state, ?reason, model, provider, http_status, attempts, "the turn failed")
        }
    }
}

/// When a turn ended.
pub(super) fn ended_at(turn: &Turn) -> Time {
    turn.completed_at.unwrap_or(turn.created_at)
}

/// The terminal event of a turn.
pub(super) fn terminal(turn: &Turn) -> EventKind {
    match (&turn.error, turn.state) {
        (Some(failure), TurnState::Failed | TurnState::Cancelled) => {
            let failure = failure.clone().with("turn_id", turn.id.to_string());
            let failure = match turn.usage.total_tokens {
                0 => failure,
                spent => failure.with(Failure::SPENT_TOKENS, spent.to_string()),
            };
            EventKind::ResponseError { failure: Arc::new(failure) }
        }
        _ => EventKind::ResponseDone { turn: Arc::new(turn.clone()) },
    }
}

/// What readers are told if the turn's task dies.
pub(super) fn died() -> Failure {
    Failure::new(Reason::Internal, "a fault of the service ended the turn; the log says where")
}
