//! A call of a provider that did not end well: what the caller is told, and what may be done about it.

use super::{Quota, origin::DEFAULT_RETRY_MS};
use crate::domain::Failure;

/// A call that did not end well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What the caller is told if nothing can be done. `retry_after_ms` is set where the provider said how long to wait, or has
    /// a default; never where the fault is permanent.
    pub failure: Failure,
    /// What may be done.
    pub class: FaultClass,
    /// How far it came: whether it may be billed.
    pub reached: Reached,
    /// How long to wait before the next try, as the provider itself said (`Retry-After`, rate-limit reset headers).
    pub retry_after_ms: Option<u64>,
    /// What the head of the answer says of the rate limits, if there was one.
    pub quota: Quota,
}

/// How far a call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// Nothing was sent: there was no key, no connection, or no request that the provider takes.
    NotSent,
    /// It was sent, and nobody knows what the provider did with it.
    Sent,
    /// The provider refused it, and has done nothing.
    Refused,
    /// The provider had begun to answer with success (HTTP 200): it may bill what it read and wrote.
    Answered,
}

/// What may be done about a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultClass {
    /// The same request fails again: the caller's mistake, or the operator's.
    Permanent,
    /// The same request may succeed: 408, every 5xx but 501 and 505, a connection that failed, silence, a broken answer.
    Transient,
    /// 429: the same request may succeed later.
    RateLimited,
    /// The history does not fit; a shorter one, or a larger window, may.
    TooLong,
}

impl Fault {
    /// An answer that had begun and made no sense. The next one may.
    pub fn broken(mut failure: Failure) -> Fault {
        failure.retry_after_ms.get_or_insert(DEFAULT_RETRY_MS);
        Fault { reached: Reached::Answered, ..Fault::new(FaultClass::Transient, failure) }
    }

    /// A fault of a call that was not sent.
    pub(super) fn new(class: FaultClass, mut failure: Failure) -> Fault {
        if class == FaultClass::Permanent {
            failure.retry_after_ms = None;
        }
        Fault { failure, class, reached: Reached::NotSent, retry_after_ms: None, quota: Quota::default() }
    }
}
