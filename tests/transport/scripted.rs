//! A service that does on demand what services should not: hang, panic, flood.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::pin::Pin;
use std::task::{Context, Poll};

use causerie::grpc::layers::deadline::Deadline;
use futures_util::stream::{self, BoxStream, StreamExt};
use http::{Request, Response};
use tokio::sync::mpsc::UnboundedSender;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::server::NamedService;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;
use tonic_types::{ErrorDetails, StatusExt};

/// `test.Scripted`. Every message is a string; the method's name says what happens.
#[derive(Clone)]
pub(crate) struct Scripted {
    pub(crate) events: UnboundedSender<Event>,
}

/// What a handler tells the test of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A handler runs.
    Entered,
    /// A handler, or the stream it returned, was dropped.
    Left,
}

struct Presence(UnboundedSender<Event>);

impl Presence {
    fn enter(events: &UnboundedSender<Event>) -> Self {
        // Nobody listens in tests that do not care.
        let _ = events.send(Event::Entered);
        Self(events.clone())
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let _ = self.0.send(Event::Left);
    }
}

type Unary = Result<tonic::Response<String>, Status>;
type Messages = BoxStream<'static, Result<String, Status>>;
type Streaming = Result<tonic::Response<Messages>, Status>;

async fn unary(method: &str, presence: Presence, request: tonic::Request<String>) -> Unary {
    match method {
        "Echo" => Ok(tonic::Response::new(request.into_inner())),
        "Hang" => pending().await,
        "Panic" => panic!("secret 42"),
        "Deadline" => Ok(tonic::Response::new(remaining(&request))),
        "Peer" => Ok(tonic::Response::new(format!("{:?}", request.remote_addr()))),
        "FailInDetail" => Err(detailed()),
        "FailBriefly" => Err(Status::not_found("no details")),
        other => {
            drop(presence);
            Err(Status::internal(format!("the script has no {other}")))
        }
    }
}

/// The milliseconds that are left to the call.
fn remaining(request: &tonic::Request<String>) -> String {
    match request.extensions().get::<Deadline>() {
        Some(Deadline(at)) => (*at - tokio::time::Instant::now()).as_millis().to_string(),
        None => "none".to_owned(),
    }
}

fn detailed() -> Status {
    let mut details = ErrorDetails::with_error_info("HEAD_MOVED", "causerie", []);
    details.add_quota_failure_violation("subject", "description");
    Status::with_error_details(Code::Aborted, "detailed", details)
}

fn streaming(method: &str, presence: Presence) -> Streaming {
    let first = || stream::iter([Ok("one".to_owned())]);
    let messages: Messages = match method {
        "DripStream" => first().chain(stream::pending()).boxed(),
        "FloodStream" => stream::repeat_with(|| Ok("more".to_owned())).boxed(),
        _ => {
            let last = stream::once(async { panic!("secret 42") });
            first().chain(stream::once(yield_once())).chain(last).boxed()
        }
    };
    let held = messages.map(move |message| {
        let _held = &presence;
        message
    });
    Ok(tonic::Response::new(held.boxed()))
}

/// Lets the messages so far go out in a frame of their own.
async fn yield_once() -> Result<String, Status> {
    tokio::task::yield_now().await;
    Ok("two".to_owned())
}

impl NamedService for Scripted {
    const NAME: &'static str = "test.Scripted";
}

impl tower::Service<Request<Body>> for Scripted {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let events = self.events.clone();
        let path = request.uri().path().to_owned();
        Box::pin(async move {
            let method = path.rsplit('/').next().unwrap_or_default();
            let codec = ProstCodec::<String, String>::default();
            let mut grpc = tonic::server::Grpc::new(codec).accept_compressed(CompressionEncoding::Gzip);
            let response = if method.starts_with("Unknown") {
                // As generated code answers a method that its service does not have.
                Status::unimplemented("").into_http()
            } else if method.ends_with("Stream") {
                let handler = |_: tonic::Request<String>| {
                    let answer = streaming(method, Presence::enter(&events));
                    std::future::ready(answer)
                };
                grpc.server_streaming(tower::service_fn(handler), request).await
            } else {
                let handler = |request| unary(method, Presence::enter(&events), request);
                grpc.unary(tower::service_fn(handler), request).await
            };
            Ok(response)
        })
    }
}
