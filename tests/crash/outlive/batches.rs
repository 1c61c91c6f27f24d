//! Batches that are sent, left and sent again until each of their items has its result.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use causerie::proto::{
    self, Batch, BatchItem, BatchItemResult, BatchOptions, BatchResult, ChangeKind, RunBatchRequest, WatchBatchRequest,
    batch, batch_item::Request, batch_result::Kind, batch_service_client::BatchServiceClient, run_batch_request,
    turn::State,
};
use futures_util::{FutureExt, StreamExt, stream};
use tonic::{Status, Streaming, transport::Channel};

use super::known::{Known, lock};
use crate::support::{events::soon, random::Dice, server::start};

pub(super) type Client = BatchServiceClient<Channel>;

const ITEMS: usize = 30;
const AT_ONCE: i32 = 4;

/// A batch, and what its caller has of it.
#[derive(Debug, Default)]
pub(super) struct Run {
    request_id: String,
    /// What the items put in, by their place.
    inputs: Vec<String>,
    results: Vec<BatchItemResult>,
    /// As it was told last.
    batch: Batch,
}

/// All batches; the last one may be under way.
#[derive(Debug, Default)]
pub(super) struct Batches {
    runs: Vec<Run>,
}

impl Run {
    fn take(&mut self, answer: BatchResult) {
        match answer.kind.expect("one kind") {
            Kind::Batch(batch) => {
                assert!(self.batch.id.is_empty() || self.batch.id == batch.id, "a second batch: {batch:?}");
                assert!(batch.ended_count >= self.batch.ended_count, "{batch:?} after {:?}", self.batch);
                self.batch = batch;
            }
            Kind::Item(item) => {
                assert_eq!(answer.sequence, self.results.len() as i64 + 1, "a gap before {item:?}");
                self.results.push(item);
            }
        }
    }

    fn is_done(&self) -> bool {
        self.batch.state() == batch::State::Ended && self.results.len() == ITEMS
    }

    fn requests(&self) -> Vec<RunBatchRequest> {
        let request_id = self.request_id.clone();
        let options = BatchOptions { request_id, max_concurrency: AT_ONCE, ..BatchOptions::default() };
        let options = run_batch_request::Kind::Options(options);
        let first = RunBatchRequest { kind: Some(options), after_sequence: self.results.len() as i64 };
        let items = (0..).zip(&self.inputs).map(|(index, input)| {
            let item = BatchItem { index, request: Some(Request::Start(start(input))) };
            RunBatchRequest { kind: Some(run_batch_request::Kind::Item(item)), after_sequence: 0 }
        });
        [first].into_iter().chain(items).collect()
    }
}

impl Batches {
    /// The batch under way, or another one.
    fn current(&mut self, known: &Mutex<Known>) -> &mut Run {
        if self.runs.last().is_none_or(Run::is_done) {
            let mut known = lock(known);
            let inputs = (0..ITEMS).map(|_| known.next_input()).collect();
            let request_id = format!("batch-{}", known.inputs);
            self.runs.push(Run { request_id, inputs, ..Run::default() });
        }
        self.runs.last_mut().expect("there is one now")
    }
}

/// Runs one batch after the other until its server is gone.
pub(super) async fn work(mut client: Client, batches: &Mutex<Batches>, known: &Mutex<Known>, mut dice: Dice) {
    while step(&mut client, batches, known, &mut dice).await.is_ok() {}
}

/// One call: all of a batch, or a part of it, or only a look at its results.
async fn step(
    client: &mut Client,
    batches: &Mutex<Batches>,
    known: &Mutex<Known>,
    dice: &mut Dice,
) -> Result<(), Status> {
    let (requests, watch) = {
        let mut batches = lock(batches);
        let run = batches.current(known);
        let after_sequence = run.results.len() as i64;
        (run.requests(), WatchBatchRequest { batch_id: run.batch.id.clone(), after_sequence })
    };
    let few = dice.one_in(3).then(|| 1 + dice.below(12));
    let stream = match few {
        Some(_) if !watch.batch_id.is_empty() && dice.one_in(2) => client.watch_batch(watch).await?,
        // Not all are sent: whoever does this leaves.
        Some(few) => client.run_batch(stream::iter(requests).take(few).chain(stream::pending())).await?,
        None => client.run_batch(stream::iter(requests)).await?,
    };
    read(stream.into_inner(), batches, few).await
}

async fn read(mut answers: Streaming<BatchResult>, batches: &Mutex<Batches>, few: Option<usize>) -> Result<(), Status> {
    for read in 0..few.unwrap_or(usize::MAX) {
        // Of a batch of which not all was sent there may be no more.
        let next = match few {
            Some(_) if read > 0 => match answers.message().now_or_never() {
                Some(next) => next?,
                None => return Ok(()),
            },
            _ => answers.message().await?,
        };
        let Some(answer) = next else { return Ok(()) };
        lock(batches).runs.last_mut().expect("it was begun").take(answer);
    }
    Ok(())
}

/// Finishes the last batch; then every item has one result, the sums are those of the results, and they are told again as they
/// were. How many items there were.
pub(super) async fn finished(
    client: &mut Client,
    batches: &Mutex<Batches>,
    turns: &BTreeMap<String, proto::Turn>,
    changes: &[proto::Change],
) -> usize {
    let batches = std::mem::take(&mut *lock(batches));
    let mut ends: Vec<&str> = of_batches(changes).map(|change| change.batch_id.as_str()).collect();
    ends.sort_unstable();
    let mut ids: Vec<&str> = batches.runs.iter().map(|run| run.batch.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ends, ids, "batches that were told to have ended, and those that have");
    for run in &batches.runs {
        assert!(run.is_done(), "{:?}", run.batch);
        let indexes: BTreeSet<i32> = run.results.iter().map(|item| item.index).collect();
        assert_eq!(indexes, (0..ITEMS as i32).collect::<BTreeSet<_>>(), "each item has one result");
        for item in &run.results {
            assert_eq!((item.state(), item.turn.as_ref()), (State::Completed, turns.get(&item.turn_id)), "{item:?}");
        }
        summed(run);
        let request = WatchBatchRequest { batch_id: run.batch.id.clone(), after_sequence: 0 };
        let mut again = client.watch_batch(request).await.expect("there is such a batch").into_inner();
        let mut told = Run::default();
        while let Some(answer) = soon(again.message()).await.expect("it ends well") {
            told.take(answer);
        }
        assert_eq!((told.results, told.batch), (run.results.clone(), run.batch.clone()));
    }
    batches.runs.len() * ITEMS
}

/// Lets the batch under way come to its end, if there is one.
pub(super) async fn finish(client: &mut Client, batches: &Mutex<Batches>) {
    let unfinished = lock(batches).runs.last().filter(|run| !run.is_done()).map(Run::requests);
    if let Some(requests) = unfinished {
        let answers = client.run_batch(stream::iter(requests)).await.expect("it is taken").into_inner();
        soon(read(answers, batches, None)).await.expect("it ends well");
    }
}

fn summed(run: &Run) {
    let Batch { item_count, ended_count, completed_count, usage, .. } = &run.batch;
    assert_eq!([*item_count, *ended_count, *completed_count], [ITEMS as i64; 3], "{:?}", run.batch);
    let turns = run.results.iter().filter_map(|item| item.turn.as_ref());
    let tokens: i64 = turns.filter_map(|turn| turn.usage.as_ref()).map(|usage| usage.total_tokens).sum();
    assert_eq!(usage.as_ref().map(|usage| usage.total_tokens), Some(tokens));
}

/// The ends of batches.
pub(super) fn of_batches(changes: &[proto::Change]) -> impl Iterator<Item = &proto::Change> {
    changes.iter().filter(|change| change.kind() == ChangeKind::BatchEnded)
}
