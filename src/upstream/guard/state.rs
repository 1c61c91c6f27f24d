//! What a guard knows, under its lock: one look says whether a turn may go.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Ask, GuardOptions, Holds, Limit, Refused,
    breaker::{self, Breaker},
    gate::{self, Gate},
    minute::{Minute, Tick, Told},
    queue::{Ahead, Queue},
};
use crate::upstream::Quota;

/// Who is told to come back gets no shorter time than this.
const SHORTEST_RETRY: Duration = Duration::from_millis(100);
/// When to ask again where nobody knows.
const PROBE_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct State {
    pub(super) requests: Minute,
    pub(super) tokens: Minute,
    pub(super) gate: Gate,
    pub(super) breaker: Breaker,
    /// A call was answered with success, ever.
    pub(super) has_answered: bool,
    pub(super) metered: Queue,
    /// Turns on keys of their own wait for slots only; those that wait for our account's limits must not hold them up.
    pub(super) unmetered: Queue,
}

/// What a look at the limits finds.
#[derive(Debug)]
pub(super) enum Look {
    /// It may go, as far as it is not about slots.
    Fits,
    /// It has to wait until then at least; `None`: until it is woken.
    Wait { limit: Limit, until: Option<Instant> },
    /// It can't go.
    Refused(Refused),
}

/// What a call that went out came from, for the news about it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Went {
    pub(super) tick: Tick,
    /// As taken from the minute.
    pub(super) tokens: u64,
    pub(super) breaker: breaker::Pass,
    /// `None`: not metered.
    pub(super) gate: Option<gate::Pass>,
}

impl State {
    pub(super) fn new(options: &GuardOptions, now: Instant) -> State {
        State {
            requests: Minute::new(options.requests_per_minute.map(|limit| limit.get().into()), now),
            tokens: Minute::new(options.tokens_per_minute.map(Into::into), now),
            gate: Gate::default(),
            breaker: Breaker::new(options.breaker, now),
            has_answered: false,
            metered: Queue::default(),
            unmetered: Queue::default(),
        }
    }

    pub(super) fn queue(&mut self, metered: bool) -> &mut Queue {
        if metered { &mut self.metered } else { &mut self.unmetered }
    }

    pub(super) fn holds(&mut self, now: Instant) -> Holds {
        let blocks = !self.breaker.is_closed() || self.gate.state() != gate::State::Open;
        let counts = self.breaker.has_failures(now) || !self.requests.is_blank(now) || !self.tokens.is_blank(now);
        match (blocks, counts) {
            (false, false) => Holds::Nothing,
            (true, _) | (_, true) if self.has_answered => Holds::Answered,
            (true, _) => Holds::Block,
            (false, true) => Holds::Counts,
        }
    }

    /// Whether a turn may go that has this before it. The one place that decides.
    pub(super) fn look(&mut self, ask: &Ask, ahead: Ahead, now: Instant) -> Look {
        if let Some(retry_in) = self.breaker.retry_in(now) {
            return Look::Refused(Refused::BreakerOpen { retry_in });
        }
        if !ask.metered {
            return Look::Fits;
        }
        if let Some(most) = self.tokens.configured()
            && ask.prompt_tokens > most
        {
            return Look::Refused(Refused::TooLarge { limit: Limit::Tokens, tokens: ask.prompt_tokens, most });
        }
        let (limit, at) = self.turn_of(ask, ahead, now);
        // One that nothing holds up is not refused for a limit: whoever watches its deadline says that it has passed.
        if let Some(at) = at
            && at > ask.deadline.max(now)
            && self.is_certain(ahead, ask.deadline, now)
        {
            return Look::Refused(Refused::TooLate { limit, retry_in: shortest(at - now) });
        }
        match at {
            Some(at) if at <= now && ahead.turns == 0 => Look::Fits,
            Some(at) if at <= now => Look::Wait { limit: Limit::Concurrency, until: None },
            until => Look::Wait { limit, until: until.filter(|_| ahead.turns == 0) },
        }
    }

    /// When it would be the turn of one with this before it, and what it waits for. `None`: nobody knows.
    pub(super) fn turn_of(&mut self, ask: &Ask, ahead: Ahead, now: Instant) -> (Limit, Option<Instant>) {
        let gate = match self.gate.state() {
            gate::State::Open => now,
            gate::State::Closed(until) => until,
            gate::State::Probing => return (Limit::RetryAfter, None),
        };
        let requests = self.requests.fits_at(turns(ahead), now);
        let amount = self.charge(ask, now);
        let tokens = self.tokens.fits_at(ahead.tokens.saturating_add(amount), now);
        let rows = [(Limit::RetryAfter, gate), (Limit::Tokens, tokens), (Limit::Requests, requests)];
        // The last of equals: requests are what is told where both are short.
        let [first, rest @ ..] = rows;
        let (limit, at) = rest.into_iter().fold(first, |last, row| if row.1 >= last.1 { row } else { last });
        (limit, Some(at))
    }

    /// How long until a turn with this before it may go, for those who are sent away.
    pub(super) fn retry_in(&mut self, ask: &Ask, ahead: Ahead, now: Instant) -> (Limit, Duration) {
        let (limit, at) = self.turn_of(ask, ahead, now);
        (limit, at.map_or(PROBE_WAIT, |at| shortest(at.saturating_duration_since(now))))
    }

    /// The call goes out now, as a look allowed.
    pub(super) fn go(&mut self, ask: &Ask, now: Instant) -> Went {
        let breaker = self.breaker.pass();
        if !ask.metered {
            return Went { tick: Tick::default(), tokens: 0, breaker, gate: None };
        }
        let tokens = self.charge(ask, now);
        self.requests.take(1, now);
        let tick = self.tokens.take(tokens, now);
        Went { tick, tokens, breaker, gate: Some(self.gate.pass()) }
    }

    /// The call used this much. Less than was taken is given back where it was taken; more was made since, so it counts now.
    pub(super) fn settle(&mut self, went: &mut Went, tokens: u64, now: Instant) {
        if tokens < went.tokens {
            self.tokens.give_back(went.tick, went.tokens - tokens);
            self.metered.wake_first();
        } else if tokens > went.tokens {
            self.tokens.take(tokens - went.tokens, now);
        }
        went.tokens = tokens;
    }

    /// The call counts for nothing.
    pub(super) fn untake(&mut self, went: &mut Went, now: Instant) {
        self.settle(went, 0, now);
        self.requests.give_back(went.tick, 1);
        self.metered.wake_first();
    }

    pub(super) fn tell(&mut self, went: &Went, quota: &Quota, now: Instant) {
        let Quota {
            limit_requests,
            remaining_requests,
            limit_tokens,
            remaining_tokens,
            reset_requests_ms,
            reset_tokens_ms,
        } = *quota;
        let requests = Told { limit: limit_requests, remaining: remaining_requests, reset_ms: reset_requests_ms };
        let tokens = Told { limit: limit_tokens, remaining: remaining_tokens, reset_ms: reset_tokens_ms };
        self.requests.tell(went.tick, requests, now);
        self.tokens.tell(went.tick, tokens, now);
        self.metered.wake_first();
    }

    /// What a turn takes from the minute's tokens: its estimate, or the whole minute if that is less.
    pub(super) fn charge(&self, ask: &Ask, now: Instant) -> u64 {
        let estimate = ask.prompt_tokens.saturating_add(ask.output_tokens);
        self.tokens.limit(now).map_or(estimate, |limit| estimate.min(limit))
    }

    /// Tokens may be given back earlier than they are forgotten. Requests aren't, and the provider's word stands.
    fn is_certain(&mut self, ahead: Ahead, deadline: Instant, now: Instant) -> bool {
        let closed = match self.gate.state() {
            gate::State::Open | gate::State::Probing => false,
            gate::State::Closed(until) => until > deadline,
        };
        closed || self.requests.fits_at(turns(ahead), now) > deadline
    }
}

fn turns(ahead: Ahead) -> u64 {
    u64::try_from(ahead.turns).unwrap_or(u64::MAX).saturating_add(1)
}

pub(super) fn shortest(retry_in: Duration) -> Duration {
    retry_in.max(SHORTEST_RETRY)
}
