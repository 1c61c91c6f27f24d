//! Turns in the middle of their work, as they would be kept if the server died now. A turn that lets tools run is written here
//! before each of them, and after it; a commit of the turn takes the row's place.

use std::sync::Arc;

use super::{
    Ended, Inner, Store,
    error::Error,
    history::Row,
    keys,
    record::{
        row::{Part, pack_journaled},
        settings::{decode_settings, encode_settings},
    },
};
use crate::domain::{Settings, Time, TurnId};

/// A turn that was cut off.
#[derive(Debug, Clone, PartialEq)]
pub struct Journaled {
    /// The turn as it would be kept.
    pub ended: Ended,
    /// The settings of the version that it would make.
    pub settings: Arc<Settings>,
    /// When the tree goes that it would begin.
    pub expires_at: Option<Time>,
}

impl Store {
    /// Writes a turn as it would be kept if it were cut off now, durable when this returns, in place of what was written of it
    /// before. `generation`: how often it was written before.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn journal(&self, turn: &Journaled, generation: u32) -> Result<(), Error> {
        let inner = &*self.inner;
        inner.flusher.writable()?;
        inner.insert_journaled(turn, generation).map_err(|error| inner.flusher.fail(error))?;
        inner.flusher.flushed().await
    }

    /// The turns that a crash cut off.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn journaled(&self) -> Result<Vec<Journaled>, Error> {
        let inner = &*self.inner;
        let ids = inner.disk.keys_of(&keys::ALL_JOURNALED).map(|key| Ok(TurnId(keys::last_id(&key?))));
        let ids: Vec<TurnId> = ids.collect::<Result<_, Error>>()?;
        let turns = ids.into_iter().map(|id| inner.journaled(id));
        turns.filter_map(Result::transpose).map(|found| found.map(|(turn, _)| turn)).collect()
    }

    /// A turn that a crash cut off, and the generation in which it is written next.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn journaled_turn(&self, id: TurnId) -> Result<Option<(Journaled, u32)>, Error> {
        let found = self.inner.journaled(id)?;
        // The other place is free.
        Ok(found.map(|(turn, place)| (turn, u32::from(place) + 1)))
    }

    /// Forgets a turn that was cut off.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn forget_journaled(&self, id: TurnId) -> Result<(), Error> {
        let inner = &*self.inner;
        inner.forget_journaled(id).map_err(|error| inner.flusher.fail(error))?;
        inner.flusher.flushed().await
    }
}

impl Inner {
    /// The row that names the turn is the last: it says which of two places holds what was written last, whole.
    fn insert_journaled(&self, turn: &Journaled, generation: u32) -> Result<(), Error> {
        let id = turn.ended.turn.id.0;
        let place = (generation % 2) as u8;
        self.insert_row(Row::Journaled(id, place), &pack_journaled(&turn.ended))?;
        let settings = encode_settings(&turn.settings);
        // It counts when there is a tree.
        if let Some(at) = turn.expires_at {
            self.insert_expiry(id, at)?;
        }
        self.disk.insert(keys::journaled(id), &[&[place], settings.as_slice()].concat())
    }

    /// The turn, and the place that holds it.
    fn journaled(&self, id: TurnId) -> Result<Option<(Journaled, u8)>, Error> {
        let named = self.disk.get(keys::journaled(id.0))?;
        let Some((place, settings)) = named.as_ref().and_then(|row| row.split_first()) else { return Ok(None) };
        let Some((head, row)) = self.row(Row::Journaled(id.0, *place), Part::Log)? else { return Ok(None) };
        let settings = Arc::new(decode_settings(settings)?);
        let expires_at = self.expiry(id.0)?;
        Ok(Some((Journaled { ended: head.ended(&row)?, settings, expires_at }, *place)))
    }

    fn forget_journaled(&self, id: TurnId) -> Result<(), Error> {
        self.erase_journaled(id)?;
        if self.exists(id.0)? { Ok(()) } else { self.erase_expiry(id.0) }
    }

    /// What names the turn goes first: pieces without it are never read.
    pub(super) fn erase_journaled(&self, id: TurnId) -> Result<(), Error> {
        self.disk.remove(keys::journaled(id.0))?;
        let pieces: Vec<_> = self.disk.keys_of(&keys::journaled_pieces(id.0)).collect::<Result<_, _>>()?;
        for key in pieces {
            self.disk.remove(key)?;
        }
        Ok(())
    }
}
