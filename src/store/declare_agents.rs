//! The agents of a configuration: those that it declares are there, versioned by what they fix, and no others of their kind.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{
    Inner, Store,
    error::Error,
    keys,
    record::agent::{Content, Head},
};
use crate::domain::{
    Time,
    agent::{AgentId, AgentSource, AgentSpec},
};

impl Store {
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

impl Inner {
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
        head.name.clone_from(&spec.name);
        let content = match self.version_that_fixes(id.0, &head, &spec)? {
            Some(version) => {
                head.current = version;
                None
            }
            None => {
                head.count += 1;
                head.current = head.count;
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
