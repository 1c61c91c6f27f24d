//! A turn's event log and its readers.
//!
//! Readers hold a position in the shared log, not a channel of their own: the writer never waits for one, and memory does
//! not grow with their number.
//!
//! The log of a background turn goes on after a crash: what readers have seen of it must be on disk. Such a log holds its events
//! back until they are, or until the turn has ended; if nobody reads it, nothing is written before the end.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, watch};

use super::failures;
use crate::domain::{Entry, Event, EventKind, Failure, Time, Turn, TurnId};

/// The events of one turn, so far.
#[derive(Debug)]
pub struct Log {
    turn_id: TurnId,
    events: Mutex<Vec<Event>>,
    progress: watch::Sender<Progress>,
    /// Wakes whoever writes events to disk before readers see them; `None`: they see all at once.
    held: Option<Notify>,
    /// Only the turn itself appends. Read and set under the lock of the events.
    closed: AtomicBool,
}

/// What readers see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    len: usize,
    end: Option<Ending>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The last event is terminal.
    Ended,
    /// The server goes down, and the next one goes on with the turn.
    Suspended,
}

impl Log {
    /// An empty log.
    pub(super) fn new(turn_id: TurnId) -> Log {
        let (progress, _) = watch::channel(Progress { len: 0, end: None });
        Log { turn_id, events: Mutex::new(Vec::new()), progress, held: None, closed: AtomicBool::new(false) }
    }

    /// The log of a turn that goes on after these events, all of which are on disk. What follows is held back.
    pub(super) fn held(turn_id: TurnId, events: Vec<Event>) -> Log {
        let (progress, _) = watch::channel(Progress { len: events.len(), end: None });
        Log { turn_id, events: Mutex::new(events), progress, held: Some(Notify::new()), closed: AtomicBool::new(false) }
    }

    /// The log of a turn that has ended. The last event must be terminal.
    pub(super) fn ended(turn_id: TurnId, events: Vec<Event>) -> Log {
        let (progress, _) = watch::channel(Progress { len: events.len(), end: Some(Ending::Ended) });
        Log { turn_id, events: Mutex::new(events), progress, held: None, closed: AtomicBool::new(true) }
    }

    /// The turn that it belongs to.
    pub fn turn_id(&self) -> TurnId {
        self.turn_id
    }

    /// Appends events in one go and wakes the readers.
    pub(super) fn push(&self, at: Time, kinds: impl IntoIterator<Item = EventKind>) {
        self.append(self.lock(), at, kinds);
    }

    fn append(&self, mut events: MutexGuard<'_, Vec<Event>>, at: Time, kinds: impl IntoIterator<Item = EventKind>) {
        let mut ended = false;
        for kind in kinds {
            debug_assert!(!ended, "nothing follows the terminal event");
            ended = kind.is_terminal();
            let sequence = events.len() as u64 + 1;
            events.push(Event { sequence, first_sequence: sequence, created_at: at, kind });
        }
        let len = events.len();
        drop(events);
        if ended || self.held.is_none() {
            self.progress.send_replace(Progress { len, end: ended.then_some(Ending::Ended) });
        }
        // Whoever writes them learns of the end, too.
        if let Some(held) = &self.held {
            held.notify_one();
        }
    }

    /// Appends an event that is none of the turn's own doing, unless the turn is closed.
    pub(super) fn note(&self, at: Time, kind: EventKind) {
        let events = self.lock();
        if !self.closed.load(Ordering::Relaxed) {
            self.append(events, at, [kind]);
        }
    }

    /// From here on only the turn itself appends to its log: what it counts and stores is what there is.
    pub(super) fn close(&self) {
        let _events = self.lock();
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Whether the last thing that happened is that the turn waits for another attempt.
    pub(super) fn ends_requeued(&self) -> bool {
        matches!(self.lock().last().map(|event| &event.kind), Some(EventKind::TurnRequeued { .. }))
    }

    /// The inputs of the turn, once it has begun.
    pub(super) fn inputs(&self) -> Option<Arc<[Arc<Entry>]>> {
        self.lock().iter().find_map(|event| match &event.kind {
            EventKind::ResponseStarted { inputs, .. } => Some(inputs.clone()),
            _ => None,
        })
    }

    /// Brings the log of a turn that is taken up again to what was written of it: `told` begins as the log does, or goes on
    /// where another event came in between.
    pub(super) fn catch_up(&self, told: &[Event]) {
        let same = |(here, there): &(&Event, &Event)| here.kind == there.kind;
        let common = self.lock().iter().zip(told).take_while(same).count();
        for event in &told[common..] {
            let is_there = self.lock()[common..].iter().any(|here| here.kind == event.kind);
            if !is_there {
                self.push(event.created_at, [event.kind.clone()]);
            }
        }
    }

    /// Waits for events that are held back. `None`: the log has ended.
    pub(super) async fn held_back(&self) -> Option<Vec<Event>> {
        loop {
            let seen = *self.progress.borrow();
            if seen.end.is_some() {
                return None;
            }
            let fresh = self.lock().get(seen.len..).unwrap_or_default().to_vec();
            if !fresh.is_empty() {
                return Some(fresh);
            }
            match &self.held {
                Some(held) => held.notified().await,
                None => return None,
            }
        }
    }

    /// Shows readers so many more events.
    pub(super) fn show(&self, more: usize) {
        self.progress.send_if_modified(|progress| {
            let shows = progress.end.is_none() && more > 0;
            if shows {
                progress.len += more;
            }
            shows
        });
    }

    /// Ends all reading: the turn goes on in another process.
    pub(super) fn suspend(&self) {
        self.progress.send_if_modified(|progress| {
            let suspends = progress.end.is_none();
            if suspends {
                progress.end = Some(Ending::Suspended);
            }
            suspends
        });
        if let Some(held) = &self.held {
            held.notify_one();
        }
    }

    /// How many events there are, those that are held back too.
    pub(super) fn len(&self) -> u64 {
        self.lock().len() as u64
    }

    /// The events so far.
    pub(super) fn snapshot(&self) -> Vec<Event> {
        self.lock().clone()
    }

    /// The events so far and those to come, which `next` describes, as the store keeps them.
    pub(super) fn snapshot_with(&self, at: Time, next: EventKind) -> Vec<Event> {
        let mut events = self.snapshot();
        let sequence = events.len() as u64 + 1;
        events.push(Event { sequence, first_sequence: sequence, created_at: at, kind: next });
        events
    }

    /// The sequence of the newest event that readers can see.
    pub fn last_sequence(&self) -> u64 {
        self.progress.borrow().len as u64
    }

    /// Whether nothing more will be read here: the terminal event is there, or the server goes down.
    pub(super) fn has_ended(&self) -> bool {
        self.progress.borrow().end.is_some()
    }

    /// Whether the provider had begun to answer.
    pub fn has_output(&self) -> bool {
        self.lock().iter().any(|event| event.kind.is_delta())
    }

    /// Why the turn made no version; `None` if it did, or has not ended.
    fn failure(&self) -> Option<Arc<Failure>> {
        match self.lock().last().map(|event| &event.kind) {
            Some(EventKind::ResponseError { failure }) => Some(failure.clone()),
            _ if self.progress.borrow().end == Some(Ending::Suspended) => Some(Arc::new(failures::suspended())),
            _ => None,
        }
    }

    /// Waits for the end of the turn: the turn, or why there is none.
    pub async fn finished(&self) -> Result<Arc<Turn>, Arc<Failure>> {
        let mut progress = self.progress.subscribe();
        // The sender lives in `self`, so waiting can't fail.
        let _ = progress.wait_for(|progress| progress.end.is_some()).await;
        match self.lock().last().map(|event| &event.kind) {
            Some(EventKind::ResponseDone { turn }) => Ok(turn.clone()),
            Some(EventKind::ResponseError { failure }) => Err(failure.clone()),
            _ => Err(Arc::new(failures::suspended())),
        }
    }

    /// A reader that starts after a sequence.
    pub fn reader(self: Arc<Log>, after_sequence: u64) -> Reader {
        let progress = self.progress.subscribe();
        let next = usize::try_from(after_sequence).unwrap_or(usize::MAX);
        Reader { log: self, next, progress, attachment: None }
    }

    /// Tells of more events without keeping the log in memory.
    pub(super) fn signal(&self) -> Signal {
        Signal { progress: self.progress.subscribe() }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        // A panic while the lock was held can only have come from a failed allocation: the events are whole.
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for events of a log that may go meanwhile.
#[derive(Debug)]
pub(super) struct Signal {
    progress: watch::Receiver<Progress>,
}

impl Signal {
    /// Waits for events after a sequence, or for the end of the log. False: the log is gone.
    pub(super) async fn beyond(&mut self, sequence: u64) -> bool {
        self.progress.wait_for(|progress| progress.len as u64 > sequence || progress.end.is_some()).await.is_ok()
    }
}

/// One reader of a turn's log.
#[derive(Debug)]
pub struct Reader {
    log: Arc<Log>,
    next: usize,
    progress: watch::Receiver<Progress>,
    attachment: Option<super::live::Attachment>,
}

/// What a reader found.
#[derive(Debug)]
pub enum Read {
    /// The next events, at least one, at most `Reader::BATCH` of them after merging.
    Events(Vec<Event>),
    /// Nothing for as long as the reader wanted to wait.
    Silence,
    /// All events were read and the turn has ended.
    End,
}

impl Reader {
    /// Events handed out at once. A backlog that is longer is merged first: whoever lags gets fewer, larger messages.
    pub const BATCH: usize = 64;

    /// Keeps the turn alive as long as the reader is.
    pub(super) fn attached(mut self, attachment: super::live::Attachment) -> Reader {
        self.attachment = Some(attachment);
        self
    }

    /// Whether the provider had begun to answer.
    pub fn has_output(&self) -> bool {
        self.log.has_output()
    }

    /// Why the turn made no version; `None` if it did, or has not ended.
    pub fn failure(&self) -> Option<Arc<Failure>> {
        self.log.failure()
    }

    /// The turn that is read.
    pub fn turn_id(&self) -> TurnId {
        self.log.turn_id
    }

    /// The next events; waits for them at most so long.
    pub async fn read(&mut self, patience: Duration) -> Read {
        let next = self.next;
        let more = self.progress.wait_for(|progress| progress.len > next || progress.end.is_some());
        if tokio::time::timeout(patience, more).await.is_err() {
            return Read::Silence;
        }
        let batch = self.take();
        if batch.is_empty() { Read::End } else { Read::Events(batch) }
    }

    /// Waits until a moment, or for the end of the turn if that comes first.
    pub async fn rest(&mut self, until: tokio::time::Instant) {
        if until > tokio::time::Instant::now() {
            let _ = tokio::time::timeout_at(until, self.progress.wait_for(|progress| progress.end.is_some())).await;
        }
    }

    /// The next events that are there, as `read` gives them; none if there are none yet.
    pub(super) fn take(&mut self) -> Vec<Event> {
        let events = self.log.lock();
        let shown = self.progress.borrow().len;
        let fresh = events.get(self.next..shown).unwrap_or_default();
        let mut batch: Vec<Event> = Vec::with_capacity(fresh.len().min(Self::BATCH));
        let lagging = fresh.len() > Self::BATCH;
        for event in fresh {
            let merged = lagging && batch.last_mut().is_some_and(|last| fits(last) && last.merge(event));
            if !merged {
                if batch.len() == Self::BATCH {
                    break;
                }
                batch.push(event.clone());
            }
            self.next += 1;
        }
        batch
    }
}

/// A merged event stays far below what a client takes in one message.
const MERGED_BYTES: usize = 16 << 10;

fn fits(last: &Event) -> bool {
    last.kind.delta_bytes() < MERGED_BYTES
}
