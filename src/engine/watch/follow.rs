//! The events of turns, for a reader of changes: of those in flight as they happen, and of each turn all before its end is told.
//!
//! Of a turn in flight only a weak pointer to its log is held, and how far it was told. Who does not read keeps no log in memory:
//! what was missed comes from the store when the turn's end is told.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::{Arc, Weak},
};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::sync::watch;

use super::{EVENTS_AT_ONCE, TurnEvent};
use crate::{
    domain::{Event, Failure, TurnId, change::ChangeFilter},
    engine::{
        Shared, failures,
        live::Live,
        log::{Log, Reader, Signal},
    },
};

/// The turns that a reader follows.
pub(super) struct Follow {
    turns: HashMap<TurnId, Followed>,
    /// One for each log in memory that has not ended.
    waits: FuturesUnordered<Wait>,
    admissions: watch::Receiver<u64>,
    /// How many turns had been admitted when it was looked last; `None`: it never was.
    admitted: Option<u64>,
    newest: watch::Receiver<u64>,
    /// Turns that were told to their end, and the newest revision then: the change that tells it is not a later one.
    told: VecDeque<(u64, TurnId)>,
    /// The log of a turn whose end is told now, read from the store.
    stored: Option<Reader>,
}

#[derive(Default)]
struct Followed {
    log: Weak<Log>,
    /// The last sequence that was told.
    sent: u64,
    /// That was the last one of all.
    done: bool,
}

type Wait = Pin<Box<dyn Future<Output = (TurnId, Option<Signal>)> + Send>>;

/// Waits until a log has more. It gives no signal if the log went.
fn wait(id: TurnId, mut signal: Signal, sent: u64) -> Wait {
    Box::pin(async move { (id, signal.beyond(sent).await.then_some(signal)) })
}

/// Waits for events of the turns that are followed, or for more turns; if none are followed, for ever.
pub(super) async fn news(follow: Option<&mut Follow>, events: &mut Vec<TurnEvent>) {
    let Some(follow) = follow else { return std::future::pending().await };
    let admitted = follow.admitted;
    let more = if follow.waits.is_empty() { None } else { Some(follow.waits.next()) };
    let more = async {
        match more {
            Some(next) => next.await,
            None => std::future::pending().await,
        }
    };
    let told = tokio::select! {
        // Can't fail: the engine keeps who tells it.
        _ = follow.admissions.wait_for(|now| Some(*now) > admitted) => None,
        told = more => told,
    };
    if let Some((id, signal)) = told {
        follow.take(id, signal, events);
    }
}

impl Follow {
    pub(super) fn new(shared: &Shared) -> Follow {
        Follow {
            turns: HashMap::new(),
            waits: FuturesUnordered::new(),
            admissions: shared.registry.admissions(),
            admitted: None,
            newest: shared.store.revision(),
            told: VecDeque::new(),
            stored: None,
        }
    }

    /// Follows the turns that were admitted since the last time.
    pub(super) async fn admit(&mut self, shared: &Arc<Shared>, filter: &ChangeFilter) -> Result<(), Failure> {
        let is_first = self.admitted.is_none();
        if Some(*self.admissions.borrow()) <= self.admitted {
            return Ok(());
        }
        let (mut lives, admitted) = shared.registry.admitted_after(self.admitted.unwrap_or(0));
        lives.retain(|live| live.concerns(filter));
        if is_first {
            lives = unstored(shared, lives).await?;
        }
        for live in lives {
            self.follow(shared, &live);
        }
        self.admitted = Some(admitted);
        Ok(())
    }

    /// An attempt at a turn begins. It is followed already, unless the filter could not tell before what will lead it.
    pub(super) fn begin(&mut self, shared: &Arc<Shared>, id: TurnId) {
        if !self.turns.contains_key(&id)
            && let Some(live) = shared.registry.get(id)
        {
            self.follow(shared, &live);
        }
    }

    fn follow(&mut self, shared: &Arc<Shared>, live: &Arc<Live>) {
        if live.is_held() {
            shared.show(live);
        }
        let (id, log) = (live.log.turn_id(), &live.log);
        // Another attempt goes on where the one before was told.
        let sent = self.turns.get(&id).map_or(0, |turn| turn.sent);
        self.turns.insert(id, Followed { log: Arc::downgrade(log), sent, done: false });
        self.waits.push(wait(id, log.signal(), sent));
    }

    /// Takes all events that are there, until they are enough.
    pub(super) fn gather(&mut self, events: &mut Vec<TurnEvent>) {
        while events.len() < EVENTS_AT_ONCE
            && let Some(Some((id, signal))) = self.waits.next().now_or_never()
        {
            self.take(id, signal, events);
        }
    }

    fn take(&mut self, id: TurnId, signal: Option<Signal>, events: &mut Vec<TurnEvent>) {
        // Without them the rest comes from the store, with the turn's end.
        let (Some(signal), Some(turn)) = (signal, self.turns.get_mut(&id)) else { return };
        let Some(log) = turn.log.upgrade() else { return };
        turn.read(&log, events);
        if turn.done {
            self.told.push_back((*self.newest.borrow(), id));
        } else if !turn.is_over(&log) {
            self.waits.push(wait(id, signal, turn.sent));
        }
    }

    /// Tells what is left of a turn that has ended. False: there is more, but these are enough. May be dropped while it waits.
    pub(super) async fn finish(
        &mut self,
        shared: &Arc<Shared>,
        id: TurnId,
        events: &mut Vec<TurnEvent>,
    ) -> Result<bool, Failure> {
        let turn = self.turns.entry(id).or_default();
        while !turn.done {
            if events.len() >= EVENTS_AT_ONCE {
                return Ok(false);
            }
            match (turn.log.upgrade(), &mut self.stored) {
                (Some(log), None) if turn.read(&log, events) => {}
                (Some(log), None) if turn.is_over(&log) => turn.log = Weak::new(),
                (Some(log), None) => {
                    // The change is on disk, and the terminal event is told next.
                    let mut signal = log.signal();
                    drop(log);
                    signal.beyond(turn.sent).await;
                }
                (None, None) => self.stored = Some(stored(shared, id).await?.reader(turn.sent)),
                (_, Some(reader)) => {
                    let batch = reader.take();
                    turn.done = batch.is_empty();
                    turn.tell(id, batch, events);
                }
            }
        }
        self.stored = None;
        self.turns.remove(&id);
        Ok(true)
    }

    /// Forgets the turns that were told to their end and have no change that says so up to this revision: there is none.
    pub(super) fn forget(&mut self, revision: u64) {
        while let Some((until, id)) = self.told.front().copied()
            && until <= revision
        {
            self.told.pop_front();
            if self.turns.get(&id).is_some_and(|turn| turn.done) {
                self.turns.remove(&id);
            }
        }
    }
}

impl Followed {
    /// Tells what the log has next. False: nothing for now.
    fn read(&mut self, log: &Arc<Log>, events: &mut Vec<TurnEvent>) -> bool {
        let batch = log.clone().reader(self.sent).take();
        let some = !batch.is_empty();
        self.tell(log.turn_id(), batch, events);
        some
    }

    fn tell(&mut self, turn_id: TurnId, batch: Vec<Event>, events: &mut Vec<TurnEvent>) {
        if let Some(last) = batch.last() {
            self.sent = last.sequence;
            self.done |= last.kind.is_terminal();
        }
        events.extend(batch.into_iter().map(|event| TurnEvent { turn_id, event }));
    }

    /// Whether all was told of a log that gets no more: it has ended, or another process goes on with it.
    fn is_over(&self, log: &Log) -> bool {
        log.has_ended() && log.last_sequence() <= self.sent
    }
}

/// Those that are not stored yet. Of the others the end was told already, or else it brings their events.
async fn unstored(shared: &Arc<Shared>, lives: Vec<Arc<Live>>) -> Result<Vec<Arc<Live>>, Failure> {
    if lives.is_empty() {
        return Ok(lives);
    }
    let store = shared.store.clone();
    let select = move || {
        let mut found = Vec::new();
        for live in lives {
            if store.turn(live.log.turn_id())?.is_none() {
                found.push(live);
            }
        }
        Ok(found)
    };
    shared.watching.read(select).await?.map_err(failures::store)
}

/// The log of a turn that has ended; empty if the turn was deleted since.
async fn stored(shared: &Arc<Shared>, id: TurnId) -> Result<Arc<Log>, Failure> {
    let store = shared.store.clone();
    let ended = shared.watching.read(move || store.turn(id)).await?.map_err(failures::store)?;
    Ok(Arc::new(Log::ended(id, ended.map(|ended| ended.events).unwrap_or_default())))
}
