//! What must hold after a crash.

use std::collections::{BTreeMap, BTreeSet};

use causerie::proto::{self, ErrorReason, event::Kind, turn::State};

use super::{
    book::{Book, Said, Sent, digest},
    load::send,
};
use crate::support::{
    calls,
    server::{Client, entry_text},
    status::{carried, reason_of},
};

/// What was looked at in earlier rounds.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// Versions, with their histories.
    versions: BTreeMap<String, usize>,
    /// Each question's entry: a turn that was stored twice has two.
    questions: BTreeMap<String, String>,
    pub(super) lost: u64,
    pub(super) repeated: u64,
}

/// All that was told since the last check holds, on a server that was started again.
pub(super) async fn after_crash(client: &mut Client, book: &mut Book, checked: &mut Checked) {
    assert!(book.refused.is_empty(), "refused before the crash: {:?}", book.refused);
    for id in std::mem::take(&mut book.fresh) {
        let history = calls::history(client, &id).await.unwrap_or_else(|error| panic!("{id} was lost: {error:?}"));
        assert_same(&id, &history, &book.versions[&id]);
    }
    let listed = calls::list_all(client).await;
    whole(client, &listed, checked).await;
    let ids: BTreeSet<&str> = listed.iter().map(|version| version.id.as_str()).collect();
    for id in book.versions.keys() {
        assert!(ids.contains(id.as_str()), "{id} is not listed any more");
    }
    let mut completed = BTreeSet::new();
    for id in std::mem::take(&mut book.announced) {
        if ended(client, &id, &ids, checked).await {
            completed.insert(id);
        }
    }
    for (id, sent) in std::mem::take(&mut book.requests) {
        repeated(client, &id, sent, &completed, book, checked).await;
    }
}

fn assert_same(id: &str, stored: &[proto::Entry], told: &[Said]) {
    let texts: Vec<String> = stored.iter().map(|entry| digest(&entry_text(entry))).collect();
    let expected: Vec<&String> = told.iter().map(|said| &said.text).collect();
    assert!(texts.iter().eq(expected), "{id}: {texts:?}, acknowledged was {told:?}");
    for (entry, said) in stored.iter().zip(told) {
        assert!(said.id.as_ref().is_none_or(|id| *id == entry.id), "{id}: {entry:?}, acknowledged was {said:?}");
    }
}

/// Nothing is half: every version that is listed has its history, its turn and its parent.
async fn whole(client: &mut Client, listed: &[proto::Conversation], checked: &mut Checked) {
    let ids: BTreeSet<&str> = listed.iter().map(|version| version.id.as_str()).collect();
    let turns: BTreeSet<&str> = listed.iter().map(|version| version.turn_id.as_str()).collect();
    assert_eq!((ids.len(), turns.len()), (listed.len(), listed.len()), "one version for each turn");
    // Parents first.
    for version in listed.iter().rev().filter(|version| !checked.versions.contains_key(&version.id)).collect::<Vec<_>>()
    {
        let id = &version.id;
        assert!(version.parent_id.is_empty() || ids.contains(version.parent_id.as_str()), "{id} has lost its parent");
        let history = calls::history(client, id).await.unwrap_or_else(|error| panic!("{id} is half: {error:?}"));
        assert_eq!(history.len() as i64, version.entry_count, "{id} is half");
        let turn = calls::get_turn(client, &version.turn_id).await.unwrap_or_else(|error| panic!("{id}: {error:?}"));
        assert_eq!((turn.state(), &turn.conversation_id), (State::Completed, id));
        assert_eq!(history[history.len() - turn.outputs.len()..], turn.outputs, "{id} ends in its turn's outputs");
        for entry in &history {
            let text = digest(&entry_text(entry));
            if text.starts_with("question") {
                let first = checked.questions.entry(text).or_insert_with(|| entry.id.clone());
                assert_eq!(*first, entry.id, "a question was stored twice");
            }
        }
        checked.versions.insert(id.clone(), history.len());
    }
}

/// An announced turn has a terminal state, and its version exists if it says so. Whether it completed.
async fn ended(client: &mut Client, id: &str, versions: &BTreeSet<&str>, checked: &mut Checked) -> bool {
    let turn = calls::get_turn(client, id).await.unwrap_or_else(|error| panic!("{id} was announced: {error:?}"));
    let (events, end) = calls::watch(client, "crash", calls::resume(id, 0)).await;
    let last = events.last().and_then(|event| event.kind.as_ref()).expect("a terminal event");
    let version = id.replace("turn_", "conv_");
    match turn.state() {
        State::Completed => {
            assert!(versions.contains(version.as_str()), "{turn:?} has no version");
            assert_eq!(turn.conversation_id, version);
            assert!(matches!(last, Kind::ResponseDone(done) if done.turn.as_ref() == Some(&turn)), "{last:?}");
            assert!(events.iter().map(|event| event.sequence).eq(1..=turn.last_sequence), "{events:?}");
            end.expect("it ended well");
            true
        }
        State::Failed => {
            let error = carried(turn.error.as_ref().expect("an error"));
            assert_eq!(reason_of(&error), ErrorReason::TurnLost.as_str_name(), "{turn:?}");
            assert!(!versions.contains(version.as_str()), "{turn:?} has a version");
            assert!(matches!(last, Kind::ResponseError(_)), "{last:?}");
            assert_eq!(reason_of(&end.expect_err("it failed")), ErrorReason::TurnLost.as_str_name());
            checked.lost += 1;
            false
        }
        other => panic!("{id} is {other:?} after a crash"),
    }
}

/// The same request gives the turn that it made before, or runs now, once.
async fn repeated(
    client: &mut Client,
    id: &str,
    sent: Sent,
    completed: &BTreeSet<String>,
    book: &mut Book,
    checked: &mut Checked,
) {
    let turn = send(client, sent.request.clone()).await.unwrap_or_else(|error| panic!("{id}: {error:?}"));
    assert_eq!(turn.request_id, id);
    let before = sent.acknowledged.as_ref().or(sent.announced.as_ref().filter(|turn| completed.contains(*turn)));
    if let Some(before) = before {
        assert_eq!(turn.id, *before, "{id} made a second turn");
        checked.repeated += 1;
    }
    let again = send(client, sent.request).await.unwrap_or_else(|error| panic!("{id}: {error:?}"));
    assert_eq!(again, turn, "{id} made another turn");
    book.acknowledge(&sent.base, &sent.input, &turn);
}
