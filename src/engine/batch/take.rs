//! Taking items into a batch: checked like any turn, and written many at a time. An item that is refused has a result at once.

use std::{pin::pin, sync::Arc};

use futures_util::{FutureExt, Stream, StreamExt};
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Engine, Shared, failures, ids};
use crate::{
    domain::{Batch, BatchState, Failure, Job, Reason, request::TurnRequest},
    store::{NewItem, Taken},
};

/// As many items are written together, if they are there: a sync costs as much as some dozen of them.
const AT_ONCE: usize = 256;
/// Fewer, if they are large.
const BYTES_AT_ONCE: usize = 4 << 20;

/// An item on its way into a batch.
#[derive(Debug)]
pub struct BatchItem {
    /// Its place.
    pub index: u32,
    /// What is asked, or why it is refused. `background` is given.
    pub request: Result<Box<TurnRequest>, Failure>,
    /// About how much memory it takes.
    pub size_bytes: usize,
}

/// Items are taken. Dropping it says that nobody waits for more of them to be.
#[derive(Debug)]
pub struct Intake {
    ended: oneshot::Receiver<Result<(), Failure>>,
    _stop: DropGuard,
}

impl Intake {
    /// Waits until all items are in that were sent.
    pub async fn ended(&mut self) -> Result<(), Failure> {
        let died = || Failure::new(Reason::Internal, "a fault of the service ended the taking of items");
        (&mut self.ended).await.unwrap_or_else(|_| Err(died()))
    }
}

impl Engine {
    /// Takes the items that come, in a task of its own: they are taken whether or not somebody reads the results. What was
    /// there when the caller left is in.
    pub fn take_items(
        &self,
        batch: Batch,
        items: impl Stream<Item = Result<BatchItem, Failure>> + Send + 'static,
    ) -> Intake {
        let (tell, ended) = oneshot::channel();
        let stop = CancellationToken::new();
        let (shared, left) = (self.shared.clone(), stop.clone());
        self.shared.tasks.spawn(async move {
            let taken = shared.take_all(&batch, items, left).await;
            // Nobody may be left to tell.
            let _ = tell.send(taken);
        });
        Intake { ended, _stop: stop.drop_guard() }
    }
}

impl Shared {
    async fn take_all(
        self: &Arc<Shared>,
        batch: &Batch,
        items: impl Stream<Item = Result<BatchItem, Failure>>,
        left: CancellationToken,
    ) -> Result<(), Failure> {
        let mut items = pin!(items);
        loop {
            let first = tokio::select! {
                biased;
                () = self.batching.ending.cancelled() => return Err(failures::shutting_down()),
                item = items.next() => item,
                () = left.cancelled() => return Ok(()),
            };
            let Some(first) = first.transpose()? else { return Ok(()) };
            let mut bytes = first.size_bytes;
            let mut group = vec![first];
            let mut end = None;
            while group.len() < AT_ONCE && bytes < BYTES_AT_ONCE && end.is_none() {
                match items.next().now_or_never() {
                    Some(Some(Ok(item))) => {
                        bytes += item.size_bytes;
                        group.push(item);
                    }
                    Some(Some(Err(failure))) => end = Some(Err(failure)),
                    Some(None) => end = Some(Ok(())),
                    None => break,
                }
            }
            self.take(batch, group).await?;
            if let Some(end) = end {
                return end;
            }
        }
    }

    async fn take(self: &Arc<Shared>, batch: &Batch, items: Vec<BatchItem>) -> Result<(), Failure> {
        self.store.accepts_turns().map_err(failures::store)?;
        let mut new = Vec::with_capacity(items.len());
        for item in items {
            if !self.store.has_item(batch.id, item.index).map_err(failures::store)? {
                new.push(self.item_of(batch, item).await?);
            }
        }
        self.wait_for_room(new.len()).await?;
        let taken = self.store.add_items(batch.id, &new).await.map_err(failures::store)?;
        let closed = taken.iter().position(|taken| *taken == Taken::Closed).map(|at| index_of(&new[at]));
        let accepted = new.into_iter().zip(taken).filter(|(_, taken)| *taken == Taken::New);
        let jobs: Vec<Job> = accepted.filter_map(|(item, _)| job_of(item)).collect();
        self.enqueue(&jobs);
        let state = self.store.batch(batch.id).map_err(failures::store)?.map(|batch| batch.state);
        match (state, closed) {
            (Some(BatchState::Cancelled), _) => {
                // Somebody may have stopped it before the last ones were queued.
                if !jobs.is_empty() {
                    self.stop_items(batch.id);
                }
                Ok(())
            }
            (_, Some(index)) => Err(failures::batch_closed(batch.id, index)),
            (_, None) => Ok(()),
        }
    }

    async fn item_of(self: &Arc<Shared>, batch: &Batch, item: BatchItem) -> Result<NewItem, Failure> {
        let BatchItem { index, request, size_bytes: _ } = item;
        let job = match request {
            Ok(mut request) => {
                if let Some(background) = request.background.as_mut().filter(|background| background.priority == 0) {
                    background.priority = batch.options.priority;
                }
                match request.callback_url.as_deref().map_or(Ok(()), |url| self.check_callback(url)) {
                    Ok(()) => self.job_of(self.ids.next(), *request, None, Some((batch.id, index))).await,
                    Err(failure) => Err(failure),
                }
            }
            Err(failure) => Err(failure),
        };
        match job {
            Ok(job) => Ok(NewItem::Job(Box::new(job))),
            // It is not the item's fault.
            Err(failure) if matches!(failure.reason, Reason::StoreFailed | Reason::ShuttingDown) => Err(failure),
            Err(failure) => {
                let failure = failure.with("index", index.to_string());
                Ok(NewItem::Refused { index, failure, at: ids::now() })
            }
        }
    }

    /// Waits until so many more background turns are taken.
    async fn wait_for_room(&self, more: usize) -> Result<(), Failure> {
        loop {
            let mut ended = pin!(self.batching.room.notified());
            ended.as_mut().enable();
            if self.check_background(more).is_ok() {
                return Ok(());
            }
            tokio::select! {
                () = ended => {}
                () = self.batching.ending.cancelled() => return Err(failures::shutting_down()),
            }
        }
    }
}

fn index_of(item: &NewItem) -> u32 {
    match item {
        NewItem::Job(job) => job.batch.map_or(0, |(_, index)| index),
        NewItem::Refused { index, .. } => *index,
    }
}

fn job_of(item: NewItem) -> Option<Job> {
    match item {
        NewItem::Job(job) => Some(*job),
        NewItem::Refused { .. } => None,
    }
}
