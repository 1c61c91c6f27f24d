//! Deleting: a version and all that descends from it, and whatever was kept for them only.
//!
//! A delete is many removals. Its intent is written first, so that one that a crash cut short is finished at the next open.
//! Children go before their parents, and of a version what it is found by goes last: at every moment what is left is a whole
//! tree for readers, and whoever begins anew finds all that is left.

use uuid::Uuid;

use super::{
    Inner, Store, Stored,
    commit::indexes,
    error::Error,
    history::Row,
    keys,
    record::{
        row::Head,
        version::{self, Intent},
    },
};
use crate::domain::{Change, ChangeKind, ConversationId, Time, TurnId, Version, change::labels};

/// How many of the newest trees are looked at, when a store is opened, for a first turn that a crash cut short.
const HEALED_TREES: usize = 4096;

impl Store {
    /// Removes a version, all that descends from it if `force` is given, and what only they used. Durable when this returns the
    /// number of versions removed. Once begun it goes on even if the caller goes away. `at`: when, as the log of changes says
    /// of each of them.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::HasSuccessors`] (only without `force`), [`Error::Failed`].
    pub async fn delete(&self, id: ConversationId, force: bool, at: Time) -> Result<u64, Error> {
        self.remove(move |inner| inner.delete(id.0, force, at, false)).await
    }

    pub(super) async fn remove(
        &self,
        remove: impl FnOnce(&Inner) -> Result<u64, Error> + Send + 'static,
    ) -> Result<u64, Error> {
        self.inner.flusher.writable()?;
        let store = self.clone();
        let removed = tokio::task::spawn_blocking(move || remove(&store.inner));
        let removed = removed.await.unwrap_or_else(|panic| Err(Error::failed(panic)))?;
        self.inner.flusher.flushed().await?;
        Ok(removed)
    }
}

impl Store {
    /// Whether a turn was deleted. One that is found nowhere and was not deleted was lost in a crash.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn was_deleted(&self, id: TurnId) -> Result<bool, Error> {
        Ok(self.inner.disk.get(keys::deleted(id.0))?.is_some())
    }
}

/// A turn that goes: its branch, its place there, and its version if that is known.
type Doomed = (Uuid, u32, Option<Uuid>);

/// That a version is no more.
fn deleted(stored: Stored, at: Time) -> Change {
    let Version { id, parent_id, root_id, turn_state, settings, .. } = stored.version;
    Change {
        revision: 0,
        at,
        kind: ChangeKind::VersionDeleted,
        turn_id: id.turn(),
        state: turn_state,
        root_id,
        parent_id,
        model: settings.model.clone(),
        agent_id: settings.agent_id.clone(),
        labels: labels(&settings.metadata),
        attempt: 0,
        batch: None,
        callback_url: None,
    }
}

impl Inner {
    /// `due`: only if the time of the tree has come.
    pub(super) fn delete(&self, id: Uuid, force: bool, at: Time, due: bool) -> Result<u64, Error> {
        let Stored { version, place } = self.version(id)?.ok_or(Error::NotFound)?;
        let _tree = self.locks.clear(version.root_id.0);
        if !self.exists(id)? || (due && self.expiry(id)?.is_none_or(|time| time > at)) {
            return Err(Error::NotFound);
        }
        let intent = Intent {
            root: version.root_id.0,
            version: id,
            branch: place.branch,
            seq: place.seq,
            parent: version.parent_id.map(|id| id.0),
            at,
        };
        let doomed = self.closure(&intent)?;
        let mut count = 0;
        for id in doomed.iter().filter_map(|(_, _, version)| *version) {
            count += u64::from(self.exists(id)?);
        }
        if count > 1 && !force {
            return Err(Error::HasSuccessors(count - 1));
        }
        let begun = self.disk.insert(keys::delete(id), &version::encode_intent(&intent));
        let marked = begun.and_then(|()| self.mark(&intent, &doomed));
        marked.and_then(|()| self.carry_out(&intent, doomed)).map_err(|error| self.flusher.fail(error))?;
        Ok(count)
    }

    /// Notes that these turns, and the failed ones that ran on them, are deleted and not lost, and tells of each version.
    /// Nothing but ids stays. A version that is marked was told of: after a crash the rest follows.
    fn mark(&self, intent: &Intent, doomed: &[Doomed]) -> Result<(), Error> {
        for id in doomed.iter().rev().filter_map(|(_, _, version)| *version) {
            let Some(stored) = self.version(id)? else { continue };
            for key in self.disk.keys_of(&keys::failed_of(id)) {
                self.disk.insert(keys::deleted(keys::last_id(&key?)), &[])?;
            }
            if !self.disk.contains(keys::deleted(id))? {
                let change = deleted(stored, intent.at);
                self.log.write(&self.disk, change, || self.disk.insert(keys::deleted(id), &[]))?;
            }
        }
        Ok(())
    }

    /// Finishes what a crash interrupted.
    pub(super) fn heal(&self) -> Result<(), Error> {
        for key in self.disk.keys_of(&keys::ALL_DELETES) {
            if let Some(row) = self.disk.get(key?)? {
                let intent = version::decode_intent(&row)?;
                let doomed = self.closure(&intent)?;
                self.mark(&intent, &doomed)?;
                self.carry_out(&intent, doomed)?;
            }
        }
        // Nobody could name, and so delete, what is left of a first turn. (Other turns go with their tree.)
        for root in self.newest_roots(HEALED_TREES)? {
            if !self.exists(root)? {
                let at = Time::default();
                let intent = Intent { root, version: root, branch: root, seq: 0, parent: None, at };
                self.carry_out(&intent, self.closure(&intent)?)?;
            }
        }
        self.heal_jobs()?;
        self.heal_agents()
    }

    fn newest_roots(&self, limit: usize) -> Result<Vec<Uuid>, Error> {
        let mut roots: Vec<Uuid> = Vec::new();
        for key in self.disk.keys_of(&keys::ALL_BRANCHES).rev().take(limit) {
            let (root, ..) = keys::branch_place(&key?);
            if roots.last() != Some(&root) {
                roots.push(root);
            }
        }
        Ok(roots)
    }

    /// All turns that go, parents before children. Follows turns and branches, not versions, of which some may be gone.
    fn closure(&self, intent: &Intent) -> Result<Vec<Doomed>, Error> {
        let mut doomed: Vec<Doomed> = Vec::new();
        let mut branches = vec![(intent.branch, intent.seq)];
        while let Some((branch, from)) = branches.pop() {
            let first = doomed.len();
            if from == 0 {
                // Its turn may be gone already while other rows of it are left.
                doomed.push((branch, 0, Some(branch)));
            }
            for row in self.disk.range(keys::turn(branch, from, 0)..=keys::turn(branch, u32::MAX, u16::MAX)) {
                let (key, value) = row?;
                let (seq, chunk) = keys::turn_place(&key);
                let known = doomed[first..].last().is_some_and(|last| last.1 == seq);
                if !known {
                    let version = if chunk == 0 { Some(Head::read(&value)?.id) } else { None };
                    doomed.push((branch, seq, version));
                }
            }
            for id in doomed[first..].iter().filter_map(|(_, _, version)| *version) {
                for key in self.disk.keys_of(&keys::children(id)) {
                    branches.push((keys::last_id(&key?), 0));
                }
            }
        }
        Ok(doomed)
    }

    fn carry_out(&self, intent: &Intent, doomed: Vec<Doomed>) -> Result<(), Error> {
        for (branch, seq, version) in doomed.into_iter().rev() {
            if seq == 0 {
                self.erase_branch(intent.root, branch)?;
            }
            self.erase_turn(branch, seq, version)?;
        }
        if let (Some(parent), 0) = (intent.parent, intent.seq) {
            self.disk.remove(keys::child(parent, intent.branch))?;
        }
        // Deleting a branch gives no money back: its tree goes on, and so does what was spent in it.
        if intent.version == intent.root {
            self.erase_all(self.disk.keys_of(&keys::spent_in_tree(intent.root)))?;
            self.erase_expiry(intent.root)?;
        }
        self.disk.remove(keys::delete(intent.version))
    }

    /// What a branch has besides its turns. Its first version goes with it.
    fn erase_branch(&self, root: Uuid, branch: Uuid) -> Result<(), Error> {
        self.disk.remove(keys::version(branch))?;
        let Some(ancestry) = self.ancestry(branch)? else {
            return self.disk.remove(keys::branch(root, 0, branch));
        };
        self.erase_indexes(ancestry.settings, branch, 0)?;
        self.disk.remove(keys::branch(root, ancestry.depth, branch))?;
        self.disk.remove(keys::ancestry(branch))
    }

    /// A turn with its version and all that was written with them but the branch's own rows.
    pub(super) fn erase_turn(&self, branch: Uuid, seq: u32, version: Option<Uuid>) -> Result<(), Error> {
        if let Some(id) = version {
            self.disk.remove(keys::version(id))?;
            self.erase_failed(id)?;
            self.erase_request(Row::Turn(branch, seq), id)?;
            self.erase_indexes(id, branch, seq)?;
            self.disk.remove(keys::settings(id))?;
            self.settings.invalidate(&id);
            // The branches themselves are gone.
            self.erase_all(self.disk.keys_of(&keys::children(id)))?;
        }
        let pieces = keys::turn(branch, seq, 0)..=keys::turn(branch, seq, u16::MAX);
        self.erase_all(self.disk.range(pieces).rev().map(|row| Ok(row?.0)))
    }

    /// The failed turns that ran on a version.
    fn erase_failed(&self, version: Uuid) -> Result<(), Error> {
        for key in self.disk.keys_of(&keys::failed_of(version)) {
            let key = key?;
            self.erase_failed_turn(keys::last_id(&key))?;
            self.disk.remove(key)?;
        }
        Ok(())
    }

    pub(super) fn erase_failed_turn(&self, turn: Uuid) -> Result<(), Error> {
        self.erase_request(Row::Failed(turn), turn)?;
        let pieces = keys::failed(turn, 0)..=keys::failed(turn, u16::MAX);
        self.erase_all(self.disk.range(pieces).rev().map(|row| Ok(row?.0)))
    }

    /// The request that a turn answered, if it was this one that answered it.
    fn erase_request(&self, row: Row, turn: Uuid) -> Result<(), Error> {
        let Some(request_id) = self.request_of(row)? else { return Ok(()) };
        let key = keys::request(&request_id);
        let Some(row) = self.disk.get(&key)? else { return Ok(()) };
        if version::decode_request(&row)?.0.0 == turn { self.disk.remove(key) } else { Ok(()) }
    }

    /// The index rows that a turn brought into its branch with these settings.
    fn erase_indexes(&self, settings: Uuid, branch: Uuid, seq: u32) -> Result<(), Error> {
        let settings = match self.settings(settings) {
            Ok(settings) => settings,
            // It introduced none, or they are gone, and then so are the indexes.
            Err(Error::NotFound) => return Ok(()),
            Err(error) => return Err(error),
        };
        for index in indexes(&settings) {
            let key = keys::indexed_in(index, branch);
            if self.disk.get(key)?.is_some_and(|first| *first == seq.to_be_bytes()) {
                self.disk.remove(key)?;
            }
        }
        Ok(())
    }

    pub(super) fn erase_all<K: AsRef<[u8]>>(&self, keys: impl Iterator<Item = Result<K, Error>>) -> Result<(), Error> {
        for key in keys {
            self.disk.remove(key?)?;
        }
        Ok(())
    }
}
