//! What must hold after each start, and at the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use causerie::proto::{
    self, ChangeKind, ErrorReason, OutputStatus, turn::State, watch_service_client::WatchServiceClient,
};

use super::{
    Stage, batches, hooks,
    known::{Known, is_terminal, lock, version_of},
    watch::{self, Watcher, ends_turn},
};
use crate::{
    support::{
        calls,
        events::{merged, names, soon},
        process::Process,
        provider::Captured,
        server::{Client, entry_text},
        status::reason_of,
    },
    tools::runs_of,
};

/// How everything ended.
pub(super) struct Ended {
    turns: BTreeMap<String, proto::Turn>,
    events: usize,
    revisions: usize,
    deliveries: usize,
    items: usize,
}

impl Ended {
    /// For people.
    pub(super) fn told(&self) -> String {
        let mut states: BTreeMap<&str, usize> = BTreeMap::new();
        for turn in self.turns.values() {
            *states.entry(turn.state().as_str_name()).or_default() += 1;
        }
        let Ended { turns: _, events, revisions, deliveries, items } = self;
        format!(
            "turns {states:?}, {events} events read across kills, {revisions} revisions, {deliveries} deliveries, \
             {items} items of batches"
        )
    }
}

/// Nothing was refused, nothing that was accepted is forgotten, and whoever asks again meets the same turn.
pub(super) async fn after_start(process: &Process, known: &Mutex<Known>) {
    let mut client = process.client().await;
    let (refused, open, requests) = {
        let mut known = lock(known);
        (std::mem::take(&mut known.refused), known.open.clone(), std::mem::take(&mut known.requests))
    };
    assert!(refused.is_empty(), "refused before the crash: {refused:?}");
    for id in open {
        let turn =
            calls::get_turn(&mut client, &id).await.unwrap_or_else(|error| panic!("{id} was accepted: {error:?}"));
        lock(known).stands(&turn);
    }
    for (id, sent) in requests {
        let turn = match soon(calls::run(&mut client, "again", sent.request)).await {
            Ok(turn) => turn,
            // It was cancelled before it was killed.
            Err(error) if sent.accepted.doomed => {
                assert_eq!(reason_of(&error), ErrorReason::TurnCancelled.as_str_name());
                continue;
            }
            Err(error) => panic!("{id}: {error:?}"),
        };
        assert_eq!(turn.request_id, id);
        match sent.turn_id {
            None => {}
            Some(before) if before == turn.id => lock(known).repeated += 1,
            Some(before) => {
                // What was cancelled gives its request id free.
                let before = end_of(&mut client, &before).await;
                assert_eq!(before.state(), State::Cancelled, "{id} made a second turn: {before:?}, {turn:?}");
            }
        }
        lock(known).accept(&sent.accepted, &turn);
    }
}

/// Everything has ended once, and everybody was told the same.
pub(super) async fn at_end(process: &Process, stage: &Stage) -> Ended {
    let mut client = process.client().await;
    let mut turns = BTreeMap::new();
    let accepted = lock(&stage.known).accepted.clone();
    for (id, accepted) in &accepted {
        let turn = end_of(&mut client, id).await;
        lock(&stage.known).stands(&turn);
        let ends = if accepted.doomed { &DOOMED[..] } else { &[State::Completed] };
        assert!(ends.contains(&turn.state()), "{accepted:?} ended so: {turn:?}");
        turns.insert(id.clone(), turn);
    }
    let mut batching = batches::Client::new(process.channel().await);
    batches::finish(&mut batching, &stage.batches).await;
    // Those that nobody was told of, too: they are run all the same.
    let all = finished_log(process, &mut client).await;
    turns.extend(stored(&mut client, &all.changes, &accepted).await);
    let mut logs = BTreeMap::new();
    for (id, turn) in &turns {
        logs.insert(id.clone(), log_of(&mut client, turn).await);
    }
    let events = readers(&stage.known, &logs);
    changes(&all.changes, &turns);
    for watcher in &stage.watchers {
        let mut watching = WatchServiceClient::new(process.channel().await);
        soon(watch::until(&mut watching, watcher, all.revision)).await;
        watched(&lock(watcher), &all, &logs);
    }
    versions(&mut client, &turns, &accepted).await;
    let deliveries = hooks::arrived(&stage.receiver, &all.changes, &accepted).await;
    let items = batches::finished(&mut batching, &stage.batches, &turns, &all.changes).await;
    Ended { turns, events, revisions: all.changes.len(), deliveries, items }
}

const DOOMED: [State; 3] = [State::Completed, State::Incomplete, State::Cancelled];

async fn end_of(client: &mut Client, id: &str) -> proto::Turn {
    // Its status, if it failed, is in the turn, too.
    let _ = soon(calls::watch(client, "end", calls::resume(id, 0))).await;
    calls::get_turn(client, id).await.unwrap_or_else(|error| panic!("{id} was accepted: {error:?}"))
}

/// All changes, when there are no more turns in flight.
async fn finished_log(process: &Process, client: &mut Client) -> Watcher {
    let mut watching = WatchServiceClient::new(process.channel().await);
    let all = Mutex::default();
    loop {
        let newest = watch::newest(&mut watching).await;
        soon(watch::until(&mut watching, &all, newest)).await;
        let in_flight = lock(&all).in_flight();
        if in_flight.is_empty() {
            return all.into_inner().expect("nobody panics");
        }
        for id in in_flight {
            end_of(client, &id).await;
        }
    }
}

/// The turns that ended without anybody being told that they were accepted.
async fn stored(
    client: &mut Client,
    changes: &[proto::Change],
    accepted: &BTreeMap<String, super::known::Accepted>,
) -> BTreeMap<String, proto::Turn> {
    let mut turns = BTreeMap::new();
    for change in changes.iter().filter(|change| ends_turn(change) && !accepted.contains_key(&change.turn_id)) {
        let id = &change.turn_id;
        let turn = calls::get_turn(client, id).await.unwrap_or_else(|error| panic!("{id} has ended: {error:?}"));
        turns.insert(id.clone(), turn);
    }
    turns
}

/// The log of a turn that has ended: without gaps, with one end.
async fn log_of(client: &mut Client, turn: &proto::Turn) -> Vec<proto::Event> {
    let (events, _) = calls::watch(client, "log", calls::resume(&turn.id, 0)).await;
    let mut next = 1;
    for event in &events {
        assert_eq!(event.first_sequence, next, "{:?}", names(&events));
        next = event.sequence + 1;
    }
    assert_eq!(next - 1, turn.last_sequence, "{turn:?}: {:?}", names(&events));
    let ends = events.iter().filter(|event| is_terminal(event)).count();
    assert!(ends == 1 && events.last().is_some_and(is_terminal), "{:?}", names(&events));
    merged(&events)
}

/// Every reader has, or comes to, exactly what stands in the log. How many events they had.
fn readers(known: &Mutex<Known>, logs: &BTreeMap<String, Vec<proto::Event>>) -> usize {
    let readings = std::mem::take(&mut lock(known).readings);
    let mut count = 0;
    for (id, seen) in readings {
        count += seen.len();
        let last = seen.last().map_or(0, |event| event.sequence);
        // Whoever lost its server last has a beginning.
        let log = logs[&id].iter().filter(|event| event.first_sequence <= last);
        let mut log: Vec<proto::Event> = log.cloned().collect();
        let mut seen = merged(&seen);
        if log.last().map_or(0, |event| event.sequence) != last {
            // The beginning ends within merged deltas.
            log.pop();
            seen.pop();
        }
        assert_eq!(seen, log, "{id}");
    }
    count
}

/// Of each turn at most one acceptance, first, attempts in order, and one end, last.
fn changes(changes: &[proto::Change], turns: &BTreeMap<String, proto::Turn>) {
    let mut by_turn: BTreeMap<&str, Vec<&proto::Change>> = BTreeMap::new();
    for change in changes.iter().filter(|change| change.kind() != ChangeKind::BatchEnded) {
        by_turn.entry(&change.turn_id).or_default().push(change);
    }
    let known: BTreeSet<&str> = turns.keys().map(String::as_str).collect();
    assert_eq!(by_turn.keys().copied().collect::<BTreeSet<_>>(), known, "turns that are told and turns that are");
    for (id, changes) in by_turn {
        let kinds: Vec<ChangeKind> = changes.iter().map(|change| change.kind()).collect();
        let queued = kinds.iter().filter(|kind| **kind == ChangeKind::TurnQueued).count();
        assert!(queued <= 1 && (queued == 0 || kinds[0] == ChangeKind::TurnQueued), "{id}: {kinds:?}");
        let (end, before) = changes.split_last().expect("grouped so");
        assert!(ends_turn(end) && !before.iter().any(|change| ends_turn(change)), "{id}: {kinds:?}");
        assert_eq!(end.state(), turns[id].state(), "{end:?}");
        assert_eq!(end.kind() == ChangeKind::VersionCreated, !turns[id].conversation_id.is_empty(), "{end:?}");
        let started = before.iter().filter(|change| change.kind() == ChangeKind::TurnStarted);
        let attempts: Vec<i32> = started.map(|change| change.attempt).collect();
        assert!(attempts.is_sorted_by(|one, next| one < next), "{id}: {attempts:?}");
        // Cancelled before its turn came, or not of the background.
        assert!(!attempts.is_empty() || queued == 0 || end.state() == State::Cancelled, "{id}: {kinds:?}");
    }
}

/// A watcher saw, in all its connections together, what a single one sees.
fn watched(watcher: &Watcher, all: &Watcher, logs: &BTreeMap<String, Vec<proto::Event>>) {
    let fits = |change: &&proto::Change| match &watcher.filter {
        Some(filter) => filter.kinds.contains(&change.kind) && filter.states.contains(&change.state),
        None => true,
    };
    let expected: Vec<&proto::Change> = all.changes.iter().filter(fits).collect();
    assert_eq!(watcher.changes.iter().collect::<Vec<_>>(), expected);
    assert_eq!(watcher.revision, all.revision);
    if watcher.with_events {
        for (id, log) in logs {
            let seen = watcher.events.get(id).map(|events| merged(events)).unwrap_or_default();
            assert_eq!(seen, *log, "{id}");
        }
    }
}

/// One version for each turn that made one, with one question each; no more.
async fn versions(
    client: &mut Client,
    turns: &BTreeMap<String, proto::Turn>,
    accepted: &BTreeMap<String, super::known::Accepted>,
) {
    let listed: BTreeSet<String> = calls::list_all(client).await.into_iter().map(|version| version.id).collect();
    let made = turns.values().map(|turn| turn.conversation_id.clone()).filter(|id| !id.is_empty());
    assert_eq!(listed, made.collect::<BTreeSet<_>>());
    let mut questions = BTreeSet::new();
    for turn in turns.values().filter(|turn| !turn.conversation_id.is_empty()) {
        assert_eq!(turn.conversation_id, version_of(&turn.id));
        let history = calls::history(client, &turn.conversation_id).await.expect("a history");
        let outputs = history.len() - turn.outputs.len();
        assert_eq!(history[outputs..], turn.outputs, "it ends in its turn's outputs");
        let question = entry_text(&history[outputs - 1]);
        assert!(accepted.get(&turn.id).is_none_or(|accepted| accepted.input == question), "{question}: {turn:?}");
        assert!(questions.insert(question.clone()), "{question} was answered twice");
    }
}

/// No tool was asked twice for a question, and what says that it ran did.
pub(super) fn tools_ran_once(ended: &Ended, requests: &[Captured]) {
    let mut runs: BTreeMap<&str, usize> = BTreeMap::new();
    for request in requests {
        *runs.entry(&request.path).or_default() += 1;
    }
    let twice: Vec<_> = runs.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "tools that ran twice: {twice:?}");
    for run in ended.turns.values().flat_map(runs_of) {
        let arguments: serde_json::Value = serde_json::from_str(&run.arguments).expect("JSON");
        let path = format!("/{}?q={}", run.name, arguments["q"].as_str().expect("a question"));
        let has_run = run.status() == OutputStatus::Completed && run.error.is_empty();
        assert!(!has_run || runs.contains_key(&*path), "nobody was asked: {run:?}");
    }
}
