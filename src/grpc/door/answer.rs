//! Answers in plain HTTP: as the layers see them, and as they leave the house.

use std::task::Poll;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use prost::Message;
use serde_json::json;
use tonic::{Code, Status, body::Body};
use tonic_types::pb::{RetryInfo, Status as RichStatus};

use crate::{grpc::layers::status, proto::json::to_json};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// What the layers take for a call that went well.
pub(super) fn ok(content_type: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(bytes.into())));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
    response
}

/// A message of this name as JSON.
pub(super) fn message(name: &str, message: &impl Message) -> Result<Response<Body>, Status> {
    let json = to_json(name, message).map_err(unwritable)?;
    Ok(ok("application/json", json.to_string()))
}

/// A message of our own that JSON does not take.
pub(super) fn unwritable(error: serde_json::Error) -> Status {
    tracing::error!(%error, "a message cannot be written as JSON");
    Status::internal("the answer cannot be written as JSON")
}

/// There is nothing (more) to tell: a reader of events stops.
pub(super) fn nothing() -> Response<Body> {
    let mut response = ok("text/event-stream", Bytes::new());
    response.headers_mut().remove(header::CONTENT_TYPE);
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Makes plain HTTP of what the layers gave.
pub(super) fn translate(mut response: Response<Body>) -> Response<Body> {
    let failed = status::code_of(response.headers()).filter(|code| *code != Code::Ok);
    if let Some(code) = failed {
        response = error(code, response.headers());
    }
    let headers = response.headers_mut();
    let ours: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with("grpc-")).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
    // What a browser must not guess, keep, or give to another page.
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response.map(without_trailers)
}

/// The status of a call says how it ended; in plain HTTP nobody would read it.
fn without_trailers(body: Body) -> Body {
    if body.size_hint().exact().is_some() {
        return body;
    }
    let mut body = Box::pin(body);
    let data = futures_util::stream::poll_fn(move |cx| match body.as_mut().poll_frame(cx) {
        Poll::Ready(Some(Ok(frame))) => {
            Poll::Ready(frame.into_data().ok().map(|data| Ok(http_body::Frame::data(data))))
        }
        Poll::Ready(Some(Err(status))) => Poll::Ready(Some(Err(status))),
        Poll::Ready(None) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    });
    Body::new(http_body_util::StreamBody::new(data))
}

/// A status as JSON, under HTTP's code for it.
fn error(code: Code, sent: &HeaderMap) -> Response<Body> {
    let rich = status::sent_details(sent).unwrap_or_else(|| bare(code, sent));
    let told = to_json("google.rpc.Status", &rich).or_else(|_| to_json("google.rpc.Status", &bare(code, sent)));
    let body = json!({ "error": told.unwrap_or_default() }).to_string();
    let mut response = Response::new(Body::new(Full::new(Bytes::from(body)).map_err(|never| match never {})));
    *response.status_mut() = http_code(code);
    for (name, value) in sent.iter().filter(|(name, _)| name.as_str().starts_with("x-")) {
        response.headers_mut().insert(name.clone(), value.clone());
    }
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    if let Some(seconds) = retry_after(&rich) {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn bare(code: Code, sent: &HeaderMap) -> RichStatus {
    let message = Status::from_header_map(sent).map(|status| status.message().to_owned()).unwrap_or_default();
    RichStatus { code: code.into(), message, details: Vec::new() }
}

/// In whole seconds, as HTTP has it; never sooner than the status says.
fn retry_after(rich: &RichStatus) -> Option<u64> {
    let info = rich.details.iter().find(|any| any.type_url == RETRY_INFO)?;
    let delay = RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay?;
    Some(u64::try_from(delay.seconds).ok()? + u64::from(delay.nanos > 0))
}

/// The mapping of `google/rpc/code.proto`, but for what does not exist at all: everybody calls that 404, as gRPC's own mapping
/// from HTTP has it.
fn http_code(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound | Code::Unimplemented => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        // nginx's, which the mapping names.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
