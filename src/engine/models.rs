//! The models that turns can ask: each with its provider, its guard, its price and what is known of its tokens.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    budgets::WindowBudget,
    retry::{Retries, RetryOptions},
    targets::Targets,
};
use crate::{
    domain::{Money, Usage, request::Fallback},
    upstream::{
        Card, Catalogue, Provider, Providers,
        estimate::Estimator,
        guard::{BreakerOptions, Guard, GuardOptions, Slots},
    },
};

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

/// What is said of a model, by one of its names.
#[derive(Debug, Clone, Default)]
pub struct ModelPolicy {
    /// In place of the provider's, for all names that are built in for it together; the lower where two of them have limits.
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
    /// One for all names of the model.
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
    others: Targets,
    /// The guards of models that have several names built in, by their own names. They stay: there are not many.
    of_several_names: Mutex<BTreeMap<String, Guard>>,
}

impl Target {
    /// What a usage of it costs; `None`: its price is not known.
    pub(super) fn cost(&self, usage: &Usage) -> Option<Money> {
        self.card.price.as_ref().map(|price| price.cost(usage))
    }
}

impl Models {
    pub(super) fn new(options: ModelOptions) -> Models {
        let slots = options.policies.iter().map(|(name, policy)| (name.clone(), Slots::new(policy.max_concurrent)));
        let mut models = Models {
            slots: slots.collect(),
            configured: BTreeMap::new(),
            others: Targets::default(),
            of_several_names: Mutex::default(),
            options,
        };
        let named = models.options.providers.iter().flat_map(|provider| {
            let policy = models.options.policies.get(provider.name());
            policy.into_iter().flat_map(|policy| policy.models.keys()).map(|model| {
                let name = models.options.providers.canonical(provider, model);
                (name.clone(), Arc::new(models.build(provider.clone(), model, name)))
            })
        });
        models.configured = named.collect();
        models.doubt_names();
        models
    }

    /// A name with a slash may be meant for a provider that is not there, and then goes to the default one.
    fn doubt_names(&self) {
        let of_models = self.options.policies.values().flat_map(|policy| policy.models.values());
        let lists =
            of_models.filter_map(|policy| policy.fallback_models.as_ref()).chain([&self.options.fallback_models]);
        for name in lists.flatten() {
            let prefix = name.split_once('/').map(|(prefix, _)| prefix);
            if prefix.is_some_and(|prefix| self.options.providers.get(prefix).is_none()) {
                let default = self.options.providers.default().name();
                tracing::info!(
                    "fallback model {name}: no provider has that name before the slash, so {default} will be asked for it"
                );
            }
        }
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
        // With and without its provider's name a model is one target. Under an alias it is another, with the same guard: the
        // provider is asked for the name that the caller chose, and its answer is priced and stored under that.
        match self.configured.get(&canonical) {
            Some(target) => target.clone(),
            None => self.others.get(&canonical, || self.build(provider, model, canonical.clone())),
        }
    }

    /// The name of a model that all its names with and without a provider lead to.
    pub(super) fn canonical(&self, name: &str) -> String {
        let (provider, model) = self.options.providers.route(name);
        self.options.providers.canonical(&provider, model)
    }

    /// A budget on a model, whichever of its names the operator chose: on all that are built in for it.
    pub(super) fn named(&self, budget: WindowBudget) -> WindowBudget {
        let all_names = |name: &String| {
            let (provider, model) = self.options.providers.route(name);
            let names = self.options.catalogue.names(provider.name(), model);
            if names.is_empty() {
                return vec![self.canonical(name)];
            }
            names.into_iter().map(|name| self.options.providers.canonical(&provider, name)).collect()
        };
        let models = budget.models.map(|models| models.iter().flat_map(all_names).collect());
        WindowBudget { models, ..budget }
    }

    /// The models that are asked when this one fails, in order.
    pub(super) fn fallbacks(&self, of: &Target, asked: &Fallback) -> Vec<String> {
        let names: &[String] = match asked {
            Fallback::Never => &[],
            Fallback::Models(names) => names,
            Fallback::Configured => self.configured_fallbacks(of.provider.name(), &of.model),
        };
        names.to_vec()
    }

    /// Those that the configuration names for a model of a provider.
    pub(super) fn configured_fallbacks(&self, provider: &str, model: &str) -> &[String] {
        let policy = self.options.policies.get(provider).and_then(|policy| policy.models.get(model));
        policy.and_then(|policy| policy.fallback_models.as_ref()).unwrap_or(&self.options.fallback_models)
    }

    /// How large its context window is: as configured, else as the provider said when it last listed its models, else as built
    /// in.
    pub(super) fn context_tokens(&self, target: &Target) -> Option<u64> {
        let told = self.options.providers.known_card(&target.provider, &target.model);
        target.card.context_tokens(told.and_then(|card| card.context_tokens))
    }

    fn build(&self, provider: Provider, model: &str, name: String) -> Target {
        let policy = self.policy(&provider);
        Target {
            name,
            card: self.options.catalogue.card(provider.name(), model),
            guard: self.guard(&provider, model),
            provider,
            model: model.to_owned(),
            estimator: Estimator::default(),
            caller_keys: policy.caller_keys,
        }
    }

    /// The guard of a model, the same for all names that are built in for it.
    fn guard(&self, provider: &Provider, model: &str) -> Guard {
        let names = self.options.catalogue.names(provider.name(), model);
        let [own, _, ..] = names.as_slice() else { return self.new_guard(provider, &[model]) };
        let own = self.options.providers.canonical(provider, own);
        let mut guards = self.of_several_names.lock().unwrap_or_else(PoisonError::into_inner);
        guards.entry(own).or_insert_with(|| self.new_guard(provider, &names)).clone()
    }

    fn new_guard(&self, provider: &Provider, names: &[&str]) -> Guard {
        let policy = self.policy(provider);
        let slots = self.slots.get(provider.name()).expect("every policy has slots").clone();
        let own = names.iter().filter_map(|name| policy.models.get(*name)).map(|policy| policy.limits);
        let requests_per_minute = own.clone().filter_map(|limits| limits.requests_per_minute).min();
        let tokens_per_minute = own.filter_map(|limits| limits.tokens_per_minute).min();
        let options = GuardOptions {
            requests_per_minute: requests_per_minute.or(policy.limits.requests_per_minute),
            tokens_per_minute: tokens_per_minute.or(policy.limits.tokens_per_minute),
            max_waiting: policy.max_waiting,
            breaker: self.options.breaker,
        };
        Guard::new(options, slots)
    }

    fn policy(&self, provider: &Provider) -> &ProviderPolicy {
        self.options.policies.get(provider.name()).expect("every provider has a policy")
    }
}
