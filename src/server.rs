//! The composition root: opens the store, connects the provider, serves, drains.

mod agents;
mod check;
mod mcp;
mod tools;
mod upstream;
mod webhooks;

use std::{fmt, future::Future, io, time::Duration};

use tokio::{net::TcpListener, task, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, Http},
    engine::{self, Engine},
    grpc::{self, health::Health},
    offline::Offline,
    store::{self, Store},
    tools::{Tools, mcp::McpServers},
};

/// Why the server could not run, or had to stop.
#[derive(Debug)]
pub enum Error {
    /// The store cannot be opened.
    Store(store::OpenError),
    /// The provider is configured so that it cannot be asked.
    Provider(String),
    /// What a crash left cannot be read or kept.
    Recovery(String),
    /// Agents are declared so that they cannot be: everything that is wrong with them, each fault with its key.
    Agents(Vec<String>),
    /// The agents that are declared could not be stored.
    DeclareAgents(String),
    /// The tools are configured so that one of them cannot be called.
    Tools(String),
    /// The network failed.
    Network(io::Error),
    /// The store stopped working; a restart finds all that was acknowledged.
    StoreFailed,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Store(error) => write!(f, "{error}"),
            Error::Provider(text) => write!(f, "the provider cannot be used: {text}"),
            Error::Recovery(text) => write!(f, "turns that a crash cut off cannot be kept: {text}"),
            Error::Agents(faults) => match faults.as_slice() {
                [one] => f.write_str(one),
                many => {
                    write!(f, "the agents of the configuration have {} faults:", many.len())?;
                    many.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
                }
            },
            Error::DeclareAgents(text) => write!(f, "the agents of the configuration cannot be stored: {text}"),
            Error::Tools(text) => write!(f, "the tools cannot be used: {text}"),
            Error::Network(error) => write!(f, "the network failed: {error}"),
            Error::StoreFailed => {
                f.write_str("the store cannot be written any more; nothing acknowledged is lost, a restart recovers it")
            }
        }
    }
}

impl std::error::Error for Error {
    /// What is behind the error that the text above tells already.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Store(error) => error.source(),
            Error::Network(error) => error.source(),
            Error::Provider(_)
            | Error::Recovery(_)
            | Error::Agents(_)
            | Error::DeclareAgents(_)
            | Error::Tools(_)
            | Error::StoreFailed => None,
        }
    }
}

pub use self::{
    check::{ProviderCheck, check_providers},
    mcp::{ToolCheck, ToolsCheck, check_tools},
};
/// The models that `--offline` serves.
pub use crate::offline::MODELS as OFFLINE_MODELS;
/// The tool that `--offline` brings.
pub use crate::offline::TOOL as OFFLINE_TOOL;

/// A server that is ready to serve: its store is open, its provider is known.
pub struct Server {
    config: Config,
    store: Store,
    engine: Engine,
    mcp: McpServers,
    offline: Option<Offline>,
}

/// Opens everything and serves on a bound listener until `shutdown`; see [`Server`].
pub async fn run(
    listener: TcpListener,
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    Server::open(config).await?.serve(listener, shutdown).await
}

impl Server {
    /// Opens the store, which takes as long as what was written since the last start: seconds for gigabytes.
    pub async fn open(config: Config) -> Result<Server, Error> {
        let offline = match config.offline {
            true => Some(Offline::start().await.map_err(Error::Network)?),
            false => None,
        };
        let models = upstream::models(&config, offline.as_ref())?;
        let mcp = McpServers::new(mcp::servers(&config)?);
        let tools = Tools { http: tools::http(&config, offline.as_ref())?, mcp: mcp.clone() };
        let declared = agents::read(&config, &tools)?;
        let store = open(&config).await?;
        let engine = Engine::new(store.clone(), models, tools, engine_options(&config));
        let recovered = engine.recover().await.map_err(|failure| Error::Recovery(failure.message))?;
        if recovered > 0 {
            tracing::warn!(turns = recovered, "turns that were cut off while tools ran are kept as incomplete");
        }
        agents::declare(declared, &engine).await?;
        let queued = engine.recover_background().await.map_err(|failure| Error::Recovery(failure.message))?;
        if queued > 0 {
            tracing::info!(turns = queued, "background turns go on");
        }
        let batches = engine.recover_batches();
        if batches > 0 {
            tracing::info!(batches, "batches go on");
        }
        Ok(Server { config, store, engine, mcp, offline })
    }

    /// What the store has done since it was opened.
    pub fn store_stats(&self) -> store::Stats {
        self.store.stats()
    }

    /// Serves until `shutdown`, then drains: no new turns, running ones may finish under `shutdown.grace`, streams end with a
    /// terminal event.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let Server { config, store, engine, mcp, offline } = self;
        let served = serve(listener, &config, &engine, &store, shutdown).await;
        mcp.close().await;
        if let Some(offline) = offline
            && let Err(error) = offline.stop().await
        {
            tracing::warn!(%error, "the offline stand-in did not end well");
        }
        drop(engine);
        // Closing waits for the disk.
        if task::spawn_blocking(move || store.close()).await.is_err() {
            tracing::error!("closing the store panicked; the next start recovers it");
        }
        served
    }
}

async fn serve(
    listener: TcpListener,
    config: &Config,
    engine: &Engine,
    store: &Store,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    engine.start_webhooks().await.map_err(|failure| Error::Recovery(failure.message))?;
    let health = Health::new();
    let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
    let options = grpc_options(config);
    let routes = grpc::routes(engine.clone(), &options);
    let transport = grpc::serve::Options { door: grpc::door(engine.clone(), &options), ..transport(config) };
    let served = grpc::serve::serve(listener, routes, transport, health.clone(), stop.clone(), cut);
    let ends = async {
        let failed = tokio::select! {
            () = shutdown => false,
            () = watch(store, &health) => true,
            () = expire(store, engine) => false,
            () = engine.sweep() => false,
            () = forget_changes(store, config) => false,
            () = engine.work() => false,
        };
        stop.cancel();
        engine.drain(Instant::now() + turns_grace(config.shutdown.grace)).await;
        failed
    };
    let ((), failed) = tokio::join!(served, ends);
    if failed { Err(Error::StoreFailed) } else { Ok(()) }
}

/// Keeps health true to the store's; returns when the store has failed for good.
async fn watch(store: &Store, health: &Health) {
    let mut state = store.health();
    loop {
        let now = state.borrow_and_update().clone();
        match now {
            store::Health::Healthy => grpc::announce(health, true),
            store::Health::LowSpace { free_bytes, floor_bytes } => {
                tracing::warn!(free_bytes, floor_bytes, "the store's disk is nearly full: no new turns");
                grpc::announce(health, false);
            }
            store::Health::Failed => {
                tracing::error!("the store failed: the server stops, a restart recovers");
                grpc::announce(health, false);
                return;
            }
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

/// How long a turn that made no version can be read.
const FAILED_TURNS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long it can be read what was sent to webhooks.
const DELIVERIES_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Removes old turns that made no version, and what was sent to webhooks: now and every hour. Never returns.
async fn expire(store: &Store, engine: &Engine) {
    let mut hours = tokio::time::interval(Duration::from_secs(3600));
    loop {
        hours.tick().await;
        let (store, engine) = (store.clone(), engine.clone());
        let remove = move || {
            let removed = store.expire_failed(Engine::time_before(FAILED_TURNS_KEPT))?;
            engine.expire_budgets()?;
            engine.expire_deliveries(Engine::time_before(DELIVERIES_KEPT))?;
            Ok::<_, store::Error>(removed)
        };
        match task::spawn_blocking(remove).await {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(removed)) => tracing::info!(removed, "old turns that made no version are gone"),
            Ok(Err(error)) => tracing::warn!(%error, "old failed turns could not be removed"),
        }
    }
}

/// How often old changes go: a busy server writes some 100 MB of them in such a time.
const CHANGES_GO_EVERY: Duration = Duration::from_secs(60);

/// Removes changes that are older or more than `watch` allows. Never returns.
async fn forget_changes(store: &Store, config: &Config) {
    let mut minutes = tokio::time::interval(CHANGES_GO_EVERY);
    minutes.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        minutes.tick().await;
        let (store, before) = (store.clone(), Engine::time_before(config.watch.retention));
        let max_bytes = config.watch.max_bytes;
        match task::spawn_blocking(move || store.expire_changes(before, max_bytes)).await {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(removed)) => tracing::debug!(removed, "old changes are gone"),
            Ok(Err(error)) => tracing::warn!(%error, "old changes could not be removed"),
        }
    }
}

async fn open(config: &Config) -> Result<Store, Error> {
    let options = store::Options {
        path: config.store.path.clone(),
        cache_bytes: config.store.cache_bytes,
        sync: config.store.sync,
        min_free_bytes: config.store.min_free_bytes,
    };
    let opened = task::spawn_blocking(move || Store::open(&options)).await;
    match opened {
        Ok(opened) => opened.map_err(Error::Store),
        Err(panic) => {
            Err(Error::Store(store::OpenError::Damaged { path: config.store.path.clone(), text: panic.to_string() }))
        }
    }
}

fn engine_options(config: &Config) -> engine::Options {
    engine::Options {
        turn_timeout: config.turns.timeout,
        grace: config.turns.grace,
        max_in_flight: config.turns.max_in_flight,
        history_cache_bytes: config.turns.history_cache_bytes,
        log_content: config.log.content,
        max_tool_rounds: config.turns.max_tool_rounds,
        max_handoffs: config.turns.max_handoffs,
        max_parallel_tools: config.turns.max_parallel_tools,
        conversation_ttl: config.conversations.ttl,
        background: engine::BackgroundOptions {
            limits: engine::Limits {
                total: config.background.max_running,
                per_provider: config.background.max_running_per_provider,
                per_tree: config.background.max_running_per_conversation,
            },
            max_queued: config.background.max_queued,
            max_attempts: config.background.max_attempts,
            backoff_base: config.background.backoff_base,
            backoff_max: config.background.backoff_max,
        },
        budgets: upstream::budgets(config),
        webhooks: webhooks::options(&config.webhooks),
    }
}

fn grpc_options(config: &Config) -> grpc::Options {
    grpc::Options {
        message_bytes: config.limits.message_bytes,
        heartbeat: config.events.heartbeat,
        reflection: config.reflection,
        door: door(config),
    }
}

fn door(config: &Config) -> grpc::door::Options {
    let Http { events, grpc_web, page, cors_origins, hosts } = config.http.clone();
    grpc::door::Options { events, grpc_web, page, cors_origins, hosts }
}

fn transport(config: &Config) -> grpc::serve::Options {
    grpc::serve::Options {
        connections_max: u32::try_from(config.limits.max_connections).unwrap_or(u32::MAX),
        calls_in_flight_max: config.limits.max_calls,
        streams_per_connection_max: config.limits.max_streams_per_connection,
        drain_timeout: config.shutdown.grace,
        ..grpc::serve::Options::default()
    }
}

/// Turns are stopped a little before the connections are cut, so that their readers see how they ended.
fn turns_grace(grace: Duration) -> Duration {
    grace - (grace / 4).min(Duration::from_secs(2))
}
