//! What an error says of itself, on a call, in an event and in a turn.

use prost::Message;
use tonic::{Code, Status};
use tonic_types::{StatusExt, pb};

/// The code and the reason.
pub(crate) fn told(status: &Status) -> (Code, String) {
    (status.code(), reason(status))
}

/// The reason in the `ErrorInfo`.
pub(crate) fn reason(status: &Status) -> String {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "causerie");
    info.reason
}

/// A value of the `ErrorInfo`; empty if it has none.
pub(crate) fn value(status: &Status, key: &str) -> String {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    info.metadata.get(key).cloned().unwrap_or_default()
}

/// The fields that break a rule.
pub(crate) fn fields(status: &Status) -> Vec<String> {
    let request = status.get_details_bad_request().unwrap_or_else(|| panic!("no BadRequest in {status:?}"));
    request.field_violations.into_iter().map(|violation| violation.field).collect()
}

/// What `Turn.error` and `response_error` hold, as the status of a call.
pub(crate) fn as_status(error: &pb::Status) -> Status {
    Status::with_details(Code::from_i32(error.code), error.message.clone(), error.encode_to_vec().into())
}

/// The reason of a turn's error.
pub(crate) fn turn_reason(turn: &causerie::proto::Turn) -> String {
    reason(&as_status(turn.error.as_ref().unwrap_or_else(|| panic!("no error in {turn:?}"))))
}
