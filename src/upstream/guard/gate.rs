//! After a 429: nobody goes until the provider is to be asked again, then one goes first.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use tokio::time::Instant;

/// The wait after a 429 that names none; it doubles with each further one until a turn gets through.
const WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// What a provider names is believed up to this.
const LONGEST_NAMED_WAIT: Duration = Duration::from_secs(3600);

/// Open unless the provider said 429.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: State,
    /// How often it has closed. Refusals of calls that went out before the last time are no news.
    closings: u64,
    /// How often it has closed since a turn got through.
    in_a_row: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum State {
    #[default]
    Open,
    /// Until then; the first turn after it is the probe.
    Closed(Instant),
    /// The probe is out.
    Probing,
}

/// What a call that went through the gate came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass {
    closings: u64,
    probe: bool,
}

impl Gate {
    pub(super) fn state(&self) -> State {
        self.state
    }

    /// How long until one may try; `None`: it is open, or one tries.
    pub(super) fn closed_for(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Closed(until) if now < until => Some(until - now),
            State::Closed(_) | State::Open | State::Probing => None,
        }
    }

    /// A call goes out. Only when it may: open, or its time has come.
    pub(super) fn pass(&mut self) -> Pass {
        let probe = matches!(self.state, State::Closed(_));
        if probe {
            self.state = State::Probing;
        }
        Pass { closings: self.closings, probe }
    }

    /// The call got through. True: the gate is open again.
    pub(super) fn answered(&mut self, pass: Pass) -> bool {
        let opens = self.is_the_probe(pass);
        if opens {
            self.state = State::Open;
        }
        if pass.closings == self.closings {
            self.in_a_row = 0;
        }
        opens
    }

    /// The call was dropped without an answer. True: another one may probe at once.
    pub(super) fn left(&mut self, pass: Pass, now: Instant) -> bool {
        let frees = self.is_the_probe(pass);
        if frees {
            self.state = State::Closed(now);
        }
        frees
    }

    /// The call met a 429. True: the gate closes, or stays closed for longer.
    pub(super) fn refused(&mut self, pass: Pass, retry_after: Option<Duration>, now: Instant) -> bool {
        let retry_after = retry_after.map(|wait| wait.min(LONGEST_NAMED_WAIT));
        if pass.closings == self.closings {
            let wait = retry_after.unwrap_or_else(|| growing(self.in_a_row));
            self.in_a_row = self.in_a_row.saturating_add(1);
            self.closings += 1;
            self.state = State::Closed(now + wait);
            return true;
        }
        // Of the same burst as the refusal that closed the gate: it may know better how long.
        match (self.state, retry_after) {
            (State::Closed(until), Some(wait)) if now + wait > until => {
                self.state = State::Closed(now + wait);
                true
            }
            (State::Open | State::Closed(_) | State::Probing, _) => false,
        }
    }

    fn is_the_probe(&self, pass: Pass) -> bool {
        pass.probe && pass.closings == self.closings && self.state == State::Probing
    }
}

/// Up to a quarter more than the doubled wait, so that processes that share an account don't come back together.
fn growing(times: u32) -> Duration {
    let wait = WAIT.saturating_mul(1 << times.min(6)).min(LONGEST_WAIT);
    let random = RandomState::new().hash_one(times) % 256;
    wait + wait / 4 * random as u32 / 256
}
