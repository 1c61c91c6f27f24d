//! Taking a background turn in: everything that can be refused is refused before it is queued, and it is on disk before anybody
//! is told that it is.

use super::*;
use crate::{
    domain::request::TurnRequest,
    engine::{
        Caller,
        plan::{self, Terms},
    },
};

/// What a batch says of a turn of it.
pub(in crate::engine) type BatchPlace = (BatchId, u32);

impl Shared {
    /// Whether so many more background turns are taken.
    pub(in crate::engine) fn check_background(&self, more: usize) -> Result<(), Failure> {
        let most = self.background.options.max_queued;
        let waiting = self.background.lock().queue.len();
        if waiting.saturating_add(more) <= most {
            return Ok(());
        }
        let text = format!("{waiting} background turns wait or run, as many as may (background.max_queued)");
        Err(Failure::new(Reason::Overloaded, text).with("max_queued", most.to_string()).retry_after_ms(1000))
    }

    /// Checks a background turn, and makes the job of it. `after`: it waits for that turn.
    pub(in crate::engine) async fn job_of(
        self: &Arc<Shared>,
        id: TurnId,
        request: TurnRequest,
        after: Option<TurnId>,
        batch: Option<BatchPlace>,
    ) -> Result<Job, Failure> {
        let root = match after.filter(|_| request.concurrency == Concurrency::Enqueue) {
            Some(after) => self.root_of(after, base_of(&request.base)),
            // What will be planned again when it is run is planned here to be refused here.
            None => self.rehearse(id, request.clone()).await?,
        };
        let not_before = request.background.as_ref().and_then(|background| background.not_before);
        let state = JobState { not_before, after, ..JobState::default() };
        Ok(Job {
            turn_id: id,
            request,
            root: root.unwrap_or_else(|| id.conversation()),
            created_at: ids::now(),
            batch,
            state,
        })
    }

    /// Queues turns whose jobs are on disk.
    pub(in crate::engine) fn enqueue(self: &Arc<Shared>, jobs: &[Job]) {
        for job in jobs {
            let (model, _) = self.led_by(job).unwrap_or_default();
            self.line_up(job, &model);
        }
        self.background.sooner.notify_one();
        self.pump();
    }

    /// Puts a turn into the queue, behind the one that it follows if that is in flight.
    pub(super) fn line_up(&self, job: &Job, model: &str) {
        let mut waiting = self.waiting_of(job, model);
        // If the store can't be read the turn will fail of that.
        let ahead = self.ahead_of(job).unwrap_or(Ahead::Nothing);
        let Ahead::InFlight(after) = ahead else {
            return self.background.lock().queue.insert(waiting, false, ids::now());
        };
        (waiting.after, waiting.base) = (Some(after), Some(after.conversation()));
        self.background.lock().queue.insert(waiting, true, ids::now());
        // It may have ended between the two.
        if !self.is_in_flight(after) {
            self.background.lock().queue.ended(after, ids::now());
        }
    }

    /// Takes a turn in, and says how it stands.
    pub(in crate::engine) async fn accept(
        self: &Arc<Shared>,
        id: TurnId,
        request: TurnRequest,
        after: Option<TurnId>,
    ) -> Result<Turn, Failure> {
        let policy = request.concurrency;
        let job = self.job_of(id, request, after, None).await?;
        self.store.add_jobs(std::slice::from_ref(&job)).await.map_err(failures::store)?;
        let turn = self.opening_of(&job);
        self.line_up(&job, &turn.model);
        self.background.sooner.notify_one();
        self.pump();
        if let Some(before) = after.filter(|_| policy == Concurrency::Enqueue)
            && let Err(failure) = self.tell(before, id, policy).await
        {
            tracing::warn!(reason = ?failure.reason, "a turn was not told of the one that waits for it");
        }
        Ok(turn)
    }

    /// Whether a call may queue a turn.
    pub(in crate::engine) fn check_caller(&self, caller: &Caller) -> Result<(), Failure> {
        failures::refuse_key(caller.key.as_ref())?;
        self.check_background(1)
    }

    /// Plans a turn without running it; the tree that it belongs to, unless it begins one.
    pub(super) async fn rehearse(
        self: &Arc<Shared>,
        id: TurnId,
        request: TurnRequest,
    ) -> Result<Option<ConversationId>, Failure> {
        let terms = Terms {
            id,
            stream: true,
            require_head: matches!(request.base, Base::Append { require_head: true, .. }),
            deadline: Instant::now() + self.options.turn_timeout,
            timeout: None,
            key: None,
            inputs: None,
        };
        let ground = self.ground(&request).await?;
        let plan = plan::plan(request, ground, terms)?;
        Ok(plan.parent.map(|parent| parent.version.root_id))
    }

    /// The tree of a turn in flight; `named`: the version that its follower names.
    pub(super) fn root_of(&self, id: TurnId, named: Option<ConversationId>) -> Option<ConversationId> {
        let queued = self.background.lock().queue.turn(id).map(|turn| turn.root);
        let version = |id| self.store.version(id).ok().flatten().map(|stored| stored.version.root_id);
        queued
            .or_else(|| self.registry.get(id)?.parent_id().map_or(Some(id.conversation()), version))
            .or_else(|| named.and_then(version))
    }
}
