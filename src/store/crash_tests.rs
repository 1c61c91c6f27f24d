//! A crash between any two writes: of a run's writes each beginning is opened as a store, and what is found there must be
//! whole, and nothing of it may differ from what the run did.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, PoisonError},
};

use uuid::Uuid;

use super::{Begun, Charge, Commit, Ended, Ending, Error, JobEnd, NewItem, Options, Store, Stored, Taken};
use crate::domain::{
    Batch, BatchId, BatchOptions, BatchTally, Change, ChangeKind, ConversationId, EntryDraft, Event, EventKind,
    Failure, Job, JobState, Reason, Settings, Spend, Time, Turn, TurnId, TurnState, Usage, Version,
    request::{Base, Concurrency, Forwarding, Overrides, RequestKey, ToolUse, TurnRequest},
};

type Writes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// What a run does, and what it was told of.
struct Run {
    store: Store,
    random: u64,
    clock: u64,
    versions: Vec<Stored>,
    jobs: Vec<Job>,
    /// The batch that items go into, and how many it has.
    batch: Option<(BatchId, u32)>,
    /// How many writes there were when so many changes were acknowledged.
    acknowledged: Vec<(usize, u64)>,
}

fn open(path: &Path) -> Store {
    // Syncs prove nothing here: the rows are what they are.
    let options = Options { sync: false, min_free_bytes: 0, cache_bytes: 4 << 20, ..Options::new(path) };
    Store::open(&options).expect("it opens")
}

impl Run {
    fn below(&mut self, end: usize) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as usize % end
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn id(&mut self) -> TurnId {
        self.clock += 1;
        let random = (self.below(1 << 30) as u128) << 8 | self.below(256) as u128;
        TurnId(Uuid::from_u128(u128::from(self.clock) << 80 | 7 << 76 | 2 << 62 | random))
    }

    fn now(&self) -> Time {
        Time { unix_us: self.clock as i64 * 1000 }
    }

    fn parent(&mut self) -> Option<Stored> {
        let count = self.versions.len();
        if count == 0 || self.one_in(4) {
            return None;
        }
        let at = self.below(count);
        Some(self.versions[at].clone())
    }

    /// Text that fills several rows, now and then.
    fn text(&mut self) -> String {
        if self.one_in(6) { (0..9000).map(|_| format!("{:016x}", self.below(1 << 30))).collect() } else { "a".into() }
    }

    fn ended(&mut self, id: TurnId, parent: Option<ConversationId>, state: TurnState) -> Ended {
        let now = self.now();
        let inputs = vec![Arc::new(EntryDraft::user(self.text()).into_entry(id.0, now))];
        let made = state == TurnState::Completed;
        let turn = Turn {
            id,
            state,
            finish_reason: None,
            conversation_id: made.then_some(id.conversation()),
            parent_id: parent,
            model: "small".into(),
            agent_id: None,
            agent_version: None,
            outputs: Vec::new(),
            usage: Usage::default(),
            cost: None,
            models: Vec::new(),
            omissions: Vec::new(),
            error: None,
            created_at: now,
            completed_at: Some(now),
            last_sequence: 0,
            request_id: None,
            background: None,
        };
        Ended { turn, inputs, events: Vec::new(), request_fingerprint: None, kept: 0 }
    }

    async fn commit(&mut self, id: TurnId, parent: Option<Stored>, job: Option<JobEnd>) {
        let Ended { turn, inputs, events, .. } = self.ended(id, parent.as_ref().map(Stored::id), TurnState::Completed);
        let kept = parent.as_ref().map_or(0, |parent| parent.version.entry_count);
        let root = parent.as_ref().map_or(id.conversation(), |parent| parent.version.root_id);
        let mut settings = Settings::default();
        settings.metadata.insert("user".into(), "anna".into());
        let version = Version {
            id: id.conversation(),
            parent_id: parent.as_ref().map(Stored::id),
            root_id: root,
            turn_state: TurnState::Completed,
            created_at: self.now(),
            settings: parent.as_ref().map_or(Arc::new(settings), |parent| parent.version.settings.clone()),
            entry_count: kept + 1,
            turn_count: 1,
            spend: Spend::default(),
            pending_calls: Vec::new(),
            last_entry: None,
        };
        let expires_at = (parent.is_none() && self.one_in(2)).then(|| self.now());
        let (charges, at) = (Vec::<Charge>::new(), self.now());
        let commit = Commit {
            version,
            parent,
            kept,
            inputs,
            turn,
            events,
            request: None,
            require_head: false,
            charges,
            journaled: false,
            job,
            at,
            callback_url: None,
            expires_at,
        };
        self.versions.push(self.store.commit(commit).await.expect("committed"));
    }

    async fn fail(&mut self, id: TurnId, parent: Option<(ConversationId, ConversationId)>, job: Option<JobEnd>) {
        let ended = self.ended(id, parent.map(|(parent, _)| parent), TurnState::Failed);
        let root_id = parent.map_or(id.conversation(), |(_, root)| root);
        let ending = Ending { at: self.now(), root_id, labels: vec![1], callback_url: None, job };
        match self.store.commit_failed(ended, ending, &[]).await {
            Ok(()) | Err(Error::ParentGone) => {}
            Err(error) => panic!("{error}"),
        }
    }

    async fn queue(&mut self) {
        let mut jobs = Vec::new();
        for _ in 0..1 + self.below(3) {
            let (turn_id, parent) = (self.id(), self.parent());
            let base = parent
                .as_ref()
                .map_or(Base::Start, |parent| Base::Append { conversation_id: parent.id(), require_head: false });
            let request = TurnRequest {
                base,
                inputs: vec![EntryDraft::user(self.text())],
                overrides: Overrides::default(),
                store: true,
                skip_completion: false,
                request: Some(RequestKey { id: turn_id.to_string(), fingerprint: [1; 16] }),
                forwarding: Forwarding::default(),
                tool_use: ToolUse::default(),
                concurrency: Concurrency::Fork,
                background: None,
                callback_url: None,
                expiry: None,
            };
            let root = parent.map_or(turn_id.conversation(), |parent| parent.version.root_id);
            let (created_at, state) = (self.now(), JobState::default());
            jobs.push(Job { turn_id, request, root, created_at, batch: None, state });
        }
        match self.batch {
            Some((id, _)) => self.take(id, &mut jobs).await,
            None => self.store.add_jobs(&jobs).await.expect("added"),
        }
        self.jobs.extend(jobs);
    }

    /// Takes jobs into a batch, and an item that is refused.
    async fn take(&mut self, id: BatchId, jobs: &mut [Job]) {
        let mut items = Vec::new();
        for job in jobs.iter_mut() {
            // Items are told apart by their index alone.
            job.request.request = None;
            job.batch = Some((id, self.next_index()));
            items.push(NewItem::Job(Box::new(job.clone())));
        }
        let failure = Failure::new(Reason::InvalidRequest, "is wrong");
        items.push(NewItem::Refused { index: self.next_index(), failure, at: self.now() });
        let taken = self.store.add_items(id, &items).await.expect("taken");
        assert!(taken.iter().all(|taken| *taken == Taken::New));
        let again = self.store.add_items(id, &items).await.expect("known");
        assert!(again.iter().all(|taken| *taken == Taken::Known));
    }

    fn next_index(&mut self) -> u32 {
        let (_, index) = self.batch.as_mut().expect("there is a batch");
        *index += 1;
        *index
    }

    /// Begins a batch, or takes no more items into the one there is.
    async fn batch(&mut self) {
        match self.batch.take() {
            Some((id, _)) => {
                let cancel = self.one_in(2);
                self.store.close_batch(id, cancel, self.now()).await.expect("closed");
            }
            None => {
                let id = BatchId(self.id().0);
                let options = BatchOptions {
                    request_id: Some(id.to_string()),
                    max_concurrency: 1,
                    priority: 0,
                    description: String::new(),
                };
                let batch = Batch::new(id, options, self.now());
                assert_eq!(self.store.begin_batch(batch.clone(), [1; 16]).await, Ok(Begun::New));
                let again = Batch { id: BatchId(self.id().0), ..batch };
                assert_eq!(self.store.begin_batch(again, [2; 16]).await, Ok(Begun::Before(id, [1; 16])));
                self.batch = Some((id, 0));
            }
        }
    }

    async fn work(&mut self) {
        if self.jobs.is_empty() {
            return;
        }
        let at = self.below(self.jobs.len());
        let mut job = self.jobs.remove(at);
        let parent = match job.request.base {
            Base::Append { conversation_id, .. } => Some(conversation_id),
            Base::Start | Base::Restart { .. } => None,
        };
        let stored = parent.and_then(|id| self.versions.iter().find(|stored| stored.id() == id).cloned());
        match self.below(4) {
            0 => {
                let running = job.state.running;
                job.state.attempt += u32::from(!running);
                job.state.running = !running;
                let kind = if running { ChangeKind::TurnRequeued } else { ChangeKind::TurnStarted };
                self.store.update_job(&job, kind, self.now()).expect("updated");
            }
            1 => {
                let opening = self.ended(job.turn_id, parent, TurnState::Running).turn;
                let kind = EventKind::TurnResumed { attempt: 1, kept_outputs: 0 };
                let event = Event { sequence: 1, first_sequence: 1, created_at: self.now(), kind };
                self.store.append_job_events(job.turn_id, &opening, &[event]).await.expect("written");
            }
            2 if parent.is_none() || stored.is_some() => {
                return self.commit(job.turn_id, stored, Some(JobEnd::from(&job))).await;
            }
            _ => {
                let parent = parent.map(|parent| (parent, job.root));
                return self.fail(job.turn_id, parent, Some(JobEnd::from(&job))).await;
            }
        }
        self.jobs.push(job);
    }

    async fn delete(&mut self) {
        let Some(doomed) = self.parent() else { return };
        self.store.delete(doomed.id(), true, self.now()).await.expect("deleted");
        let store = self.store.clone();
        self.versions.retain(|stored| store.version(stored.id()).expect("readable").is_some());
    }

    async fn act(&mut self) {
        match self.below(13) {
            0..3 => {
                let (id, parent) = (self.id(), self.parent());
                self.commit(id, parent, None).await;
            }
            3 => {
                let (id, parent) = (self.id(), self.parent());
                let parent = parent.map(|parent| (parent.id(), parent.version.root_id));
                self.fail(id, parent, None).await;
            }
            4..6 => self.queue().await,
            6..10 => self.work().await,
            10 => self.delete().await,
            11 => self.batch().await,
            _ => {
                let Some(stored) = self.parent() else { return };
                let at = (!self.one_in(3)).then(|| self.now());
                self.store.set_expiry(stored.version.root_id, at).await.expect("written");
            }
        }
        let writes = self.writes().len();
        self.acknowledged.push((writes, *self.store.revision().borrow()));
    }

    fn writes(&self) -> Writes {
        self.store.inner.disk.writes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn changes(store: &Store) -> Vec<Change> {
    let changes = store.changes(0, usize::MAX).expect("readable");
    let changes: Vec<_> = changes.iter().map(|change| Change::clone(change)).collect();
    assert!(changes.iter().map(|change| change.revision).eq(1..=*store.revision().borrow()), "there are no gaps");
    changes
}

/// The rows of a beginning of the writes, as a store.
fn recovered(path: &Path, writes: &Writes) -> Store {
    let mut rows = BTreeMap::new();
    for (key, value) in writes {
        match value {
            Some(value) => rows.insert(key.clone(), value.clone()),
            None => rows.remove(key),
        };
    }
    {
        let disk = super::disk::Disk::open(path, super::disk::lock(path).expect("locked"), 4 << 20).expect("it opens");
        for (key, value) in &rows {
            disk.insert(key, value).expect("written");
        }
    }
    open(path)
}

/// All that follows from what the changes say, and that nothing is there of which they say nothing.
fn check(store: &Store, changes: &[Change]) {
    let mut exist = BTreeSet::new();
    let (mut queued, mut over, mut failed) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
    let mut batches = BTreeSet::new();
    for change in changes {
        let id = change.turn_id;
        match change.kind {
            ChangeKind::TurnQueued | ChangeKind::TurnStarted | ChangeKind::TurnRequeued => {
                queued.insert(id, (change.attempt, change.state == TurnState::Running));
            }
            ChangeKind::TurnEnded => assert!(over.insert(id) && failed.insert(id), "{id} ended twice"),
            ChangeKind::VersionCreated => assert!(over.insert(id) && exist.insert(id), "{id} ended twice"),
            ChangeKind::VersionDeleted => assert!(exist.remove(&id), "{id} was deleted twice"),
            ChangeKind::BatchEnded => assert!(batches.insert(change.batch), "a batch ended twice"),
        }
    }
    queued.retain(|id, _| !over.contains(id));
    let jobs = store.jobs().expect("readable");
    let found = jobs.iter().map(|job| (job.turn_id, (job.state.attempt, job.state.running)));
    assert_eq!(found.collect::<BTreeMap<_, _>>(), queued);
    for job in &jobs {
        let request = store.request(&job.turn_id.to_string()).expect("readable");
        assert_eq!(request, job.batch.is_none().then_some((job.turn_id, [1; 16])));
    }
    let mut found = BTreeSet::new();
    for root in store.roots(None, usize::MAX).expect("readable") {
        let tree = store.tree(root, None, usize::MAX).expect("readable");
        found.extend(tree.rows.iter().map(|(stored, _)| stored.id().turn()));
    }
    assert_eq!(found, exist);
    for id in exist.iter().chain(&failed) {
        let there = store.turn(*id).expect("readable").is_some();
        assert!(there || store.was_deleted(*id).expect("readable"), "{id} is lost");
    }
    check_lifetimes(store);
    check_batches(store, &batches, &over);
}

/// A tree that has a lifetime is found when it is over, and nothing else is.
fn check_lifetimes(store: &Store) {
    let due: BTreeSet<_> =
        store.expired(Time { unix_us: i64::MAX }, usize::MAX).expect("readable").into_iter().collect();
    let of = |prefix: &[u8]| {
        let keys = store.inner.disk.keys_of(prefix);
        keys.map(|key| ConversationId(super::keys::last_id(&key.expect("readable")))).collect::<Vec<_>>()
    };
    assert!(of(b"e").into_iter().eq(due.iter().copied()), "each has a lifetime, and no other");
    assert_eq!(of(b"x").len(), due.len(), "what a crash left is gone once it was met");
    for root in due {
        assert!(store.version(root).expect("readable").is_some());
    }
}

/// When all of a batch were sent is written nowhere: if a crash keeps it from ending then, it ends with its newest result.
fn timeless(changes: &[Change]) -> Vec<Change> {
    let mut changes = changes.to_vec();
    for change in changes.iter_mut().filter(|change| change.kind == ChangeKind::BatchEnded) {
        change.at = Time::default();
    }
    changes
}

/// Every item is there, and has a result if it has ended, and only one; the sums are those of the results; who has ended was
/// told so.
fn check_batches(store: &Store, told: &BTreeSet<Option<(BatchId, u32)>>, over: &BTreeSet<TurnId>) {
    let jobs: BTreeSet<_> = store.jobs().expect("readable").iter().map(|job| job.turn_id).collect();
    for batch in store.batches(None, usize::MAX).expect("readable") {
        let results = store.results(&batch, 0, usize::MAX).expect("readable");
        assert!(results.iter().map(|result| result.sequence).eq(1..=batch.tally.ended()), "there are gaps");
        let mut ended: BTreeMap<_, _> =
            results.iter().map(|result| (result.index, result.turn.as_ref().ok().copied())).collect();
        assert_eq!(ended.len(), results.len(), "an item has one result");
        let tally = results.iter().fold(BatchTally::default(), |tally, result| {
            let tally = tally.and(result.state, &Usage::default(), None);
            assert_eq!(tally, result.tally);
            tally
        });
        assert_eq!(batch.tally, tally);
        let disk = &store.inner.disk;
        let mut items = 0;
        for key in disk.keys_of(&super::keys::batch_items(batch.id.0)) {
            let key = key.expect("readable");
            let turn = disk.get(&key).expect("readable").expect("it is there");
            let turn = Uuid::from_slice(&turn).ok().map(TurnId);
            let result = ended.remove(&super::keys::result_sequence(&key));
            items += 1;
            match (turn, result) {
                (Some(turn), None) => assert!(jobs.contains(&turn), "{turn} is to be run"),
                (turn, Some(result)) => assert!(result == turn && turn.is_none_or(|turn| over.contains(&turn))),
                (None, None) => panic!("what was refused has a result"),
            }
        }
        assert!(ended.is_empty(), "a result is of an item");
        assert_eq!(batch.items, items);
        assert_eq!((batch.ended_at.is_some(), told.contains(&Some((batch.id, 0)))), (batch.is_over(), batch.is_over()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn after_a_crash_between_any_two_writes_all_is_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let seed = std::env::var("CAUSERIE_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let random = seed.unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().map_or(1, |time| time.as_nanos() as u64));
    println!("CAUSERIE_TEST_SEED={random}");
    let (versions, jobs, acknowledged) = (Vec::new(), Vec::new(), Vec::new());
    let mut run =
        Run { store: open(dir.path()), random, clock: 1_700_000_000_000, versions, jobs, batch: None, acknowledged };
    for _ in 0..60 {
        run.act().await;
    }
    let writes = run.writes();
    let all = changes(&run.store);
    check(&run.store, &all);
    // Every place would take minutes; which ones are left out is another matter each time.
    let effort = std::env::var("CAUSERIE_TEST_EFFORT").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    for _ in 0..40 * effort {
        let cut = 1 + run.below(writes.len());
        let dir = tempfile::tempdir().expect("a directory");
        let store = recovered(dir.path(), &writes[..cut].to_vec());
        let known = run.acknowledged.iter().take_while(|(writes, _)| *writes <= cut).last();
        let found = changes(&store);
        assert!(found.len() as u64 >= known.map_or(0, |(_, changes)| *changes), "what was acknowledged is lost");
        assert_eq!(timeless(&found), timeless(&all[..found.len()]), "what was numbered once has its number");
        check(&store, &found);
        drop(store);
        let store = open(dir.path());
        assert_eq!(changes(&store), found, "the next open finds nothing to do");
        check(&store, &found);
    }
}
