//! Calls that fail too often stop for a while, then one tries.

use std::time::Duration;

use tokio::time::Instant;

/// The window moves in so many steps.
const STEPS: usize = 10;
/// An opening lasts at most so many times as long as the first.
const LONGEST: u32 = 10;
/// Whatever is configured: an opening ends.
const LONGEST_OPEN: Duration = Duration::from_secs(86_400);
/// When to ask again while the probe is out: nobody knows how long it takes.
const PROBE_WAIT: Duration = Duration::from_secs(1);

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerOptions {
    /// Opens when at least this part of the calls failed, above 0 and at most 1. Default 0.5.
    pub failure_rate: f64,
    /// … of at least so many calls. Default 10.
    pub min_calls: u32,
    /// … within this time. Default 30 s.
    pub window: Duration,
    /// Stays open for this long, then a probe goes out; doubled with each probe that fails, up to ten times. Default 15 s.
    pub open: Duration,
}

impl Default for BreakerOptions {
    fn default() -> BreakerOptions {
        BreakerOptions {
            failure_rate: 0.5,
            min_calls: 10,
            window: Duration::from_secs(30),
            open: Duration::from_secs(15),
        }
    }
}

/// What a breaker lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything.
    Closed,
    /// Nothing.
    Open {
        /// Until the next probe.
        retry_in: Duration,
    },
    /// One call, the probe, which is out or may go.
    HalfOpen,
}

#[derive(Debug)]
pub(super) struct Breaker {
    options: BreakerOptions,
    began: Instant,
    state: State,
    /// How often it has changed. Outcomes of calls from before the last change are no news.
    changes: u64,
    window: [Step; STEPS],
}

#[derive(Debug)]
enum State {
    Closed,
    Open { until: Instant, times: u32 },
    Probing { times: u32 },
}

#[derive(Debug, Clone, Copy, Default)]
struct Step {
    at: u64,
    calls: u32,
    failures: u32,
}

/// What a call that the breaker let through came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass {
    changes: u64,
    probe: bool,
}

impl Breaker {
    pub(super) fn new(options: BreakerOptions, now: Instant) -> Breaker {
        Breaker { options, began: now, state: State::Closed, changes: 0, window: [Step::default(); STEPS] }
    }

    pub(super) fn state(&self, now: Instant) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { until, .. } if now < until => BreakerState::Open { retry_in: until - now },
            State::Open { .. } | State::Probing { .. } => BreakerState::HalfOpen,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Failures are counted that would help to open it.
    pub(super) fn has_failures(&self, now: Instant) -> bool {
        self.counted(now).1 > 0
    }

    /// `Some`: no call may go, ask again then.
    pub(super) fn retry_in(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Closed => None,
            State::Open { until, .. } => (now < until).then(|| until - now),
            State::Probing { .. } => Some(PROBE_WAIT.min(self.options.open)),
        }
    }

    /// A call goes out. Only when [`Breaker::retry_in`] lets it.
    pub(super) fn pass(&mut self) -> Pass {
        let probe = match self.state {
            State::Closed | State::Probing { .. } => false,
            State::Open { times, .. } => {
                self.become_(State::Probing { times });
                true
            }
        };
        Pass { changes: self.changes, probe }
    }

    pub(super) fn succeeded(&mut self, pass: Pass, now: Instant) {
        if pass.changes != self.changes {
            return;
        }
        if pass.probe {
            self.window = [Step::default(); STEPS];
            self.become_(State::Closed);
        } else {
            self.step(now).calls += 1;
        }
    }

    /// `again`: the call had been counted as a success. True: the breaker opens.
    pub(super) fn failed(&mut self, pass: Pass, again: bool, now: Instant) -> bool {
        // A probe that succeeded closed the breaker: what becomes of it later is the closed window's first news.
        let counts = pass.changes == self.changes || (again && pass.probe && pass.changes + 1 == self.changes);
        if !counts {
            return false;
        }
        match self.state {
            State::Probing { times } => self.open(times + 1, now),
            State::Closed => {
                let step = self.step(now);
                step.failures += 1;
                step.calls += u32::from(!again || pass.probe);
                if !self.is_too_much(now) {
                    return false;
                }
                self.open(0, now);
            }
            State::Open { .. } => return false,
        }
        true
    }

    /// The call was dropped, or its end says nothing. True: another one may probe.
    pub(super) fn left(&mut self, pass: Pass, now: Instant) -> bool {
        match self.state {
            State::Probing { times } if pass.probe && pass.changes == self.changes => {
                self.become_(State::Open { until: now, times });
                true
            }
            State::Closed | State::Open { .. } | State::Probing { .. } => false,
        }
    }

    fn open(&mut self, times: u32, now: Instant) {
        let open = self.options.open.saturating_mul((1 << times.min(4)).min(LONGEST)).min(LONGEST_OPEN);
        self.become_(State::Open { until: now + open, times });
    }

    fn become_(&mut self, state: State) {
        self.state = state;
        self.changes += 1;
    }

    /// Calls and failures within the window.
    fn counted(&self, now: Instant) -> (u32, u32) {
        let at = self.step_at(now);
        let fresh = self.window.iter().filter(|step| at - step.at.min(at) < STEPS as u64);
        fresh.fold((0, 0), |sum, step| (sum.0 + step.calls, sum.1 + step.failures))
    }

    fn is_too_much(&self, now: Instant) -> bool {
        let (calls, failures) = self.counted(now);
        calls >= self.options.min_calls && f64::from(failures) >= f64::from(calls) * self.options.failure_rate
    }

    fn step(&mut self, now: Instant) -> &mut Step {
        let at = self.step_at(now);
        let step = &mut self.window[at as usize % STEPS];
        if step.at != at {
            *step = Step { at, calls: 0, failures: 0 };
        }
        step
    }

    fn step_at(&self, now: Instant) -> u64 {
        let width_us = (self.options.window.as_micros() / STEPS as u128).max(1);
        u64::try_from(now.saturating_duration_since(self.began).as_micros() / width_us).unwrap_or(u64::MAX)
    }
}
