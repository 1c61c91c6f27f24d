use std::time::Duration;

use rust_decimal::Decimal;

use super::{key::Key, provider::Provider, reader::Reader, rule::Rule};

/// A ceiling for what all turns together may spend in a window of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// What errors call it. No two budgets have the same name.
    pub name: String,
    /// How long a window is. Windows follow each other from the Unix epoch on, in UTC: a window of 1d begins at midnight.
    pub window: Duration,
    /// The most tokens of input and output in one window. One of the two ceilings is always set.
    pub max_tokens: Option<u64>,
    /// The most US dollars in one window.
    pub max_cost: Option<Decimal>,
    /// Which turns count.
    pub covers: Covers,
}

/// Which turns a budget counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Covers {
    /// Every turn.
    All,
    /// What this model answers, under any of the names that the program knows for it; one that it does not know is a model of
    /// its own.
    Model(String),
    /// What this provider's models answer.
    Provider(String),
}

/// What errors call the budgets that callers set.
const OWN_NAMES: [&str; 2] = ["turn", "tree"];

impl Budget {
    pub(super) fn read_all(from: &mut Reader<'_>, providers: &[Provider]) -> Vec<Budget> {
        let all = Key::from("budgets");
        let mut budgets: Vec<Budget> = Vec::new();
        for index in 0..from.array_len(&all) {
            let Some(budget) = Budget::read(from, all.index(index), providers) else { continue };
            if budgets.iter().any(|other| other.name == budget.name) {
                let text = format!("is \"{}\", which another budget is called, too", budget.name);
                from.reject(&all.index(index).name("name"), text);
            }
            budgets.push(budget);
        }
        budgets
    }

    /// None after a fault that leaves it without a name or a window.
    fn read(from: &mut Reader<'_>, key: Key, providers: &[Provider]) -> Option<Budget> {
        let mut section = from.named(key.clone());
        let name = section.required("name", Rule::label(), None, "What errors call the budget.");
        if let Some(name) = name.as_deref().filter(|name| OWN_NAMES.contains(name)) {
            from.reject(&key.name("name"), format!("is \"{name}\", as errors call the budget of a {name}"));
        }
        let mut section = from.named(key.clone());
        let window = section.required("window", Rule::window(), None, "How long a window is.");
        let max_tokens =
            section.optional("max_tokens", Rule::count(1..=1_000_000_000_000), "The most tokens a window.");
        let max_cost = section.optional("max_cost", Rule::dollars(), "The most US dollars a window.");
        let model = section.optional(
            "model",
            Rule::model(),
            "The only model it covers, under any of the names that are built in for it.",
        );
        let provider = section.optional("provider", Rule::provider(), "The only provider it covers.");
        if !section.names("max_tokens") && !section.names("max_cost") {
            from.reject(&key, "has neither max_tokens nor max_cost");
        }
        let covers = match (model, provider) {
            (None, None) => Covers::All,
            (Some(model), None) => Covers::Model(model),
            (None, Some(provider)) => Covers::Provider(provider),
            (Some(_), Some(provider)) => {
                from.reject(&key.name("provider"), "cannot be set beside model: a budget covers one of them, or all");
                Covers::Provider(provider)
            }
        };
        if let Covers::Provider(name) = &covers
            && !providers.iter().any(|provider| provider.name == *name)
        {
            from.reject(&key.name("provider"), Provider::unknown(name, providers));
        }
        Some(Budget { name: name?, window: window?, max_tokens, max_cost, covers })
    }
}
