//! Agents: their versions, which of them is current, and their aliases. An agent that is deleted leaves its name behind, one that
//! the configuration no longer declares all of it.
//!
//! Writers say which revision they have seen, and write only if it still is the one. What a version fixes is written before the
//! agent's own row, which is the commit point; rows of versions that it does not know are what a crash left behind.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use uuid::Uuid;

use super::{
    Inner, Store,
    error::Error,
    history::Row,
    keys,
    record::agent::{self as record, Content, Head},
};
use crate::domain::{
    Time,
    agent::{Agent, AgentId, AgentPin, AgentSource, AgentSpec},
};

/// Why nothing of an agent was read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentError {
    /// There never was such an agent.
    Unknown,
    /// It is gone.
    Gone {
        /// What it was called.
        name: String,
        /// Since when.
        at: Time,
        /// Where it was declared: by a call, and deleted; or in the configuration, which no longer does.
        source: AgentSource,
    },
    /// It has no such version or alias.
    NoVersion,
    /// Somebody changed it after the revision that was given.
    Changed,
    /// The request made this agent already; the second is the fingerprint that it had.
    Exists(AgentId, [u8; 16]),
    /// The store could not do it.
    Store(Error),
}

/// An agent that is to be.
#[derive(Debug, Clone)]
pub struct NewAgent {
    /// Its id.
    pub id: AgentId,
    /// What its first version fixes.
    pub spec: AgentSpec,
    /// Why it was made; may be empty.
    pub version_message: String,
    /// When.
    pub created_at: Time,
    /// The request that made it and its fingerprint, if it can be repeated.
    pub request: Option<(String, [u8; 16])>,
}

/// A change of an agent.
#[derive(Debug, Clone)]
pub enum AgentChange {
    /// A new version, which becomes the current one.
    Version {
        /// What it fixes.
        spec: AgentSpec,
        /// Why it was made; may be empty.
        message: String,
        /// When.
        at: Time,
    },
    /// Another version becomes the current one.
    Current(u32),
    /// Its versions have these names and no others.
    Aliases(BTreeMap<String, u32>),
}

impl From<Error> for AgentError {
    fn from(error: Error) -> AgentError {
        AgentError::Store(error)
    }
}

impl Store {
    /// An agent at a version, the current one without a pin. Cheap when it is warm: one read of a small row.
    ///
    /// # Errors
    ///
    /// [`AgentError::Unknown`], [`AgentError::Gone`], [`AgentError::NoVersion`], [`AgentError::Store`].
    pub fn agent(&self, id: AgentId, pin: Option<&AgentPin>) -> Result<Arc<Agent>, AgentError> {
        let head = self.inner.live_agent(id)?;
        let version = match pin {
            None => head.current,
            Some(AgentPin::Version(version)) => *version,
            Some(AgentPin::Alias(alias)) => *head.aliases.get(alias).ok_or(AgentError::NoVersion)?,
        };
        self.inner.agent_at(id, &head, version)
    }

    /// The agent that a request made, if it is there, and the request's fingerprint.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn agent_request(&self, request_id: &str) -> Result<Option<(AgentId, [u8; 16])>, Error> {
        self.inner.agent_of_request(request_id)
    }

    /// Writes a new agent that a call asked for. Durable when this returns.
    ///
    /// # Errors
    ///
    /// [`AgentError::Exists`]: the same request id made one that is there; [`AgentError::Store`].
    pub async fn create_agent(&self, new: NewAgent) -> Result<Arc<Agent>, AgentError> {
        let inner = &*self.inner;
        inner.flusher.writable()?;
        let NewAgent { id, spec, version_message, created_at, request } = new;
        let agent = {
            let _alone = inner.locks.agents();
            if let Some((request_id, _)) = &request
                && let Some((agent, fingerprint)) = inner.agent_of_request(request_id)?
            {
                return Err(AgentError::Exists(agent, fingerprint));
            }
            let (request_id, fingerprint) = request.unzip();
            let content = Content { spec, message: version_message, created_at, request_id };
            let head = Head::first(&content, AgentSource::Api);
            let written = inner.insert_new(id, &head, &content, fingerprint);
            written.map_err(|error| inner.flusher.fail(error))?;
            inner.agent_at(id, &head, head.current)?
        };
        inner.flusher.flushed().await?;
        Ok(agent)
    }

    /// Changes an agent that has this revision. Durable when this returns.
    ///
    /// # Errors
    ///
    /// [`AgentError::Unknown`], [`AgentError::Gone`], [`AgentError::NoVersion`], [`AgentError::Changed`], [`AgentError::Store`].
    pub async fn change_agent(
        &self,
        id: AgentId,
        revision: u64,
        change: AgentChange,
    ) -> Result<Arc<Agent>, AgentError> {
        let inner = &*self.inner;
        inner.flusher.writable()?;
        let agent = {
            let _alone = inner.locks.agents();
            let mut head = inner.live_agent(id)?;
            if head.revision != revision {
                return Err(AgentError::Changed);
            }
            let content = head.change(change)?;
            let written = inner.insert_change(id, &head, content.as_ref());
            written.map_err(|error| inner.flusher.fail(error))?;
            inner.agent_at(id, &head, head.current)?
        };
        inner.flusher.flushed().await?;
        Ok(agent)
    }

    /// Removes an agent that has this revision, with all its versions. Durable when this returns. Once begun it goes on even if the
    /// caller goes away.
    ///
    /// # Errors
    ///
    /// [`AgentError::Unknown`], [`AgentError::Gone`], [`AgentError::Changed`], [`AgentError::Store`].
    pub async fn delete_agent(&self, id: AgentId, revision: u64, at: Time) -> Result<(), AgentError> {
        self.inner.flusher.writable()?;
        let store = self.clone();
        let deleted = tokio::task::spawn_blocking(move || store.inner.delete_agent(id, revision, at));
        deleted.await.unwrap_or_else(|panic| Err(Error::failed(panic).into()))?;
        Ok(self.inner.flusher.flushed().await?)
    }

    /// Makes the agents that a configuration declares all that there are of their kind. What one fixes becomes its current
    /// version: a new one, or the one that fixed the same before. Those that are no longer declared are gone, and come back with
    /// their versions when they are declared again. Durable when this returns the number of agents that changed.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn declare_agents(&self, declared: Vec<(AgentId, AgentSpec)>, at: Time) -> Result<usize, Error> {
        let inner = &*self.inner;
        inner.flusher.writable()?;
        let changed = {
            let _alone = inner.locks.agents();
            inner.declare_agents(declared, at)?
        };
        if changed > 0 {
            inner.flusher.flushed().await?;
        }
        Ok(changed)
    }
}

impl Head {
    /// Of an agent with one version.
    fn first(content: &Content, source: AgentSource) -> Head {
        Head {
            name: content.spec.name.clone(),
            current: 1,
            count: 1,
            aliases: BTreeMap::new(),
            source,
            created_at: content.created_at,
            revision: 1,
            gone_at: None,
        }
    }

    /// Takes a change in; what it fixes, if it makes a version.
    fn change(&mut self, change: AgentChange) -> Result<Option<Content>, AgentError> {
        self.revision += 1;
        match change {
            AgentChange::Version { spec, message, at } => {
                self.count += 1;
                self.current = self.count;
                self.name.clone_from(&spec.name);
                Ok(Some(Content { spec, message, created_at: at, request_id: None }))
            }
            AgentChange::Current(version) => {
                self.require(version)?;
                self.current = version;
                Ok(None)
            }
            AgentChange::Aliases(aliases) => {
                aliases.values().try_for_each(|version| self.require(*version))?;
                self.aliases = aliases;
                Ok(None)
            }
        }
    }

    fn require(&self, version: u32) -> Result<(), AgentError> {
        if (1..=self.count).contains(&version) { Ok(()) } else { Err(AgentError::NoVersion) }
    }
}

impl Inner {
    pub(super) fn agent_head(&self, id: Uuid) -> Result<Option<Head>, Error> {
        let row = self.disk.get(keys::agent(id))?;
        Ok(row.map(|row| record::decode_head(&row)).transpose()?)
    }

    pub(super) fn live_agent(&self, id: AgentId) -> Result<Head, AgentError> {
        let head = self.agent_head(id.0)?.ok_or(AgentError::Unknown)?;
        match head.gone_at {
            None => Ok(head),
            Some(at) => Err(AgentError::Gone { name: head.name, at, source: head.source }),
        }
    }

    fn agent_at(&self, id: AgentId, head: &Head, version: u32) -> Result<Arc<Agent>, AgentError> {
        self.sized_agent_at(id, head, version).map(|(agent, _)| agent)
    }

    /// An agent at a version, and its size in bytes. What is kept decoded is of one revision: with another one it is read anew.
    pub(super) fn sized_agent_at(
        &self,
        id: AgentId,
        head: &Head,
        version: u32,
    ) -> Result<(Arc<Agent>, u32), AgentError> {
        head.require(version)?;
        if let Some((agent, bytes)) = self.agents.get(&(id.0, version))
            && agent.revision == head.revision
        {
            return Ok((agent, bytes));
        }
        let Some((content, bytes)) = self.agent_content(id.0, version)? else {
            // It was deleted since its head was read.
            self.live_agent(id)?;
            return Err(Error::failed(format_args!("version {version} of {id} is missing")).into());
        };
        let Content { spec, message, created_at, request_id: _ } = content;
        let agent = Arc::new(Agent {
            id,
            version,
            current_version: head.current,
            version_count: head.count,
            spec,
            version_message: message,
            aliases: head.aliases.clone(),
            source: head.source,
            created_at: head.created_at,
            version_created_at: created_at,
            revision: head.revision,
        });
        self.agents.insert((id.0, version), (agent.clone(), bytes));
        Ok((agent, bytes))
    }

    /// What a version fixes, and its size in bytes.
    fn agent_content(&self, id: Uuid, version: u32) -> Result<Option<(Content, u32)>, Error> {
        let mut row = Vec::new();
        for (expected, piece) in self.disk.range(agent_pieces(id, version, version)).enumerate() {
            let (key, value) = piece?;
            // The first piece is written last and removed last: without it the row does not exist.
            if expected == 0 && !key.ends_with(&[0, 0]) {
                return Ok(None);
            }
            row.extend_from_slice(&value);
        }
        if row.is_empty() {
            return Ok(None);
        }
        let bytes = u32::try_from(row.len()).unwrap_or(u32::MAX);
        Ok(Some((record::decode_content(&row)?, bytes)))
    }

    /// The agent that a request made, if it is there, and the request's fingerprint.
    fn agent_of_request(&self, request_id: &str) -> Result<Option<(AgentId, [u8; 16])>, Error> {
        let Some(row) = self.disk.get(keys::agent_request(request_id))? else { return Ok(None) };
        let (agent, fingerprint) = record::decode_request(&row)?;
        let is_there = self.agent_head(agent)?.is_some_and(|head| head.gone_at.is_none());
        Ok(is_there.then_some((AgentId(agent), fingerprint)))
    }

    /// The rows of a new agent. What a crash leaves of them is found by the first version.
    fn insert_new(
        &self,
        id: AgentId,
        head: &Head,
        content: &Content,
        fingerprint: Option<[u8; 16]>,
    ) -> Result<(), Error> {
        self.insert_row(Row::Agent(id.0, 1), &record::encode_content(content))?;
        self.disk.insert(keys::agent_by_age(head.created_at.unix_us, id.0), &[])?;
        if let Some((request_id, fingerprint)) = content.request_id.as_deref().zip(fingerprint) {
            self.disk.insert(keys::agent_request(request_id), &record::encode_request(id.0, fingerprint))?;
        }
        self.disk.insert(keys::agent(id.0), &record::encode_head(head))
    }

    fn insert_change(&self, id: AgentId, head: &Head, content: Option<&Content>) -> Result<(), Error> {
        if let Some(content) = content {
            self.insert_row(Row::Agent(id.0, head.count), &record::encode_content(content))?;
        }
        self.disk.insert(keys::agent(id.0), &record::encode_head(head))
    }

    fn delete_agent(&self, id: AgentId, revision: u64, at: Time) -> Result<(), AgentError> {
        let _alone = self.locks.agents();
        let head = self.live_agent(id)?;
        if head.revision != revision {
            return Err(AgentError::Changed);
        }
        let (count, revision) = (head.count, head.revision + 1);
        let gone = Head { gone_at: Some(at), aliases: BTreeMap::new(), revision, ..head };
        // From here on it is gone; a crash leaves rows that the next open removes.
        let begun = self.disk.insert(keys::agent(id.0), &record::encode_head(&gone));
        begun.and_then(|()| self.erase_agent(id.0)).map_err(|error| self.flusher.fail(error))?;
        (1..=count).for_each(|version| self.agents.invalidate(&(id.0, version)));
        Ok(())
    }

    /// All rows of an agent but its head. Those that the others are found by go last.
    fn erase_agent(&self, id: Uuid) -> Result<(), Error> {
        if let Some((Content { created_at, request_id, .. }, _)) = self.agent_content(id, 1)? {
            if let Some(request_id) = request_id {
                let key = keys::agent_request(&request_id);
                let row = self.disk.get(&key)?.map(|row| record::decode_request(&row)).transpose()?;
                if row.is_some_and(|(agent, _)| agent == id) {
                    self.disk.remove(&key)?;
                }
            }
            self.disk.remove(keys::agent_by_age(created_at.unix_us, id))?;
        }
        self.erase_all(self.disk.range(agent_pieces(id, 0, u32::MAX)).rev().map(|row| Ok(row?.0)))
    }

    /// Finishes the deletes of agents that a crash interrupted, and removes what it left of agents and versions in the making.
    pub(super) fn heal_agents(&self) -> Result<(), Error> {
        let end = keys::agent_version(Uuid::max(), u32::MAX, u16::MAX);
        let mut from = keys::agent_version(Uuid::nil(), 0, 0);
        while let Some(row) = self.disk.range(from..=end).next() {
            let id = keys::agent_of_version(&row?.0);
            match self.agent_head(id)? {
                Some(Head { gone_at: Some(_), source: AgentSource::Api, .. }) | None => self.erase_agent(id)?,
                Some(Head { count, .. }) => {
                    let unknown = agent_pieces(id, count.saturating_add(1), u32::MAX);
                    self.erase_all(self.disk.range(unknown).rev().map(|row| Ok(row?.0)))?;
                }
            }
            if id == Uuid::max() {
                break;
            }
            from = keys::agent_version(Uuid::from_u128(id.as_u128() + 1), 0, 0);
        }
        Ok(())
    }

    fn declare_agents(&self, declared: Vec<(AgentId, AgentSpec)>, at: Time) -> Result<usize, Error> {
        let ids: BTreeSet<Uuid> = declared.iter().map(|(id, _)| id.0).collect();
        let mut changed = 0;
        for key in self.disk.keys_of(&keys::ALL_AGENTS) {
            let id = keys::last_id(&key?);
            let Some(head) = self.agent_head(id)? else { continue };
            if head.source == AgentSource::Configuration && head.gone_at.is_none() && !ids.contains(&id) {
                let revision = head.revision + 1;
                let gone = Head { gone_at: Some(at), revision, ..head };
                self.insert_change(AgentId(id), &gone, None).map_err(|error| self.flusher.fail(error))?;
                changed += 1;
            }
        }
        for (id, spec) in declared {
            changed += usize::from(self.declare_agent(id, spec, at)?);
        }
        Ok(changed)
    }

    /// Whether it was not so before.
    fn declare_agent(&self, id: AgentId, spec: AgentSpec, at: Time) -> Result<bool, Error> {
        let Some(mut head) = self.agent_head(id.0)? else {
            let content = Content { spec, message: String::new(), created_at: at, request_id: None };
            let head = Head::first(&content, AgentSource::Configuration);
            let written = self.insert_new(id, &head, &content, None);
            return written.map(|()| true).map_err(|error| self.flusher.fail(error));
        };
        let before = head.clone();
        let content = match self.version_that_fixes(id.0, &head, &spec)? {
            Some(version) => {
                head.current = version;
                head.name = spec.name;
                None
            }
            None => {
                head.count += 1;
                head.current = head.count;
                head.name.clone_from(&spec.name);
                Some(Content { spec, message: String::new(), created_at: at, request_id: None })
            }
        };
        head.gone_at = None;
        if head == before {
            return Ok(false);
        }
        head.revision += 1;
        self.insert_change(id, &head, content.as_ref()).map_err(|error| self.flusher.fail(error))?;
        Ok(true)
    }

    /// The current version if it fixes this, else the newest that does.
    fn version_that_fixes(&self, id: Uuid, head: &Head, spec: &AgentSpec) -> Result<Option<u32>, Error> {
        for version in std::iter::once(head.current).chain((1..=head.count).rev()) {
            if self.agent_content(id, version)?.is_some_and(|(content, _)| content.spec == *spec) {
                return Ok(Some(version));
            }
        }
        Ok(None)
    }
}

/// The keys of all pieces of these versions.
fn agent_pieces(id: Uuid, first: u32, last: u32) -> std::ops::RangeInclusive<[u8; 23]> {
    keys::agent_version(id, first, 0)..=keys::agent_version(id, last, u16::MAX)
}
