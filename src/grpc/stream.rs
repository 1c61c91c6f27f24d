//! A turn's log as a gRPC stream: paced, with heartbeats, ended by a status.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use tokio::time::Instant;
use tonic::Status;

use super::{convert, service::spent, status::status};
use crate::{
    domain::{Event, Failure, Reason},
    engine::{Engine, Read, Reader},
    proto,
};

/// How a reader wants its events.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    /// Leave the deltas out.
    pub(super) lifecycle: bool,
    /// Say something after so much silence.
    pub(super) heartbeat: Duration,
    /// When the caller's deadline passes.
    pub(super) deadline: Option<Instant>,
    /// For the status at the end.
    pub(super) request_id: String,
}

/// Deltas go out at most so often, several in one frame. A client that does not read keeps every small frame in its HTTP/2
/// receiver, and some receivers drop the connection when too many pile up (RUSTSEC-2026-0258); a person sees no difference.
/// The first delta, and everything that is no delta, goes out at once.
const PACE: Duration = Duration::from_millis(10);

/// The events that a reader finds, as messages; after a `response_error` the status that it carries.
pub(super) fn events(
    reader: Reader,
    terms: Terms,
) -> impl Stream<Item = Result<proto::Event, Status>> + Send + 'static {
    let feed = Feed {
        turn_id: reader.turn_id().to_string(),
        reader,
        terms,
        ready: VecDeque::new(),
        last_sent: Instant::now(),
        paced_until: Instant::now(),
        end: None,
    };
    stream::unfold(feed, |mut feed| async move {
        let item = feed.next().await?;
        Some((item, feed))
    })
}

struct Feed {
    turn_id: String,
    reader: Reader,
    terms: Terms,
    ready: VecDeque<Event>,
    last_sent: Instant,
    paced_until: Instant,
    end: Option<End>,
}

enum End {
    Failed(Box<Status>),
    Done,
}

impl Feed {
    async fn next(&mut self) -> Option<Result<proto::Event, Status>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(self.send(&event)));
            }
            match self.end.take() {
                Some(End::Failed(status)) => {
                    self.end = Some(End::Done);
                    return Some(Err(*status));
                }
                Some(End::Done) => return None,
                None => {}
            }
            self.reader.rest(self.paced_until).await;
            let silence = self.terms.heartbeat.saturating_sub(self.last_sent.elapsed());
            match self.reader.read(silence).await {
                Read::Events(batch) => self.ready.extend(batch.into_iter().filter(|event| self.terms.wants(event))),
                Read::Silence => return Some(Ok(self.heartbeat())),
                Read::End => self.end = Some(self.ending()),
            }
        }
    }

    fn send(&mut self, event: &Event) -> proto::Event {
        self.last_sent = Instant::now();
        if event.kind.is_delta() {
            self.paced_until = self.last_sent + PACE;
        }
        convert::event::write(&self.turn_id, event)
    }

    /// Also for a reader that has the terminal event already: a failed turn's stream never ends as if all were well. Nor does a
    /// stream that outlived its call's deadline, whose turn was cut by it.
    fn ending(&self) -> End {
        let late = || self.terms.deadline.is_some_and(|deadline| deadline <= Instant::now());
        let failure = match self.reader.failure() {
            Some(failure) => failure,
            None if late() => Arc::new(Failure::new(Reason::Timeout, "the call's deadline has passed")),
            None => return End::Done,
        };
        End::Failed(Box::new(status(&failure, &self.terms.request_id, spent(self.reader.has_output()))))
    }

    fn heartbeat(&mut self) -> proto::Event {
        self.last_sent = Instant::now();
        convert::event::heartbeat(&self.turn_id, Engine::now())
    }
}

impl Terms {
    fn wants(&self, event: &Event) -> bool {
        !(self.lifecycle && event.kind.is_delta())
    }
}
