//! Watching the store: each change once, in order, over any number of connections; and the events of turns with them.

mod crowd;
mod events;
mod filters;
mod following;
mod retention;

use std::collections::BTreeMap;

use causerie::proto::{
    self, Change, ChangeFilter, ChangeKind, Event, Revisions, WatchRequest, WatchResponse, watch_request::Start,
    watch_service_client::WatchServiceClient,
};
use tonic::{Status, Streaming, transport::Channel};

use crate::support::{
    events::{joined, soon},
    server::{Client, TestServer, start},
};

type Watcher = WatchServiceClient<Channel>;

async fn watcher(server: &TestServer) -> Watcher {
    WatchServiceClient::new(server.channel().await)
}

/// From now on.
fn now() -> WatchRequest {
    WatchRequest::default()
}

fn after(revision: i64) -> WatchRequest {
    WatchRequest { start: Some(Start::AfterRevision(revision)), ..now() }
}

fn from_oldest() -> WatchRequest {
    WatchRequest { start: Some(Start::FromOldest(true)), ..now() }
}

fn with_events(request: WatchRequest) -> WatchRequest {
    WatchRequest { include_events: true, ..request }
}

fn filtered(request: WatchRequest, filter: ChangeFilter) -> WatchRequest {
    WatchRequest { filter: Some(filter), ..request }
}

async fn revisions(client: &Watcher) -> Revisions {
    client.clone().get_revisions(proto::GetRevisionsRequest {}).await.expect("revisions").into_inner()
}

/// What cannot be watched.
async fn refused(client: &Watcher, request: WatchRequest) -> Status {
    soon(client.clone().watch(request)).await.expect_err("it is refused")
}

/// A stream of changes. Dropping it leaves the stream.
struct Watch {
    stream: Streaming<WatchResponse>,
    /// Where it stands.
    revision: i64,
    /// All that it was told.
    changes: Vec<Change>,
    events: Vec<Event>,
}

/// Opens a stream that must be accepted, and reads where it stands.
async fn watch(client: &Watcher, request: WatchRequest) -> Watch {
    let stream = soon(client.clone().watch(request)).await.expect("a stream").into_inner();
    let mut watch = Watch { stream, revision: 0, changes: Vec::new(), events: Vec::new() };
    let first = watch.next().await;
    assert_eq!((first.changes.len(), first.events.len()), (0, 0), "the first message says where it stands");
    watch
}

impl Watch {
    /// The next message.
    async fn next(&mut self) -> WatchResponse {
        let message = soon(self.stream.message()).await.expect("no error").expect("a message");
        self.take(&message);
        message
    }

    fn take(&mut self, message: &WatchResponse) {
        assert!(message.revision >= self.revision, "the cursor never goes back");
        for change in &message.changes {
            assert!(change.revision > self.revision, "told before: {change:?}");
            assert!(change.revision <= message.revision, "the cursor is behind {change:?}");
            self.revision = change.revision;
        }
        self.revision = message.revision;
        self.changes.extend(message.changes.iter().cloned());
        self.events.extend(message.events.iter().cloned());
    }

    /// Reads until the cursor has come to a revision.
    async fn until(&mut self, revision: i64) {
        while self.revision < revision {
            self.next().await;
        }
    }

    /// Reads until the end of a turn was told.
    async fn end_of(&mut self, turn_id: &str) -> Change {
        let ended = [ChangeKind::VersionCreated, ChangeKind::TurnEnded];
        loop {
            let of_it = |change: &&Change| change.turn_id == turn_id && ended.contains(&change.kind());
            if let Some(change) = self.changes.iter().find(of_it) {
                return change.clone();
            }
            self.next().await;
        }
    }

    /// Reads until the deltas of a turn hold this text.
    async fn until_said(&mut self, turn_id: &str, text: &str) {
        while joined(&self.logs().remove(turn_id).unwrap_or_default()) != text {
            self.next().await;
        }
    }

    /// Reads on to the error that ends the stream.
    async fn error(&mut self) -> Status {
        let reading = async {
            loop {
                match self.stream.message().await {
                    Ok(Some(message)) => self.take(&message),
                    Ok(None) => panic!("a watch never ends well"),
                    Err(status) => return status,
                }
            }
        };
        soon(reading).await
    }

    fn revisions(&self) -> Vec<i64> {
        self.changes.iter().map(|change| change.revision).collect()
    }

    fn types(&self) -> Vec<&str> {
        self.changes.iter().map(|change| change.r#type.as_str()).collect()
    }

    /// The events of each turn.
    fn logs(&self) -> BTreeMap<String, Vec<Event>> {
        let mut logs: BTreeMap<String, Vec<Event>> = BTreeMap::new();
        for event in &self.events {
            logs.entry(event.turn_id.clone()).or_default().push(event.clone());
        }
        logs
    }
}

/// Everything that is kept and that a filter lets through.
async fn all(client: &Watcher, filter: ChangeFilter) -> Watch {
    let newest = revisions(client).await.newest;
    let mut watch = watch(client, filtered(from_oldest(), filter)).await;
    watch.until(newest).await;
    watch
}

/// A stored turn that asks no model: one change.
async fn say(client: &Client, text: &str) -> proto::Turn {
    let request = proto::StartRequest { skip_completion: true, ..start(text) };
    client.clone().start(request).await.expect("a turn").into_inner()
}
