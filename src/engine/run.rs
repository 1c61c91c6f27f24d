//! The turn: ask the provider, append what comes to the log, fold it to entries, commit, tell readers. One path for unary
//! calls and streams: they differ in how they read the log.

use std::{pin::pin, sync::Arc};

use futures_util::FutureExt;

use super::{
    Shared,
    ask::{Asking, Progress, Tally, Total},
    assemble::Assembler,
    budgets::Purse,
    failures,
    history::History,
    ids,
    live::Stop,
    plan::{Plan, Question},
    registry::Place,
};
use crate::{
    domain::{
        Body, EventKind, Failure, FinishReason, Omission, Reason, Time, Turn, TurnState, Version, event::Author,
        fold::Outputs, sequence,
    },
    store::{self, Charge, Commit, Ended, Stored},
    upstream::estimate::weigh,
};

/// A turn that runs.
pub(super) struct Run {
    pub(super) shared: Arc<Shared>,
    pub(super) place: Place,
    pub(super) plan: Plan,
}

/// What came of asking the model.
struct Outcome {
    outputs: Outputs,
    finish: Option<FinishReason>,
    total: Total,
    omissions: Vec<Omission>,
    /// What it spent of budgets. Lives until the commit, so that nobody reads the rows before it.
    purse: Option<Purse>,
    /// Why it did not come to its own end.
    cut: Option<Cut>,
}

struct Cut {
    failure: Failure,
    /// Somebody wanted it so.
    cancelled: bool,
}

impl Run {
    /// Runs the turn to its terminal event.
    pub(super) async fn run(mut self) {
        let question = self.plan.question.take();
        let outcome = match &question {
            Some(question) => self.ask(question).await,
            None => Outcome::unasked(),
        };
        let (turn, purse) = self.close(outcome);
        let charges = purse.as_ref().map(Purse::charges).unwrap_or_default();
        let (turn, stored) = self.settle(turn, charges).await;
        drop(purse);
        if let (Some(stored), Some(question)) = (stored, question) {
            self.remember(&turn, &stored, &question);
        }
        self.announce(turn);
    }

    async fn ask(&self, question: &Question) -> Outcome {
        let live = &self.place.live;
        let mut stop = pin!(live.stopped(self.plan.deadline, self.shared.options.grace));
        let settings = &self.plan.settings;
        let author = Author { model: question.target.name.clone(), agent_id: settings.agent_id.clone() };
        let mut progress = Progress {
            outputs: Outputs::default(),
            assembler: Assembler::new(author),
            tally: Tally::default(),
            purse: self.purse(),
            omissions: Vec::new(),
            pieces: 0,
        };
        let cut = {
            let mut asking = Asking::new(&self.shared, &self.place, &self.plan, question, &mut progress);
            let mut asked = pin!(asking.ask());
            let result = tokio::select! {
                biased;
                // What waits until the same moment knows better what it has waited for.
                why = &mut stop => match why {
                    Stop::Deadline => asked.as_mut().now_or_never().ok_or(why),
                    Stop::Cancelled | Stop::Abandoned | Stop::Shutdown => Err(why),
                },
                result = &mut asked => Ok(result),
            };
            match result {
                Ok(ended) => ended.err().map(|failure| Cut { failure, cancelled: false }),
                Err(why) => Some(self.cut_by(why)),
            }
        };
        progress.stop();
        let Progress { outputs, assembler, tally, purse, omissions, pieces: _ } = progress;
        let (finish, total) = (assembler.finish, tally.total(&question.target.name));
        Outcome { outputs, finish, total, omissions, purse: Some(purse), cut }
    }

    fn cut_by(&self, why: Stop) -> Cut {
        let model = &self.plan.settings.model;
        let (reason, text) = match (why, self.plan.timeout) {
            (Stop::Cancelled, _) => (Reason::TurnCancelled, "the turn was cancelled".to_owned()),
            (Stop::Abandoned, _) => {
                (Reason::TurnCancelled, "the turn was cancelled because its caller left".to_owned())
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
        let cancelled = matches!(why, Stop::Cancelled | Stop::Abandoned);
        Cut { failure: Failure::new(reason, text), cancelled }
    }

    fn purse(&self) -> Purse {
        let plan = &self.plan;
        let root = plan.parent.as_ref().map_or(plan.id.conversation(), |parent| parent.version.root_id);
        self.shared.budgets.purse(plan.id, root, plan.forwarding.budget, plan.settings.tree_budget)
    }

    /// The turn as it ended, before it is stored. Announces the finished entries.
    fn close(&self, outcome: Outcome) -> (Turn, Option<Purse>) {
        let Outcome { mut outputs, finish, total, omissions, purse, cut } = outcome;
        let Total { usage, cost, models } = total;
        let now = ids::now();
        let whole = match finish {
            Some(FinishReason::Length | FinishReason::ModelLength | FinishReason::ContentFilter) => false,
            Some(FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Error) | None => cut.is_none(),
        };
        let closed = if whole { outputs.finish(now) } else { outputs.cut() };
        let outputs: Vec<_> = outputs.so_far().collect();
        let state = match &cut {
            Some(cut) if outputs.is_empty() && cut.cancelled => TurnState::Cancelled,
            Some(_) if outputs.is_empty() => TurnState::Failed,
            Some(_) => TurnState::Incomplete,
            None if !whole => TurnState::Incomplete,
            None if outputs.iter().any(|entry| matches!(entry.body, Body::FunctionCall(_))) => {
                TurnState::RequiresAction
            }
            None => TurnState::Completed,
        };
        let live = &self.place.live;
        live.log.push(now, closed.into_iter().map(|entry| EventKind::EntryDone { entry }));
        let made_version = !matches!(state, TurnState::Failed | TurnState::Cancelled);
        let turn = Turn {
            state,
            finish_reason: finish,
            conversation_id: (made_version && self.plan.store).then(|| self.plan.id.conversation()),
            outputs,
            usage,
            cost,
            models,
            omissions,
            error: cut.map(|cut| cut.failure),
            completed_at: Some(now),
            last_sequence: live.log.last_sequence() + 1,
            ..live.opening.clone()
        };
        (turn, purse)
    }

    /// Makes the turn durable. A turn that can't be stored as it is becomes one that failed.
    async fn settle(&self, turn: Turn, charges: Vec<Charge>) -> (Turn, Option<Stored>) {
        if !self.plan.store {
            self.charge(&charges).await;
            return (turn, None);
        }
        if turn.conversation_id.is_none() {
            self.keep_failed(&turn, charges).await;
            return (turn, None);
        }
        match self.commit(&turn, charges.clone()).await {
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
                }
                (turn, None)
            }
        }
    }

    async fn commit(&self, turn: &Turn, charges: Vec<Charge>) -> Result<Stored, store::Error> {
        let commit = Commit {
            version: self.version(turn),
            parent: self.plan.parent.clone(),
            kept: self.plan.kept,
            inputs: self.plan.inputs.to_vec(),
            turn: turn.clone(),
            events: self.place.live.log.snapshot_with(ended_at(turn), terminal(turn)),
            request: self.place.live.request.as_ref().map(|request| (request.id.clone(), request.fingerprint)),
            require_head: self.plan.require_head,
            charges,
        };
        self.shared.store.commit(commit).await
    }

    fn version(&self, turn: &Turn) -> Version {
        let plan = &self.plan;
        let parent = plan.parent.as_ref().map(|parent| &parent.version);
        let mut pending_calls = plan.pending.clone();
        for entry in &turn.outputs {
            sequence::advance(&mut pending_calls, &entry.body);
        }
        let id = plan.id.conversation();
        Version {
            id,
            parent_id: parent.map(|parent| parent.id),
            root_id: parent.map_or(id, |parent| parent.root_id),
            turn_state: turn.state,
            created_at: Time::of_uuid(id.0),
            settings: plan.settings.clone(),
            entry_count: plan.kept + (plan.inputs.len() + turn.outputs.len()) as u64,
            turn_count: parent.map_or(0, |parent| parent.turn_count) + 1,
            spend: plan.spend.clone().and(&turn.usage, turn.cost),
            pending_calls,
            last_entry: turn.outputs.last().map(|entry| entry.id).or(plan.last_entry),
        }
    }

    /// Keeps a turn that made no version, for those who were told its id.
    async fn keep_failed(&self, turn: &Turn, charges: Vec<Charge>) {
        let ended = Ended {
            turn: turn.clone(),
            inputs: self.plan.inputs.to_vec(),
            events: self.place.live.log.snapshot_with(ended_at(turn), terminal(turn)),
            request_fingerprint: None,
            kept: self.plan.kept,
        };
        if let Err(error) = self.shared.store.commit_failed(ended, &charges).await {
            // The caller gets the failure all the same; only a later GetTurn will know less.
            tracing::warn!(turn = %turn.id, ?error, "a failed turn could not be stored");
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

    /// Has the new version's history ready for the next turn.
    fn remember(&self, turn: &Turn, stored: &Stored, question: &Question) {
        let Question { history, target, stream: _ } = question;
        let Ok(transcript) = target.provider.extend(&history.transcript, &turn.outputs) else { return };
        // An empty answer leaves the question open.
        let ending = turn.outputs.last().map_or(history.ending, |entry| sequence::ending(Some(&entry.body)));
        let bytes = history.bytes + weigh(&turn.outputs).iter().sum::<u64>();
        self.shared.histories.keep(stored.version.id, History { transcript, ending, bytes });
    }

    /// The terminal event: after the commit, so that whoever sees it can read the version.
    fn announce(self, turn: Turn) {
        let live = &self.place.live;
        tracing::debug!(state = ?turn.state, finish = ?turn.finish_reason, events = turn.last_sequence, "the turn ended");
        if let Some(failure) = &turn.error {
            log_failure(&turn, failure);
        }
        let at = ended_at(&turn);
        let last = terminal(&turn);
        if self.shared.options.log_content {
            tracing::info!(target: "causerie::content", inputs = ?self.plan.inputs, outputs = ?turn.outputs, "content");
        }
        live.end(turn);
        live.log.push(at, [last]);
    }
}

/// The reason and where it comes from. The message may quote what others wrote.
fn log_failure(turn: &Turn, failure: &Failure) {
    let Turn { state, model, .. } = turn;
    let told = |key: &str| failure.metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    let (provider, http_status, attempts) = (told("provider"), told("http_status"), told("attempts"));
    let reason = failure.reason;
    match reason {
        // Every turn will fail so until the operator does something.
        Reason::InvalidApiKey
        | Reason::ApiKeyMissing
        | Reason::InsufficientCredits
        | Reason::StoreFailed
        | Reason::Internal => {
            tracing::warn!(turn = %turn.id, ?state, ?reason, model, provider, http_status, attempts, "the turn failed");
        }
        _ => {
            tracing::info!(turn = %turn.id, ?state, ?reason, model, provider, http_status, attempts, "the turn failed")
        }
    }
}

fn ended_at(turn: &Turn) -> Time {
    turn.completed_at.unwrap_or(turn.created_at)
}

fn terminal(turn: &Turn) -> EventKind {
    match (&turn.error, turn.state) {
        (Some(failure), TurnState::Failed | TurnState::Cancelled) => {
            let failure = failure.clone().with("turn_id", turn.id.to_string());
            let failure = match turn.usage.total_tokens {
                0 => failure,
                spent => failure.with(Failure::SPENT_TOKENS, spent.to_string()),
            };
            EventKind::ResponseError { failure: Arc::new(failure) }
        }
        _ => EventKind::ResponseDone { turn: Arc::new(turn.clone()) },
    }
}

impl Outcome {
    /// Of a turn that asks no model.
    fn unasked() -> Outcome {
        Outcome {
            outputs: Outputs::default(),
            finish: None,
            total: Tally::default().total(""),
            omissions: Vec::new(),
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

/// What readers are told if the turn's task dies.
pub(super) fn died() -> Failure {
    Failure::new(Reason::Internal, "a fault of the service ended the turn; the log says where")
}
