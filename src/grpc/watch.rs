//! `WatchService`: what happens in the store, as a stream.

use std::{collections::VecDeque, pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use prost::Message;
use tonic::{Request, Response, Status};

use super::{convert, service::Call};
use crate::{
    domain::{Change, Failure},
    engine::{Engine, TurnEvent, Watched, Watcher},
    proto::{self, watch_service_server::WatchService},
};

/// A message takes no more events once it has so many bytes: far below what clients take in one, also with the changes, which
/// have some 100 KiB, beside it. An event that is larger goes alone.
const MESSAGE_BYTES: usize = 256 << 10;

/// The service on an engine.
#[derive(Clone)]
pub(super) struct Watch {
    engine: Engine,
    heartbeat: Duration,
}

type Answers = Pin<Box<dyn Stream<Item = Result<proto::WatchResponse, Status>> + Send>>;

impl Watch {
    /// Serves this engine's changes. Streams say something after so much silence.
    pub(super) fn new(engine: Engine, heartbeat: Duration) -> Watch {
        Watch { engine, heartbeat }
    }
}

#[tonic::async_trait]
impl WatchService for Watch {
    type WatchStream = Answers;

    async fn watch(&self, request: Request<proto::WatchRequest>) -> Result<Response<Answers>, Status> {
        let call = Call::of(&request);
        let asked = convert::change::watch(request.into_inner()).map_err(call.refused())?;
        let convert::change::Watch { start, filter, events } = asked;
        let watcher = self.engine.watch(filter, start, events).map_err(call.refused())?;
        Ok(Response::new(Box::pin(answers(watcher, self.heartbeat, call))))
    }

    async fn get_revisions(
        &self,
        _: Request<proto::GetRevisionsRequest>,
    ) -> Result<Response<proto::Revisions>, Status> {
        Ok(Response::new(convert::change::write_revisions(self.engine.revisions())))
    }
}

/// What a watcher tells, as messages; the first one says where it stands. Ends with the failure that ends the watcher.
fn answers(
    watcher: Watcher,
    heartbeat: Duration,
    call: Call,
) -> impl Stream<Item = Result<proto::WatchResponse, Status>> + Send + 'static {
    let revision = watcher.revision();
    let first = Answer::new(Watched { revision, ..Watched::default() }, revision);
    let feed = Feed { watcher, heartbeat, call, answer: Some(first) };
    stream::unfold(Some(feed), |feed| async move {
        let mut feed = feed?;
        match feed.next().await {
            Ok(message) => Some((Ok(message), Some(feed))),
            Err(failure) => Some((Err(feed.call.refused()(failure)), None)),
        }
    })
}

struct Feed {
    watcher: Watcher,
    heartbeat: Duration,
    call: Call,
    /// What the watcher told and is not sent yet.
    answer: Option<Answer>,
}

impl Feed {
    async fn next(&mut self) -> Result<proto::WatchResponse, Failure> {
        let mut answer = match self.answer.take() {
            Some(answer) => answer,
            None => {
                let before = self.watcher.revision();
                Answer::new(self.watcher.next(self.heartbeat).await?, before)
            }
        };
        let message = answer.message();
        self.answer = (!answer.is_sent).then_some(answer);
        Ok(message)
    }
}

/// What a watcher told, on its way out: in one message, or in several if its events are many.
struct Answer {
    events: VecDeque<TurnEvent>,
    changes: Vec<Arc<Change>>,
    revision: u64,
    /// All changes up to here were in messages before.
    before: u64,
    is_sent: bool,
}

impl Answer {
    fn new(told: Watched, before: u64) -> Answer {
        let Watched { events, changes, revision } = told;
        Answer { events: events.into(), changes, revision, before, is_sent: false }
    }

    fn message(&mut self) -> proto::WatchResponse {
        let (mut events, mut bytes) = (Vec::new(), 0);
        while let Some(TurnEvent { turn_id, event }) = self.events.front() {
            let event = convert::event::write(&turn_id.to_string(), event);
            bytes += event.encoded_len();
            if bytes > MESSAGE_BYTES && !events.is_empty() {
                break;
            }
            events.push(event);
            self.events.pop_front();
        }
        self.is_sent = self.events.is_empty() && (self.changes.is_empty() || bytes <= MESSAGE_BYTES);
        let (changes, revision) = match self.is_sent {
            true => (self.changes.iter().map(|change| convert::change::write(change)).collect(), self.revision),
            false => (Vec::new(), self.before),
        };
        proto::WatchResponse { changes, events, revision: i64::try_from(revision).unwrap_or(i64::MAX) }
    }
}
