//! Background turns: on disk before they are acknowledged, run by workers with bounded concurrency, tried again after failures
//! that may pass, and taken up where a crash left them.

mod accept;
mod attempt;
mod conflict;
mod queue;
mod recover;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

pub(super) use self::conflict::Conflict;
pub use self::queue::Limits;
use self::queue::{Line, Queue, Waiting};
use super::{
    Engine, Shared, failures, ids,
    live::{Live, Stop, Tree},
    registry::Place,
};
use crate::domain::{
    BatchId, ChangeKind, ConversationId, Event, EventKind, Failure, Job, JobState, Reason, Time, Turn, TurnId,
    TurnState, Usage,
    change::labels,
    request::{Base, Concurrency},
    turn::BackgroundState,
};
use crate::store::Ended;

/// How background turns are run.
#[derive(Debug, Clone)]
pub struct BackgroundOptions {
    /// How many may run at once.
    pub limits: Limits,
    /// How many may wait or run.
    pub max_queued: usize,
    /// How often one may be tried that does not say it itself.
    pub max_attempts: u32,
    /// The longest wait before a second attempt; it doubles with each further one.
    pub backoff_base: Duration,
    /// The longest wait of all.
    pub backoff_max: Duration,
}

/// The background turns of an engine.
#[derive(Debug)]
pub(super) struct Background {
    state: Mutex<State>,
    /// A turn may be due earlier than the timer knows.
    sooner: Notify,
    options: BackgroundOptions,
    /// In each tree one turn at a time finds out what it waits for, or what it stops, and takes its place.
    orders: [tokio::sync::Mutex<()>; 64],
}

#[derive(Debug)]
struct State {
    queue: Queue,
    /// Those that run, or that somebody looks at.
    held: HashMap<TurnId, Held>,
    phase: Phase,
    /// Turns that others were told of before they are there.
    coming: HashMap<TurnId, CancellationToken>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No worker is there yet.
    Closed,
    Open,
    /// The server goes down: no more are begun.
    Draining,
}

#[derive(Debug)]
struct Held {
    live: Arc<Live>,
    /// Its place among the turns in flight, until it has ended.
    _place: Place,
}

impl Background {
    pub(super) fn new(options: BackgroundOptions) -> Background {
        let queue = Queue::new(options.limits);
        let state = State { queue, held: HashMap::new(), phase: Phase::Closed, coming: HashMap::new() };
        let orders = std::array::from_fn(|_| tokio::sync::Mutex::default());
        Background { state: Mutex::new(state), sooner: Notify::new(), options, orders }
    }

    /// No more turns are begun. Whoever reads one that waits is told that it goes on later.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.phase = Phase::Draining;
        let State { queue, held, .. } = &*state;
        for (_, waiting) in held.iter().filter(|(id, _)| !queue.runs(**id)) {
            waiting.live.log.suspend();
        }
    }

    /// Whether a turn waits or runs here.
    pub(super) fn contains(&self, id: TurnId) -> bool {
        self.lock().queue.contains(id)
    }

    /// The turns of a batch that have not ended.
    pub(super) fn turns_of_batch(&self, batch: BatchId) -> Vec<TurnId> {
        self.lock().queue.of_batch(batch)
    }

    /// How many turns of a batch may run at once. Of batches that are not `open` any more it is forgotten.
    pub(super) fn limit_batch(&self, batch: BatchId, most: usize, open: &[BatchId]) {
        self.lock().queue.limit_batch(batch, most, open);
    }

    /// Begins no turns of a batch until it goes on.
    pub(super) fn pause_batch(&self, batch: BatchId, paused: bool) {
        self.lock().queue.pause_batch(batch, paused);
    }

    /// Waits for a turn that others were told of before it is there.
    async fn arrived(&self, id: TurnId) {
        let coming = self.lock().coming.get(&id).cloned();
        if let Some(coming) = coming {
            coming.cancelled().await;
        }
    }

    fn max_attempts(&self, job: &Job) -> u32 {
        let asked = job.request.background.as_ref().and_then(|background| background.max_attempts);
        asked.unwrap_or(self.options.max_attempts)
    }

    /// How far a job has come, as its turn says.
    fn state_of(&self, job: &Job) -> BackgroundState {
        let after = follows(job).filter(|_| job.state.attempt == 0);
        let state = JobState { after, ..job.state.clone() };
        BackgroundState { job: state, max_attempts: self.max_attempts(job), batch: job.batch }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in the middle of a change may leave a turn in no line; the next start finds it on disk.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Runs background turns until the future is dropped, or the engine drains.
    pub async fn work(&self) {
        let background = &self.shared.background;
        {
            let mut state = background.lock();
            if state.phase == Phase::Closed {
                state.phase = Phase::Open;
            }
        }
        loop {
            self.shared.pump();
            let due = background.lock().queue.next_due();
            let wait = due.map(|due| due.unix_us.saturating_sub(ids::now().unix_us));
            // The clock may be set meanwhile: no wait is longer than this.
            let wait = wait.map_or(60_000_000, |us| us.clamp(0, 60_000_000)).unsigned_abs();
            let until = Instant::now() + Duration::from_micros(wait);
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = background.sooner.notified() => {}
            }
        }
    }

    /// How many background turns wait or run.
    pub fn background_turns(&self) -> usize {
        self.shared.background.lock().queue.len()
    }
}

impl Shared {
    /// Begins as many turns as may run now.
    pub(super) fn pump(self: &Arc<Shared>) {
        loop {
            let next = {
                let mut state = self.background.lock();
                if state.phase == Phase::Open { state.queue.next(ids::now()) } else { None }
            };
            let Some(id) = next else { return };
            let shared = self.clone();
            let span = tracing::info_span!("background_turn", id = %id);
            self.tasks.spawn(Box::pin(async move { shared.work_on(id).await }.instrument(span)));
        }
    }

    /// A turn of any kind has ended: those that wait for it come forward.
    pub(super) fn turn_ended(self: &Arc<Shared>, id: TurnId) {
        let mut state = self.background.lock();
        if state.queue.len() == 0 {
            return;
        }
        let due = state.queue.next_due();
        state.queue.ended(id, ids::now());
        let is_sooner = state.queue.next_due() != due;
        let held = state.held.remove(&id);
        drop(state);
        drop(held);
        if is_sooner {
            self.background.sooner.notify_one();
        }
        self.batching.room.notify_waiters();
        self.pump();
    }

    /// The background turn with this id, to be read or run; `None`: it has ended, or is none.
    pub(super) async fn background_turn(self: &Arc<Shared>, id: TurnId) -> Result<Option<Arc<Live>>, Failure> {
        self.background.arrived(id).await;
        if let Some(live) = self.registry.get(id) {
            return Ok(Some(live));
        }
        if !self.background.contains(id) {
            return Ok(None);
        }
        let shared = self.clone();
        let read = move || Ok((shared.store.job(id)?, shared.store.job_events(id)?));
        let (job, seen) = self.blocking(read).await?.map_err(failures::store)?;
        Ok(job.map(|job| self.hold(&job, seen)).unwrap_or_default())
    }

    /// Holds a turn that waits, so that it can be read. `None`: it has ended meanwhile.
    fn hold(self: &Arc<Shared>, job: &Job, seen: Vec<Event>) -> Option<Arc<Live>> {
        let events = first_events(job).into_iter().chain(seen).collect();
        let live = Live::background(self.opening_of(job), events, job.request.request.clone());
        let live = Arc::new(live.seen_in(self.tree_of(job)));
        let mut state = self.background.lock();
        let State { queue, held, phase, .. } = &mut *state;
        if !queue.contains(job.turn_id) {
            return None;
        }
        let held = held.entry(job.turn_id).or_insert_with(|| {
            let _place = self.registry.hold(live.clone());
            Held { live, _place }
        });
        if *phase == Phase::Draining && !queue.runs(job.turn_id) {
            held.live.log.suspend();
        }
        Some(held.live.clone())
    }

    /// Where a job belongs. A tree's metadata is that of its first version.
    fn tree_of(&self, job: &Job) -> Tree {
        let first = self.store.version(job.root).ok().flatten();
        let metadata = first.as_ref().map(|first| &first.version.settings.metadata);
        let metadata = metadata.or(job.request.overrides.metadata.as_ref());
        Tree { root_id: job.root, labels: metadata.map(labels).unwrap_or_default() }
    }

    /// How a turn stands that is in flight; one that waits is not kept in memory for that. `None`: it has ended, or is none.
    pub(super) async fn waiting_turn(self: &Arc<Shared>, id: TurnId) -> Result<Option<Turn>, Failure> {
        self.background.arrived(id).await;
        if let Some(live) = self.registry.get(id) {
            if !self.store.has_ended(id).map_err(failures::store)? {
                return Ok(Some(live.snapshot()));
            }
            // Watchers and webhooks may have told its end, which is on disk. Who asks then must not find it running.
            let _ = live.log.finished().await;
            return Ok(None);
        }
        if !self.background.contains(id) {
            return Ok(None);
        }
        let shared = self.clone();
        let read = move || {
            let Some(job) = shared.store.job(id)? else { return Ok(None) };
            let seen = shared.store.job_events(id)?;
            let opening = shared.opening_of(&job);
            let last_sequence = seen.last().map_or(opening.last_sequence, |event| event.sequence);
            Ok(Some(Turn { last_sequence, ..opening }))
        };
        self.blocking(read).await?.map_err(failures::store)
    }

    /// What a turn is that waits.
    pub(super) fn opening_of(&self, job: &Job) -> Turn {
        let (model, agent_id) = self.led_by(job).unwrap_or_default();
        Turn {
            id: job.turn_id,
            state: if job.state.running { TurnState::Running } else { TurnState::Queued },
            finish_reason: None,
            conversation_id: None,
            parent_id: basis_of(job),
            model,
            agent_id,
            agent_version: None,
            outputs: Vec::new(),
            usage: Usage::default(),
            cost: None,
            models: Vec::new(),
            omissions: Vec::new(),
            error: None,
            created_at: job.created_at,
            completed_at: None,
            last_sequence: first_events(job).len() as u64,
            request_id: job.request.request.as_ref().map(|request| request.id.clone()),
            background: Some(Box::new(self.background.state_of(job))),
        }
    }

    /// The model and the agent that will lead a job, as far as that can be told before it is run.
    fn led_by(&self, job: &Job) -> Option<(String, Option<String>)> {
        let version = |id: ConversationId| self.store.version(id).ok().flatten();
        let named = base_of(&job.request.base);
        let parent = basis_of(job).and_then(version).or_else(|| named.and_then(version));
        if let (None, Some(before)) = (&parent, follows(job)) {
            return self.led_before(job, before);
        }
        let inherited = parent.as_ref().map(|parent| &parent.version.settings);
        let lead = self.lead_of(inherited, job.request.overrides.clone(), !job.request.skip_completion).ok()?;
        Some((lead.settings.model.clone(), lead.settings.agent_id.clone()))
    }

    /// The same of a job on a version that is still to be made.
    fn led_before(&self, job: &Job, before: TurnId) -> Option<(String, Option<String>)> {
        let own = &job.request.overrides;
        let inherited = || match self.registry.get(before) {
            Some(live) => Some(live.opening().model),
            None => self.background.lock().queue.turn(before).map(|turn| turn.model.to_string()),
        };
        Some((own.model.clone().or_else(inherited)?, own.agent_id.clone()))
    }

    /// How a job stands in the queue.
    fn waiting_of(&self, job: &Job, model: &str) -> Waiting {
        let background = job.request.background.clone().unwrap_or_default();
        let provider = self.models.target(model).provider.name().into();
        Waiting {
            id: job.turn_id,
            model: model.into(),
            priority: background.priority,
            line: Line { key: background.fairness_key.into(), batch: job.batch.map(|(batch, _)| batch), provider },
            root: job.root,
            base: basis_of(job),
            not_before: job.state.not_before,
            after: follows(job),
        }
    }

    /// What a job goes on from that was asked to follow another turn.
    fn ahead_of(&self, job: &Job) -> Result<Ahead, Failure> {
        let Some(mut after) = follows(job) else { return Ok(Ahead::Nothing) };
        loop {
            if self.is_in_flight(after) {
                return Ok(Ahead::InFlight(after));
            }
            let made = after.conversation();
            if self.store.version(made).map_err(failures::store)?.is_some()
                || self.store.was_deleted(after).map_err(failures::store)?
            {
                return Ok(Ahead::Made(made));
            }
            let ended = self.store.turn(after).map_err(failures::store)?;
            match ended.and_then(|ended| before(&ended)) {
                Some(before) => after = before,
                None => return Ok(Ahead::Nothing),
            }
        }
    }

    /// Whether a turn is in flight, of whatever kind.
    fn is_in_flight(&self, id: TurnId) -> bool {
        self.registry.get(id).is_some() || self.background.contains(id)
    }
}

/// What is before a job that was asked to follow another turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ahead {
    /// No turn, or none that is known any more: it goes on from the version that it names.
    Nothing,
    /// This turn, which has not ended.
    InFlight(TurnId),
    /// This version: what came of that turn, or what it ran on if nothing did.
    Made(ConversationId),
}

/// The turn that a job was asked to follow.
fn follows(job: &Job) -> Option<TurnId> {
    job.state.after.filter(|_| job.request.concurrency == Concurrency::Enqueue)
}

/// The turn that made what a turn ran on that made nothing itself, or would have made it.
fn before(ended: &Ended) -> Option<TurnId> {
    let followed = ended.events.iter().find_map(|event| match event.kind {
        EventKind::TurnQueued { after, .. } => after,
        _ => None,
    });
    ended.turn.parent_id.map(ConversationId::turn).or(followed)
}

/// What a job runs on, as far as that can be told before: the version may be one that is still to be made.
fn basis_of(job: &Job) -> Option<ConversationId> {
    follows(job).map(TurnId::conversation).or_else(|| base_of(&job.request.base))
}

/// The version that a request names.
fn base_of(base: &Base) -> Option<ConversationId> {
    match base {
        Base::Start => None,
        Base::Append { conversation_id, .. } | Base::Restart { conversation_id, .. } => Some(*conversation_id),
    }
}

/// The events that follow from what a job is: they are on disk with it.
fn first_events(job: &Job) -> Vec<Event> {
    let queued = EventKind::TurnQueued {
        conversation_id: job.turn_id.conversation(),
        not_before: job.request.background.as_ref().and_then(|background| background.not_before),
        after: follows(job),
    };
    let policy = job.request.concurrency;
    let conflict = job.state.after.map(|other| EventKind::TurnConflict { other, policy, newcomer: true });
    let numbered = [queued].into_iter().chain(conflict).zip(1..);
    let event = |(kind, sequence)| Event { sequence, first_sequence: sequence, created_at: job.created_at, kind };
    numbered.map(event).collect()
}
