//! Batches that have not ended, in memory: as they are written, and as they are durable, which is what others see.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::domain::{Batch, BatchId, Time};

/// The batches that have not ended, and those whose end is not yet durable.
#[derive(Debug)]
pub(in crate::store) struct Batches {
    live: Mutex<Live>,
    /// Nobody waits for the disk, and so neither do readers of batches.
    unsynced: bool,
}

#[derive(Debug, Default)]
struct Live {
    /// Grows with each flush. What is written in one epoch is durable after the flush that ends it.
    epoch: u64,
    batches: HashMap<BatchId, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// As it is written.
    now: Batch,
    /// When its newest item ended.
    at: Time,
    /// As it was at the end of each epoch that is not yet durable: two at most.
    ahead: VecDeque<(u64, Batch)>,
    /// As it is durable.
    shown: watch::Sender<Batch>,
}

impl Batches {
    /// None yet.
    pub(in crate::store) fn new(sync: bool) -> Batches {
        Batches { live: Mutex::default(), unsynced: !sync }
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        // Entries are replaced whole: a poisoned lock guards batches all the same.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a batch in that has not ended, and shows it. `at`: when its newest item ended.
    pub(super) fn begin(&self, batch: Batch, at: Time) {
        let shown = watch::Sender::new(batch.clone());
        self.lock().batches.insert(batch.id, Entry { now: batch, at, ahead: VecDeque::new(), shown });
    }

    /// A batch as it is written, with the time at which its newest item ended.
    pub(super) fn now(&self, id: BatchId) -> Option<(Batch, Time)> {
        self.lock().batches.get(&id).map(|entry| (entry.now.clone(), entry.at))
    }

    /// A batch as it is durable, and each step that follows.
    pub(super) fn shown(&self, id: BatchId) -> Option<watch::Receiver<Batch>> {
        self.lock().batches.get(&id).map(|entry| entry.shown.subscribe())
    }

    /// Those that have not ended.
    pub(super) fn ids(&self) -> Vec<BatchId> {
        self.lock().batches.keys().copied().collect()
    }

    /// A batch has come further, and the rows that say so are written. Callers take turns: they hold the log of changes.
    pub(super) fn note(&self, batch: Batch, at: Time) {
        let mut live = self.lock();
        let (epoch, id) = (live.epoch, batch.id);
        let Some(entry) = live.batches.get_mut(&id) else { return };
        entry.now = batch;
        entry.at = at;
        if self.unsynced {
            entry.shown.send_replace(entry.now.clone());
            if entry.now.ended_at.is_some() {
                live.batches.remove(&id);
            }
            return;
        }
        let now = entry.now.clone();
        match entry.ahead.back_mut().filter(|(of, _)| *of == epoch) {
            Some(newest) => newest.1 = now,
            None => entry.ahead.push_back((epoch, now)),
        }
    }

    /// Everything that was noted so far is durable after the flush that begins now.
    pub(in crate::store) fn flushing(&self) -> u64 {
        let mut live = self.lock();
        let epoch = live.epoch;
        live.epoch += 1;
        epoch
    }

    /// Shows readers what is durable now.
    pub(in crate::store) fn flushed(&self, epoch: u64) {
        self.lock().batches.retain(|_, entry| {
            let mut newest = None;
            while entry.ahead.front().is_some_and(|(of, _)| *of <= epoch) {
                newest = entry.ahead.pop_front().map(|(_, batch)| batch);
            }
            let Some(batch) = newest else { return true };
            let ended = batch.ended_at.is_some();
            entry.shown.send_replace(batch);
            !ended
        });
    }
}
