//! What stands between a turn and a provider's model: our own rate limits with a queue in which turns wait their time, the
//! provider's limit on calls at once, and a breaker.
//!
//! It is our own because governor, leaky-bucket, ratelimit and tower-resilience neither give back what was reserved in excess
//! nor take what a provider says is left; and failsafe, recloser and tower-resilience's breaker don't say when they try again
//! or let more than one call try.
//!
//! A turn goes when all of these allow it: the breaker, the gate that a 429 closes, the sliding minutes of requests and tokens,
//! and a slot of the provider. Only the first in the queue may go, so nobody is overtaken, and only the first waits for a slot,
//! so nothing is reserved while it waits: it takes requests, tokens and probes in the moment in which it goes.
//!
//! Without limits in the configuration those that the provider tells hold, for minutes after it last told; if it tells none,
//! only its refusals do. A process
//! that starts knows nothing yet: what comes before the first answer goes out unhindered.

mod breaker;
mod gate;
mod minute;
mod permit;
mod queue;
mod slots;
mod state;
mod wait;

#[cfg(test)]
mod tests;

use std::{
    num::{NonZeroU32, NonZeroU64},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

pub use self::{
    breaker::{BreakerOptions, BreakerState},
    permit::Permit,
    slots::Slots,
};
use self::{
    state::{Look, State, shortest},
    wait::Place,
};

/// How a model of a provider is guarded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GuardOptions {
    /// Our own limit. The provider's holds if it is lower or if this is `None`, for five minutes after an answer that told it.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Likewise, prompt and output together.
    pub tokens_per_minute: Option<NonZeroU64>,
    /// Turns that may wait; as many again on keys of their own.
    pub max_waiting: usize,
    /// When it stops calls that fail.
    pub breaker: BreakerOptions,
}

/// A turn that wants to go.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// An estimate. Beyond the whole minute's tokens, as configured, it can never go: TooLarge. Beyond those that the provider
    /// told it takes the whole minute and goes alone: the provider's word may be a mistake, and its answer corrects it.
    pub prompt_tokens: u64,
    /// An estimate of the most. If only with it the turn exceeds the whole minute's tokens, it takes the whole minute: it may
    /// well write less.
    pub output_tokens: u64,
    /// How long it waits at most.
    pub deadline: Instant,
    /// False: the caller brought a key of their own, so our account's limits and what the provider says of the key's don't
    /// apply. The breaker and the slots do.
    pub metered: bool,
}

/// Which limit a turn meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Requests per minute.
    Requests,
    /// Tokens per minute.
    Tokens,
    /// The provider answered 429 and wants to be left alone for a while.
    RetryAfter,
    /// The provider's calls at once.
    Concurrency,
}

/// Why a turn may not go. `retry_in` is at least 0.1 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Calls failed too often.
    BreakerOpen {
        /// Until the next probe.
        retry_in: Duration,
    },
    /// As many turns wait as may.
    QueueFull {
        /// What they wait for.
        limit: Limit,
        /// How many.
        waiting: usize,
        /// Until all of them have gone, if each uses what it reserves.
        retry_in: Duration,
    },
    /// It would be its turn only after its deadline. Said at once where it is certain as things are, else at the deadline.
    TooLate {
        /// What it waits for.
        limit: Limit,
        /// Until it would be its turn.
        retry_in: Duration,
    },
    /// It can never go under the configured limit.
    TooLarge {
        /// The limit.
        limit: Limit,
        /// What it needs.
        tokens: u64,
        /// The whole of the minute.
        most: u64,
    },
}

/// A guard as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// The breaker.
    pub breaker: BreakerState,
    /// The provider answered 429: nobody goes for so long.
    pub closed_for: Option<Duration>,
    /// Turns that wait, on whatever key.
    pub waiting: usize,
    /// Calls of the provider that run, over all its models.
    pub in_use: usize,
    /// … at most.
    pub slots: usize,
    /// The limit that holds.
    pub requests_per_minute: Option<u64>,
    /// Of the last minute.
    pub requests_used: u64,
    /// The limit that holds.
    pub tokens_per_minute: Option<u64>,
    /// Of the last minute, estimates where the usage isn't known yet.
    pub tokens_used: u64,
}

/// What would be lost with a guard, the least first. Callers make up names of models, and what a guard of those knows must not
/// displace what one of a model knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holds {
    /// Nothing that a new one would not know.
    Nothing,
    /// What went out or failed lately, or what the provider told, of a model that never answered with success.
    Counts,
    /// Such a model's breaker is open, or its gate is closed.
    Block,
    /// Any of these, of a model that has answered.
    Answered,
}

/// The guard of one model of one provider. Clones are the same guard.
#[derive(Debug, Clone)]
pub struct Guard {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    slots: Arc<Slots>,
    max_waiting: usize,
    state: Mutex<State>,
}

impl Guard {
    /// A guard that shares the provider's slots with those of its other models.
    pub fn new(options: GuardOptions, slots: Arc<Slots>) -> Guard {
        let state = Mutex::new(State::new(&options, Instant::now()));
        Guard { shared: Arc::new(Shared { slots, max_waiting: options.max_waiting, state }) }
    }

    /// Waits until the turn may go, at most until its deadline. Dropping the future gives up its place.
    pub async fn admit(&self, ask: Ask) -> Result<Permit, Refused> {
        match self.begin(ask)? {
            Begun::Goes(permit) => Ok(permit),
            Begun::Waits(place) => place.wait().await,
        }
    }

    /// What would be lost if it were forgotten now. Of calls that run or wait it says nothing: they hold the guard.
    pub fn holds(&self) -> Holds {
        self.shared.lock().holds(Instant::now())
    }

    /// What it does now.
    pub fn state(&self) -> Snapshot {
        let now = Instant::now();
        let slots = &self.shared.slots;
        let mut state = self.shared.lock();
        Snapshot {
            breaker: state.breaker.state(now),
            closed_for: state.gate.closed_for(now),
            waiting: state.metered.len() + state.unmetered.len(),
            in_use: slots.in_use(),
            slots: slots.max(),
            requests_per_minute: state.requests.limit(now),
            requests_used: state.requests.used(now),
            tokens_per_minute: state.tokens.limit(now),
            tokens_used: state.tokens.used(now),
        }
    }

    /// Goes at once, or stands in the queue.
    fn begin(&self, ask: Ask) -> Result<Begun, Refused> {
        let shared = &self.shared;
        let mut state = shared.lock();
        let now = Instant::now();
        let ahead = state.queue(ask.metered).all();
        let limit = match state.look(&ask, ahead, now) {
            Look::Refused(refused) => return Err(refused),
            Look::Wait { limit, until: _ } => limit,
            Look::Fits if ahead.turns > 0 => Limit::Concurrency,
            Look::Fits => match shared.slots.try_take(now) {
                Some(slot) => {
                    let went = state.go(&ask, now);
                    return Ok(Begun::Goes(Permit::new(shared.clone(), went, slot)));
                }
                None => Limit::Concurrency,
            },
        };
        if ahead.turns >= shared.max_waiting {
            return Err(shared.full(&mut state, &ask, limit, now));
        }
        let tokens = state.charge(&ask, now);
        let (number, wake) = state.queue(ask.metered).push(tokens);
        Ok(Begun::Waits(Place { shared: shared.clone(), ask, number, wake }))
    }
}

/// A turn that was taken in.
enum Begun {
    Goes(Permit),
    Waits(Place),
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn full(&self, state: &mut State, ask: &Ask, limit: Limit, now: Instant) -> Refused {
        let ahead = state.queue(ask.metered).all();
        let (limit, retry_in) = self.when(state, ask, ahead, limit, now);
        Refused::QueueFull { limit, waiting: ahead.turns, retry_in }
    }

    /// What a turn with this before it waits for and how long, where `limit` is what a look found.
    fn when(&self, state: &mut State, ask: &Ask, ahead: queue::Ahead, limit: Limit, now: Instant) -> (Limit, Duration) {
        let slots = shortest(self.slots.free_in(ahead.turns + 1));
        if !ask.metered {
            return (Limit::Concurrency, slots);
        }
        let (of_rate, rate) = state.retry_in(ask, ahead, now);
        match limit {
            Limit::Concurrency => (limit, rate.max(slots)),
            Limit::Requests | Limit::Tokens | Limit::RetryAfter => (of_rate, rate),
        }
    }
}
