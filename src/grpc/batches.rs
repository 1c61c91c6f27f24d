//! `BatchService`: items in, results out, at once and each at its own pace.

use std::{pin::Pin, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use tonic::{Request, Response, Status, Streaming};

use super::{
    convert,
    service::{Call, cursor},
};
use crate::{
    domain::{BatchId, Failure, Reason},
    engine::{BatchItem, BatchRead, BatchReader, Caller, Engine, Intake, ItemOutcome},
    proto::{self, batch_service_server::BatchService},
};

/// The service on an engine.
#[derive(Clone)]
pub(super) struct Batches {
    engine: Engine,
    heartbeat: Duration,
}

type Results = Pin<Box<dyn Stream<Item = Result<proto::BatchResult, Status>> + Send>>;

impl Batches {
    /// Serves this engine's batches. Streams say something after so much silence.
    pub(super) fn new(engine: Engine, heartbeat: Duration) -> Batches {
        Batches { engine, heartbeat }
    }

    fn feed(&self, reader: BatchReader, call: Call) -> Feed {
        let id = reader.batch().id;
        let (engine, heartbeat) = (self.engine.clone(), self.heartbeat);
        Feed { engine, id, reader, intake: None, heartbeat, call, ready: Vec::new().into_iter(), step: Step::Begin }
    }
}

#[tonic::async_trait]
impl BatchService for Batches {
    type RunBatchStream = Results;
    type WatchBatchStream = Results;

    async fn run_batch(
        &self,
        request: Request<Streaming<proto::RunBatchRequest>>,
    ) -> Result<Response<Results>, Status> {
        let call = Call::of(&request);
        let mut messages = request.into_inner();
        let first = messages.message().await?.unwrap_or_default();
        let first = convert::batch::first(first).map_err(call.refused())?;
        let convert::batch::First { options, fingerprint, after_sequence } = first;
        let caller = Caller { deadline: call.deadline, streaming: true, key: call.key.clone() };
        let id = self.engine.begin_batch(options, fingerprint, &caller).await.map_err(call.refused())?;
        let reader = self.engine.batch_results(id, after_sequence).await.map_err(call.refused())?;
        let intake = self.engine.take_items(reader.batch(), messages.map(item));
        let feed = Feed { intake: Some(intake), ..self.feed(reader, call) };
        Ok(Response::new(feed.stream()))
    }

    async fn watch_batch(&self, request: Request<proto::WatchBatchRequest>) -> Result<Response<Results>, Status> {
        let call = Call::of(&request);
        let (id, after) = convert::batch::watch(request.get_ref()).map_err(call.refused())?;
        let reader = self.engine.batch_results(id, after).await.map_err(call.refused())?;
        Ok(Response::new(self.feed(reader, call).stream()))
    }

    async fn get_batch(&self, request: Request<proto::GetBatchRequest>) -> Result<Response<proto::Batch>, Status> {
        let call = Call::of(&request);
        let id = convert::batch::batch_id(&request.get_ref().batch_id).map_err(call.refused())?;
        let batch = self.engine.batch(id).await.map_err(call.refused())?;
        Ok(Response::new(convert::batch::write(&batch)))
    }

    async fn list_batches(
        &self,
        request: Request<proto::ListBatchesRequest>,
    ) -> Result<Response<proto::ListBatchesResponse>, Status> {
        let call = Call::of(&request);
        let page = convert::batch::list(request.into_inner()).map_err(call.refused())?;
        let before = cursor(page.cursor.as_deref(), BatchId::from_bytes).map_err(call.refused())?;
        let found = self.engine.batches(before, page.size).await.map_err(call.refused())?;
        Ok(Response::new(proto::ListBatchesResponse {
            batches: found.batches.iter().map(convert::batch::write).collect(),
            next_page_token: found.next.map(|id| page.next_token(id.as_bytes())).unwrap_or_default(),
        }))
    }

    async fn cancel_batch(
        &self,
        request: Request<proto::CancelBatchRequest>,
    ) -> Result<Response<proto::Batch>, Status> {
        let call = Call::of(&request);
        let id = convert::batch::batch_id(&request.get_ref().batch_id).map_err(call.refused())?;
        let batch = self.engine.cancel_batch(id).await.map_err(call.refused())?;
        Ok(Response::new(convert::batch::write(&batch)))
    }
}

/// A message of RunBatch. One that does not arrive ends the taking of items, not the batch: its caller may come back.
fn item(message: Result<proto::RunBatchRequest, Status>) -> Result<BatchItem, Failure> {
    let message = message.map_err(|status| match status.code() {
        tonic::Code::OutOfRange | tonic::Code::ResourceExhausted => {
            Failure::new(Reason::MessageTooLarge, "an item is larger than messages may be")
        }
        _ => Failure::invalid_field("item", "cannot be read"),
    })?;
    let convert::batch::Item { index, request, size_bytes } = convert::batch::item(message)?;
    Ok(BatchItem { index, request, size_bytes })
}

/// The answers of a call: how the batch stands, its results, and how it ended.
struct Feed {
    engine: Engine,
    id: BatchId,
    reader: BatchReader,
    /// As long as items are taken.
    intake: Option<Intake>,
    heartbeat: Duration,
    call: Call,
    ready: std::vec::IntoIter<ItemOutcome>,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Begin,
    Results,
    Ended,
}

impl Feed {
    fn stream(self) -> Results {
        Box::pin(stream::unfold(self, |mut feed| async move {
            let message = feed.next().await.transpose()?;
            if message.is_err() {
                feed.step = Step::Ended;
            }
            Some((message.map_err(|failure| feed.call.refused()(failure)), feed))
        }))
    }

    async fn next(&mut self) -> Result<Option<proto::BatchResult>, Failure> {
        match self.step {
            Step::Begin => {
                self.step = Step::Results;
                return Ok(Some(convert::batch::write_standing(&self.reader.batch())));
            }
            Step::Ended => return Ok(None),
            Step::Results => {}
        }
        loop {
            if let Some(ItemOutcome { result, turn }) = self.ready.next() {
                return Ok(Some(convert::batch::write_result(&result, turn.as_ref())));
            }
            let read = match &mut self.intake {
                Some(intake) => tokio::select! {
                    read = self.reader.read(self.heartbeat) => read?,
                    taken = intake.ended() => {
                        taken?;
                        self.intake = None;
                        // Here and not where items are taken: a call that was cut off looks there as if all had been sent, but it
                        // gets no more answers.
                        self.engine.close_batch(self.id).await?;
                        continue;
                    }
                },
                None => self.reader.read(self.heartbeat).await?,
            };
            match read {
                BatchRead::Results(results) => self.ready = results.into_iter(),
                BatchRead::Silence => return Ok(Some(convert::batch::write_standing(&self.reader.batch()))),
                BatchRead::End => {
                    self.step = Step::Ended;
                    return Ok(Some(convert::batch::write_standing(&self.reader.batch())));
                }
            }
        }
    }
}
