//! A turn in flight: its log, who is attached to it, and how it is stopped.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{log::Log, plan::Plan};
use crate::domain::{
    ConversationId, Event, Failure, Time, Turn, TurnId, TurnState, Usage,
    change::{ChangeFilter, Subject, labels},
    request::RequestKey,
};

/// A turn in flight.
#[derive(Debug)]
pub(super) struct Live {
    /// What happened so far.
    pub(super) log: Arc<Log>,
    /// What the turn is, before anything came out.
    opening: Mutex<Turn>,
    /// The caller's request id.
    pub(super) request: Option<RequestKey>,
    /// Whether a model was asked yet.
    asked: AtomicBool,
    /// Whether somebody may come back to it after a lost connection.
    reattachable: bool,
    attached: watch::Sender<usize>,
    stop: CancellationToken,
    reason: OnceLock<Stop>,
    /// It outlives whoever reads it.
    detached: bool,
    /// Whoever has it writes events to disk before readers see them. True: the turn is being stored, and nothing is written
    /// any more.
    pub(super) sealed: tokio::sync::Mutex<bool>,
    /// Somebody writes the events that readers want.
    pub(super) is_shown: AtomicBool,
    /// The turn as it ended, from just before its terminal event on.
    ended: OnceLock<Turn>,
    /// By what those who watch the store know it; `None`: it is not stored, and they see nothing of it.
    pub(super) tree: Option<Tree>,
}

/// Where a turn belongs.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    /// The tree.
    pub(super) root_id: ConversationId,
    /// Its metadata, as the log of changes has it.
    pub(super) labels: Vec<u64>,
}

/// Why a turn is stopped before the model is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// CancelTurn.
    Cancelled,
    /// Nobody has been attached for the grace time.
    Abandoned,
    /// The caller's deadline, or the longest time that a turn may take.
    Deadline,
    /// The server goes down and the turn used up its grace time.
    Shutdown,
    /// Another turn takes its place.
    Superseded,
}

/// What a turn is before it runs.
pub(super) struct Opening {
    pub id: TurnId,
    pub parent_id: Option<ConversationId>,
    pub model: String,
    pub agent_id: Option<String>,
    pub agent_version: Option<u32>,
    pub created_at: Time,
    pub request: Option<RequestKey>,
    pub reattachable: bool,
}

impl Tree {
    /// That of a turn that will run.
    pub(super) fn of(plan: &Plan) -> Tree {
        let parent = plan.parent.as_ref().map(|parent| parent.version.root_id);
        Tree { root_id: parent.unwrap_or(plan.id.conversation()), labels: labels(&plan.lead.kept.metadata) }
    }
}

impl Live {
    pub(super) fn new(opening: Opening) -> Live {
        let Opening { id, parent_id, model, agent_id, agent_version, created_at, request, reattachable } = opening;
        let opening = Turn {
            id,
            state: TurnState::Queued,
            finish_reason: None,
            conversation_id: None,
            parent_id,
            model,
            agent_id,
            agent_version,
            outputs: Vec::new(),
            usage: Usage::default(),
            cost: None,
            models: Vec::new(),
            omissions: Vec::new(),
            error: None,
            created_at,
            completed_at: None,
            last_sequence: 0,
            request_id: request.as_ref().map(|request| request.id.clone()),
            background: None,
        };
        Live { reattachable, ..Live::with(Log::new(id), opening, request, false) }
    }

    /// A background turn that goes on after these events.
    pub(super) fn background(opening: Turn, events: Vec<Event>, request: Option<RequestKey>) -> Live {
        let log = Log::held(opening.id, events);
        Live { reattachable: true, ..Live::with(log, opening, request, true) }
    }

    fn with(log: Log, opening: Turn, request: Option<RequestKey>, detached: bool) -> Live {
        Live {
            log: Arc::new(log),
            opening: Mutex::new(opening),
            request,
            asked: AtomicBool::new(false),
            detached,
            sealed: tokio::sync::Mutex::new(false),
            is_shown: AtomicBool::new(false),
            reattachable: false,
            attached: watch::Sender::new(0),
            stop: CancellationToken::new(),
            reason: OnceLock::new(),
            ended: OnceLock::new(),
            tree: None,
        }
    }

    /// The same, seen by those who watch the store.
    pub(super) fn seen_in(self, tree: Tree) -> Live {
        Live { tree: Some(tree), ..self }
    }

    /// Whether those who watch the store with this filter see it.
    pub(super) fn concerns(&self, filter: &ChangeFilter) -> bool {
        let Some(Tree { root_id, labels }) = &self.tree else { return false };
        let opening = self.lock();
        let batch = opening.background.as_ref().and_then(|background| background.batch);
        filter.concerns(Subject {
            root_id: *root_id,
            model: &opening.model,
            agent_id: opening.agent_id.as_deref(),
            labels,
            batch: batch.map(|(batch, _)| batch),
        })
    }

    /// The turn as it stands.
    pub(super) fn snapshot(&self) -> Turn {
        if let Some(ended) = self.ended.get() {
            return ended.clone();
        }
        let opening = self.opening();
        let running = match &opening.background {
            Some(background) => background.job.running,
            None => self.asked.load(Ordering::Relaxed),
        };
        let state = if running { TurnState::Running } else { TurnState::Queued };
        Turn { state, last_sequence: self.log.last_sequence(), ..opening }
    }

    /// What the turn is, before anything came out.
    pub(super) fn opening(&self) -> Turn {
        self.lock().clone()
    }

    /// What it runs on.
    pub(super) fn parent_id(&self) -> Option<ConversationId> {
        self.lock().parent_id
    }

    /// Notes what is known better now of what the turn is.
    pub(super) fn reopen(&self, change: impl FnOnce(&mut Turn)) {
        change(&mut self.lock());
    }

    /// The turn as it ends: nothing is said of its time as a background turn.
    pub(super) fn closing(&self) -> Turn {
        Turn { background: None, ..self.opening() }
    }

    fn lock(&self) -> MutexGuard<'_, Turn> {
        // Fields are set whole: a poisoned lock guards a turn all the same.
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its events are held back until they are on disk.
    pub(super) fn is_held(&self) -> bool {
        self.detached
    }

    /// Notes that a model is asked now.
    pub(super) fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Notes how the turn ended, just before its terminal event.
    pub(super) fn end(&self, turn: Turn) {
        let _ = self.ended.set(turn);
    }

    /// Stops the turn. The first reason counts.
    pub(super) fn stop(&self, reason: Stop) {
        let _ = self.reason.set(reason);
        self.stop.cancel();
    }

    /// Why the turn was stopped, if it was.
    pub(super) fn stop_reason(&self) -> Option<Stop> {
        self.reason.get().copied()
    }

    /// Whether it is known how the turn ended.
    pub(super) fn has_turn(&self) -> bool {
        self.ended.get().is_some()
    }

    /// Keeps the turn alive until the attachment is dropped.
    pub(super) fn attach(self: &Arc<Live>) -> Attachment {
        self.attached.send_modify(|count| *count += 1);
        Attachment { live: self.clone() }
    }

    /// Waits until the turn has to stop, and says why.
    pub(super) async fn stopped(&self, deadline: Instant, grace: Duration) -> Stop {
        tokio::select! {
            () = self.stop.cancelled() => self.reason.get().copied().unwrap_or(Stop::Cancelled),
            () = tokio::time::sleep_until(deadline) => Stop::Deadline,
            () = self.abandoned(grace) => Stop::Abandoned,
        }
    }

    /// Waits until nobody has been attached for the grace time; at once if nobody can come back.
    async fn abandoned(&self, grace: Duration) {
        if self.detached {
            return std::future::pending().await;
        }
        let grace = if self.reattachable { grace } else { Duration::ZERO };
        let mut attached = self.attached.subscribe();
        loop {
            // The sender lives in `self`, so waiting can't fail.
            let _ = attached.wait_for(|count| *count == 0).await;
            if tokio::time::timeout(grace, attached.wait_for(|count| *count > 0)).await.is_err() {
                return;
            }
        }
    }
}

/// Somebody waits for the turn. Dropping it tells the turn that they left.
#[derive(Debug)]
pub(super) struct Attachment {
    live: Arc<Live>,
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.live.attached.send_modify(|count| *count -= 1);
    }
}

/// What a turn is of which only the id is left.
pub(super) fn lost(id: TurnId, failure: Failure) -> Turn {
    Turn {
        id,
        state: TurnState::Failed,
        finish_reason: None,
        conversation_id: None,
        parent_id: None,
        model: String::new(),
        agent_id: None,
        agent_version: None,
        outputs: Vec::new(),
        usage: Usage::default(),
        cost: None,
        models: Vec::new(),
        omissions: Vec::new(),
        error: Some(failure),
        created_at: Time::of_uuid(id.0),
        completed_at: None,
        last_sequence: 0,
        request_id: None,
        background: None,
    }
}
