//! Opening: one process at a time, one format, and never a fresh store over a damaged one.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use causerie::{
    domain::{ConversationId, Settings, TurnState},
    store::{Ended, OpenError, Store},
};

use super::{
    open, options,
    random::{Rng, effort, seed},
    raw, records,
    sample::Maker,
};

/// Some conversations of some turns' size.
pub(super) async fn fill(store: &Store, maker: &mut Maker, count: usize) -> Vec<ConversationId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let id = maker.uuid();
        let inputs = vec![maker.user(100)];
        let outputs = vec![maker.user(200)];
        let turn = maker.turn(id, None, outputs, TurnState::Completed);
        let events = maker.events(&turn, &inputs);
        let ended = Ended { turn, inputs, events, request_fingerprint: None, kept: 0 };
        store.commit(records::start(&ended, Settings::default(), None)).await.expect("committed");
        ids.push(ConversationId(id));
    }
    ids
}

fn files(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").path());
    files.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(path).expect("a file"))).collect()
}

#[test]
fn a_second_process_is_told_which_store_is_in_use() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let refused = Store::open(&options(dir.path())).expect_err("it is in use");
    assert!(matches!(&refused, OpenError::InUse { path } if path == dir.path()), "{refused}");
    assert!(refused.to_string().contains(&dir.path().display().to_string()));
    let clone = store.clone();
    store.close();
    assert!(matches!(Store::open(&options(dir.path())), Err(OpenError::InUse { .. })), "a clone is left");
    drop(clone);
    open(dir.path());
}

#[test]
fn a_store_of_a_newer_format_is_not_touched() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(open(dir.path()));
    fs::write(dir.path().join("FORMAT"), "2\n").expect("written");
    let before = files(dir.path());
    let refused = Store::open(&options(dir.path())).expect_err("it is newer");
    assert!(matches!(refused, OpenError::Format { found: 2, supported: 1, .. }), "{refused}");
    assert_eq!(files(dir.path()), before);
}

#[test]
fn the_format_within_the_data_counts_too() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(open(dir.path()));
    {
        let raw = raw(dir.path());
        let mut meta = raw.get(b"@").expect("readable").expect("there").to_vec();
        // Version of the record, tag of its first field, format.
        assert_eq!(meta[..3], [1, 8, 1]);
        meta[2] = 7;
        raw.insert(b"@", meta).expect("written");
    }
    let refused = Store::open(&options(dir.path())).expect_err("it is newer");
    assert!(matches!(refused, OpenError::Format { found: 7, supported: 1, .. }), "{refused}");
}

#[tokio::test]
async fn a_snapshot_that_a_kill_left_torn_is_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let ids = fill(&store, &mut Maker::new(1), 20).await;
    store.close();
    let torn = dir.path().join("snap.7FFFFFFFFFFFFFFF.generating");
    fs::write(&torn, "torn").expect("written");
    let store = open(dir.path());
    assert!(!torn.exists());
    assert_eq!(store.roots(None, 100).expect("readable"), ids);
}

#[tokio::test]
async fn a_damaged_snapshot_costs_time_and_no_data() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let ids = fill(&store, &mut Maker::new(1), 20).await;
    store.close();
    // Recovery writes one.
    open(dir.path()).close();
    let snapshots: Vec<_> =
        files(dir.path()).into_keys().filter(|path| path.display().to_string().contains("/snap.")).collect();
    assert!(!snapshots.is_empty());
    for snapshot in snapshots {
        fs::write(snapshot, "not a snapshot").expect("written");
    }
    let store = open(dir.path());
    assert_eq!(store.roots(None, 100).expect("readable"), ids);
    assert!(!files(dir.path()).into_keys().any(|path| path.display().to_string().contains("aside")));
}

/// One bit anywhere in the file: the store is whole, or it is refused, again and again.
#[tokio::test]
async fn a_damaged_store_is_refused_and_never_replaced() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut turns = Vec::new();
    // More than a segment of sled's log: damage in the last one is another case than before it.
    let mut big = Maker::new(2);
    for _ in 0..4 {
        turns.push(records::big_turn(&store, &mut big).await.1);
    }
    fill(&store, &mut Maker::new(1), 50).await;
    store.close();
    let whole = files(dir.path());
    let db = dir.path().join("db");
    let used = whole[&db].iter().rposition(|byte| *byte != 0).expect("there is data");
    let mut rng = Rng(seed());
    let mut refused = 0;
    for round in 0..6 * effort() {
        restore(dir.path(), &whole);
        let mut damaged = whole[&db].clone();
        // The end of the log, too, where sled says nothing.
        let from = if round % 4 == 0 { used - 60_000 } else { 0 };
        damaged[from + rng.below(used - from)] ^= 1 << rng.below(8);
        fs::write(&db, &damaged).expect("written");
        match Store::open(&options(dir.path())) {
            Ok(store) => {
                assert_eq!(store.roots(None, 1000).expect("readable").len(), 54);
                for ended in &turns {
                    assert_eq!(store.turn(ended.turn.id).expect("readable").as_ref(), Some(ended));
                }
            }
            Err(OpenError::Damaged { .. }) => {
                refused += 1;
                let again = Store::open(&options(dir.path())).expect_err("it is damaged");
                assert!(matches!(again, OpenError::Damaged { .. }), "{again}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 0);
}

fn restore(path: &Path, whole: &BTreeMap<PathBuf, Vec<u8>>) {
    for path in files(path).into_keys() {
        fs::remove_file(path).expect("removed");
    }
    for (path, bytes) in whole {
        fs::write(path, bytes).expect("written");
    }
}

/// sled takes a damaged end for one that a crash left unfinished, and drops it silently.
#[tokio::test]
async fn the_loss_of_the_newest_writes_is_noticed_and_can_be_accepted() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let ids = fill(&store, &mut Maker::new(1), 50).await;
    store.close();
    let db = dir.path().join("db");
    let mut damaged = fs::read(&db).expect("a file");
    let used = damaged.iter().rposition(|byte| *byte != 0).expect("there is data");
    damaged[used / 2] ^= 1;
    fs::write(&db, &damaged).expect("written");
    let refused = Store::open(&options(dir.path())).expect_err("writes are lost");
    assert!(refused.to_string().contains("remove its WITNESS file"), "{refused}");
    fs::remove_file(dir.path().join("WITNESS")).expect("removed");
    let left = open(dir.path()).roots(None, 1000).expect("readable");
    assert!(!left.is_empty() && left.len() < ids.len());
    assert!(ids.starts_with(&left));
}

#[tokio::test]
async fn a_store_whose_data_is_gone_is_not_a_new_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    fill(&store, &mut Maker::new(1), 1).await;
    store.close();
    fs::remove_file(dir.path().join("db")).expect("removed");
    let refused = Store::open(&options(dir.path())).expect_err("its data is gone");
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
    assert!(!dir.path().join("db").exists());
    fs::write(dir.path().join("db"), "").expect("written");
    let refused = Store::open(&options(dir.path())).expect_err("its data is gone");
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
}
