//! A worker: one attempt at a background turn, and what follows from its end.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use retry_policies::{Jitter, RetryDecision, RetryPolicy, policies::ExponentialBackoff};

use super::*;
use crate::{
    domain::Body,
    engine::{
        plan::{self, Plan, Terms},
        rounds,
        run::{self, End, Resumed, Run},
        told,
    },
    store::{Ended, Ending, JobEnd},
};

/// A turn may be cut off by so many crashes beyond its attempts; one more, and it is what the server dies of.
const CRASHES: u32 = 10;

impl Shared {
    /// Tries a turn once, and settles what comes of it.
    pub(super) async fn work_on(self: Arc<Shared>, id: TurnId) {
        let attempt = AssertUnwindSafe(self.attempt(id)).catch_unwind().await;
        match attempt {
            Ok(Ok(Some(End::Ended))) => self.turn_ended(id),
            Ok(Ok(Some(End::Suspended))) => self.set_aside(id),
            Ok(Ok(Some(End::Failed(failure)))) => self.settle(id, failure).await,
            Ok(Ok(None)) => self.pump(),
            Ok(Err(failure)) => self.settle(id, failure).await,
            Err(_) => self.settle(id, told::died()).await,
        }
    }

    /// `None`: it is not its time, and it waits again.
    async fn attempt(self: &Arc<Shared>, id: TurnId) -> Result<Option<End>, Failure> {
        let Some((live, mut job, ahead)) = self.take_up(id).await? else { return Ok(Some(End::Ended)) };
        if let Ahead::InFlight(before) = ahead {
            // The one between them was cancelled when this one was queued.
            self.background.lock().queue.wait_for(id, before);
            if !self.is_in_flight(before) {
                self.background.lock().queue.ended(before, ids::now());
            }
            return Ok(None);
        }
        let was_cut = job.state.running;
        job.state.attempt += 1;
        job.state.running = true;
        let now = ids::now();
        self.store.update_job(&job, ChangeKind::TurnStarted, now).map_err(failures::store)?;
        live.reopen(|turn| turn.background = Some(Box::new(self.background.state_of(&job))));
        let resumed = self.resumed(&job, &live)?;
        let kept_outputs = resumed.as_ref().map_or(0, |resumed| resumed.journaled.ended.turn.outputs.len() as u32);
        let inputs = live.log.inputs();
        if was_cut || (inputs.is_some() && !live.log.ends_requeued()) {
            live.log.push(now, [EventKind::TurnResumed { attempt: job.state.attempt, kept_outputs }]);
        }
        if was_cut && job.state.attempt > self.background.max_attempts(&job) + CRASHES {
            let text = format!(
                "the server went down {} times while the turn ran: it is not tried again",
                job.state.attempt - 1
            );
            return Err(Failure::new(Reason::TurnLost, text));
        }
        let begun = inputs.is_some();
        let plan = self.plan_of(&job, ahead, inputs).await?;
        live.reopen(|turn| {
            turn.parent_id = plan.parent.as_ref().map(|parent| parent.version.id);
            turn.model = plan.lead.settings.model.clone();
            turn.agent_id = plan.lead.settings.agent_id.clone();
            turn.agent_version = plan.lead.agent.as_ref().map(|agent| agent.version);
        });
        if !begun {
            live.log.push(now, [run::started(&plan)]);
        }
        Ok(Some(Run { shared: self.clone(), live, plan, job: Some(JobEnd::from(&job)), resumed }.run().await))
    }

    /// What a worker needs of a turn; `None`: it has ended.
    async fn take_up(self: &Arc<Shared>, id: TurnId) -> Result<Option<(Arc<Live>, Job, Ahead)>, Failure> {
        let held = self.registry.get(id);
        let (shared, is_held) = (self.clone(), held.is_some());
        let read = move || {
            let Some(job) = shared.store.job(id).map_err(failures::store)? else { return Ok(None) };
            let ahead = shared.ahead_of(&job)?;
            let seen = if is_held { Vec::new() } else { shared.store.job_events(id).map_err(failures::store)? };
            Ok(Some((job, ahead, seen)))
        };
        let Some((job, ahead, seen)) = self.blocking(read).await?? else { return Ok(None) };
        Ok(held.or_else(|| self.hold(&job, seen)).map(|live| (live, job, ahead)))
    }

    /// What a crash left of a turn that had begun to run tools. Its log is brought to what was written of it.
    fn resumed(&self, job: &Job, live: &Live) -> Result<Option<Resumed>, Failure> {
        let found = self.store.journaled_turn(job.turn_id).map_err(failures::store)?;
        let Some((journaled, generation)) = found else { return Ok(None) };
        live.log.catch_up(rounds::told(&journaled));
        // Who led after a handoff, and what a person had agreed to, is not written: such a turn ends with what it has.
        let is_handed_over =
            journaled.ended.turn.outputs.iter().any(|entry| matches!(entry.body, Body::AgentHandoff(_)));
        let goes_on = !is_handed_over && job.request.tool_use.confirmations.is_empty();
        Ok(Some(Resumed { journaled, generation, goes_on }))
    }

    /// What the turn does, on the ground of now. `inputs`: as they were told before.
    async fn plan_of(
        self: &Arc<Shared>,
        job: &Job,
        ahead: Ahead,
        inputs: Option<run::Inputs>,
    ) -> Result<Plan, Failure> {
        let mut request = job.request.clone();
        if let Ahead::Made(base) = ahead {
            match &mut request.base {
                Base::Start => {}
                Base::Append { conversation_id, .. } | Base::Restart { conversation_id, .. } => *conversation_id = base,
            }
        }
        let timeout = self.options.turn_timeout;
        let terms = Terms {
            id: job.turn_id,
            // Nobody reads the pieces of a batch.
            stream: job.batch.is_none(),
            require_head: matches!(request.base, Base::Append { require_head: true, .. }),
            deadline: Instant::now() + timeout,
            timeout: Some(timeout),
            key: None,
            inputs,
        };
        let ground = self.ground(&request).await?;
        plan::plan(request, ground, terms)
    }

    /// The attempt failed: another one follows, or the turn ends.
    async fn settle(self: &Arc<Shared>, id: TurnId, failure: Failure) {
        let Some(live) = self.registry.get(id) else { return self.turn_ended(id) };
        let job = self.store.job(id).ok().flatten();
        match live.stop_reason() {
            None | Some(Stop::Deadline) => {}
            Some(Stop::Shutdown) => {
                live.log.suspend();
                return self.set_aside(id);
            }
            Some(why @ (Stop::Cancelled | Stop::Abandoned | Stop::Superseded)) => {
                self.fail(&live, job.as_ref(), TurnState::Cancelled, cancelled(why)).await;
                return self.turn_ended(id);
            }
        }
        let again = job.as_ref().filter(|job| job.state.attempt < self.background.max_attempts(job));
        match again.and_then(|job| Some((job.clone(), self.delay(job.state.attempt, &failure)?))) {
            Some((job, delay)) => self.requeue(&live, job, failure, delay).await,
            None => {
                self.fail(&live, job.as_ref(), TurnState::Failed, failure).await;
                self.turn_ended(id);
            }
        }
    }

    /// The server goes down: the attempt does not count.
    fn set_aside(&self, id: TurnId) {
        let Ok(Some(mut job)) = self.store.job(id) else { return };
        job.state.running = false;
        job.state.attempt = job.state.attempt.saturating_sub(1);
        if let Err(error) = self.store.update_job(&job, ChangeKind::TurnRequeued, ids::now()) {
            tracing::warn!(?error, "that a turn was set aside could not be stored; it counts as an attempt");
        }
    }

    async fn requeue(self: &Arc<Shared>, live: &Arc<Live>, mut job: Job, failure: Failure, delay: Duration) {
        let now = ids::now();
        let us = i64::try_from(delay.as_micros()).unwrap_or(i64::MAX);
        let not_before = Time { unix_us: now.unix_us.saturating_add(us) };
        tracing::info!(attempt = job.state.attempt, reason = ?failure.reason, delay_ms = us / 1000, "the turn is tried again");
        let attempt = job.state.attempt;
        job.state.running = false;
        job.state.not_before = Some(not_before);
        job.state.error = Some(failure.clone());
        if let Err(error) = self.store.update_job(&job, ChangeKind::TurnRequeued, now) {
            tracing::warn!(?error, "that a turn is tried again could not be stored");
        }
        live.log.push(now, [EventKind::TurnRequeued { attempt, not_before, failure: Arc::new(failure) }]);
        live.reopen(|turn| turn.background = Some(Box::new(self.background.state_of(&job))));
        {
            let mut state = self.background.lock();
            state.queue.requeue(job.turn_id, Some(not_before), now);
            if state.phase == Phase::Draining {
                live.log.suspend();
            }
        }
        self.background.sooner.notify_one();
        self.pump();
        // Whoever stopped it in between found that it runs.
        if let Some(why @ (Stop::Cancelled | Stop::Superseded)) = live.stop_reason()
            && let Err(failure) = self.cancel_waiting(live, why).await
        {
            tracing::warn!(reason = ?failure.reason, "a turn that was cancelled is tried again");
        }
    }

    /// How long a turn that failed so waits for its next attempt; `None`: it would fail so again.
    fn delay(&self, attempt: u32, failure: &Failure) -> Option<Duration> {
        let may_pass = matches!(
            failure.reason,
            Reason::RateLimitExceeded
                | Reason::ServiceUnavailable
                | Reason::Timeout
                | Reason::UpstreamProtocolError
                | Reason::ToolsUnavailable
                | Reason::Overloaded
        );
        if !may_pass {
            return None;
        }
        let BackgroundOptions { backoff_base, backoff_max, .. } = self.background.options;
        let policy = ExponentialBackoff::builder()
            .retry_bounds(backoff_base, backoff_max.max(backoff_base))
            .jitter(Jitter::Full)
            .base(2)
            .build_with_max_retries(u32::MAX);
        let now = std::time::SystemTime::now();
        let RetryDecision::Retry { execute_after } = policy.should_retry(now, attempt.saturating_sub(1)) else {
            return None;
        };
        let told = Duration::from_millis(failure.retry_after_ms.unwrap_or_default()).min(backoff_max.max(backoff_base));
        Some(told + execute_after.duration_since(now).unwrap_or_default())
    }

    /// Ends a turn that made no version.
    pub(super) async fn fail(&self, live: &Live, job: Option<&Job>, state: TurnState, failure: Failure) {
        live.log.close();
        *live.sealed.lock().await = true;
        let at = ids::now();
        let closing = live.closing();
        // What it was to run on may never have been made.
        let is_known = |id: &ConversationId| {
            self.store.version(*id).is_ok_and(|found| found.is_some()) || self.store.was_deleted(id.turn()) != Ok(false)
        };
        let turn = Turn {
            state,
            error: Some(failure),
            completed_at: Some(at),
            last_sequence: live.log.len() + 1,
            parent_id: closing.parent_id.filter(is_known),
            ..closing
        };
        if let Some(job) = job {
            let parent = turn.parent_id.and_then(|id| self.store.version(id).ok().flatten());
            let labels = match &parent {
                Some(parent) => labels(&parent.version.settings.metadata),
                None => job.request.overrides.metadata.as_ref().map(labels).unwrap_or_default(),
            };
            let ending = Ending {
                at,
                root_id: job.root,
                labels,
                callback_url: job.request.callback_url.clone(),
                job: Some(JobEnd::from(job)),
            };
            let inputs = live.log.inputs().map(|inputs| inputs.to_vec()).unwrap_or_default();
            let events = live.log.snapshot_with(at, told::terminal(&turn));
            let ended = Ended { turn: turn.clone(), inputs, events, request_fingerprint: None, kept: 0 };
            if let Err(error) = self.store.commit_failed(ended, ending, &[]).await {
                tracing::warn!(turn = %turn.id, ?error, "a failed turn could not be stored");
            }
            self.forget_cut(turn.id).await;
        }
        told::tell(live, turn);
    }

    /// What a crash left of a turn that has ended now is not to come back.
    async fn forget_cut(&self, id: TurnId) {
        if matches!(self.store.journaled_turn(id), Ok(Some(_)))
            && let Err(error) = self.store.forget_journaled(id).await
        {
            tracing::warn!(turn = %id, ?error, "what was written of a turn could not be removed");
        }
    }

    /// Cancels a turn that waits. False: it runs, or has ended.
    pub(super) async fn cancel_waiting(self: &Arc<Shared>, live: &Arc<Live>, why: Stop) -> Result<bool, Failure> {
        let id = live.log.turn_id();
        if !self.background.lock().queue.take_waiting(id) {
            return Ok(false);
        }
        let job = self.store.job(id).map_err(failures::store)?;
        self.fail(live, job.as_ref(), TurnState::Cancelled, cancelled(why)).await;
        self.turn_ended(id);
        Ok(true)
    }

    /// Writes the events that somebody reads of a background turn before they are shown.
    pub(in crate::engine) fn show(self: &Arc<Shared>, live: &Arc<Live>) {
        if live.is_shown.swap(true, std::sync::atomic::Ordering::Relaxed) {
            return;
        }
        let (shared, live) = (self.clone(), live.clone());
        let show = async move {
            while let Some(events) = live.log.held_back().await {
                let sealed = live.sealed.lock().await;
                if *sealed {
                    return;
                }
                let written = shared.store.append_job_events(live.log.turn_id(), &live.opening(), &events).await;
                drop(sealed);
                match written {
                    Ok(()) => live.log.show(events.len()),
                    Err(error) => {
                        tracing::warn!(?error, "events could not be stored; readers get them with the end of the turn");
                        return;
                    }
                }
            }
        };
        self.tasks.spawn(show);
    }
}

/// Why a turn made no version that was stopped before anything came out.
fn cancelled(why: Stop) -> Failure {
    let text = match why {
        Stop::Superseded => "the turn was cancelled because another one took its place",
        Stop::Cancelled | Stop::Abandoned | Stop::Deadline | Stop::Shutdown => {
            "the turn was cancelled before it was its turn"
        }
    };
    Failure::new(Reason::TurnCancelled, text)
}
