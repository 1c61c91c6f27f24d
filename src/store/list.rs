//! Listing versions, newest first.
//!
//! Without a filter that has an index the versions are walked backwards, as their ids sort by time. With one, the branches that
//! it names are merged, each from its newest version backwards.

use std::{
    collections::{BTreeMap, BinaryHeap},
    ops::Range,
};

use uuid::Uuid;

use super::{
    Inner, Store, Stored,
    error::Error,
    keys::{self, Index},
};
use crate::domain::{ConversationId, Settings, Time};

/// A page looks at no more versions than this (some 0.1 s) and may come back short.
const MOST_LOOKED_AT: usize = 20_000;

/// More branches than this are not merged: to find their newest versions would cost more than to walk the versions.
const MOST_BRANCHES: usize = 4096;

/// Which versions are listed. The default is all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// Only versions without successors.
    pub heads_only: bool,
    /// Only this tree.
    pub root: Option<ConversationId>,
    /// Only with this model.
    pub model: Option<String>,
    /// Only with this agent.
    pub agent_id: Option<String>,
    /// Only with all of these pairs.
    pub metadata: BTreeMap<String, String>,
    /// Only those made at or after this time: the time in their id, to the millisecond.
    pub created_after: Option<Time>,
    /// Only those made before this time: the time in their id, to the millisecond.
    pub created_before: Option<Time>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Versions, newest first, each with whether it is a head.
    pub rows: Vec<(Stored, bool)>,
    /// Where the next page begins; `None`: this is the last. A page may be short, or empty, and not the last.
    pub next: Option<ConversationId>,
}

impl Store {
    /// A page of the versions that fit, newest first by their ids, after (older than) `after`. Versions that are made meanwhile
    /// never move the others to another page.
    pub fn list(&self, query: &Query, after: Option<ConversationId>, limit: usize) -> Result<Page, Error> {
        let (rows, next) = self.inner.pick(query, after, limit, |stored, _| {
            let head = self.inner.is_head(&stored)?;
            Ok((head || !query.heads_only).then_some((stored, head)))
        })?;
        Ok(Page { rows, next })
    }
}

impl Inner {
    /// What `take` makes of the versions that fit, newest first, after (older than) `after`, at most `limit`; and where to go on.
    /// `take` may add to the count of versions that were looked at what it looks at besides.
    pub(super) fn pick<T>(
        &self,
        query: &Query,
        after: Option<ConversationId>,
        limit: usize,
        take: impl FnMut(Stored, &mut usize) -> Result<Option<T>, Error>,
    ) -> Result<Picked<T>, Error> {
        let range = id_range(query, after);
        let picker = Picker { inner: self, query, limit, take, looked_at: 0, rows: Vec::new(), next: None };
        match self.branches_of(query)? {
            Some(branches) => picker.merge(&branches, range),
            None => picker.walk(range),
        }
    }
}

/// The ids that can fit: from the first up to and without the second.
fn id_range(query: &Query, after: Option<ConversationId>) -> Range<Uuid> {
    let Range { start, end } = ids_between(query.created_after, query.created_before);
    start..after.map_or(end, |after| end.min(after.0))
}

/// The ids that were made at or after the first time, and before the second one, to the millisecond.
pub(super) fn ids_between(after: Option<Time>, before: Option<Time>) -> Range<Uuid> {
    after.map_or(Uuid::nil(), first_id_at)..before.map_or(Uuid::max(), first_id_at)
}

/// No id of an earlier time is as great as this, and every id of this time or a later one is.
pub(super) fn first_id_at(time: Time) -> Uuid {
    let ms = time.unix_us.max(0).cast_unsigned().div_ceil(1000).min((1 << 48) - 1);
    Uuid::from_u128(u128::from(ms) << 80)
}

/// Takes the versions that fit from those that are looked at.
struct Picker<'a, T, F> {
    inner: &'a Inner,
    query: &'a Query,
    limit: usize,
    take: F,
    looked_at: usize,
    rows: Vec<T>,
    next: Option<ConversationId>,
}

/// What was taken, and where to go on.
type Picked<T> = (Vec<T>, Option<ConversationId>);

impl<T, F: FnMut(Stored, &mut usize) -> Result<Option<T>, Error>> Picker<'_, T, F> {
    /// All versions of a range.
    fn walk(mut self, range: Range<Uuid>) -> Result<Picked<T>, Error> {
        if range.is_empty() {
            return Ok((self.rows, None));
        }
        for row in self.inner.disk.range(keys::version(range.start)..keys::version(range.end)).rev() {
            let id = keys::last_id(&row?.0);
            if !self.look_at(id)? {
                return Ok((self.rows, self.next));
            }
        }
        Ok((self.rows, None))
    }

    /// The versions of these branches in a range.
    fn merge(mut self, branches: &[Uuid], range: Range<Uuid>) -> Result<Picked<T>, Error> {
        let mut newest = BinaryHeap::new();
        for branch in branches {
            if let Some((version, seq)) = self.inner.newest_below(*branch, range.end)? {
                newest.push((version, *branch, seq));
            }
        }
        while let Some((version, branch, seq)) = newest.pop().filter(|(version, ..)| *version >= range.start) {
            if !self.look_at(version)? {
                return Ok((self.rows, self.next));
            }
            if let Some(head) = seq.checked_sub(1).map(|seq| self.inner.head(branch, seq)).transpose()?.flatten() {
                newest.push((head.id, branch, seq - 1));
            }
        }
        Ok((self.rows, None))
    }

    /// Takes a version if it fits. False: the page is full, and the version was not looked at.
    fn look_at(&mut self, id: Uuid) -> Result<bool, Error> {
        if self.rows.len() == self.limit || self.looked_at >= MOST_LOOKED_AT {
            return Ok(false);
        }
        self.looked_at += 1;
        self.next = Some(ConversationId(id));
        let stored = match self.inner.version(id) {
            Ok(Some(stored)) => stored,
            // Not finished, or deleted at this moment.
            Ok(None) | Err(Error::NotFound) => return Ok(true),
            Err(error) => return Err(error),
        };
        if fits(self.query, &stored)
            && let Some(row) = (self.take)(stored, &mut self.looked_at)?
        {
            self.rows.push(row);
        }
        Ok(true)
    }
}

/// Whether a version has what is asked for; times and heads are seen to elsewhere.
fn fits(query: &Query, stored: &Stored) -> bool {
    let Query { heads_only: _, root, model, agent_id, metadata, created_after: _, created_before: _ } = query;
    let Settings { model: own_model, agent_id: own_agent, metadata: own_metadata, .. } = &*stored.version.settings;
    root.is_none_or(|root| root == stored.version.root_id)
        && model.as_ref().is_none_or(|model| model == own_model)
        && agent_id.as_ref().is_none_or(|agent| Some(agent) == own_agent.as_ref())
        && metadata.iter().all(|(name, value)| own_metadata.get(name) == Some(value))
}

impl Inner {
    /// The branches that can have what is asked for, by the first filter that names few enough. `None`: walk them all.
    fn branches_of(&self, query: &Query) -> Result<Option<Vec<Uuid>>, Error> {
        let pairs = query.metadata.iter().map(|(name, value)| Index::Pair(name, value));
        let agent = query.agent_id.as_deref().map(Index::Agent);
        // Versions without a model are not indexed.
        let model = query.model.as_deref().filter(|model| !model.is_empty()).map(Index::Model);
        let indexes = pairs.chain(agent).chain(model).map(|index| keys::indexed(index).to_vec());
        let root = query.root.map(|root| keys::branches(root.0).to_vec());
        for prefix in root.into_iter().chain(indexes) {
            let found = self.disk.keys_of(&prefix).take(MOST_BRANCHES + 1);
            let found = found.map(|key| Ok(keys::last_id(&key?))).collect::<Result<Vec<_>, Error>>()?;
            if found.len() <= MOST_BRANCHES {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The newest turn of a branch whose id is below this one, and its place. Ids grow along a branch.
    fn newest_below(&self, branch: Uuid, end: Uuid) -> Result<Option<(Uuid, u32)>, Error> {
        let Some((mut newest, mut high)) = self.tip(branch)? else { return Ok(None) };
        if newest < end {
            return Ok(Some((newest, high)));
        }
        let mut low = 0;
        let mut found = None;
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(head) = self.head(branch, middle)? else { return Ok(None) };
            newest = head.id;
            if newest < end {
                found = Some((newest, middle));
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(found)
    }

    /// The last turn of a branch and its place; it may be one that a crash left unfinished.
    pub(super) fn tip(&self, branch: Uuid) -> Result<Option<(Uuid, u32)>, Error> {
        let all = keys::turn(branch, 0, 0)..=keys::turn(branch, u32::MAX, u16::MAX);
        for row in self.disk.range(all).rev() {
            let (seq, chunk) = keys::turn_place(&row?.0);
            // Pieces may be there without their first one.
            if chunk == 0 {
                return Ok(self.head(branch, seq)?.map(|head| (head.id, seq)));
            }
        }
        Ok(None)
    }
}
