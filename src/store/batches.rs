//! Batches: many turns that are run as one, their items, and what came of each.
//!
//! What came of a turn is written with the turn: between its change and the row that makes that true. So a crash leaves either
//! both or at most a result whose change is the newest and without effect, and it goes with it. All else that is written of a
//! batch holds the log of changes meanwhile, so that nothing comes between.

mod live;

use tokio::sync::watch;

pub(super) use self::live::Batches;
use super::{
    Inner, JobEnd, Store,
    disk::Disk,
    error::Error,
    keys,
    record::batch::{
        decode_batch, decode_batch_request, decode_result, encode_batch, encode_batch_request, encode_result,
    },
};
use crate::domain::{
    Batch, BatchId, BatchState, Change, ChangeKind, ConversationId, Failure, ItemResult, Job, Money, Time, Turn,
    TurnId, TurnState, Usage,
};

/// So many items are written before other tasks get their turn.
const AT_ONCE: usize = 32;

/// An item that is new to a batch.
#[derive(Debug, Clone)]
pub enum NewItem {
    /// It is to be run. The job names the batch.
    Job(Box<Job>),
    /// It was refused.
    Refused {
        /// Its place in the batch.
        index: u32,
        /// Why.
        failure: Failure,
        /// When.
        at: Time,
    },
}

/// What became of an item on its way into a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is in.
    New,
    /// One with its index was there.
    Known,
    /// None is taken any more.
    Closed,
}

/// How a batch came to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// It is new.
    New,
    /// The same request made one before, with this fingerprint.
    Before(BatchId, [u8; 16]),
}

impl Store {
    /// Makes a batch, unless its request has made one before. Durable when this returns. The fingerprint is of the request.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn begin_batch(&self, batch: Batch, fingerprint: [u8; 16]) -> Result<Begun, Error> {
        let inner = &*self.inner;
        inner.flusher.writable()?;
        let begun = inner.log.alone(|| inner.begin_batch(batch, fingerprint));
        let begun = begun.map_err(|error| inner.flusher.fail(error))?;
        inner.flusher.flushed().await?;
        Ok(begun)
    }

    /// Takes items into a batch, and says what became of each. Durable when this returns, all with one sync. If the caller
    /// goes away, or a crash comes, some of them may have been taken, from the first on.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn add_items(&self, batch: BatchId, items: &[NewItem]) -> Result<Vec<Taken>, Error> {
        let inner = &*self.inner;
        inner.flusher.writable()?;
        let mut taken = Vec::with_capacity(items.len());
        for items in items.chunks(AT_ONCE) {
            for item in items {
                taken.push(inner.add_item(batch, item).map_err(|error| inner.flusher.fail(error))?);
            }
            tokio::task::yield_now().await;
        }
        inner.flusher.flushed().await?;
        Ok(taken)
    }

    /// Whether a batch has an item with this index.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn has_item(&self, batch: BatchId, index: u32) -> Result<bool, Error> {
        self.inner.disk.contains(keys::batch_item(batch.0, index))
    }

    /// Takes no more items into a batch: all are there, or (`cancel`) it is stopped. Durable when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Failed`].
    pub async fn close_batch(&self, id: BatchId, cancel: bool, at: Time) -> Result<Batch, Error> {
        let inner = &*self.inner;
        inner.flusher.writable()?;
        if inner.batches.now(id).is_none() {
            return inner.batch(id)?.ok_or(Error::NotFound);
        }
        let closed = inner.log.alone(|| inner.close_batch(id, cancel));
        closed.and_then(|()| inner.end_batch(id, at)).map_err(|error| inner.flusher.fail(error))?;
        inner.flusher.flushed().await?;
        inner.batch(id)?.ok_or(Error::NotFound)
    }

    /// A batch as it is durable, and each step that follows. None follows once it has ended.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn watch_batch(&self, id: BatchId) -> Result<Option<watch::Receiver<Batch>>, Error> {
        if let Some(shown) = self.inner.batches.shown(id) {
            return Ok(Some(shown));
        }
        Ok(self.inner.read_batch(id)?.map(|batch| watch::channel(batch).1))
    }

    /// A batch.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn batch(&self, id: BatchId) -> Result<Option<Batch>, Error> {
        self.inner.batch(id)
    }

    /// Batches, newest first, from before this one on, at most so many.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn batches(&self, before: Option<BatchId>, limit: usize) -> Result<Vec<Batch>, Error> {
        let end = before.map_or(uuid::Uuid::max(), |id| id.0);
        let heads = self.inner.disk.range(keys::batch(uuid::Uuid::nil())..keys::batch(end)).rev().take(limit);
        let ids: Vec<_> = heads.map(|row| Ok(BatchId(keys::last_id(&row?.0)))).collect::<Result<_, Error>>()?;
        ids.into_iter().filter_map(|id| self.inner.batch(id).transpose()).collect()
    }

    /// The batches that have not ended, in no order.
    pub fn open_batches(&self) -> Vec<Batch> {
        let Inner { batches, .. } = &*self.inner;
        batches.ids().into_iter().filter_map(|id| Some(batches.now(id)?.0)).collect()
    }

    /// The durable results of a batch that follow a sequence, at most so many. Reads the disk.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn results(&self, batch: &Batch, after: u32, limit: usize) -> Result<Vec<ItemResult>, Error> {
        let first = after.saturating_add(1);
        let last = u32::try_from(limit).map_or(u32::MAX, |limit| after.saturating_add(limit)).min(batch.tally.ended());
        if last < first {
            return Ok(Vec::new());
        }
        let rows = self.inner.disk.range(keys::batch_result(batch.id.0, first)..=keys::batch_result(batch.id.0, last));
        let results = rows.map(|row| {
            let (key, row) = row?;
            Ok(decode_result(keys::result_sequence(&key), &row)?)
        });
        results.collect()
    }
}

/// The end of a turn, as its batch counts it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ItemEnd {
    batch: BatchId,
    index: u32,
    turn: TurnId,
    state: TurnState,
    usage: Usage,
    cost: Option<Money>,
    at: Time,
}

impl ItemEnd {
    /// `None`: the turn is of no batch.
    pub(super) fn of(job: Option<&JobEnd>, turn: &Turn, at: Time) -> Option<ItemEnd> {
        let (batch, index) = job?.batch?;
        let Turn { id, state, usage, cost, .. } = turn;
        Some(ItemEnd { batch, index, turn: *id, state: *state, usage: usage.clone(), cost: *cost, at })
    }
}

/// That all turns of a batch have ended.
fn batch_ended(id: BatchId, at: Time) -> Change {
    Change {
        revision: 0,
        at,
        kind: ChangeKind::BatchEnded,
        turn_id: TurnId(uuid::Uuid::nil()),
        state: TurnState::Completed,
        root_id: ConversationId(uuid::Uuid::nil()),
        parent_id: None,
        model: String::new(),
        agent_id: None,
        labels: Vec::new(),
        attempt: 0,
        batch: Some((id, 0)),
        callback_url: None,
    }
}

impl Inner {
    /// The row that names the request goes first: alone it counts as none.
    fn begin_batch(&self, batch: Batch, fingerprint: [u8; 16]) -> Result<Begun, Error> {
        if let Some(request_id) = &batch.options.request_id {
            let key = keys::batch_request(request_id);
            if let Some(row) = self.disk.get(&key)? {
                let (before, fingerprint) = decode_batch_request(&row)?;
                if self.disk.contains(keys::batch(before.0))? {
                    return Ok(Begun::Before(before, fingerprint));
                }
            }
            self.disk.insert(key, &encode_batch_request(batch.id, fingerprint))?;
        }
        self.disk.insert(keys::batch(batch.id.0), &encode_batch(&batch))?;
        let at = batch.created_at;
        self.batches.begin(batch, at);
        Ok(Begun::New)
    }

    fn add_item(&self, batch: BatchId, item: &NewItem) -> Result<Taken, Error> {
        match item {
            NewItem::Job(job) => self.add_job_of_batch(job),
            NewItem::Refused { index, failure, at } => self.log.alone(|| {
                let taken = self.may_take(batch, *index)?;
                if taken == Taken::New {
                    self.refuse_item(batch, *index, failure, *at)?;
                }
                Ok(taken)
            }),
        }
    }

    /// Whether an item may be taken. Right as long as the caller holds the log of changes.
    pub(super) fn may_take(&self, batch: BatchId, index: u32) -> Result<Taken, Error> {
        if self.disk.contains(keys::batch_item(batch.0, index))? {
            return Ok(Taken::Known);
        }
        let open = self.batches.now(batch).is_some_and(|(batch, _)| batch.state == BatchState::Open);
        Ok(if open { Taken::New } else { Taken::Closed })
    }

    /// Takes an item; `accept` writes the row that makes it true.
    pub(super) fn take_item(
        &self,
        (batch, index): (BatchId, u32),
        turn: TurnId,
        accept: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.disk.insert(keys::batch_item(batch.0, index), turn.0.as_bytes())?;
        accept()?;
        self.note_item(batch);
        Ok(())
    }

    fn note_item(&self, batch: BatchId) {
        if let Some((mut batch, at)) = self.batches.now(batch) {
            batch.items += 1;
            self.batches.note(batch, at);
        }
    }

    /// The item's row is the last: if a crash comes between, the next open writes it.
    fn refuse_item(&self, batch: BatchId, index: u32, failure: &Failure, at: Time) -> Result<(), Error> {
        let state = TurnState::Failed;
        self.insert_result(batch, index, Err(failure.clone()), (state, &Usage::default(), None), at, || {
            self.disk.insert(keys::batch_item(batch.0, index), &[])
        })?;
        self.note_item(batch);
        Ok(())
    }

    /// Writes what came of an item, if the turn is one; `effect` writes the row that makes it true. The caller holds the log
    /// of changes.
    pub(super) fn end_item(
        &self,
        item: Option<&ItemEnd>,
        effect: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(ItemEnd { batch, index, turn, state, usage, cost, at }) = item else { return effect() };
        self.insert_result(*batch, *index, Ok(*turn), (*state, usage, *cost), *at, effect)
    }

    /// Ends the batch of an item that was its last.
    pub(super) fn end_batch_of(&self, item: Option<&ItemEnd>) -> Result<(), Error> {
        item.map_or(Ok(()), |item| self.end_batch(item.batch, item.at))
    }

    fn insert_result(
        &self,
        batch: BatchId,
        index: u32,
        turn: Result<TurnId, Failure>,
        (state, usage, cost): (TurnState, &Usage, Option<Money>),
        at: Time,
        effect: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some((mut batch, _)) = self.batches.now(batch) else { return effect() };
        batch.tally = std::mem::take(&mut batch.tally).and(state, usage, cost);
        let sequence = batch.tally.ended();
        let result = ItemResult { sequence, index, turn, state, at, tally: batch.tally.clone() };
        self.disk.insert(keys::batch_result(batch.id.0, sequence), &encode_result(&result))?;
        effect()?;
        self.batches.note(batch, at);
        Ok(())
    }

    fn close_batch(&self, id: BatchId, cancel: bool) -> Result<(), Error> {
        let Some((mut batch, at)) = self.batches.now(id) else { return Ok(()) };
        batch.state = match (batch.state, cancel) {
            (BatchState::Open, false) => BatchState::Running,
            (BatchState::Open | BatchState::Running, true) => BatchState::Cancelled,
            (BatchState::Running, false) | (BatchState::Ended | BatchState::Cancelled, _) => return Ok(()),
        };
        self.disk.insert(keys::batch(id.0), &encode_batch(&batch))?;
        self.batches.note(batch, at);
        Ok(())
    }

    /// Ends a batch if all its items have ended. It is told once.
    fn end_batch(&self, id: BatchId, at: Time) -> Result<(), Error> {
        let is_over = || {
            let now = self.batches.now(id);
            now.map(|(batch, _)| batch).filter(|batch| batch.is_over() && batch.ended_at.is_none())
        };
        if is_over().is_none() {
            return Ok(());
        }
        let holds = || Ok(is_over().is_some());
        let end = || {
            let Some(mut batch) = is_over() else { return Ok(()) };
            if batch.state == BatchState::Running {
                batch.state = BatchState::Ended;
            }
            batch.ended_at = Some(at);
            self.disk.insert(keys::batch(id.0), &encode_batch(&batch))?;
            self.batches.note(batch, at);
            Ok(())
        };
        self.log.write_if(&self.disk, batch_ended(id, at), holds, end).map(|_| ())
    }

    fn batch(&self, id: BatchId) -> Result<Option<Batch>, Error> {
        match self.batches.shown(id) {
            Some(shown) => Ok(Some(shown.borrow().clone())),
            None => self.read_batch(id),
        }
    }

    /// A batch that has ended, or (when the store is opened) any.
    fn read_batch(&self, id: BatchId) -> Result<Option<Batch>, Error> {
        let Some(row) = self.disk.get(keys::batch(id.0))? else { return Ok(None) };
        let mut batch = decode_batch(id, &row)?;
        if let Some(newest) = newest_result(&self.disk, id)? {
            batch.tally = newest.tally;
        }
        batch.items = batch.tally.ended();
        Ok(Some(batch))
    }

    /// Finds the batches that have not ended, and ends those that a crash kept from it.
    pub(super) fn heal_batches(&self) -> Result<(), Error> {
        for row in self.disk.range(keys::batch(uuid::Uuid::nil())..=keys::batch(uuid::Uuid::max())) {
            let (key, _) = row?;
            let id = BatchId(keys::last_id(&key));
            let Some(mut batch) = self.read_batch(id)?.filter(|batch| batch.ended_at.is_none()) else { continue };
            let newest = newest_result(&self.disk, id)?;
            if let Some(ItemResult { index, turn: Err(_), .. }) = &newest {
                self.disk.insert(keys::batch_item(id.0, *index), &[])?;
            }
            let items = self.disk.keys_of(&keys::batch_items(id.0)).try_fold(0, |count, key| key.map(|_| count + 1));
            batch.items = items?;
            let at = newest.map_or(batch.created_at, |result| result.at);
            self.batches.begin(batch, at);
            self.end_batch(id, at)?;
        }
        Ok(())
    }
}

fn newest_result(disk: &Disk, id: BatchId) -> Result<Option<ItemResult>, Error> {
    let Some(key) = disk.keys_of(&keys::batch_results(id.0)).next_back().transpose()? else { return Ok(None) };
    let Some(row) = disk.get(&key)? else { return Ok(None) };
    Ok(Some(decode_result(keys::result_sequence(&key), &row)?))
}

/// Whether a batch has ended.
pub(super) fn has_ended(disk: &Disk, id: BatchId) -> Result<bool, Error> {
    let Some(row) = disk.get(keys::batch(id.0))? else { return Ok(false) };
    Ok(decode_batch(id, &row)?.ended_at.is_some())
}

/// Removes what was written of a batch with a change that has no effect.
pub(super) fn undo(disk: &Disk, change: &Change) -> Result<(), Error> {
    let Some((batch, index)) = change.batch else { return Ok(()) };
    match change.kind {
        ChangeKind::TurnQueued => {
            let key = keys::batch_item(batch.0, index);
            let is_its = disk.get(key)?.is_some_and(|turn| *turn == *change.turn_id.0.as_bytes());
            if is_its { disk.remove(key) } else { Ok(()) }
        }
        ChangeKind::TurnEnded | ChangeKind::VersionCreated => match newest_result(disk, batch)? {
            Some(result) if result.turn == Ok(change.turn_id) => {
                disk.remove(keys::batch_result(batch.0, result.sequence))
            }
            Some(_) | None => Ok(()),
        },
        ChangeKind::TurnStarted | ChangeKind::TurnRequeued | ChangeKind::VersionDeleted | ChangeKind::BatchEnded => {
            Ok(())
        }
    }
}
