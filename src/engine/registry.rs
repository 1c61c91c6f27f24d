//! Turns in flight. The one place that knows only this process: what two processes on one store would have to share.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::live::{Live, Stop};
use crate::domain::{ConversationId, EventKind, Turn, TurnId, TurnState};

/// Turns in flight, by id and by request id.
#[derive(Debug)]
pub(super) struct Registry {
    turns: Mutex<Turns>,
    max: usize,
    /// How many turns were ever admitted.
    admitted: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Turns {
    by_id: BTreeMap<TurnId, Arc<Live>>,
    by_request: HashMap<String, Arc<Live>>,
    /// In the order in which they were admitted, by how many had been then.
    by_number: BTreeMap<u64, Arc<Live>>,
    admitted: u64,
    /// How many of them count against the limit.
    counted: usize,
    draining: bool,
    /// All were stopped, and whoever comes is too.
    stopped: Option<Stop>,
}

/// Why a turn was not admitted.
pub(super) enum Refused {
    /// Too many are in flight.
    Full,
    /// The server shuts down.
    Draining,
}

impl Registry {
    /// A registry for at most so many turns at once.
    pub(super) fn new(max: usize) -> Registry {
        Registry { turns: Mutex::default(), max, admitted: watch::Sender::new(0) }
    }

    /// The turn in flight with this id. One that has ended keeps its place for a moment, but is the store's to know: whoever
    /// has seen its end finds what will be found from then on.
    pub(super) fn get(&self, id: TurnId) -> Option<Arc<Live>> {
        self.lock().by_id.get(&id).filter(|live| !live.log.has_ended()).cloned()
    }

    /// The turns in flight of a range of ids, newest first. Not those that have ended, which are the store's to know.
    pub(super) fn newest(&self, ids: &Range<TurnId>) -> Vec<Arc<Live>> {
        if ids.is_empty() {
            return Vec::new();
        }
        let turns = self.lock();
        turns
            .by_id
            .range(ids.clone())
            .rev()
            .map(|(_, live)| live.clone())
            .filter(|live| !live.log.has_ended())
            .collect()
    }

    /// The turn in flight with this request id. Not one that has ended: if it failed, its request id is free.
    pub(super) fn by_request(&self, request_id: &str) -> Option<Arc<Live>> {
        self.lock().by_request.get(request_id).filter(|live| !live.log.has_ended()).cloned()
    }

    /// Takes a turn in. It stays until the returned place is dropped.
    pub(super) fn admit(self: &Arc<Registry>, live: Arc<Live>) -> Result<Place, Refused> {
        let mut turns = self.lock();
        turns.room(self.max)?;
        turns.counted += 1;
        let number = turns.insert(&live);
        drop(turns);
        Ok(self.told(live, number, true))
    }

    /// Takes a turn in that waits in a queue of its own, whose limits hold for it.
    pub(super) fn hold(self: &Arc<Registry>, live: Arc<Live>) -> Place {
        let mut turns = self.lock();
        let number = turns.insert(&live);
        drop(turns);
        self.told(live, number, false)
    }

    /// Tells watchers of a turn that was taken in.
    fn told(self: &Arc<Registry>, live: Arc<Live>, number: u64, is_counted: bool) -> Place {
        // Others may have been faster since.
        self.admitted.send_modify(|admitted| *admitted = number.max(*admitted));
        Place { registry: self.clone(), live, number, is_counted }
    }

    /// How many turns were ever admitted, and each that is.
    pub(super) fn admissions(&self) -> watch::Receiver<u64> {
        self.admitted.subscribe()
    }

    /// The turns in flight that were admitted after so many others, and how many there were in all.
    pub(super) fn admitted_after(&self, number: u64) -> (Vec<Arc<Live>>, u64) {
        let turns = self.lock();
        let later = turns.by_number.range(number + 1..).map(|(_, live)| live.clone());
        (later.collect(), turns.admitted)
    }

    /// The turns in flight that run on a version.
    pub(super) fn bases(&self) -> Vec<(ConversationId, TurnId)> {
        let turns = self.lock();
        let running = turns.by_id.values().filter(|live| !live.log.has_ended());
        running.filter_map(|live| Some((live.parent_id()?, live.log.turn_id()))).collect()
    }

    /// Whether there is room for a turn, and the server takes any. `queued`: it waits in a queue of its own, whose limits hold.
    pub(super) fn room(&self, queued: bool) -> Result<(), Refused> {
        self.lock().room(if queued { usize::MAX } else { self.max })
    }

    /// Admits no more turns.
    pub(super) fn drain(&self) {
        self.lock().draining = true;
    }

    /// Stops all turns in flight.
    pub(super) fn stop_all(&self, reason: Stop) {
        let mut turns = self.lock();
        turns.stopped = Some(reason);
        let lives: Vec<Arc<Live>> = turns.by_id.values().cloned().collect();
        drop(turns);
        for live in lives {
            live.stop(reason);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        // Each change is one map operation: a poisoned lock still guards whole maps.
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turns {
    fn room(&self, max: usize) -> Result<(), Refused> {
        match (self.draining, self.counted >= max) {
            (true, _) => Err(Refused::Draining),
            (false, true) => Err(Refused::Full),
            (false, false) => Ok(()),
        }
    }

    /// How many were admitted then.
    fn insert(&mut self, live: &Arc<Live>) -> u64 {
        if let Some(request) = &live.request {
            self.by_request.insert(request.id.clone(), live.clone());
        }
        self.by_id.insert(live.log.turn_id(), live.clone());
        if let Some(reason) = self.stopped {
            live.stop(reason);
        }
        self.admitted += 1;
        self.by_number.insert(self.admitted, live.clone());
        self.admitted
    }
}

/// A turn's place among those in flight, given free when dropped: also when the turn's task panics.
#[derive(Debug)]
pub(super) struct Place {
    registry: Arc<Registry>,
    pub(super) live: Arc<Live>,
    number: u64,
    is_counted: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.live.log.has_ended() {
            // Only a panic of the turn's task leads here. Nobody may wait for ever.
            let (at, failure) = (super::ids::now(), super::told::died());
            self.live.end(Turn {
                state: TurnState::Failed,
                error: Some(failure.clone()),
                completed_at: Some(at),
                last_sequence: self.live.log.len() + 1,
                ..self.live.closing()
            });
            self.live.log.push(at, [EventKind::ResponseError { failure: Arc::new(failure) }]);
        }
        let mut turns = self.registry.lock();
        turns.by_id.remove(&self.live.log.turn_id());
        turns.by_number.remove(&self.number);
        turns.counted -= usize::from(self.is_counted);
        if let Some(request) = &self.live.request
            // The next turn may have the id already.
            && turns.by_request.get(&request.id).is_some_and(|live| Arc::ptr_eq(live, &self.live))
        {
            turns.by_request.remove(&request.id);
        }
    }
}
