//! The log of changes: gapless, in order, and nothing in it but what is durable and what really happened.

use std::sync::Arc;

use causerie::{
    domain::{Change, ChangeKind, Job, Settings, Time, TurnId, TurnState, Version, change::labels, request::Base},
    store::{Commit, Ended, Ending, Error, Options, Store},
};

use super::{
    delete::{append, tree},
    model::World,
    open, options,
    random::{Rng, seed},
    raw, records,
    sample::Maker,
};

/// What the log of changes should hold.
#[derive(Default)]
pub(super) struct Book {
    /// All that happened. Who was first of several at once is not known.
    told: Vec<Change>,
    /// What was read before, from revision 1 on.
    seen: Vec<Change>,
    /// The oldest that is kept, from 0.
    kept_from: usize,
}

impl Book {
    pub(super) fn tell(&mut self, change: Change) {
        self.told.push(change);
    }

    pub(super) fn check(&mut self, store: &Store, rng: &mut Rng) {
        assert_eq!(store.oldest_revision(), self.kept_from as u64 + 1);
        self.await_durable(store);
        let changes = read_all(store, self.kept_from as u64, 1 + rng.below(50));
        let again = self.seen.len() - self.kept_from;
        assert_eq!(self.seen[self.kept_from..], changes[..again], "what was read once stays as it was");
        self.seen.extend_from_slice(&changes[again..]);
        let by_turn = |change: &Change| (change.turn_id, change.kind, change.attempt);
        let mut seen: Vec<_> = self.seen.iter().map(|change| Change { revision: 0, ..change.clone() }).collect();
        seen.sort_by_key(by_turn);
        self.told.sort_by_key(by_turn);
        assert_eq!(seen, self.told);
        check_order(&self.seen);
    }

    /// How far a job has come is on disk soon, and nobody waits for it: the flusher's thread is.
    fn await_durable(&self, store: &Store) {
        let patience = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while *store.revision().borrow() < self.told.len() as u64 {
            assert!(std::time::Instant::now() < patience, "changes do not become durable");
            std::thread::yield_now();
        }
    }

    /// Removes some; all must have been read.
    pub(super) fn expire(&mut self, store: &Store, rng: &mut Rng) {
        let Some(last) = self.seen.len().checked_sub(1) else { return };
        let before = self.seen[rng.below(last + 1)].at;
        let old = self.seen[self.kept_from..last].iter().take_while(|change| change.at < before).count();
        assert_eq!(store.expire_changes(before, u64::MAX), Ok(old as u64));
        self.kept_from += old;
        let gone = Error::RevisionGone { oldest: self.kept_from as u64 + 1 };
        let refused = self.kept_from.checked_sub(1).map(|after| store.changes(after as u64, 9));
        assert!(refused.is_none_or(|refused| refused == Err(gone)));
    }
}

/// All durable changes after a revision, in pages.
pub(super) fn read_all(store: &Store, after: u64, limit: usize) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    loop {
        let page = store.changes(after + changes.len() as u64, limit).expect("readable");
        assert!(page.len() <= limit);
        changes.extend(page.iter().map(|change| Change::clone(change)));
        if page.is_empty() {
            break;
        }
    }
    let revisions: Vec<_> = changes.iter().map(|change| change.revision).collect();
    let expected: Vec<_> = (after + 1..=*store.revision().borrow()).collect();
    assert_eq!(revisions, expected);
    changes
}

/// A turn ends once and is deleted once, and children come after their parents and go before them.
fn check_order(changes: &[Change]) {
    let place = |turn: TurnId, kind| changes.iter().position(|change| (change.turn_id, change.kind) == (turn, kind));
    for (at, change) in changes.iter().enumerate() {
        let same = |other: &&Change| other.turn_id == change.turn_id;
        let ends = |other: &&Change| matches!(other.kind, ChangeKind::TurnEnded | ChangeKind::VersionCreated);
        let parent = change.parent_id.and_then(|id| place(id.turn(), ChangeKind::VersionCreated));
        match change.kind {
            ChangeKind::VersionCreated | ChangeKind::TurnEnded => {
                assert_eq!(changes.iter().filter(same).filter(ends).count(), 1);
                assert!(parent.is_none_or(|parent| parent < at));
            }
            ChangeKind::VersionDeleted => {
                assert!(place(change.turn_id, ChangeKind::VersionCreated).is_some_and(|created| created < at));
                let gone = change.parent_id.and_then(|id| place(id.turn(), ChangeKind::VersionDeleted));
                assert!(gone.is_none_or(|parent| parent > at), "children go first");
            }
            ChangeKind::TurnStarted | ChangeKind::TurnRequeued => {
                assert!(place(change.turn_id, ChangeKind::TurnQueued).is_some_and(|queued| queued < at));
                assert!(!changes[..at].iter().filter(same).any(|other| ends(&other)));
            }
            ChangeKind::TurnQueued => assert_eq!(changes.iter().position(|other| same(&other)), Some(at)),
            ChangeKind::BatchEnded => panic!("the store tells of no batch"),
        }
    }
}

fn of_a_version(version: &Version, kind: ChangeKind, at: Time) -> Change {
    Change {
        revision: 0,
        at,
        kind,
        turn_id: version.id.turn(),
        state: version.turn_state,
        root_id: version.root_id,
        parent_id: version.parent_id,
        model: version.settings.model.clone(),
        agent_id: version.settings.agent_id.clone(),
        labels: labels(&version.settings.metadata),
        attempt: 0,
        batch: None,
        callback_url: None,
    }
}

/// What is told of a commit.
pub(super) fn created(commit: &Commit) -> Change {
    let Commit { version, turn, job, at, callback_url, .. } = commit;
    Change {
        model: turn.model.clone(),
        agent_id: turn.agent_id.clone(),
        attempt: job.map_or(0, |job| job.attempt),
        batch: job.and_then(|job| job.batch),
        callback_url: callback_url.clone(),
        ..of_a_version(version, ChangeKind::VersionCreated, *at)
    }
}

/// What is told of a turn that made no version.
pub(super) fn ended(ended: &Ended, ending: &Ending) -> Change {
    let Ending { at, root_id, labels, callback_url, job } = ending.clone();
    Change {
        revision: 0,
        at,
        kind: ChangeKind::TurnEnded,
        turn_id: ended.turn.id,
        state: ended.turn.state,
        root_id,
        parent_id: ended.turn.parent_id,
        model: ended.turn.model.clone(),
        agent_id: ended.turn.agent_id.clone(),
        labels,
        attempt: job.map_or(0, |job| job.attempt),
        batch: job.and_then(|job| job.batch),
        callback_url,
    }
}

/// What is told of a deleted version.
pub(super) fn deleted(version: &Version, at: Time) -> Change {
    of_a_version(version, ChangeKind::VersionDeleted, at)
}

/// What is told of a job; `parent`: what it runs on, if that is there.
pub(super) fn of_a_job(job: &Job, kind: ChangeKind, at: Time, parent: Option<&Version>) -> Change {
    let own = &job.request.overrides;
    let settings = parent.map(|parent| Settings::clone(&parent.settings)).unwrap_or_default();
    let metadata = if parent.is_some() { Some(&settings.metadata) } else { own.metadata.as_ref() };
    Change {
        revision: 0,
        at,
        kind,
        turn_id: job.turn_id,
        state: if job.state.running { TurnState::Running } else { TurnState::Queued },
        root_id: job.root,
        parent_id: match job.request.base {
            Base::Start => None,
            Base::Append { conversation_id, .. } | Base::Restart { conversation_id, .. } => Some(conversation_id),
        },
        model: own.model.clone().unwrap_or(settings.model),
        agent_id: own.agent_id.clone().or(settings.agent_id),
        labels: metadata.map(labels).unwrap_or_default(),
        attempt: job.state.attempt,
        batch: job.batch,
        callback_url: job.request.callback_url.clone(),
    }
}

impl World {
    pub(super) fn expire_changes(&mut self) {
        self.model.book.check(&self.store, &mut self.maker.rng);
        self.model.book.expire(&self.store, &mut self.maker.rng);
    }
}

fn kinds(store: &Store, after: u64) -> Vec<(ChangeKind, TurnId)> {
    read_all(store, after, 100).iter().map(|change| (change.kind, change.turn_id)).collect()
}

fn newest(store: &Store) -> u64 {
    *store.revision().borrow()
}

#[tokio::test]
async fn what_was_acknowledged_can_be_read_at_once_and_by_all() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut maker = Maker::new(seed());
    let mut watch = store.revision();
    assert_eq!((newest(&store), store.oldest_revision()), (0, 1));
    assert_eq!(store.changes(0, 9), Ok(Vec::new()));
    let root = tree(&store, &mut maker, 1).await.remove(0);
    assert_eq!(kinds(&store, 0), [(ChangeKind::VersionCreated, root.version.id.turn())]);
    watch.changed().await.expect("the store is open");
    assert_eq!(*watch.borrow_and_update(), 1);
    let one = store.changes(0, 9).expect("readable").remove(0);
    let other = store.changes(0, 1).expect("readable").remove(0);
    assert!(Arc::ptr_eq(&one, &other), "a thousand readers share one");
    assert_eq!(store.changes(1, 9), Ok(Vec::new()));
    assert_eq!(store.changes(u64::MAX, 9), Ok(Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_sees_every_revision_once_while_others_commit() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut maker = Maker::new(seed());
    let root = tree(&store, &mut maker, 1).await.remove(0);
    let all = 200;
    let watcher = tokio::spawn({
        let store = store.clone();
        async move {
            let (mut watch, mut seen) = (store.revision(), Vec::new());
            while seen.len() < all {
                let page = store.changes(seen.len() as u64, 7).expect("readable");
                if page.is_empty() {
                    watch.changed().await.expect("the store is open");
                }
                seen.extend(page.iter().map(|change| change.revision));
            }
            seen
        }
    });
    let writers = (0..4u64).map(|writer| {
        let (store, root) = (store.clone(), root.clone());
        tokio::spawn(async move {
            let mut maker = Maker { now_ms: 1_700_000_100_000, ..Maker::new(seed() ^ writer) };
            for _ in 0..50 {
                append(&store, &mut maker, &root, root.version.entry_count, false).await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("no panic");
    }
    let seen = watcher.await.expect("no panic");
    assert!(seen.iter().copied().eq(1..=seen.len() as u64));
    assert_eq!(newest(&store), all as u64 + 1);
}

/// Of the newest change, what it did: a crash came between the two.
#[tokio::test]
async fn a_change_without_its_effect_never_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut maker = Maker::new(seed());
    let store = open(dir.path());
    let versions = tree(&store, &mut maker, 1).await;
    let lost = append(&store, &mut maker, &versions[0], 1, false).await;
    let before = newest(&store);
    store.close();
    raw(dir.path()).remove([b"V", lost.version.id.0.as_bytes().as_slice()].concat()).expect("written");
    let store = open(dir.path());
    assert_eq!(newest(&store), before - 1);
    assert_eq!(kinds(&store, 0).len() as u64, before - 1);
    let next = append(&store, &mut maker, &versions[0], 1, false).await;
    assert_eq!(kinds(&store, before - 1), [(ChangeKind::VersionCreated, next.version.id.turn())]);
}

#[tokio::test]
async fn the_proof_of_the_newest_change_stays_and_so_does_its_number() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut maker = Maker::new(seed());
    let store = open(dir.path());
    let mut last = TurnId(maker.uuid());
    for _ in 0..3 {
        last = TurnId(maker.uuid());
        let turn = maker.turn(last.0, None, Vec::new(), TurnState::Failed);
        let ended = Ended { turn, inputs: Vec::new(), events: Vec::new(), request_fingerprint: None, kept: 0 };
        let ending = records::ending(&ended, None);
        store.commit_failed(ended.clone(), ending.clone(), &[]).await.expect("committed");
        assert_eq!(store.commit_failed(ended, ending, &[]).await, Err(Error::Exists), "it is told once");
    }
    let end = Time { unix_us: i64::MAX };
    assert_eq!(store.expire_failed(end), Ok(2));
    assert_eq!(store.expire_changes(end, u64::MAX), Ok(2), "the newest number must not be given again");
    assert_eq!(store.expire_changes(end, 0), Ok(0));
    store.close();
    for _ in 0..2 {
        let store = open(dir.path());
        assert_eq!(store.changes(0, 9), Err(Error::RevisionGone { oldest: 3 }));
        assert_eq!(kinds(&store, 2), [(ChangeKind::TurnEnded, last)]);
        store.close();
    }
}

#[tokio::test]
async fn changes_are_kept_up_to_a_size() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut maker = Maker::new(seed());
    tree(&store, &mut maker, 30).await;
    store.close();
    // Some were there when it was opened, some are new.
    let store = open(dir.path());
    tree(&store, &mut maker, 30).await;
    let all = newest(&store);
    let start = Time { unix_us: i64::MIN };
    assert_eq!(store.expire_changes(start, 1 << 30), Ok(0));
    let removed = store.expire_changes(start, 2000).expect("writable");
    assert!(removed > all / 2 && removed < all, "{removed} of {all}");
    assert_eq!(store.oldest_revision(), removed + 1);
    assert_eq!(store.expire_changes(start, 2000), Ok(0));
    store.close();
    let kept: usize =
        raw(dir.path()).scan_prefix(b"H").map(|row| row.map_or(0, |(key, row)| key.len() + row.len())).sum();
    assert!((1500..=2000).contains(&kept), "{kept} bytes");
    let store = open(dir.path());
    assert_eq!((store.oldest_revision(), newest(&store)), (removed + 1, all));
    assert_eq!(store.expire_changes(start, 2000), Ok(0));
    assert_eq!(store.expire_changes(start, 0), Ok(all - removed - 1));
}

/// More than are kept in memory; and without syncs nobody waits for any.
#[tokio::test]
async fn old_changes_come_from_the_disk_and_new_ones_from_memory() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(&Options { sync: false, ..options(dir.path()) }).expect("it opens");
    let mut maker = Maker::new(seed());
    let mut job = maker.job(None);
    store.add_jobs(std::slice::from_ref(&job)).await.expect("added");
    for attempt in 1..=20_000 {
        job.state.attempt = attempt;
        store.update_job(&job, ChangeKind::TurnRequeued, job.created_at).expect("updated");
    }
    let changes = read_all(&store, 0, 999);
    assert!(changes.iter().map(|change| change.attempt).eq(0..=20_000));
    assert_eq!(newest(&store), 20_001);
}
