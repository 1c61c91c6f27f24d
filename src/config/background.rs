use std::time::Duration;

use super::{reader::Reader, rule::Rule};

/// How background turns run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Background {
    /// How many may run at once.
    pub max_running: usize,
    /// How many of one provider.
    pub max_running_per_provider: usize,
    /// How many of one conversation, all its versions together.
    pub max_running_per_conversation: usize,
    /// How many may wait or run; more are refused as OVERLOADED.
    pub max_queued: usize,
    /// How often a turn may be tried that does not say it itself.
    pub max_attempts: u32,
    /// The longest wait before a second attempt.
    pub backoff_base: Duration,
    /// The longest wait of all.
    pub backoff_max: Duration,
}

impl Background {
    pub(super) fn read(from: &mut Reader<'_>) -> Background {
        Background {
            max_running: from.get(
                "background.max_running",
                Rule::count(1..=100_000),
                "64",
                "How many background turns may run at once.",
            ),
            max_running_per_provider: from.get(
                "background.max_running_per_provider",
                Rule::count(1..=100_000),
                "64",
                "How many background turns of one provider may run at once.",
            ),
            max_running_per_conversation: from.get(
                "background.max_running_per_conversation",
                Rule::count(1..=100_000),
                "4",
                "How many background turns of one conversation, all its versions together, may run at once.",
            ),
            max_queued: from.get(
                "background.max_queued",
                Rule::count(1..=10_000_000),
                "200000",
                "How many background turns may wait or run; more are refused as OVERLOADED.",
            ),
            max_attempts: from.get(
                "background.max_attempts",
                Rule::count(1..=100),
                "3",
                "How often a background turn is tried that does not say it itself.",
            ),
            backoff_base: from.get(
                "background.backoff_base",
                Rule::duration("1ms", "1h"),
                "2s",
                "The longest wait before a second attempt; it doubles with each further one.",
            ),
            backoff_max: from.get(
                "background.backoff_max",
                Rule::duration("1ms", "7d"),
                "10m",
                "The longest wait of all between two attempts.",
            ),
        }
    }
}
