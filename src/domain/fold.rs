//! `fold(events) -> entries`: what a turn's outputs are follows from its events alone.

use std::sync::Arc;

use super::{
    entry::{Body, Entry, FunctionCall, MessageOutput, OutputStatus, Segment},
    event::{EventKind, merge_chunk},
    ids::{EntryId, Time},
};

/// The outputs of a turn, as far as its deltas have told.
#[derive(Debug, Default)]
pub struct Outputs {
    entries: Vec<Entry>,
}

impl Outputs {
    /// Takes the next event in. Events that carry no piece of an output change nothing.
    pub fn apply(&mut self, kind: &EventKind, at: Time) {
        match kind {
            EventKind::MessageOutputDelta { entry_id, content_index, author, chunk, .. } => {
                let entry = self.open(*entry_id, author, at, || {
                    Body::MessageOutput(MessageOutput {
                        content: Vec::new(),
                        status: OutputStatus::Incomplete,
                        segments: Vec::new(),
                    })
                });
                let Entry { model, body, .. } = entry;
                if let Body::MessageOutput(message) = body {
                    note_author(message, model.as_deref(), &author.model, *content_index);
                    let goes_on = message.content.len() > *content_index as usize;
                    let merged = goes_on && message.content.last_mut().is_some_and(|last| merge_chunk(last, chunk));
                    if !merged {
                        message.content.push(chunk.clone());
                    }
                }
            }
            EventKind::FunctionCallDelta { entry_id, call, author, arguments, .. } => {
                let entry = self.open(*entry_id, author, at, || {
                    Body::FunctionCall(FunctionCall {
                        tool_call_id: call.tool_call_id.clone(),
                        name: call.name.clone(),
                        arguments: String::new(),
                        confirmation: None,
                    })
                });
                if let Body::FunctionCall(call) = &mut entry.body {
                    call.arguments.push_str(arguments);
                }
            }
            EventKind::ResponseStarted { .. }
            | EventKind::UpstreamRetry { .. }
            | EventKind::UpstreamSwitched { .. }
            | EventKind::EntryDone { .. }
            | EventKind::ResponseDone { .. }
            | EventKind::ResponseError { .. } => {}
        }
    }

    /// Whether any output has begun.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a function call is among them.
    pub fn has_calls(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.body, Body::FunctionCall(_)))
    }

    /// The outputs as far as they came, as the history of a model that goes on with them.
    pub fn so_far(&self) -> impl Iterator<Item = Arc<Entry>> {
        self.entries.iter().map(|entry| Arc::new(closed(entry.clone(), OutputStatus::Incomplete, None)))
    }

    /// The outputs of a turn that the model finished.
    pub fn complete(self, at: Time) -> Vec<Arc<Entry>> {
        self.entries.into_iter().map(|entry| Arc::new(closed(entry, OutputStatus::Completed, Some(at)))).collect()
    }

    /// What is kept of a turn that was cut off: messages as far as they came, no calls, whose arguments may be torn.
    pub fn cut(self) -> Vec<Arc<Entry>> {
        let kept = self.entries.into_iter().filter(|entry| matches!(entry.body, Body::MessageOutput(_)));
        kept.map(|entry| Arc::new(closed(entry, OutputStatus::Incomplete, None))).collect()
    }

    fn open(
        &mut self,
        id: EntryId,
        author: &super::event::Author,
        at: Time,
        body: impl FnOnce() -> Body,
    ) -> &mut Entry {
        // Outputs are few (a message and some calls), and the newest is the one that grows.
        let found = self.entries.iter().rposition(|entry| entry.id == id);
        let index = found.unwrap_or_else(|| {
            self.entries.push(Entry {
                id,
                created_at: at,
                completed_at: None,
                model: Some(author.model.clone()),
                agent_id: author.agent_id.clone(),
                body: body(),
            });
            self.entries.len() - 1
        });
        &mut self.entries[index]
    }
}

/// Notes where another model goes on with a message.
fn note_author(message: &mut MessageOutput, first: Option<&str>, model: &str, content_index: u32) {
    let last = message.segments.last().map(|segment| segment.model.as_str()).or(first);
    if last.is_some_and(|last| last == model) {
        return;
    }
    if let (true, Some(first)) = (message.segments.is_empty(), first) {
        message.segments.push(Segment { first_content_index: 0, model: first.to_owned() });
    }
    message.segments.push(Segment { first_content_index: content_index, model: model.to_owned() });
}

fn closed(mut entry: Entry, status: OutputStatus, at: Option<Time>) -> Entry {
    if let Body::MessageOutput(message) = &mut entry.body {
        message.status = status;
    }
    entry.completed_at = at;
    entry
}
