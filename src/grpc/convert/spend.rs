//! What was used, what it cost, and what may be spent.

use super::{number, path::Path, violations::Violations};
use crate::{
    domain::{Budget, ModelUsage, Money, Spend, Usage},
    proto,
};

/// The currency of all prices.
const CURRENCY: &str = "USD";
const PICOS_PER_NANO: i64 = 1000;
const NANOS_PER_UNIT: i32 = 1_000_000_000;

/// An amount as the wire has it.
pub fn write_money(money: Money) -> proto::Money {
    // Less than 10¹² picos are less than 10⁹ nanos, and what is left is less than 1000.
    let nanos = i32::try_from(money.picos() / PICOS_PER_NANO).unwrap_or(0);
    let picos = i32::try_from(money.picos() % PICOS_PER_NANO).unwrap_or(0);
    proto::Money { currency_code: CURRENCY.to_owned(), units: money.units(), nanos, picos }
}

/// An amount that may not be negative.
pub(super) fn read_money(at: &Path<'_>, money: proto::Money, violations: &mut Violations) -> Option<Money> {
    let proto::Money { currency_code, units, nanos, picos } = money;
    if !currency_code.is_empty() && currency_code != CURRENCY {
        let at = at.field("currency_code");
        violations.add(&at, format_args!("must be \"{CURRENCY}\" or left out: all prices are in US dollars"));
        return None;
    }
    let whole = units >= 0 && (0..NANOS_PER_UNIT).contains(&nanos) && (0..1000).contains(&picos);
    if !whole {
        violations
            .add(at, format_args!("must have units of at least 0, nanos of 0 to 999999999 and picos of 0 to 999"));
        return None;
    }
    Some(Money::new(units, i64::from(nanos) * PICOS_PER_NANO + i64::from(picos)))
}

/// The inner `None`: it is left out.
pub(super) fn read_optional_money(
    at: &Path<'_>,
    money: Option<proto::Money>,
    violations: &mut Violations,
) -> Option<Option<Money>> {
    match money {
        Some(money) => read_money(at, money, violations).map(Some),
        None => Some(None),
    }
}

/// A ceiling as the wire has it.
pub(super) fn write_budget(budget: &Budget) -> proto::Budget {
    let Budget { max_tokens, max_cost } = budget;
    proto::Budget { max_tokens: max_tokens.map(number::write), max_cost: max_cost.map(write_money) }
}

/// A ceiling, which must be one: on tokens, on money, or on both.
pub(super) fn read_budget(at: &Path<'_>, budget: proto::Budget, violations: &mut Violations) -> Option<Budget> {
    let proto::Budget { max_tokens, max_cost } = budget;
    if max_tokens.is_none() && max_cost.is_none() {
        violations.add(at, format_args!("must have max_tokens, max_cost or both"));
        return None;
    }
    let tokens = match max_tokens {
        Some(tokens) if tokens < 1 => {
            violations.add(&at.field("max_tokens"), format_args!("must be at least 1, is {tokens}"));
            None
        }
        Some(tokens) => number::read(&at.field("max_tokens"), tokens, violations).map(Some),
        None => Some(None),
    };
    let cost = read_optional_money(&at.field("max_cost"), max_cost, violations);
    if cost == Some(Some(Money::ZERO)) {
        violations.add(&at.field("max_cost"), format_args!("must be more than nothing"));
    }
    Some(Budget { max_tokens: tokens?, max_cost: cost? })
}

/// What each model used, as the wire has it.
pub(super) fn write_model_usage(model: &ModelUsage) -> proto::ModelUsage {
    let ModelUsage { model, usage, cost, attempts } = model;
    proto::ModelUsage {
        model: model.clone(),
        usage: Some(write_usage(usage)),
        cost: cost.map(write_money),
        attempts: number::write_small(*attempts),
    }
}

/// What one model used.
pub(super) fn read_model_usage(
    at: &Path<'_>,
    model: proto::ModelUsage,
    violations: &mut Violations,
) -> Option<ModelUsage> {
    let proto::ModelUsage { model, usage, cost, attempts } = model;
    let usage = read_usage(&at.field("usage"), usage, violations);
    let cost = read_optional_money(&at.field("cost"), cost, violations);
    let attempts = number::read_small(&at.field("attempts"), attempts, 0, violations);
    Some(ModelUsage { model, usage: usage?, cost: cost?, attempts: attempts? })
}

/// What the turns of a history used together.
pub(super) fn read_spend(
    at: &Path<'_>,
    usage: Option<proto::Usage>,
    cost: Option<proto::Money>,
    unpriced_turn_count: i64,
    violations: &mut Violations,
) -> Option<Spend> {
    let usage = read_usage(&at.field("usage"), usage, violations);
    let cost = read_optional_money(&at.field("cost"), cost, violations);
    let unpriced_turns = number::read(&at.field("unpriced_turn_count"), unpriced_turn_count, violations);
    Some(Spend { usage: usage?, cost: cost?.unwrap_or_default(), unpriced_turns: unpriced_turns? })
}

/// What a turn used, as the wire has it.
pub fn write_usage(usage: &Usage) -> proto::Usage {
    let Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens,
        cached_tokens,
        reasoning_tokens,
        connector_tokens,
        connector_calls,
        estimated,
    } = usage;
    proto::Usage {
        prompt_tokens: number::write(*prompt_tokens),
        completion_tokens: number::write(*completion_tokens),
        total_tokens: number::write(*total_tokens),
        cached_tokens: number::write(*cached_tokens),
        reasoning_tokens: number::write(*reasoning_tokens),
        connector_tokens: number::write(*connector_tokens),
        connector_calls: connector_calls.iter().map(|(tool, n)| (tool.clone(), number::write(*n))).collect(),
        estimated: *estimated,
    }
}

/// What was used; nothing if it is left out.
pub(super) fn read_usage(at: &Path<'_>, usage: Option<proto::Usage>, violations: &mut Violations) -> Option<Usage> {
    let proto::Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens,
        cached_tokens,
        reasoning_tokens,
        connector_tokens,
        connector_calls,
        estimated,
    } = usage.unwrap_or_default();
    let connector_calls = connector_calls.into_iter();
    let connector_calls = connector_calls.map(|(tool, n)| {
        let n = number::read(&at.pair("connector_calls", &tool), n, violations)?;
        Some((tool, n))
    });
    let connector_calls = connector_calls.collect::<Vec<_>>().into_iter().collect::<Option<_>>();
    let mut count = |name, n| number::read(&at.field(name), n, violations);
    let prompt_tokens = count("prompt_tokens", prompt_tokens);
    let completion_tokens = count("completion_tokens", completion_tokens);
    let total_tokens = count("total_tokens", total_tokens);
    let cached_tokens = count("cached_tokens", cached_tokens);
    let reasoning_tokens = count("reasoning_tokens", reasoning_tokens);
    let connector_tokens = count("connector_tokens", connector_tokens);
    Some(Usage {
        prompt_tokens: prompt_tokens?,
        completion_tokens: completion_tokens?,
        total_tokens: total_tokens?,
        cached_tokens: cached_tokens?,
        reasoning_tokens: reasoning_tokens?,
        connector_tokens: connector_tokens?,
        connector_calls: connector_calls?,
        estimated,
    })
}
