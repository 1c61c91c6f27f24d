//! A caller of BatchService, and what it keeps of the answers.

use std::{collections::BTreeSet, future::Future, ops::Range, time::Duration};

use causerie::proto::{
    self, Batch, BatchItem, BatchItemResult, BatchOptions, BatchResult, RunBatchRequest, batch::State,
    batch_item::Request, batch_result::Kind, batch_service_client::BatchServiceClient, run_batch_request,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use crate::support::server::start;

pub(super) type Client = BatchServiceClient<Channel>;

/// For a thousand turns on a busy machine.
pub(super) async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(180), future).await.expect("did not happen in time")
}

pub(super) fn options(request_id: &str, max_concurrency: i32) -> BatchOptions {
    BatchOptions { request_id: request_id.to_owned(), max_concurrency, ..Default::default() }
}

pub(super) fn item(index: i32, request: Request) -> RunBatchRequest {
    let item = BatchItem { index, request: Some(request) };
    RunBatchRequest { kind: Some(run_batch_request::Kind::Item(item)), after_sequence: 0 }
}

/// An item of one user message.
pub(super) fn prompt(index: i32) -> RunBatchRequest {
    item(index, Request::Start(start(&format!("Item {index}"))))
}

/// A RunBatch under way.
pub(super) struct Call {
    /// Dropped: all items were sent.
    items: Option<mpsc::Sender<RunBatchRequest>>,
    answers: Streaming<BatchResult>,
    /// As the first answer told it.
    pub(super) batch: Batch,
}

impl Call {
    /// Calls RunBatch, and waits for the first answer.
    pub(super) async fn begin(client: &mut Client, options: BatchOptions) -> Call {
        Call::try_begin(client, options, 0).await.expect("it is taken")
    }

    /// The same for results after this one, of a call that may be refused.
    pub(super) async fn try_begin(
        client: &mut Client,
        options: BatchOptions,
        after_sequence: i64,
    ) -> Result<Call, Status> {
        let (items, sent) = mpsc::channel(16);
        let first = RunBatchRequest { kind: Some(run_batch_request::Kind::Options(options)), after_sequence };
        items.send(first).await.expect("there is room");
        let mut answers = in_time(client.run_batch(ReceiverStream::new(sent))).await?.into_inner();
        let first = in_time(answers.message()).await?.expect("an answer");
        Ok(Call { items: Some(items), answers, batch: standing(first) })
    }

    pub(super) async fn send(&self, message: RunBatchRequest) {
        let items = self.items.as_ref().expect("not all were sent");
        in_time(items.send(message)).await.expect("the call lives");
    }

    /// Sends to a call that may have ended by now.
    pub(super) async fn send_late(&self, message: RunBatchRequest) {
        let items = self.items.as_ref().expect("not all were sent");
        // Whether it has is a matter of microseconds; what comes of the batch is not.
        let _ = in_time(items.send(message)).await;
    }

    /// Sends prompts from a task of its own, for they may be more than anybody takes at once, and then says that it was all.
    pub(super) fn send_all(&mut self, indexes: Range<i32>) {
        let items = self.items.take().expect("not all were sent");
        tokio::spawn(async move {
            for index in indexes {
                if items.send(prompt(index)).await.is_err() {
                    return;
                }
            }
        });
    }

    /// Says that all items were sent.
    pub(super) fn close(&mut self) {
        self.items = None;
    }

    /// The next answer.
    pub(super) async fn answer(&mut self) -> Result<Option<BatchResult>, Status> {
        in_time(self.answers.message()).await
    }

    /// The next result.
    pub(super) async fn result(&mut self) -> (i64, BatchItemResult) {
        next_result(&mut self.answers).await
    }

    /// Everything that is left, to its good end.
    pub(super) async fn rest(mut self) -> Results {
        rest(&mut self.answers).await
    }

    /// The error that the call ends with.
    pub(super) async fn error(mut self) -> Status {
        loop {
            match self.answer().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the call ended well"),
                Err(status) => return status,
            }
        }
    }

    /// Waits until an answer tells of the batch, and fits.
    pub(super) async fn until(&mut self, fits: impl Fn(&Batch) -> bool) -> Batch {
        loop {
            match self.answer().await.expect("no error").expect("an answer").kind {
                Some(Kind::Batch(batch)) if fits(&batch) => return batch,
                Some(_) => {}
                None => panic!("an empty answer"),
            }
        }
    }
}

/// Results, and the batch as the last answer told it.
pub(super) struct Results {
    pub(super) items: Vec<(i64, BatchItemResult)>,
    pub(super) batch: Batch,
}

impl Results {
    /// The sequences are those from `first` on, without gaps, and the counts and sums are those of the items.
    #[track_caller]
    pub(super) fn assert_numbered(&self, first: i64) {
        let sequences = self.items.iter().map(|(sequence, _)| *sequence);
        assert!(sequences.eq(first..first + self.items.len() as i64), "there are gaps");
    }

    /// Each of these indexes has one result.
    #[track_caller]
    pub(super) fn assert_each_once(&self, indexes: impl IntoIterator<Item = i32>) {
        let expected: BTreeSet<i32> = indexes.into_iter().collect();
        assert_eq!(self.items.len(), expected.len());
        assert_eq!(self.items.iter().map(|(_, item)| item.index).collect::<BTreeSet<_>>(), expected);
    }

    /// The counts and sums of the batch are those of its items. All of them are here.
    #[track_caller]
    pub(super) fn assert_summed(&self) {
        use proto::turn::State as Turn;
        let Batch { item_count, ended_count, completed_count, incomplete_count, .. } = self.batch;
        let Batch { failed_count, cancelled_count, .. } = self.batch;
        let of = |states: &[Turn]| self.items.iter().filter(|(_, item)| states.contains(&item.state())).count() as i64;
        assert_eq!([item_count, ended_count], [self.items.len() as i64; 2]);
        assert_eq!(
            [completed_count, incomplete_count, failed_count, cancelled_count],
            [
                of(&[Turn::Completed, Turn::RequiresAction]),
                of(&[Turn::Incomplete]),
                of(&[Turn::Failed]),
                of(&[Turn::Cancelled])
            ]
        );
        let turns = || self.items.iter().filter_map(|(_, item)| item.turn.as_ref());
        let tokens: i64 = turns().filter_map(|turn| turn.usage.as_ref()).map(|usage| usage.total_tokens).sum();
        assert_eq!(self.batch.usage.as_ref().expect("a sum").total_tokens, tokens);
        let cost: i128 = turns().filter_map(|turn| turn.cost.as_ref()).map(picos).sum();
        assert_eq!(picos(self.batch.cost.as_ref().expect("a sum")), cost);
    }
}

fn picos(money: &proto::Money) -> i128 {
    (i128::from(money.units) * 1_000_000_000 + i128::from(money.nanos)) * 1000 + i128::from(money.picos)
}

/// WatchBatch from a sequence on, after its first answer.
pub(super) async fn watch(client: &mut Client, id: &str, after_sequence: i64) -> (Batch, Streaming<BatchResult>) {
    let request = proto::WatchBatchRequest { batch_id: id.to_owned(), after_sequence };
    let mut answers = in_time(client.watch_batch(request)).await.expect("there is such a batch").into_inner();
    let first = in_time(answers.message()).await.expect("no error").expect("an answer");
    (standing(first), answers)
}

pub(super) async fn get(client: &mut Client, id: &str) -> Batch {
    let request = proto::GetBatchRequest { batch_id: id.to_owned() };
    in_time(client.get_batch(request)).await.expect("there is such a batch").into_inner()
}

pub(super) async fn rest(answers: &mut Streaming<BatchResult>) -> Results {
    let (mut items, mut last) = (Vec::new(), None);
    while let Some(answer) = in_time(answers.message()).await.expect("it ends well") {
        match answer.kind.expect("one kind") {
            Kind::Batch(batch) => last = Some(batch),
            Kind::Item(item) => {
                last = None;
                items.push((answer.sequence, item));
            }
        }
    }
    let batch = last.expect("the batch comes last");
    assert!(batch.ended_at.is_some() && matches!(batch.state(), State::Ended | State::Cancelled), "{batch:?}");
    Results { items, batch }
}

pub(super) async fn next_result(answers: &mut Streaming<BatchResult>) -> (i64, BatchItemResult) {
    loop {
        let answer = in_time(answers.message()).await.expect("no error").expect("an answer");
        if let Some(Kind::Item(item)) = answer.kind {
            return (answer.sequence, item);
        }
    }
}

fn standing(answer: BatchResult) -> Batch {
    match (answer.sequence, answer.kind) {
        (0, Some(Kind::Batch(batch))) => batch,
        other => panic!("not how the batch stands: {other:?}"),
    }
}
