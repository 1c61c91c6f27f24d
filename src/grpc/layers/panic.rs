//! Answers INTERNAL when a handler panics.
//!
//! Without it the stream is reset and the caller sees CANCELLED, which Istio's default policy retries: one bug would run,
//! and bill, a turn three times.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::body::Body;
use tonic::{Code, Status};

use super::{Around, Handler, status};

/// Catches panics of the handler's future and of its response body. The panic's text goes to the log, never to the caller.
#[derive(Clone, Debug)]
pub struct CatchPanic;

impl Around for CatchPanic {
    fn around<H: Handler>(
        self,
        request: Request<Body>,
        inner: H,
    ) -> impl Future<Output = Response<Body>> + Send + 'static {
        // Nothing of a handler that panicked is used again, so no broken invariant can be observed.
        AssertUnwindSafe(async move { inner.answer(request).await }).catch_unwind().map(|outcome| match outcome {
            Ok(response) => response.map(|inner| Body::new(Caught { inner })),
            Err(panic) => report(&*panic).into_http(),
        })
    }
}

/// A body that ends with INTERNAL if the one inside panics.
struct Caught {
    inner: Body,
}

impl HttpBody for Caught {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let inner = &mut self.inner;
        let outcome = catch_unwind(AssertUnwindSafe(|| Pin::new(inner).poll_frame(cx)));
        outcome.unwrap_or_else(|panic| {
            let status = report(&*panic);
            self.inner = Body::empty();
            Poll::Ready(Some(Ok(Frame::trailers(status::trailers(&status)))))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn report(panic: &(dyn Any + Send)) -> Status {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without text");
    tracing::error!(panic = text, "a handler panicked; the call ends INTERNAL");
    status::never_retried(
        Code::Internal,
        "INTERNAL",
        "an internal error ended the call; the server's log has it under this request id",
    )
}
