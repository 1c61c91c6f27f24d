//! How many tokens a prompt will be, before the provider says.
//!
//! No tokenizer is built in: each model has its own, and most are not published. Instead bytes are counted, and how many of
//! them make a token is learned per provider and model from the usage that comes back.
//!
//! The bytes are those of text as a model reads it, not of the request: [`entry_bytes`] of the history and [`settings_bytes`] of
//! what stands before it. An image in a data URI is a megabyte in the request and a thousand tokens to the model.

mod weight;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::weight::{ATTACHMENT_TOKENS, entry_bytes, settings_bytes, weigh};

/// What a token is taken for before a model has said: English prose has 4 to 5 bytes a token, JSON and code 3, Chinese and
/// Japanese 2 to 3 (a character is 3 bytes and about a token), digits 1 to 2.
pub const BYTES_PER_TOKEN: f64 = 4.0;

/// No tokenizer makes more tokens than bytes, and none that is in use reads more than this in one on the average of a prompt.
const BYTES_PER_TOKEN_MAX: f64 = 16.0;

/// So many mean deviations are the spread to either side; of a normal distribution 95 % is within.
const DEVIATIONS: f64 = 2.5;

/// The first spread reaches from half to twice the likely number: from 2 to 8 bytes a token.
const FIRST_DEVIATION: f64 = std::f64::consts::LN_2 / DEVIATIONS;

/// However regular the reports were, the next prompt may differ: the spread is at least 5 % to either side.
const LEAST_DEVIATION: f64 = 0.05 / DEVIATIONS;

/// A new report counts for this much at least, so that the estimate follows a conversation from prose to code in some turns.
const LEAST_WEIGHT: f64 = 0.125;

/// A shorter prompt says less: much of it is the frame that the provider puts around it.
const WHOLE_REPORT_BYTES: f64 = 1024.0;

/// How many tokens so many bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// The likely number.
    pub tokens: u64,
    /// Hardly fewer.
    pub at_least: u64,
    /// Hardly more; never more than bytes.
    pub at_most: u64,
}

/// Estimates the prompts of one model of one provider, and learns. A cheap handle: clones learn together.
#[derive(Debug, Clone, Default)]
pub struct Estimator {
    learned: Arc<Mutex<Learned>>,
}

/// Both moving averages are of logarithms: twice as many tokens is as wrong as half as many.
#[derive(Debug, Clone, Copy)]
struct Learned {
    log_bytes_per_token: f64,
    /// The mean distance of reports from their estimates.
    deviation: f64,
    reports: u32,
}

impl Default for Learned {
    fn default() -> Learned {
        Learned { log_bytes_per_token: BYTES_PER_TOKEN.ln(), deviation: FIRST_DEVIATION, reports: 0 }
    }
}

impl Estimator {
    /// How many tokens a text of so many bytes is.
    pub fn estimate(&self, bytes: u64) -> Estimate {
        let Learned { log_bytes_per_token, deviation, reports: _ } = *self.learned();
        let likely = bytes as f64 / log_bytes_per_token.exp();
        let spread = (deviation.max(LEAST_DEVIATION) * DEVIATIONS).exp();
        // A float that is too large becomes the largest integer.
        let tokens = (likely.ceil() as u64).min(bytes);
        Estimate {
            tokens,
            at_least: ((likely / spread).floor() as u64).min(tokens),
            at_most: ((likely * spread).ceil() as u64).clamp(tokens, bytes),
        }
    }

    /// Learns that a prompt of so many bytes was so many tokens. Returns how wrong the estimate was: tokens reported for each
    /// that was estimated, 1.0 if it was right.
    ///
    /// `None`, and nothing is learned, if that can't be: no tokens, or more tokens than bytes.
    pub fn learn(&self, bytes: u64, prompt_tokens: u64) -> Option<f64> {
        if prompt_tokens == 0 || prompt_tokens > bytes {
            return None;
        }
        let reported = (bytes as f64 / prompt_tokens as f64).min(BYTES_PER_TOKEN_MAX).ln();
        let mut learned = self.learned();
        let likely = bytes as f64 / learned.log_bytes_per_token.exp();
        learned.take(reported, (bytes as f64 / WHOLE_REPORT_BYTES).min(1.0));
        Some(prompt_tokens as f64 / likely)
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        // Nothing under the lock panics, and any state of it is a good one.
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Learned {
    /// `size`: how much the report says, 0 to 1. The first ones weigh more, as there is nothing better than the default yet.
    fn take(&mut self, log_bytes_per_token: f64, size: f64) {
        self.reports = self.reports.saturating_add(1);
        let weight = size * (1.0 / (f64::from(self.reports) + 1.0)).max(LEAST_WEIGHT);
        let off = log_bytes_per_token - self.log_bytes_per_token;
        self.log_bytes_per_token += weight * off;
        self.deviation += weight * (off.abs() - self.deviation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_a_report_four_bytes_are_a_token_within_a_factor_of_two() {
        let estimate = Estimator::default().estimate(4000);
        assert_eq!(estimate.tokens, 1000);
        assert!((499..=500).contains(&estimate.at_least), "{estimate:?}");
        assert!((2000..=2001).contains(&estimate.at_most), "{estimate:?}");
        let nothing = Estimator::default().estimate(0);
        assert_eq!(nothing, Estimate { tokens: 0, at_least: 0, at_most: 0 });
        let one = Estimator::default().estimate(1);
        assert_eq!(one, Estimate { tokens: 1, at_least: 0, at_most: 1 });
    }

    #[test]
    fn reports_move_the_estimate_and_narrow_it() {
        for bytes_per_token in [1, 2, 3, 6, 12] {
            let estimator = Estimator::default();
            let errors: Vec<f64> =
                (0..40).filter_map(|_| estimator.clone().learn(12_000, 12_000 / bytes_per_token)).collect();
            let first = BYTES_PER_TOKEN / bytes_per_token as f64;
            assert!((errors[0] - first).abs() < 1e-9, "{bytes_per_token}: {errors:?}");
            assert!((errors[39] - 1.0).abs() < 0.02, "{bytes_per_token}: {errors:?}");
            let estimate = estimator.estimate(12_000);
            let truth = 12_000 / bytes_per_token;
            assert!(estimate.at_least <= truth && truth <= estimate.at_most, "{bytes_per_token}: {estimate:?}");
            assert!(estimate.at_most <= truth + truth / 5, "{bytes_per_token}: {estimate:?}");
        }
    }

    #[test]
    fn the_spread_covers_prompts_that_vary() {
        let estimator = Estimator::default();
        // Between 3 and 5 bytes a token, in an order without a trend.
        let tokens = |turn: u64| 12_000 * 10 / (30 + turn * 7 % 20);
        (0..200).for_each(|turn| {
            estimator.learn(12_000, tokens(turn));
        });
        let estimate = estimator.estimate(12_000);
        let within = (0..20).filter(|turn| (estimate.at_least..=estimate.at_most).contains(&tokens(*turn))).count();
        assert!(within >= 19, "{within} of 20 within {estimate:?}");
        assert!(estimate.at_most < 2 * estimate.at_least, "{estimate:?}");
    }

    #[test]
    fn absurd_reports_teach_nothing() {
        let estimator = Estimator::default();
        for (bytes, tokens) in [(0, 0), (4000, 0), (4000, 4001), (0, 1), (4000, u64::MAX)] {
            assert_eq!(estimator.learn(bytes, tokens), None, "{tokens} tokens of {bytes} bytes");
        }
        assert_eq!(estimator.estimate(4000).tokens, 1000);
        // One token of a gigabyte is told as the error it is, and believed up to a bound.
        assert!(estimator.learn(1 << 30, 1).is_some_and(|error| error < 1e-6));
        for _ in 0..100 {
            estimator.learn(1 << 30, 1);
        }
        assert!(estimator.estimate(16_000).tokens >= 1000);
        let all = estimator.estimate(u64::MAX);
        assert!(all.at_least <= all.tokens && all.tokens <= all.at_most);
    }

    #[test]
    fn a_short_prompt_teaches_little() {
        let (short, long) = (Estimator::default(), Estimator::default());
        short.learn(64, 64);
        long.learn(64_000, 64_000);
        assert!(short.estimate(4000).tokens < 1100, "{:?}", short.estimate(4000));
        assert!(long.estimate(4000).tokens > 1900, "{:?}", long.estimate(4000));
    }
}
