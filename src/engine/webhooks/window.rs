//! The changes that an endpoint has still to be told, as far as they are in memory: in order within a tree, and a tree that fails
//! holds up no other.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use uuid::Uuid;

use crate::domain::{Change, ChangeKind, Time};

/// So many changes may wait, or no further ones are read: some hundred KB for each endpoint.
pub(super) const ROOM: usize = 1024;

/// A change that is to be told.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) change: Arc<Change>,
    /// It is told again, behind the endpoint's place.
    pub(super) again: bool,
    /// Attempts in a row that have failed.
    pub(super) failed: u32,
    /// All attempts there ever were.
    pub(super) attempts: u32,
    /// When the first of those failed.
    pub(super) failing_since: Option<Time>,
}

/// What waits. Knows no clock: times come in from outside.
#[derive(Debug)]
pub(super) struct Window {
    /// All changes up to here were read.
    read: u64,
    /// What was read and is not told, but for what is told again.
    pending: BTreeSet<u64>,
    lanes: HashMap<Uuid, Lane>,
    /// The lanes whose first item may be sent from then on, but for those where one is under way.
    due: BTreeSet<(Time, u64, Uuid)>,
    held: usize,
}

/// What is told in order.
#[derive(Debug, Default)]
struct Lane {
    items: VecDeque<Item>,
    /// When the first one may be sent.
    due: Time,
    under_way: bool,
}

/// A tree; a batch's end has a place of its own.
fn lane_of(change: &Change) -> Uuid {
    match (change.kind, change.batch) {
        (ChangeKind::BatchEnded, Some((batch, _))) => batch.0,
        _ => change.root_id.0,
    }
}

impl Window {
    /// Of an endpoint that was told all up to a revision.
    pub(super) fn new(read: u64) -> Window {
        Window { read, pending: BTreeSet::new(), lanes: HashMap::new(), due: BTreeSet::new(), held: 0 }
    }

    /// How many more may come in.
    pub(super) fn room(&self) -> usize {
        ROOM.saturating_sub(self.held)
    }

    /// All changes up to here were read.
    pub(super) fn read(&self) -> u64 {
        self.read
    }

    /// All changes up to here were told or are not wanted.
    pub(super) fn told(&self) -> u64 {
        self.pending.first().map_or(self.read, |oldest| oldest - 1)
    }

    /// The change up to here was read: it is not wanted, was told before, or comes in next.
    pub(super) fn pass(&mut self, revision: u64) {
        self.read = self.read.max(revision);
    }

    /// Whether a change waits here.
    pub(super) fn holds(&self, revision: u64) -> bool {
        self.pending.contains(&revision)
    }

    /// Whether a change is the one that holds up the endpoint's place.
    pub(super) fn is_oldest(&self, revision: u64) -> bool {
        self.pending.first() == Some(&revision)
    }

    /// Takes in a change, which may be sent from a moment on.
    pub(super) fn push(&mut self, item: Item, due: Time) {
        let (id, revision) = (lane_of(&item.change), item.change.revision);
        if !item.again {
            self.pending.insert(revision);
            self.pass(revision);
        }
        self.held += 1;
        let lane = self.lanes.entry(id).or_default();
        lane.items.push_back(item);
        if lane.items.len() == 1 {
            lane.due = due;
            self.due.insert((due, revision, id));
        }
    }

    /// The change that is to be sent first, if its time has come. Nothing of its tree is given out until it is known what came
    /// of it.
    pub(super) fn take(&mut self, now: Time) -> Option<Item> {
        let (due, revision, id) = *self.due.first()?;
        if due > now {
            return None;
        }
        self.due.remove(&(due, revision, id));
        let lane = self.lanes.get_mut(&id)?;
        lane.under_way = true;
        lane.items.front().cloned()
    }

    /// What was taken is done: told, or given up. What follows in its tree may be sent at once.
    pub(super) fn done(&mut self, item: &Item, now: Time) {
        let id = lane_of(&item.change);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.items.pop_front();
        lane.under_way = false;
        lane.due = now;
        self.held -= 1;
        if !item.again {
            self.pending.remove(&item.change.revision);
        }
        match lane.items.front() {
            Some(next) => drop(self.due.insert((now, next.change.revision, id))),
            None => drop(self.lanes.remove(&id)),
        }
    }

    /// What was taken failed, and may be sent again from a moment on.
    pub(super) fn failed(&mut self, item: Item, due: Time) {
        let (id, revision) = (lane_of(&item.change), item.change.revision);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if let Some(first) = lane.items.front_mut() {
            *first = item;
        }
        lane.under_way = false;
        lane.due = due;
        self.due.insert((due, revision, id));
    }

    /// All that waits for another attempt may be sent at once: there is reason to hope.
    pub(super) fn hasten(&mut self, now: Time) {
        self.due.clear();
        for (id, lane) in self.lanes.iter_mut().filter(|(_, lane)| !lane.under_way) {
            lane.due = lane.due.min(now);
            self.due.extend(lane.items.front().map(|first| (lane.due, first.change.revision, *id)));
        }
    }

    /// When the next change may be sent.
    pub(super) fn next_due(&self) -> Option<Time> {
        self.due.first().map(|(due, ..)| *due)
    }

    /// When the next attempt is due at a change that has failed.
    pub(super) fn next_retry(&self) -> Option<Time> {
        let first = |id: &Uuid| self.lanes.get(id).and_then(|lane| lane.items.front());
        self.due.iter().find(|(_, _, id)| first(id).is_some_and(|item| item.failed > 0)).map(|(due, ..)| *due)
    }
}

#[cfg(test)]
mod tests;
