//! Which background turn is run next.
//!
//! Turns of one caller and one provider wait in a line. A higher priority goes first; within it the lines take turns, and within
//! a line the older turn goes first. A turn whose tree, provider or batch is busy holds up no other.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use crate::domain::{BatchId, ConversationId, Time, TurnId};

/// How many background turns may run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub total: usize,
    /// Of one provider.
    pub per_provider: usize,
    /// Of one tree.
    pub per_tree: usize,
}

/// A turn that waits to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) id: TurnId,
    /// Who will lead it, as far as that is known.
    pub(super) model: Arc<str>,
    pub(super) priority: i32,
    pub(super) line: Line,
    pub(super) root: ConversationId,
    /// What it runs on: a version, or one that is still to be made.
    pub(super) base: Option<ConversationId>,
    pub(super) not_before: Option<Time>,
    /// It waits for this turn.
    pub(super) after: Option<TurnId>,
}

/// Those who wait together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Line {
    /// The caller's key.
    pub(super) key: Arc<str>,
    /// Of a batch only its own turns.
    pub(super) batch: Option<BatchId>,
    pub(super) provider: Arc<str>,
}

/// Where a turn is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Ready,
    /// Its tree is busy.
    Blocked,
    Later(Time),
    Behind(TurnId),
    Running,
    /// It was taken out, and is on its way to its end.
    Leaving,
}

#[derive(Debug)]
struct Slot {
    turn: Waiting,
    place: Place,
}

/// The background turns that wait or run.
#[derive(Debug)]
pub(super) struct Queue {
    limits: Limits,
    slots: HashMap<TurnId, Slot>,
    ready: BTreeMap<Reverse<i32>, Lines>,
    later: BTreeSet<(Time, TurnId)>,
    behind: HashMap<TurnId, Vec<TurnId>>,
    /// Those whose trees are busy, in the order in which they go on.
    blocked: HashMap<ConversationId, BTreeSet<(Reverse<i32>, TurnId)>>,
    /// By what they run on.
    bases: HashMap<ConversationId, BTreeSet<TurnId>>,
    running: usize,
    by_provider: HashMap<Arc<str>, usize>,
    by_tree: HashMap<ConversationId, usize>,
    by_batch: HashMap<BatchId, usize>,
    /// What the batches may take of it.
    batches: HashMap<BatchId, Share>,
}

/// What a batch may take of the queue.
#[derive(Debug)]
struct Share {
    /// How many of its turns may run at once.
    most: usize,
    /// None of them begins.
    paused: bool,
}

/// The lines of one priority; the one whose turn it is stands first.
#[derive(Debug, Default)]
struct Lines {
    order: VecDeque<Line>,
    turns: HashMap<Line, BTreeSet<TurnId>>,
}

impl Queue {
    pub(super) fn new(limits: Limits) -> Queue {
        Queue {
            limits,
            slots: HashMap::new(),
            ready: BTreeMap::new(),
            later: BTreeSet::new(),
            behind: HashMap::new(),
            blocked: HashMap::new(),
            bases: HashMap::new(),
            running: 0,
            by_provider: HashMap::new(),
            by_tree: HashMap::new(),
            by_batch: HashMap::new(),
            batches: HashMap::new(),
        }
    }

    /// Turns that wait or run.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn contains(&self, id: TurnId) -> bool {
        self.slots.contains_key(&id)
    }

    /// Whether a turn runs.
    pub(super) fn runs(&self, id: TurnId) -> bool {
        self.slots.get(&id).is_some_and(|slot| matches!(slot.place, Place::Running | Place::Leaving))
    }

    /// A turn that waits or runs.
    pub(super) fn turn(&self, id: TurnId) -> Option<&Waiting> {
        self.slots.get(&id).map(|slot| &slot.turn)
    }

    /// The newest turn that waits or runs on a version, or on one that is still to be made.
    pub(super) fn newest_on(&self, base: ConversationId) -> Option<TurnId> {
        self.bases.get(&base)?.last().copied()
    }

    /// The turns that wait or run, in no order.
    fn turns(&self) -> impl Iterator<Item = &Waiting> {
        self.slots.values().map(|slot| &slot.turn)
    }

    /// The turns of a batch that wait or run.
    pub(super) fn of_batch(&self, batch: BatchId) -> Vec<TurnId> {
        self.turns().filter(|turn| turn.line.batch == Some(batch)).map(|turn| turn.id).collect()
    }

    /// How many turns of a batch may run at once. Of batches that are not `open` any more it is forgotten.
    pub(super) fn limit_batch(&mut self, batch: BatchId, most: usize, open: &[BatchId]) {
        self.batches.retain(|batch, _| open.contains(batch));
        self.batches.insert(batch, Share { most, paused: false });
    }

    /// Begins no turns of a batch until it goes on.
    pub(super) fn pause_batch(&mut self, batch: BatchId, paused: bool) {
        if let Some(share) = self.batches.get_mut(&batch) {
            share.paused = paused;
        }
    }

    /// Takes a turn in. `waits`: the turn that it is behind is still in flight.
    pub(super) fn insert(&mut self, turn: Waiting, waits: bool, now: Time) {
        let id = turn.id;
        let behind = turn.after.filter(|_| waits);
        let not_before = turn.not_before;
        if let Some(base) = turn.base {
            self.bases.entry(base).or_default().insert(id);
        }
        self.slots.insert(id, Slot { turn, place: Place::Running });
        match behind {
            Some(after) => {
                self.behind.entry(after).or_default().push(id);
                self.place(id, Place::Behind(after));
            }
            None => self.line_up(id, not_before, now),
        }
    }

    /// The turn to run now; it runs from here on.
    pub(super) fn next(&mut self, now: Time) -> Option<TurnId> {
        self.come_due(now);
        if self.running >= self.limits.total {
            return None;
        }
        let priorities: Vec<_> = self.ready.keys().copied().collect();
        let id = priorities.into_iter().find_map(|priority| self.next_of(priority))?;
        self.start(id);
        Some(id)
    }

    /// When the first of those that wait for a time is due.
    pub(super) fn next_due(&self) -> Option<Time> {
        self.later.first().map(|(time, _)| *time)
    }

    /// A turn that ran waits again.
    pub(super) fn requeue(&mut self, id: TurnId, not_before: Option<Time>, now: Time) {
        if self.slots.get(&id).is_some_and(|slot| slot.place == Place::Running) {
            self.stop_running(id);
            self.line_up(id, not_before, now);
        }
    }

    /// A turn that ran waits for another one to end.
    pub(super) fn wait_for(&mut self, id: TurnId, before: TurnId) {
        if self.slots.get(&id).is_some_and(|slot| slot.place == Place::Running) {
            self.stop_running(id);
            self.behind.entry(before).or_default().push(id);
            self.place(id, Place::Behind(before));
        }
    }

    /// Takes a turn out that waits. False: it does not.
    pub(super) fn take_waiting(&mut self, id: TurnId) -> bool {
        let Some(slot) = self.slots.get(&id) else { return false };
        match slot.place {
            Place::Running | Place::Leaving => return false,
            Place::Ready => self.leave_line(id),
            Place::Blocked => {
                let (root, priority) = (slot.turn.root, slot.turn.priority);
                remove_from(&mut self.blocked, &root, &(Reverse(priority), id));
            }
            Place::Later(time) => {
                self.later.remove(&(time, id));
            }
            Place::Behind(after) => {
                if let Some(waiting) = self.behind.get_mut(&after) {
                    waiting.retain(|other| *other != id);
                }
                self.hand_on(id, after);
            }
        }
        // Until it has ended it is there, and takes no worker's place.
        self.place(id, Place::Leaving);
        true
    }

    /// A turn has ended, of this queue or not: those behind it come forward.
    pub(super) fn ended(&mut self, id: TurnId, now: Time) {
        let gone = match self.slots.get(&id).map(|slot| slot.place) {
            Some(Place::Running) => {
                self.stop_running(id);
                self.slots.remove(&id)
            }
            Some(Place::Leaving) => {
                let gone = self.slots.remove(&id);
                // It may have been the one for which there was room.
                if let Some(slot) = &gone {
                    self.unblock(slot.turn.root);
                }
                gone
            }
            Some(Place::Ready | Place::Blocked | Place::Later(_) | Place::Behind(_)) | None => None,
        };
        if let Some(base) = gone.and_then(|slot| slot.turn.base) {
            remove_from(&mut self.bases, &base, &id);
        }
        for id in self.behind.remove(&id).unwrap_or_default() {
            let not_before = self.slots.get(&id).and_then(|slot| slot.turn.not_before);
            self.line_up(id, not_before, now);
        }
    }

    /// Those behind a turn that goes wait for the one that it waited for.
    fn hand_on(&mut self, from: TurnId, to: TurnId) {
        for id in self.behind.remove(&from).unwrap_or_default() {
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            slot.place = Place::Behind(to);
            slot.turn.after = Some(to);
            if let Some(base) = slot.turn.base.replace(to.conversation()) {
                remove_from(&mut self.bases, &base, &id);
            }
            self.bases.entry(to.conversation()).or_default().insert(id);
            self.behind.entry(to).or_default().push(id);
        }
    }

    fn place(&mut self, id: TurnId, place: Place) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.place = place;
        }
    }

    fn line_up(&mut self, id: TurnId, not_before: Option<Time>, now: Time) {
        match not_before {
            Some(time) if time > now => {
                self.later.insert((time, id));
                self.place(id, Place::Later(time));
            }
            Some(_) | None => {
                let Some(slot) = self.slots.get_mut(&id) else { return };
                slot.place = Place::Ready;
                let Lines { order, turns } = self.ready.entry(Reverse(slot.turn.priority)).or_default();
                let line = turns.entry(slot.turn.line.clone()).or_insert_with(|| {
                    order.push_back(slot.turn.line.clone());
                    BTreeSet::new()
                });
                line.insert(id);
            }
        }
    }

    fn leave_line(&mut self, id: TurnId) {
        let Some(slot) = self.slots.get(&id) else { return };
        if let Some(line) =
            self.ready.get_mut(&Reverse(slot.turn.priority)).and_then(|l| l.turns.get_mut(&slot.turn.line))
        {
            // An empty line goes when it is its turn.
            line.remove(&id);
        }
    }

    fn come_due(&mut self, now: Time) {
        while let Some((time, id)) = self.later.first().copied().filter(|(time, _)| *time <= now) {
            self.later.remove(&(time, id));
            self.line_up(id, None, now);
        }
    }

    /// The first turn of a priority that may run. The lines before it go to the end.
    fn next_of(&mut self, priority: Reverse<i32>) -> Option<TurnId> {
        let mut lines = self.ready.remove(&priority)?;
        let mut found = None;
        for _ in 0..lines.order.len() {
            let Some(line) = lines.order.pop_front() else { break };
            let Some(turns) = lines.turns.get_mut(&line) else { continue };
            if self.has_room(&line) {
                found = self.first_of(turns);
            }
            if turns.is_empty() {
                lines.turns.remove(&line);
            } else {
                lines.order.push_back(line);
            }
            if found.is_some() {
                break;
            }
        }
        if !lines.order.is_empty() {
            self.ready.insert(priority, lines);
        }
        found
    }

    fn has_room(&self, line: &Line) -> bool {
        let provider = self.by_provider.get(&line.provider).copied().unwrap_or_default();
        let batch = line.batch.and_then(|batch| {
            let share = self.batches.get(&batch)?;
            Some(!share.paused && self.by_batch.get(&batch).copied().unwrap_or_default() < share.most)
        });
        provider < self.limits.per_provider && batch.unwrap_or(true)
    }

    /// The oldest turn of a line whose tree is not busy. Those before it wait for their trees.
    fn first_of(&mut self, turns: &mut BTreeSet<TurnId>) -> Option<TurnId> {
        while let Some(id) = turns.pop_first() {
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            if self.by_tree.get(&slot.turn.root).copied().unwrap_or_default() < self.limits.per_tree {
                return Some(id);
            }
            slot.place = Place::Blocked;
            self.blocked.entry(slot.turn.root).or_default().insert((Reverse(slot.turn.priority), id));
        }
        None
    }

    fn start(&mut self, id: TurnId) {
        self.place(id, Place::Running);
        self.count(id);
    }

    fn count(&mut self, id: TurnId) {
        let Some(Slot { turn, .. }) = self.slots.get(&id) else { return };
        self.running += 1;
        *self.by_provider.entry(turn.line.provider.clone()).or_default() += 1;
        *self.by_tree.entry(turn.root).or_default() += 1;
        if let Some(batch) = turn.line.batch {
            *self.by_batch.entry(batch).or_default() += 1;
        }
    }

    fn stop_running(&mut self, id: TurnId) {
        let Some(Slot { turn, .. }) = self.slots.get(&id) else { return };
        self.running -= 1;
        release(&mut self.by_provider, &turn.line.provider);
        release(&mut self.by_tree, &turn.root);
        if let Some(batch) = turn.line.batch {
            release(&mut self.by_batch, &batch);
        }
        self.unblock(turn.root);
    }

    /// There is room for one of a tree.
    fn unblock(&mut self, root: ConversationId) {
        if let Some(next) = self.blocked.get(&root).and_then(|turns| turns.first().copied()) {
            remove_from(&mut self.blocked, &root, &next);
            self.line_up(next.1, None, Time { unix_us: 0 });
        }
    }
}

fn release<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

fn remove_from<T: Ord>(sets: &mut HashMap<ConversationId, BTreeSet<T>>, key: &ConversationId, turn: &T) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(turn);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
