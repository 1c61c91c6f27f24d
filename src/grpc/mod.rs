//! The edge: everything that knows gRPC and HTTP/2.
//!
//! `service` decodes, calls the engine and encodes; `convert` and `status` are its two directions; `stream` turns a turn's
//! log into a stream. `serve` runs a server from a bound listener to its drained end; `listener` makes connections, `layers`
//! stand around every call, `health` and `reflection` are the standard services. `door` is for those who speak plain HTTP or gRPC-Web.

mod agents;
mod batches;
pub mod convert;
pub mod door;
pub mod health;
pub mod layers;
pub mod listener;
mod models;
mod operations;
pub mod page_token;
pub mod reflection;
pub mod serve;
mod service;
pub mod status;
mod stream;
mod transfer;
mod watch;
mod webhooks;

use std::time::Duration;

use tonic::{codec::CompressionEncoding, service::Routes};

use self::health::{Health, ServingStatus};
use crate::{
    engine::Engine,
    proto::{
        self, agent_service_server::AgentServiceServer, batch_service_server::BatchServiceServer,
        conversation_service_server::ConversationServiceServer, longrunning::operations_server::OperationsServer,
        model_service_server::ModelServiceServer, watch_service_server::WatchServiceServer,
        webhook_service_server::WebhookServiceServer,
    },
};

/// The `domain` of every `google.rpc.ErrorInfo` that this service sends; with the reason it names an error for good (AIP-193).
pub const DOMAIN: &str = "causerie";

/// The full names of the services, as health checks ask for them.
pub const SERVICES: [&str; 7] = [
    "causerie.v1.ConversationService",
    "causerie.v1.AgentService",
    "causerie.v1.ModelService",
    "causerie.v1.BatchService",
    "causerie.v1.WatchService",
    "google.longrunning.Operations",
    "causerie.v1.WebhookService",
];

/// How the services treat their callers.
#[derive(Debug, Clone)]
pub struct Options {
    /// The largest message that is taken, in bytes.
    pub message_bytes: usize,
    /// A stream says something after so much silence.
    pub heartbeat: Duration,
    /// Clients may ask for the protos.
    pub reflection: bool,
    /// What is spoken besides gRPC.
    pub door: door::Options,
}

/// The door to an engine for those who do not speak gRPC; `None` if it stays shut.
pub fn door(engine: Engine, options: &Options) -> Option<door::Door> {
    let service = service::Service::new(engine.clone(), options.heartbeat);
    let watch = watch::Watch::new(engine.clone(), options.heartbeat);
    let readers = door::Readers { engine, service, watch, heartbeat: options.heartbeat };
    door::Door::open(&options.door, readers)
}

/// The services of an engine, and reflection if it is on.
///
/// # Panics
///
/// If the descriptor sets in this binary don't fit together, which every test would see.
pub fn routes(engine: Engine, options: &Options) -> Routes {
    let models = ModelServiceServer::new(models::Models::new(engine.clone()))
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(options.message_bytes);
    let agents = AgentServiceServer::new(agents::Agents::new(engine.clone()))
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(options.message_bytes);
    let operations = OperationsServer::new(operations::Operations::new(engine.clone()))
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(options.message_bytes);
    let batches = BatchServiceServer::new(batches::Batches::new(engine.clone(), options.heartbeat))
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(options.message_bytes);
    let watch = WatchServiceServer::new(watch::Watch::new(engine.clone(), options.heartbeat))
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(options.message_bytes);
    let webhooks = WebhookServiceServer::new(webhooks::Webhooks::new(engine.clone()))
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(options.message_bytes);
    let conversations = ConversationServiceServer::new(service::Service::new(engine, options.heartbeat))
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(options.message_bytes);
    let routes = Routes::new(conversations).add_service(agents).add_service(models).add_service(watch);
    let routes = routes.add_service(operations).add_service(webhooks).add_service(batches);
    if !options.reflection {
        return routes;
    }
    reflection::add_to(routes, &[proto::FILE_DESCRIPTOR_SET]).expect("the descriptor sets of this binary fit together")
}

/// Tells health whether turns are taken: the services' own names, and the empty name for the server as a whole.
pub fn announce(health: &Health, serving: bool) {
    let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in SERVICES {
        health.set(service, status);
    }
    health.set("", status);
}
