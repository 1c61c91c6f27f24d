//! The turn: load the history, ask the provider, fold what comes, commit, tell readers.
//!
//! Knows the domain, the store and the providers; nothing of gRPC. Everything that a caller can ask is a method of [`Engine`].

mod agents;
mod ask;
mod assemble;
mod background;
mod batch;
mod budgets;
mod compiles;
mod decide;
mod declare_agents;
mod expiry;
mod failures;
mod history;
mod ids;
mod lead;
mod list_models;
mod live;
mod log;
mod models;
mod plan;
mod read;
mod recover;
mod registry;
mod retry;
mod rounds;
mod run;
mod targets;
mod told;
mod toolset;
mod transfer;
mod turns;
mod watch;
mod webhooks;
pub mod window;

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

pub use self::{
    agents::{AgentChanges, AgentCursor, AgentPage, AgentQuery, AgentTarget},
    background::{BackgroundOptions, Limits},
    batch::{BatchItem, BatchPage, BatchRead, BatchReader, Intake, ItemOutcome},
    budgets::WindowBudget,
    declare_agents::DeclaredAgent,
    list_models::{ListedModel, ListedProvider},
    log::{Log, Read, Reader},
    models::{ModelOptions, ModelPolicy, ProviderPolicy, RateLimits},
    read::{ConversationPage, ConversationRow, EntryPage, EntryQuery, Query, TreeCursor},
    retry::RetryOptions,
    transfer::{ExportedVersion, Import},
    turns::{TurnPage, TurnQuery},
    watch::{CHANGES_AT_ONCE, EVENTS_AT_ONCE, Revisions, TurnEvent, WatchStart, Watched, Watcher},
    webhooks::{CallbackSecret, RedeliverWhat, Render, WebhookChanges, WebhookOptions},
};
use self::{
    background::Background,
    batch::Batching,
    budgets::Budgets,
    compiles::Compiles,
    expiry::Sweeper,
    history::Histories,
    ids::TurnIds,
    live::{Attachment, Live, Opening, Stop, Tree},
    models::Models,
    plan::{Plan, Terms},
    registry::{Place, Refused, Registry},
    run::Run,
    watch::Watching,
    webhooks::Webhooks,
};
use crate::{
    domain::{
        EventKind, Failure, Turn, TurnId,
        request::{Base, RequestKey, TurnRequest},
    },
    store::Store,
    tools::Tools,
};
pub use crate::{
    store::{DeliveryCursor, DeliveryPage, Ended, WebhookPage},
    upstream::{Dialect, ModelCard, Price, Secret},
};

/// How turns are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The longest that a turn may take.
    pub turn_timeout: Duration,
    /// How long a turn that can be re-attached outlives its last reader.
    pub grace: Duration,
    /// Turns in flight at once.
    pub max_in_flight: usize,
    /// What the cache of histories may take, in bytes.
    pub history_cache_bytes: u64,
    /// Put prompts and answers into the log.
    pub log_content: bool,
    /// How often a turn's model may ask for tools that the service runs.
    pub max_tool_rounds: u32,
    /// How often a turn may go from agent to agent.
    pub max_handoffs: u32,
    /// Tools that one turn runs at once.
    pub max_parallel_tools: usize,
    /// How long after its first turn a tree is deleted that says nothing else.
    pub conversation_ttl: Option<Duration>,
    /// How background turns are run.
    pub background: BackgroundOptions,
    /// Ceilings on what all turns may spend.
    pub budgets: Vec<WindowBudget>,
    /// How endpoints are told of changes.
    pub webhooks: WebhookOptions,
}

/// Runs turns and answers questions about them. A cheap handle.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    models: Models,
    budgets: Budgets,
    tools: Tools,
    background: Background,
    batching: Batching,
    compiles: Compiles,
    options: Options,
    registry: Arc<Registry>,
    histories: Histories,
    ids: TurnIds,
    tasks: TaskTracker,
    /// Deletes trees whose time has come.
    sweeper: Sweeper,
    watching: Watching,
    webhooks: Webhooks,
    /// One request id is prepared at a time, so that two equal calls make one turn. Held over reads of the store, never over
    /// the model.
    preparing: [tokio::sync::Mutex<()>; 64],
    hasher: RandomState,
}

/// What a call says of the turn that it asks for.
#[derive(Debug, Clone)]
pub struct Caller {
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    /// The caller reads events as they happen; the provider is asked to stream.
    pub streaming: bool,
    /// The caller's own key for the provider.
    pub key: Option<Secret>,
}

/// A turn that was asked for: one that runs, or one that has ended and was asked for again.
#[derive(Debug)]
pub struct Handle {
    log: Arc<Log>,
    attachment: Option<Attachment>,
}

/// What became of a request for a turn.
#[derive(Debug)]
pub enum Submitted {
    /// The turn can be followed.
    Followed(Handle),
    /// The turn was queued, and its caller does not wait for it: the turn as it stands.
    Queued(Box<Turn>),
}

/// Why a turn made no version.
#[derive(Debug)]
pub struct NoVersion {
    /// What went wrong.
    pub failure: Arc<Failure>,
    /// The provider had begun to answer: the turn has cost something.
    pub spent: bool,
}

impl Handle {
    /// Waits for the end of the turn. Dropping the future tells the turn that its caller left.
    pub async fn finished(self) -> Result<Arc<Turn>, NoVersion> {
        let ended = self.log.finished().await;
        ended.map_err(|failure| NoVersion { failure, spent: self.log.has_output() })
    }

    /// Reads the events after a sequence.
    pub fn reader(self, after_sequence: u64) -> Reader {
        let reader = self.log.reader(after_sequence);
        match self.attachment {
            Some(attachment) => reader.attached(attachment),
            None => reader,
        }
    }
}

impl Engine {
    /// An engine on this store that asks these models.
    pub fn new(store: Store, models: ModelOptions, tools: Tools, options: Options) -> Engine {
        let models = Models::new(models);
        let windows = options.budgets.iter().cloned().map(|budget| models.named(budget)).collect();
        let shared = Shared {
            ids: TurnIds::new(store.tag_key()),
            registry: Arc::new(Registry::new(options.max_in_flight)),
            histories: Histories::new(options.history_cache_bytes),
            tasks: TaskTracker::new(),
            sweeper: Sweeper::new(),
            watching: Watching::new(),
            webhooks: Webhooks::new(),
            preparing: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            hasher: RandomState::new(),
            models,
            tools,
            background: Background::new(options.background.clone()),
            batching: Batching::default(),
            compiles: Compiles::new(),
            budgets: Budgets::new(store.clone(), windows),
            store,
            options,
        };
        Engine { shared: Arc::new(shared) }
    }

    /// Runs a turn, or finds the one that the same request made before.
    pub async fn submit(&self, request: TurnRequest, caller: Caller) -> Result<Submitted, Failure> {
        if let Some(url) = &request.callback_url {
            self.shared.check_callback(url)?;
        }
        let Some(key) = request.request.clone() else { return self.start(request, caller).await };
        let shard = self.shared.hasher.hash_one(&key.id) as usize % self.shared.preparing.len();
        let _one_at_a_time = self.shared.preparing[shard].lock().await;
        match self.repeated(&key).await? {
            Repeated::InFlight(live) => Ok(self.followed(&live, &request, &caller)),
            Repeated::Ended(ended) => Ok(Submitted::Followed(replay(*ended))),
            Repeated::No => self.start(request, caller).await,
        }
    }

    /// Re-attaches to a turn, running or ended.
    pub async fn resume(&self, id: TurnId, after_sequence: u64) -> Result<Reader, Failure> {
        if let Some(live) = self.shared.background_turn(id).await? {
            return Ok(self.shared.attach(&live).reader(after_sequence));
        }
        match self.shared.ended(id).await? {
            Some(ended) => Ok(replay(ended).reader(after_sequence)),
            None => Ok(self.shared.lost(id, after_sequence)?),
        }
    }

    /// Reads a turn, running or ended.
    pub async fn turn(&self, id: TurnId) -> Result<Turn, Failure> {
        if let Some(turn) = self.shared.waiting_turn(id).await? {
            return Ok(turn);
        }
        match self.shared.ended(id).await? {
            Some(ended) => Ok(ended.turn),
            None => self.shared.lost_turn(id),
        }
    }

    /// Stops a turn and returns it as it ended.
    pub async fn cancel(&self, id: TurnId) -> Result<Turn, Failure> {
        match self.shared.stop_turn(id, Stop::Cancelled).await? {
            Some(live) if live.has_turn() => Ok(live.snapshot()),
            Some(_) => Err(failures::suspended()),
            None => self.turn(id).await,
        }
    }

    /// Forgets what was spent in windows that began more than a year ago; returns the number of rows. Blocks.
    pub fn expire_budgets(&self) -> Result<u64, crate::store::Error> {
        self.shared.budgets.expire_windows()
    }

    /// Takes no more turns, lets those in flight finish until the deadline, then stops them and waits for their end.
    pub async fn drain(&self, deadline: Instant) {
        self.shared.registry.drain();
        self.shared.background.stop();
        self.shared.batching.ending.cancel();
        self.shared.tasks.close();
        if tokio::time::timeout_at(deadline, self.shared.tasks.wait()).await.is_err() {
            self.shared.registry.stop_all(Stop::Shutdown);
            self.shared.tasks.wait().await;
        }
        self.shared.watching.end();
        self.shared.webhooks.drain(deadline).await;
    }

    /// The turn that the same request made before.
    async fn repeated(&self, key: &RequestKey) -> Result<Repeated, Failure> {
        let shared = &self.shared;
        if let Some(live) = shared.registry.by_request(&key.id) {
            let same = live.request.as_ref().is_some_and(|request| request.fingerprint == key.fingerprint);
            let reused = || failures::request_id_reused(live.log.turn_id());
            return if same { Ok(Repeated::InFlight(live)) } else { Err(reused()) };
        }
        let Some((id, fingerprint)) = shared.store.request(&key.id).map_err(failures::store)? else {
            return Ok(Repeated::No);
        };
        let found = match shared.background_turn(id).await? {
            Some(live) => Repeated::InFlight(live),
            None => match shared.store.turn(id).map_err(failures::store)? {
                Some(ended) if ended.turn.conversation_id.is_some() => Repeated::Ended(Box::new(ended)),
                // It gave its request id free.
                Some(_) | None => return Ok(Repeated::No),
            },
        };
        if fingerprint == key.fingerprint { Ok(found) } else { Err(failures::request_id_reused(id)) }
    }

    /// A turn in flight, as this caller wants it.
    fn followed(&self, live: &Arc<Live>, request: &TurnRequest, caller: &Caller) -> Submitted {
        if request.leaves_at_once() && !caller.streaming {
            Submitted::Queued(Box::new(live.snapshot()))
        } else {
            Submitted::Followed(self.shared.attach(live))
        }
    }

    async fn start(&self, mut request: TurnRequest, caller: Caller) -> Result<Submitted, Failure> {
        let shared = &self.shared;
        expiry::check(&request)?;
        shared.registry.room(request.background.is_some()).map_err(|refused| shared.refuse(refused))?;
        if request.store {
            shared.store.accepts_turns().map_err(failures::store)?;
        }
        let id = if request.store { shared.ids.next() } else { shared.ids.untraceable() };
        if request.background.is_some() {
            shared.check_caller(&caller)?;
        }
        let _one_at_a_time = shared.order_of(&request).await;
        let conflict = shared.resolve_conflict(id, &mut request).await?;
        if request.background.is_some() {
            return self.queue(id, request, conflict, caller).await;
        }
        let now = Instant::now();
        let longest = now + shared.options.turn_timeout;
        let terms = Terms {
            id,
            stream: caller.streaming,
            require_head: matches!(request.base, Base::Append { require_head: true, .. }),
            deadline: caller.deadline.map_or(longest, |deadline| deadline.min(longest)),
            timeout: caller.deadline.is_none_or(|deadline| longest < deadline).then_some(shared.options.turn_timeout),
            key: caller.key.clone(),
            inputs: None,
        };
        let key = request.request.clone();
        let policy = request.concurrency;
        let ground = shared.ground(&request).await?;
        let plan = plan::plan(request, ground, terms)?;
        let conflict = conflict.with.map(|other| EventKind::TurnConflict { other, policy, newcomer: true });
        self.launch(plan, key, caller, conflict).map(Submitted::Followed)
    }

    /// Queues a turn that outlives its call.
    async fn queue(
        &self,
        id: TurnId,
        request: TurnRequest,
        conflict: background::Conflict,
        caller: Caller,
    ) -> Result<Submitted, Failure> {
        let leaves = request.leaves_at_once() && !caller.streaming;
        let turn = self.shared.accept(id, request, conflict.with).await?;
        // It is there: nobody has to wait for that any more.
        drop(conflict);
        if leaves {
            return Ok(Submitted::Queued(Box::new(turn)));
        }
        match self.shared.background_turn(id).await? {
            Some(live) => Ok(Submitted::Followed(self.shared.attach(&live))),
            // So fast.
            None => match self.shared.ended(id).await? {
                Some(ended) => Ok(Submitted::Followed(replay(ended))),
                None => Err(failures::no_turn(id)),
            },
        }
    }

    fn launch(
        &self,
        plan: Plan,
        request: Option<RequestKey>,
        caller: Caller,
        conflict: Option<EventKind>,
    ) -> Result<Handle, Failure> {
        let shared = &self.shared;
        let created_at = ids::now();
        let live = Live::new(Opening {
            id: plan.id,
            parent_id: plan.parent.as_ref().map(|parent| parent.version.id),
            model: plan.lead.settings.model.clone(),
            agent_id: plan.lead.settings.agent_id.clone(),
            agent_version: plan.lead.agent.as_ref().map(|agent| agent.version),
            created_at,
            reattachable: caller.streaming || request.is_some(),
            request,
        });
        let live = Arc::new(if plan.store { live.seen_in(Tree::of(&plan)) } else { live });
        let place = shared.registry.admit(live.clone()).map_err(|refused| shared.refuse(refused))?;
        live.log.push(created_at, [run::started(&plan)].into_iter().chain(conflict));
        let handle = shared.attach(&live);
        let span = tracing::info_span!("turn", id = %plan.id, model = %plan.lead.settings.model);
        let ending = Ending { shared: shared.clone(), id: plan.id, place: Some(place) };
        let run = Run { shared: shared.clone(), live, plan, job: None, resumed: None };
        let run = async move {
            let _ending = ending;
            run.run().await
        };
        // Boxed: on its way to its thread and at its end a task is moved several times, as large as all that it may ever hold.
        shared.tasks.spawn(Box::pin(run.instrument(span)));
        Ok(handle)
    }
}

impl Shared {
    /// Somebody follows a turn.
    fn attach(self: &Arc<Shared>, live: &Arc<Live>) -> Handle {
        if live.is_held() {
            self.show(live);
        }
        Handle { log: live.log.clone(), attachment: Some(live.attach()) }
    }

    fn refuse(&self, refused: Refused) -> Failure {
        match refused {
            Refused::Full => failures::overloaded(self.options.max_in_flight),
            Refused::Draining => failures::shutting_down(),
        }
    }

    async fn ended(self: &Arc<Shared>, id: TurnId) -> Result<Option<Ended>, Failure> {
        let shared = self.clone();
        self.blocking(move || shared.store.turn(id)).await?.map_err(failures::store)
    }

    /// A turn that was announced and then lost has a terminal state too.
    fn lost_turn(&self, id: TurnId) -> Result<Turn, Failure> {
        if !self.ids.issued(id) || self.store.was_deleted(id).map_err(failures::store)? {
            return Err(failures::no_turn(id));
        }
        Ok(live::lost(id, failures::turn_lost(id)))
    }

    /// A reader of a lost turn gets its terminal event as the next one.
    fn lost(&self, id: TurnId, after_sequence: u64) -> Result<Reader, Failure> {
        let turn = self.lost_turn(id)?;
        let failure = Arc::new(failures::turn_lost(id));
        let sequence = after_sequence.saturating_add(1);
        let event = crate::domain::Event {
            sequence,
            first_sequence: sequence,
            created_at: turn.created_at,
            kind: crate::domain::EventKind::ResponseError { failure },
        };
        Ok(Arc::new(Log::ended(id, vec![event])).reader(0))
    }
}

/// The turn that the same request made before.
enum Repeated {
    No,
    InFlight(Arc<Live>),
    Ended(Box<Ended>),
}

/// Dropped when a turn has ended, also if its task panics: those that wait for it come forward.
struct Ending {
    shared: Arc<Shared>,
    id: TurnId,
    place: Option<Place>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        drop(self.place.take());
        self.shared.turn_ended(self.id);
    }
}

fn replay(ended: Ended) -> Handle {
    Handle { log: Arc::new(Log::ended(ended.turn.id, ended.events)), attachment: None }
}
