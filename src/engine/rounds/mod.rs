//! The tool loop: the model asks, tools run, results go back, until there is an answer or something for the caller to do.
//!
//! Before a tool runs the turn is journaled as it would be kept if the server died in the middle, and after it with what came
//! of it: nothing is run twice, and nothing that ran is forgotten.

mod format;
mod handoff;
mod journal;
mod run;
mod size;

use std::sync::Arc;

pub(super) use self::journal::{interrupted, told};
use self::{handoff::Handed, run::Job};
use super::{
    Shared,
    ask::{Asking, Progress},
    assemble::Held,
    failures, ids,
    lead::{Lead, Led},
    live::Live,
    plan::{Plan, Question},
    toolset::Runner,
};
use crate::domain::{
    EventKind, Failure, FinishReason,
    sequence::{self, Ending},
    settings::ToolChoice,
};

/// A turn at work.
pub(super) struct Rounds<'a> {
    shared: &'a Arc<Shared>,
    live: &'a Arc<Live>,
    plan: &'a Plan,
    question: &'a Question,
    led: Led,
    progress: &'a mut Progress,
    /// How often the model has asked for tools.
    rounds: u32,
    /// From whom to whom the turn was handed over.
    handoffs: Vec<(String, String)>,
    /// The model was told that its answer does not fit.
    mended: bool,
}

/// What an answer asks of the service, apart from each other.
struct Asked {
    runs: Vec<Held>,
    /// Handoffs, to agents and to people.
    handoffs: Vec<Held>,
}

impl<'a> Rounds<'a> {
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        live: &'a Arc<Live>,
        plan: &'a Plan,
        question: &'a Question,
        led: Led,
        progress: &'a mut Progress,
    ) -> Rounds<'a> {
        progress.assembler.offers(led.tools.clone());
        Rounds { shared, live, plan, question, led, progress, rounds: 0, handoffs: Vec::new(), mended: false }
    }

    /// Works until the model has answered, or the caller has to do something.
    /// `resumed`: a crash cut the turn off, and what it had done is there.
    pub(super) async fn work(&mut self, resumed: bool) -> Result<(), Failure> {
        if resumed {
            self.end_interrupted().await?;
            self.relax_tool_choice();
            self.absorb()?;
        } else if !self.plan.agreed.is_empty() {
            let jobs = self.agreed();
            self.run(jobs).await?;
            self.absorb()?;
        }
        if self.plan.waits {
            return Ok(());
        }
        while self.round().await? {}
        Ok(())
    }

    /// Asks the model once, and does what it asks for. False: the turn has come to its end.
    async fn round(&mut self) -> Result<bool, Failure> {
        Asking::new(self.shared, self.live, self.plan, self.question, &self.led, self.progress).ask().await?;
        let cut = [FinishReason::Length, FinishReason::ModelLength, FinishReason::ContentFilter];
        if self.progress.assembler.finish.is_some_and(|finish| cut.contains(&finish)) {
            // What it asks for may be torn.
            return Ok(false);
        }
        let Asked { runs, handoffs } = apart(self.progress.assembler.end_round());
        let waits = self.progress.outputs.has_open_calls();
        let has_run = !runs.is_empty();
        if !waits {
            // Before what was said beside them is whole: where they are not done it is no answer.
            self.check_limits(&runs, &handoffs)?;
        }
        self.finish_outputs();
        if runs.is_empty() && handoffs.is_empty() {
            return if waits { Ok(false) } else { self.mend() };
        }
        if waits {
            // Who is handed over to could not be asked before the calls are answered.
            self.count_round(&runs)?;
            let jobs = self.beside_waiting(runs, handoffs);
            self.run(jobs).await?;
            return Ok(false);
        }
        if has_run {
            let jobs = self.jobs(runs, false);
            self.run(jobs).await?;
        }
        self.absorb()?;
        self.relax_tool_choice();
        // Boxed: few turns hand over, and every turn would have to hold what that needs.
        match Box::pin(self.hand_over(handoffs)).await? {
            Handed::Refused if !has_run => {
                self.count_round(&[])?;
                self.absorb()?;
                Ok(true)
            }
            Handed::None | Handed::Refused | Handed::ToAgent => {
                self.absorb()?;
                Ok(true)
            }
            Handed::ToCaller => Ok(false),
        }
    }

    /// Whether the turn may do what an answer asks for.
    fn check_limits(&mut self, runs: &[Held], handoffs: &[Held]) -> Result<(), Failure> {
        match runs {
            [] => self.check_first(handoffs),
            _ => self.count_round(runs),
        }
    }

    /// What the model said is whole now.
    fn finish_outputs(&mut self) {
        let now = ids::now();
        let ended = self.progress.outputs.finish(now);
        self.live.log.push(now, ended.into_iter().map(|entry| EventKind::EntryDone { entry }));
    }

    /// An answer that asked for something is a round, whatever came of it.
    fn count_round(&mut self, runs: &[Held]) -> Result<(), Failure> {
        let most = self.shared.options.max_tool_rounds;
        let most = self.plan.tool_use.max_rounds.map_or(most, |asked| asked.min(most));
        if self.rounds >= most {
            let times = if most == 1 { "once".to_owned() } else { format!("{most} times") };
            let text = format!(
                "the model asked for tools {times} and wants more (max_tool_rounds): a turn without input goes on"
            );
            return Err(failures::turn_limit("max_tool_rounds", text));
        }
        let bytes = self.progress.outputs.size_bytes() + runs.iter().map(size::of_call).sum::<usize>();
        if bytes > size::TURN_BYTES {
            let text = "the turn has become as large as a turn may be: a turn without input goes on";
            return Err(failures::turn_limit("output_bytes", text.to_owned()));
        }
        self.rounds += 1;
        Ok(())
    }

    /// What has come out is part of the history now.
    fn absorb(&mut self) -> Result<(), Failure> {
        let (history, known) = &mut self.progress.history;
        let fresh: Vec<_> = self.progress.outputs.so_far().skip(*known).collect();
        if fresh.is_empty() || !history.transcript.is_for(&self.led.target.provider, Lead::form(&self.led.settings)) {
            return Ok(());
        }
        history.transcript = self.led.target.provider.extend(&history.transcript, &fresh)?;
        history.bytes += crate::upstream::estimate::weigh(&fresh).iter().sum::<u64>();
        history.ending = fresh.last().map_or(Ending::Open, |entry| sequence::ending(Some(&entry.body)));
        *known += fresh.len();
        Ok(())
    }

    /// A choice that makes the model call a tool holds for its first answer: else it would never stop.
    fn relax_tool_choice(&mut self) {
        let choice = &self.led.settings.completion_args.tool_choice;
        let forces = match choice {
            Some(ToolChoice::Any | ToolChoice::Required | ToolChoice::Function(_)) => true,
            Some(ToolChoice::Auto | ToolChoice::None) | None => false,
        };
        if forces {
            Arc::make_mut(&mut self.led.settings).completion_args.tool_choice = Some(ToolChoice::Auto);
        }
    }

    fn agreed(&mut self) -> Vec<Job> {
        let tools = self.led.tools.clone();
        let agreed = self.plan.agreed.clone().into_iter();
        agreed.map(|call| Job::agreed(&mut self.progress.assembler, call, &tools)).collect()
    }

    /// `beside`: calls that wait stand before them in the same answer.
    fn jobs(&mut self, runs: Vec<Held>, beside: bool) -> Vec<Job> {
        let numbered = runs.into_iter().enumerate();
        numbered.map(|(i, held)| Job::new(&mut self.progress.assembler, held, beside || i > 0)).collect()
    }

    fn beside_waiting(&mut self, runs: Vec<Held>, handoffs: Vec<Held>) -> Vec<Job> {
        let refused = handoffs.into_iter().map(|held| handoff::refused(held, handoff::BESIDE_WAITING));
        let all = runs.into_iter().chain(refused).collect();
        self.jobs(all, true)
    }
}

/// As many calls one answer may ask for; as many tools a request may offer.
const CALLS_MAX: usize = 128;

fn apart(mut held: Vec<Held>) -> Asked {
    for call in held.iter_mut().skip(CALLS_MAX) {
        call.runner = Runner::Nobody(format!("not run: one answer may ask for {CALLS_MAX} calls").into());
    }
    let (handoffs, runs) = held.into_iter().partition(|held| matches!(held.runner, Runner::ToAgent | Runner::ToHuman));
    Asked { runs, handoffs }
}
