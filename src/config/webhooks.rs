use std::time::Duration;

use super::{key::Key, reader::Reader, rule::Rule, secret::SecretSource};

/// How endpoints are told of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhooks {
    /// What callbacks of turns are signed with; None: there are no such callbacks.
    pub callback_secret: Option<SecretSource>,
    /// The longest that an endpoint may take to answer.
    pub timeout: Duration,
    /// How many deliveries of one endpoint may be under way at once, each of another tree.
    pub concurrency: usize,
    /// The wait before the second attempt is at most this; the bound doubles with each one.
    pub backoff_base: Duration,
    /// No wait is longer.
    pub backoff_max: Duration,
    /// An endpoint that has failed for so long with its oldest change is disabled.
    pub give_up_after: Duration,
}

impl Webhooks {
    pub(super) fn read(from: &mut Reader<'_>) -> Webhooks {
        let callback_secret = SecretSource::read_callback_secret(&mut from.documented(Key::from("webhooks")));
        let webhooks = Webhooks {
            callback_secret,
            timeout: from.get(
                "webhooks.timeout",
                Rule::duration("100ms", "5m"),
                "15s",
                "The longest that an endpoint may take to answer. What it may reach is set by tools.http.allow.",
            ),
            concurrency: from.get(
                "webhooks.concurrency",
                Rule::count(1..=1024),
                "16",
                "How many deliveries of one endpoint may be under way at once, each of another conversation tree.",
            ),
            backoff_base: from.get(
                "webhooks.backoff_base",
                Rule::duration("1ms", "1h"),
                "5s",
                "The longest wait before the second attempt; it doubles with each one, and a random part of it is waited.",
            ),
            backoff_max: from.get(
                "webhooks.backoff_max",
                Rule::duration("1ms", "1d"),
                "6h",
                "The longest wait before any attempt, also if the endpoint asks for more (Retry-After).",
            ),
            give_up_after: from.get(
                "webhooks.give_up_after",
                Rule::duration("1s", "30d"),
                "3d",
                "An endpoint that has failed for so long with its oldest change is disabled, and a callback given up.",
            ),
        };
        let base = Key::from("webhooks.backoff_base");
        if webhooks.backoff_base > webhooks.backoff_max && from.is_named(&base) {
            from.reject(&base, "must not be longer than webhooks.backoff_max");
        } else if webhooks.backoff_base > webhooks.backoff_max {
            from.reject(&Key::from("webhooks.backoff_max"), "must not be shorter than webhooks.backoff_base");
        }
        webhooks
    }
}
