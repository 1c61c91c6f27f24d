//! Latencies of calls, and the spread of a figure over its repetitions.

use std::time::Duration;

/// How long calls took. Sorted once, when all are in.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    sorted_ns: Vec<u64>,
}

impl Latencies {
    /// Of all these calls.
    pub(crate) fn new(calls: impl IntoIterator<Item = Duration>) -> Latencies {
        let mut sorted_ns: Vec<u64> = calls.into_iter().map(|call| call.as_nanos() as u64).collect();
        sorted_ns.sort_unstable();
        Latencies { sorted_ns }
    }

    /// Half of the calls took no longer, in microseconds. Not a number without calls, so that it can't pass for a figure.
    pub(crate) fn p50_us(&self) -> f64 {
        self.quantile_us(0.5)
    }

    /// 99 of 100 calls took no longer, in microseconds.
    pub(crate) fn p99_us(&self) -> f64 {
        self.quantile_us(0.99)
    }

    fn quantile_us(&self, share: f64) -> f64 {
        let last = self.sorted_ns.len().saturating_sub(1) as f64;
        self.sorted_ns.get((last * share).round() as usize).map_or(f64::NAN, |ns| *ns as f64 / 1e3)
    }
}

/// The least, the middle and the greatest of some figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    /// The least.
    pub(crate) min: f64,
    /// The middle one; of an even number, the mean of the two in the middle.
    pub(crate) median: f64,
    /// The greatest.
    pub(crate) max: f64,
}

impl Spread {
    /// Of these; not numbers if there are none.
    pub(crate) fn of(values: &[f64]) -> Spread {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let last = sorted.len().saturating_sub(1);
        Spread { min: at(0), median: f64::midpoint(at(last / 2), at(last.div_ceil(2))), max: at(last) }
    }
}
