//! Many commits share one sync, and the disk's free space decides whether turns may start.

use causerie::{
    domain::Settings,
    store::{Ended, Error, Health, Options, Store},
};

use super::{open, options, records, sample::Maker};
use causerie::domain::TurnState;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_commits_share_syncs() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut maker = Maker::new(1);
    let commits: Vec<_> = (0..256)
        .map(|_| {
            let id = maker.uuid();
            let inputs = vec![maker.user(50)];
            let turn = maker.turn(id, None, Vec::new(), TurnState::Completed);
            let events = maker.events(&turn, &inputs);
            let ended = Ended { turn, inputs, events, request_fingerprint: None, kept: 0 };
            records::start(&ended, Settings::default(), None)
        })
        .collect();
    let before = store.stats();
    let tasks: Vec<_> = commits
        .into_iter()
        .map(|commit| {
            let store = store.clone();
            tokio::spawn(async move { store.commit(commit).await })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic").expect("committed");
    }
    let stats = store.stats();
    assert_eq!(stats.commits - before.commits, 256);
    let syncs = stats.syncs - before.syncs;
    assert!((1..=128).contains(&syncs), "{syncs} syncs for 256 concurrent commits");
    assert!(stats.disk_bytes > 0);
}

#[tokio::test]
async fn a_lone_commit_is_synced_before_it_is_acknowledged() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut maker = Maker::new(1);
    for round in 1..5 {
        super::open::fill(&store, &mut maker, 1).await;
        assert!(store.stats().syncs >= round);
    }
}

#[tokio::test]
async fn without_space_no_turn_starts_and_a_running_one_is_finished() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(&Options { min_free_bytes: u64::MAX, ..options(dir.path()) }).expect("it opens");
    let refused = store.accepts_turns().expect_err("no disk is that large");
    assert!(matches!(refused, Error::LowSpace { floor_bytes: u64::MAX, free_bytes } if free_bytes > 0), "{refused}");
    assert!(matches!(*store.health().borrow(), Health::LowSpace { .. }));
    super::open::fill(&store, &mut Maker::new(1), 1).await;
    drop(store);
    let store = open(dir.path());
    store.accepts_turns().expect("there is no floor");
    assert_eq!(*store.health().borrow(), Health::Healthy);
}
