//! What every call passes through on its way to a service, outside in:
//!
//! | layer | what it adds |
//! |---|---|
//! | [`request_id`] | the id, the span and the one log line of the call, whatever becomes of it |
//! | [`reason`] | `ErrorInfo` and `RequestInfo` in every status, and canonical codes where tonic's differ |
//! | [`mod@panic`] | INTERNAL instead of a reset stream |
//! | [`in_flight`] | a limit on calls whose answers are not fully sent |
//! | [`deadline`] | DEADLINE_EXCEEDED, for running streams too |
//!
//! The id is outermost, not the panic, because a panic too wants its log line and its `RequestInfo`; what stands outside of
//! [`mod@panic`] runs no code of any handler. The layers know http, bodies and statuses, and nothing of what the services do.

pub mod deadline;
mod finish;
pub mod in_flight;
pub mod panic;
pub mod reason;
pub mod request_id;
pub mod status;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::body::Body;
use tower::{Layer, Service, ServiceExt};

/// What a layer stands around: the next layer or the services themselves.
pub trait Handler: Clone + Send + 'static {
    /// Answers one request. Errors are gRPC statuses inside the response.
    fn answer(self, request: Request<Body>) -> impl Future<Output = Response<Body>> + Send;
}

impl<S> Handler for S
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    async fn answer(self, request: Request<Body>) -> Response<Body> {
        match self.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// One layer's behaviour: what happens around the answer of `inner`.
pub trait Around: Clone + Send + 'static {
    /// Answers `request` with the help of `inner`.
    fn around<H: Handler>(
        self,
        request: Request<Body>,
        inner: H,
    ) -> impl Future<Output = Response<Body>> + Send + 'static;
}

/// Makes a tower layer of an [`Around`].
#[derive(Clone, Debug)]
pub struct Wrap<A>(
    /// The behaviour.
    pub A,
);

impl<A: Clone, H> Layer<H> for Wrap<A> {
    type Service = Wrapped<A, H>;

    fn layer(&self, inner: H) -> Wrapped<A, H> {
        let around = self.0.clone();
        Wrapped { around, inner }
    }
}

/// A handler inside a layer; made by [`Wrap`].
#[derive(Clone, Debug)]
pub struct Wrapped<A, H> {
    around: A,
    inner: H,
}

impl<A: Around, H: Handler> Service<Request<Body>> for Wrapped<A, H> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    // `Handler::answer` waits for the readiness of the clone that it calls.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.around.clone().around(request, self.inner.clone());
        Box::pin(async move { Ok(answer.await) })
    }
}

/// Whether `path` belongs to health or reflection: these answer at any load, live as long as their caller wants, and are
/// logged quietly.
pub(crate) fn is_infrastructure(path: &str) -> bool {
    path.starts_with("/grpc.health.v1.") || path.starts_with("/grpc.reflection.")
}

/// Whether calls of `path` go on for as long as their caller likes.
pub(crate) fn is_endless(path: &str) -> bool {
    path == "/causerie.v1.WatchService/Watch" || is_infrastructure(path)
}
