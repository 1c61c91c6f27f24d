//! A real server on a port of its own.

use std::net::SocketAddr;
use std::time::Duration;

use causerie::grpc::health::Health;
use causerie::grpc::reflection;
use causerie::grpc::serve::{Options, serve};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use super::caller::{Caller, soon};
use super::scripted::{Event, Scripted};

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) health: Health,
    pub(crate) stop: CancellationToken,
    pub(crate) cut: CancellationToken,
    pub(crate) events: UnboundedReceiver<Event>,
    pub(crate) task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (sender, events) = unbounded_channel();
        let routes = Routes::new(Scripted { events: sender });
        let routes = reflection::add_to(routes, &[]).expect("descriptors");
        let health = Health::new();
        let stop = CancellationToken::new();
        let cut = CancellationToken::new();
        let serving = serve(listener, routes, options, health.clone(), stop.clone(), cut.clone());
        Self { address, health, stop, cut, events, task: tokio::spawn(serving) }
    }

    pub(crate) async fn caller(&self) -> Caller {
        Caller::connect(self.address).await
    }

    pub(crate) async fn channel(&self) -> tonic::transport::Channel {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", self.address));
        let endpoint = endpoint.expect("an address");
        soon(endpoint.connect()).await.expect("connected")
    }

    /// Waits for the handlers' next word.
    pub(crate) async fn expect(&mut self, event: Event) {
        assert_eq!(soon(self.events.recv()).await, Some(event));
    }

    /// Waits for the end of `serve`.
    pub(crate) async fn ended(self) {
        soon(self.task).await.expect("no panic");
    }
}

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
