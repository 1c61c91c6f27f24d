//! What statuses say, and what each reason promises: the contract's error table, told again and not taken from the code.

use std::ops::RangeInclusive;

use causerie::proto::ErrorReason;
use tonic::{Code, Request, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Whether the same call can succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    Never,
    /// `RetryInfo` says when.
    Later,
    /// If `RetryInfo` says when.
    IfTold,
}

/// Code and retry of a reason, as contract 9 and error.proto have them.
pub(crate) fn promise(reason: ErrorReason) -> (Code, Retry) {
    use ErrorReason as R;
    match reason {
        R::Unspecified => unreachable!("never sent"),
        R::InvalidApiKey => (Code::Unauthenticated, Retry::Never),
        R::PermissionDenied | R::GuardrailBlocked => (Code::PermissionDenied, Retry::Never),
        R::ApiKeyMissing | R::InsufficientCredits => (Code::FailedPrecondition, Retry::Never),
        R::ToolResultsMissing | R::NothingToAnswer | R::HasSuccessors => (Code::FailedPrecondition, Retry::Never),
        R::AgentReadOnly | R::ConfirmationExpired | R::ResponseFormatMismatch => {
            (Code::FailedPrecondition, Retry::Never)
        }
        R::ModelNotFound
        | R::ConversationNotFound
        | R::EntryNotFound
        | R::TurnNotFound
        | R::AgentNotFound
        | R::AgentVersionNotFound
        | R::BatchNotFound
        | R::WebhookNotFound => (Code::NotFound, Retry::Never),
        R::BatchClosed => (Code::FailedPrecondition, Retry::Never),
        R::RevisionGone => (Code::OutOfRange, Retry::Never),
        R::RateLimitExceeded | R::Overloaded => (Code::ResourceExhausted, Retry::Later),
        R::MessageTooLarge | R::BudgetExceeded | R::TurnLimitExceeded => (Code::ResourceExhausted, Retry::Never),
        R::InvalidRequest | R::ContextLengthExceeded => (Code::InvalidArgument, Retry::Never),
        R::ServiceUnavailable | R::StoreFailed | R::ShuttingDown | R::ToolsUnavailable => {
            (Code::Unavailable, Retry::Later)
        }
        R::UpstreamProtocolError => (Code::Unavailable, Retry::IfTold),
        R::Timeout => (Code::DeadlineExceeded, Retry::Later),
        R::HeadMoved | R::TurnCancelled | R::AgentChanged | R::ToolFailed => (Code::Aborted, Retry::Never),
        R::TurnLost => (Code::Aborted, Retry::Later),
        R::RequestIdReused | R::VersionExists => (Code::AlreadyExists, Retry::Never),
        R::UnknownMethod => (Code::Unimplemented, Retry::Never),
        R::Internal => (Code::Internal, Retry::Never),
    }
}

/// A request under a request id of its own, which its status must repeat.
pub(crate) fn named<T>(id: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-request-id", id.parse().expect("an id without spaces"));
    request
}

/// The status holds all that its reason promises. `id` is the request id that the call was given.
#[track_caller]
pub(crate) fn assert_promised(status: &Status, reason: ErrorReason, id: &str) {
    let (code, retry) = promise(reason);
    assert_eq!((status.code(), reason_of(status).as_str()), (code, reason.as_str_name()), "{id}: {status:?}");
    assert!(status.message().len() > 10, "{id}: a person is told what to change: {status:?}");
    let details = status.get_error_details();
    assert_eq!(details.request_info().expect("RequestInfo").request_id, id);
    if code == Code::NotFound {
        let resource = details.resource_info().unwrap_or_else(|| panic!("{id}: no ResourceInfo: {status:?}"));
        assert!(!resource.resource_type.is_empty() && !resource.resource_name.is_empty(), "{id}: {resource:?}");
    }
    assert_eq!(details.quota_failure().is_some(), code == Code::ResourceExhausted, "{id}: QuotaFailure: {status:?}");
    let delay = retry_ms(&details);
    match retry {
        Retry::Never => assert_eq!(delay, None, "{id}: RetryInfo: {status:?}"),
        Retry::Later => assert!(delay.is_some(), "{id}: RetryInfo: {status:?}"),
        Retry::IfTold => {}
    }
    let unasked = retry == Retry::Later && matches!(code, Code::Unavailable | Code::ResourceExhausted);
    match pushback(status) {
        Some("-1") => assert!(!unasked, "{id}: libraries may retry: {status:?}"),
        Some(ms) => assert_eq!((unasked, ms.parse().ok()), (true, delay), "{id}: {status:?}"),
        None => assert!(unasked, "{id}: libraries must not retry by themselves: {status:?}"),
    }
}

/// The reason of a status; it must have one.
#[track_caller]
pub(crate) fn reason_of(status: &Status) -> String {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "causerie");
    info.reason
}

/// A pair of the `ErrorInfo`'s metadata; empty if it isn't there.
pub(crate) fn told(status: &Status, key: &str) -> String {
    let info = status.get_details_error_info();
    info.and_then(|mut info| info.metadata.remove(key)).unwrap_or_default()
}

/// The fields that the status says are wrong.
pub(crate) fn fields_of(status: &Status) -> Vec<String> {
    let violations = status.get_details_bad_request().map(|bad_request| bad_request.field_violations);
    violations.unwrap_or_default().into_iter().map(|violation| violation.field).collect()
}

/// What client libraries that retry by themselves are told.
pub(crate) fn pushback(status: &Status) -> Option<&str> {
    status.metadata().get("grpc-retry-pushback-ms")?.to_str().ok()
}

/// The delay of `RetryInfo`.
pub(crate) fn retry_ms(details: &ErrorDetails) -> Option<u64> {
    let delay = details.retry_info()?.retry_delay?;
    u64::try_from(delay.as_millis()).ok()
}

/// The delay of `RetryInfo` is within this; `None`: there is none.
pub(crate) fn assert_retry(status: &Status, expected: Option<&RangeInclusive<u64>>, name: &str) {
    let told = retry_ms(&status.get_error_details());
    let is_told = told.zip(expected).is_some_and(|(told, expected)| expected.contains(&told));
    assert!(is_told || (told.is_none() && expected.is_none()), "{name}: {told:?} for {expected:?} in {status:?}");
}

/// The status that a turn or an event carries, as a client would get it from a call.
pub(crate) fn carried(status: &tonic_types::pb::Status) -> Status {
    let details = prost::Message::encode_to_vec(status);
    Status::with_details(Code::from_i32(status.code), &status.message, details.into())
}
