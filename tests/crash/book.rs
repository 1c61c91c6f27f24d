//! What clients were told: what a crash must not take back.

use std::collections::{BTreeMap, BTreeSet};

use causerie::proto::{self, stream_events_request::Request};

use crate::support::server::entry_text;

/// An entry as far as a client knows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    /// Its id, if the answer had it.
    pub(super) id: Option<String>,
    pub(super) text: String,
}

/// A turn that was asked for under a request id.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) request: Request,
    /// The history that it runs on.
    pub(super) base: Vec<Said>,
    /// What the turn puts in.
    pub(super) input: String,
    /// The id under which it was announced.
    pub(super) announced: Option<String>,
    /// The turn with which it was acknowledged.
    pub(super) acknowledged: Option<String>,
}

/// All that is known.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Acknowledged versions with their whole histories, in the order of their ids and so of time.
    pub(super) versions: BTreeMap<String, Vec<Said>>,
    /// Those of them that were not compared yet.
    pub(super) fresh: Vec<String>,
    /// Turns that were announced and not looked at since.
    pub(super) announced: BTreeSet<String>,
    /// Requests that were not sent again yet, by their id.
    pub(super) requests: BTreeMap<String, Sent>,
    /// Errors that a server gave that was not killed.
    pub(super) refused: Vec<tonic::Status>,
    pub(super) inputs: u64,
}

impl Book {
    /// A version of late, to go on from.
    pub(super) fn recent(&self, back: usize) -> Option<(&String, &Vec<Said>)> {
        self.versions.iter().rev().nth(back)
    }

    /// A text that no other turn puts in.
    pub(super) fn next_input(&mut self) -> String {
        self.inputs += 1;
        format!("question {}", self.inputs)
    }

    /// A turn was acknowledged.
    pub(super) fn acknowledge(&mut self, base: &[Said], input: &str, turn: &proto::Turn) {
        let outputs = turn.outputs.iter().map(|entry| Said { id: Some(entry.id.clone()), text: entry_text(entry) });
        let input = Said { id: None, text: input.to_owned() };
        let history = base.iter().cloned().chain([input]).chain(outputs).collect();
        self.versions.insert(turn.conversation_id.clone(), history);
        self.fresh.push(turn.conversation_id.clone());
        if let Some(sent) = self.requests.get_mut(&turn.request_id) {
            sent.acknowledged = Some(turn.id.clone());
        }
    }

    /// A turn was announced.
    pub(super) fn announce(&mut self, request_id: &str, turn_id: &str) {
        self.announced.insert(turn_id.to_owned());
        if let Some(sent) = self.requests.get_mut(request_id) {
            sent.announced = Some(turn_id.to_owned());
        }
    }
}
