//! The one place that makes statuses: which gRPC code a failure has, whether a retry helps, and how all of it is told.

use prost::Message;
use tonic::{Code, Status, metadata::MetadataMap};

use super::layers::status::RETRY_PUSHBACK;
use crate::{
    domain::{Failure, Reason},
    proto::ErrorReason,
};

mod short;

/// Whether the same call can succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Not as it is.
    Never,
    /// After the caller did this.
    After(&'static str),
    /// Later: as RetryInfo says, which is so many milliseconds unless something better is known.
    Later {
        /// Milliseconds.
        default_ms: u64,
    },
    /// Later if RetryInfo says when; else not before somebody mends something.
    IfTold,
}

/// Whether the call that fails has had its effect on somebody's bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// Nothing was spent: whoever retries by itself may do so.
    Nothing,
    /// A provider had begun to answer. Meshes retry UNAVAILABLE without asking, so that is not what they are told.
    Tokens,
}

/// The error table: every reason with its code and what to do about it.
pub fn table() -> impl Iterator<Item = (Reason, Code, Retry)> {
    Reason::ALL.into_iter().map(|reason| (reason, code(reason), retry(reason)))
}

/// The gRPC code of a reason.
pub fn code(reason: Reason) -> Code {
    match reason {
        Reason::InvalidApiKey => Code::Unauthenticated,
        Reason::PermissionDenied | Reason::GuardrailBlocked => Code::PermissionDenied,
        Reason::ModelNotFound
        | Reason::ConversationNotFound
        | Reason::EntryNotFound
        | Reason::TurnNotFound
        | Reason::AgentNotFound
        | Reason::AgentVersionNotFound
        | Reason::BatchNotFound
        | Reason::WebhookNotFound => Code::NotFound,
        Reason::RevisionGone => Code::OutOfRange,
        Reason::RateLimitExceeded
        | Reason::Overloaded
        | Reason::MessageTooLarge
        | Reason::BudgetExceeded
        | Reason::TurnLimitExceeded => Code::ResourceExhausted,
        Reason::InvalidRequest | Reason::ContextLengthExceeded => Code::InvalidArgument,
        Reason::ServiceUnavailable
        | Reason::UpstreamProtocolError
        | Reason::StoreFailed
        | Reason::ShuttingDown
        | Reason::ToolsUnavailable => Code::Unavailable,
        Reason::Timeout => Code::DeadlineExceeded,
        // CANCELLED would be natural for a cancelled turn, but meshes retry it by themselves (Istio's default list does), and
        // would run the turn again that somebody has just stopped.
        Reason::HeadMoved | Reason::TurnLost | Reason::TurnCancelled | Reason::AgentChanged | Reason::ToolFailed => {
            Code::Aborted
        }
        Reason::RequestIdReused | Reason::VersionExists => Code::AlreadyExists,
        Reason::ApiKeyMissing
        | Reason::InsufficientCredits
        | Reason::ToolResultsMissing
        | Reason::NothingToAnswer
        | Reason::HasSuccessors
        | Reason::AgentReadOnly
        | Reason::ConfirmationExpired
        | Reason::ResponseFormatMismatch
        | Reason::BatchClosed => Code::FailedPrecondition,
        Reason::UnknownMethod => Code::Unimplemented,
        Reason::Internal => Code::Internal,
    }
}

/// Whether a retry helps.
pub fn retry(reason: Reason) -> Retry {
    match reason {
        Reason::ApiKeyMissing => Retry::After("configuring a key"),
        Reason::InsufficientCredits => Retry::After("paying"),
        Reason::ContextLengthExceeded => Retry::After("shortening the history"),
        Reason::HeadMoved => Retry::After("reading the heads"),
        Reason::RequestIdReused => Retry::After("choosing another request_id"),
        Reason::ToolResultsMissing => Retry::After("adding the results"),
        Reason::NothingToAnswer => Retry::After("adding input"),
        Reason::HasSuccessors => Retry::After("setting force"),
        Reason::BudgetExceeded => Retry::After("raising the budget"),
        Reason::AgentChanged => Retry::After("reading the agent"),
        Reason::AgentReadOnly => Retry::After("changing the configuration"),
        Reason::ConfirmationExpired => Retry::After("leaving out the confirmation"),
        Reason::MessageTooLarge => Retry::After("making it smaller"),
        Reason::RevisionGone => Retry::After("beginning with the oldest revision"),
        Reason::RateLimitExceeded | Reason::StoreFailed => Retry::Later { default_ms: 5000 },
        Reason::ServiceUnavailable
        | Reason::Timeout
        | Reason::TurnLost
        | Reason::ShuttingDown
        | Reason::ToolsUnavailable => Retry::Later { default_ms: 1000 },
        Reason::Overloaded => Retry::Later { default_ms: 500 },
        // A broken answer may be whole the next time; what is no such provider stays none.
        Reason::UpstreamProtocolError => Retry::IfTold,
        Reason::InvalidApiKey
        | Reason::PermissionDenied
        | Reason::GuardrailBlocked
        | Reason::ModelNotFound
        | Reason::InvalidRequest
        | Reason::ConversationNotFound
        | Reason::EntryNotFound
        | Reason::TurnNotFound
        | Reason::AgentNotFound
        | Reason::AgentVersionNotFound
        | Reason::BatchNotFound
        | Reason::BatchClosed
        | Reason::WebhookNotFound
        | Reason::ToolFailed
        | Reason::TurnLimitExceeded
        | Reason::ResponseFormatMismatch
        | Reason::TurnCancelled
        | Reason::VersionExists
        | Reason::UnknownMethod
        | Reason::Internal => Retry::Never,
    }
}

/// The reason as `ErrorInfo` spells it.
pub fn name(reason: Reason) -> &'static str {
    let number = i32::from(reason as u8);
    ErrorReason::try_from(number).expect("the reasons of the contract and of the domain are the same").as_str_name()
}

/// The status that a call ends with. Long texts and lists are cut so that every client can receive it.
pub fn status(failure: &Failure, request_id: &str, spent: Spent) -> Status {
    let code = match (code(failure.reason), spent) {
        (Code::Unavailable, Spent::Tokens) => Code::Aborted,
        (code, Spent::Nothing | Spent::Tokens) => code,
    };
    let default_ms = match retry(failure.reason) {
        Retry::Later { default_ms } => Some(default_ms),
        Retry::Never | Retry::After(_) | Retry::IfTold => None,
    };
    let body = short::status(code, failure, default_ms, request_id);
    let mut metadata = MetadataMap::new();
    if let Some(pushback) = pushback(failure, code, spent) {
        metadata.insert(RETRY_PUSHBACK, pushback.into());
    }
    Status::with_details_and_metadata(code, body.message.clone(), body.encode_to_vec().into(), metadata)
}

/// What client libraries that retry by themselves are told. They may retry what has cost nothing and can succeed later;
/// when is theirs to choose (they spread their retries), unless it is known.
pub(super) fn pushback(failure: &Failure, code: Code, spent: Spent) -> Option<i64> {
    // A provider whose answer was no good (IfTold) has answered all the same, and may bill it.
    let later = matches!(retry(failure.reason), Retry::Later { .. });
    // So may one whose answer was waited for, unless it is our own end that makes the next server worth asking.
    let paid =
        failure.reason != Reason::ShuttingDown && failure.metadata.iter().any(|(key, _)| key == Failure::SPENT_TOKENS);
    let costs_nothing = matches!(code, Code::Unavailable | Code::ResourceExhausted) && spent == Spent::Nothing && !paid;
    match (later && costs_nothing, failure.retry_after_ms) {
        (true, Some(ms)) => Some(i64::try_from(ms).unwrap_or(i64::MAX)),
        (true, None) => None,
        (false, _) => Some(-1),
    }
}

#[cfg(test)]
mod tests;
