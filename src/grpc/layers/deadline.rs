//! Ends calls at the caller's deadline with DEADLINE_EXCEEDED.
//!
//! tonic's server answers CANCELLED instead, which Istio's default policy retries, and stops watching once the response
//! headers are out (grpc-rust #936, #75). Its timer stands outside of every layer and wins against any of them now and then,
//! which is why [`crate::grpc::serve`] does without that server.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::body::Body;
use tonic::{Code, Status};

use super::{Around, Handler, is_endless, status};

/// How long after the deadline a call may still end itself: a turn tells better what it has waited for, and a stream has its
/// own last event.
const HEAD_START: Duration = Duration::from_millis(25);

/// Request extension: when the call's deadline passes. Absent if neither the caller nor the server set one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(pub Instant);

/// The layer. The earlier of the caller's `grpc-timeout` and the server's maximum counts.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// The longest that any call may take, also one without `grpc-timeout`. Watches of changes, health and reflection are
    /// exempt: they have no natural end.
    pub max: Option<Duration>,
}

impl Deadlines {
    fn deadline(&self, request: &Request<Body>) -> Result<Option<Deadline>, Status> {
        let own = self.max.filter(|_| !is_endless(request.uri().path()));
        let asked = timeout(request.headers())?;
        let shorter = [own, asked].into_iter().flatten().min();
        // No sum overflows: the header's longest is 99,999,999 hours, a few thousand years.
        Ok(shorter.map(|timeout| Deadline(Instant::now() + timeout)))
    }
}

impl Around for Deadlines {
    async fn around<H: Handler>(self, mut request: Request<Body>, inner: H) -> Response<Body> {
        let deadline = match self.deadline(&request) {
            Ok(Some(deadline)) => deadline,
            Ok(None) => return inner.answer(request).await,
            Err(status) => return status.into_http(),
        };
        request.extensions_mut().insert(deadline);
        // The handler first: an answer that is ready in time is never thrown away.
        let outcome = tokio::select! {
            biased;
            response = inner.answer(request) => Some(response),
            () = sleep_until(deadline.0 + HEAD_START) => None,
        };
        match outcome {
            Some(response) => response.map(|inner| Body::new(Limited::new(inner, deadline.0))),
            None => exceeded().into_http(),
        }
    }
}

fn exceeded() -> Status {
    let message = "the call's deadline has passed";
    status::never_retried(Code::DeadlineExceeded, "TIMEOUT", message)
}

/// A body that is cut with DEADLINE_EXCEEDED.
struct Limited {
    inner: Body,
    cut_at: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Limited {
    fn new(inner: Body, deadline: Instant) -> Self {
        let cut_at = deadline + HEAD_START;
        let timer = Box::pin(sleep_until(cut_at));
        Self { inner, cut_at, timer }
    }

    fn is_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // By the clock, because a stream that always has a message would never let the timer be asked.
        match Instant::now() >= self.cut_at {
            true => Poll::Ready(()),
            false => self.timer.as_mut().poll(cx),
        }
    }
}

impl HttpBody for Limited {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.inner.is_end_stream() {
            return Poll::Ready(None);
        }
        if Instant::now() < self.cut_at
            && let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx)
        {
            return Poll::Ready(frame);
        }
        ready!(self.is_due(cx));
        self.inner = Body::empty();
        let trailers = status::trailers(&exceeded());
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Reads `grpc-timeout`: one to eight digits and a unit (gRPC over HTTP/2).
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get("grpc-timeout") else {
        return Ok(None);
    };
    match value.to_str().ok().and_then(parse) {
        Some(timeout) => Ok(Some(timeout)),
        None => Err(status::with_reason(
            Code::InvalidArgument,
            "INVALID_REQUEST",
            "grpc-timeout must be one to eight digits and one of the units H, M, S, m, u, n",
        )),
    }
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let well_formed = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    if !well_formed {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_unit_of_the_specification() {
        let cases = [
            ("2H", Duration::from_secs(7200)),
            ("3M", Duration::from_secs(180)),
            ("4S", Duration::from_secs(4)),
            ("5m", Duration::from_millis(5)),
            ("6u", Duration::from_micros(6)),
            ("7n", Duration::from_nanos(7)),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_the_specification_does_not_allow() {
        for text in ["", "S", "5", "5s", "+5S", "-1S", "1.5S", " 1S", "123456789S", "5é"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
