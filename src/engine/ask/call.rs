//! One call of a model: admitted, paid for, relayed, settled.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Asking, Miss, Next, prompt::Prompt};
use crate::{
    domain::{EventKind, FinishReason, Usage, event::Author},
    engine::{budgets, failures, ids, lead::Lead, models::Target},
    upstream::{
        Completion, Fault, FaultClass, Piece, Reached, Request, Secret,
        guard::{Ask, Permit},
    },
};

/// What an answer of unknown length is taken for by the rate limits, until the provider says.
const USUAL_TOKENS: u64 = 512;

impl Asking<'_> {
    /// Calls the model once, and relays what it answers. `by`: when the call must have begun.
    pub(super) async fn call(&mut self, target: &Arc<Target>, prompt: &Prompt, by: Instant) -> Result<(), Miss> {
        let estimate = target.estimator.estimate(prompt.bytes);
        let asked = self.led.settings.completion_args.max_tokens;
        let limited = self.progress.purse.is_limited(target.provider.name(), &target.name);
        let max_tokens = asked.or_else(|| limited.then(|| self.budgeted_tokens(target, estimate.at_most)));
        let key = self.key(target);
        let ask = Ask {
            prompt_tokens: estimate.tokens,
            output_tokens: max_tokens.map_or(USUAL_TOKENS, u64::from),
            deadline: by,
            metered: key.is_none(),
        };
        let admitted = target.guard.admit(ask).await;
        let mut permit = admitted.map_err(|refused| Miss {
            next: Next::NotAdmitted,
            failure: failures::not_admitted(&target.name, refused),
        })?;
        if limited {
            let most = Usage {
                prompt_tokens: estimate.at_most,
                completion_tokens: max_tokens.map_or(0, u64::from),
                ..Usage::default()
            };
            let call = budgets::Call {
                provider: target.provider.name(),
                model: &target.model,
                name: &target.name,
                tokens: most.prompt_tokens + most.completion_tokens,
                cost: target.cost(&most),
            };
            if let Err(failure) = self.progress.purse.reserve(call).await {
                permit.unused();
                return Err(Miss::end(failure));
            }
        }
        self.announce_switch(target);
        self.live.ask();
        self.progress.tally.begin(target, estimate.tokens, self.question.stream);
        self.progress.omissions = prompt.transcript.omissions().to_vec();
        self.progress.omissions.extend(prompt.cut.clone());
        let request = Request {
            settings: &self.led.settings,
            model: &target.model,
            transcript: &prompt.transcript,
            stream: self.question.stream,
            continue_last: prompt.continue_last,
            max_tokens: max_tokens.filter(|_| limited),
            key: key.as_ref(),
            hosted: Lead::hosted(&self.led.settings),
        };
        let result = match target.provider.complete(request).await {
            Ok(completion) => self.relay(target, completion, &mut permit).await,
            Err(fault) => Err(fault),
        };
        self.settle(target, prompt, &mut permit, result)
    }

    /// From the provider to the log, as fast as it comes.
    async fn relay(&mut self, target: &Target, mut completion: Completion, permit: &mut Permit) -> Result<(), Fault> {
        permit.answered();
        permit.quota(&completion.quota());
        let author = Author { model: target.name.clone(), agent_id: self.led.settings.agent_id.clone() };
        let progress = &mut *self.progress;
        progress.tally.answered();
        progress.assembler.written_by(author);
        while let Some(piece) = completion.next().await {
            let piece = piece?;
            match &piece {
                Piece::Usage(usage) => progress.tally.reported(usage.clone()),
                Piece::Text(_) | Piece::Thinking(_) | Piece::Chunk(_) | Piece::Call { .. } => works(permit, target),
                Piece::Message
                | Piece::ToolStarted { .. }
                | Piece::ToolArguments { .. }
                | Piece::ToolDone { .. }
                | Piece::HandoffStarted { .. }
                | Piece::HandoffDone { .. } => works(permit, target),
                Piece::Finish(_) => {}
            }
            let now = ids::now();
            let Some(event) = progress.assembler.take(piece, now).map_err(Fault::broken)? else { continue };
            progress.tally.wrote(event.delta_bytes());
            progress.pieces += 1;
            progress.outputs.apply(&event, now);
            let ended = progress.outputs.ended_by(&event).map(|entry| EventKind::EntryDone { entry: entry.clone() });
            self.live.log.push(now, [event].into_iter().chain(ended));
        }
        match progress.assembler.finish {
            Some(FinishReason::Error) => Err(Fault::broken(failures::broken_off(&target.name))),
            Some(_) | None => Ok(()),
        }
    }

    /// What the call used is counted, and the guard told how it went.
    fn settle(
        &mut self,
        target: &Target,
        prompt: &Prompt,
        permit: &mut Permit,
        result: Result<(), Fault>,
    ) -> Result<(), Miss> {
        let progress = &mut *self.progress;
        match result.as_ref().map_err(|fault| (fault.reached, fault.class)) {
            // No key, or no request that this provider takes.
            Err((Reached::NotSent, FaultClass::Permanent)) => progress.tally.unsent(),
            Err((Reached::NotSent | Reached::Refused, _)) => progress.tally.refused(),
            // An answer that is not streamed is written before its head comes.
            Err((Reached::Sent, _)) if self.question.stream => progress.tally.refused(),
            // Also where the head said success and no answer followed.
            Err((Reached::Sent | Reached::Answered, _)) => progress.tally.answered(),
            Ok(()) => {}
        }
        match progress.tally.end() {
            Some((usage, cost)) => {
                progress.purse.settle(usage.total_tokens, cost);
                permit.settle(usage.total_tokens);
                if !usage.estimated {
                    learn(target, prompt, &usage);
                }
            }
            None => {
                progress.purse.release();
                permit.settle(0);
            }
        }
        match result {
            Ok(()) => {
                works(permit, target);
                Ok(())
            }
            Err(fault) => Err(miss(target, permit, fault)),
        }
    }

    /// The caller's own key goes to the provider of the model that the caller named, and to no other.
    fn key(&self, target: &Target) -> Option<Secret> {
        let own = self.question.target.provider.name() == target.provider.name();
        self.plan.key.clone().filter(|_| own && target.caller_keys)
    }
}

fn works(permit: &mut Permit, target: &Target) {
    if permit.succeeded() {
        tracing::info!(model = target.name, "the model answers again");
    }
}

/// What follows from a call that failed. The guard is told.
fn miss(target: &Target, permit: &mut Permit, fault: Fault) -> Miss {
    let Fault { mut failure, class, reached, retry_after_ms, quota } = fault;
    if reached != Reached::Answered {
        permit.quota(&quota);
    }
    let next = match class {
        FaultClass::Permanent => {
            if reached == Reached::NotSent {
                permit.unused();
            }
            Next::End
        }
        FaultClass::TooLong => Next::Shorten,
        FaultClass::Transient => {
            if permit.failed() {
                let (model, reason) = (&target.name, failure.reason);
                tracing::warn!(model, ?reason, "the model keeps failing and is left alone for a while");
            }
            Next::Again { told: retry_after_ms.map(Duration::from_millis) }
        }
        FaultClass::RateLimited => {
            let told = retry_after_ms.map(Duration::from_millis);
            // Where the provider names no time our own holds, for this turn and for the caller who is to come back.
            let wait = permit.rate_limited(told).max(told);
            failure.retry_after_ms = failure.retry_after_ms.max(wait.map(failures::ms));
            Next::Again { told: wait }
        }
    };
    Miss { failure, next }
}

/// The estimate is checked against what came back.
fn learn(target: &Target, prompt: &Prompt, usage: &Usage) {
    if let Some(ratio) = target.estimator.learn(prompt.bytes, usage.prompt_tokens) {
        tracing::debug!(model = target.name, ratio, "prompt tokens, as reported over as estimated");
    }
}
