//! Reading what is stored: versions, histories, lists, and deleting. Everything that may wait for the disk runs on the threads
//! that are kept for it.

use std::{collections::BTreeSet, sync::Arc};

use super::{Engine, failures, ids};
pub use crate::store::{Query, TreeCursor};
use crate::{
    domain::{ConversationId, Entry, Failure, Time, Version, ids::EntryKind},
    store::Stored,
};

/// A version and whether anything descends from it.
#[derive(Debug, Clone)]
pub struct ConversationRow {
    /// The version.
    pub version: Version,
    /// Nothing descends from it.
    pub head: bool,
    /// When its tree goes by itself.
    pub expires_at: Option<Time>,
}

/// Which entries of a history are listed.
#[derive(Debug, Clone)]
pub struct EntryQuery {
    /// The version.
    pub conversation_id: ConversationId,
    /// Only these kinds; empty: all.
    pub kinds: BTreeSet<EntryKind>,
    /// The last one first.
    pub newest_first: bool,
}

/// A page of a history.
#[derive(Debug)]
pub struct EntryPage {
    /// In the order asked for.
    pub entries: Vec<Arc<Entry>>,
    /// How many entries of the history were passed, for the next page; `None` on the last one.
    pub next: Option<u64>,
}

/// A page of versions.
#[derive(Debug)]
pub struct ConversationPage<C> {
    /// The versions.
    pub rows: Vec<ConversationRow>,
    /// Where the next page goes on; `None` on the last one.
    pub next: Option<C>,
}

/// A page stays below the 4 MiB that clients take in one message, with room for ids and times.
const PAGE_BYTES: usize = 2 << 20;
/// Entries looked at for one page, so that a rare kind in a long history does not hold a thread.
const PAGE_WORK: u64 = 10_000;
/// Entries read from the store at a time, at first and at most.
const READ_AT_ONCE: u64 = 32;
const READ_AT_ONCE_MAX: u64 = 1024;

impl Engine {
    /// Reads a version.
    pub async fn conversation(&self, id: ConversationId) -> Result<ConversationRow, Failure> {
        let shared = self.shared.clone();
        self.shared.blocking(move || shared.conversation(id)).await?
    }

    /// Lists entries of a history, from where the page before ended.
    pub async fn entries(&self, query: EntryQuery, passed: u64, limit: usize) -> Result<EntryPage, Failure> {
        let shared = self.shared.clone();
        self.shared.blocking(move || shared.entries(&query, passed, limit)).await?
    }

    /// Lists versions, newest first.
    pub async fn list(
        &self,
        query: Query,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<ConversationPage<ConversationId>, Failure> {
        let shared = self.shared.clone();
        let list = move || {
            let page = shared.store.list(&query, after, limit).map_err(failures::store)?;
            Ok(ConversationPage { rows: shared.rows(page.rows)?, next: page.next })
        };
        self.shared.blocking(list).await?
    }

    /// The first version of the tree of a version.
    pub async fn root(&self, of: ConversationId) -> Result<ConversationId, Failure> {
        Ok(self.conversation(of).await?.version.root_id)
    }

    /// Lists a tree, parents before children.
    pub async fn tree(
        &self,
        root: ConversationId,
        after: Option<TreeCursor>,
        limit: usize,
    ) -> Result<ConversationPage<TreeCursor>, Failure> {
        let shared = self.shared.clone();
        let list = move || {
            let page = shared.store.tree(root, after, limit).map_err(failures::store)?;
            Ok(ConversationPage { rows: shared.rows(page.rows)?, next: page.next })
        };
        self.shared.blocking(list).await?
    }

    /// Deletes a version and, with `force`, what descends from it.
    pub async fn delete(&self, id: ConversationId, force: bool) -> Result<(), Failure> {
        let found = self.shared.find(id)?;
        let deleted = self.shared.store.delete(id, force, ids::now()).await.map_err(failures::store)?;
        self.shared.histories.forget(id);
        if found.version.root_id == id {
            self.shared.budgets.forget(id);
        }
        tracing::info!(conversation = %id, deleted, "deleted");
        Ok(())
    }

    /// The moment that was so long ago.
    pub fn time_before(ago: std::time::Duration) -> Time {
        let us = i64::try_from(ago.as_micros()).unwrap_or(i64::MAX);
        Time { unix_us: ids::now().unix_us.saturating_sub(us) }
    }

    /// Now, as the engine counts time.
    pub fn now() -> Time {
        ids::now()
    }
}

impl super::Shared {
    fn conversation(&self, id: ConversationId) -> Result<ConversationRow, Failure> {
        let found = self.find(id)?;
        let head = self.store.is_head(&found).map_err(failures::store)?;
        let expires_at = self.store.expiry(found.version.root_id).map_err(failures::store)?;
        Ok(ConversationRow { version: found.version, head, expires_at })
    }

    /// Versions with when their trees go. Those of one tree often stand together.
    fn rows(&self, found: Vec<(Stored, bool)>) -> Result<Vec<ConversationRow>, Failure> {
        let mut known: Option<(ConversationId, Option<Time>)> = None;
        let row = |(stored, head): (Stored, bool)| {
            let root = stored.version.root_id;
            let expires_at = match known {
                Some((tree, expires_at)) if tree == root => expires_at,
                _ => self.store.expiry(root).map_err(failures::store)?,
            };
            known = Some((root, expires_at));
            Ok(ConversationRow { version: stored.version, head, expires_at })
        };
        found.into_iter().map(row).collect()
    }

    fn entries(&self, query: &EntryQuery, passed: u64, limit: usize) -> Result<EntryPage, Failure> {
        let of = self.find(query.conversation_id)?;
        let total = of.version.entry_count;
        let mut at = passed.min(total);
        let stop_at = at.saturating_add(PAGE_WORK).min(total);
        let mut page = Fill { entries: Vec::new(), limit, bytes_left: PAGE_BYTES };
        let mut step = READ_AT_ONCE;
        'page: while at < stop_at {
            let end = (at + step).min(stop_at);
            // The entries of a turn are unpacked together: as long as they are small, more at a time is less work.
            step = if page.is_half_empty() { (step * 2).min(READ_AT_ONCE_MAX) } else { READ_AT_ONCE };
            let range = if query.newest_first { total - end..total - at } else { at..end };
            let mut read = self.store.entries(&of, range, usize::MAX).map_err(failures::store)?;
            if query.newest_first {
                read.reverse();
            }
            for entry in read {
                let wanted = query.kinds.is_empty() || query.kinds.contains(&entry.body.kind());
                if wanted && !page.take(entry) {
                    break 'page;
                }
                at += 1;
            }
        }
        Ok(EntryPage { entries: page.entries, next: (at < total).then_some(at) })
    }
}

/// A page that fills up.
struct Fill {
    entries: Vec<Arc<Entry>>,
    limit: usize,
    bytes_left: usize,
}

impl Fill {
    fn is_half_empty(&self) -> bool {
        self.bytes_left > PAGE_BYTES / 2
    }

    /// Takes an entry if there is room. The first one always has room: an entry is smaller than a message may be.
    fn take(&mut self, entry: Arc<Entry>) -> bool {
        let size = entry.size_bytes();
        let room = self.entries.is_empty() || (self.entries.len() < self.limit && size <= self.bytes_left);
        if room {
            self.bytes_left = self.bytes_left.saturating_sub(size);
            self.entries.push(entry);
        }
        room
    }
}
