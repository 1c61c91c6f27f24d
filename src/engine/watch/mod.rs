//! Watching the store: a reader of its log of changes, and by choice of the events of the turns behind them.
//!
//! A watcher holds a position and no queue: it reads changes that all share, and the logs of turns that others write. So it
//! costs nothing while it does not read, and nobody waits for it.

mod follow;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use self::follow::Follow;
use super::{Engine, Shared, failures};
use crate::{
    domain::{Change, ChangeKind, Event, Failure, Reason, TurnId, change::ChangeFilter},
    store,
};

/// Changes that are read and told at once.
pub const CHANGES_AT_ONCE: usize = 256;
/// Events that are told at once. So many are in memory for each reader, at most a few MB.
pub const EVENTS_AT_ONCE: usize = 256;
/// A reader that keeps up is told of what happens at most so often: on a busy store a thousand readers would else be woken for
/// each change. What comes after silence is told at once.
const PACE: Duration = Duration::from_millis(5);

/// Reads of the disk for all watchers at once: those that catch up must not hold up turns.
const READS_AT_ONCE: usize = 4;

/// What all watchers share.
#[derive(Debug)]
pub(super) struct Watching {
    reads: Semaphore,
    /// All turns have ended, and the server goes down.
    ending: CancellationToken,
}

impl Watching {
    pub(super) fn new() -> Watching {
        Watching { reads: Semaphore::new(READS_AT_ONCE), ending: CancellationToken::new() }
    }

    /// Nothing happens any more: watchers end when they have told what did.
    pub(super) fn end(&self) {
        self.ending.cancel();
    }

    /// Reads the store on a thread that may wait for the disk.
    async fn read<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
        // The semaphore is never closed.
        let _permit = self.reads.acquire().await;
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|_| Failure::new(Reason::Internal, "a read of the store panicked; the log says where"))
    }
}

/// Which revisions there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revisions {
    /// The newest one; 0 if nothing ever happened.
    pub newest: u64,
    /// The oldest one that is kept; one after the newest if none is.
    pub oldest: u64,
}

/// Where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchStart {
    /// With what happens from now on.
    Now,
    /// After this revision.
    After(u64),
    /// With the oldest change that is kept.
    Oldest,
}

/// An event of a turn.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnEvent {
    /// The turn.
    pub turn_id: TurnId,
    /// The event. Deltas may be merged, as for any reader that lags.
    pub event: Event,
}

/// What has happened since the watcher was asked before.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Watched {
    /// Events of turns, before the changes. At most [`EVENTS_AT_ONCE`] and what one turn has ready.
    pub events: Vec<TurnEvent>,
    /// The changes, in order. At most [`CHANGES_AT_ONCE`].
    pub changes: Vec<Arc<Change>>,
    /// All changes up to here were told or left out by the filter: whoever begins again after it misses none.
    pub revision: u64,
}

impl Watched {
    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.changes.is_empty()
    }
}

/// A reader of what happens in the store: each change once, in order, without gaps.
pub struct Watcher {
    shared: Arc<Shared>,
    filter: ChangeFilter,
    newest: watch::Receiver<u64>,
    /// The newest change that was read.
    read: u64,
    /// What was read and is not told yet.
    pending: VecDeque<Arc<Change>>,
    /// What the next answer has.
    ready: Watched,
    /// The events of turns, if they are wanted.
    follow: Option<Follow>,
    paced_until: Instant,
    /// It began with the oldest change and has read none: if that one goes meanwhile, the next one is the oldest.
    at_oldest: bool,
    /// What was the newest change when it began, until it has come that far.
    behind: Option<u64>,
    /// The server goes down, and what it did until then was read.
    last_read: bool,
}

impl Engine {
    /// A reader of what happens in the store, and with `events` of the events of turns: all of a turn come before the change
    /// that tells its end, those of turns in flight as they happen. `kinds` and `states` of the filter choose changes only.
    ///
    /// # Errors
    ///
    /// REVISION_GONE if what it would begin with is kept no more, INVALID_REQUEST if there never was such a revision.
    pub fn watch(&self, filter: ChangeFilter, start: WatchStart, events: bool) -> Result<Watcher, Failure> {
        let shared = self.shared.clone();
        let newest = shared.store.revision();
        let Revisions { newest: last, oldest } = self.revisions();
        let read = match start {
            WatchStart::Now => last,
            WatchStart::Oldest => oldest.saturating_sub(1),
            WatchStart::After(revision) if revision > last => return Err(failures::no_revision(revision, last)),
            WatchStart::After(revision) if revision.saturating_add(1) < oldest => {
                return Err(failures::store(store::Error::RevisionGone { oldest }));
            }
            WatchStart::After(revision) => revision,
        };
        Ok(Watcher {
            follow: events.then(|| Follow::new(&shared)),
            shared,
            filter,
            newest,
            read,
            pending: VecDeque::new(),
            ready: Watched { revision: read, ..Watched::default() },
            paced_until: Instant::now(),
            at_oldest: start == WatchStart::Oldest,
            behind: (read < last).then_some(last),
            last_read: false,
        })
    }

    /// Which revisions there are.
    pub fn revisions(&self) -> Revisions {
        let store = &self.shared.store;
        // In this order: the oldest one is never more than one after the newest.
        let oldest = store.oldest_revision();
        Revisions { newest: *store.revision().borrow(), oldest }
    }
}

impl Watcher {
    /// All changes up to here were told or left out by the filter.
    pub fn revision(&self) -> u64 {
        self.ready.revision
    }

    /// Waits for what the filter lets through, at most about so long; then the answer is empty but for the revision, which may
    /// have moved. It is empty, too, if the reader has come, at once, to what was the newest change when it began. May be dropped
    /// while it waits: nothing is lost.
    ///
    /// # Errors
    ///
    /// REVISION_GONE if the reader was so slow that what comes next is kept no more, SHUTTING_DOWN once the server has done its
    /// last turn and the reader has seen its end, STORE_FAILED. After an error nothing more comes.
    pub async fn next(&mut self, patience: Duration) -> Result<Watched, Failure> {
        let until = Instant::now() + patience;
        if self.pending.is_empty() {
            tokio::time::sleep_until(self.paced_until.min(until)).await;
        }
        loop {
            self.tell().await?;
            if let Some(follow) = &mut self.follow {
                follow.admit(&self.shared, &self.filter).await?;
                follow.gather(&mut self.ready.events);
            }
            let has_caught_up = self.behind.is_some_and(|newest| self.ready.revision >= newest);
            if !self.ready.is_empty() || has_caught_up {
                return Ok(self.answer());
            }
            let late = Instant::now() >= until;
            let more = !late && (self.read().await? || self.wait(until).await);
            if !more {
                return Ok(self.answer());
            }
        }
    }

    fn answer(&mut self) -> Watched {
        // Whoever is behind is told the rest as fast as it reads.
        let behind = *self.newest.borrow() >= self.read + CHANGES_AT_ONCE as u64;
        if !behind {
            self.paced_until = Instant::now() + PACE;
        }
        let revision = self.ready.revision;
        self.behind = self.behind.filter(|newest| revision < *newest);
        std::mem::replace(&mut self.ready, Watched { revision, ..Watched::default() })
    }

    /// Takes what was read into the answer: before the end of a turn what is left of its events.
    async fn tell(&mut self) -> Result<(), Failure> {
        while let Some(change) = self.pending.front() {
            if let Some(follow) = &mut self.follow
                && self.filter.concerns(change.subject())
            {
                if change.kind == ChangeKind::TurnStarted {
                    follow.begin(&self.shared, change.turn_id);
                }
                if change.ends_turn() && !follow.finish(&self.shared, change.turn_id, &mut self.ready.events).await? {
                    return Ok(());
                }
            }
            self.ready.revision = change.revision;
            if self.filter.fits(change) {
                self.ready.changes.push(change.clone());
            }
            self.pending.pop_front();
        }
        if let Some(follow) = &mut self.follow {
            follow.forget(self.ready.revision);
        }
        Ok(())
    }

    /// Reads the next changes. False: there are none.
    async fn read(&mut self) -> Result<bool, Failure> {
        if self.shared.watching.ending.is_cancelled() && std::mem::replace(&mut self.last_read, true) {
            return Err(failures::shutting_down());
        }
        let batch = self.changes().await?;
        // Before the changes are told: the turns that they end are known then, if they are still in flight.
        if let Some(follow) = &mut self.follow {
            follow.admit(&self.shared, &self.filter).await?;
        }
        let Some(last) = batch.last() else {
            return if self.last_read { Err(failures::shutting_down()) } else { Ok(false) };
        };
        (self.read, self.at_oldest) = (last.revision, false);
        self.pending.extend(batch);
        Ok(true)
    }

    /// The changes after the newest one that was read. None of them is lost if this is dropped.
    async fn changes(&mut self) -> Result<Vec<Arc<Change>>, Failure> {
        loop {
            let (store, after) = (self.shared.store.clone(), self.read);
            let read = match store.recent_changes(after, CHANGES_AT_ONCE) {
                Ok(Some(changes)) => return Ok(changes),
                Ok(None) => self.shared.watching.read(move || store.changes(after, CHANGES_AT_ONCE)).await?,
                Err(error) => Err(error),
            };
            match read {
                Err(store::Error::RevisionGone { oldest }) if self.at_oldest => {
                    self.read = oldest.saturating_sub(1);
                    self.ready.revision = self.read;
                }
                read => return read.map_err(failures::store),
            }
        }
    }

    /// Waits until there may be more to tell. False: there was nothing until then.
    async fn wait(&mut self, until: Instant) -> bool {
        let read = self.read;
        let ending = &self.shared.watching.ending;
        tokio::select! {
            // Only a store that is gone tells nothing any more.
            told = self.newest.wait_for(|newest| *newest > read) => told.is_ok(),
            () = follow::news(self.follow.as_mut(), &mut self.ready.events) => true,
            () = ending.cancelled() => true,
            () = tokio::time::sleep_until(until) => false,
        }
    }
}
