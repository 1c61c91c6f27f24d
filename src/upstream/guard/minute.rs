//! What went out within the last minute, of one kind (requests or tokens), and how much more may.
//!
//! A sliding minute: within any 60 seconds no more than the limit. Such a stream also fits a provider that counts fixed
//! minutes, and one that refills a bucket. A bucket of our own would not do: full at the start and refilled meanwhile, it lets
//! up to twice the limit out within one minute; small enough to be safe, it would make the second of five turns wait.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// A provider dates a request when it arrives: one that was slow on its way and the next one, quick, a minute later, are less
/// than a minute apart there. So a minute has a second more here, which costs 1.8 % of the limit.
const WINDOW: Duration = Duration::from_secs(61);
/// What goes out within one tick is counted, and forgotten, together: this bounds the log at 611 ticks.
const TICK: Duration = Duration::from_millis(100);
/// What a provider tells of its minute holds no longer than that; larger values are dates, or of a month.
const TOLD_AT_MOST: Duration = Duration::from_secs(120);
/// How long a limit holds that the provider told once. Each answer tells it anew, so this is for one that it no longer tells,
/// or told by mistake. Longer than a minute and the time to a next answer, else all who wait for that minute's end would find no limit.
const LIMIT_HOLDS: Duration = Duration::from_secs(300);

/// A tenth of a second since the minute's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Tick(u64);

/// The last minute's log and the limits upon it.
#[derive(Debug)]
pub(super) struct Minute {
    configured: Option<u64>,
    /// The limit that the provider says it has.
    told: Option<Word>,
    /// What may be in the log because others use the same account.
    shared: Option<Word>,
    /// The call that brought the newest of the provider's figures.
    newest: Tick,
    began: Instant,
    log: VecDeque<(Tick, u64)>,
    used: u64,
}

/// What may be in the log for a while, by the provider's word.
#[derive(Debug, Clone, Copy)]
struct Word {
    most: u64,
    until: Instant,
}

/// What the provider said of one kind, in the answer to one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub(super) limit: Option<u64>,
    pub(super) remaining: Option<u64>,
    pub(super) reset_ms: Option<u64>,
}

impl Minute {
    pub(super) fn new(configured: Option<u64>, now: Instant) -> Minute {
        Minute { configured, told: None, shared: None, newest: Tick(0), began: now, log: VecDeque::new(), used: 0 }
    }

    /// The limit that is surely one: the provider's word may be a mistake, which only its next answer corrects.
    pub(super) fn configured(&self) -> Option<u64> {
        self.configured
    }

    /// The lower of what is configured and what the provider says.
    pub(super) fn limit(&self, now: Instant) -> Option<u64> {
        let told = self.told.filter(|told| now < told.until).map(|told| told.most);
        match (self.configured, told) {
            (Some(configured), Some(told)) => Some(configured.min(told)),
            (limit, None) | (None, limit) => limit,
        }
    }

    /// What counts against the limit now.
    pub(super) fn used(&mut self, now: Instant) -> u64 {
        while let Some((tick, amount)) = self.log.front().copied()
            && self.expires(tick) <= now
        {
            self.used = self.used.saturating_sub(amount);
            self.log.pop_front();
        }
        self.used
    }

    /// It knows nothing that a new one would not: nothing counts, and of what was told nothing holds.
    pub(super) fn is_blank(&mut self, now: Instant) -> bool {
        let holds = |word: Option<Word>| word.is_some_and(|word| now < word.until);
        self.used(now) == 0 && !holds(self.told) && !holds(self.shared)
    }

    /// When so much more fits, if nothing else goes out and nothing is given back. Not after `now`: at once.
    pub(super) fn fits_at(&mut self, amount: u64, now: Instant) -> Instant {
        let used = self.used(now);
        let own = self.configured.map_or(now, |limit| self.fits_within(limit, amount, used, now));
        let told = self.told.map_or(now, |told| self.fits_within(told.most, amount, used, now).min(told.until));
        let among_others = self.shared.map_or(now, |shared| match amount <= shared.most {
            true => self.fits_within(shared.most, amount, used, now).min(shared.until),
            false => shared.until,
        });
        own.max(told).max(among_others)
    }

    /// Counts what goes out now. The tick is for [`Minute::give_back`] and [`Minute::tell`].
    pub(super) fn take(&mut self, amount: u64, now: Instant) -> Tick {
        let elapsed = now.saturating_duration_since(self.began);
        let tick = Tick(elapsed.as_secs() * 10 + u64::from(elapsed.subsec_millis()) / 100);
        match self.log.back_mut() {
            Some((last, sum)) if *last >= tick => *sum = sum.saturating_add(amount),
            Some(_) | None => self.log.push_back((tick, amount)),
        }
        self.used = self.used.saturating_add(amount);
        tick
    }

    /// Less was used than was taken at that tick. Without effect once the tick is forgotten.
    pub(super) fn give_back(&mut self, tick: Tick, amount: u64) {
        if let Ok(at) = self.log.binary_search_by_key(&tick, |(tick, _)| *tick)
            && let Some((_, sum)) = self.log.get_mut(at)
        {
            let given = amount.min(*sum);
            *sum -= given;
            self.used = self.used.saturating_sub(given);
        }
    }

    /// What the provider says in its answer to the call that went out at `tick`.
    ///
    /// If what it has left, plus what went out of here until that call, is less than the limit, others use the account too.
    /// Then what they used, and half of what is left, is theirs until the provider's reset, or for a minute if it tells none.
    /// Each answer tells anew. Where no limit is known, what is left is ours. Answers to calls older than the newest that told are late news.
    pub(super) fn tell(&mut self, tick: Tick, told: Told, now: Instant) {
        let Told { limit, remaining, reset_ms } = told;
        if tick < self.newest {
            return;
        }
        if let Some(limit) = limit.filter(|limit| *limit > 0) {
            self.newest = tick;
            self.told = Some(Word { most: limit, until: now + LIMIT_HOLDS });
        }
        let Some(remaining) = remaining else { return };
        self.newest = tick;
        let later = self.log.iter().rev().take_while(|(at, _)| *at > tick);
        let later = later.fold(0u64, |sum, (_, amount)| sum.saturating_add(*amount));
        let ours = self.used(now).saturating_sub(later);
        let until = reset_ms.map_or(self.expires(tick), |ms| now + Duration::from_millis(ms).min(TOLD_AT_MOST));
        self.shared = match self.limit(now) {
            None => Some(Word { most: ours.saturating_add(remaining), until }),
            Some(limit) if ours.saturating_add(remaining) >= limit => None,
            // The others are about to use what is left too: half of it is theirs.
            Some(_) => Some(Word { most: ours.saturating_add(remaining / 2), until }),
        };
    }

    /// Under a limit, when so much more fits. What exceeds a whole minute needs as many more of them.
    fn fits_within(&self, limit: u64, amount: u64, used: u64, now: Instant) -> Instant {
        let minutes = amount.saturating_sub(1) / limit.max(1);
        let rest = amount - minutes * limit.max(1);
        let later = WINDOW * u32::try_from(minutes).unwrap_or(1000).min(1000);
        let over = used.saturating_add(rest).saturating_sub(limit);
        if over == 0 {
            return now + later;
        }
        let mut freed = 0u64;
        let enough = self.log.iter().find(|(_, amount)| {
            freed = freed.saturating_add(*amount);
            freed >= over
        });
        enough.map_or(now + WINDOW, |(tick, _)| self.expires(*tick)) + later
    }

    fn expires(&self, tick: Tick) -> Instant {
        // The end of the tick, so that the last of it counts for a whole window.
        self.began + Duration::from_millis(tick.0.saturating_add(1).saturating_mul(TICK.as_millis() as u64)) + WINDOW
    }
}
