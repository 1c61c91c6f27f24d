//! When a call that failed is made again: exponential backoff with full jitter, bounded by attempts, by time and by the turn's
//! deadline, and never before the provider said.

use std::time::{Duration, SystemTime};

use retry_policies::{Jitter, RetryDecision, RetryPolicy, policies::ExponentialBackoff};
use tokio::time::Instant;

/// The bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryOptions {
    /// Calls of one model in a turn; 1: none is made again.
    pub max_attempts: u32,
    /// The longest first wait; each further one may be twice as long.
    pub base_delay: Duration,
    /// The longest wait of all.
    pub max_delay: Duration,
    /// So long after the first call has failed none is made again, time in our own queue included.
    pub max_elapsed: Duration,
}

/// The retries of one model in one turn.
#[derive(Debug)]
pub(super) struct Retries {
    policy: ExponentialBackoff,
    /// When the first call had failed: a turn's time in our own queue is none of it.
    begun_at: Option<Instant>,
    max_elapsed: Duration,
    past: u32,
}

impl Retries {
    pub(super) fn new(options: &RetryOptions) -> Retries {
        let RetryOptions { max_attempts, base_delay, max_delay, max_elapsed } = *options;
        let policy = ExponentialBackoff::builder()
            .retry_bounds(base_delay, max_delay.max(base_delay))
            .jitter(Jitter::Full)
            .base(2)
            .build_with_max_retries(max_attempts.saturating_sub(1));
        Retries { policy, begun_at: None, max_elapsed, past: 0 }
    }

    /// When the last call may begin; `None`: nothing has failed yet.
    pub(super) fn end(&self) -> Option<Instant> {
        self.begun_at.map(|begun_at| begun_at + self.max_elapsed)
    }

    /// How long to wait before the next call; `None`: there is none, or it would come too late. `told`: how long the provider
    /// wants to be left alone; the jitter is added to it, so that not everybody comes back at once.
    pub(super) fn next(&mut self, told: Option<Duration>, deadline: Instant) -> Option<Duration> {
        let now = Instant::now();
        let begun_at = *self.begun_at.get_or_insert(now);
        // The policy answers with a moment of the wall clock; only its distance from now counts.
        let from = SystemTime::now();
        let RetryDecision::Retry { execute_after } = self.policy.should_retry(from, self.past) else { return None };
        let jittered = execute_after.duration_since(from).unwrap_or_default();
        let delay = told.unwrap_or_default() + jittered;
        self.past += 1;
        let at = now + delay;
        (at < deadline && at <= begun_at + self.max_elapsed).then_some(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retries(max_attempts: u32) -> Retries {
        Retries::new(&RetryOptions {
            max_attempts,
            base_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(1),
            max_elapsed: Duration::from_secs(10),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn waits_grow_are_jittered_and_end() {
        let far = Instant::now() + Duration::from_secs(3600);
        let mut seen = Vec::new();
        for _ in 0..50 {
            let mut retries = retries(6);
            let waits: Vec<Duration> = std::iter::from_fn(|| retries.next(None, far)).collect();
            assert_eq!(waits.len(), 5, "six calls have five waits");
            for (i, wait) in waits.iter().enumerate() {
                let most = Duration::from_millis(100 << i).min(Duration::from_secs(1));
                assert!(*wait <= most, "{waits:?}");
            }
            seen.push(waits);
        }
        assert!(seen.iter().any(|waits| *waits != seen[0]), "jitter");
        assert!(seen.iter().any(|waits| waits[4] > Duration::from_millis(400)), "they grow");
        assert_eq!(retries(1).next(None, far), None, "one call is no retry");
    }

    #[tokio::test(start_paused = true)]
    async fn what_would_come_too_late_is_not_waited_for() {
        let soon = Instant::now() + Duration::from_secs(5);
        assert_eq!(retries(9).next(Some(Duration::from_secs(5)), soon), None, "past the deadline");
        let far = Instant::now() + Duration::from_secs(3600);
        assert_eq!(retries(9).next(Some(Duration::from_secs(11)), far), None, "past the time for retries");
        let told = retries(9).next(Some(Duration::from_secs(3)), far).expect("in time");
        assert!((Duration::from_secs(3)..Duration::from_millis(3101)).contains(&told), "not before the provider said");
    }
}
