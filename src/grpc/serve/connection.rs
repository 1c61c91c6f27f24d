//! One connection, from its first byte to its last call: HTTP/2, with an open door HTTP/1.1 too.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::pin;
use std::time::Duration;

use http::{Request, Version};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;

use super::Options;
use super::timely::Timely;
use crate::grpc::layers::Handler;
use crate::grpc::listener::Connection;

/// The largest sum of a request's headers. C-core clients and most proxies stop well below.
const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;

/// Runs the calls of all connections as tasks that the server waits for.
#[derive(Clone)]
pub(super) struct Tracked(TaskTracker);

impl<F> Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, call: F) {
        self.0.spawn(call);
    }
}

/// HTTP as this server speaks it. HTTP/2's windows are hyper's: 1 MiB, plenty for messages of at most 4 MiB.
pub(super) fn builder(options: &Options, tasks: &TaskTracker) -> Builder<Tracked> {
    let mut builder = Builder::new(Tracked(tasks.clone()));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(options.streams_per_connection_max)
        .keep_alive_interval(options.keepalive_interval)
        .keep_alive_timeout(options.keepalive_timeout)
        .max_header_list_size(HEADER_LIST_BYTES_MAX);
    if options.door.is_none() {
        return builder.http2_only();
    }
    builder
        .http1()
        .timer(TokioTimer::new())
        // The time between two requests counts, too.
        .header_read_timeout(options.preface_timeout)
        .max_buf_size(HEADER_LIST_BYTES_MAX as usize);
    builder
}

/// Serves `connection` until its caller leaves. At `end` it is asked to: a GOAWAY goes out, calls in flight are finished.
pub(super) async fn serve(
    http: Builder<Tracked>,
    connection: Connection,
    handler: impl Handler,
    body_timeout: Duration,
    end: impl Future<Output = ()>,
) {
    let info = connection.info();
    let service = service_fn(move |request: Request<Incoming>| {
        let is_pinged = request.version() == Version::HTTP_2;
        let mut request = request.map(|body| match is_pinged {
            true => Body::new(body),
            false => Body::new(Timely::new(body, body_timeout)),
        });
        request.extensions_mut().insert(info.clone());
        let answer = handler.clone().answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut serving = pin!(http.serve_connection(TokioIo::new(connection), service));
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = end => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        // Callers vanish, and strangers speak other protocols: nothing that an operator could mend.
        tracing::debug!(%error, "a connection failed");
    }
}

/// When a connection has to go: at its age, or with the server.
pub(super) async fn end_of_life(age_max: Option<Duration>, goaway: CancellationToken) {
    let aged = async {
        match age_max {
            Some(age) => sleep(jittered(age)).await,
            None => pending().await,
        }
    };
    tokio::select! {
        () = aged => {}
        () = goaway.cancelled() => {}
    }
}

/// `age` times a factor between 0.9 and 1.1.
fn jittered(age: Duration) -> Duration {
    // The standard library's only source of randomness, and good enough to tell connections apart.
    let random = RandomState::new().build_hasher().finish();
    let permille = u32::try_from(random % 201).expect("below 201");
    age * (900 + permille) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_ages_differ_by_at_most_a_tenth() {
        let age = Duration::from_secs(1000);
        let ages: Vec<_> = (0..100).map(|_| jittered(age)).collect();
        let bounds = Duration::from_secs(900)..=Duration::from_secs(1100);
        assert!(ages.iter().all(|age| bounds.contains(age)), "{ages:?}");
        assert!(ages.iter().any(|age| *age != ages[0]), "no jitter at all");
    }
}
