//! The turn: ask the provider, append what comes to the log, fold it to entries, commit, tell readers. One path for unary
//! calls and streams: they differ in how they read the log.

use std::{pin::pin, sync::Arc};

use super::{
    Shared,
    assemble::Assembler,
    failures,
    history::History,
    ids,
    live::Stop,
    plan::{Plan, Question},
    registry::Place,
};
use crate::{
    domain::{
        Body, EventKind, Failure, FinishReason, Reason, Time, Turn, TurnState, Usage, Version,
        event::Author,
        fold::Outputs,
        sequence::{self, Ending},
    },
    store::{self, Commit, Ended, Stored},
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
    usage: Usage,
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
        let asked = question.as_ref().map(|question| question.history.clone());
        let outcome = match question {
            Some(question) => self.ask(question).await,
            None => Outcome { outputs: Outputs::default(), finish: None, usage: Usage::default(), cut: None },
        };
        let turn = self.close(outcome);
        let (turn, stored) = self.settle(turn).await;
        if let (Some(stored), Some(asked)) = (stored, asked) {
            self.remember(&turn, &stored, &asked);
        }
        self.announce(turn);
    }

    async fn ask(&self, question: Question) -> Outcome {
        let live = &self.place.live;
        let mut stop = pin!(live.stopped(self.plan.deadline, self.shared.options.grace));
        let mut outputs = Outputs::default();
        let settings = &self.plan.settings;
        let author = Author { model: settings.model.clone(), agent_id: settings.agent_id.clone() };
        let mut assembler = Assembler::new(author);
        let cut = tokio::select! {
            biased;
            why = &mut stop => Some(cut_by(why)),
            result = self.relay(question, &mut assembler, &mut outputs) => {
                result.err().map(|failure| Cut { failure, cancelled: false })
            }
        };
        Outcome { outputs, finish: assembler.finish, usage: assembler.usage, cut }
    }

    /// From the provider to the log, as fast as it comes.
    async fn relay(&self, question: Question, assembler: &mut Assembler, outputs: &mut Outputs) -> Result<(), Failure> {
        let request = crate::upstream::Request {
            settings: &self.plan.settings,
            model: &self.plan.settings.model,
            transcript: &question.history.transcript,
            stream: question.stream,
            continue_last: question.history.ending == Ending::Unfinished,
            key: None,
            max_tokens: None,
            // The turn itself watches its deadline, for all that it does.
            deadline: None,
        };
        let mut completion = self.shared.provider.complete(request).await.map_err(|fault| fault.failure)?;
        while let Some(piece) = completion.next().await {
            if let Some(event) = assembler.take(piece.map_err(|fault| fault.failure)?)? {
                let now = ids::now();
                outputs.apply(&event, now);
                self.place.live.log.push(now, [event]);
            }
        }
        Ok(())
    }

    /// The turn as it ended, before it is stored. Announces the finished entries.
    fn close(&self, outcome: Outcome) -> Turn {
        let Outcome { outputs, finish, usage, cut } = outcome;
        let now = ids::now();
        let cut = cut.or_else(|| (finish == Some(FinishReason::Error)).then(broken_off));
        let whole = match finish {
            Some(FinishReason::Length | FinishReason::ModelLength | FinishReason::ContentFilter) => false,
            Some(FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Error) | None => cut.is_none(),
        };
        let outputs = if whole { outputs.complete(now) } else { outputs.cut() };
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
        live.log.push(now, outputs.iter().map(|entry| EventKind::EntryDone { entry: entry.clone() }));
        let made_version = !matches!(state, TurnState::Failed | TurnState::Cancelled);
        Turn {
            state,
            finish_reason: finish,
            conversation_id: (made_version && self.plan.store).then(|| self.plan.id.conversation()),
            outputs,
            usage,
            error: cut.map(|cut| cut.failure),
            completed_at: Some(now),
            last_sequence: live.log.last_sequence() + 1,
            ..live.opening.clone()
        }
    }

    /// Makes the turn durable. A turn that can't be stored as it is becomes one that failed.
    async fn settle(&self, turn: Turn) -> (Turn, Option<Stored>) {
        if !self.plan.store {
            return (turn, None);
        }
        if turn.conversation_id.is_none() {
            self.keep_failed(&turn).await;
            return (turn, None);
        }
        match self.commit(&turn).await {
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
                    self.keep_failed(&turn).await;
                }
                (turn, None)
            }
        }
    }

    async fn commit(&self, turn: &Turn) -> Result<Stored, store::Error> {
        let commit = Commit {
            version: self.version(turn),
            parent: self.plan.parent.clone(),
            kept: self.plan.kept,
            inputs: self.plan.inputs.to_vec(),
            turn: turn.clone(),
            events: self.place.live.log.snapshot_with(ended_at(turn), terminal(turn)),
            request: self.place.live.request.as_ref().map(|request| (request.id.clone(), request.fingerprint)),
            require_head: self.plan.require_head,
            charges: Vec::new(),
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
            spend: parent.map(|parent| parent.spend.clone()).unwrap_or_default().and(&turn.usage, turn.cost),
            pending_calls,
            last_entry: turn.outputs.last().map(|entry| entry.id).or(plan.last_entry),
        }
    }

    /// Keeps a turn that made no version, for those who were told its id.
    async fn keep_failed(&self, turn: &Turn) {
        let ended = Ended {
            turn: turn.clone(),
            inputs: self.plan.inputs.to_vec(),
            events: self.place.live.log.snapshot_with(ended_at(turn), terminal(turn)),
            request_fingerprint: None,
            kept: self.plan.kept,
        };
        if let Err(error) = self.shared.store.commit_failed(ended, &[]).await {
            // The caller gets the failure all the same; only a later GetTurn will know less.
            tracing::warn!(turn = %turn.id, ?error, "a failed turn could not be stored");
        }
    }

    /// Has the new version's history ready for the next turn.
    fn remember(&self, turn: &Turn, stored: &Stored, asked: &History) {
        // What can't be encoded is refused when it is asked for again; here it is only not kept.
        let Ok(transcript) = self.shared.provider.extend(&asked.transcript, &turn.outputs) else { return };
        // An empty answer leaves the question open.
        let ending = turn.outputs.last().map_or(asked.ending, |entry| sequence::ending(Some(&entry.body)));
        self.shared.histories.keep(stored.version.id, History { transcript, ending });
    }

    /// The terminal event: after the commit, so that whoever sees it can read the version.
    fn announce(self, turn: Turn) {
        let live = &self.place.live;
        tracing::debug!(state = ?turn.state, finish = ?turn.finish_reason, events = turn.last_sequence, "the turn ended");
        let at = ended_at(&turn);
        let last = terminal(&turn);
        if self.shared.options.log_content {
            tracing::info!(target: "causerie::content", inputs = ?self.plan.inputs, outputs = ?turn.outputs, "content");
        }
        live.end(turn);
        live.log.push(at, [last]);
    }
}

fn ended_at(turn: &Turn) -> Time {
    turn.completed_at.unwrap_or(turn.created_at)
}

fn terminal(turn: &Turn) -> EventKind {
    match (&turn.error, turn.state) {
        (Some(failure), TurnState::Failed | TurnState::Cancelled) => {
            let failure = failure.clone().with("turn_id", turn.id.to_string());
            EventKind::ResponseError { failure: Arc::new(failure) }
        }
        _ => EventKind::ResponseDone { turn: Arc::new(turn.clone()) },
    }
}

fn cut_by(why: Stop) -> Cut {
    let (reason, text) = match why {
        Stop::Cancelled => (Reason::TurnCancelled, "the turn was cancelled"),
        Stop::Abandoned => (Reason::TurnCancelled, "the turn was cancelled because its caller left"),
        Stop::Deadline => (Reason::Timeout, "the deadline passed before the model was done"),
        Stop::Shutdown => (Reason::ShuttingDown, "the server shut down before the model was done"),
    };
    let cancelled = matches!(why, Stop::Cancelled | Stop::Abandoned);
    Cut { failure: Failure::new(reason, text), cancelled }
}

fn broken_off() -> Cut {
    let text = "the provider ended the answer with an error";
    Cut { failure: Failure::new(Reason::UpstreamProtocolError, text), cancelled: false }
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
