//! Limits the calls in flight in the whole process.
//!
//! tonic's own limits are per connection, and let go of a call when its response headers are ready: they do not limit
//! streams at all. Here a call counts until its answer is sent or given up.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{Around, Handler, is_infrastructure, status};

/// How long a refused caller is asked to wait. Turns last seconds, so a sooner retry would mostly be refused again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The limit. Clones share it. Health and reflection pass by: an overloaded server still says how it is.
#[derive(Clone, Debug)]
pub struct InFlight {
    slots: Arc<Semaphore>,
    max: u32,
}

impl InFlight {
    /// At most `max` calls at a time; one more is answered RESOURCE_EXHAUSTED (`OVERLOADED`, with `RetryInfo`).
    #[must_use]
    pub fn new(max: u32) -> Self {
        let slots = Arc::new(Semaphore::new(max as usize));
        Self { slots, max }
    }

    fn refusal(&self) -> Status {
        let mut details = status::details("OVERLOADED");
        details.set_retry_info(Some(RETRY_AFTER));
        let message = format!("the server has {} calls in flight, its limit; try again later", self.max);
        Status::with_error_details(Code::ResourceExhausted, message, details)
    }
}

impl Around for InFlight {
    async fn around<H: Handler>(self, request: Request<Body>, inner: H) -> Response<Body> {
        if is_infrastructure(request.uri().path()) {
            return inner.answer(request).await;
        }
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            return self.refusal().into_http();
        };
        let response = inner.answer(request).await;
        response.map(|inner| Body::new(Counted { inner, _slot: slot }))
    }
}

/// A body that holds its call's slot until it is dropped.
struct Counted {
    inner: Body,
    _slot: OwnedSemaphorePermit,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
