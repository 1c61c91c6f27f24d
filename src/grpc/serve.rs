//! Runs the server from a bound listener to its drained end.
//!
//! Every connection and every call is a task that is counted here, and waited for.

mod connection;
mod timely;

use std::future::Future;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tower::ServiceBuilder;

use super::door::{Door, Front, Guarded};
use super::health::Health;
use super::layers::deadline::Deadlines;
use super::layers::in_flight::InFlight;
use super::layers::panic::CatchPanic;
use super::layers::reason::GiveReasons;
use super::layers::request_id::NameCalls;
use super::layers::{Handler, Wrap};
use super::listener::{Acceptor, Limits, Signals};

/// What connections and futures get to end after they were cut; they need microseconds.
const LAST_BREATH: Duration = Duration::from_secs(1);

/// How the server treats its callers. [`Options::default`] suits production behind a load balancer.
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections open at a time; more are closed at once. Default 10,000 (33 KB each).
    pub connections_max: u32,
    /// How long a new connection may stay silent, and how long the head of a request in HTTP/1.1 may take. Default 10 s.
    pub preface_timeout: Duration,
    /// How long the body of a request in HTTP/1.1 may take. Default 30 s.
    pub body_timeout: Duration,
    /// How long a caller may leave what was sent to it untaken, with an open door: HTTP/1.1 has no pings that would tell. Default
    /// 30 s.
    pub write_timeout: Duration,
    /// Calls in flight in the whole process, streams included until their end; more are answered RESOURCE_EXHAUSTED
    /// (`OVERLOADED`). Default 10,000.
    pub calls_in_flight_max: u32,
    /// Calls at a time on one connection; client libraries queue above it. Default 1,000.
    pub streams_per_connection_max: u32,
    /// The longest that any call may take; `None` for as long as the caller likes. Default 1 h.
    pub call_timeout_max: Option<Duration>,
    /// How often a connection is pinged, so that callers that froze or vanished are noticed. Default 30 s.
    pub keepalive_interval: Duration,
    /// How long the answer to a ping may take. Default 15 s.
    pub keepalive_timeout: Duration,
    /// When a connection is asked to make way for a new one, so that balancers of connections spread their load again. Calls
    /// in flight end in peace. Each connection adds or takes up to a tenth, lest all reconnect at once (gRFC A9). `None` for
    /// never. Default 45 min.
    pub connection_age_max: Option<Duration>,
    /// How long calls are still accepted after health turned NOT_SERVING. Should exceed the balancer's health interval (5 to
    /// 10 s usually). Default 0.
    pub lame_duck: Duration,
    /// How long calls in flight may take to end, after the lame-duck time; then their connections are cut. Default 20 s.
    pub drain_timeout: Duration,
    /// For those who speak plain HTTP or gRPC-Web. Without it, which is the default, the server speaks HTTP/2 and gRPC only.
    pub door: Option<Door>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            preface_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            calls_in_flight_max: 10_000,
            streams_per_connection_max: 1_000,
            call_timeout_max: Some(Duration::from_secs(3600)),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(15),
            connection_age_max: Some(Duration::from_secs(45 * 60)),
            lame_duck: Duration::ZERO,
            drain_timeout: Duration::from_secs(20),
            door: None,
        }
    }
}

/// Serves `routes`, and health, until `stop`, then drains: health turns NOT_SERVING; after the lame-duck time the listener is
/// closed, watches of health end and connections get a GOAWAY; calls in flight may end until the drain timeout; then
/// everything is cut. `cut` does the last step at once, at any time.
///
/// Returns at most `lame_duck + drain_timeout` and one second after `stop`, whatever the callers do, and then no handler
/// runs any more, except one that blocks its thread. Streams that should end with a word of their own have to watch `stop`
/// themselves.
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    options: Options,
    health: Health,
    stop: CancellationToken,
    cut: CancellationToken,
) {
    let handler = handler(routes.add_service(health.service()), &options);
    let drain = Drain {
        lame_duck: options.lame_duck,
        timeout: options.drain_timeout,
        health,
        stop,
        goaway: CancellationToken::new(),
        cut: cut.child_token(),
    };
    // If this future is dropped, its connections must not live on without an owner.
    let _cut_on_drop = drain.cut.clone().drop_guard();
    let limits = Limits {
        connections_max: options.connections_max,
        preface_timeout: options.preface_timeout,
        write_timeout: options.door.is_some().then_some(options.write_timeout),
    };
    let acceptor = Acceptor::new(listener, limits, drain.signals());
    let tasks = TaskTracker::new();
    let goaway = drain.goaway.clone();
    let server = async {
        accept(acceptor, handler, &options, &tasks, &goaway).await;
        tasks.close();
        tasks.wait().await;
    };
    tokio::select! {
        () = server => {}
        () = drain.run() => tracing::warn!("calls are still running after the server's end"),
    }
}

/// The routes inside of their layers, outermost first.
fn handler(routes: Routes, options: &Options) -> impl Handler + use<> {
    ServiceBuilder::new()
        .option_layer(options.door.clone().map(|door| Wrap(Front(door))))
        .layer(Wrap(NameCalls))
        .layer(Wrap(GiveReasons))
        .layer(Wrap(CatchPanic))
        .layer(Wrap(InFlight::new(options.calls_in_flight_max)))
        .layer(Wrap(Deadlines { max: options.call_timeout_max }))
        .option_layer(options.door.clone().map(|door| Wrap(Guarded(door))))
        .service(routes.prepare())
}

/// Serves connections until `goaway`, then closes the listener.
async fn accept(
    mut acceptor: Acceptor,
    handler: impl Handler,
    options: &Options,
    tasks: &TaskTracker,
    goaway: &CancellationToken,
) {
    let http = connection::builder(options, tasks);
    loop {
        // TLS will stand between the two: a handshake on the connection, in its task.
        let connection = tokio::select! {
            connection = acceptor.next() => connection,
            () = goaway.cancelled() => return,
        };
        let end = connection::end_of_life(options.connection_age_max, goaway.clone());
        let handler = handler.clone();
        tasks.spawn(connection::serve(http.clone(), connection, handler, options.body_timeout, end));
    }
}

/// The end of a server, step by step.
struct Drain {
    lame_duck: Duration,
    timeout: Duration,
    health: Health,
    stop: CancellationToken,
    goaway: CancellationToken,
    cut: CancellationToken,
}

impl Drain {
    /// Returns when every step is done. The server normally returns before that.
    async fn run(self) {
        self.unless_cut(self.stop.cancelled()).await;
        self.health.drain();
        tracing::info!("draining: health says NOT_SERVING");
        self.unless_cut(sleep(self.lame_duck)).await;
        self.health.close();
        self.goaway.cancel();
        self.unless_cut(sleep(self.timeout)).await;
        tracing::warn!("cutting the connections that are left");
        self.cut.cancel();
        sleep(LAST_BREATH).await;
    }

    fn signals(&self) -> Signals {
        Signals { stop: self.goaway.clone(), cut: self.cut.clone() }
    }

    async fn unless_cut(&self, step: impl Future<Output = ()>) {
        tokio::select! {
            () = step => {}
            () = self.cut.cancelled() => {}
        }
    }
}
