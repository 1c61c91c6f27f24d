//! `fold(events) -> entries`: what a turn's outputs are follows from its events alone.

use std::sync::Arc;

use super::{
    entry::{
        AgentHandoff, Body, Entry, FunctionCall, HumanHandoff, MessageOutput, OutputStatus, Segment, ToolExecution,
    },
    event::{EventKind, ToolHead, merge_chunk},
    ids::{EntryId, Time},
};

/// The outputs of a turn, as far as its events have told.
#[derive(Debug, Default)]
pub struct Outputs {
    slots: Vec<Slot>,
}

/// An output.
#[derive(Debug)]
enum Slot {
    /// It grows.
    Open(Box<Entry>),
    /// It will not change any more.
    Closed(Arc<Entry>),
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
                        confirmation: call.confirmation,
                        confirmation_expires_at: call.confirmation_expires_at,
                    })
                });
                if let Body::FunctionCall(call) = &mut entry.body {
                    call.arguments.push_str(arguments);
                }
            }
            EventKind::ToolExecutionStarted { entry_id, run, author, .. } => {
                self.open(*entry_id, author, at, || Body::ToolExecution(begun(run)));
            }
            EventKind::ToolExecutionDelta { entry_id, arguments, .. } => {
                if let Some(Body::ToolExecution(run)) = self.body(*entry_id) {
                    run.arguments.push_str(arguments);
                }
            }
            EventKind::ToolExecutionDone { entry_id, result, info, error, .. } => {
                if let Some(Body::ToolExecution(run)) = self.body(*entry_id) {
                    (run.result, run.info, run.error) = (result.clone(), info.clone(), error.clone());
                    run.status = OutputStatus::Completed;
                }
                self.close(*entry_id, at);
            }
            EventKind::AgentHandoffStarted { entry_id, previous_agent_id, previous_agent_name, author, .. } => {
                self.open(*entry_id, author, at, || {
                    Body::AgentHandoff(AgentHandoff {
                        previous_agent_id: previous_agent_id.clone(),
                        previous_agent_name: previous_agent_name.clone(),
                        next_agent_id: String::new(),
                        next_agent_name: String::new(),
                    })
                });
            }
            EventKind::AgentHandoffDone { entry_id, next_agent_id, next_agent_name, .. } => {
                if let Some(Body::AgentHandoff(handoff)) = self.body(*entry_id) {
                    handoff.next_agent_id = next_agent_id.clone();
                    handoff.next_agent_name = next_agent_name.clone();
                }
                self.close(*entry_id, at);
            }
            EventKind::HumanHandoff { entry_id, message, author, .. } => {
                self.open(*entry_id, author, at, || Body::HumanHandoff(HumanHandoff { message: message.clone() }));
                self.close(*entry_id, at);
            }
            EventKind::TurnResumed { kept_outputs, .. } => self.slots.truncate(*kept_outputs as usize),
            EventKind::ResponseStarted { .. }
            | EventKind::TurnQueued { .. }
            | EventKind::TurnRequeued { .. }
            | EventKind::TurnConflict { .. }
            | EventKind::UpstreamRetry { .. }
            | EventKind::UpstreamSwitched { .. }
            | EventKind::EntryDone { .. }
            | EventKind::ResponseDone { .. }
            | EventKind::ResponseError { .. } => {}
        }
    }

    /// Takes in an entry that came whole.
    pub fn push(&mut self, entry: Arc<Entry>) {
        self.slots.push(Slot::Closed(entry));
    }

    /// Takes in an output of a turn that is taken up again: a run of a tool that has not ended is still open.
    pub fn resume(&mut self, entry: &Arc<Entry>) {
        let is_open = entry.completed_at.is_none() && matches!(entry.body, Body::ToolExecution(_));
        self.slots.push(if is_open { Slot::Open(Box::new((**entry).clone())) } else { Slot::Closed(entry.clone()) });
    }

    /// The runs of tools that have not ended.
    pub fn open_runs(&self) -> Vec<(EntryId, String)> {
        let open = self.slots.iter().filter_map(|slot| match slot {
            Slot::Open(entry) => Some(entry),
            Slot::Closed(_) => None,
        });
        open.filter_map(|entry| match &entry.body {
            Body::ToolExecution(run) => Some((entry.id, run.name.clone())),
            _ => None,
        })
        .collect()
    }

    /// How many outputs have begun.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// About as many bytes as they take in a message.
    pub fn size_bytes(&self) -> usize {
        self.slots.iter().map(|slot| slot.entry().size_bytes()).sum()
    }

    /// Whether any output has begun.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether a function call has begun that has not ended, which no other model can go on with.
    pub fn has_open_calls(&self) -> bool {
        let is_call = |entry: &Entry| matches!(entry.body, Body::FunctionCall(_));
        self.slots.iter().any(|slot| matches!(slot, Slot::Open(entry) if is_call(entry)))
    }

    /// Whether something has begun that has not ended.
    pub fn has_open(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot, Slot::Open(_)))
    }

    /// The outputs as far as they came, as the history of a model that goes on with them.
    pub fn so_far(&self) -> impl Iterator<Item = Arc<Entry>> {
        self.slots.iter().map(|slot| match slot {
            Slot::Open(entry) => Arc::new(closed(Entry::clone(entry), OutputStatus::Incomplete, None)),
            Slot::Closed(entry) => entry.clone(),
        })
    }

    /// An output that has ended.
    pub fn get(&self, id: EntryId) -> Option<&Arc<Entry>> {
        self.slots.iter().rev().find_map(|slot| match slot {
            Slot::Closed(entry) if entry.id == id => Some(entry),
            Slot::Open(_) | Slot::Closed(_) => None,
        })
    }

    /// The output that ended with this event.
    pub fn ended_by(&self, kind: &EventKind) -> Option<&Arc<Entry>> {
        match kind {
            EventKind::ToolExecutionDone { entry_id, .. }
            | EventKind::AgentHandoffDone { entry_id, .. }
            | EventKind::HumanHandoff { entry_id, .. } => self.get(*entry_id),
            EventKind::ResponseStarted { .. }
            | EventKind::MessageOutputDelta { .. }
            | EventKind::FunctionCallDelta { .. }
            | EventKind::ToolExecutionStarted { .. }
            | EventKind::ToolExecutionDelta { .. }
            | EventKind::AgentHandoffStarted { .. }
            | EventKind::TurnQueued { .. }
            | EventKind::TurnResumed { .. }
            | EventKind::TurnRequeued { .. }
            | EventKind::TurnConflict { .. }
            | EventKind::UpstreamRetry { .. }
            | EventKind::UpstreamSwitched { .. }
            | EventKind::EntryDone { .. }
            | EventKind::ResponseDone { .. }
            | EventKind::ResponseError { .. } => None,
        }
    }

    /// The model has finished what it began. Gives what ended by that.
    pub fn finish(&mut self, at: Time) -> Vec<Arc<Entry>> {
        let open = self.slots.iter_mut().filter(|slot| matches!(slot, Slot::Open(_)));
        open.map(|slot| match slot.entry().body {
            // Only its own end makes a run whole.
            Body::ToolExecution(_) => slot.close(OutputStatus::Incomplete, None),
            _ => slot.close(OutputStatus::Completed, Some(at)),
        })
        .collect()
    }

    /// The turn was cut off. Messages are kept as far as they came, and runs of tools, which may have done something; calls are
    /// not, as their arguments may be torn. Gives what ended by that.
    pub fn cut(&mut self) -> Vec<Arc<Entry>> {
        self.slots.retain(|slot| match (slot, &slot.entry().body) {
            (Slot::Closed(_), _) | (Slot::Open(_), Body::MessageOutput(_) | Body::ToolExecution(_)) => true,
            (Slot::Open(_), _) => false,
        });
        let open = self.slots.iter_mut().filter(|slot| matches!(slot, Slot::Open(_)));
        open.map(|slot| slot.close(OutputStatus::Incomplete, None)).collect()
    }

    fn open(
        &mut self,
        id: EntryId,
        author: &super::event::Author,
        at: Time,
        body: impl FnOnce() -> Body,
    ) -> &mut Entry {
        // Outputs are few, and the newest is the one that grows.
        let found = self.slots.iter().rposition(|slot| matches!(slot, Slot::Open(entry) if entry.id == id));
        let index = found.unwrap_or_else(|| {
            self.slots.push(Slot::Open(Box::new(Entry {
                id,
                created_at: at,
                completed_at: None,
                model: Some(author.model.clone()).filter(|model| !model.is_empty()),
                agent_id: author.agent_id.clone(),
                body: body(),
            })));
            self.slots.len() - 1
        });
        match &mut self.slots[index] {
            Slot::Open(entry) => entry,
            Slot::Closed(_) => unreachable!("only open slots were looked at"),
        }
    }

    fn body(&mut self, id: EntryId) -> Option<&mut Body> {
        self.slots.iter_mut().rev().find_map(|slot| match slot {
            Slot::Open(entry) if entry.id == id => Some(&mut entry.body),
            Slot::Open(_) | Slot::Closed(_) => None,
        })
    }

    fn close(&mut self, id: EntryId, at: Time) {
        let found = self.slots.iter_mut().rfind(|slot| matches!(slot, Slot::Open(entry) if entry.id == id));
        if let Some(slot) = found {
            slot.close(OutputStatus::Completed, Some(at));
        }
    }
}

impl Slot {
    fn entry(&self) -> &Entry {
        match self {
            Slot::Open(entry) => entry,
            Slot::Closed(entry) => entry,
        }
    }

    fn close(&mut self, status: OutputStatus, at: Option<Time>) -> Arc<Entry> {
        let entry = Arc::new(closed(self.entry().clone(), status, at));
        *self = Slot::Closed(entry.clone());
        entry
    }
}

fn begun(run: &ToolHead) -> ToolExecution {
    let ToolHead { name, arguments, tool_call_id, parallel, decision } = run.clone();
    let status = OutputStatus::Incomplete;
    ToolExecution { name, arguments, tool_call_id, parallel, decision, status, ..ToolExecution::default() }
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
    match &mut entry.body {
        Body::MessageOutput(message) => message.status = status,
        Body::ToolExecution(run) => run.status = status,
        Body::MessageInput(_)
        | Body::FunctionCall(_)
        | Body::FunctionResult(_)
        | Body::AgentHandoff(_)
        | Body::HumanHandoff(_) => {}
    }
    entry.completed_at = at;
    entry
}

#[cfg(test)]
mod tests;
