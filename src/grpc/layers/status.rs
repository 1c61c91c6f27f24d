//! The statuses that the layers themselves send, and the names of codes.

use http::HeaderMap;
use prost::Message;
use tonic::metadata::{BinaryMetadataValue, MetadataMap};
use tonic::{Code, Status};
use tonic_types::pb::Status as RichStatus;
use tonic_types::{ErrorDetails, StatusExt};

use crate::grpc::DOMAIN;

/// Trailer by which a server tells a client library when to retry; a negative value means never (gRFC A6).
pub const RETRY_PUSHBACK: &str = "grpc-retry-pushback-ms";

/// A status with an `ErrorInfo` of our domain.
#[must_use]
pub fn with_reason(code: Code, reason: &str, message: impl Into<String>) -> Status {
    Status::with_error_details(code, message, details(reason))
}

/// Like [`with_reason`], and tells client libraries not to retry by themselves: the call may have cost money already.
#[must_use]
pub fn never_retried(code: Code, reason: &str, message: impl Into<String>) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert(RETRY_PUSHBACK, tonic::metadata::MetadataValue::from_static("-1"));
    Status::with_error_details_and_metadata(code, message, details(reason), metadata)
}

/// `ErrorDetails` that hold an `ErrorInfo` of our domain, to add further details to.
#[must_use]
pub fn details(reason: &str) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, DOMAIN, [])
}

/// The trailers that end a call with `status`.
pub(crate) fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers).expect("percent-encoded and base64 texts are valid header values");
    trailers
}

/// The canonical name of a code, as in `google/rpc/code.proto`.
#[must_use]
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// The code in response headers or trailers; `None` where they hold no status.
pub(crate) fn code_of(headers: &HeaderMap) -> Option<Code> {
    let value = headers.get(Status::GRPC_STATUS)?;
    Some(Code::from_bytes(value.as_bytes()))
}

/// The details in response headers or trailers, if they can be read.
pub(crate) fn sent_details(headers: &HeaderMap) -> Option<RichStatus> {
    let value = headers.get(Status::GRPC_STATUS_DETAILS)?;
    // Only a `MetadataMap` knows how gRPC spells bytes in a header.
    let mut one = HeaderMap::new();
    one.insert(Status::GRPC_STATUS_DETAILS, value.clone());
    let metadata = MetadataMap::from_headers(one);
    let value: &BinaryMetadataValue = metadata.get_bin(Status::GRPC_STATUS_DETAILS.as_str())?;
    RichStatus::decode(value.to_bytes().ok()?).ok()
}
