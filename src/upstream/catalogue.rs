//! What a model costs and how much it can read: the built-in table, and what the configuration says otherwise.
//!
//! A model that is in neither has no price and no window: its usage is told without a cost, never with a guess.
//!
//! Not in any price here, because [`Usage`] does not tell them: `service_tier` priority (1.75 times the price), regional
//! endpoints (1.1 times), minutes of audio. Whoever is charged so writes the price into the configuration.

mod built_in;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use rust_decimal::Decimal;

use crate::domain::{Money, Usage};

const MILLIONTH: Decimal = Decimal::from_parts(1, 0, 0, false, 6);

/// What is known of a model; `None`: not known.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Card {
    /// The longest prompt and answer together, in tokens.
    pub context_tokens: Option<u64>,
    /// The configuration says so; else the provider may know better.
    pub context_is_configured: bool,
    /// What it costs.
    pub price: Option<Price>,
    /// The model is deprecated, and since this day (`YYYY-MM-DD`) the provider may answer that there is no such model.
    pub retires_on: Option<&'static str>,
}

/// What a model costs, in US dollars. No part of it is negative.
#[derive(Debug, Clone, PartialEq)]
pub struct Price {
    /// For a million tokens that it reads.
    pub input: Decimal,
    /// For a million tokens that it reads and that the provider had cached.
    pub cached_input: Decimal,
    /// For a million tokens that it writes, thinking included.
    pub output: Decimal,
    /// For one call of a tool that the provider runs, by the tool's name. A tool that is not here is charged nothing.
    pub connectors: BTreeMap<String, Decimal>,
    /// When the price was read: a year, a month or a day, such as `2024-11`.
    pub read_on: Cow<'static, str>,
    /// The price is not from the provider's own price list, or it is a preview's: it may change without notice.
    pub provisional: bool,
}

/// What the configuration says of a model. `None`: the built-in table holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Override {
    /// The longest prompt and answer together, in tokens.
    pub context_tokens: Option<u64>,
    /// What it costs.
    pub price: Option<Price>,
}

/// What is known of all models. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    overrides: Arc<HashMap<String, HashMap<String, Override>>>,
}

impl Catalogue {
    /// The built-in table, and what the configuration says of (provider, model) before it. The last word on a model counts.
    pub fn new(overrides: Vec<(String, String, Override)>) -> Catalogue {
        let mut by_provider: HashMap<String, HashMap<String, Override>> = HashMap::new();
        for (provider, model, said) in overrides {
            by_provider.entry(provider).or_default().insert(model, said);
        }
        Catalogue { overrides: Arc::new(by_provider) }
    }

    /// What is known of a model under the name by which it is asked for, its own or an alias.
    pub fn card(&self, provider: &str, model: &str) -> Card {
        let mut card = built_in::card(provider, model);
        let said = self.overrides.get(provider).and_then(|models| models.get(model));
        if let Some(Override { context_tokens, price }) = said {
            card.context_tokens = context_tokens.or(card.context_tokens);
            card.context_is_configured = context_tokens.is_some();
            card.price = price.clone().or(card.price);
        }
        card
    }

    /// All names that are built in for the model of this name, its own first, then its aliases; none if no such model is.
    pub fn names(&self, provider: &str, model: &str) -> Vec<&'static str> {
        built_in::names(provider, model)
    }
}

impl Card {
    /// Its context window, where the provider says `told`: as configured, else as told, else as built in.
    pub fn context_tokens(&self, told: Option<u64>) -> Option<u64> {
        if self.context_is_configured { self.context_tokens } else { told.or(self.context_tokens) }
    }
}

impl Price {
    /// What this usage costs: tokens as they were read, cached or not, and written; what the provider's tools fed to the model
    /// as input; and the calls of these tools. Exact, and rounded to a picodollar once, at the end.
    ///
    /// Usage comes from outside: more cached tokens than there were in the prompt are not believed, and an amount that no
    /// [`Money`] holds is the most that [`Money::new`] does.
    pub fn cost(&self, usage: &Usage) -> Money {
        let Usage {
            prompt_tokens,
            completion_tokens,
            total_tokens: _,
            cached_tokens,
            reasoning_tokens: _,
            connector_tokens,
            connector_calls,
            estimated: _,
        } = usage;
        let cached = cached_tokens.min(prompt_tokens);
        let read = (prompt_tokens - cached).saturating_add(*connector_tokens);
        let tokens = [(read, self.input), (*cached, self.cached_input), (*completion_tokens, self.output)];
        let calls = connector_calls.iter().map(|(name, calls)| {
            let price = self.connectors.get(name).copied().unwrap_or_default();
            Decimal::from(*calls).checked_mul(price)
        });
        // For the price of a million tokens a token costs so many millionths: nothing is divided, so nothing is lost.
        tokens
            .into_iter()
            .map(|(tokens, price)| Decimal::from(tokens).checked_mul(price)?.checked_mul(MILLIONTH))
            .chain(calls)
            .try_fold(Decimal::ZERO, |sum, part| sum.checked_add(part?))
            .and_then(Money::from_decimal)
            .unwrap_or_else(|| Money::new(i64::MAX, 999_999_999_999))
    }
}
