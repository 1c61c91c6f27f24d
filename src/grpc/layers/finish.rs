//! The one log line of a finished call.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tracing::Span;

use super::{is_infrastructure, status};

/// Logs a call once: when its status is sent, or else, labelled CANCELLED, when it is dropped without one. That happens
/// when the caller hangs up: the future is dropped and no code after an await runs.
pub(crate) struct Finish {
    arrived: Instant,
    span: Span,
    attempt: Option<String>,
    is_infrastructure: bool,
    is_logged: bool,
}

impl Finish {
    pub(crate) fn new(request: &Request<Body>, span: Span) -> Self {
        Self {
            arrived: Instant::now(),
            span,
            attempt: attempt(request.headers()),
            is_infrastructure: is_infrastructure(request.uri().path()),
            is_logged: false,
        }
    }

    /// Looks for the status that ends the call: in trailers, or in the headers of an answer without a body.
    pub(crate) fn note(&mut self, headers: &HeaderMap) {
        if let Some(code) = status::code_of(headers) {
            self.log(code);
        }
    }

    fn log(&mut self, code: Code) {
        if std::mem::replace(&mut self.is_logged, true) {
            return;
        }
        let duration_ms = self.arrived.elapsed().as_micros() as f64 / 1000.0;
        // Probes ask every few seconds, and calls that go well are the rule: `causerie::rpc=debug` shows them all.
        let quiet = self.is_infrastructure || code == Code::Ok;
        let code = status::code_name(code);
        let attempt = self.attempt.as_deref();
        let _in_span = self.span.enter();
        if quiet {
            tracing::debug!(target: "causerie::rpc", code, duration_ms, attempt, "rpc finished");
        } else {
            tracing::info!(target: "causerie::rpc", code, duration_ms, attempt, "rpc finished");
        }
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        self.log(Code::Cancelled);
    }
}

/// How often client library or proxy tried this call before, if they say so.
fn attempt(headers: &HeaderMap) -> Option<String> {
    ["grpc-previous-rpc-attempts", "x-envoy-attempt-count"]
        .iter()
        .find_map(|name| headers.get(*name))
        .and_then(|value| value.to_str().ok())
        .map(|text| text.chars().take(8).collect())
}

/// A body that is polled inside its call's span and logs the call at its end.
pub(crate) struct Watched {
    inner: Body,
    finish: Finish,
}

impl Watched {
    pub(crate) fn new(inner: Body, finish: Finish) -> Self {
        Self { inner, finish }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let span = self.finish.span.clone();
        let _in_span = span.enter();
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.finish.note(trailers);
                }
            }
            Poll::Ready(Some(Err(status))) => self.finish.log(status.code()),
            // An end without a status is what callers see as UNKNOWN.
            Poll::Ready(None) => self.finish.log(Code::Unknown),
            Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
