//! Closed loops of callers: each asks again as soon as it was answered.

pub(crate) mod direct;
pub(crate) mod grpc;
pub(crate) mod tools;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{Result, stats::Latencies};

/// Somebody who asks.
pub(crate) trait Caller: Send + 'static {
    /// Asks once and waits for the whole answer. What it carries is added to the meter as it arrives.
    ///
    /// Gives the time to the first piece of the answer, where it comes in pieces.
    fn call(&mut self, meter: &Meter) -> impl Future<Output = Result<Option<Duration>>> + Send;
}

/// How much has been carried.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter {
    carried: Arc<AtomicU64>,
}

/// What a loop did while it was counted.
#[derive(Debug)]
pub(crate) struct Window {
    /// Of calls that began in the window.
    pub(crate) whole: Latencies,
    /// Of the same calls, to the first piece.
    pub(crate) first: Latencies,
    /// Calls or chunks that arrived in the window, a second.
    pub(crate) rate: f64,
    /// Calls or chunks of the whole loop, before and after the window too.
    pub(crate) carried: u64,
}

#[derive(Debug, Default)]
struct Tally {
    whole: Vec<Duration>,
    first: Vec<Duration>,
}

impl Meter {
    /// So many more.
    pub(crate) fn add(&self, count: u64) {
        self.carried.fetch_add(count, Ordering::Relaxed);
    }

    fn read(&self) -> (u64, Instant) {
        (self.carried.load(Ordering::Relaxed), Instant::now())
    }
}

/// Lets all callers ask for a while, and counts after the warm-up. The first failure ends it.
pub(crate) async fn closed_loop<C: Caller>(callers: Vec<C>, warm_up: Duration, window: Duration) -> Result<Window> {
    let meter = Meter::default();
    let start = Instant::now() + warm_up;
    let end = start + window;
    let mut tasks = JoinSet::new();
    for caller in callers {
        tasks.spawn(drive(caller, meter.clone(), start, end));
    }
    sleep_until(start).await;
    let (before, begun) = meter.read();
    sleep_until(end).await;
    let (after, ended) = meter.read();
    let mut tally = Tally::default();
    while let Some(done) = tasks.join_next().await {
        let one = done??;
        tally.whole.extend(one.whole);
        tally.first.extend(one.first);
    }
    Ok(Window {
        whole: Latencies::new(tally.whole),
        first: Latencies::new(tally.first),
        rate: (after - before) as f64 / (ended - begun).as_secs_f64(),
        carried: meter.read().0,
    })
}

async fn drive(mut caller: impl Caller, meter: Meter, start: Instant, end: Instant) -> Result<Tally> {
    let mut tally = Tally::default();
    loop {
        let begun = Instant::now();
        if begun >= end {
            return Ok(tally);
        }
        let first = caller.call(&meter).await?;
        if begun >= start {
            tally.whole.push(begun.elapsed());
            tally.first.extend(first);
        }
    }
}
