//! Deleting agents: what an agent was called stays, all else goes.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{
    Inner, Store,
    agents::{AgentError, agent_pieces},
    error::Error,
    keys,
    record::agent::{self as record, Content, Head},
};
use crate::domain::{
    Time,
    agent::{AgentId, AgentSource},
};

impl Store {
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
}

impl Inner {
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

    /// All rows of an agent but its head. The first version tells what else there is, so it goes after that.
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
        self.erase_all(self.disk.range(agent_pieces(id, 0, u32::MAX)).map(|row| Ok(row?.0)))
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
                    self.erase_all(self.disk.range(unknown).map(|row| Ok(row?.0)))?;
                }
            }
            if id == Uuid::max() {
                break;
            }
            from = keys::agent_version(Uuid::from_u128(id.as_u128() + 1), 0, 0);
        }
        Ok(())
    }
}
