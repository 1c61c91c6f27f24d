//! From a provider's pieces to a turn's events: which entry and which chunk each piece belongs to.

use std::sync::Arc;

use super::ids;
use crate::{
    domain::{
        Chunk, EntryId, EventKind, Failure, FinishReason, Reason,
        event::{Author, CallHead},
        ids::EntryKind,
    },
    upstream::Piece,
};

/// Turns pieces into events, and keeps what is no event.
pub(super) struct Assembler {
    author: Arc<Author>,
    outputs: u32,
    message: Option<Message>,
    calls: Vec<Call>,
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

struct Call {
    index: u32,
    entry_id: EntryId,
    output_index: u32,
    head: Arc<CallHead>,
}

impl Assembler {
    /// For the first model that is asked.
    pub(super) fn new(author: Author) -> Assembler {
        Assembler { author: Arc::new(author), outputs: 0, message: None, calls: Vec::new(), finish: None }
    }

    /// What comes from here on is this author's. Another one goes on in a chunk of its own.
    pub(super) fn written_by(&mut self, author: Author) {
        self.finish = None;
        if *self.author != author {
            self.author = Arc::new(author);
            if let Some(message) = &mut self.message {
                message.current = None;
            }
        }
    }

    /// The event that a piece is, if it is one.
    pub(super) fn take(&mut self, piece: Piece) -> Result<Option<EventKind>, Failure> {
        match piece {
            Piece::Text(text) if text.is_empty() => Ok(None),
            Piece::Text(text) => Ok(Some(self.content(Chunk::Text(text), Some(Flow::Text)))),
            Piece::Thinking(thinking) => Ok(Some(self.content(Chunk::Thinking(thinking), Some(Flow::Thinking)))),
            Piece::Chunk(chunk) => Ok(Some(self.content(chunk, None))),
            Piece::Call { index, name, arguments } => self.call(index, name, arguments).map(Some),
            Piece::Finish(reason) => {
                self.finish = Some(reason);
                Ok(None)
            }
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

    fn call(&mut self, index: u32, name: Option<String>, arguments: String) -> Result<EventKind, Failure> {
        let known = self.calls.iter().position(|call| call.index == index);
        let at = match (known, name) {
            (Some(at), _) => at,
            (None, Some(name)) => {
                let entry_id = EntryId { kind: EntryKind::FunctionCall, uuid: ids::entry_uuid() };
                // Ours inside; each provider's own form is made at its edge.
                let head = Arc::new(CallHead {
                    tool_call_id: entry_id.to_string(),
                    name,
                    confirmation: None,
                    confirmation_expires_at: None,
                });
                self.calls.push(Call { index, entry_id, output_index: next(&mut self.outputs), head });
                self.calls.len() - 1
            }
            (None, None) => {
                let text = "the provider sent a function call without a name";
                return Err(Failure::new(Reason::UpstreamProtocolError, text));
            }
        };
        let call = &self.calls[at];
        Ok(EventKind::FunctionCallDelta {
            entry_id: call.entry_id,
            output_index: call.output_index,
            call: call.head.clone(),
            author: self.author.clone(),
            arguments,
        })
    }
}

fn next(counter: &mut u32) -> u32 {
    let index = *counter;
    *counter += 1;
    index
}
