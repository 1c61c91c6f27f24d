//! A call that was let through, and what becomes of it.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Shared,
    slots::Slot,
    state::{State, Went},
};
use crate::upstream::Quota;

/// A call that may go out. Say what becomes of it; dropping it frees the provider's slot.
///
/// Dropped without an outcome it is neutral: the breaker counts nothing, and if it was a probe, another turn may be one. What it
/// took of the minute stays taken, as the provider may have counted it, unless it was [`Permit::unused`].
#[derive(Debug)]
pub struct Permit {
    guard: Arc<Shared>,
    went: Went,
    outcome: Outcome,
    _slot: Slot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    None,
    Succeeded,
    Final,
}

impl Permit {
    pub(super) fn new(guard: Arc<Shared>, went: Went, slot: Slot) -> Permit {
        Permit { guard, went, outcome: Outcome::None, _slot: slot }
    }

    /// What the provider says of its limits, in the head of its answer. Without effect if the call is not metered.
    pub fn quota(&mut self, quota: &Quota) {
        if self.went.gate.is_some() && *quota != Quota::default() {
            self.guard.lock().tell(&self.went, quota, Instant::now());
        }
    }

    /// Nothing was sent, and nothing will be: all that the call took of the minute is given back at once. Neutral for breaker and
    /// gate: if it was a probe, another turn may be one. Only before any other word about the call.
    pub fn unused(&mut self) {
        if self.outcome != Outcome::None {
            return;
        }
        self.outcome = Outcome::Final;
        let now = Instant::now();
        let mut state = self.guard.lock();
        state.breaker.left(self.went.breaker, now);
        let Some(pass) = self.went.gate else { return };
        state.gate.left(pass, now);
        state.untake(&mut self.went, now);
    }

    /// The head of an answer with success is there: it is no 429, so turns that wait behind a probe may go. The breaker waits
    /// for [`Permit::succeeded`] or [`Permit::failed`].
    pub fn answered(&mut self) {
        if self.outcome == Outcome::None {
            let mut state = self.guard.lock();
            state.has_answered = true;
            self.open_gate(&mut state);
        }
    }

    /// The provider works: a probe has succeeded, turns that wait for it may go. Best said with the first piece of an answer;
    /// [`Permit::failed`] may still follow. True: the breaker closes.
    pub fn succeeded(&mut self) -> bool {
        if self.outcome != Outcome::None {
            return false;
        }
        self.outcome = Outcome::Succeeded;
        let mut state = self.guard.lock();
        state.has_answered = true;
        let was_closed = state.breaker.is_closed();
        state.breaker.succeeded(self.went.breaker, Instant::now());
        self.open_gate(&mut state);
        !was_closed && state.breaker.is_closed()
    }

    /// The provider does not work, in the caller's judgement. Not for 429, nor for the caller's own mistakes. True: the breaker
    /// opens.
    pub fn failed(&mut self) -> bool {
        if self.outcome == Outcome::Final {
            return false;
        }
        let again = self.outcome == Outcome::Succeeded;
        self.outcome = Outcome::Final;
        let mut state = self.guard.lock();
        self.open_gate(&mut state);
        let opens = state.breaker.failed(self.went.breaker, again, Instant::now());
        if opens {
            state.metered.wake_all();
            state.unmetered.wake_all();
        }
        opens
    }

    /// The provider answered 429: nobody goes until it is to be asked again (default 1 s, doubled with each further 429 up to
    /// 60 s, and up to a quarter more), then one turn tries first. If nothing came before, the call gives back what it took:
    /// where a provider counts refused calls too, what it has left says so. Neutral for the breaker. Unless the call is not
    /// metered: then only its own key is limited. Returns for how long nobody goes, if that is so.
    pub fn rate_limited(&mut self, retry_after: Option<Duration>) -> Option<Duration> {
        if self.outcome == Outcome::Final {
            return None;
        }
        let now = Instant::now();
        let mut state = self.guard.lock();
        state.breaker.left(self.went.breaker, now);
        let before = std::mem::replace(&mut self.outcome, Outcome::Final);
        let pass = self.went.gate?;
        if before == Outcome::None {
            state.untake(&mut self.went, now);
        }
        if state.gate.refused(pass, retry_after, now) {
            state.metered.wake_all();
        }
        state.gate.closed_for(now)
    }

    /// The tokens that the call really used. The last word counts. Without effect if the call is not metered.
    pub fn settle(&mut self, tokens: u64) {
        if self.went.gate.is_some() && tokens != self.went.tokens {
            self.guard.lock().settle(&mut self.went, tokens, Instant::now());
        }
    }

    fn open_gate(&self, state: &mut State) {
        if self.went.gate.is_some_and(|pass| state.gate.answered(pass)) {
            state.metered.wake_first();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.guard.lock();
        if self.went.gate.is_some() {
            state.out -= 1;
            if state.out == 0 {
                // Now it is certain how long its wait is.
                state.metered.wake_first();
            }
        }
        if self.outcome != Outcome::None {
            return;
        }
        let now = Instant::now();
        state.breaker.left(self.went.breaker, now);
        if self.went.gate.is_some_and(|pass| state.gate.left(pass, now)) {
            state.metered.wake_first();
        }
    }
}
