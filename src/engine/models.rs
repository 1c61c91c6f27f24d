//! The models that turns can ask: each with its provider, its guard, its price and what is known of its tokens.

use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc, time::Duration};

use moka::sync::Cache;

use super::{
    budgets::WindowBudget,
    request::Fallback,
    retry::{Retries, RetryOptions},
};
use crate::{
    domain::{Money, Usage},
    upstream::{
        Card, Catalogue, Provider, Providers,
        estimate::Estimator,
        guard::{BreakerOptions, Guard, GuardOptions, Slots},
    },
};

/// Callers name models as they like: so many are remembered, the others are found anew.
const REMEMBERED: u64 = 4096;
/// What a guard and an estimator have learned is worth nothing after so long without use.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(15 * 60);

/// How models are reached.
#[derive(Debug, Clone)]
pub struct ModelOptions {
    /// The providers.
    pub providers: Providers,
    /// Prices and context windows.
    pub catalogue: Catalogue,
    /// What is allowed to each provider, by name. All of `providers` must be there.
    pub policies: BTreeMap<String, ProviderPolicy>,
    /// When a model that fails is left alone.
    pub breaker: BreakerOptions,
    /// When a call is made again.
    pub retry: RetryOptions,
    /// Asked when a model without a list of its own fails.
    pub fallback_models: Vec<String>,
}

/// What is allowed to a provider.
#[derive(Debug, Clone)]
pub struct ProviderPolicy {
    /// Calls at once.
    pub max_concurrent: NonZeroUsize,
    /// Turns that may wait, for each model.
    pub max_waiting: usize,
    /// For each model that says nothing else.
    pub limits: RateLimits,
    /// Callers may bring keys of their own.
    pub caller_keys: bool,
    /// What is said of some of its models, by the provider's name of them.
    pub models: BTreeMap<String, ModelPolicy>,
}

/// Our own limits on a model. `None`: none but the provider's.
#[derive(Debug, Clone, Copy, Default)]
pub struct RateLimits {
    /// Requests a minute.
    pub requests_per_minute: Option<std::num::NonZeroU32>,
    /// Tokens a minute, read and written.
    pub tokens_per_minute: Option<std::num::NonZeroU64>,
}

/// What is said of a model.
#[derive(Debug, Clone, Default)]
pub struct ModelPolicy {
    /// In place of the provider's.
    pub limits: RateLimits,
    /// In place of the list for all; empty: none.
    pub fallback_models: Option<Vec<String>>,
}

/// A model that can be asked.
#[derive(Debug)]
pub(super) struct Target {
    /// As turns name it.
    pub(super) name: String,
    pub(super) provider: Provider,
    /// As the provider names it.
    pub(super) model: String,
    pub(super) guard: Guard,
    pub(super) estimator: Estimator,
    /// Callers may bring keys of their own.
    pub(super) caller_keys: bool,
    card: Card,
}

/// All of them.
pub(super) struct Models {
    options: ModelOptions,
    slots: BTreeMap<String, Arc<Slots>>,
    /// Those that the configuration says something of: their limits must not be forgotten.
    configured: BTreeMap<String, Arc<Target>>,
    others: Cache<String, Arc<Target>>,
}

impl Target {
    /// What a usage of it costs; `None`: its price is not known.
    pub(super) fn cost(&self, usage: &Usage) -> Option<Money> {
        self.card.price.as_ref().map(|price| price.cost(usage))
    }

    pub(super) fn card(&self) -> &Card {
        &self.card
    }
}

impl Models {
    pub(super) fn new(options: ModelOptions) -> Models {
        let slots = options.policies.iter().map(|(name, policy)| (name.clone(), Slots::new(policy.max_concurrent)));
        let others = Cache::builder().max_capacity(REMEMBERED).time_to_idle(FORGOTTEN_AFTER).build();
        let mut models = Models { slots: slots.collect(), configured: BTreeMap::new(), others, options };
        let named = models.options.providers.iter().flat_map(|provider| {
            let policy = models.options.policies.get(provider.name());
            policy.into_iter().flat_map(|policy| policy.models.keys()).map(|model| {
                let name = models.options.providers.canonical(provider, model);
                (name.clone(), Arc::new(models.build(provider.clone(), model, name)))
            })
        });
        models.configured = named.collect();
        models
    }

    pub(super) fn providers(&self) -> &Providers {
        &self.options.providers
    }

    pub(super) fn options(&self) -> &ModelOptions {
        &self.options
    }

    pub(super) fn retries(&self) -> Retries {
        Retries::new(&self.options.retry)
    }

    /// The model of this name: `name` of the default provider, or `provider/name`.
    pub(super) fn target(&self, name: &str) -> Arc<Target> {
        let (provider, model) = self.options.providers.route(name);
        let canonical = self.options.providers.canonical(&provider, model);
        // All names of a model lead to one guard.
        match self.configured.get(&canonical) {
            Some(target) => target.clone(),
            None => {
                let build = || Arc::new(self.build(provider, model, canonical.clone()));
                self.others.get_with_by_ref(&canonical, build)
            }
        }
    }

    /// A budget on a model, whichever of its names the operator chose.
    pub(super) fn named(&self, budget: WindowBudget) -> WindowBudget {
        let canonical = |name: String| {
            let (provider, model) = self.options.providers.route(&name);
            self.options.providers.canonical(&provider, model)
        };
        WindowBudget { model: budget.model.map(canonical), ..budget }
    }

    /// The models that are asked when this one fails, in order.
    pub(super) fn fallbacks(&self, of: &Target, asked: &Fallback) -> Vec<String> {
        let names: &[String] = match asked {
            Fallback::Never => &[],
            Fallback::Models(names) => names,
            Fallback::Configured => self
                .model_policy(of)
                .and_then(|policy| policy.fallback_models.as_ref())
                .unwrap_or(&self.options.fallback_models),
        };
        names.to_vec()
    }

    /// How large its context window is: as configured or built in, else as the provider has said lately.
    pub(super) fn context_tokens(&self, target: &Target) -> Option<u64> {
        let told = || self.options.providers.known_card(&target.provider, &target.model)?.context_tokens;
        target.card.context_tokens.or_else(told)
    }

    fn model_policy(&self, of: &Target) -> Option<&ModelPolicy> {
        self.options.policies.get(of.provider.name())?.models.get(&of.model)
    }

    fn build(&self, provider: Provider, model: &str, name: String) -> Target {
        let policy = self.options.policies.get(provider.name()).expect("every provider has a policy");
        let slots = self.slots.get(provider.name()).expect("every policy has slots").clone();
        let own = policy.models.get(model).map(|policy| policy.limits).unwrap_or_default();
        let options = GuardOptions {
            requests_per_minute: own.requests_per_minute.or(policy.limits.requests_per_minute),
            tokens_per_minute: own.tokens_per_minute.or(policy.limits.tokens_per_minute),
            max_waiting: policy.max_waiting,
            breaker: self.options.breaker,
        };
        Target {
            name,
            card: self.options.catalogue.card(provider.name(), model),
            provider,
            model: model.to_owned(),
            guard: Guard::new(options, slots),
            estimator: Estimator::default(),
            caller_keys: policy.caller_keys,
        }
    }
}
