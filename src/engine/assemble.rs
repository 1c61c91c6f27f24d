//! From a provider's pieces to a turn's events: which entry and which chunk each piece belongs to.
//!
//! Calls that the service runs are held back until the model has finished: they become runs of tools and not calls. All others
//! are shown as they come.

use std::sync::Arc;

use super::{
    ids,
    toolset::{Consent, Runner, Toolset},
};
use crate::{
    domain::{
        Chunk, EntryId, EventKind, Failure, FinishReason, Reason, Time,
        entry::Confirmation,
        event::{Author, CallHead, ToolHead},
        ids::EntryKind,
    },
    upstream::Piece,
};

/// Turns pieces into events, and keeps what is no event.
pub(super) struct Assembler {
    author: Arc<Author>,
    tools: Arc<Toolset>,
    outputs: u32,
    message: Option<Message>,
    calls: Vec<Call>,
    /// What the provider itself does within this answer.
    owns: Vec<Own>,
    /// Why the model stopped, once it said so.
    pub(super) finish: Option<FinishReason>,
}

struct Message {
    entry_id: EntryId,
    output_index: u32,
    /// Chunks begun so far.
    chunks: u32,
    /// What the newest chunk goes on with.
    current: Option<Flow>,
}

/// The kinds of chunks that come in pieces.
#[derive(Clone, Copy, PartialEq)]
enum Flow {
    Text,
    Thinking,
}

/// A tool that the provider runs, or a handoff between its agents.
#[derive(Clone)]
struct Own {
    index: u32,
    entry_id: EntryId,
    output_index: u32,
    /// Of a tool.
    name: Arc<str>,
}

struct Call {
    index: u32,
    kind: CallKind,
}

enum CallKind {
    Shown { entry_id: EntryId, output_index: u32, head: Arc<CallHead> },
    Held(Held),
}

/// A call that the service deals with.
pub(super) struct Held {
    pub(super) name: String,
    pub(super) arguments: String,
    pub(super) runner: Runner,
}

impl Assembler {
    /// For the first model that is asked.
    pub(super) fn new(author: Author, tools: Arc<Toolset>) -> Assembler {
        let (author, calls, owns) = (Arc::new(author), Vec::new(), Vec::new());
        Assembler { author, tools, outputs: 0, message: None, calls, owns, finish: None }
    }

    /// So many outputs were there before.
    pub(super) fn goes_on_after(&mut self, outputs: usize) {
        self.outputs = u32::try_from(outputs).unwrap_or(u32::MAX);
    }

    /// Who writes at the moment.
    pub(super) fn author(&self) -> &Arc<Author> {
        &self.author
    }

    /// From here on the model may use these.
    pub(super) fn offers(&mut self, tools: Arc<Toolset>) {
        self.tools = tools;
    }

    /// What comes from here on is this author's. Another one goes on in a chunk of its own, and what was held back of an answer
    /// that broke off is asked for anew.
    pub(super) fn written_by(&mut self, author: Author) {
        self.finish = None;
        self.calls.retain(|call| matches!(call.kind, CallKind::Shown { .. }));
        self.owns.clear();
        if *self.author != author {
            self.author = Arc::new(author);
            if let Some(message) = &mut self.message {
                message.current = None;
            }
        }
    }

    /// The model has finished an answer: what it asked of the service, in its order. What comes next is a new answer.
    pub(super) fn end_round(&mut self) -> Vec<Held> {
        self.message = None;
        self.owns.clear();
        let calls = std::mem::take(&mut self.calls).into_iter();
        let held = calls.filter_map(|call| match call.kind {
            CallKind::Held(held) => Some(held),
            CallKind::Shown { .. } => None,
        });
        held.collect()
    }

    /// The place of an output that is none of the model's.
    pub(super) fn next_output(&mut self) -> u32 {
        next(&mut self.outputs)
    }

    /// The event that a piece is, if it is one.
    pub(super) fn take(&mut self, piece: Piece, now: Time) -> Result<Option<EventKind>, Failure> {
        match piece {
            Piece::Text(text) if text.is_empty() => Ok(None),
            Piece::Text(text) => Ok(Some(self.content(Chunk::Text(text), Some(Flow::Text)))),
            Piece::Thinking(thinking) => Ok(Some(self.content(Chunk::Thinking(thinking), Some(Flow::Thinking)))),
            Piece::Chunk(chunk) => Ok(Some(self.content(chunk, None))),
            Piece::Call { index, name, arguments } => self.call(index, name, arguments, now),
            Piece::Finish(reason) => {
                self.finish = Some(reason);
                Ok(None)
            }
            Piece::Message => {
                self.message = None;
                Ok(None)
            }
            Piece::ToolStarted { index, name, arguments } => Ok(Some(self.tool_started(index, name, arguments))),
            Piece::ToolArguments { index, arguments } => Ok(self.tool_arguments(index, arguments)),
            Piece::ToolDone { index, info } => Ok(self.tool_done(index, info)),
            Piece::HandoffStarted { index, previous_id, previous_name } => {
                Ok(Some(self.handoff_started(index, previous_id, previous_name)))
            }
            Piece::HandoffDone { index, next_id, next_name } => Ok(self.handoff_done(index, next_id, next_name)),
            Piece::Usage(_) => Ok(None),
        }
    }

    fn content(&mut self, chunk: Chunk, flow: Option<Flow>) -> EventKind {
        let outputs = &mut self.outputs;
        let message = self.message.get_or_insert_with(|| Message {
            entry_id: EntryId { kind: EntryKind::MessageOutput, uuid: ids::entry_uuid() },
            output_index: next(outputs),
            chunks: 0,
            current: None,
        });
        let goes_on = flow.is_some() && message.current == flow;
        if !goes_on {
            message.chunks += 1;
            message.current = flow;
        }
        EventKind::MessageOutputDelta {
            entry_id: message.entry_id,
            output_index: message.output_index,
            content_index: message.chunks - 1,
            author: self.author.clone(),
            chunk,
        }
    }

    fn call(
        &mut self,
        index: u32,
        name: Option<String>,
        arguments: String,
        now: Time,
    ) -> Result<Option<EventKind>, Failure> {
        let known = self.calls.iter().position(|call| call.index == index);
        let at = match (known, name) {
            (Some(at), _) => at,
            (None, Some(name)) => {
                let kind = self.begin(name, now);
                self.calls.push(Call { index, kind });
                self.calls.len() - 1
            }
            (None, None) => {
                let text = "the provider sent a function call without a name";
                return Err(Failure::new(Reason::UpstreamProtocolError, text));
            }
        };
        let author = self.author.clone();
        Ok(match &mut self.calls[at].kind {
            CallKind::Held(held) => {
                held.arguments.push_str(&arguments);
                None
            }
            CallKind::Shown { entry_id, output_index, head } => Some(EventKind::FunctionCallDelta {
                entry_id: *entry_id,
                output_index: *output_index,
                call: head.clone(),
                author,
                arguments,
            }),
        })
    }

    /// The provider runs a tool of its own. What it writes after that is a new message.
    fn tool_started(&mut self, index: u32, name: String, arguments: String) -> EventKind {
        self.message = None;
        let own = self.own(index, EntryKind::ToolExecution, &name);
        let run = ToolHead { name, arguments, tool_call_id: None, parallel: false, decision: None };
        EventKind::ToolExecutionStarted {
            entry_id: own.entry_id,
            output_index: own.output_index,
            run: Arc::new(run),
            author: self.author.clone(),
        }
    }

    fn tool_arguments(&self, index: u32, arguments: String) -> Option<EventKind> {
        let Own { entry_id, output_index, name, .. } = self.find(index, EntryKind::ToolExecution)?;
        Some(EventKind::ToolExecutionDelta { entry_id, output_index, name, message: String::new(), arguments })
    }

    fn tool_done(&self, index: u32, info: String) -> Option<EventKind> {
        let Own { entry_id, output_index, name, .. } = self.find(index, EntryKind::ToolExecution)?;
        Some(EventKind::ToolExecutionDone { entry_id, output_index, name, result: Vec::new(), info, error: None })
    }

    fn handoff_started(&mut self, index: u32, previous_agent_id: String, previous_agent_name: String) -> EventKind {
        self.message = None;
        let own = self.own(index, EntryKind::AgentHandoff, "");
        EventKind::AgentHandoffStarted {
            entry_id: own.entry_id,
            output_index: own.output_index,
            previous_agent_id,
            previous_agent_name,
            author: self.author.clone(),
        }
    }

    /// What comes after it is the next agent's.
    fn handoff_done(&mut self, index: u32, next_agent_id: String, next_agent_name: String) -> Option<EventKind> {
        let Own { entry_id, output_index, .. } = self.find(index, EntryKind::AgentHandoff)?;
        if !next_agent_id.is_empty() {
            self.author = Arc::new(Author { agent_id: Some(next_agent_id.clone()), ..(*self.author).clone() });
        }
        Some(EventKind::AgentHandoffDone { entry_id, output_index, next_agent_id, next_agent_name })
    }

    fn own(&mut self, index: u32, kind: EntryKind, name: &str) -> Own {
        let entry_id = EntryId { kind, uuid: ids::entry_uuid() };
        let own = Own { index, entry_id, output_index: next(&mut self.outputs), name: name.into() };
        self.owns.push(own.clone());
        own
    }

    fn find(&self, index: u32, kind: EntryKind) -> Option<Own> {
        self.owns.iter().find(|own| own.index == index && own.entry_id.kind == kind).cloned()
    }

    fn begin(&mut self, name: String, now: Time) -> CallKind {
        let runner = self.tools.runner(&name);
        let consent = runner.consent();
        if !matches!(runner, Runner::Caller) && consent.is_none() {
            return CallKind::Held(Held { name, arguments: String::new(), runner });
        }
        let entry_id = EntryId { kind: EntryKind::FunctionCall, uuid: ids::entry_uuid() };
        let head = Arc::new(CallHead {
            // Ours inside; each provider's own form is made at its edge.
            tool_call_id: entry_id.to_string(),
            name,
            confirmation: consent.map(|_| Confirmation::Pending),
            confirmation_expires_at: consent.and_then(|consent| expiry(consent, now)),
        });
        CallKind::Shown { entry_id, output_index: next(&mut self.outputs), head }
    }
}

fn expiry(consent: Consent, now: Time) -> Option<Time> {
    let Consent { ttl_s } = consent;
    (ttl_s > 0).then(|| Time { unix_us: now.unix_us.saturating_add(i64::from(ttl_s) * 1_000_000) })
}

fn next(counter: &mut u32) -> u32 {
    let index = *counter;
    *counter += 1;
    index
}
