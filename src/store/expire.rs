//! What goes by itself: turns that made no version, some time after they failed, and what was spent in windows that are over.
//! Of versions only what goes with a tree whose time has come; who looks after that is above.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{
    Inner, Store,
    error::Error,
    history::Row,
    keys,
    list::first_id_at,
    record::{
        row::Part,
        version::{decode_time, encode_time},
    },
};
use crate::domain::{ConversationId, Time};

impl Store {
    /// Removes the turns without a version that were made before a moment, with what they were asked. Returns how many.
    /// Blocks; durable with the next commit.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn expire_failed(&self, before: Time) -> Result<u64, Error> {
        self.inner.flusher.writable()?;
        let mut turns = BTreeSet::new();
        let old = keys::failed(Uuid::nil(), 0)..=keys::failed(first_id_at(before), 0);
        for row in self.inner.disk.range(old) {
            turns.insert(keys::failed_turn(&row?.0));
        }
        // The newest change is proven by what it did.
        turns.retain(|turn| !self.inner.log.ends_with(*turn));
        for turn in &turns {
            self.inner.expire(*turn).map_err(|error| self.inner.flusher.fail(error))?;
        }
        Ok(turns.len() as u64)
    }

    /// Removes what was spent in the windows of configured budgets that began before a moment. Returns how many rows that
    /// were, one for each turn and budget. Blocks; durable with the next commit.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn expire_windows(&self, before: Time) -> Result<u64, Error> {
        self.inner.flusher.writable()?;
        let old = keys::spent_in_windows_from(0)..keys::spent_in_windows_from(before.unix_us);
        let mut removed = 0;
        for row in self.inner.disk.range(old) {
            let (key, _) = row?;
            self.inner.disk.remove(key).map_err(|error| self.inner.flusher.fail(error))?;
            removed += 1;
        }
        Ok(removed)
    }

    /// When a tree goes by itself; `None`: never, or there is no such tree.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn expiry(&self, root: ConversationId) -> Result<Option<Time>, Error> {
        self.inner.expiry(root.0)
    }

    /// Says when a tree goes by itself, or that it does not. Durable when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]: it is no first version of a tree (any more). [`Error::Failed`].
    pub async fn set_expiry(&self, root: ConversationId, at: Option<Time>) -> Result<(), Error> {
        let inner = &*self.inner;
        inner.flusher.writable()?;
        {
            let _no_delete = inner.locks.keep(root.0).await;
            if inner.version(root.0)?.is_none_or(|stored| stored.version.root_id != root) {
                return Err(Error::NotFound);
            }
            let _others = inner.locks.branch(root.0);
            inner.set_expiry(root.0, at).map_err(|error| inner.flusher.fail(error))?;
        }
        inner.flusher.flushed().await
    }

    /// When the next tree goes, or went; it may be one that is no more.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn next_expiry(&self) -> Result<Option<Time>, Error> {
        let all = keys::expires(0, Uuid::nil())..=keys::expires(i64::MAX, Uuid::max());
        let first = self.inner.disk.range(all).next().transpose()?;
        Ok(first.map(|(key, _)| keys::expires_at(&key)))
    }

    /// Removes a tree whose time has come, as `delete` does.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]: it is no more, or its time has not come. [`Error::Failed`].
    pub async fn delete_due(&self, root: ConversationId, at: Time) -> Result<u64, Error> {
        self.remove(move |inner| inner.delete(root.0, true, at, true)).await
    }

    /// The trees whose time has come, those that are longest due first, at most so many.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn expired(&self, now: Time, limit: usize) -> Result<Vec<ConversationId>, Error> {
        let mut due = Vec::new();
        for row in self.inner.disk.range(keys::expires(0, Uuid::nil())..=keys::expires(now.unix_us, Uuid::max())) {
            if due.len() == limit {
                break;
            }
            let (key, _) = row?;
            let root = keys::last_id(&key);
            if self.inner.is_due(&key, root)? {
                due.push(ConversationId(root));
            }
        }
        Ok(due)
    }
}

impl Inner {
    fn expire(&self, turn: Uuid) -> Result<(), Error> {
        let row = self.row(Row::Failed(turn), Part::Log)?;
        let ended = row.map(|(head, row)| head.ended(&row)).transpose()?;
        if let Some(parent) = ended.and_then(|ended| ended.turn.parent_id) {
            self.disk.remove(keys::failed_on(parent.0, turn))?;
        }
        self.erase_failed_turn(turn)
    }

    pub(super) fn expiry(&self, root: Uuid) -> Result<Option<Time>, Error> {
        let row = self.disk.get(keys::expiry(root))?;
        Ok(row.map(|row| decode_time(&row)).transpose()?)
    }

    /// The index first: a tree that is to go is found, whatever comes between.
    pub(super) fn insert_expiry(&self, root: Uuid, at: Time) -> Result<(), Error> {
        self.disk.insert(keys::expires(at.unix_us, root), &[])?;
        self.disk.insert(keys::expiry(root), &encode_time(at))
    }

    fn set_expiry(&self, root: Uuid, at: Option<Time>) -> Result<(), Error> {
        let before = self.expiry(root)?;
        match at {
            Some(at) => self.insert_expiry(root, at)?,
            None => self.disk.remove(keys::expiry(root))?,
        }
        match before {
            Some(before) if Some(before) != at => self.disk.remove(keys::expires(before.unix_us, root)),
            Some(_) | None => Ok(()),
        }
    }

    /// With its tree. The index first: while the other row is there, whoever begins anew finds it.
    pub(super) fn erase_expiry(&self, root: Uuid) -> Result<(), Error> {
        if let Some(at) = self.expiry(root)? {
            self.disk.remove(keys::expires(at.unix_us, root))?;
        }
        self.disk.remove(keys::expiry(root))
    }

    /// Whether a row of the index counts. One that a crash left behind goes.
    fn is_due(&self, key: &[u8], root: Uuid) -> Result<bool, Error> {
        let counts = || {
            let at = self.expiry(root)?.map(|at| keys::expires(at.unix_us, root));
            Ok::<_, Error>(at.is_some_and(|expected| key == expected) && self.exists(root)?)
        };
        if counts()? {
            return Ok(true);
        }
        // Somebody may be about to write what is missing: whoever does holds this lock.
        let _writers = self.locks.branch(root);
        let counts = counts()?;
        if !counts && self.flusher.writable().is_ok() {
            self.disk.remove(key).map_err(|error| self.flusher.fail(error))?;
        }
        Ok(counts)
    }
}
