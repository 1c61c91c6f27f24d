use std::time::Duration;

use super::{key::Key, reader::Reader, rule::Rule};

/// When a turn asks its provider again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// How often a model is asked for one turn, the first time included. 1: never again.
    pub max_attempts: u32,
    /// The wait before the second attempt is at most this; the bound doubles with each one.
    pub base_delay: Duration,
    /// No wait is longer, unless the provider says how long.
    pub max_delay: Duration,
    /// No attempt begins later than this after the first one has failed.
    pub max_elapsed: Duration,
}

impl Retry {
    pub(super) fn read(from: &mut Reader<'_>) -> Retry {
        let retry = Retry {
            max_attempts: from.get(
                "retry.max_attempts",
                Rule::count(1..=20),
                "4",
                "How often a model is asked for one turn when it fails in a way that may pass, the first time included. 1: \
                 never again.",
            ),
            base_delay: from.get(
                "retry.base_delay",
                Rule::duration("1ms", "1m"),
                "500ms",
                "The longest wait before the second attempt; it doubles with each one, and a random part of it is waited.",
            ),
            max_delay: from.get(
                "retry.max_delay",
                Rule::duration("1ms", "10m"),
                "30s",
                "The longest wait before any attempt, unless the provider says how long.",
            ),
            max_elapsed: from.get(
                "retry.max_elapsed",
                Rule::duration("0s", "1h"),
                "60s",
                "How long after the first attempt has failed another one may begin.",
            ),
        };
        let base = Key::from("retry.base_delay");
        if retry.base_delay > retry.max_delay && from.is_named(&base) {
            from.reject(&base, "must not be longer than retry.max_delay");
        } else if retry.base_delay > retry.max_delay {
            from.reject(&Key::from("retry.max_delay"), "must not be shorter than retry.base_delay");
        }
        retry
    }
}
