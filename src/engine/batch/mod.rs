//! Batches: many turns that are run as one. Each item is a background turn; what makes it one of many is here: how it comes in,
//! how the whole is stopped, and how its results are read.

mod results;
mod take;

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use self::{
    results::{BatchRead, BatchReader, ItemOutcome},
    take::{BatchItem, Intake},
};
use super::{Caller, Engine, Shared, failures, ids, live::Stop};
use crate::{
    domain::{Batch, BatchId, BatchOptions, BatchState, Failure, TurnId},
    store::{self, Begun},
};

/// So many waiting items of a batch are cancelled at once: they share their syncs.
const CANCELLED_AT_ONCE: usize = 256;

/// What batches have in common.
#[derive(Debug, Default)]
pub(super) struct Batching {
    /// The server goes down: nothing is taken any more, and readers leave.
    pub(super) ending: CancellationToken,
    /// A background turn has ended: there may be room for another one.
    pub(super) room: Notify,
}

/// A page of batches.
#[derive(Debug)]
pub struct BatchPage {
    /// Newest first.
    pub batches: Vec<Batch>,
    /// Where the next page goes on; `None` on the last one.
    pub next: Option<BatchId>,
}

impl Engine {
    /// Makes a batch, or finds the one that the same request made before. The fingerprint is of the request without its id.
    pub async fn begin_batch(
        &self,
        options: BatchOptions,
        fingerprint: [u8; 16],
        caller: &Caller,
    ) -> Result<BatchId, Failure> {
        let shared = &self.shared;
        failures::refuse_key(caller.key.as_ref())?;
        if shared.batching.ending.is_cancelled() {
            return Err(failures::shutting_down());
        }
        shared.store.accepts_turns().map_err(failures::store)?;
        let id = BatchId(ids::entry_uuid());
        let most = options.max_concurrency as usize;
        let batch = Batch::new(id, options, ids::now());
        match shared.store.begin_batch(batch, fingerprint).await.map_err(failures::store)? {
            Begun::New => {
                let open: Vec<_> = shared.store.open_batches().iter().map(|batch| batch.id).collect();
                shared.background.limit_batch(id, most, &open);
                Ok(id)
            }
            Begun::Before(id, before) if before == fingerprint => Ok(id),
            Begun::Before(id, _) => Err(failures::batch_request_reused(id)),
        }
    }

    /// Says that all items of a batch were sent.
    pub async fn close_batch(&self, id: BatchId) -> Result<(), Failure> {
        let closed = self.shared.store.close_batch(id, false, ids::now()).await;
        closed.map(|_| ()).map_err(|error| not_found(id, error))
    }

    /// Stops a batch: those of its items that wait are cancelled, those that run are stopped. It goes on when this has returned,
    /// also after a crash.
    pub async fn cancel_batch(&self, id: BatchId) -> Result<Batch, Failure> {
        let batch = self.shared.store.close_batch(id, true, ids::now()).await.map_err(|error| not_found(id, error))?;
        if batch.ended_at.is_none() {
            self.shared.stop_items(id);
        }
        Ok(batch)
    }

    /// Reads a batch.
    pub async fn batch(&self, id: BatchId) -> Result<Batch, Failure> {
        let shared = self.shared.clone();
        let found = self.shared.blocking(move || shared.store.batch(id)).await?.map_err(failures::store)?;
        found.ok_or_else(|| failures::no_batch(id))
    }

    /// Lists batches, newest first.
    pub async fn batches(&self, before: Option<BatchId>, limit: usize) -> Result<BatchPage, Failure> {
        let shared = self.shared.clone();
        let read = move || shared.store.batches(before, limit.saturating_add(1));
        let mut batches = self.shared.blocking(read).await?.map_err(failures::store)?;
        let more = batches.len() > limit;
        batches.truncate(limit);
        let next = batches.last().map(|batch| batch.id).filter(|_| more);
        Ok(BatchPage { batches, next })
    }

    /// Goes on with the batches that had not ended when the server went down; after their turns were queued. Returns how many
    /// there are.
    pub fn recover_batches(&self) -> usize {
        let open = self.shared.store.open_batches();
        let ids: Vec<_> = open.iter().map(|batch| batch.id).collect();
        for batch in &open {
            self.shared.background.limit_batch(batch.id, batch.options.max_concurrency as usize, &ids);
            if batch.state == BatchState::Cancelled {
                self.shared.stop_items(batch.id);
            }
        }
        open.len()
    }
}

impl Shared {
    /// Cancels the items of a batch that have not ended.
    fn stop_items(self: &Arc<Shared>, id: BatchId) {
        // Or others would begin while these are cancelled.
        self.background.pause_batch(id, true);
        let shared = self.clone();
        let stop = async move {
            let turns = shared.background.turns_of_batch(id);
            let stopped = stream::iter(turns).map(|turn| shared.stop_item(turn));
            let stopped = stopped.buffer_unordered(CANCELLED_AT_ONCE).for_each(|()| std::future::ready(()));
            // What is left then is cancelled when the server is back.
            let _ = shared.batching.ending.run_until_cancelled(stopped).await;
            shared.background.pause_batch(id, false);
            shared.pump();
        };
        self.tasks.spawn(stop);
    }

    async fn stop_item(self: &Arc<Shared>, id: TurnId) {
        if let Err(failure) = self.stop_turn(id, Stop::Cancelled).await {
            tracing::warn!(turn = %id, ?failure, "an item of a batch could not be cancelled");
        }
    }
}

fn not_found(id: BatchId, error: store::Error) -> Failure {
    match error {
        store::Error::NotFound => failures::no_batch(id),
        error => failures::store(error),
    }
}
