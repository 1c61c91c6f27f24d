//! Completes every status on its way out.
//!
//! AIP-193 wants an `ErrorInfo` in every error, and the contract a `RequestInfo` too, `QuotaFailure` for limits and `RetryInfo`
//! where a retry helps. tonic's own statuses carry none of them, and some of them have codes that other servers use
//! differently; this layer sees them all in one place.

use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use prost::Message;
use prost_types::Any;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::pb::{ErrorInfo, RequestInfo, Status as RichStatus};

use super::request_id::RequestId;
use super::{Around, Handler, status};
use crate::domain::{Failure, Reason};
use crate::grpc::DOMAIN;
use crate::grpc::convert::failure;
use crate::grpc::status::{self as table, Retry, Spent};
use crate::proto::ErrorReason;

const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";
const REQUEST_INFO: &str = "type.googleapis.com/google.rpc.RequestInfo";

/// How much of a caller's made-up method name is repeated to it.
const METHOD_LENGTH_MAX: usize = 200;

/// The layer.
#[derive(Clone, Debug)]
pub struct GiveReasons;

impl Around for GiveReasons {
    async fn around<H: Handler>(self, request: Request<Body>, inner: H) -> Response<Body> {
        let call = Call::of(&request);
        let mut response = inner.answer(request).await;
        call.complete(response.headers_mut());
        response.map(|body| {
            Body::new(body.map_frame(move |mut frame| {
                if let Some(trailers) = frame.trailers_mut() {
                    call.complete(trailers);
                }
                frame
            }))
        })
    }
}

/// What a status has to say of its call.
struct Call {
    path: String,
    request_id: Option<RequestId>,
}

impl Call {
    fn of(request: &Request<Body>) -> Self {
        let path = request.uri().path().chars().take(METHOD_LENGTH_MAX);
        Self { path: path.collect(), request_id: request.extensions().get::<RequestId>().cloned() }
    }

    /// Adds what is missing in `headers` if they hold an error.
    fn complete(&self, headers: &mut HeaderMap) {
        if status::code_of(headers).is_none_or(|code| code == Code::Ok) {
            return;
        }
        let details = status::sent_details(headers);
        headers.remove(Status::GRPC_STATUS_DETAILS);
        let Some(sent) = Status::from_header_map(headers) else {
            return;
        };
        let mut rich = match details {
            Some(rich) => rich,
            None => self.explain(sent.code(), sent.message()),
        };
        if !rich.details.iter().any(|any| any.type_url == ERROR_INFO) {
            let code = Code::from_i32(rich.code);
            rich.details.insert(0, error_info(default_reason(code)));
        }
        add_promised(&mut rich, headers);
        self.add_request_info(&mut rich);
        write(&rich, headers);
    }

    fn add_request_info(&self, rich: &mut RichStatus) {
        if let Some(id) = &self.request_id
            && !rich.details.iter().any(|any| any.type_url == REQUEST_INFO)
        {
            rich.details.push(request_info(id));
        }
    }

    /// Says what tonic meant by a status that no code of ours made.
    fn explain(&self, code: Code, message: &str) -> RichStatus {
        let (code, reason, message) = match code {
            Code::OutOfRange | Code::ResourceExhausted if is_size_limit(message) => {
                (Code::ResourceExhausted, "MESSAGE_TOO_LARGE", message.trim_start_matches("Error, ").to_owned())
            }
            Code::Internal if is_callers_bytes(message) => (
                Code::InvalidArgument,
                "INVALID_REQUEST",
                format!("the request is not a message of this method: {message}"),
            ),
            Code::Unimplemented if message.is_empty() => {
                let message = format!("this server has no method {}", self.path);
                (code, default_reason(code), message)
            }
            _ => (code, default_reason(code), message.to_owned()),
        };
        RichStatus { code: code as i32, message, details: vec![error_info(reason)] }
    }
}

/// Adds what the error table promises for the reason, where tonic or a layer made the status and not the table.
fn add_promised(rich: &mut RichStatus, headers: &mut HeaderMap) {
    let Some(reason) = reason_of(rich) else {
        return;
    };
    let mut failure = Failure::new(reason, "");
    let code = Code::from_i32(rich.code);
    if !headers.contains_key(status::RETRY_PUSHBACK)
        && let Some(pushback) = table::pushback(&failure, code, Spent::Nothing)
    {
        headers.insert(status::RETRY_PUSHBACK, pushback.into());
    }
    if let Retry::Later { default_ms } = table::retry(reason) {
        failure = failure.retry_after_ms(default_ms);
    }
    for promised in failure::details(&failure) {
        if !rich.details.iter().any(|any| any.type_url == promised.type_url) {
            rich.details.push(promised);
        }
    }
}

/// The reason, if it is one of the table.
fn reason_of(rich: &RichStatus) -> Option<Reason> {
    let info = rich.details.iter().find(|any| any.type_url == ERROR_INFO)?;
    let info = ErrorInfo::decode(info.value.as_slice()).ok()?;
    let number = i32::from(ErrorReason::from_str_name(&info.reason)?);
    Reason::from_number(u8::try_from(number).ok()?)
}

/// tonic's texts for messages over the limit, in either direction, plain or compressed.
fn is_size_limit(message: &str) -> bool {
    message.starts_with("Error, decoded message length too large")
        || message.starts_with("Error, encoded message length too large")
        || message.starts_with("Error decompressing: size limit")
}

/// tonic's and prost's texts for bytes of the caller that are no message. INTERNAL would blame the server.
fn is_callers_bytes(message: &str) -> bool {
    [
        "failed to decode Protobuf message",
        "Missing request message.",
        "Unexpected EOF decoding stream.",
        "protocol error: received message",
        "Error decompressing:",
        // The translation of gRPC-Web, which says nothing else.
        "tonic-web: ",
    ]
    .iter()
    .any(|start| message.starts_with(start))
}

/// The reason of a status that came without one.
fn default_reason(code: Code) -> &'static str {
    match code {
        Code::InvalidArgument => "INVALID_REQUEST",
        Code::DeadlineExceeded => "TIMEOUT",
        Code::Unavailable => "SERVICE_UNAVAILABLE",
        Code::Unimplemented => "UNKNOWN_METHOD",
        other => status::code_name(other),
    }
}

fn error_info(reason: &str) -> Any {
    let info = ErrorInfo { reason: reason.to_owned(), domain: DOMAIN.to_owned(), metadata: Default::default() };
    Any { type_url: ERROR_INFO.to_owned(), value: info.encode_to_vec() }
}

fn request_info(id: &RequestId) -> Any {
    let info = RequestInfo { request_id: id.as_str().to_owned(), serving_data: String::new() };
    Any { type_url: REQUEST_INFO.to_owned(), value: info.encode_to_vec() }
}

fn write(rich: &RichStatus, headers: &mut HeaderMap) {
    headers.remove(Status::GRPC_MESSAGE);
    let details = rich.encode_to_vec().into();
    let status = Status::with_details(Code::from_i32(rich.code), &rich.message, details);
    headers.extend(status::trailers(&status));
}
