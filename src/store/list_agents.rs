//! Listing agents and their versions, newest first.

use std::{collections::BTreeMap, sync::Arc};

use super::{Store, agents::AgentError, keys};
use crate::domain::agent::{Agent, AgentId, AgentSource};

/// A page looks at no more agents than this and may come back short.
const MOST_LOOKED_AT: usize = 5000;

/// Which agents are listed. The default is all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AgentQuery {
    /// Only of this name.
    pub name: Option<String>,
    /// Only with all of these pairs at the current version.
    pub metadata: BTreeMap<String, String>,
    /// Only those that were declared there.
    pub source: Option<AgentSource>,
}

/// Where a page of agents ended: when the agent was made, and its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgentCursor(pub [u8; 24]);

/// A page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentPage<C> {
    /// Newest first.
    pub agents: Vec<Arc<Agent>>,
    /// Where the next page begins; `None`: this is the last. A page may be short, or empty, and not the last.
    pub next: Option<C>,
}

/// How much a page takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// At most so many.
    pub rows: usize,
    /// At most so many bytes; the first one always has room.
    pub bytes: usize,
}

impl Store {
    /// A page of the agents that fit, at their current versions, newest first, after (older than) `after`. Blocks.
    ///
    /// # Errors
    ///
    /// [`AgentError::Store`].
    pub fn agents(
        &self,
        query: &AgentQuery,
        after: Option<AgentCursor>,
        room: Room,
    ) -> Result<AgentPage<AgentCursor>, AgentError> {
        let mut page = Filling { page: AgentPage { agents: Vec::new(), next: None }, room };
        let end = after.map_or([u8::MAX; 24], |after| after.0);
        let [low, high] = [[0; 24], end].map(keys::agent_at_age);
        for (looked_at, row) in self.inner.disk.range(low..high).rev().enumerate() {
            let cursor = keys::agent_age(&row?.0);
            if looked_at == MOST_LOOKED_AT {
                return Ok(page.page);
            }
            if let Some(agent) = self.fitting(query, cursor)?
                && !page.take(agent)
            {
                return Ok(page.page);
            }
            page.page.next = Some(AgentCursor(cursor));
        }
        page.page.next = None;
        Ok(page.page)
    }

    /// A page of an agent's versions, newest first, before (older than) `before`. Blocks.
    ///
    /// # Errors
    ///
    /// [`AgentError::Unknown`], [`AgentError::Gone`], [`AgentError::Store`].
    pub fn agent_versions(&self, id: AgentId, before: Option<u32>, room: Room) -> Result<AgentPage<u32>, AgentError> {
        let head = self.inner.live_agent(id)?;
        let mut page = Filling { page: AgentPage { agents: Vec::new(), next: None }, room };
        let end = before.unwrap_or(u32::MAX).min(head.count.saturating_add(1));
        for version in (1..end).rev() {
            if !page.take(self.inner.sized_agent_at(id, &head, version)?) {
                return Ok(page.page);
            }
            page.page.next = Some(version);
        }
        page.page.next = None;
        Ok(page.page)
    }

    /// The agent of a place, if it is there and fits.
    fn fitting(&self, query: &AgentQuery, cursor: [u8; 24]) -> Result<Option<(Arc<Agent>, u32)>, AgentError> {
        let id = AgentId(keys::last_id(&cursor));
        let head = match self.inner.live_agent(id) {
            Ok(head) => head,
            Err(AgentError::Unknown | AgentError::Gone { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let fits = query.source.is_none_or(|source| source == head.source)
            && query.name.as_ref().is_none_or(|name| *name == head.name);
        if !fits {
            return Ok(None);
        }
        match self.inner.sized_agent_at(id, &head, head.current) {
            Ok((agent, bytes)) => {
                let has = |(key, value)| agent.spec.metadata.get(key) == Some(value);
                Ok(query.metadata.iter().all(has).then_some((agent, bytes)))
            }
            // It was deleted meanwhile.
            Err(AgentError::Gone { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A page that fills up.
struct Filling<C> {
    page: AgentPage<C>,
    room: Room,
}

impl<C> Filling<C> {
    /// Takes an agent if there is room.
    fn take(&mut self, (agent, bytes): (Arc<Agent>, u32)) -> bool {
        let size = bytes as usize;
        let is_first = self.page.agents.is_empty();
        if !is_first && (self.page.agents.len() >= self.room.rows || size > self.room.bytes) {
            return false;
        }
        self.room.bytes = self.room.bytes.saturating_sub(size);
        self.page.agents.push(agent);
        true
    }
}
