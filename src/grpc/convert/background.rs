//! Turns that outlive their calls: how they are asked for, how far they have come, and the events that only they have.

use std::sync::Arc;

use prost_types::Duration;

use super::{failure, number, path::Path, rules, time, violations::Violations};
use crate::{
    domain::{
        ConversationId, EventKind, JobState, TurnId,
        request::{Background, Concurrency, Expiry},
        turn::BackgroundState,
    },
    proto::{self, ConcurrencyPolicy, event::Kind, set_expiration_request, start_request},
};

/// What a request for a turn says of how it outlives its call.
pub(super) struct Fields {
    pub(super) background: bool,
    pub(super) background_options: Option<proto::BackgroundOptions>,
    pub(super) callback_url: String,
    pub(super) concurrency_policy: i32,
}

/// The same, read.
pub(super) struct Read {
    pub(super) background: Option<Background>,
    pub(super) callback_url: Option<String>,
    pub(super) concurrency: Concurrency,
}

const MAX_CALLBACK_URL: usize = 2048;
const MAX_FAIRNESS_KEY: usize = 128;
const PRIORITIES: std::ops::RangeInclusive<i32> = -100..=100;
const MAX_ATTEMPTS: u32 = 100;
/// A year of 366 days, a hundred times.
const MAX_TTL_SECONDS: i64 = 100 * 366 * 86_400;

impl Fields {
    /// `store`: the turn is kept.
    pub(super) fn read(self, at: &Path<'_>, store: bool, violations: &mut Violations) -> Option<Read> {
        let Fields { background, background_options, callback_url, concurrency_policy } = self;
        let concurrency = read_policy(&at.field("concurrency_policy"), concurrency_policy, violations);
        let queued = background || concurrency == Some(Concurrency::Enqueue);
        if background_options.is_some() && !queued {
            let at = at.field("background_options");
            violations.add(&at, format_args!("is of a background turn: set `background`, or leave it out"));
        }
        let needs_store = [
            ("background", background),
            ("callback_url", !callback_url.is_empty()),
            ("concurrency_policy", concurrency.is_some_and(|policy| policy != Concurrency::Fork)),
        ];
        for (field, given) in needs_store {
            if given && !store {
                let text = "with `store: false` there is nothing that could outlive the call: leave out one of them";
                violations.add(&at.field(field), format_args!("{text}"));
            }
        }
        check_callback(&at.field("callback_url"), &callback_url, violations);
        let options = read_options(&at.field("background_options"), background_options, violations);
        Some(Read {
            background: if queued { Some(Background { waits: !background, ..options? }) } else { None },
            callback_url: rules::given(callback_url),
            concurrency: concurrency?,
        })
    }
}

/// A turn that replaces another, or waits for it, has its order from that one.
pub(super) fn check_head(at: &Path<'_>, require_head: bool, policy: i32, violations: &mut Violations) {
    let fork = matches!(
        ConcurrencyPolicy::try_from(policy),
        Ok(ConcurrencyPolicy::Unspecified | ConcurrencyPolicy::Fork) | Err(_)
    );
    if require_head && !fork {
        let text = "must be left out with this `concurrency_policy`, which says what happens when somebody was faster";
        violations.add(&at.field("require_head"), format_args!("{text}"));
    }
}

/// What a turn would wait for has no entries yet.
pub(super) fn check_restart(at: &Path<'_>, policy: i32, violations: &mut Violations) {
    if policy == i32::from(ConcurrencyPolicy::Enqueue) {
        let text = "must not be ENQUEUE: the version that is waited for has no such entry yet; wait for its turn first";
        violations.add(&at.field("concurrency_policy"), format_args!("{text}"));
    }
}

fn read_policy(at: &Path<'_>, number: i32, violations: &mut Violations) -> Option<Concurrency> {
    match ConcurrencyPolicy::try_from(number) {
        Ok(ConcurrencyPolicy::Unspecified | ConcurrencyPolicy::Fork) => Some(Concurrency::Fork),
        Ok(ConcurrencyPolicy::Enqueue) => Some(Concurrency::Enqueue),
        Ok(ConcurrencyPolicy::Interrupt) => Some(Concurrency::Interrupt),
        Ok(ConcurrencyPolicy::Rollback) => Some(Concurrency::Rollback),
        Err(_) => {
            rules::unknown_number(at, number, violations);
            None
        }
    }
}

fn write_policy(policy: Concurrency) -> ConcurrencyPolicy {
    match policy {
        Concurrency::Fork => ConcurrencyPolicy::Fork,
        Concurrency::Enqueue => ConcurrencyPolicy::Enqueue,
        Concurrency::Interrupt => ConcurrencyPolicy::Interrupt,
        Concurrency::Rollback => ConcurrencyPolicy::Rollback,
    }
}

fn read_options(
    at: &Path<'_>,
    options: Option<proto::BackgroundOptions>,
    violations: &mut Violations,
) -> Option<Background> {
    let proto::BackgroundOptions { not_before, priority, max_attempts, fairness_key } = options.unwrap_or_default();
    let not_before = time::read_optional(&at.field("not_before"), not_before, violations);
    check_priority(&at.field("priority"), priority, violations);
    let attempts = number::read_small(&at.field("max_attempts"), max_attempts, 0, violations);
    if attempts.is_some_and(|attempts| attempts > MAX_ATTEMPTS) {
        violations.add(&at.field("max_attempts"), format_args!("must be at most {MAX_ATTEMPTS}, is {max_attempts}"));
    }
    rules::at_most(&at.field("fairness_key"), &fairness_key, MAX_FAIRNESS_KEY, violations);
    let max_attempts = Some(attempts?).filter(|attempts| *attempts > 0);
    Some(Background { not_before: not_before?, priority, max_attempts, waits: false, fairness_key })
}

/// Which turns come first.
pub(super) fn check_priority(at: &Path<'_>, priority: i32, violations: &mut Violations) {
    if !PRIORITIES.contains(&priority) {
        violations.add(at, format_args!("must be -100 to 100, is {priority}"));
    }
}

/// A callback's address. Whether it may be reached is for those to say who would.
fn check_callback(at: &Path<'_>, url: &str, violations: &mut Violations) {
    if !url.is_empty() {
        http_url(at, url, MAX_CALLBACK_URL, violations);
    }
}

/// An http or https URL.
pub(super) fn http_url(at: &Path<'_>, url: &str, max: usize, violations: &mut Violations) {
    rules::at_most(at, url, max, violations);
    let is_http = url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !is_http {
        violations.add(at, format_args!("must be an http or https URL with a host"));
    }
}

/// When the tree that a Start begins goes by itself. `store`: there will be one.
pub(super) fn read_start_expiration(
    at: &Path<'_>,
    expiration: Option<start_request::Expiration>,
    store: bool,
    violations: &mut Violations,
) -> Option<Option<Expiry>> {
    let field = match &expiration {
        Some(start_request::Expiration::ExpireTime(_)) => "expire_time",
        Some(start_request::Expiration::Ttl(_)) => "ttl",
        None => return Some(None),
    };
    if !store {
        violations.add(&at.field(field), format_args!("with `store: false` nothing is kept: leave out one of them"));
    }
    read_expiration(at, expiration, violations)
}

fn read_expiration(
    at: &Path<'_>,
    expiration: Option<start_request::Expiration>,
    violations: &mut Violations,
) -> Option<Option<Expiry>> {
    match expiration {
        None => Some(None),
        Some(start_request::Expiration::ExpireTime(when)) => {
            Some(Some(Expiry::At(time::read(&at.field("expire_time"), when, violations)?)))
        }
        Some(start_request::Expiration::Ttl(ttl)) => Some(Some(read_ttl(&at.field("ttl"), ttl, violations)?)),
    }
}

/// When a tree goes by itself from now on; the inner `None`: never.
pub(super) fn read_new_expiration(
    at: &Path<'_>,
    expiration: Option<set_expiration_request::Expiration>,
    violations: &mut Violations,
) -> Option<Option<Expiry>> {
    let same = expiration.map(|expiration| match expiration {
        set_expiration_request::Expiration::ExpireTime(when) => start_request::Expiration::ExpireTime(when),
        set_expiration_request::Expiration::Ttl(ttl) => start_request::Expiration::Ttl(ttl),
    });
    read_expiration(at, same, violations)
}

fn read_ttl(at: &Path<'_>, ttl: Duration, violations: &mut Violations) -> Option<Expiry> {
    let Duration { seconds, nanos } = ttl;
    if !(1..=MAX_TTL_SECONDS).contains(&seconds) || !(0..1_000_000_000).contains(&nanos) {
        violations.add(at, format_args!("must be 1 s to 100 years, is {seconds} s and {nanos} ns"));
        return None;
    }
    Some(Expiry::After { ms: seconds.unsigned_abs() * 1000 + u64::from(nanos.unsigned_abs()) / 1_000_000 })
}

/// A span of time from nothing to `max_seconds`, in milliseconds.
pub(super) fn read_wait(
    at: &Path<'_>,
    wait: Option<Duration>,
    max_seconds: i64,
    violations: &mut Violations,
) -> Option<std::time::Duration> {
    let Duration { seconds, nanos } = wait.unwrap_or_default();
    if !(0..=max_seconds).contains(&seconds) || !(0..1_000_000_000).contains(&nanos) {
        violations.add(at, format_args!("must be 0 s to {max_seconds} s, is {seconds} s and {nanos} ns"));
        return None;
    }
    Some(std::time::Duration::new(seconds.unsigned_abs(), nanos.unsigned_abs()))
}

/// How far a background turn has come.
pub(super) fn write_state(state: &BackgroundState) -> proto::BackgroundState {
    let BackgroundState { job, max_attempts, batch } = state;
    let JobState { attempt, running: _, not_before, after, error } = job;
    proto::BackgroundState {
        attempt: number::write_small(*attempt),
        max_attempts: number::write_small(*max_attempts),
        not_before: not_before.map(time::write),
        waits_for_turn_id: after.map(|id| id.to_string()).unwrap_or_default(),
        last_error: error.as_ref().map(failure::write),
        batch_id: batch.map(|(id, _)| id.to_string()).unwrap_or_default(),
        batch_index: batch.map(|(_, index)| number::write_small(index)).unwrap_or_default(),
    }
}

/// The events that only background turns have, and those of two turns on one conversation. `None`: it is none of them.
pub(super) fn write_event(kind: &EventKind) -> Option<Kind> {
    Some(match kind {
        EventKind::TurnQueued { conversation_id, not_before, after } => Kind::TurnQueued(proto::TurnQueued {
            conversation_id: conversation_id.to_string(),
            not_before: not_before.map(time::write),
            waits_for_turn_id: after.map(|id| id.to_string()).unwrap_or_default(),
        }),
        EventKind::TurnResumed { attempt, kept_outputs } => Kind::TurnResumed(proto::TurnResumed {
            attempt: number::write_small(*attempt),
            kept_output_count: number::write_small(*kept_outputs),
        }),
        EventKind::TurnRequeued { attempt, not_before, failure } => Kind::TurnRequeued(proto::TurnRequeued {
            attempt: number::write_small(*attempt),
            not_before: Some(time::write(*not_before)),
            error: Some(failure::write(failure)),
        }),
        EventKind::TurnConflict { other, policy, newcomer } => Kind::TurnConflict(proto::TurnConflict {
            other_turn_id: other.to_string(),
            policy: write_policy(*policy).into(),
            newcomer: *newcomer,
        }),
        _ => return None,
    })
}

/// `turn_queued` of an import.
pub(super) fn read_queued(at: &Path<'_>, event: proto::TurnQueued, v: &mut Violations) -> Option<EventKind> {
    let proto::TurnQueued { conversation_id, not_before, waits_for_turn_id } = event;
    let conversation_id = rules::conversation_id(&at.field("conversation_id"), &conversation_id, v);
    let not_before = time::read_optional(&at.field("not_before"), not_before, v);
    let after = read_optional_turn(&at.field("waits_for_turn_id"), &waits_for_turn_id, v);
    let conversation_id: ConversationId = conversation_id?;
    Some(EventKind::TurnQueued { conversation_id, not_before: not_before?, after: after? })
}

/// `turn_resumed` of an import.
pub(super) fn read_resumed(at: &Path<'_>, event: proto::TurnResumed, v: &mut Violations) -> Option<EventKind> {
    let proto::TurnResumed { attempt, kept_output_count } = event;
    let attempt = number::read_small(&at.field("attempt"), attempt, 0, v);
    let kept = number::read_small(&at.field("kept_output_count"), kept_output_count, 0, v);
    Some(EventKind::TurnResumed { attempt: attempt?, kept_outputs: kept? })
}

/// `turn_requeued` of an import.
pub(super) fn read_requeued(at: &Path<'_>, event: proto::TurnRequeued, v: &mut Violations) -> Option<EventKind> {
    let proto::TurnRequeued { attempt, not_before, error } = event;
    let attempt = number::read_small(&at.field("attempt"), attempt, 0, v);
    let not_before = time::read_required(&at.field("not_before"), not_before, v);
    let at = at.field("error");
    let Some(error) = error else {
        v.add(&at, format_args!("is required"));
        return None;
    };
    let failure = Arc::new(failure::read(&at, error, v)?);
    Some(EventKind::TurnRequeued { attempt: attempt?, not_before: not_before?, failure })
}

/// `turn_conflict` of an import.
pub(super) fn read_conflict(at: &Path<'_>, event: proto::TurnConflict, v: &mut Violations) -> Option<EventKind> {
    let proto::TurnConflict { other_turn_id, policy, newcomer } = event;
    let other = rules::turn_id(&at.field("other_turn_id"), &other_turn_id, v);
    let policy = read_policy(&at.field("policy"), policy, v);
    Some(EventKind::TurnConflict { other: other?, policy: policy?, newcomer })
}

fn read_optional_turn(at: &Path<'_>, text: &str, violations: &mut Violations) -> Option<Option<TurnId>> {
    if text.is_empty() { Some(None) } else { rules::turn_id(at, text, violations).map(Some) }
}
