//! A tree's versions, their order and its heads.

use std::collections::HashMap;

use uuid::Uuid;

use super::{Inner, Place, Store, Stored, error::Error, keys, record::row::Part};
use crate::domain::ConversationId;

/// A place in a tree's list of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeCursor {
    depth: u32,
    branch: Uuid,
    seq: u32,
}

impl TreeCursor {
    /// For a page token.
    pub fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..4].copy_from_slice(&self.depth.to_be_bytes());
        bytes[4..20].copy_from_slice(self.branch.as_bytes());
        bytes[20..].copy_from_slice(&self.seq.to_be_bytes());
        bytes
    }

    /// From a page token. Any bytes are a place; one that does not exist lies between two that do.
    pub fn from_bytes(bytes: [u8; 24]) -> TreeCursor {
        let number = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| bytes[at + i]));
        TreeCursor {
            depth: number(0),
            branch: Uuid::from_bytes(std::array::from_fn(|i| bytes[4 + i])),
            seq: number(20),
        }
    }
}

/// A page of a tree.
#[derive(Debug, Clone, PartialEq)]
pub struct TreePage {
    /// Versions, each with whether it is a head.
    pub rows: Vec<(Stored, bool)>,
    /// Where the next page begins; `None`: this is the last.
    pub next: Option<TreeCursor>,
}

impl Store {
    /// A page of a tree's versions, parents before children. A root that does not exist has no versions.
    pub fn tree(&self, root: ConversationId, after: Option<TreeCursor>, limit: usize) -> Result<TreePage, Error> {
        self.inner.tree(root.0, after, limit)
    }

    /// The first versions of all trees, oldest first by their ids, after (newer than) `after`.
    pub fn roots(&self, after: Option<ConversationId>, limit: usize) -> Result<Vec<ConversationId>, Error> {
        let mut roots = Vec::new();
        let mut after = after.map(|id| id.0);
        while roots.len() < limit {
            let Some(root) = self.inner.next_root(after)? else { break };
            if self.inner.exists(root)? {
                roots.push(ConversationId(root));
            }
            after = Some(root);
        }
        Ok(roots)
    }

    /// The number of versions. Counts them: a second per million.
    pub fn count_versions(&self) -> Result<u64, Error> {
        self.inner.disk.keys_of(&keys::ALL_VERSIONS).try_fold(0, |count, key| key.map(|_| count + 1))
    }

    /// Whether a version has no successors, at this moment.
    pub fn is_head(&self, of: &Stored) -> Result<bool, Error> {
        self.inner.is_head(of)
    }

    /// The heads that descend from a version, itself if it is one; at most `limit`.
    pub fn heads_below(&self, of: &Stored, limit: usize) -> Result<Vec<ConversationId>, Error> {
        self.inner.heads_below(of, limit)
    }
}

impl Inner {
    fn next_root(&self, after: Option<Uuid>) -> Result<Option<Uuid>, Error> {
        let from =
            after.map_or(keys::branch(Uuid::nil(), 0, Uuid::nil()), |root| keys::branch(root, u32::MAX, Uuid::max()));
        let end = keys::branch(Uuid::max(), u32::MAX, Uuid::max());
        let next = self.disk.range(from..end).next().transpose()?;
        Ok(next.map(|(key, _)| keys::branch_place(&key).0))
    }

    fn tree(&self, root: Uuid, after: Option<TreeCursor>, limit: usize) -> Result<TreePage, Error> {
        let mut page = TreePage { rows: Vec::new(), next: None };
        let (depth, first) = after.map_or((0, Uuid::nil()), |after| (after.depth, after.branch));
        let branches = keys::branch(root, depth, first)..=keys::branch(root, u32::MAX, Uuid::max());
        for row in self.disk.range(branches) {
            let (_, depth, branch) = keys::branch_place(&row?.0);
            let resumed = after.filter(|after| (after.depth, after.branch) == (depth, branch));
            let Some(from) = resumed.map_or(Some(0), |after| after.seq.checked_add(1)) else { continue };
            for row in self.rows(branch, from..=u32::MAX, Part::Ids) {
                let (seq, head, _) = row?;
                let Some(stored) = self.version(head.id)? else { break };
                if page.rows.len() == limit {
                    return Ok(page);
                }
                page.next = Some(TreeCursor { depth, branch, seq });
                let head = self.is_head(&stored)?;
                page.rows.push((stored, head));
            }
        }
        page.next = None;
        Ok(page)
    }

    /// Whether a version has no successors.
    pub(super) fn is_head(&self, of: &Stored) -> Result<bool, Error> {
        let Place { branch, seq, .. } = of.place;
        if let Some(next) = self.head(branch, seq + 1)?
            && self.exists(next.id)?
        {
            return Ok(false);
        }
        self.opened_none(of.version.id.0)
    }

    /// Whether no branch was opened on a version.
    fn opened_none(&self, version: Uuid) -> Result<bool, Error> {
        for key in self.disk.keys_of(&keys::children(version)) {
            // A branch is named after its first version.
            if self.exists(keys::last_id(&key?))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The heads that descend from a version. Every head is the end of a branch, so only branches are looked at.
    pub(super) fn heads_below(&self, of: &Stored, limit: usize) -> Result<Vec<ConversationId>, Error> {
        let mut heads = Vec::new();
        let mut below = HashMap::new();
        for key in self.disk.keys_of(&keys::branches(of.version.root_id.0)) {
            if heads.len() == limit {
                break;
            }
            let (_, _, branch) = keys::branch_place(&key?);
            let Some((version, seq)) = self.end(branch)? else { continue };
            if self.descends(of, branch, seq, &mut below)? && self.opened_none(version)? {
                heads.push(ConversationId(version));
            }
        }
        Ok(heads)
    }

    /// The last version of a branch and its place.
    fn end(&self, branch: Uuid) -> Result<Option<(Uuid, u32)>, Error> {
        let Some((version, seq)) = self.tip(branch)? else { return Ok(None) };
        if self.exists(version)? {
            return Ok(Some((version, seq)));
        }
        // At most one turn of a branch is unfinished: the next append takes its place.
        let before = seq.checked_sub(1).map(|seq| self.head(branch, seq)).transpose()?.flatten();
        Ok(before.map(|head| (head.id, seq - 1)))
    }

    /// Whether the version at a place is another or descends from it. `known` holds the answers for whole branches other than
    /// its own; a parent's branch comes before its children's, so one step up is nearly always enough.
    fn descends(&self, of: &Stored, branch: Uuid, seq: u32, known: &mut HashMap<Uuid, bool>) -> Result<bool, Error> {
        let mut climbed = Vec::new();
        let (mut branch, mut seq) = (branch, seq);
        let answer = loop {
            if branch == of.place.branch {
                break seq >= of.place.seq;
            }
            if let Some(answer) = known.get(&branch) {
                break *answer;
            }
            climbed.push(branch);
            match self.ancestry(branch)? {
                Some(ancestry) => (branch, seq) = (ancestry.parent_branch, ancestry.parent_seq),
                None => break false,
            }
        };
        known.extend(climbed.into_iter().map(|branch| (branch, answer)));
        Ok(answer)
    }
}
