//! Runs one turn and shows it as it comes. A connection that breaks is made again and the stream taken up where it broke;
//! Ctrl-C cancels the turn and not the program.

use std::time::Duration;

use tokio::{signal, time};
use tonic::{Code, Status};
use uuid::Uuid;

use super::{screen::Screen, steps::Steps};
use crate::{
    cli::{
        Failure,
        connect::{Client, quick},
    },
    proto::{
        CancelTurnRequest, ErrorReason, Event, ResumeRequest, StreamEventsRequest, Turn, entry, event::Kind,
        stream_events_request::Request,
    },
};

/// Between attempts to take up a stream. Together less than the grace time for which a turn outlives its last reader.
const WAITS_MS: [u64; 7] = [100, 400, 1000, 2000, 4000, 8000, 8000];

/// Runs a turn to its end. An unfinished one is a turn too; one without any output is a failure.
///
/// The request gets a `request_id`, so that it can be sent again when the answer to it is lost.
pub(super) async fn run(client: &mut Client, screen: &mut Screen, mut request: Request) -> Result<Turn, Failure> {
    let request_id = Uuid::now_v7().to_string();
    match &mut request {
        Request::Start(start) => start.request_id = request_id,
        Request::Append(append) => append.request_id = request_id,
        Request::Restart(restart) => restart.request_id = request_id,
        Request::Resume(_) => {}
    }
    let (turn_id, message, steps) = (String::new(), String::new(), Steps::default());
    let mut watch = Watch { client, screen, request, turn_id, after: 0, message, steps, cancel: Cancel::No };
    let ended = watch.until_the_end().await;
    watch.screen.end_answer()?;
    ended
}

struct Watch<'a> {
    client: &'a mut Client,
    screen: &'a mut Screen,
    request: Request,
    /// Empty until the first event.
    turn_id: String,
    /// The newest event that was shown.
    after: i64,
    /// The entry whose pieces are shown; empty before the first piece.
    message: String,
    steps: Steps,
    cancel: Cancel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cancel {
    No,
    /// Ctrl-C came before the turn had an id.
    Wanted,
    Sent,
}

/// How a stream ended.
enum Ended {
    Turn(Box<Turn>),
    Failed(Failure),
    /// The connection broke; the turn goes on without us.
    Broken(Failure),
}

impl Watch<'_> {
    async fn until_the_end(&mut self) -> Result<Turn, Failure> {
        let mut waits = WAITS_MS.iter();
        loop {
            let before = self.after;
            let failure = match self.attach().await? {
                Ended::Turn(turn) => return Ok(*turn),
                Ended::Failed(failure) => return Err(failure),
                Ended::Broken(failure) => failure,
            };
            if self.after > before {
                waits = WAITS_MS.iter();
            }
            let Some(wait_ms) = waits.next() else { return Err(self.given_up(failure)) };
            if *wait_ms == WAITS_MS[0] {
                self.screen.note("the connection broke; taking it up again")?;
            }
            tokio::select! {
                () = time::sleep(Duration::from_millis(*wait_ms)) => {}
                _ = signal::ctrl_c() => return Err(self.given_up(failure)),
            }
        }
    }

    /// Reads one stream to its end.
    async fn attach(&mut self) -> Result<Ended, Failure> {
        let request = StreamEventsRequest { request: Some(self.next_request()), ..StreamEventsRequest::default() };
        let opened = tokio::select! {
            opened = self.client.stream_events(request) => opened,
            _ = signal::ctrl_c() => return Err(Failure::new("interrupted before the server answered")),
        };
        let mut events = match opened {
            Ok(events) => events.into_inner(),
            Err(status) => return Ok(end_of(&status)),
        };
        loop {
            tokio::select! {
                event = events.message() => match event {
                    Ok(Some(event)) => {
                        if let Some(ended) = self.take(event).await? {
                            return Ok(ended);
                        }
                    }
                    Ok(None) => return Ok(Ended::Broken(Failure::new("the stream ended too early"))),
                    Err(status) => return Ok(end_of(&status)),
                },
                _ = signal::ctrl_c() => self.interrupt().await?,
            }
        }
    }

    fn next_request(&self) -> Request {
        if self.turn_id.is_empty() {
            return self.request.clone();
        }
        Request::Resume(ResumeRequest { turn_id: self.turn_id.clone(), after_sequence: self.after })
    }

    async fn take(&mut self, event: Event) -> Result<Option<Ended>, Failure> {
        // A heartbeat has no sequence.
        self.after = self.after.max(event.sequence);
        self.turn_id = event.turn_id;
        if self.cancel == Cancel::Wanted {
            self.send_cancel().await?;
        }
        match event.kind {
            Some(Kind::ResponseDone(done)) => {
                let turn = done.turn.unwrap_or_default();
                self.show_missed(&turn)?;
                Ok(Some(Ended::Turn(Box::new(turn))))
            }
            Some(Kind::ResponseError(error)) => {
                Ok(Some(Ended::Failed(Failure::of_rpc_status(&error.status.unwrap_or_default()))))
            }
            Some(kind) => {
                self.show(&kind, event.created_at.as_ref())?;
                Ok(None)
            }
            None => Ok(None),
        }
    }

    fn show(&mut self, kind: &Kind, at: Option<&prost_types::Timestamp>) -> Result<(), Failure> {
        let Kind::MessageOutputDelta(delta) = kind else {
            return match self.steps.line(kind, at) {
                Some(line) => Ok(self.screen.note(&line)?),
                None => Ok(()),
            };
        };
        if let Some(chunk) = &delta.content {
            // What is said before a tool runs and after it are two messages, also where no note stands between.
            if self.message != delta.entry_id {
                self.screen.end_answer()?;
                self.message.clone_from(&delta.entry_id);
            }
            self.screen.piece(chunk)?;
        }
        Ok(())
    }

    /// Some providers send an answer whole; then it came without a delta.
    fn show_missed(&mut self, turn: &Turn) -> Result<(), Failure> {
        if !self.message.is_empty() {
            return Ok(());
        }
        let messages = turn.outputs.iter().filter_map(|entry| match &entry.kind {
            Some(entry::Kind::MessageOutput(message)) => Some(message),
            _ => None,
        });
        for message in messages {
            self.screen.end_answer()?;
            for chunk in &message.content {
                self.screen.piece(chunk)?;
            }
        }
        Ok(())
    }

    async fn interrupt(&mut self) -> Result<(), Failure> {
        match self.cancel {
            Cancel::No if self.turn_id.is_empty() => self.cancel = Cancel::Wanted,
            Cancel::No => self.send_cancel().await?,
            // Somebody who asks twice does not want to wait.
            Cancel::Wanted | Cancel::Sent => {
                return Err(self.given_up(Failure::new("left a turn that is being cancelled")));
            }
        }
        Ok(())
    }

    /// The stream goes on until it has said how the turn ended.
    async fn send_cancel(&mut self) -> Result<(), Failure> {
        self.cancel = Cancel::Sent;
        let request = CancelTurnRequest { turn_id: self.turn_id.clone() };
        if let Err(status) = self.client.cancel_turn(quick(request)).await {
            self.screen.note(&format!("cannot cancel the turn: {}", status.message()))?;
        }
        Ok(())
    }

    fn given_up(&self, failure: Failure) -> Failure {
        match self.turn_id.strip_prefix("turn_") {
            // The version that a turn makes has the turn's own digits.
            Some(digits) => failure.note(format!("If the turn still ends well, it is version conv_{digits}.")),
            None => failure,
        }
    }
}

/// A status that the service itself gives ends the turn; any other comes from the connection, and the turn goes on.
fn end_of(status: &Status) -> Ended {
    let failure = Failure::of_status(status);
    let broken = match failure.reason() {
        // Another server, or the same one again, will know the turn.
        Some(reason) => reason == ErrorReason::ShuttingDown.as_str_name(),
        None => {
            matches!(
                status.code(),
                Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled | Code::DataLoss
            )
        }
    };
    if broken { Ended::Broken(failure) } else { Ended::Failed(failure) }
}
