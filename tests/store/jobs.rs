//! Turns that outlive their calls: what was asked is kept to the letter until they have ended, and not longer.

use std::collections::BTreeMap;

use causerie::{
    domain::{Change, ChangeKind, ConversationId, Event, Failure, Job, Reason, TurnState, request::Base},
    store::{Commit, Ended, Ending, Error, JobEnd, Store},
};

use super::{
    changes::{self, read_all},
    delete::tree,
    model::World,
    open,
    random::{effort, seed},
    raw, raw_keys, records,
    sample::Maker,
};

fn base(job: &Job) -> Option<ConversationId> {
    match job.request.base {
        Base::Start => None,
        Base::Append { conversation_id, .. } | Base::Restart { conversation_id, .. } => Some(conversation_id),
    }
}

/// Equal in everything: requests have no equality of their own, for none is ever compared.
fn assert_same(one: &Job, other: &Job) {
    assert_eq!(format!("{one:?}"), format!("{other:?}"));
}

/// What goes with a job that made no version.
fn ending(job: &Job, ended: &Ended, told: &Change) -> Ending {
    Ending {
        root_id: job.root,
        labels: told.labels.clone(),
        callback_url: job.request.callback_url.clone(),
        job: Some(JobEnd::from(job)),
        ..records::ending(ended, None)
    }
}

impl World {
    fn told_of(&self, job: &Job, kind: ChangeKind) -> Change {
        let parent = base(job).and_then(|id| self.model.versions.get(&id));
        changes::of_a_job(job, kind, job.created_at, parent.map(|node| &node.stored.version))
    }

    /// Accepts some turns.
    pub(super) async fn queue(&mut self) {
        let jobs: Vec<_> = (0..1 + self.maker.rng.below(3))
            .map(|_| {
                let parent = self.any_version().filter(|_| !self.maker.rng.one_in(3));
                let parent = parent.map(|id| (id, self.model.versions[&id].stored.version.root_id));
                self.maker.job(parent)
            })
            .collect();
        self.store.add_jobs(&jobs).await.expect("added");
        for job in jobs {
            self.model.book.tell(self.told_of(&job, ChangeKind::TurnQueued));
            self.model.jobs.insert(job.turn_id, (job, Vec::new()));
        }
    }

    /// A job comes further.
    pub(super) async fn step(&mut self) {
        let ids: Vec<_> = self.model.jobs.keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        let (mut job, mut events) = self.model.jobs[self.maker.rng.pick(&ids)].clone();
        match self.maker.rng.below(6) {
            0 | 1 => {
                let kind = if job.state.running { ChangeKind::TurnRequeued } else { ChangeKind::TurnStarted };
                job.state.attempt += u32::from(!job.state.running);
                job.state.running = !job.state.running;
                job.state.error = job.state.running.then(|| Failure::new(Reason::Timeout, "too slow"));
                self.store.update_job(&job, kind, job.created_at).expect("updated");
                self.model.book.tell(self.told_of(&job, kind));
            }
            2 | 3 => {
                let more = self.maker.next_events(events.len());
                let opening = self.maker.turn(job.turn_id.0, base(&job), Vec::new(), TurnState::Running);
                self.store.append_job_events(job.turn_id, &opening, &more).await.expect("written");
                events.extend(more);
            }
            4 => return self.succeed(job).await,
            _ => return self.give_up(job).await,
        }
        self.model.jobs.insert(job.turn_id, (job, events));
    }

    async fn succeed(&mut self, job: Job) {
        let parent = base(&job);
        if parent.is_some_and(|id| !self.model.versions.contains_key(&id)) {
            return self.give_up(job).await;
        }
        let kept = parent.map_or(0, |id| self.model.versions[&id].stored.version.entry_count);
        let mut commit = Commit { job: Some(JobEnd::from(&job)), ..self.commit_as(job.turn_id, parent, kept) };
        commit.request = job.request.request.as_ref().map(|key| (key.id.clone(), key.fingerprint));
        commit.turn.request_id = commit.request.as_ref().map(|(id, _)| id.clone());
        let stored = self.store.commit(commit.clone()).await.expect("committed");
        self.committed(commit, stored);
        self.over(&job);
    }

    async fn give_up(&mut self, job: Job) {
        let mut turn = self.maker.turn(job.turn_id.0, base(&job), Vec::new(), TurnState::Cancelled);
        let key = job.request.request.clone();
        turn.request_id = key.as_ref().map(|key| key.id.clone());
        let request_fingerprint = key.map(|key| key.fingerprint);
        let ended = Ended { turn, inputs: Vec::new(), events: Vec::new(), request_fingerprint, kept: 0 };
        let ending = ending(&job, &ended, &self.told_of(&job, ChangeKind::TurnEnded));
        self.model.book.tell(changes::ended(&ended, &ending));
        let gone = base(&job).is_some_and(|id| !self.model.versions.contains_key(&id));
        let expected = if gone { Err(Error::ParentGone) } else { Ok(()) };
        assert_eq!(self.store.commit_failed(ended.clone(), ending, &[]).await, expected);
        if !gone {
            self.model.failed.insert(job.turn_id, ended);
        }
        self.over(&job);
    }

    fn over(&mut self, job: &Job) {
        self.model.jobs.remove(&job.turn_id);
        let again = self.store.update_job(job, ChangeKind::TurnStarted, job.created_at);
        assert_eq!(again, Err(Error::NotFound));
        assert!(self.store.job(job.turn_id).expect("readable").is_none());
    }

    pub(super) fn check_jobs(&self) {
        check(&self.store, &self.model.jobs);
    }
}

fn check(store: &Store, jobs: &BTreeMap<causerie::domain::TurnId, (Job, Vec<Event>)>) {
    let found = store.jobs().expect("readable");
    assert_eq!(found.len(), jobs.len());
    for (found, (id, (job, events))) in found.iter().zip(jobs) {
        assert_same(found, job);
        assert_same(&store.job(*id).expect("readable").expect("there"), job);
        let written = store.job_events(*id).expect("readable");
        assert_eq!(format!("{written:?}"), format!("{events:?}"));
        assert_eq!(store.turn(*id).expect("readable"), None);
        if let Some(key) = &job.request.request {
            assert_eq!(store.request(&key.id).expect("readable"), Some((*id, key.fingerprint)));
        }
    }
}

#[tokio::test]
async fn any_request_comes_back_as_it_was_asked() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut maker = Maker::new(seed());
    let mut jobs: Vec<_> = (0..200 * effort())
        .map(|_| {
            let parent = maker.rng.maybe(|_| ());
            let parent = parent.map(|()| (ConversationId(maker.uuid()), ConversationId(maker.uuid())));
            maker.job(parent)
        })
        .collect();
    // One of several pieces that no compression makes small.
    jobs[0].request.callback_url = Some((0..20_000).map(|_| format!("{:016x}", maker.rng.next())).collect());
    let before = store.stats().syncs;
    store.add_jobs(&jobs).await.expect("added");
    assert!(store.stats().syncs - before <= 1, "all share one sync");
    let expected = jobs.into_iter().map(|job| (job.turn_id, (job, Vec::new()))).collect();
    check(&store, &expected);
    store.close();
    check(&open(dir.path()), &expected);
}

#[tokio::test]
async fn a_job_that_has_ended_leaves_nothing_but_its_turn() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut maker = Maker::new(seed());
    let store = open(dir.path());
    let root = tree(&store, &mut maker, 1).await.remove(0);
    let orphan = maker.job(Some((root.version.id, root.version.id)));
    let (failing, ending_well) = (maker.job(None), maker.job(None));
    let jobs = [orphan, failing, ending_well];
    store.add_jobs(&jobs).await.expect("added");
    for job in &jobs {
        let opening = maker.turn(job.turn_id.0, base(job), Vec::new(), TurnState::Running);
        let events = maker.next_events(0);
        store.append_job_events(job.turn_id, &opening, &events).await.expect("written");
    }
    store.delete(root.version.id, true, jobs[0].created_at).await.expect("deleted");
    let before = *store.revision().borrow();
    for job in &jobs[..2] {
        let turn = maker.turn(job.turn_id.0, base(job), Vec::new(), TurnState::Failed);
        let ended = Ended { turn, inputs: Vec::new(), events: Vec::new(), request_fingerprint: None, kept: 0 };
        let ending = Ending { job: Some(JobEnd::from(job)), ..records::ending(&ended, None) };
        let expected = if base(job).is_some() { Err(Error::ParentGone) } else { Ok(()) };
        assert_eq!(store.commit_failed(ended, ending, &[]).await, expected);
    }
    let turn = maker.turn(jobs[2].turn_id.0, None, Vec::new(), TurnState::Completed);
    let ended = Ended { turn, inputs: Vec::new(), events: Vec::new(), request_fingerprint: None, kept: 0 };
    let commit = Commit { job: Some(JobEnd::from(&jobs[2])), ..records::start(&ended, maker.settings(), None) };
    store.commit(commit).await.expect("committed");
    assert_eq!(store.was_deleted(jobs[0].turn_id), Ok(true));
    let told: Vec<_> = read_all(&store, before, 9).iter().map(|change| (change.kind, change.turn_id)).collect();
    let ends = [ChangeKind::TurnEnded, ChangeKind::TurnEnded, ChangeKind::VersionCreated];
    assert!(told.into_iter().eq(ends.into_iter().zip(jobs.iter().map(|job| job.turn_id))));
    let missing = store.append_job_events(jobs[2].turn_id, &ended.turn, &maker.next_events(0)).await;
    assert_eq!(missing, Err(Error::NotFound));
    store.close();
    assert!(!raw_keys(dir.path()).iter().any(|key| b"BbO".contains(&key[0])));
}

/// Puts back what a crash leaves between a turn's commit and the removal of its job, and before a job is accepted.
#[tokio::test]
async fn what_a_crash_left_of_a_job_goes() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut maker = Maker::new(seed());
    let store = open(dir.path());
    let job = maker.job(None);
    store.add_jobs(std::slice::from_ref(&job)).await.expect("added");
    let opening = maker.turn(job.turn_id.0, None, Vec::new(), TurnState::Running);
    store.append_job_events(job.turn_id, &opening, &maker.next_events(0)).await.expect("written");
    store.close();
    let rows: Vec<_> = raw(dir.path()).iter().map(|row| row.expect("a row")).collect();
    let rows: Vec<_> = rows.into_iter().filter(|(key, _)| b"BbO".contains(&key[0])).collect();
    assert_eq!(rows.len(), 3);

    let store = open(dir.path());
    let turn = maker.turn(job.turn_id.0, None, Vec::new(), TurnState::Completed);
    let ended = Ended { turn, inputs: Vec::new(), events: Vec::new(), request_fingerprint: None, kept: 0 };
    let commit = Commit { job: Some(JobEnd::from(&job)), ..records::start(&ended, maker.settings(), None) };
    store.commit(commit).await.expect("committed");
    store.close();
    let after = raw_keys(dir.path());
    for with_head in [true, false] {
        {
            let raw = raw(dir.path());
            for (key, row) in rows.iter().filter(|(key, _)| with_head || key[0] != b'B') {
                raw.insert(key, row).expect("written");
            }
        }
        let store = open(dir.path());
        assert!(store.job(job.turn_id).expect("readable").is_none());
        assert!(store.jobs().expect("readable").is_empty());
        assert_eq!(store.update_job(&job, ChangeKind::TurnStarted, job.created_at), Err(Error::NotFound));
        store.close();
        assert_eq!(raw_keys(dir.path()), after);
    }
}

#[tokio::test]
async fn failed_turns_are_listed_newest_first() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut maker = Maker::new(seed());
    let store = open(dir.path());
    let mut expected = Vec::new();
    for words in [10, 60_000, 10, 10] {
        let (id, inputs) = (maker.uuid(), vec![maker.user(words)]);
        let turn = maker.turn(id, None, Vec::new(), TurnState::Failed);
        let events = maker.events(&turn, &inputs);
        expected.insert(0, turn.clone());
        let ended = Ended { turn, inputs, events, request_fingerprint: None, kept: 0 };
        let ending = records::ending(&ended, None);
        store.commit_failed(ended, ending, &[]).await.expect("committed");
    }
    let (first, last) = (expected[3].id, expected[0].id);
    assert_eq!(store.failed_turns(first..last, 9).expect("readable"), expected[1..]);
    assert_eq!(store.failed_turns(first..last, 2).expect("readable"), expected[1..3]);
    assert_eq!(store.failed_turns(first..first, 2).expect("readable"), []);
}
