//! What is deleted is gone, all of it, even if a crash cut the delete short.

use std::{path::Path, sync::Arc};

use causerie::{
    domain::{ConversationId, Time, TurnState, Version},
    store::{Commit, Ended, Error, Store, Stored},
};
use uuid::Uuid;

use super::{keys_but_marks, open, random::Rng, random::seed, raw, raw_keys, records, sample::Maker};

/// A turn on a version, with a request id, that keeps `kept` entries; with other settings if `overrides`.
pub(super) async fn append(store: &Store, maker: &mut Maker, parent: &Stored, kept: u64, overrides: bool) -> Stored {
    let id = maker.uuid();
    let inputs = vec![maker.user(30)];
    let words = if maker.rng.one_in(10) { 60_000 } else { 30 };
    let outputs = vec![maker.user(words)];
    let mut turn = maker.turn(id, Some(parent.version.id), outputs, TurnState::Completed);
    turn.request_id = Some(format!("request {id}"));
    let request = turn.request_id.clone().map(|id| (id, [7; 16]));
    let events = maker.events(&turn, &inputs);
    let settings = if overrides { Arc::new(maker.settings()) } else { Arc::clone(&parent.version.settings) };
    let version = Version {
        id: ConversationId(id),
        parent_id: Some(parent.version.id),
        settings,
        entry_count: kept + 2,
        turn_count: parent.version.turn_count + 1,
        last_entry: turn.outputs.last().map(|entry| entry.id),
        ..parent.version.clone()
    };
    let parent = Some(parent.clone());
    let commit = Commit {
        version,
        parent,
        kept,
        inputs,
        turn,
        events,
        request,
        require_head: false,
        charges: Vec::new(),
        journaled: false,
        job: None,
        at: Time::of_uuid(id),
        callback_url: None,
        expires_at: None,
    };
    store.commit(commit).await.expect("committed")
}

/// A tree with forks, restarts, overrides and failed turns.
pub(super) async fn tree(store: &Store, maker: &mut Maker, size: usize) -> Vec<Stored> {
    let id = maker.uuid();
    let inputs = vec![maker.user(10)];
    let turn = maker.turn(id, None, Vec::new(), TurnState::Completed);
    let ended = Ended { events: maker.events(&turn, &inputs), turn, inputs, request_fingerprint: None, kept: 0 };
    let mut versions = vec![store.commit(records::start(&ended, maker.settings(), None)).await.expect("committed")];
    while versions.len() < size {
        let parent = if maker.rng.one_in(2) { versions.len() - 1 } else { maker.rng.below(versions.len()) };
        let parent = versions[parent].clone();
        let all = parent.version.entry_count;
        let kept = if maker.rng.one_in(3) { maker.rng.below(all as usize + 1) as u64 } else { all };
        let overrides = maker.rng.one_in(3);
        versions.push(append(store, maker, &parent, kept, overrides).await);
        if maker.rng.one_in(3) {
            let (id, inputs) = (maker.uuid(), vec![maker.user(20)]);
            let mut turn = maker.turn(id, Some(parent.version.id), Vec::new(), TurnState::Cancelled);
            turn.request_id = Some(format!("request {id}"));
            let events = maker.events(&turn, &inputs);
            let ended = Ended { turn, inputs, events, request_fingerprint: Some([1; 16]), kept };
            let ending = records::ending(&ended, Some(&parent.version));
            store.commit_failed(ended, ending, &[]).await.expect("committed");
        }
    }
    versions
}

#[tokio::test]
async fn a_deleted_tree_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut maker = Maker::new(seed());
    let versions = tree(&store, &mut maker, 60).await;
    let refused = store.delete(versions[0].version.id, false, NOW).await;
    assert_eq!(refused, Err(Error::HasSuccessors(59)));
    let (first, last) = (versions[0].version.id.turn(), versions[59].version.id.turn());
    assert_eq!(store.was_deleted(last), Ok(false));
    assert_eq!(store.delete(versions[0].version.id, true, NOW).await, Ok(60));
    assert_eq!((store.was_deleted(first), store.was_deleted(last)), (Ok(true), Ok(true)));
    store.close();
    assert_eq!(keys_but_marks(dir.path()), [b"@".to_vec(), b"W".to_vec()]);
}

#[tokio::test]
async fn deleting_every_version_from_the_leaves_leaves_nothing_either() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut maker = Maker::new(seed());
    let versions = tree(&store, &mut maker, 40).await;
    // Children were made after their parents.
    for stored in versions.iter().rev() {
        assert_eq!(store.delete(stored.version.id, false, NOW).await, Ok(1));
    }
    store.close();
    assert_eq!(keys_but_marks(dir.path()), [b"@".to_vec(), b"W".to_vec()]);
}

#[tokio::test]
async fn a_turn_that_fails_on_a_deleted_version_is_not_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut maker = Maker::new(1);
    let root = tree(&store, &mut maker, 1).await.remove(0);
    store.delete(root.version.id, false, NOW).await.expect("deleted");
    let id = maker.uuid();
    let turn = maker.turn(id, Some(root.version.id), Vec::new(), TurnState::Failed);
    let ended = Ended { turn, inputs: Vec::new(), events: Vec::new(), request_fingerprint: None, kept: 0 };
    let ending = records::ending(&ended, Some(&root.version));
    assert_eq!(store.commit_failed(ended, ending, &[]).await, Err(Error::ParentGone));
}

/// Puts a store back to where a crash could have left a delete: its intent and any part of the rows.
#[tokio::test]
async fn a_delete_that_a_crash_cut_short_is_finished_at_the_next_open() {
    let mut rng = Rng(seed());
    for _ in 0..4 {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open(dir.path());
        let mut maker = Maker::new(rng.next());
        let other = tree(&store, &mut maker, 10).await;
        let versions = tree(&store, &mut maker, 30).await;
        let target = &versions[rng.below(versions.len())];
        store.close();

        let (intent, removed) = watch_delete(dir.path(), target).await;
        let after = raw_keys(dir.path());
        {
            let raw = raw(dir.path());
            raw.insert(&intent.0, intent.1).expect("written");
            // Nothing was removed yet, or of each turn what goes first, its version.
            let versions_gone = rng.one_in(2);
            for (key, value) in removed.iter().filter(|(key, _)| !versions_gone || key[0] != b'V') {
                raw.insert(key, value.clone()).expect("written");
            }
        }
        let store = open(dir.path());
        assert_eq!(store.version(target.version.id).expect("readable"), None);
        for stored in &other {
            assert_eq!(store.version(stored.version.id).expect("readable").as_ref(), Some(stored));
        }
        store.close();
        assert_eq!(raw_keys(dir.path()), after);
    }
}

const NOW: Time = Time { unix_us: 1_700_000_000_000_000 };

type Row = (sled::IVec, sled::IVec);

/// Deletes a version; gives the intent's row and the rows that went.
async fn watch_delete(path: &Path, target: &Stored) -> ((Vec<u8>, Vec<u8>), Vec<Row>) {
    let before: Vec<_> = raw(path).iter().map(|row| row.expect("a row")).collect();
    let store = open(path);
    store.delete(target.version.id, true, NOW).await.expect("deleted");
    store.close();
    let raw = raw(path);
    let went = |(key, _): &Row| !raw.contains_key(key).expect("readable");
    let removed: Vec<_> = before.into_iter().filter(went).collect();
    (intent(target, &removed), removed)
}

/// The row that says that the delete of a version has begun: its record's fields by hand, as the format has them.
fn intent(stored: &Stored, rows: &[Row]) -> (Vec<u8>, Vec<u8>) {
    let id = stored.version.id.0;
    // After a record's version, the length of its head and its first tag and length comes the turn's id.
    let is_head_row =
        |key: &[u8], value: &[u8]| key[0] == b'T' && key[21..] == [0, 0] && value[4..20] == *id.as_bytes();
    let (key, _) = rows.iter().find(|(key, value)| is_head_row(key, value)).expect("its turn went");
    let branch = Uuid::from_slice(&key[1..17]).expect("16 bytes");
    let seq = u32::from_be_bytes(key[17..21].try_into().expect("4 bytes"));
    let mut row = vec![1];
    let mut field = |tag: u8, id: Uuid| {
        row.extend([tag << 3 | 2, 16]);
        row.extend(id.as_bytes());
    };
    field(1, stored.version.root_id.0);
    field(2, id);
    field(3, branch);
    if let Some(parent) = stored.version.parent_id {
        field(5, parent.0);
    }
    if seq > 0 {
        row.extend([4 << 3, seq as u8]);
    }
    ([b"D", id.as_bytes().as_slice()].concat(), row)
}

#[tokio::test]
async fn old_turns_without_a_version_go_by_themselves() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut maker = Maker::new(seed());
    let versions = tree(&store, &mut maker, 20).await;
    let before = raw_keys(dir_closed(store, dir.path()));
    assert!(before.iter().any(|key| key[0] == b'F') && before.iter().any(|key| key[0] == b'E'));

    let store = open(dir.path());
    // The newest change of all keeps its turn.
    let last = versions.last().expect("there are some");
    append(&store, &mut maker, last, last.version.entry_count, false).await;
    assert_eq!(store.expire_failed(Time { unix_us: 0 }), Ok(0), "none is as old as that");
    assert!(store.expire_failed(Time { unix_us: i64::MAX }).expect("writable") > 0);
    for stored in &versions {
        assert!(store.turn(stored.version.id.turn()).expect("readable").is_some(), "versions stay");
    }
    let after = raw_keys(dir_closed(store, dir.path()));
    assert!(after.iter().all(|key| key[0] != b'F' && key[0] != b'E'), "nothing of them is left");
    let of_versions = |keys: &[Vec<u8>]| keys.iter().filter(|key| !b"FEK".contains(&key[0])).count();
    // The last version's turn, itself, and that it was made.
    assert_eq!(of_versions(&after), of_versions(&before) + 3);
}

fn dir_closed(store: Store, path: &std::path::Path) -> &std::path::Path {
    store.close();
    path
}
