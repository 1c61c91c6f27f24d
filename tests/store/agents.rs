//! Agents: random operations on the store and on a plain model of it, with re-opens; and what a crash leaves of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use causerie::{
    domain::{
        Time,
        agent::{Agent, AgentId, AgentPin, AgentSource, AgentSpec},
    },
    store::{AgentChange, AgentCursor, AgentError, AgentQuery, NewAgent, Room, Store},
};

use super::{
    open,
    random::{effort, seed},
    raw, raw_keys,
    sample::Maker,
};

const ALL: Room = Room { rows: usize::MAX, bytes: usize::MAX };

/// What the store should hold of an agent.
#[derive(Clone)]
struct Kept {
    versions: Vec<(AgentSpec, String, Time)>,
    current: u32,
    aliases: BTreeMap<String, u32>,
    source: AgentSource,
    revision: u64,
    gone_at: Option<Time>,
    request: Option<(String, [u8; 16])>,
}

impl Kept {
    fn new(spec: AgentSpec, message: &str, at: Time, source: AgentSource) -> Kept {
        let versions = vec![(spec, message.to_owned(), at)];
        Kept { versions, current: 1, aliases: BTreeMap::new(), source, revision: 1, gone_at: None, request: None }
    }

    fn at(&self, id: AgentId, version: u32) -> Agent {
        let (spec, message, at) = self.versions[version as usize - 1].clone();
        Agent {
            id,
            version,
            current_version: self.current,
            version_count: self.versions.len() as u32,
            spec,
            version_message: message,
            aliases: self.aliases.clone(),
            source: self.source,
            created_at: self.versions[0].2,
            version_created_at: at,
            revision: self.revision,
        }
    }

    fn spec(&self) -> &AgentSpec {
        &self.versions[self.current as usize - 1].0
    }
}

fn spec(maker: &mut Maker) -> AgentSpec {
    let settings = maker.settings();
    // Some are cut into pieces.
    let words = if maker.rng.one_in(12) { 40_000 } else { 20 };
    AgentSpec {
        name: (*maker.rng.pick(&["support", "sales", "Front desk"])).to_owned(),
        description: maker.text(5),
        model: settings.model,
        fallback_models: vec!["small".to_owned()],
        instructions: maker.text(words),
        tools: settings.tools,
        completion_args: settings.completion_args,
        handoffs: vec!["agent_a".to_owned()],
        metadata: settings.metadata,
    }
}

struct World {
    maker: Maker,
    kept: BTreeMap<AgentId, Kept>,
    /// What the configuration may declare.
    specs: Vec<AgentSpec>,
    requests: usize,
    store: Store,
}

impl World {
    fn any(&mut self) -> Option<AgentId> {
        let ids: Vec<_> = self.kept.keys().copied().collect();
        (!ids.is_empty()).then(|| *self.maker.rng.pick(&ids))
    }

    async fn create(&mut self) {
        let (id, at) = (AgentId(self.maker.uuid()), self.maker.time());
        let spec = spec(&mut self.maker);
        self.requests += 1;
        let request = self.maker.rng.one_in(2).then(|| (format!("request {}", self.requests), [7; 16]));
        let version_message = self.maker.text(4);
        let mut kept = Kept::new(spec.clone(), &version_message, at, AgentSource::Api);
        kept.request = request.clone();
        let new = NewAgent { id, spec, version_message, created_at: at, request: request.clone() };
        let agent = self.store.create_agent(new.clone()).await.expect("created");
        assert_eq!(*agent, kept.at(id, 1));
        if let Some((_, fingerprint)) = request {
            let again = NewAgent { id: AgentId(self.maker.uuid()), ..new };
            assert_eq!(self.store.create_agent(again).await, Err(AgentError::Exists(id, fingerprint)));
        }
        self.kept.insert(id, kept);
    }

    async fn change(&mut self) {
        let Some(id) = self.any() else { return };
        let mut kept = self.kept[&id].clone();
        let version = 1 + self.maker.rng.below(kept.versions.len() + 1) as u32;
        let exists = version as usize <= kept.versions.len();
        let (change, fits) = match self.maker.rng.below(3) {
            0 => {
                let (spec, message, at) = (spec(&mut self.maker), self.maker.text(4), self.maker.time());
                kept.versions.push((spec.clone(), message.clone(), at));
                kept.current = kept.versions.len() as u32;
                (AgentChange::Version { spec: Box::new(spec), message, at }, true)
            }
            1 => {
                kept.current = version;
                (AgentChange::Current(version), exists)
            }
            _ => {
                kept.aliases.insert((*self.maker.rng.pick(&["prod", "next"])).to_owned(), version);
                (AgentChange::Aliases(kept.aliases.clone()), exists)
            }
        };
        let revision = kept.revision - u64::from(self.maker.rng.one_in(5));
        let changed = self.store.change_agent(id, revision, change).await;
        if kept.gone_at.is_some() {
            assert!(matches!(changed, Err(AgentError::Gone { .. })), "{changed:?}");
        } else if revision != kept.revision {
            assert_eq!(changed, Err(AgentError::Changed));
        } else if !fits {
            assert_eq!(changed, Err(AgentError::NoVersion));
        } else {
            kept.revision += 1;
            assert_eq!(*changed.expect("changed"), kept.at(id, kept.current));
            self.kept.insert(id, kept);
        }
    }

    async fn delete(&mut self) {
        let Some(id) = self.any() else { return };
        let at = self.maker.time();
        let kept = self.kept.get_mut(&id).expect("it was picked");
        // The configuration's go otherwise.
        if kept.source == AgentSource::Configuration {
            return;
        }
        let deleted = self.store.delete_agent(id, kept.revision, at).await;
        if kept.gone_at.is_some() {
            assert!(matches!(deleted, Err(AgentError::Gone { .. })), "{deleted:?}");
        } else {
            assert_eq!(deleted, Ok(()));
            kept.gone_at = Some(at);
        }
    }

    /// The configuration of a new start: some of its agents, each with something that it was before or something new.
    async fn declare(&mut self) {
        let at = self.maker.time();
        let names: Vec<&str> =
            ["desk", "night shift", "triage"].into_iter().filter(|_| !self.maker.rng.one_in(3)).collect();
        let declared: Vec<_> = names
            .into_iter()
            .map(|name| {
                let spec = AgentSpec { name: name.to_owned(), ..self.maker.rng.pick(&self.specs).clone() };
                (AgentId::declared(name), spec)
            })
            .collect();
        let changed = self.store.declare_agents(declared.clone(), at).await.expect("declared");
        let mut expected = 0;
        for (id, kept) in &mut self.kept {
            let stays = declared.iter().any(|(other, _)| other == id);
            if kept.source == AgentSource::Configuration && kept.gone_at.is_none() && !stays {
                (kept.gone_at, kept.revision) = (Some(at), kept.revision + 1);
                expected += 1;
            }
        }
        for (id, spec) in declared {
            let Some(kept) = self.kept.get_mut(&id) else {
                self.kept.insert(id, Kept::new(spec, "", at, AgentSource::Configuration));
                expected += 1;
                continue;
            };
            if *kept.spec() == spec && kept.gone_at.is_none() {
                continue;
            }
            if *kept.spec() != spec {
                let before = kept.versions.iter().position(|(other, ..)| *other == spec);
                kept.current = match before {
                    Some(index) => index as u32 + 1,
                    None => {
                        kept.versions.push((spec, String::new(), at));
                        kept.versions.len() as u32
                    }
                };
            }
            (kept.gone_at, kept.revision) = (None, kept.revision + 1);
            expected += 1;
        }
        assert_eq!(changed, expected);
    }

    fn check(&mut self) {
        for (id, kept) in &self.kept {
            check_one(&self.store, *id, kept);
        }
        let unknown = AgentId(self.maker.uuid());
        assert_eq!(self.store.agent(unknown, None), Err(AgentError::Unknown));
        for name in [None, Some("support"), Some("sales"), Some("Front desk")] {
            self.check_list(name);
        }
    }

    fn check_list(&mut self, name: Option<&str>) {
        let mut query = AgentQuery {
            name: name.map(str::to_owned),
            source: self.maker.rng.one_in(3).then_some(AgentSource::Configuration),
            ..AgentQuery::default()
        };
        if self.maker.rng.one_in(3) {
            query.metadata.insert("user".into(), "anna".into());
        }
        let mut expected: Vec<_> = self
            .kept
            .iter()
            .filter(|(_, kept)| {
                kept.gone_at.is_none()
                    && query.name.as_ref().is_none_or(|name| *name == kept.spec().name)
                    && query.source.is_none_or(|source| source == kept.source)
                    && query.metadata.iter().all(|(key, value)| kept.spec().metadata.get(key) == Some(value))
            })
            .map(|(id, kept)| (kept.versions[0].2, *id))
            .collect();
        expected.sort_unstable_by(|one, other| other.cmp(one));
        let rows = 1 + self.maker.rng.below(5);
        let listed: Vec<_> = list(&self.store, &query, Room { rows, ..ALL });
        assert_eq!(listed.iter().map(|agent| (agent.created_at, agent.id)).collect::<Vec<_>>(), expected, "{query:?}");
        for agent in listed {
            assert_eq!(*agent, self.kept[&agent.id].at(agent.id, agent.current_version));
        }
    }
}

fn list(store: &Store, query: &AgentQuery, room: Room) -> Vec<Arc<Agent>> {
    let (mut agents, mut after) = (Vec::new(), None::<AgentCursor>);
    loop {
        let page = store.agents(query, after, room).expect("readable");
        assert!(page.agents.len() <= room.rows);
        agents.extend(page.agents);
        after = Some(match page.next {
            Some(next) => next,
            None => return agents,
        });
    }
}

fn check_one(store: &Store, id: AgentId, kept: &Kept) {
    let read = store.agent(id, None);
    if let Some((request_id, fingerprint)) = &kept.request {
        let found = store.agent_request(request_id).expect("readable");
        assert_eq!(found, kept.gone_at.is_none().then_some((id, *fingerprint)));
    }
    if let Some(at) = kept.gone_at {
        let name = kept.spec().name.clone();
        assert_eq!(read, Err(AgentError::Gone { name, at, source: kept.source }));
        assert!(matches!(store.agent_versions(id, None, ALL), Err(AgentError::Gone { .. })));
        return;
    }
    assert_eq!(*read.expect("there"), kept.at(id, kept.current));
    for (alias, version) in &kept.aliases {
        let pinned = store.agent(id, Some(&AgentPin::Alias(alias.clone()))).expect("there");
        assert_eq!(*pinned, kept.at(id, *version));
    }
    let count = kept.versions.len() as u32;
    for version in [0, count + 1, u32::MAX] {
        assert_eq!(store.agent(id, Some(&AgentPin::Version(version))), Err(AgentError::NoVersion));
    }
    assert_eq!(store.agent(id, Some(&AgentPin::Alias("none".into()))), Err(AgentError::NoVersion));
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = store.agent_versions(id, before, Room { rows: 2, ..ALL }).expect("there");
        seen.extend(page.agents.iter().map(|agent| Agent::clone(agent)));
        before = Some(match page.next {
            Some(next) => next,
            None => break,
        });
    }
    let expected: Vec<_> = (1..=count).rev().map(|version| kept.at(id, version)).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn agents_are_what_a_plain_model_says_through_re_opens() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut maker = Maker::new(seed());
    let specs = (0..3).map(|_| spec(&mut maker)).collect();
    let mut world = World { maker, kept: BTreeMap::new(), specs, requests: 0, store: open(dir.path()) };
    for _ in 0..6 * effort() {
        for _ in 0..30 {
            match world.maker.rng.below(10) {
                0..3 => world.create().await,
                3..8 => world.change().await,
                8 => world.delete().await,
                _ => world.declare().await,
            }
        }
        world.check();
        world.store.clone().close();
        let World { maker, kept, specs, requests, store } = world;
        drop(store);
        check_keys(&raw_keys(dir.path()), &kept);
        world = World { maker, kept, specs, requests, store: open(dir.path()) };
        world.check();
    }
    world.store.close();
}

/// Of an agent that was deleted only its name is left, and no row belongs to nobody.
fn check_keys(keys: &[Vec<u8>], kept: &BTreeMap<AgentId, Kept>) {
    let ids = |prefix: u8, at: std::ops::Range<usize>| -> BTreeSet<Vec<u8>> {
        keys.iter().filter(|key| key[0] == prefix).map(|key| key[at.clone()].to_vec()).collect()
    };
    let of = |is_kept: &dyn Fn(&Kept) -> bool| -> BTreeSet<Vec<u8>> {
        kept.iter().filter(|(_, kept)| is_kept(kept)).map(|(id, _)| id.0.as_bytes().to_vec()).collect()
    };
    let with_content = of(&|kept| kept.gone_at.is_none() || kept.source == AgentSource::Configuration);
    assert_eq!(ids(b'N', 1..17), of(&|_| true));
    assert_eq!(ids(b'U', 1..17), with_content);
    assert_eq!(ids(b'J', 9..25), with_content);
    let requests = kept.values().filter(|kept| kept.gone_at.is_none() && kept.request.is_some()).count();
    assert_eq!(keys.iter().filter(|key| key[0] == b'Q').count(), requests);
}

/// A store with an agent of two versions, one of them in pieces.
async fn filled(path: &std::path::Path) -> (AgentId, Kept) {
    let store = open(path);
    let mut maker = Maker::new(3);
    let id = AgentId(maker.uuid());
    let request = Some(("once".to_owned(), [7; 16]));
    let first = AgentSpec { instructions: "piece ".repeat(30_000), ..spec(&mut maker) };
    let created_at = maker.time();
    let mut kept = Kept::new(first.clone(), "", created_at, AgentSource::Api);
    kept.request = request.clone();
    let new = NewAgent { id, spec: first, version_message: String::new(), created_at, request };
    store.create_agent(new).await.expect("created");
    let (second, at) = (spec(&mut maker), maker.time());
    kept.versions.push((second.clone(), String::new(), at));
    (kept.current, kept.revision) = (2, 2);
    let change = AgentChange::Version { spec: Box::new(second), message: String::new(), at };
    store.change_agent(id, 1, change).await.expect("changed");
    store.close();
    (id, kept)
}

fn keys_of(path: &std::path::Path, prefixes: &[u8]) -> Vec<Vec<u8>> {
    raw_keys(path).into_iter().filter(|key| prefixes.contains(&key[0])).collect()
}

/// The rows of an agent in the order in which they are written: a crash leaves a beginning of them.
#[tokio::test]
async fn what_a_crash_leaves_of_a_new_agent_is_removed() {
    let probe = tempfile::tempdir().expect("a directory");
    let (id, _) = filled(probe.path()).await;
    let of_first = |key: &Vec<u8>| key[0] != b'U' || key[17..21] == 1u32.to_be_bytes();
    let mut order: Vec<_> = keys_of(probe.path(), b"UJQN").into_iter().filter(of_first).collect();
    // The pieces backwards, the index, the request, the agent's own row last.
    order.sort_by_key(|key| (b"UJQN".iter().position(|prefix| *prefix == key[0]), std::cmp::Reverse(key.clone())));
    assert!(order.iter().filter(|key| key[0] == b'U').count() > 2, "it is in pieces");
    for written in 0..order.len() {
        let dir = tempfile::tempdir().expect("a directory");
        filled(dir.path()).await;
        let disk = raw(dir.path());
        for key in keys_of_open(&disk) {
            if !order[..written].contains(&key) {
                disk.remove(key).expect("removed");
            }
        }
        disk.flush().expect("flushed");
        drop(disk);
        let store = open(dir.path());
        assert_eq!(store.agent(id, None), Err(AgentError::Unknown), "{written} rows");
        assert_eq!(store.agent_request("once"), Ok(None));
        assert_eq!(list(&store, &AgentQuery::default(), ALL), []);
        store.close();
        assert_eq!(keys_of(dir.path(), b"UJQN"), Vec::<Vec<u8>>::new(), "{written} rows");
    }
}

fn keys_of_open(disk: &sled::Db) -> Vec<Vec<u8>> {
    let keys = disk.iter().keys().map(|key| key.expect("a key").to_vec());
    keys.filter(|key| b"UJQN".contains(&key[0])).collect()
}

#[tokio::test]
async fn what_a_crash_leaves_of_a_new_version_is_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (id, mut kept) = filled(dir.path()).await;
    let disk = raw(dir.path());
    // As it was before the second version, whose pieces are all there.
    let head = disk.get([b"N", &id.0.as_bytes()[..]].concat()).expect("readable").expect("there");
    drop(disk);
    let store = open(dir.path());
    let change = AgentChange::Version { spec: Box::default(), message: String::new(), at: Time { unix_us: 1 } };
    store.change_agent(id, 2, change).await.expect("a third version");
    store.close();
    let disk = raw(dir.path());
    disk.insert([b"N", &id.0.as_bytes()[..]].concat(), head).expect("written");
    disk.flush().expect("flushed");
    drop(disk);
    let store = open(dir.path());
    check_one(&store, id, &kept);
    let at = Time { unix_us: 5 };
    let (spec, message) = (kept.versions[0].0.clone(), "the third again".to_owned());
    kept.versions.push((spec.clone(), message.clone(), at));
    (kept.current, kept.revision) = (3, 3);
    store
        .change_agent(id, 2, AgentChange::Version { spec: Box::new(spec), message, at })
        .await
        .expect("a third version");
    check_one(&store, id, &kept);
    store.close();
}

/// A delete marks the agent first; what it had not removed by then goes at the next open.
#[tokio::test]
async fn a_delete_that_a_crash_cut_short_is_finished() {
    let probe = tempfile::tempdir().expect("a directory");
    let (id, mut kept) = filled(probe.path()).await;
    let mut order = keys_of(probe.path(), b"UJQ");
    order.sort_by_key(|key| (b"QJU".iter().position(|prefix| *prefix == key[0]), key.clone()));
    let at = Time { unix_us: 77 };
    let store = open(probe.path());
    store.delete_agent(id, 2, at).await.expect("deleted");
    store.close();
    kept.gone_at = Some(at);
    let key = [b"N", &id.0.as_bytes()[..]].concat();
    let gone = raw(probe.path()).get(&key).expect("readable").expect("its name stays");
    for removed in 0..=order.len() {
        let dir = tempfile::tempdir().expect("a directory");
        filled(dir.path()).await;
        let disk = raw(dir.path());
        disk.insert(&key, &gone).expect("written");
        order[..removed].iter().for_each(|key| drop(disk.remove(key).expect("removed")));
        disk.flush().expect("flushed");
        drop(disk);
        let store = open(dir.path());
        check_one(&store, id, &kept);
        assert_eq!(list(&store, &AgentQuery::default(), ALL), []);
        store.close();
        assert_eq!(keys_of(dir.path(), b"UJQN"), std::slice::from_ref(&key), "{removed} rows");
    }
}

#[tokio::test]
async fn of_writers_of_one_revision_one_wins() {
    let dir = tempfile::tempdir().expect("a directory");
    let (id, _) = filled(dir.path()).await;
    let store = open(dir.path());
    let write = |n: i64| {
        let store = store.clone();
        let spec = AgentSpec { name: format!("writer {n}"), ..AgentSpec::default() };
        let change = AgentChange::Version { spec: Box::new(spec), message: String::new(), at: Time { unix_us: n } };
        tokio::spawn(async move { store.change_agent(id, 2, change).await })
    };
    let writers: Vec<_> = (0..16).map(write).collect();
    let mut won = Vec::new();
    for writer in writers {
        match writer.await.expect("no panic") {
            Ok(agent) => won.push(agent),
            Err(error) => assert_eq!(error, AgentError::Changed),
        }
    }
    let [winner] = won.as_slice() else { panic!("{} won", won.len()) };
    assert_eq!(store.agent(id, None).expect("there").spec, winner.spec);
    assert_eq!(store.agent(id, None).expect("there").version_count, 3);
    store.close();
}
