//! What clients were told, and what they have in hand while their server is gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
};

use causerie::proto::{self, event::Kind, stream_events_request::Request, turn::State};

/// A turn that was acknowledged.
#[derive(Debug, Clone)]
pub(super) struct Accepted {
    /// What it puts in; no other turn does.
    pub(super) input: String,
    /// Somebody may cancel it.
    pub(super) doomed: bool,
    /// Its end is told to a callback.
    pub(super) callback: bool,
}

/// A request with an id.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) request: Request,
    pub(super) accepted: Accepted,
    /// The turn with which it was acknowledged.
    pub(super) turn_id: Option<String>,
}

/// All that is known.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) accepted: BTreeMap<String, Accepted>,
    /// Those of them that nobody was told the end of.
    pub(super) open: BTreeSet<String>,
    /// How the others ended, as it was told first.
    pub(super) ends: BTreeMap<String, State>,
    /// Turns to go on from, the newest last.
    pub(super) lines: Vec<String>,
    /// What readers have of turns.
    pub(super) readings: BTreeMap<String, Vec<proto::Event>>,
    /// Requests that were not sent again yet, by their id.
    pub(super) requests: BTreeMap<String, Sent>,
    /// Errors that a server gave that was not killed.
    pub(super) refused: Vec<tonic::Status>,
    pub(super) inputs: u64,
    pub(super) repeated: u64,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics")
}

impl Known {
    /// A text that no other turn puts in.
    pub(super) fn next_input(&mut self) -> String {
        self.inputs += 1;
        format!("question-{}", self.inputs)
    }

    /// A turn was acknowledged. Background turns may have any state by then.
    pub(super) fn accept(&mut self, accepted: &Accepted, turn: &proto::Turn) {
        let is_new = self.accepted.insert(turn.id.clone(), accepted.clone()).is_none();
        if is_new && !accepted.doomed {
            self.lines.push(turn.id.clone());
        }
        if let Some(sent) = self.requests.get_mut(&turn.request_id) {
            sent.turn_id = Some(turn.id.clone());
        }
        self.stands(turn);
    }

    /// A turn was told to stand so.
    pub(super) fn stands(&mut self, turn: &proto::Turn) {
        let state = turn.state();
        if matches!(state, State::Queued | State::Running) {
            assert_eq!(self.ends.get(&turn.id), None, "it had ended: {turn:?}");
            self.open.insert(turn.id.clone());
            return;
        }
        self.open.remove(&turn.id);
        let first = *self.ends.entry(turn.id.clone()).or_insert(state);
        assert_eq!(first, state, "it had ended otherwise: {turn:?}");
    }

    /// A reader got an event.
    pub(super) fn read(&mut self, turn_id: &str, event: proto::Event) {
        assert_eq!(event.turn_id, turn_id);
        if let Some(Kind::ResponseDone(done)) = &event.kind {
            self.stands(done.turn.as_ref().expect("response_done has the turn"));
        }
        self.readings.entry(turn_id.to_owned()).or_default().push(event);
    }

    /// Turns that are read and have no end yet.
    pub(super) fn unfinished(&self) -> Vec<String> {
        let open = self.readings.iter().filter(|(_, events)| !events.last().is_some_and(is_terminal));
        open.map(|(id, _)| id.clone()).collect()
    }
}

pub(super) fn is_terminal(event: &proto::Event) -> bool {
    matches!(event.kind, Some(Kind::ResponseDone(_) | Kind::ResponseError(_)))
}

/// The version that a turn makes.
pub(super) fn version_of(turn_id: &str) -> String {
    turn_id.replace("turn_", "conv_")
}
