//! Listing turns, newest first by their ids: those that made a version, and those that are still to be run. (Those that made no
//! version are a range of rows, see `failed_turns`.)

use std::{collections::BTreeMap, ops::Range};

use super::{
    Inner, Query, Store, Stored,
    error::Error,
    history::Row,
    keys,
    list::ids_between,
    record::{job::Head, row::Part},
};
use crate::domain::{BatchId, ConversationId, Time, Turn, TurnId, TurnState};

/// Which turns are listed. The default is all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TurnQuery {
    /// Only those that stand so; empty: however they stand.
    pub states: Vec<TurnState>,
    /// Only this tree.
    pub root: Option<ConversationId>,
    /// Only those of trees with all of these pairs.
    pub metadata: BTreeMap<String, String>,
    /// Only those accepted at or after this time: the time in their id, to the millisecond.
    pub created_after: Option<Time>,
    /// Only those accepted before this time: the time in their id, to the millisecond.
    pub created_before: Option<Time>,
    /// Only those of this batch that are queued or running.
    pub batch: Option<BatchId>,
}

impl TurnQuery {
    /// The ids that can fit, below (older than) one. May be empty with its end before its start.
    pub fn ids(&self, below: Option<TurnId>) -> Range<TurnId> {
        let Range { start, end } = ids_between(self.created_after, self.created_before);
        TurnId(start)..TurnId(below.map_or(end, |below| end.min(below.0)))
    }

    /// Whether turns that stand so are wanted.
    pub fn wants(&self, states: &[TurnState]) -> bool {
        self.states.is_empty() || states.iter().any(|state| self.states.contains(state))
    }
}

/// A part of a list: rows in its order, and how far it goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Stretch<T> {
    /// Newest first.
    pub rows: Vec<T>,
    /// The last id that was looked at; `None`: all were.
    pub down_to: Option<TurnId>,
}

/// A turn that is still to be run, or runs, without what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobHead {
    /// The turn.
    pub turn_id: TurnId,
    /// The tree that it belongs to.
    pub root: ConversationId,
    /// The batch that it is of.
    pub batch: Option<BatchId>,
}

impl Store {
    /// Turns that made a version, without their outputs, newest first, below (older than) an id. A version that is made
    /// meanwhile never moves the others.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn made_turns(&self, query: &TurnQuery, below: Option<TurnId>, limit: usize) -> Result<Stretch<Turn>, Error> {
        let TurnQuery { states: _, root, metadata, created_after, created_before, batch: _ } = query;
        let versions = Query {
            root: *root,
            metadata: metadata.clone(),
            created_after: *created_after,
            created_before: *created_before,
            ..Query::default()
        };
        let (rows, next) =
            self.inner.pick(&versions, below.map(TurnId::conversation), limit, |stored, looked_at| {
                if query.wants(&[stored.version.turn_state]) {
                    self.inner.turn_of(&stored, looked_at)
                } else {
                    Ok(None)
                }
            })?;
        Ok(Stretch { rows, down_to: next.map(ConversationId::turn) })
    }

    /// The jobs of a range of ids, newest first, at most so many.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn job_heads(&self, ids: Range<TurnId>, limit: usize) -> Result<Vec<JobHead>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut heads = Vec::new();
        for row in self.inner.disk.range(keys::job(ids.start.0)..keys::job(ids.end.0)).rev().take(limit) {
            let (key, row) = row?;
            let turn_id = TurnId(keys::job_turn(&key));
            let Head { root, batch, .. } = Head::read(turn_id, &row)?;
            heads.push(JobHead { turn_id, root, batch: batch.map(|(id, _)| id) });
        }
        Ok(heads)
    }
}

impl Inner {
    /// The turn that made a version, without its outputs; `None`: it was deleted at this moment.
    fn turn_of(&self, stored: &Stored, looked_at: &mut usize) -> Result<Option<Turn>, Error> {
        let row = Row::Turn(stored.place.branch, stored.place.seq);
        let Some((head, row)) = self.row(row, Part::Log)? else { return Ok(None) };
        // A turn that said much is more work than one that said little.
        *looked_at += head.pieces(Part::Log) - 1;
        Ok(Some(head.turn(&row)?))
    }
}
