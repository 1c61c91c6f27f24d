//! Random operations on the store and on a plain model of it, with re-opens; then everything that can be read is compared.

use std::{collections::BTreeSet, sync::Arc};

use causerie::{
    domain::{ConversationId, Entry, Settings, Spend, Time, TurnId, TurnState, Version},
    store::{Commit, Ended, Error, Query, Store, Stored, TreeCursor},
};

use super::{
    changes, ledger, open,
    plain::{Model, Node},
    random::{effort, seed},
    records,
    sample::Maker,
};

/// Both, and what makes the operations.
pub(super) struct World {
    pub(super) maker: Maker,
    pub(super) model: Model,
    pub(super) store: Store,
    pub(super) requests: usize,
}

impl World {
    pub(super) fn any_version(&mut self) -> Option<ConversationId> {
        let ids: Vec<_> = self.model.versions.keys().copied().collect();
        // Mostly the newest ones, so that conversations become long.
        let newest = ids.len().saturating_sub(if self.maker.rng.one_in(3) { ids.len() } else { 4 });
        (!ids.is_empty()).then(|| *self.maker.rng.pick(&ids[newest..]))
    }

    /// A turn on a version (or on nothing), of which `kept` entries stay.
    fn commit(&mut self, parent: Option<ConversationId>, kept: u64) -> Commit {
        // Sometimes the clock was set back.
        let back = self.maker.rng.one_in(8);
        let id = if back { self.maker.uuid_at(1_700_000_000_000) } else { self.maker.uuid() };
        self.commit_as(TurnId(id), parent, kept)
    }

    /// The same of a turn with this id.
    pub(super) fn commit_as(&mut self, TurnId(id): TurnId, parent: Option<ConversationId>, kept: u64) -> Commit {
        let maker = &mut self.maker;
        let words = if maker.rng.one_in(30) { 40_000 } else { 30 };
        let inputs: Vec<_> = (0..maker.rng.below(3)).map(|_| maker.user(words)).collect();
        let outputs: Vec<_> = (0..maker.rng.below(3))
            .map(|_| {
                let body = maker.body();
                maker.entry(body)
            })
            .collect();
        let mut turn = maker.turn(id, parent, outputs, TurnState::Completed);
        let parent = parent.map(|id| &self.model.versions[&id].stored);
        let before = match parent.map(|parent| &parent.version) {
            Some(parent) if parent.entry_count == kept => parent.spend.clone(),
            Some(parent) => self.model.spend_at(parent.id, kept),
            None => Spend::default(),
        };
        let settings = match parent {
            Some(parent) if !maker.rng.one_in(4) => Arc::clone(&parent.version.settings),
            _ => Arc::new(maker.settings()),
        };
        let request = maker.rng.one_in(3).then(|| {
            self.requests += 1;
            (format!("request {}", self.requests), u128::from(maker.rng.next()).to_be_bytes())
        });
        turn.request_id = request.as_ref().map(|(id, _)| id.clone());
        let events = maker.events(&turn, &inputs);
        let root = parent.map_or(ConversationId(id), |parent| parent.version.root_id);
        let charges = ledger::charges(&mut maker.rng, Some(root), turn.id, false);
        let added = inputs.iter().chain(&turn.outputs);
        let version = Version {
            id: ConversationId(id),
            parent_id: parent.map(|parent| parent.version.id),
            root_id: root,
            turn_state: turn.state,
            created_at: turn.created_at,
            settings,
            entry_count: kept + added.clone().count() as u64,
            turn_count: parent.map_or(0, |parent| parent.version.turn_count) + 1,
            spend: before.and(&turn.usage, turn.cost),
            pending_calls: Vec::new(),
            last_entry: added.last().map(|entry| entry.id),
        };
        let (parent, require_head, journaled) = (parent.cloned(), false, false);
        let (job, at, expires_at) = (None, maker.time(), None);
        let callback_url = maker.rng.maybe(|_| "https://example.com/told".to_owned());
        Commit {
            version,
            parent,
            kept,
            inputs,
            turn,
            events,
            request,
            require_head,
            charges,
            journaled,
            job,
            at,
            callback_url,
            expires_at,
        }
    }

    pub(super) fn committed(&mut self, commit: Commit, stored: Stored) {
        self.model.book.tell(changes::created(&commit));
        let Commit { version, parent, kept, inputs, turn, events, request, charges, .. } = commit;
        assert_eq!(stored.version, version);
        self.model.ledger.write(&charges);
        let mut history = match &parent {
            Some(parent) => self.model.versions[&parent.version.id].history[..kept as usize].to_vec(),
            None => Vec::new(),
        };
        history.extend(inputs.iter().chain(&turn.outputs).cloned());
        let request_fingerprint = request.map(|(_, fingerprint)| fingerprint);
        let ended = Ended { turn, inputs, events, request_fingerprint, kept };
        self.model.versions.insert(version.id, Node { stored, ended, history });
    }

    async fn start(&mut self) {
        let commit = self.commit(None, 0);
        let stored = self.store.commit(commit.clone()).await.expect("committed");
        self.committed(commit, stored);
    }

    async fn append(&mut self, restart: bool) {
        let Some(parent) = self.any_version() else { return };
        let all = self.model.versions[&parent].stored.version.entry_count;
        let kept = if restart { self.maker.rng.below(all as usize + 1) as u64 } else { all };
        let require_head = self.maker.rng.one_in(4);
        let commit = Commit { require_head, ..self.commit(Some(parent), kept) };
        match self.store.commit(commit.clone()).await {
            Ok(stored) => {
                assert!(!require_head || self.model.children(parent).is_empty());
                self.committed(commit, stored);
            }
            Err(Error::HeadMoved(heads)) => {
                let expected = self.model.heads(parent);
                assert!(require_head && !expected.contains(&parent));
                assert!(heads.iter().all(|head| expected.contains(head)));
                assert_eq!(heads.len(), expected.len().min(20));
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Several turns on one version at once.
    async fn race(&mut self) {
        let Some(parent) = self.any_version() else { return };
        let all = self.model.versions[&parent].stored.version.entry_count;
        let require_head = self.maker.rng.one_in(2);
        let was_head = self.model.children(parent).is_empty();
        let count = 2 + self.maker.rng.below(4);
        let commits: Vec<_> = (0..count).map(|_| Commit { require_head, ..self.commit(Some(parent), all) }).collect();
        let tasks: Vec<_> = commits
            .iter()
            .map(|commit| {
                let (store, commit) = (self.store.clone(), commit.clone());
                tokio::spawn(async move { store.commit(commit).await })
            })
            .collect();
        let mut won = 0;
        for (task, commit) in tasks.into_iter().zip(commits) {
            match task.await.expect("no panic") {
                Ok(stored) => {
                    won += 1;
                    self.committed(commit, stored);
                }
                Err(Error::HeadMoved(heads)) => assert!(!heads.is_empty()),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(won, if !require_head { count } else { usize::from(was_head) });
    }

    async fn fail(&mut self) {
        let parent = self.any_version().filter(|_| !self.maker.rng.one_in(4));
        let id = self.maker.uuid();
        let inputs = vec![self.maker.user(20)];
        let mut turn = self.maker.turn(id, parent, Vec::new(), TurnState::Failed);
        let request_fingerprint = self.maker.rng.maybe(|rng| u128::from(rng.next()).to_be_bytes());
        turn.request_id = request_fingerprint.map(|_| {
            self.requests += 1;
            format!("request {}", self.requests)
        });
        let events = self.maker.events(&turn, &inputs);
        let kept = self.maker.rng.next();
        let ended = Ended { turn, inputs, events, request_fingerprint, kept };
        let root = parent.map(|id| self.model.versions[&id].stored.version.root_id);
        let reserved = ledger::charges(&mut self.maker.rng, root, ended.turn.id, true);
        self.store.reserve(&reserved).await.expect("reserved");
        self.model.ledger.write(&reserved);
        // Now and then the process dies here: what was set aside counts.
        if self.maker.rng.one_in(4) {
            return;
        }
        let charges = ledger::charges(&mut self.maker.rng, root, ended.turn.id, false);
        let ending = records::ending(&ended, parent.map(|id| &self.model.versions[&id].stored.version));
        self.model.book.tell(changes::ended(&ended, &ending));
        self.store.commit_failed(ended.clone(), ending, &charges).await.expect("committed");
        self.model.ledger.write(&charges);
        self.model.failed.insert(ended.turn.id, ended);
    }

    async fn delete(&mut self) {
        let Some(id) = self.any_version() else { return };
        let doomed = self.model.closure(id);
        let force = self.maker.rng.one_in(2);
        let at = self.maker.time();
        let deleted = self.store.delete(id, force, at).await;
        if doomed.len() > 1 && !force {
            assert_eq!(deleted, Err(Error::HasSuccessors(doomed.len() as u64 - 1)));
            return;
        }
        assert_eq!(deleted, Ok(doomed.len() as u64));
        assert_eq!(self.store.delete(id, true, at).await, Err(Error::NotFound));
        // A turn that ran meanwhile.
        let late = self.commit(Some(id), 0);
        assert_eq!(self.store.commit(late).await.expect_err("gone"), Error::ParentGone);
        let trees = doomed.iter().copied().filter(|id| self.model.versions[id].stored.version.parent_id.is_none());
        self.model.ledger.delete(trees);
        self.model.failed.retain(|_, ended| ended.turn.parent_id.is_none_or(|parent| !doomed.contains(&parent)));
        for id in doomed {
            let node = self.model.versions.remove(&id).expect("it was there");
            self.model.book.tell(changes::deleted(&node.stored.version, at));
            self.model.gone.push(id);
        }
    }
}

fn ids(rows: &[(Stored, bool)]) -> Vec<(ConversationId, bool)> {
    rows.iter().map(|(stored, head)| (stored.version.id, *head)).collect()
}

/// Comparison.
impl World {
    fn check(&mut self) {
        self.model.ledger.check(&self.store);
        self.model.book.check(&self.store, &mut self.maker.rng);
        self.check_jobs();
        for id in &self.model.gone {
            assert_eq!(self.store.version(*id).expect("readable"), None);
            assert_eq!(self.store.turn(id.turn()).expect("readable"), None);
        }
        for (id, ended) in &self.model.failed {
            check_ended(&self.store, ended);
            assert_eq!(self.store.version(id.conversation()).expect("readable"), None);
        }
        for node in self.model.versions.values() {
            check_node(&self.store, &mut self.maker, &self.model, node);
        }
        assert_eq!(self.store.roots(None, usize::MAX).expect("readable"), self.model.roots());
        assert_eq!(self.store.count_versions().expect("readable"), self.model.versions.len() as u64);
        for root in self.model.roots() {
            self.check_tree(root);
        }
        for _ in 0..8 {
            self.check_list();
        }
    }

    fn check_tree(&mut self, root: ConversationId) {
        let limit = 1 + self.maker.rng.below(7);
        let (mut rows, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.tree(root, after, limit).expect("readable");
            assert!(page.rows.len() <= limit);
            rows.extend(page.rows);
            let Some(next) = page.next else { break };
            after = Some(TreeCursor::from_bytes(next.to_bytes()));
        }
        let mut seen = BTreeSet::new();
        for (stored, head) in &rows {
            let Version { id, parent_id, .. } = &stored.version;
            assert!(parent_id.is_none_or(|parent| seen.contains(&parent)), "parents come first");
            assert_eq!(*head, self.model.children(*id).is_empty());
            assert!(seen.insert(*id), "each comes once");
        }
        assert_eq!(seen, self.model.closure(root));
    }

    fn query(&mut self) -> Query {
        let time = |maker: &mut Maker| {
            let ms = 1_700_000_000_000 + maker.rng.below(maker.now_ms as usize - 1_700_000_000_000 + 2) as i64;
            Time { unix_us: ms * 1000 + *maker.rng.pick(&[0, 1, 999]) }
        };
        let mut query = Query { heads_only: self.maker.rng.one_in(3), ..Query::default() };
        let root = self.any_version().map(|id| self.model.versions[&id].stored.version.root_id);
        let maker = &mut self.maker;
        query.root = root.filter(|_| maker.rng.one_in(4));
        query.model = maker.rng.one_in(4).then(|| (*maker.rng.pick(&["small", "large", "", "none"])).to_owned());
        query.agent_id = maker.rng.one_in(4).then(|| "agent_a".to_owned());
        if maker.rng.one_in(3) {
            query.metadata.insert("user".into(), "anna".into());
        }
        if maker.rng.one_in(6) {
            query.metadata.insert("team".into(), "".into());
        }
        query.created_after = maker.rng.one_in(4).then(|| time(maker));
        query.created_before = maker.rng.one_in(4).then(|| time(maker));
        query
    }

    fn check_list(&mut self) {
        let query = self.query();
        let limit = 1 + self.maker.rng.below(20);
        let rows = list_all(&self.store, &query, limit);
        assert_eq!(ids(&rows), self.model.list(&query), "{query:?}");
    }

    /// What is there when the paging begins comes once, whatever is written meanwhile.
    async fn check_paging_while_writing(&mut self) {
        let query = self.query();
        let query = Query { heads_only: false, ..query };
        let expected: BTreeSet<_> = self.model.list(&query).into_iter().map(|(id, _)| id).collect();
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.list(&query, after, 3).expect("readable");
            seen.extend(page.rows.iter().map(|(stored, _)| stored.version.id));
            self.append(true).await;
            let Some(next) = page.next else { break };
            after = Some(next);
        }
        let all: BTreeSet<_> = seen.iter().copied().collect();
        assert_eq!(all.len(), seen.len(), "each comes once");
        assert!(expected.is_subset(&all), "{query:?}");
    }
}

fn list_all(store: &Store, query: &Query, limit: usize) -> Vec<(Stored, bool)> {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(query, after, limit).expect("readable");
        assert!(page.rows.len() <= limit);
        rows.extend(page.rows);
        after = Some(match page.next {
            Some(next) => next,
            None => return rows,
        });
    }
}

fn check_ended(store: &Store, ended: &Ended) {
    assert_eq!(store.turn(ended.turn.id).expect("readable").as_ref(), Some(ended));
    if let Some((request_id, fingerprint)) = ended.turn.request_id.as_deref().zip(ended.request_fingerprint) {
        assert_eq!(store.request(request_id).expect("readable"), Some((ended.turn.id, fingerprint)));
    }
}

fn check_node(store: &Store, maker: &mut Maker, model: &Model, node: &Node) {
    let Node { stored, ended, history } = node;
    let id = stored.version.id;
    let read = store.version(id).expect("readable").expect("there");
    assert_eq!(read, *stored);
    check_ended(store, ended);
    assert_eq!(store.history(&read, u64::MAX).expect("readable"), *history);
    let keep = maker.rng.below(history.len() + 1);
    assert_eq!(store.history(&read, keep as u64).expect("readable"), history[..keep]);
    if keep < history.len() {
        assert_eq!(store.spend_at(&read, keep as u64).expect("readable"), model.spend_at(id, keep as u64));
    }
    assert_eq!(store.spend_at(&read, u64::MAX).expect("readable"), read.version.spend);
    check_entries(store, maker, &read, history);
    assert_eq!(store.is_head(&read).expect("readable"), model.children(id).is_empty());
    let heads: BTreeSet<_> = store.heads_below(&read, usize::MAX).expect("readable").into_iter().collect();
    assert_eq!(heads, model.heads(id));
    assert!(store.heads_below(&read, 1).expect("readable").len() == 1);
}

fn check_entries(store: &Store, maker: &mut Maker, of: &Stored, history: &[Arc<Entry>]) {
    let start = maker.rng.below(history.len() + 1);
    let end = start + maker.rng.below(history.len() + 1 - start);
    let most = *maker.rng.pick(&[0, 100, 1000, usize::MAX]);
    let entries = store.entries(of, start as u64..end as u64, most).expect("readable");
    assert!(history[start..end].starts_with(&entries));
    assert!(!entries.is_empty() || start == end);
    assert!(most < usize::MAX || entries.len() == end - start);
    if start < history.len() {
        assert_eq!(store.find_entry(of, history[start].id).expect("readable"), Some(start as u64));
    }
    let unknown =
        causerie::domain::EntryId { kind: causerie::domain::ids::EntryKind::MessageInput, uuid: maker.uuid() };
    assert_eq!(store.find_entry(of, unknown).expect("readable"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_operations_agree_with_a_plain_model() {
    for round in 0..3 * effort() {
        let dir = tempfile::tempdir().expect("a directory");
        let maker = Maker::new(seed());
        let mut world = World { maker, model: Model::default(), store: open(dir.path()), requests: 0 };
        let tag_key = world.store.tag_key();
        for step in 0..160 {
            match world.maker.rng.below(26) {
                0..3 => world.start().await,
                3..9 => world.append(false).await,
                9..13 => world.append(true).await,
                13..15 => world.race().await,
                15..17 => world.fail().await,
                // Deletes of every kind, but not so many that nothing is left.
                17 if round % 3 > 0 => world.delete().await,
                18 => world.check_paging_while_writing().await,
                19 if world.maker.rng.one_in(4) => {
                    let before = Time { unix_us: world.maker.rng.below(4) as i64 };
                    let removed = world.store.expire_windows(before).expect("writable");
                    assert_eq!(removed, world.model.ledger.expire(before));
                }
                20..22 => world.queue().await,
                22..25 => world.step().await,
                25 if world.maker.rng.one_in(4) => world.expire_changes(),
                _ if world.maker.rng.one_in(6) => {
                    // Every handle must go before the directory is free.
                    let World { maker, model, store, requests } = world;
                    if step % 2 == 0 {
                        store.close()
                    } else {
                        drop(store)
                    }
                    world = World { maker, model, store: open(dir.path()), requests };
                }
                _ => {}
            }
            if step % 40 == 39 {
                world.check();
            }
        }
        assert_eq!(world.store.tag_key(), tag_key);
    }
}

#[tokio::test]
async fn an_unknown_settings_change_nothing_and_share_a_row() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut world = World { maker: Maker::new(1), model: Model::default(), store: open(dir.path()), requests: 0 };
    world.start().await;
    let root = world.model.roots()[0];
    for _ in 0..10 {
        let parent = *world.model.versions.keys().next_back().expect("there is one");
        let mut commit = world.commit(Some(parent), world.model.versions[&parent].history.len() as u64);
        // Equal, but not the same allocation.
        commit.version.settings = Arc::new(Settings::clone(&world.model.versions[&root].stored.version.settings));
        let stored = world.store.commit(commit.clone()).await.expect("committed");
        world.committed(commit, stored);
    }
    world.check();
    drop(world.store);
    let settings = super::raw_keys(dir.path()).into_iter().filter(|key| key[0] == b'S').count();
    assert_eq!(settings, 1);
}
