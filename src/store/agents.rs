//! Agents: their versions, which of them is current, and their aliases. An agent that is deleted leaves its name behind, one that
//! the configuration no longer declares all of it.
//!
//! Writers say which revision they have seen, and write only if it still is the one. What a version fixes is written before the
//! agent's own row, which is the commit point; rows of versions that it does not know are what a crash left behind.

use std::{collections::BTreeMap, sync::Arc};

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
        spec: Box<AgentSpec>,
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
            // A list looks for the name of the current version here.
            head.name = match &content {
                Some(content) => content.spec.name.clone(),
                None => inner.agent_at(id, &head, head.current)?.spec.name.clone(),
            };
            let written = inner.insert_change(id, &head, content.as_ref());
            written.map_err(|error| inner.flusher.fail(error))?;
            inner.agent_at(id, &head, head.current)?
        };
        inner.flusher.flushed().await?;
        Ok(agent)
    }
}

impl Head {
    /// Of an agent with one version.
    pub(super) fn first(content: &Content, source: AgentSource) -> Head {
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
                Ok(Some(Content { spec: *spec, message, created_at: at, request_id: None }))
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
    pub(super) fn agent_content(&self, id: Uuid, version: u32) -> Result<Option<(Content, u32)>, Error> {
        let mut row = Vec::new();
        for (expected, piece) in self.disk.range(agent_pieces(id, version, version)).enumerate() {
            let (key, value) = piece?;
            // The first piece is written last and removed first: without it the row does not exist.
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
    pub(super) fn insert_new(
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

    pub(super) fn insert_change(&self, id: AgentId, head: &Head, content: Option<&Content>) -> Result<(), Error> {
        if let Some(content) = content {
            self.insert_row(Row::Agent(id.0, head.count), &record::encode_content(content))?;
        }
        self.disk.insert(keys::agent(id.0), &record::encode_head(head))
    }
}

/// The keys of all pieces of these versions.
pub(super) fn agent_pieces(id: Uuid, first: u32, last: u32) -> std::ops::RangeInclusive<[u8; 23]> {
    keys::agent_version(id, first, 0)..=keys::agent_version(id, last, u16::MAX)
}
