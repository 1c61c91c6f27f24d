//! Running a batch: items go out while results come in.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Instant,
};

use sha2::{Digest, Sha256};
use tokio::{sync::mpsc, task};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    super::{connect::Server, failure::Failure, progress::Progress},
    input::{Input, Items, Lead},
    output::Output,
    show,
};
use crate::proto::{
    Batch, BatchOptions, BatchResult, RunBatchRequest, batch::State, batch_result, run_batch_request::Kind,
};

/// Items read ahead of the connection: enough to keep it busy, few enough to forget.
const READ_AHEAD: usize = 64;

/// What is to be run, and where its results go.
pub(super) struct Asked {
    pub(super) file: PathBuf,
    pub(super) lead: Lead,
    pub(super) concurrency: i32,
    pub(super) priority: i32,
    pub(super) output: PathBuf,
}

/// Runs a batch to its end, or goes on with one.
pub(super) async fn run(server: &Server, asked: Asked) -> Result<(), Failure> {
    let Asked { file, lead, concurrency, priority, output } = asked;
    let input = Input::check(&file, lead.clone()).map_err(|failure| failure.note("Nothing was sent."))?;
    let output = Output::open(&output)?;
    let description = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let options = BatchOptions {
        request_id: request_id(&input, &lead, concurrency, priority),
        max_concurrency: concurrency,
        priority,
        description: if description == "-" { "stdin".to_owned() } else { description.chars().take(120).collect() },
    };
    let mut client = server.connect_batches().await?;
    let begun = Instant::now();
    let (to, messages) = mpsc::channel(READ_AHEAD);
    let after_sequence = output.last_sequence;
    let first = RunBatchRequest { kind: Some(Kind::Options(options)), after_sequence };
    to.try_send(first).expect("there is room for the first message");
    let mut running = Running { output, batch: None, sent: Arc::default(), total: input.count, unsent: None };
    let work = async {
        let mut answers = client.run_batch(ReceiverStream::new(messages)).await?.into_inner();
        let first = answers.message().await?;
        let batch = running.begin(first)?;
        // Of one that has all its items the sender goes here, which says that there are no more.
        let mut sending = (batch.state() == State::Open).then_some(to).map(|to| running.send(input.items(), to));
        let mut progress = Progress::of("items", "running", running.total);
        loop {
            progress.set(running.output.last_sequence);
            tokio::select! {
                answer = answers.message() => match answer? {
                    Some(answer) => running.take(answer)?,
                    None => return Ok(()),
                },
                sent = async { sending.as_mut().expect("some are to be sent").await }, if sending.is_some() => {
                    sending = None;
                    running.were_sent(sent.map_err(|error| Failure::new(format!("reading broke: {error}")))?)?;
                }
            }
        }
    };
    let ended = tokio::select! {
        ended = work => ended,
        _ = tokio::signal::ctrl_c() => Err(Failure::new("interrupted")),
    };
    ended.map_err(|failure| running.resumable(failure))?;
    running.end(begun)
}

/// The same file with the same options is the same batch.
fn request_id(input: &Input, lead: &Lead, concurrency: i32, priority: i32) -> String {
    let Lead { model, agent } = lead;
    let told = format!("{}\n{model:?}\n{agent:?}\n{concurrency}\n{priority}", input.digest);
    let digest = Sha256::digest(told);
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("cli-{hex}")
}

/// A batch under way.
struct Running {
    output: Output,
    /// As the server told it last.
    batch: Option<Batch>,
    /// Items that were handed to the connection.
    sent: Arc<AtomicI64>,
    total: i64,
    /// There were items that could not be read: as long as it lives, the server does not take the rest for all.
    unsent: Option<mpsc::Sender<RunBatchRequest>>,
}

/// How the sending ended. The sender comes with it: when it goes, the server learns that it was all.
type Sent = (Result<(), Failure>, mpsc::Sender<RunBatchRequest>);

impl Running {
    fn begin(&mut self, first: Option<BatchResult>) -> Result<Batch, Failure> {
        let Some(BatchResult { kind: Some(batch_result::Kind::Batch(batch)), .. }) = first else {
            return Err(Failure::new("the server did not say which batch it is"));
        };
        self.output.belongs_to(&batch.id)?;
        eprintln!("{}", batch.id);
        self.batch = Some(batch.clone());
        Ok(batch)
    }

    /// Sends all items, from a thread of its own.
    fn send(&self, items: Result<Items, Failure>, to: mpsc::Sender<RunBatchRequest>) -> task::JoinHandle<Sent> {
        let sent = Arc::clone(&self.sent);
        task::spawn_blocking(move || {
            let read = items.and_then(|mut items| {
                while let Some(item) = items.next_item(|_| {})? {
                    let message = RunBatchRequest { kind: Some(Kind::Item(item)), after_sequence: 0 };
                    if to.blocking_send(message).is_err() {
                        break;
                    }
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            });
            (read, to)
        })
    }

    fn were_sent(&mut self, (read, to): Sent) -> Result<(), Failure> {
        if read.is_err() {
            self.unsent = Some(to);
        }
        read
    }

    fn take(&mut self, answer: BatchResult) -> Result<(), Failure> {
        match (answer.kind, &self.batch) {
            (Some(batch_result::Kind::Item(item)), Some(batch)) => self.output.write(&batch.id, answer.sequence, &item),
            (Some(batch_result::Kind::Batch(batch)), _) => {
                self.batch = Some(batch);
                Ok(())
            }
            (Some(batch_result::Kind::Item(_)) | None, _) => Ok(()),
        }
    }

    /// How to go on after a failure.
    fn resumable(&self, failure: Failure) -> Failure {
        let Some(batch) = &self.batch else { return failure };
        let sent = self.sent.load(Ordering::Relaxed);
        let open = batch.state() == State::Open && sent < self.total;
        let there = if open {
            format!("About {sent} of {} items had been sent; they go on on the server.", self.total)
        } else {
            "The batch goes on on the server.".to_owned()
        };
        failure
            .note(there)
            .note("Run the same command again to go on: nothing is run twice, and results that are there are kept.")
            .note(format!("causerie batch --status {0}, and --cancel {0} to stop it.", batch.id))
    }

    /// Sums up. An item that failed is a failure of the command.
    fn end(self, begun: Instant) -> Result<(), Failure> {
        let Some(batch) = self.batch.filter(|batch| batch.ended_at.is_some()) else {
            return Err(Failure::new("the server ended the call before the batch had ended")
                .note("Run the same command again to go on."));
        };
        eprint!("{}", show::summary(&batch, begun.elapsed()));
        let lost = batch.failed_count + batch.cancelled_count;
        match lost {
            0 => Ok(()),
            _ => Err(Failure::new(format!("{lost} of {} items failed or were cancelled", batch.item_count))),
        }
    }
}
