use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::{key::Key, provider, rule::Rule, section::Section};

/// What is set about one model of a provider, by one of its names. What is not set here, the program may know by itself.
///
/// Calls and tokens a minute are limits on the model: they hold for all names together that the program knows for it, and if two
/// of them have limits, the lower ones. All else holds for the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// How many tokens of history and answer it takes together.
    pub context_tokens: Option<u64>,
    /// What it costs.
    pub price: Option<Price>,
    /// How many calls a minute it may get, beside the limit of its provider.
    pub requests_per_minute: Option<u32>,
    /// How many tokens a minute it may get, beside the limit of its provider.
    pub tokens_per_minute: Option<u64>,
    /// The models that take over when it fails. None: the list that holds for all models.
    pub fallback_models: Option<Vec<String>>,
}

/// What a model costs, in US dollars, exact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// A million tokens of input.
    pub input: Decimal,
    /// A million tokens of input that the provider had in its cache; the same as `input` if not set.
    pub cached_input: Decimal,
    /// A million tokens of output.
    pub output: Decimal,
    /// One call of a connector, by its name.
    pub connectors: BTreeMap<String, Decimal>,
}

impl Model {
    /// The models of the provider that stands at `provider`.
    pub(super) fn read_all(provider: &mut Section<'_, '_>) -> BTreeMap<String, Model> {
        let all = provider.key().name("models");
        let from = provider.reader();
        let names = from.sections_in(&all);
        let models = names.into_iter().map(|name| {
            let key = all.name(&name);
            if let Err(why) = Rule::model().parse(&name) {
                from.reject(&key, format!("is no name of a model; it {why}"));
            }
            let model = Model::read(&mut from.named(key));
            (name, model)
        });
        models.collect()
    }

    fn read(section: &mut Section<'_, '_>) -> Model {
        Model {
            context_tokens: section.optional(
                "context_tokens",
                Rule::count(1..=1_000_000_000),
                "How many tokens of history and answer it takes together.",
            ),
            price: Price::read(section),
            requests_per_minute: section.optional(
                "requests_per_minute",
                Rule::count(provider::PER_MINUTE),
                "How many calls a minute it may get, under all names together that are built in for it.",
            ),
            tokens_per_minute: section.optional(
                "tokens_per_minute",
                Rule::count(provider::TOKENS_PER_MINUTE),
                "How many tokens a minute it may get, under all names together that are built in for it.",
            ),
            fallback_models: section.list("fallback_models", Rule::model(), "The models that take over when it fails."),
        }
    }
}

impl Price {
    /// None if nothing is set, or after a fault.
    fn read(section: &mut Section<'_, '_>) -> Option<Price> {
        let input = section.optional("input_price", Rule::dollars(), "US dollars for a million tokens of input.");
        let cached_input = section.optional("cached_input_price", Rule::dollars(), "The same for cached input.");
        let output = section.optional("output_price", Rule::dollars(), "US dollars for a million tokens of output.");
        let key = section.key().name("connector_prices");
        let connectors = connectors(section, &key);
        let names = ["input_price", "output_price", "cached_input_price"].map(|name| section.names(name));
        match names {
            [true, true, _] => {}
            [false, false, false] if connectors.is_empty() => {}
            [has_input, ..] => {
                let missing = if has_input { "output_price" } else { "input_price" };
                let model = section.key().clone();
                let text = format!("has a price, but no {missing}; it needs input_price and output_price");
                section.reader().reject(&model, text);
            }
        }
        let (input, output) = (input?, output?);
        Some(Price { input, cached_input: cached_input.unwrap_or(input), output, connectors })
    }
}

fn connectors(section: &mut Section<'_, '_>, key: &Key) -> BTreeMap<String, Decimal> {
    let from = section.reader();
    let names = from.values_in(key);
    let mut prices = from.named(key.clone());
    let read = names.into_iter().filter_map(|name| {
        let price = prices.optional(&name, Rule::dollars(), "US dollars for one call of the connector.")?;
        Some((name, price))
    });
    read.collect()
}
