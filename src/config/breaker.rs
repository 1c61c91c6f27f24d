use std::time::Duration;

use super::{reader::Reader, rule::Rule};

/// When a model that keeps failing is left alone for a while. Each model of a provider has a breaker of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Breaker {
    /// Whether there are breakers.
    pub enabled: bool,
    /// The share of failed calls within the window that opens it.
    pub failure_rate: f64,
    /// With fewer calls in the window it stays closed.
    pub min_calls: u32,
    /// How far back calls count.
    pub window: Duration,
    /// How long it stays open before one call is let through to try.
    pub open: Duration,
}

impl Breaker {
    pub(super) fn read(from: &mut Reader<'_>) -> Breaker {
        Breaker {
            enabled: from.get(
                "breaker.enabled",
                Rule::switch(),
                "true",
                "Leave a model that keeps failing alone for a while: turns are answered at once, or go to another model.",
            ),
            failure_rate: from.get(
                "breaker.failure_rate",
                Rule::share(0.05..=1.0),
                "0.5",
                "The share of failed calls to a model that makes it be left alone.",
            ),
            min_calls: from.get(
                "breaker.min_calls",
                Rule::count(1..=100_000),
                "10",
                "How many calls there must have been within the window for their share to count.",
            ),
            window: from.get("breaker.window", Rule::duration("1s", "1h"), "30s", "How far back calls count."),
            open: from.get(
                "breaker.open",
                Rule::duration("100ms", "1h"),
                "15s",
                "How long a model is left alone before one call tries it again.",
            ),
        }
    }
}
