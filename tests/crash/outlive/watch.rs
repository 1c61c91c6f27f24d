//! Watchers that go on after the last revision that they got.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use causerie::proto::{
    self, ChangeFilter, ChangeKind, WatchRequest, WatchResponse, turn::State, watch_request::Start,
    watch_service_client::WatchServiceClient,
};
use tonic::transport::Channel;

use super::known::lock;
use crate::support::events::name;

pub(super) type Client = WatchServiceClient<Channel>;

/// Somebody who watches, and what it got so far.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    pub(super) filter: Option<ChangeFilter>,
    pub(super) with_events: bool,
    /// Where it goes on.
    pub(super) revision: i64,
    pub(super) changes: Vec<proto::Change>,
    /// By turn.
    pub(super) events: BTreeMap<String, Vec<proto::Event>>,
    /// Turns whose end was told.
    ended: BTreeSet<String>,
}

/// One for everything, one for some of it, one for the events, too.
pub(super) fn watchers() -> Vec<Arc<Mutex<Watcher>>> {
    let some = ChangeFilter {
        kinds: vec![ChangeKind::VersionCreated.into(), ChangeKind::TurnEnded.into()],
        states: vec![State::Completed.into(), State::Cancelled.into()],
        ..Default::default()
    };
    let watchers = [
        Watcher::default(),
        Watcher { filter: Some(some), ..Watcher::default() },
        Watcher { with_events: true, ..Watcher::default() },
    ];
    watchers.into_iter().map(|watcher| Arc::new(Mutex::new(watcher))).collect()
}

impl Watcher {
    fn request(&mut self) -> WatchRequest {
        // Those of turns whose end was not seen come again.
        self.events.retain(|id, _| self.ended.contains(id));
        WatchRequest {
            start: Some(Start::AfterRevision(self.revision)),
            filter: self.filter.clone(),
            include_events: self.with_events,
        }
    }

    /// Turns whose acceptance was told, and whose end was not.
    pub(super) fn in_flight(&self) -> BTreeSet<String> {
        let told = self.changes.iter().map(|change| &change.turn_id);
        told.filter(|id| !id.is_empty() && !self.ended.contains(*id)).cloned().collect()
    }

    fn take(&mut self, told: WatchResponse) {
        assert!(told.revision >= self.revision, "it goes back: {told:?} after {}", self.revision);
        for event in told.events {
            assert!(!self.ended.contains(&event.turn_id), "after its end: {event:?}");
            self.events.entry(event.turn_id.clone()).or_default().push(event);
        }
        for change in told.changes {
            let last = self.changes.last().map_or(0, |last| last.revision);
            let is_next = if self.filter.is_none() { change.revision == last + 1 } else { change.revision > last };
            assert!(is_next, "{change:?} after {last}");
            if ends_turn(&change) {
                assert!(self.ended.insert(change.turn_id.clone()), "a second end: {change:?}");
                let last = self.events.get(&change.turn_id).and_then(|events| events.last()).map(name);
                let is_whole = matches!(last, Some("response_done" | "response_error"));
                assert!(is_whole || !self.with_events, "{last:?} before {change:?}");
            }
            self.changes.push(change);
        }
        self.revision = told.revision;
    }
}

/// Whether it is the end of a turn.
pub(super) fn ends_turn(change: &proto::Change) -> bool {
    matches!(change.kind(), ChangeKind::VersionCreated | ChangeKind::TurnEnded)
}

/// Watches until its server is gone.
pub(super) async fn follow(mut client: Client, watcher: Arc<Mutex<Watcher>>) {
    until(&mut client, &watcher, i64::MAX).await;
}

/// Watches until this revision, or its server is gone.
pub(super) async fn until(client: &mut Client, watcher: &Mutex<Watcher>, revision: i64) {
    let request = lock(watcher).request();
    let Ok(stream) = client.watch(request).await else { return };
    let mut stream = stream.into_inner();
    while lock(watcher).revision < revision {
        match stream.message().await {
            Ok(Some(told)) => lock(watcher).take(told),
            Ok(None) | Err(_) => return,
        }
    }
}

/// The newest revision.
pub(super) async fn newest(client: &mut Client) -> i64 {
    client.get_revisions(proto::GetRevisionsRequest {}).await.expect("an answer").into_inner().newest
}
