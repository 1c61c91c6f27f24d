//! The log of changes: what happened in the whole store, numbered 1, 2, 3 … without gaps.
//!
//! A change's row is written right before the row that makes it true, its effect, and one lock orders all such pairs. So a
//! crash leaves at most the newest change without its effect; it goes at the next open, and its number is given again. Nobody
//! has seen it: readers see what is durable, and nothing else.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::watch;
use uuid::Uuid;

use super::{
    Inner, Store, batches,
    disk::Disk,
    error::Error,
    history::Row,
    keys,
    record::{
        change::{decode_change, encode_change},
        job,
    },
};
use crate::domain::{Change, ChangeKind, Time, TurnId};

/// So many of the newest changes are kept in memory, for all who watch: some seconds of a busy server, and a few MB.
const RECENT: usize = 16_384;

impl Store {
    /// The newest change that is durable, and each that follows: a reader of the log waits here.
    pub fn revision(&self) -> watch::Receiver<u64> {
        self.inner.log.durable.subscribe()
    }

    /// The oldest change that is kept; one more than the newest if none is.
    pub fn oldest_revision(&self) -> u64 {
        self.inner.log.oldest()
    }

    /// The durable changes that follow a revision, at most so many; none if there are none yet. The newest come from memory;
    /// for others it reads the disk, and blocks.
    ///
    /// # Errors
    ///
    /// [`Error::RevisionGone`]: some of them are kept no more. [`Error::Failed`].
    pub fn changes(&self, after: u64, limit: usize) -> Result<Vec<Arc<Change>>, Error> {
        self.inner.log.read(&self.inner.disk, after, limit)
    }

    /// The same as far as memory has it, without blocking. `None`: the disk has to be read.
    ///
    /// # Errors
    ///
    /// [`Error::RevisionGone`]: some of them are kept no more.
    pub fn recent_changes(&self, after: u64, limit: usize) -> Result<Option<Vec<Arc<Change>>>, Error> {
        let Some((first, last)) = self.inner.log.range(after, limit)? else { return Ok(Some(Vec::new())) };
        Ok(self.inner.log.recent(first, last))
    }

    /// Removes changes from the oldest on, as long as they happened before a moment, or all that are kept take more than so
    /// many bytes. The newest one always stays, so that no number is given twice. Returns how many it removed. Blocks, the
    /// first time to read all there are; durable with the next commit.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn expire_changes(&self, before: Time, max_bytes: u64) -> Result<u64, Error> {
        self.inner.flusher.writable()?;
        let Inner { log, disk, flusher, .. } = &*self.inner;
        log.expire(disk, before, max_bytes).map_err(|error| flusher.fail(error))
    }
}

/// The log, as far as it is in memory.
#[derive(Debug)]
pub(super) struct Log {
    /// Who writes a change. Guards the next number.
    tail: Mutex<Tail>,
    /// The newest change whose effect is written.
    newest: AtomicU64,
    /// The newest ones, without gaps.
    recent: RwLock<VecDeque<Arc<Change>>>,
    durable: watch::Sender<u64>,
    oldest: AtomicU64,
    /// Who removes changes.
    kept: Mutex<Kept>,
    /// Nobody waits for the disk, and so neither do readers of the log.
    unsynced: bool,
}

#[derive(Debug)]
struct Tail {
    next: u64,
    /// The turn of the newest change.
    turn: Uuid,
    /// Of all rows written since the store was opened.
    bytes: u64,
}

#[derive(Debug)]
struct Kept {
    /// The newest change when the store was opened.
    opened_at: u64,
    /// Of all rows up to that one, once they were counted, less all that was removed since: may be less than nothing.
    bytes: Option<i64>,
}

fn size(row: &[u8]) -> u64 {
    (keys::change(0).len() + row.len()) as u64
}

impl Log {
    /// The log of a store. Removes the newest change if a crash came between it and its effect.
    pub(super) fn open(disk: &Disk, sync: bool) -> Result<Log, Error> {
        let mut newest = newest(disk)?;
        if let Some(change) = &newest
            && !has_effect(disk, change)?
        {
            batches::undo(disk, change)?;
            disk.remove(keys::change(change.revision))?;
            newest = self::newest(disk)?;
        }
        let (revision, turn) = newest.map_or((0, Uuid::nil()), |change| (change.revision, change.turn_id.0));
        let oldest = disk.keys_of(&keys::ALL_CHANGES).next().transpose()?;
        Ok(Log {
            tail: Mutex::new(Tail { next: revision + 1, turn, bytes: 0 }),
            newest: AtomicU64::new(revision),
            recent: RwLock::new(VecDeque::new()),
            durable: watch::Sender::new(revision),
            oldest: AtomicU64::new(oldest.map_or(revision + 1, |key| keys::revision(&key))),
            kept: Mutex::new(Kept { opened_at: revision, bytes: None }),
            unsynced: !sync,
        })
    }

    /// Writes a change and its effect, which is one row. The change gets its number here.
    pub(super) fn write(
        &self,
        disk: &Disk,
        change: Change,
        effect: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.write_if(disk, change, || Ok(true), effect).map(|_| ())
    }

    /// The same, if something holds that only writers of changes alter. Returns whether it did.
    pub(super) fn write_if(
        &self,
        disk: &Disk,
        mut change: Change,
        holds: impl FnOnce() -> Result<bool, Error>,
        effect: impl FnOnce() -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let row = encode_change(&change);
        let mut tail = self.tail();
        if !holds()? {
            return Ok(false);
        }
        change.revision = tail.next;
        disk.insert(keys::change(change.revision), &row)?;
        effect()?;
        tail.next += 1;
        tail.turn = change.turn_id.0;
        tail.bytes += size(&row);
        let revision = change.revision;
        self.remember(change);
        // After it is in memory: what is published is there for all who are told of it.
        self.newest.store(revision, Ordering::Release);
        if self.unsynced {
            self.publish(revision);
        }
        Ok(true)
    }

    /// Does something while nobody writes a change.
    pub(super) fn alone<T>(&self, work: impl FnOnce() -> T) -> T {
        let _tail = self.tail();
        work()
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        // A writer that panicked has not taken its number, and the next one writes over what it left.
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, change: Change) {
        let change = Arc::new(change);
        let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back(change);
    }

    /// Whether the newest change is of this turn: what it did must then stay, as the proof that it was.
    pub(super) fn ends_with(&self, turn: Uuid) -> bool {
        self.tail().turn == turn
    }

    /// The newest change that was written. Everything of it is durable after the next flush.
    pub(super) fn newest(&self) -> u64 {
        self.newest.load(Ordering::Acquire)
    }

    /// Whether there is something that readers do not see yet.
    pub(super) fn is_ahead(&self) -> bool {
        self.newest() > *self.durable.borrow()
    }

    /// Shows readers what is durable now.
    pub(super) fn publish(&self, revision: u64) {
        self.durable.send_if_modified(|durable| {
            let grows = revision > *durable;
            *durable = revision.max(*durable);
            grows
        });
    }

    fn oldest(&self) -> u64 {
        self.oldest.load(Ordering::Acquire)
    }

    fn read(&self, disk: &Disk, after: u64, limit: usize) -> Result<Vec<Arc<Change>>, Error> {
        let Some((first, last)) = self.range(after, limit)? else { return Ok(Vec::new()) };
        match self.recent(first, last) {
            Some(changes) => Ok(changes),
            None => self.read_disk(disk, first, last),
        }
    }

    /// The first and the last of the durable changes that follow a revision, at most so many; `None` if none does.
    fn range(&self, after: u64, limit: usize) -> Result<Option<(u64, u64)>, Error> {
        let durable = *self.durable.borrow();
        let first = after.saturating_add(1);
        let oldest = self.oldest();
        if first < oldest {
            return Err(Error::RevisionGone { oldest });
        }
        let last = after.saturating_add(limit as u64).min(durable);
        Ok((first <= last).then_some((first, last)))
    }

    fn recent(&self, first: u64, last: u64) -> Option<Vec<Arc<Change>>> {
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
        let skip = first.checked_sub(recent.front()?.revision)?;
        let skip = usize::try_from(skip).ok()?;
        Some(recent.range(skip..).take((last - first) as usize + 1).cloned().collect())
    }

    fn read_disk(&self, disk: &Disk, first: u64, last: u64) -> Result<Vec<Arc<Change>>, Error> {
        let mut changes = Vec::new();
        for (row, revision) in disk.range(keys::change(first)..=keys::change(last)).zip(first..) {
            let (key, row) = row?;
            if keys::revision(&key) != revision {
                break;
            }
            changes.push(Arc::new(decode_change(revision, &row)?));
        }
        if !changes.is_empty() {
            return Ok(changes);
        }
        match self.oldest() {
            // They went while they were read.
            oldest if first < oldest => Err(Error::RevisionGone { oldest }),
            _ => Err(Error::failed(format_args!("the change of revision {first} is missing"))),
        }
    }

    fn expire(&self, disk: &Disk, before: Time, max_bytes: u64) -> Result<u64, Error> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = match kept.bytes {
            Some(bytes) => bytes,
            None => count(disk, kept.opened_at)?,
        };
        let newest = *self.durable.borrow();
        let mut removed = 0;
        for row in disk.range(keys::change(0)..keys::change(newest.max(1))) {
            let (key, row) = row?;
            let revision = keys::revision(&key);
            let all = bytes.saturating_add_unsigned(self.tail().bytes);
            let fits = u64::try_from(all).unwrap_or(0) <= max_bytes;
            if fits && decode_change(revision, &row)?.at >= before {
                break;
            }
            // First: who reads it from now on is told that it is gone, and not that it is missing.
            self.oldest.store(revision + 1, Ordering::Release);
            disk.remove(key)?;
            bytes = bytes.saturating_sub_unsigned(size(&row));
            removed += 1;
        }
        kept.bytes = Some(bytes);
        Ok(removed)
    }
}

fn newest(disk: &Disk) -> Result<Option<Change>, Error> {
    let Some(row) = disk.range(keys::change(0)..=keys::change(u64::MAX)).next_back() else { return Ok(None) };
    let (key, row) = row?;
    Ok(Some(decode_change(keys::revision(&key), &row)?))
}

/// Bytes of all changes up to a revision.
fn count(disk: &Disk, to: u64) -> Result<i64, Error> {
    let mut rows = disk.range(keys::change(0)..=keys::change(to));
    rows.try_fold(0i64, |sum, row| Ok(sum.saturating_add_unsigned(size(&row?.1))))
}

/// Whether what a change speaks of was written, too. Right only for the newest change: later ones undo it.
fn has_effect(disk: &Disk, change: &Change) -> Result<bool, Error> {
    let turn = change.turn_id.0;
    Ok(match change.kind {
        ChangeKind::TurnQueued => disk.contains(keys::job(turn))?,
        ChangeKind::TurnStarted => step(disk, change.turn_id)? == Some((true, change.attempt)),
        ChangeKind::TurnRequeued => step(disk, change.turn_id)? == Some((false, change.attempt)),
        ChangeKind::TurnEnded => disk.contains(Row::Failed(turn).key(0))? || disk.contains(keys::deleted(turn))?,
        ChangeKind::VersionCreated => disk.contains(keys::version(turn))?,
        ChangeKind::VersionDeleted => disk.contains(keys::deleted(turn))?,
        ChangeKind::BatchEnded => match change.batch {
            Some((batch, _)) => batches::has_ended(disk, batch)?,
            None => false,
        },
    })
}

/// Whether a job runs, and its attempt.
fn step(disk: &Disk, turn: TurnId) -> Result<Option<(bool, u32)>, Error> {
    let Some(row) = disk.get(keys::job(turn.0))? else { return Ok(None) };
    let state = job::Head::read(turn, &row)?.state;
    Ok(Some((state.running, state.attempt)))
}
