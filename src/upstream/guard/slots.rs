//! How many calls of a provider run at once, over all its models.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// For the average; calls are not that long.
const LONGEST_HELD: Duration = Duration::from_secs(3600);

/// A provider's limit on calls at once. Models wait for a slot in turn: each with the first of its turns, so that a model with
/// many waiting turns doesn't keep the others out.
#[derive(Debug)]
pub struct Slots {
    free: Arc<Semaphore>,
    max: usize,
    /// A moving average of how long a call holds its slot, in microseconds. Races lose a sample, no more.
    held_us: AtomicU64,
}

/// A call's slot, until dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    since: Instant,
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    /// At most so many calls at once.
    pub fn new(max: NonZeroUsize) -> Arc<Slots> {
        let max = max.get().min(Semaphore::MAX_PERMITS);
        Arc::new(Slots { free: Arc::new(Semaphore::new(max)), max, held_us: AtomicU64::new(0) })
    }

    /// The limit.
    pub fn max(&self) -> usize {
        self.max
    }

    /// Calls that run now.
    pub fn in_use(&self) -> usize {
        self.max - self.free.available_permits()
    }

    /// A slot, if one is free and nobody waits.
    pub(super) fn try_take(self: &Arc<Slots>, now: Instant) -> Option<Slot> {
        let permit = self.free.clone().try_acquire_owned().ok()?;
        Some(Slot { slots: self.clone(), since: now, _permit: permit })
    }

    /// A slot, when it is this one's turn.
    pub(super) async fn take(self: Arc<Slots>) -> Slot {
        let permit = self.free.clone().acquire_owned().await.expect("the semaphore is never closed");
        Slot { slots: self, since: Instant::now(), _permit: permit }
    }

    /// About when the slots have served so many more calls, from how long calls took so far.
    pub(super) fn free_in(&self, calls: usize) -> Duration {
        let held = Duration::from_micros(self.held_us.load(Ordering::Relaxed));
        held.mul_f64(calls as f64 / self.max as f64)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let held = self.since.elapsed().min(LONGEST_HELD).as_micros() as u64;
        let average = self.slots.held_us.load(Ordering::Relaxed);
        let next = if average == 0 { held } else { average - average / 8 + held / 8 };
        self.slots.held_us.store(next, Ordering::Relaxed);
    }
}
