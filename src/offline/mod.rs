//! The stand-in for Mistral that `causerie serve --offline` starts on loopback.
//!
//! It lets a person try the whole service without an account, a key or a network, and it keeps our own requests
//! honest: like the real API it refuses unknown fields, values out of range, a message order that Mistral does not take
//! and foreign tool call ids, with the bodies that Mistral sends.
//!
//! It is no model. It repeats what it was told, calls a function whose name it reads, and fits documents to a schema;
//! its names and its texts say so. The same request always gets the same answer, so that examples in documents stay
//! true. A user message may begin with lines such as `/offline error 429` that ask for a behaviour: [`DIRECTIVES`].
//!
//! The room knows HTTP and Mistral's wire format. It imports nothing else of this crate, so that it cannot agree with
//! our own provider code by sharing a mistake with it.
//!
//! One request goes: `routes` (HTTP, bearer token) → `check` (shape, then order) → `directive` → `answer` (what to
//! say) → `wire` or, for conversations, `conversation` (Mistral's JSON) → `stream` (bytes and their pace).

mod answer;
mod calls;
mod check;
mod conversation;
mod directive;
mod example;
mod failure;
mod identity;
mod models;
mod request;
mod routes;
mod samples;
mod stream;
mod usage;
mod wire;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

pub use directive::DIRECTIVES;
pub use models::MODELS;

/// The HTTP tool that the stand-in answers, so that one can be seen to run without a network. Its argument is `city`.
pub const TOOL: &str = "offline_weather";

/// How long [`Offline::stop`] waits for a client that is still sending its request.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// How the stand-in behaves where a request does not say it.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Time between two chunks of a stream. Default 15 ms, so that a person sees a stream; tests use zero.
    pub pace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { pace: Duration::from_millis(15) }
    }
}

/// A running stand-in. Dropping it ends it at once; [`Offline::stop`] ends it in order.
#[derive(Debug)]
pub struct Offline {
    address: SocketAddr,
    /// Cancels when dropped: everything in this room that waits also waits for it.
    stopping: DropGuard,
    task: AbortOnDropHandle<io::Result<()>>,
}

impl Offline {
    /// Starts on a free port of 127.0.0.1 with the default [`Options`].
    ///
    /// # Errors
    /// When the loopback address cannot be bound.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(Options::default()).await
    }

    /// Starts on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When the loopback address cannot be bound.
    pub async fn start_with(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Self::start_on(listener, options)
    }

    /// Starts on a listener that the caller has bound. Requests are taken from the moment this returns.
    ///
    /// # Errors
    /// When the listener does not tell its address.
    pub fn start_on(listener: TcpListener, options: Options) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let stopping = CancellationToken::new();
        let router = routes::router(options.pace, stopping.clone());
        // Without TCP_NODELAY every small chunk of a stream would wait for the acknowledgement of the one before. A
        // socket on which it cannot be set is a dead one: the next read says so.
        let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
        let server = axum::serve(listener, router).with_graceful_shutdown(stopping.clone().cancelled_owned());
        let task = AbortOnDropHandle::new(tokio::spawn(
            server.into_future().instrument(tracing::info_span!("offline", %address)),
        ));
        Ok(Self { address, stopping: stopping.drop_guard(), task })
    }

    /// Where to send requests, without a trailing slash: `http://127.0.0.1:41234`. The paths begin with `/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL template of [`TOOL`].
    #[must_use]
    pub fn tool_url(&self) -> String {
        format!("http://{}/tools/weather/{{city}}", self.address)
    }

    /// Stops taking connections, ends what waits (a stalled answer, a pause between chunks) and returns when the last
    /// connection is closed.
    ///
    /// # Errors
    /// When the server's task panicked, or a client held a connection open for more than two seconds.
    pub async fn stop(self) -> io::Result<()> {
        drop(self.stopping);
        tokio::time::timeout(STOP_GRACE, self.task).await??
    }
}
