//! What clients were told: what a crash must not take back.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use causerie::proto::{self, stream_events_request::Request};

use crate::support::server::entry_text;

/// An entry as far as a client knows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    /// Its id, if the answer had it.
    pub(super) id: Option<String>,
    /// See [`digest`].
    pub(super) text: String,
}

/// Texts of more bytes are bulk.
const SHORT: usize = 100;

/// A text that stands for this one: itself, if it is short.
pub(super) fn digest(text: &str) -> String {
    if text.len() <= SHORT {
        return text.to_owned();
    }
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let head: String = text.chars().take(SHORT / 2).collect();
    format!("{head}… {} bytes {:x}", text.len(), hasher.finish())
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
    /// Those of them that clients go on from.
    lines: Vec<String>,
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
        let id = self.lines.iter().rev().nth(back)?;
        self.versions.get_key_value(id)
    }

    /// A text that no other turn puts in.
    pub(super) fn next_input(&mut self) -> String {
        self.inputs += 1;
        format!("question {}", self.inputs)
    }

    /// A turn was acknowledged.
    pub(super) fn acknowledge(&mut self, base: &[Said], input: &str, turn: &proto::Turn) {
        let outputs =
            turn.outputs.iter().map(|entry| Said { id: Some(entry.id.clone()), text: digest(&entry_text(entry)) });
        let said = Said { id: None, text: digest(input) };
        let history = base.iter().cloned().chain([said]).chain(outputs).collect();
        let known = self.versions.insert(turn.conversation_id.clone(), history);
        // Bulk stays alone: else every turn below it would carry it to the provider.
        if known.is_none() && input.len() <= SHORT {
            self.lines.push(turn.conversation_id.clone());
        }
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
