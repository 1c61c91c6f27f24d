//! What goes by itself: turns that made no version, some time after they failed, and what was spent in windows that are over.
//! Versions never do.

use uuid::Uuid;

use super::{Inner, Store, error::Error, history::Row, keys, list::first_id_at, record::row::Part};
use crate::domain::Time;

impl Store {
    /// Removes the turns without a version that were made before a moment, with what they were asked. Returns how many.
    /// Blocks; durable with the next commit.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn expire_failed(&self, before: Time) -> Result<u64, Error> {
        self.inner.flusher.writable()?;
        let mut turns: Vec<Uuid> = Vec::new();
        let old = keys::failed(Uuid::nil(), 0)..=keys::failed(first_id_at(before), 0);
        for row in self.inner.disk.range(old) {
            let turn = keys::failed_turn(&row?.0);
            if turns.last() != Some(&turn) {
                turns.push(turn);
            }
        }
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
}
