//! The process is killed for real while it commits: what was acknowledged is there, and nothing is there by half.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use causerie::{
    domain::{Change, ChangeKind, ConversationId, Money, Settings, Time, TurnId, TurnState},
    store::{Account, Charge, Commit, Ended, Query, Spent, Store},
};
use uuid::Uuid;

use super::{
    changes::read_all,
    delete::{append, tree},
    keys_but_marks, open,
    random::{Rng, effort, seed},
    raw, raw_keys, records,
    sample::Maker,
};

const DIRECTORY: &str = "CAUSERIE_TEST_CRASH_DIRECTORY";
const SEED: &str = "CAUSERIE_TEST_CRASH_SEED";

/// Not a test of its own: the process that is killed. Commits for ever and tells which commits were acknowledged.
#[test]
fn child() {
    let (Ok(path), Ok(seed)) = (std::env::var(DIRECTORY), std::env::var(SEED)) else { return };
    let seed: u64 = seed.parse().expect("a number");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    runtime.block_on(async {
        let store = open(Path::new(&path));
        let tasks: Vec<_> = (0..8).map(|task| tokio::spawn(commit_for_ever(store.clone(), seed ^ task))).collect();
        for task in tasks {
            task.await.expect("it runs for ever");
        }
    });
}

/// What a turn sets aside and what it costs: a sum tells how many rows of each kind there are.
const RESERVED: u64 = 1_000_000;
const SETTLED: u64 = 1;

fn account() -> Account {
    Account::Window { name: "load".into(), start: Time { unix_us: 0 } }
}

fn charge(turn: TurnId, tokens: u64) -> Charge {
    let spent = Spent { tokens, cost: Money::ZERO };
    Charge { account: account(), turn, spent, reserved: tokens == RESERVED }
}

async fn commit_for_ever(store: Store, seed: u64) {
    let mut maker = Maker::new(seed);
    loop {
        let id = maker.uuid();
        let words = if maker.rng.one_in(20) { 50_000 } else { 100 };
        store.reserve(&[charge(TurnId(id), RESERVED)]).await.expect("reserved");
        println!("reserved {id}");
        let inputs = vec![maker.user(words)];
        let outputs = vec![maker.user(50)];
        let turn = maker.turn(id, None, outputs, TurnState::Completed);
        let events = maker.events(&turn, &inputs);
        let ended = Ended { turn, inputs, events, request_fingerprint: None, kept: 0 };
        let charges = vec![charge(TurnId(id), SETTLED)];
        let commit = Commit { charges, ..records::start(&ended, Settings::default(), None) };
        let stored = store.commit(commit).await.expect("committed");
        println!("acknowledged {}", stored.version.id.0);
        if maker.rng.one_in(10) {
            println!("deleting {}", stored.version.id.0);
            store.delete(stored.version.id, false, Time::default()).await.expect("deleted");
            println!("deleted {}", stored.version.id.0);
        }
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let mut rng = Rng(seed());
    let dir = tempfile::tempdir().expect("a directory");
    let mut kept: Vec<ConversationId> = Vec::new();
    let (mut reserved, mut acknowledged) = (0, 0);
    let mut kept_as_told = Vec::new();
    for round in 1..=4 * effort() as u64 {
        let (mut going, mut gone) = (Vec::new(), Vec::new());
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "store::crash::child", "--nocapture"])
            .env(DIRECTORY, dir.path())
            .env(SEED, rng.next().to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        // So early that it hits start-up, too.
        let killer = std::thread::spawn({
            let after = Duration::from_millis(rng.below(1500) as u64);
            move || {
                std::thread::sleep(after);
                // It may be gone already.
                let _ = child.kill();
                child.wait().expect("it ends")
            }
        });
        for line in output.lines() {
            let line = line.expect("text");
            let id = |text: &str| ConversationId(Uuid::try_parse(text).expect("an id"));
            // The test harness writes before the first line without a line break.
            if let Some((_, text)) = line.split_once("acknowledged ") {
                kept.push(id(text));
                acknowledged += 1;
            } else if line.contains("reserved ") {
                reserved += 1;
            } else if let Some(text) = line.strip_prefix("deleting ") {
                going.push(id(text));
            } else if let Some(text) = line.strip_prefix("deleted ") {
                gone.push(id(text));
            }
        }
        killer.join().expect("no panic");
        let store = open(dir.path());
        for id in &gone {
            assert_eq!(store.version(*id).expect("readable"), None, "a deleted version came back");
        }
        kept.retain(|id| {
            let there = store.version(*id).expect("readable").is_some();
            assert!(there || going.contains(id), "{id} was acknowledged and is lost");
            there
        });
        whole(&store);
        kept_as_told = told(&store, kept_as_told);
        // Each of the eight may have done one more thing than it could tell.
        let spent = store.spent(&account()).expect("readable").tokens;
        let (open, settled) = (spent / RESERVED, spent % RESERVED / SETTLED);
        assert!(settled >= acknowledged.max(store.count_versions().expect("readable")), "{settled} of {acknowledged}");
        assert!(settled <= acknowledged + 8 * round, "{settled} of {acknowledged}");
        assert!((reserved..=reserved + 8 * round).contains(&(open + settled)), "{open} and {settled} of {reserved}");
        store.close();
    }
    assert!(!kept.is_empty());
}

/// Every version that is there has all that belongs to it.
fn whole(store: &Store) {
    for root in store.roots(None, usize::MAX).expect("readable") {
        let stored = store.version(root).expect("readable").expect("there");
        let ended = store.turn(root.turn()).expect("readable").expect("it has its turn");
        assert_eq!(store.history(&stored, u64::MAX).expect("readable").len() as u64, stored.version.entry_count);
        assert!(ended.events.last().is_some_and(|event| event.kind.is_terminal()));
    }
}

/// The changes: those that were there before, and then what makes the versions that there are.
fn told(store: &Store, before: Vec<Change>) -> Vec<Change> {
    let changes = read_all(store, 0, 1000);
    assert!(changes.starts_with(&before), "what was seen once stays");
    let mut versions = BTreeSet::new();
    for change in &changes {
        match change.kind {
            ChangeKind::VersionCreated => assert!(versions.insert(change.turn_id.conversation())),
            ChangeKind::VersionDeleted => assert!(versions.remove(&change.turn_id.conversation())),
            kind => panic!("nobody did what is told: {kind:?}"),
        }
    }
    assert!(versions.into_iter().eq(store.roots(None, usize::MAX).expect("readable")));
    changes
}

/// A crash between a turn's row and its version's: what it leaves is invisible, and its place is taken.
#[tokio::test]
async fn what_an_unfinished_commit_left_does_not_exist() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut maker = Maker::new(seed());
    let versions = tree(&store, &mut maker, 1).await;
    let lost = append(&store, &mut maker, &versions[0], 1, true).await;
    let fork = append(&store, &mut maker, &versions[0], 0, true).await;
    store.close();
    for id in [lost.version.id, fork.version.id] {
        let key = [b"V", id.0.as_bytes().as_slice()].concat();
        raw(dir.path()).remove(key).expect("written").expect("it was there");
    }

    let store = open(dir.path());
    assert!(store.is_head(&versions[0]).expect("readable"));
    assert_eq!(store.heads_below(&versions[0], 9).expect("readable"), [versions[0].version.id]);
    assert_eq!(store.turn(lost.version.id.turn()).expect("readable"), None);
    assert_eq!(store.request(&format!("request {}", lost.version.id.0)).expect("readable"), None);
    assert_eq!(store.tree(versions[0].version.id, None, 9).expect("readable").rows.len(), 1);
    assert_eq!(store.list(&Query::default(), None, 9).expect("readable").rows.len(), 1);
    let next = append(&store, &mut maker, &versions[0], 1, false).await;
    assert_eq!(store.history(&next, 9).expect("readable").len(), 3);
    store.close();
    let lost_settings = [b"S", lost.version.id.0.as_bytes().as_slice()].concat();
    assert!(!raw_keys(dir.path()).contains(&lost_settings), "what is replaced leaves nothing");

    let store = open(dir.path());
    assert_eq!(store.delete(versions[0].version.id, true, Time::default()).await, Ok(2));
    store.close();
    assert_eq!(keys_but_marks(dir.path()), [b"@".to_vec(), b"W".to_vec()]);
}

#[tokio::test]
async fn what_an_unfinished_start_left_is_removed_at_the_next_open() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let versions = tree(&store, &mut Maker::new(1), 1).await;
    store.close();
    let key = [b"V", versions[0].version.id.0.as_bytes().as_slice()].concat();
    raw(dir.path()).remove(key).expect("written").expect("it was there");
    open(dir.path()).close();
    assert_eq!(keys_but_marks(dir.path()), [b"@".to_vec(), b"W".to_vec()]);
}
