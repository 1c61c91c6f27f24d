//! Server-sent events, as the HTML standard has them (9.2).

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::StreamBody;
use prost::Message;
use tonic::{Status, body::Body};

use super::answer;
use crate::{domain::Failure, grpc::layers::status, proto::json::to_json};

/// How long a reader waits before it connects again. Browsers would take three to five seconds.
const RETRY: Duration = Duration::from_secs(1);

/// A comment, which moves nothing and keeps proxies awake.
pub(super) const HEARTBEAT: &str = ": heartbeat\n\n";

/// One event with a message of this name. JSON has no line breaks, names and ids are ours.
pub(super) fn text(id: Option<i64>, name: &str, of: &str, data: &impl Message) -> Result<String, Status> {
    let data = to_json(of, data).map_err(answer::unwritable)?;
    Ok(match id {
        Some(id) => format!("id: {id}\nevent: {name}\ndata: {data}\n\n"),
        None => format!("event: {name}\ndata: {data}\n\n"),
    })
}

/// An answer whose body is these pieces, and whose status is that of the stream.
pub(super) fn respond(pieces: impl Stream<Item = Result<Bytes, Status>> + Send + 'static) -> Response<Body> {
    // Something at once, so that proxies let the headers through.
    let opening = Bytes::from(format!("retry: {}\n\n", RETRY.as_millis()));
    let opening = stream::iter([Ok::<_, Status>(Frame::data(opening))]);
    let ended = stream::iter([Err(Status::ok(""))]);
    let frames = pieces.chain(ended).scan(false, |over, piece| {
        let frame = match piece {
            _ if *over => None,
            Ok(bytes) => Some(Ok(Frame::data(bytes))),
            Err(status) => {
                *over = true;
                Some(Ok(Frame::trailers(status::trailers(&status))))
            }
        };
        std::future::ready(frame)
    });
    let mut response = Response::new(Body::new(StreamBody::new(opening.chain(frames))));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // nginx would hold events back until it has a buffer full of them.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Where a reader is: the id of the last event that it got, which comes with a re-connection, before what its address says.
///
/// # Errors
///
/// If it is no number.
pub(super) fn position(headers: &HeaderMap, parameter: Option<(&str, &str)>) -> Result<Option<u64>, Failure> {
    let given = headers.get("last-event-id").filter(|value| !value.is_empty());
    let (name, text) = match (given, parameter) {
        (Some(value), _) => ("Last-Event-ID", value.to_str().unwrap_or_default()),
        (None, Some(parameter)) => parameter,
        (None, None) => return Ok(None),
    };
    // As far as the contract's numbers go.
    let number = text.parse::<i64>().ok().and_then(|number| u64::try_from(number).ok());
    number.map(Some).ok_or_else(|| Failure::invalid_field(name, "must be a whole number from 0"))
}
