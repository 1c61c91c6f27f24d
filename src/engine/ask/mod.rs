//! Asking the model until there is an answer, or a precise reason why there is none.
//!
//! One call is `call`; here is what follows from its end: the same model again, with a shorter history, another model, or the
//! end. Before any output a turn moves on freely; after it only if the caller said that another model may go on.

mod call;
mod prompt;
mod tally;

use std::{sync::Arc, time::Duration};

use self::tally::Tally;
pub(super) use self::tally::Total;
use super::{
    Shared,
    assemble::Assembler,
    budgets::Purse,
    history::History,
    ids,
    lead::Led,
    live::Live,
    models::Target,
    plan::{Plan, Question},
    run::Resumed,
};
use crate::{
    domain::{Entry, EventKind, Failure, Omission, Reason, Settings, fold::Outputs},
    upstream::Provider,
};

/// A shorter history is tried so often; each is at most 70 % of the one before.
const SHORTENED_MAX: u32 = 8;

/// A turn that asks.
pub(super) struct Asking<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) live: &'a Arc<Live>,
    pub(super) plan: &'a Plan,
    pub(super) question: &'a Question,
    /// Who leads at the moment.
    pub(super) led: &'a Led,
    pub(super) progress: &'a mut Progress,
    /// The model that was asked last and why it failed, until another one is asked.
    left: Option<(Arc<Target>, Failure)>,
    /// Calls of all models that the turn had made before.
    before: u32,
    /// Pieces of output that had come before.
    pieces: u64,
}

/// How far a turn has come. Outlives a turn that is stopped in the middle.
pub(super) struct Progress {
    pub(super) outputs: Outputs,
    pub(super) assembler: Assembler,
    pub(super) tally: Tally,
    pub(super) purse: Purse,
    /// What the model that answers was not told.
    pub(super) omissions: Vec<Omission>,
    /// How many pieces of output were relayed.
    pub(super) pieces: u64,
    /// The history with the turn's inputs and so many of its outputs, in the words of the provider that is asked.
    pub(super) history: (History, usize),
    /// The history without the turn's inputs as entries, once it was needed so.
    entries: Option<Vec<Arc<Entry>>>,
    /// What the new version keeps.
    pub(super) kept: Arc<Settings>,
    /// It is the caller's turn, without a call that waits: a handoff.
    pub(super) hands_back: bool,
    /// How often the turn was journaled.
    pub(super) journaled: u32,
}

/// A call that brought no answer.
struct Miss {
    failure: Failure,
    next: Next,
}

/// What may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Nothing.
    End,
    /// The same again, not sooner than the provider or its guard said.
    Again { told: Option<Duration> },
    /// A shorter history, or a larger window.
    Shorten,
    /// Another model.
    Other,
    /// Another model: our own guard let no call through.
    NotAdmitted,
}

impl Miss {
    fn end(failure: Failure) -> Miss {
        Miss { failure, next: Next::End }
    }
}

impl Progress {
    pub(super) fn new(plan: &Plan, question: &Question, assembler: Assembler, purse: Purse) -> Progress {
        Progress {
            outputs: Outputs::default(),
            assembler,
            tally: Tally::default(),
            purse,
            omissions: Vec::new(),
            pieces: 0,
            history: (question.history.clone(), 0),
            entries: None,
            kept: plan.lead.kept.clone(),
            hands_back: false,
            journaled: 0,
        }
    }

    /// Goes on where a crash cut the turn off.
    pub(super) fn resume(&mut self, resumed: &Resumed, own: &str) {
        let Resumed { journaled, generation, .. } = resumed;
        let turn = &journaled.ended.turn;
        for entry in &turn.outputs {
            self.outputs.resume(entry);
        }
        self.assembler.goes_on_after(turn.outputs.len());
        self.tally = Tally::resumed(own, turn);
        self.omissions.clone_from(&turn.omissions);
        self.kept = journaled.settings.clone();
        self.journaled = *generation;
    }

    /// Counts what a call used that was stopped in the middle.
    pub(super) fn stop(&mut self) {
        match self.tally.end() {
            Some((usage, cost)) => self.purse.settle(usage.total_tokens, cost),
            None => self.purse.release(),
        }
    }
}

impl<'a> Asking<'a> {
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        live: &'a Arc<Live>,
        plan: &'a Plan,
        question: &'a Question,
        led: &'a Led,
        progress: &'a mut Progress,
    ) -> Asking<'a> {
        let (before, pieces) = (progress.tally.attempts(), progress.pieces);
        Asking { shared, live, plan, question, led, progress, left: None, before, pieces }
    }

    /// Asks the model that leads, then those that may stand in for it.
    pub(super) async fn ask(&mut self) -> Result<(), Failure> {
        let own = self.led.target.clone();
        let Err(mut first) = self.ask_model(&own).await else { return Ok(()) };
        let mut tried: Vec<String> = Vec::new();
        let mut last = first.failure.clone();
        let mut next = first.next;
        self.left = Some((own.clone(), last.clone()));
        for name in self.shared.models.fallbacks(&own, &self.led.fallback) {
            if next == Next::End && tried.is_empty() || !self.may_move_on() {
                break;
            }
            let other = self.shared.models.target(&name);
            // A caller who pays is not moved to an account of the operator's.
            let on_own_key = self.plan.key.is_none() || other.provider.name() == own.provider.name();
            if other.name == own.name || tried.contains(&other.name) || !on_own_key {
                continue;
            }
            let Err(miss) = self.ask_model(&other).await else { return Ok(()) };
            if self.left.is_none() {
                self.left = Some((other.clone(), miss.failure.clone()));
            }
            tried.push(other.name.clone());
            (last, next) = (miss.failure, miss.next);
        }
        if !tried.is_empty() {
            first.failure.message.push_str(&format!("; {} could not stand in: {last}", tried.join(", ")));
            first.failure = first.failure.with("fallback_models", tried.join(","));
        }
        Err(self.gave_up(first.failure))
    }

    /// Whether another model may go on from here.
    fn may_move_on(&self) -> bool {
        let outputs = &self.progress.outputs;
        let untouched = self.progress.pieces == self.pieces;
        untouched || (self.plan.forwarding.continue_on_other_model && !outputs.has_open_calls())
    }

    /// Says that this model is asked in place of the one before, if there was one.
    fn announce_switch(&mut self, to: &Target) {
        let Some((from, why)) = self.left.take() else { return };
        tracing::info!(from = from.name, to = to.name, reason = ?why.reason, "another model is asked");
        let event = EventKind::UpstreamSwitched {
            from_model: from.name.clone(),
            to_model: to.name.clone(),
            attempts: self.progress.tally.attempts() - self.before,
            failure: Arc::new(why),
        };
        self.live.log.push(ids::now(), [event]);
    }

    fn gave_up(&self, failure: Failure) -> Failure {
        let attempts = self.progress.tally.attempts() - self.before;
        let mut failure = failure.with("attempts", attempts.to_string());
        if failure.reason == Reason::ModelNotFound {
            failure.message.push_str(&self.mistaken_provider().unwrap_or_default());
        }
        if attempts > 1 {
            failure.message.push_str(&format!(" (after {attempts} attempts)"));
        }
        failure
    }

    /// What a model's name with a slash may have meant, that was taken for a model of the default provider.
    fn mistaken_provider(&self) -> Option<String> {
        let providers = self.shared.models.providers();
        let (prefix, _) =
            self.question.target.name.split_once('/').filter(|(prefix, _)| providers.get(prefix).is_none())?;
        let names: Vec<&str> = providers.iter().map(Provider::name).collect();
        Some(format!("; if {prefix:?} is meant as a provider: there are {}", names.join(", ")))
    }

    /// Asks one model, as often as it is worth while.
    async fn ask_model(&mut self, target: &Arc<Target>) -> Result<(), Miss> {
        let mut retries = self.shared.models.retries();
        let mut prompt = self.prompt(target).await?;
        let mut shortened = 0;
        let mut past: Option<Failure> = None;
        loop {
            let before = self.progress.pieces;
            let by = retries.end().map_or(self.plan.deadline, |end| end.min(self.plan.deadline));
            let Err(miss) = self.call(target, &prompt, by).await else { return Ok(()) };
            if self.progress.pieces > before {
                // What was relayed can't be taken back.
                return Err(Miss { next: Next::Other, ..miss });
            }
            match miss.next {
                Next::End | Next::Other => return Err(miss),
                Next::NotAdmitted => return Err(Miss { failure: of_retry(past, miss.failure), ..miss }),
                Next::Shorten => match self.shorter(target, &prompt, &miss.failure).await {
                    Some(shorter) if shortened < SHORTENED_MAX => {
                        shortened += 1;
                        prompt = shorter;
                    }
                    Some(_) | None => return Err(miss),
                },
                Next::Again { told } => {
                    let Some(delay) = retries.next(told, self.plan.deadline) else { return Err(miss) };
                    past = Some(miss.failure.clone());
                    self.retry(target, miss.failure, delay).await;
                }
            }
        }
    }

    async fn retry(&mut self, target: &Target, why: Failure, delay: Duration) {
        let attempt = self.progress.tally.attempts_at(&target.name);
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(model = target.name, attempt, delay_ms, reason = ?why.reason, "the provider is asked again");
        let failure = Arc::new(why);
        let event = EventKind::UpstreamRetry { model: target.name.clone(), attempt, delay_ms, failure };
        self.live.log.push(ids::now(), [event]);
        tokio::time::sleep(delay).await;
    }
}

/// Why a call was not made again: what the provider said is the reason, our guard knows only when it may be asked.
fn of_retry(past: Option<Failure>, refused: Failure) -> Failure {
    match past {
        Some(past) => Failure { retry_after_ms: past.retry_after_ms.max(refused.retry_after_ms), ..past },
        None => refused,
    }
}
