//! The results of a batch: those that are there, and then each as it comes. A reader is a place among them and nothing else,
//! so that a slow one costs no memory and holds up nobody.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{Engine, Shared, failures};
use crate::domain::{Batch, BatchId, Failure, ItemResult, Turn};

/// So many results are read together at most.
const AT_ONCE: usize = 64;
/// Fewer, if their turns are large: about so many bytes of text.
const BYTES_AT_ONCE: usize = 1 << 20;

/// Reads the results of a batch, from a place on.
pub struct BatchReader {
    shared: Arc<Shared>,
    standing: watch::Receiver<Batch>,
    /// The results up to here were read.
    after: u32,
}

/// What a reader finds.
#[derive(Debug)]
pub enum BatchRead {
    /// The next results.
    Results(Vec<ItemOutcome>),
    /// Nothing for so long.
    Silence,
    /// There are no more, and there will be none.
    End,
}

/// A result with its turn.
#[derive(Debug)]
pub struct ItemOutcome {
    /// The result.
    pub result: ItemResult,
    /// The turn as it ended; `None`: it was refused, or is kept no more.
    pub turn: Option<Turn>,
}

impl Engine {
    /// The results of a batch after a sequence: those that are there, and those that follow.
    pub async fn batch_results(&self, id: BatchId, after: u32) -> Result<BatchReader, Failure> {
        let shared = self.shared.clone();
        let found = self.shared.blocking(move || shared.store.watch_batch(id)).await?.map_err(failures::store)?;
        let standing = found.ok_or_else(|| failures::no_batch(id))?;
        Ok(BatchReader { shared: self.shared.clone(), standing, after })
    }
}

impl BatchReader {
    /// The batch as it stands.
    pub fn batch(&self) -> Batch {
        self.standing.borrow().clone()
    }

    /// Waits for the next results, at most so long.
    pub async fn read(&mut self, silence: Duration) -> Result<BatchRead, Failure> {
        let silence = tokio::time::sleep(silence);
        tokio::pin!(silence);
        loop {
            if self.shared.batching.ending.is_cancelled() {
                return Err(failures::shutting_down());
            }
            let batch = self.standing.borrow_and_update().clone();
            if batch.tally.ended() > self.after {
                return self.page(batch).await.map(BatchRead::Results);
            }
            if batch.ended_at.is_some() {
                return Ok(BatchRead::End);
            }
            tokio::select! {
                changed = self.standing.changed() => changed.map_err(|_| failures::shutting_down())?,
                () = &mut silence => return Ok(BatchRead::Silence),
                () = self.shared.batching.ending.cancelled() => {}
            }
        }
    }

    async fn page(&mut self, batch: Batch) -> Result<Vec<ItemOutcome>, Failure> {
        let (shared, after) = (self.shared.clone(), self.after);
        let page = self.shared.blocking(move || shared.outcomes(&batch, after)).await??;
        self.after = page.last().map_or(after, |outcome| outcome.result.sequence);
        Ok(page)
    }
}

impl Shared {
    fn outcomes(&self, batch: &Batch, after: u32) -> Result<Vec<ItemOutcome>, Failure> {
        let mut bytes = 0;
        let mut page = Vec::new();
        for result in self.store.results(batch, after, AT_ONCE).map_err(failures::store)? {
            let turn = match &result.turn {
                Ok(id) => self.store.turn(*id).map_err(failures::store)?.map(|ended| ended.turn),
                Err(_) => None,
            };
            bytes += turn.iter().flat_map(|turn| &turn.outputs).map(|entry| entry.size_bytes()).sum::<usize>();
            page.push(ItemOutcome { result, turn });
            if bytes >= BYTES_AT_ONCE {
                break;
            }
        }
        Ok(page)
    }
}
