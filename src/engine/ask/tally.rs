//! What a turn's calls used, model by model.

use std::sync::Arc;

use crate::{
    domain::{ModelUsage, Money, Turn, Usage},
    engine::models::Target,
};

/// What a turn's calls used.
#[derive(Default)]
pub(in crate::engine) struct Tally {
    models: Vec<ModelUsage>,
    call: Option<Call>,
}

/// A call under way.
struct Call {
    target: Arc<Target>,
    prompt_tokens: u64,
    /// The provider has begun to answer, or writes its answer whole before it begins.
    answered: bool,
    output_bytes: u64,
    reported: Option<Usage>,
}

/// What a turn used in the end.
#[derive(Default)]
pub(in crate::engine) struct Total {
    pub(in crate::engine) usage: Usage,
    pub(in crate::engine) cost: Option<Money>,
    pub(in crate::engine) models: Vec<ModelUsage>,
}

impl Tally {
    /// What a turn had used before it was taken up again; `own`: the model that it names.
    pub(in crate::engine) fn resumed(own: &str, turn: &Turn) -> Tally {
        let only = || ModelUsage { model: own.to_owned(), usage: turn.usage.clone(), cost: turn.cost, attempts: 1 };
        let models = if turn.models.is_empty() { vec![only()] } else { turn.models.clone() };
        Tally { models, call: None }
    }

    /// A call begins. `prompt_tokens`: an estimate, in case the provider never says.
    pub(super) fn begin(&mut self, target: &Arc<Target>, prompt_tokens: u64, streamed: bool) {
        match self.models.iter_mut().find(|model| model.model == target.name) {
            Some(model) => model.attempts += 1,
            None => self.models.push(ModelUsage {
                model: target.name.clone(),
                usage: Usage::default(),
                cost: None,
                attempts: 1,
            }),
        }
        let target = target.clone();
        self.call = Some(Call { target, prompt_tokens, answered: !streamed, output_bytes: 0, reported: None });
    }

    /// The head of an answer has come.
    pub(super) fn answered(&mut self) {
        if let Some(call) = &mut self.call {
            call.answered = true;
        }
    }

    /// More of the answer has come.
    pub(super) fn wrote(&mut self, bytes: usize) {
        if let Some(call) = &mut self.call {
            call.output_bytes += bytes as u64;
        }
    }

    /// The provider says what it used.
    pub(super) fn reported(&mut self, usage: Usage) {
        if let Some(call) = &mut self.call {
            call.reported = Some(usage);
        }
    }

    /// The call was not made at all.
    pub(super) fn unsent(&mut self) {
        if let Some(call) = self.call.take() {
            self.models
                .iter_mut()
                .filter(|model| model.model == call.target.name)
                .for_each(|model| model.attempts -= 1);
            self.models.retain(|model| model.attempts > 0);
        }
    }

    /// The call has used nothing: the provider refused it.
    pub(super) fn refused(&mut self) {
        self.call = None;
    }

    /// The call is over: what it used, as the provider said, else as far as can be told; and what that costs.
    pub(super) fn end(&mut self) -> Option<(Usage, Option<Money>)> {
        let call = self.call.take()?;
        let Call { target, prompt_tokens, answered, output_bytes, reported } = call;
        let usage = match reported {
            Some(usage) => usage,
            None if answered => estimated(prompt_tokens, target.estimator.estimate(output_bytes).tokens),
            None => return None,
        };
        let cost = target.cost(&usage);
        let model = self.models.iter_mut().find(|model| model.model == target.name)?;
        let had_cost = model.cost.is_some() || model.usage == Usage::default();
        model.usage.add(&usage);
        model.cost = cost.filter(|_| had_cost).map(|cost| model.cost.unwrap_or_default() + cost);
        Some((usage, cost))
    }

    /// Calls of all models so far.
    pub(super) fn attempts(&self) -> u32 {
        self.models.iter().map(|model| model.attempts).sum()
    }

    /// Calls of this model so far.
    pub(super) fn attempts_at(&self, name: &str) -> u32 {
        self.models.iter().find(|model| model.model == name).map_or(0, |model| model.attempts)
    }

    /// What was used so far, of a turn that named the model `own`. A cost is known only if that of every model is.
    pub(in crate::engine) fn so_far(&self, own: &str) -> Total {
        let mut usage = Usage::default();
        for model in &self.models {
            usage.add(&model.usage);
        }
        let used = self.models.iter().filter(|model| model.usage != Usage::default());
        let costs: Option<Vec<Money>> = used.map(|model| model.cost).collect();
        let cost = costs.filter(|costs| !costs.is_empty()).map(|costs| costs.into_iter().sum());
        let plain = self.attempts() <= 1 && self.models.iter().all(|model| model.model == own);
        let models = if plain { Vec::new() } else { self.models.clone() };
        Total { usage, cost, models }
    }
}

fn estimated(prompt_tokens: u64, completion_tokens: u64) -> Usage {
    let total_tokens = prompt_tokens.saturating_add(completion_tokens);
    Usage { prompt_tokens, completion_tokens, total_tokens, estimated: true, ..Usage::default() }
}
