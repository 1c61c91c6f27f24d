//! When what failed is tried again, and what time it is.

use std::time::{Duration, SystemTime};

use retry_policies::{Jitter, RetryDecision, RetryPolicy, policies::ExponentialBackoff};
use tokio::time::Instant;

use super::super::ids;
use crate::domain::Time;

/// Exponential backoff with full jitter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    policy: ExponentialBackoff,
}

impl Backoff {
    /// The bound of the first wait, and that of all.
    pub(super) fn new(base: Duration, max: Duration) -> Backoff {
        let policy = ExponentialBackoff::builder()
            .retry_bounds(base, max.max(base))
            .jitter(Jitter::Full)
            .base(2)
            .build_with_max_retries(u32::MAX);
        Backoff { policy }
    }

    /// How long to wait when so many attempts have failed, at least one. `told`: how long the other side wants to be left alone;
    /// it is not waited longer than for anything else.
    pub(super) fn wait(&self, failed: u32, told: Option<Duration>) -> Duration {
        // The policy answers with a moment of the wall clock; only its distance from now counts.
        let from = SystemTime::now();
        let RetryDecision::Retry { execute_after } = self.policy.should_retry(from, failed.saturating_sub(1)) else {
            return self.policy.max_retry_interval;
        };
        let jittered = execute_after.duration_since(from).unwrap_or_default();
        jittered.max(told.unwrap_or_default()).min(self.policy.max_retry_interval)
    }
}

/// The time as deliveries count it: it moves with tokio's clock, and with the wall clock if that is ahead, as after a machine has
/// slept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    began: Instant,
    at: Time,
}

impl Clock {
    pub(super) fn new() -> Clock {
        Clock { began: Instant::now(), at: ids::now() }
    }

    pub(super) fn now(&self) -> Time {
        after(self.at, self.began.elapsed()).max(ids::now())
    }

    /// When a moment comes, for sleeping.
    pub(super) fn instant(&self, at: Time) -> Instant {
        Instant::now() + since(at, self.now())
    }
}

/// The moment that is so much later.
pub(super) fn after(at: Time, span: Duration) -> Time {
    let us = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    Time { unix_us: at.unix_us.saturating_add(us) }
}

/// How much later a moment is than another one.
pub(super) fn since(later: Time, earlier: Time) -> Duration {
    Duration::from_micros(u64::try_from(later.unix_us.saturating_sub(earlier.unix_us)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_bound_and_are_jittered() {
        let backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(6 * 3600));
        let (mut sums, rounds) = ([Duration::ZERO; 20], 200);
        for _ in 0..rounds {
            for (failed, sum) in (1..).zip(&mut sums) {
                let wait = backoff.wait(failed, None);
                let bound = Duration::from_secs(5 << (failed - 1)).min(Duration::from_secs(6 * 3600));
                assert!(wait <= bound, "{failed}: {wait:?}");
                *sum += wait;
            }
        }
        for (failed, sum) in (0u32..).zip(sums) {
            let bound = Duration::from_secs(5 << failed).min(Duration::from_secs(6 * 3600));
            let mean = sum / rounds;
            assert!(mean > bound / 3 && mean < bound * 2 / 3, "{failed}: a mean of {mean:?} of {bound:?}");
        }
        assert!(backoff.wait(u32::MAX, None) <= Duration::from_secs(6 * 3600));
    }

    #[test]
    fn the_other_side_is_left_alone_as_long_as_it_says_within_bounds() {
        let backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(60));
        let told = |seconds| backoff.wait(1, Some(Duration::from_secs(seconds)));
        assert_eq!(told(30), Duration::from_secs(30));
        assert_eq!(told(600), Duration::from_secs(60));
        assert!(told(0) <= Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn time_moves_with_tokios_clock() {
        let clock = Clock::new();
        let before = clock.now();
        tokio::time::advance(Duration::from_secs(3600)).await;
        let passed = since(clock.now(), before);
        // The wall clock goes on while tokio's stands still.
        assert!(passed > Duration::from_secs(3500) && passed < Duration::from_secs(3700), "{passed:?}");
        let later = after(clock.now(), Duration::from_secs(5));
        assert!(clock.instant(later) - Instant::now() <= Duration::from_secs(5));
    }
}
