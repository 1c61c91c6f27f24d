//! The turn: ask the provider, append what comes to the log, fold it to entries, commit, tell readers. One path for unary
//! calls and streams: they differ in how they read the log.

use std::{pin::pin, sync::Arc};

use futures_util::FutureExt;

use super::{
    Shared,
    ask::{Progress, Total},
    assemble::Assembler,
    budgets::Purse,
    failures,
    history::History,
    ids,
    live::{Live, Stop},
    plan::{Plan, Question},
    rounds::{self, Rounds},
    told::{ended_at, tell, terminal},
};
use crate::{
    domain::{
        Entry, EventKind, Failure, FinishReason, Omission, Reason, Settings, Time, Turn, TurnState, Version,
        change::labels, event::Author, fold::Outputs, sequence,
    },
    store::{self, Charge, Commit, Ended, Ending, JobEnd, Journaled, Stored},
    upstream::estimate::weigh,
};

/// A turn that runs.
pub(super) struct Run {
    pub(super) shared: Arc<Shared>,
    pub(super) live: Arc<Live>,
    pub(super) plan: Plan,
    /// It is a background turn.
    pub(super) job: Option<JobEnd>,
    /// A crash cut it off while tools ran.
    pub(super) resumed: Option<Resumed>,
}

/// A turn that a crash cut off while tools ran: none of them is run again.
pub(super) struct Resumed {
    /// What was written of it.
    pub(super) journaled: Journaled,
    /// In which generation it is written next.
    pub(super) generation: u32,
    /// The model is asked to go on. Otherwise the turn ends with what it has.
    pub(super) goes_on: bool,
}

/// How a run came to its end.
pub(super) enum End {
    /// The turn has ended, and its readers know.
    Ended,
    /// A background turn failed before anything came out; its readers don't know yet.
    Failed(Failure),
    /// The server goes down: a background turn goes on when it is back.
    Suspended,
}

/// The inputs of a turn.
pub(super) type Inputs = Arc<[Arc<Entry>]>;

/// What came of asking the model.
struct Outcome {
    outputs: Outputs,
    finish: Option<FinishReason>,
    total: Total,
    omissions: Vec<Omission>,
    /// What the new version keeps.
    kept: Arc<Settings>,
    /// It is the caller's turn, without a call that waits.
    hands_back: bool,
    /// It was journaled.
    journaled: bool,
    /// The history with some of the outputs.
    history: Option<(History, usize)>,
    /// What it spent of budgets. Lives until the commit, so that nobody reads the rows before it.
    purse: Option<Purse>,
    /// Why it did not come to its own end.
    cut: Option<Cut>,
}

struct Cut {
    failure: Failure,
    /// Who wanted it so; `None`: it failed.
    stop: Option<Stop>,
}

impl Cut {
    /// Somebody did not want the turn any more.
    fn is_cancelled(&self) -> bool {
        matches!(self.stop, Some(Stop::Cancelled | Stop::Abandoned | Stop::Superseded))
    }
}

impl Run {
    /// Runs the turn to its terminal event; a background turn that may be tried again only as far as that is known.
    pub(super) async fn run(mut self) -> End {
        let question = self.plan.question.take();
        let mut outcome = match &question {
            Some(question) if !(self.plan.waits && self.plan.agreed.is_empty()) => self.ask(question).await,
            Some(_) | None => Outcome::unasked(&self.plan),
        };
        if self.job.is_some()
            && let Some(end) = self.unfinished(&mut outcome).await
        {
            return end;
        }
        let turn = self.close(&mut outcome);
        let Outcome { purse, kept, journaled, history, .. } = outcome;
        let charges = purse.as_ref().map(Purse::charges).unwrap_or_default();
        let (turn, stored) = self.settle(turn, kept, charges, journaled).await;
        drop(purse);
        if let (Some(stored), Some(question), Some((history, known))) = (stored, question, history) {
            self.remember(&turn, &stored, &question, history, known);
        }
        self.announce(turn);
        End::Ended
    }

    /// The end of a background turn that is none: it goes on later, or nothing came of this attempt.
    async fn unfinished(&self, outcome: &mut Outcome) -> Option<End> {
        match outcome.cut.as_ref()?.stop {
            Some(Stop::Shutdown) => {
                self.live.log.suspend();
                return Some(End::Suspended);
            }
            Some(Stop::Cancelled | Stop::Abandoned | Stop::Superseded) => return None,
            Some(Stop::Deadline) | None => {}
        }
        if outcome.outputs.so_far().next().is_some() {
            return None;
        }
        if let Some(purse) = outcome.purse.take() {
            self.charge(&purse.charges()).await;
        }
        self.forget_journaled(outcome.journaled).await;
        outcome.cut.take().map(|cut| End::Failed(cut.failure))
    }

    async fn ask(&self, question: &Question) -> Outcome {
        let live = &self.live;
        let mut stop = pin!(live.stopped(self.plan.deadline, self.shared.options.grace));
        let settings = &self.plan.lead.settings;
        let author = Author { model: question.target.name.clone(), agent_id: settings.agent_id.clone() };
        let assembler = Assembler::new(author, Arc::default());
        let mut progress = Progress::new(&self.plan, question, assembler, self.purse());
        if let Some(resumed) = &self.resumed {
            progress.resume(resumed, &question.target.name);
        }
        let cut = if self.resumed.as_ref().is_some_and(|resumed| !resumed.goes_on) {
            Some(Cut { failure: rounds::interrupted(), stop: None })
        } else {
            let mut working = pin!(self.work(question, &mut progress));
            let result = tokio::select! {
                biased;
                // What waits until the same moment knows better what it has waited for.
                why = &mut stop => match why {
                    Stop::Deadline => working.as_mut().now_or_never().ok_or(why),
                    Stop::Cancelled | Stop::Abandoned | Stop::Shutdown | Stop::Superseded => Err(why),
                },
                result = &mut working => Ok(result),
            };
            match result {
                Ok(ended) => ended.err().map(|failure| Cut { failure, stop: None }),
                Err(why) => Some(self.cut_by(why)),
            }
        };
        progress.stop();
        Outcome::asked(progress, question, cut)
    }

    async fn work(&self, question: &Question, progress: &mut Progress) -> Result<(), Failure> {
        let led = self.shared.equip(&self.plan.lead, &self.plan.forwarding).await?;
        let is_resumed = self.resumed.is_some();
        Rounds::new(&self.shared, &self.live, &self.plan, question, led, progress).work(is_resumed).await
    }

    fn cut_by(&self, why: Stop) -> Cut {
        let model = &self.plan.lead.settings.model;
        let (reason, text) = match (why, self.plan.timeout) {
            (Stop::Cancelled, _) => (Reason::TurnCancelled, "the turn was cancelled".to_owned()),
            (Stop::Abandoned, _) => {
                (Reason::TurnCancelled, "the turn was cancelled because its caller left".to_owned())
            }
            (Stop::Superseded, _) => {
                (Reason::TurnCancelled, "the turn was stopped because another one took its place".to_owned())
            }
            (Stop::Deadline, None) => (Reason::Timeout, format!("the call's deadline passed before {model} was done")),
            (Stop::Deadline, Some(timeout)) => {
                let text = format!(
                    "{model} was not done in {} s, the longest that a turn may take (turns.timeout)",
                    timeout.as_secs()
                );
                (Reason::Timeout, text)
            }
            (Stop::Shutdown, _) => (Reason::ShuttingDown, format!("the server shut down before {model} was done")),
        };
        Cut { failure: Failure::new(reason, text), stop: Some(why) }
    }

    fn purse(&self) -> Purse {
        let plan = &self.plan;
        let root = plan.parent.as_ref().map_or(plan.id.conversation(), |parent| parent.version.root_id);
        self.shared.budgets.purse(plan.id, root, plan.forwarding.budget, plan.lead.kept.tree_budget)
    }

    /// The turn as it ended, before it is stored. Announces the entries that end with it.
    fn close(&self, outcome: &mut Outcome) -> Turn {
        self.live.log.close();
        let cut = outcome.cut.take();
        let Total { usage, cost, models } = std::mem::take(&mut outcome.total);
        let (outputs, finish) = (&mut outcome.outputs, outcome.finish);
        let now = ids::now();
        let whole = match finish {
            Some(FinishReason::Length | FinishReason::ModelLength | FinishReason::ContentFilter) => false,
            Some(FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Error) | None => cut.is_none(),
        };
        let closed = if whole { outputs.finish(now) } else { outputs.cut() };
        let outputs: Vec<_> = outputs.so_far().collect();
        let waits = self.plan.waits || outcome.hands_back || !self.waiting_after(&outputs).is_empty();
        let state = match &cut {
            Some(cut) if outputs.is_empty() && cut.is_cancelled() => TurnState::Cancelled,
            Some(_) if outputs.is_empty() => TurnState::Failed,
            Some(_) => TurnState::Incomplete,
            None if !whole => TurnState::Incomplete,
            None if waits && self.plan.asks => TurnState::RequiresAction,
            None => TurnState::Completed,
        };
        let live = &self.live;
        live.log.push(now, closed.into_iter().map(|entry| EventKind::EntryDone { entry }));
        let made_version = !matches!(state, TurnState::Failed | TurnState::Cancelled);
        Turn {
            state,
            finish_reason: finish,
            conversation_id: (made_version && self.plan.store).then(|| self.plan.id.conversation()),
            outputs,
            usage,
            cost,
            models,
            omissions: std::mem::take(&mut outcome.omissions),
            error: cut.map(|cut| cut.failure),
            completed_at: Some(now),
            last_sequence: live.log.len() + 1,
            ..live.closing()
        }
    }

    /// The calls that wait after these outputs.
    fn waiting_after(&self, outputs: &[Arc<Entry>]) -> Vec<String> {
        let mut pending = self.plan.pending.clone();
        for entry in outputs {
            sequence::advance(&mut pending, &entry.body);
        }
        pending
    }

    /// Makes the turn durable. A turn that can't be stored as it is becomes one that failed.
    async fn settle(
        &self,
        turn: Turn,
        kept: Arc<Settings>,
        charges: Vec<Charge>,
        journaled: bool,
    ) -> (Turn, Option<Stored>) {
        if !self.plan.store {
            self.charge(&charges).await;
            return (turn, None);
        }
        // What is written here tells all: nothing may be written beside it.
        *self.live.sealed.lock().await = true;
        if turn.conversation_id.is_none() {
            self.keep_failed(&turn, charges).await;
            return (turn, None);
        }
        let mut turn = turn;
        let mut committed = self.commit(&turn, &kept, &charges, journaled, self.plan.require_head).await;
        if let (true, Err(store::Error::HeadMoved(heads))) = (journaled, &committed) {
            // Tools have run: that must not be forgotten because somebody was faster.
            turn = Turn { state: TurnState::Incomplete, error: Some(failures::head_moved(heads)), ..turn };
            committed = self.commit(&turn, &kept, &charges, journaled, false).await;
        }
        match committed {
            Ok(stored) => (turn, Some(stored)),
            Err(error) => {
                let writable = !matches!(error, store::Error::Failed(_));
                let failure = match (error, turn.parent_id) {
                    (store::Error::ParentGone, Some(parent)) => failures::deleted_meanwhile(parent),
                    (error, _) => failures::store(error),
                };
                let turn = Turn {
                    state: TurnState::Failed,
                    conversation_id: None,
                    outputs: Vec::new(),
                    error: Some(failure),
                    ..turn
                };
                if writable {
                    self.keep_failed(&turn, charges).await;
                    self.forget_journaled(journaled).await;
                }
                (turn, None)
            }
        }
    }

    async fn commit(
        &self,
        turn: &Turn,
        kept: &Arc<Settings>,
        charges: &[Charge],
        journaled: bool,
        require_head: bool,
    ) -> Result<Stored, store::Error> {
        let commit = Commit {
            version: self.version(turn, kept.clone()),
            parent: self.plan.parent.clone(),
            kept: self.plan.kept,
            inputs: self.plan.inputs.to_vec(),
            turn: turn.clone(),
            events: self.live.log.snapshot_with(ended_at(turn), terminal(turn)),
            request: self.live.request.as_ref().map(|request| (request.id.clone(), request.fingerprint)),
            require_head,
            charges: charges.to_vec(),
            journaled,
            job: self.job,
            at: ended_at(turn),
            callback_url: self.plan.callback_url.clone(),
            expires_at: self.shared.expires_at(&self.plan),
        };
        let stored = self.shared.store.commit(commit).await;
        self.shared.sweeper.tell(self.shared.expires_at(&self.plan));
        stored
    }

    fn version(&self, turn: &Turn, kept: Arc<Settings>) -> Version {
        let plan = &self.plan;
        let parent = plan.parent.as_ref().map(|parent| &parent.version);
        let id = plan.id.conversation();
        Version {
            id,
            parent_id: parent.map(|parent| parent.id),
            root_id: parent.map_or(id, |parent| parent.root_id),
            turn_state: turn.state,
            created_at: Time::of_uuid(id.0),
            settings: kept,
            entry_count: plan.kept + (plan.inputs.len() + turn.outputs.len()) as u64,
            turn_count: parent.map_or(0, |parent| parent.turn_count) + 1,
            spend: plan.spend.clone().and(&turn.usage, turn.cost),
            pending_calls: self.waiting_after(&turn.outputs),
            last_entry: turn.outputs.last().map(|entry| entry.id).or(plan.last_entry),
        }
    }

    /// Keeps a turn that made no version, for those who were told its id.
    async fn keep_failed(&self, turn: &Turn, charges: Vec<Charge>) {
        let ended = Ended {
            turn: turn.clone(),
            inputs: self.plan.inputs.to_vec(),
            events: self.live.log.snapshot_with(ended_at(turn), terminal(turn)),
            request_fingerprint: None,
            kept: self.plan.kept,
        };
        if let Err(error) = self.shared.store.commit_failed(ended, self.ending(turn), &charges).await {
            // The caller gets the failure all the same; only a later GetTurn will know less.
            tracing::warn!(turn = %turn.id, ?error, "a failed turn could not be stored");
        }
    }

    /// What the log of changes says of a turn that made no version.
    fn ending(&self, turn: &Turn) -> Ending {
        let parent = self.plan.parent.as_ref().map(|parent| &parent.version);
        Ending {
            at: ended_at(turn),
            root_id: parent.map_or(self.plan.id.conversation(), |parent| parent.root_id),
            labels: labels(&self.plan.lead.kept.metadata),
            callback_url: self.plan.callback_url.clone(),
            job: self.job,
        }
    }

    /// Counts what a turn spent of which nothing is kept.
    async fn charge(&self, charges: &[Charge]) {
        if !charges.is_empty()
            && let Err(error) = self.shared.store.charge(charges).await
        {
            tracing::warn!(?error, "what a turn spent could not be stored; its reservation counts in its place");
        }
    }

    /// A turn that could not be stored is not to come back as one that a crash cut off.
    async fn forget_journaled(&self, journaled: bool) {
        if journaled && let Err(error) = self.shared.store.forget_journaled(self.plan.id).await {
            tracing::warn!(turn = %self.plan.id, ?error, "what was written of a turn could not be removed");
        }
    }

    /// Has the new version's history ready for the next turn. `known`: so many outputs are in it already.
    fn remember(&self, turn: &Turn, stored: &Stored, question: &Question, history: History, known: usize) {
        let fresh = &turn.outputs[known.min(turn.outputs.len())..];
        let Ok(transcript) = question.target.provider.extend(&history.transcript, fresh) else { return };
        // An empty answer leaves the question open.
        let ending = fresh.last().map_or(history.ending, |entry| sequence::ending(Some(&entry.body)));
        let bytes = history.bytes + weigh(fresh).iter().sum::<u64>();
        self.shared.histories.keep(stored.version.id, History { transcript, ending, bytes });
    }

    /// The terminal event: after the commit, so that whoever sees it can read the version.
    fn announce(self, turn: Turn) {
        tracing::debug!(state = ?turn.state, finish = ?turn.finish_reason, events = turn.last_sequence, "the turn ended");
        if self.shared.options.log_content {
            tracing::info!(target: "causerie::content", inputs = ?self.plan.inputs, outputs = ?turn.outputs, "content");
        }
        tell(&self.live, turn);
    }
}

impl Outcome {
    fn asked(progress: Progress, question: &Question, cut: Option<Cut>) -> Outcome {
        let total = progress.tally.so_far(&question.target.name);
        Outcome {
            outputs: progress.outputs,
            finish: progress.assembler.finish,
            total,
            omissions: progress.omissions,
            kept: progress.kept,
            hands_back: progress.hands_back,
            journaled: progress.journaled > 0,
            history: Some(progress.history),
            purse: Some(progress.purse),
            cut,
        }
    }

    /// Of a turn that asks no model.
    fn unasked(plan: &Plan) -> Outcome {
        Outcome {
            outputs: Outputs::default(),
            finish: None,
            total: Total::default(),
            omissions: Vec::new(),
            kept: plan.lead.kept.clone(),
            hands_back: false,
            journaled: false,
            history: plan.question.as_ref().map(|question| (question.history.clone(), 0)),
            purse: None,
            cut: None,
        }
    }
}

/// The first event of a turn.
pub(super) fn started(plan: &Plan) -> EventKind {
    EventKind::ResponseStarted {
        conversation_id: plan.store.then(|| plan.id.conversation()),
        parent_id: plan.parent.as_ref().map(|parent| parent.version.id),
        inputs: plan.inputs.clone(),
    }
}
