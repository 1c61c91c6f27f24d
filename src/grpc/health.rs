//! `grpc.health.v1.Health`, with readiness and drain.
//!
//! tonic-health's own service answers Watch of an unknown service with NOT_FOUND, where the protocol wants a
//! SERVICE_UNKNOWN message and a stream that goes on; it says SERVING before anything is ready; and its watches hold up a
//! shutdown for ever. Only its generated types are used here.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{self, Stream};
use tokio::sync::watch;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus as WireStatus;
use tonic_health::pb::health_server::{Health as HealthRpc, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::layers::status;

pub use tonic_health::ServingStatus;

/// Says how the services are. Clones share one state; every watcher sees the latest state, not every state in between.
#[derive(Clone)]
pub struct Health {
    board: Arc<watch::Sender<Board>>,
}

struct Board {
    services: HashMap<String, WireStatus>,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// Everything is NOT_SERVING, whatever is set.
    Draining,
    /// And the watches end.
    Closed,
}

impl Board {
    /// The service's status, `None` if nothing was ever said of it.
    fn status(&self, service: &str) -> Option<WireStatus> {
        let status = self.services.get(service).copied()?;
        Some(match self.phase {
            Phase::Open => status,
            Phase::Draining | Phase::Closed => WireStatus::NotServing,
        })
    }
}

impl Health {
    /// The whole server (the service named `""`) begins NOT_SERVING; other services are unknown until they are set.
    #[must_use]
    pub fn new() -> Self {
        let services = HashMap::from([(String::new(), WireStatus::NotServing)]);
        let phase = Phase::Open;
        let (board, _) = watch::channel(Board { services, phase });
        let board = Arc::new(board);
        Self { board }
    }

    /// Sets the status of a service, by its full name (`causerie.v1.ConversationService`), or of the server with `""`.
    /// After [`Health::drain`] this changes nothing that can be seen.
    pub fn set(&self, service: &str, status: ServingStatus) {
        let status = WireStatus::from(status);
        self.board.send_if_modified(|board| board.services.insert(service.to_owned(), status) != Some(status));
    }

    /// Everything is NOT_SERVING from now on, so that load balancers send their calls elsewhere.
    pub fn drain(&self) {
        self.enter(Phase::Draining);
    }

    /// Drains, and ends every watch with UNAVAILABLE after it was told.
    pub fn close(&self) {
        self.enter(Phase::Closed);
    }

    /// The gRPC service. [`super::serve::serve`] adds it by itself.
    #[must_use]
    pub fn service(&self) -> HealthServer<impl HealthRpc + use<>> {
        let service = Service { board: self.board.subscribe() };
        HealthServer::new(service).accept_compressed(CompressionEncoding::Gzip)
    }

    fn enter(&self, phase: Phase) {
        self.board.send_modify(|board| {
            // Closed is for good: a late drain must not reopen the watches.
            if board.phase != Phase::Closed {
                board.phase = phase;
            }
        });
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").finish_non_exhaustive()
    }
}

struct Service {
    board: watch::Receiver<Board>,
}

#[tonic::async_trait]
impl HealthRpc for Service {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let HealthCheckRequest { service } = request.into_inner();
        match self.board.borrow().status(&service) {
            Some(status) => Ok(Response::new(message(status))),
            None => Err(Status::not_found("this server has no such service")),
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let watcher =
            Watcher { board: self.board.clone(), service: request.into_inner().service, told: None, is_done: false };
        let changes = stream::unfold(watcher, |mut watcher| async move {
            let item = watcher.next().await?;
            Some((item, watcher))
        });
        Ok(Response::new(Box::pin(changes)))
    }
}

struct Watcher {
    board: watch::Receiver<Board>,
    service: String,
    told: Option<WireStatus>,
    is_done: bool,
}

impl Watcher {
    /// The next change of this service's status; the last item is the error that ends the stream.
    async fn next(&mut self) -> Option<Result<HealthCheckResponse, Status>> {
        while !self.is_done {
            let (status, is_closed) = self.look();
            if self.told != Some(status) {
                self.told = Some(status);
                return Some(Ok(message(status)));
            }
            if is_closed || self.board.changed().await.is_err() {
                self.is_done = true;
                return Some(Err(shutting_down()));
            }
        }
        None
    }

    fn look(&mut self) -> (WireStatus, bool) {
        let board = self.board.borrow_and_update();
        let status = board.status(&self.service);
        let is_closed = board.phase == Phase::Closed;
        (status.unwrap_or(WireStatus::ServiceUnknown), is_closed)
    }
}

fn message(status: WireStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

fn shutting_down() -> Status {
    let message = "the server is shutting down";
    status::with_reason(Code::Unavailable, "SERVICE_UNAVAILABLE", message)
}
