//! Writing a log: what was said before is referred to.

use std::sync::Arc;

use super::{
    super::{
        entry::{DecisionRecord, confirmation_number},
        entry_id_bytes, id_bytes,
        pieces::{Cursors, text_of, whole_arguments, whole_text},
    },
    AuthorRecord, CallDeltaRecord, CallRecord, ConflictRecord, DoneRecord, EventRecord, HandoffRecord, KindRecord,
    LogRecord, OutputRecord, QueuedRecord, RequeuedRecord, ResponseRecord, ResumedRecord, RetryRecord, StartedRecord,
    SwitchRecord, ThoughtRecord, ToolDeltaRecord, ToolDoneRecord, ToolStartedRecord,
};
use crate::domain::{
    Body, Chunk, ConversationId, Entry, EntryId, Event, EventKind, Turn,
    entry::{Thinking, ToolExecution},
    event::{Author, CallHead, ToolHead},
};

/// A turn with its log, for writing.
pub(in crate::store::record) struct Written<'a> {
    pub(in crate::store::record) turn: &'a Turn,
    pub(in crate::store::record) inputs: &'a [Arc<Entry>],
    pub(in crate::store::record) events: &'a [Event],
    pub(in crate::store::record) fingerprint: Option<[u8; 16]>,
}

impl From<&Written<'_>> for LogRecord {
    fn from(written: &Written<'_>) -> LogRecord {
        let mut writer =
            Writer { written, cursors: Cursors::default(), ids: Vec::new(), authors: vec![], calls: vec![] };
        let mut before = (0, written.turn.created_at.unix_us);
        let mut events = Vec::with_capacity(written.events.len());
        for event in written.events {
            events.push(EventRecord {
                skipped: event.first_sequence.wrapping_sub(before.0).wrapping_sub(1).cast_signed(),
                merged: event.sequence.wrapping_sub(event.first_sequence).cast_signed(),
                after_us: event.created_at.unix_us.wrapping_sub(before.1),
                kind: Some(writer.kind(&event.kind)),
            });
            before = (event.sequence, event.created_at.unix_us);
        }
        LogRecord {
            turn: Some(written.turn.into()),
            fingerprint: written.fingerprint.map(|bytes| bytes.to_vec()),
            events,
            other_ids: writer.ids.iter().flat_map(|id| entry_id_bytes(*id)).collect(),
            authors: writer
                .authors
                .iter()
                .map(|author| AuthorRecord { model: author.model.clone(), agent_id: author.agent_id.clone() })
                .collect(),
            calls: writer.calls.iter().map(|call| call_record(call)).collect(),
        }
    }
}

/// Refers to what was said before.
struct Writer<'a> {
    written: &'a Written<'a>,
    cursors: Cursors,
    ids: Vec<EntryId>,
    authors: Vec<&'a Arc<Author>>,
    calls: Vec<&'a Arc<CallHead>>,
}

fn index_of<'a, T: PartialEq>(seen: &mut Vec<&'a Arc<T>>, value: &'a Arc<T>) -> u32 {
    let found = seen.iter().rposition(|other| Arc::ptr_eq(other, value) || *other == value);
    found.unwrap_or_else(|| {
        seen.push(value);
        seen.len() - 1
    }) as u32
}

impl<'a> Writer<'a> {
    fn entry(&mut self, id: EntryId) -> u32 {
        let outputs = &self.written.turn.outputs;
        // Ids are equal by their UUID alone, and the kind is to come back too.
        let same = |other: EntryId| other == id && other.kind == id.kind;
        if let Some(index) = outputs.iter().position(|entry| same(entry.id)) {
            return index as u32;
        }
        let index = self.ids.iter().position(|other| same(*other)).unwrap_or_else(|| {
            self.ids.push(id);
            self.ids.len() - 1
        });
        (outputs.len() + index) as u32
    }

    fn output(&self, index: u32) -> Option<&'a Entry> {
        self.written.turn.outputs.get(index as usize).map(|entry| &**entry)
    }

    fn kind(&mut self, kind: &'a EventKind) -> KindRecord {
        match kind {
            EventKind::ResponseStarted { conversation_id, parent_id, inputs } => {
                KindRecord::Started(self.started(*conversation_id, *parent_id, inputs))
            }
            EventKind::MessageOutputDelta { entry_id, output_index, content_index, author, chunk } => {
                KindRecord::Output(self.output_delta(*entry_id, (*output_index, *content_index), author, chunk))
            }
            EventKind::FunctionCallDelta { entry_id, output_index, call, author, arguments } => {
                let entry = self.entry(*entry_id);
                let whole = whole_arguments(self.output(entry));
                let piece = whole.and_then(|whole| self.cursors.cut(entry, 0, whole, arguments));
                KindRecord::Call(CallDeltaRecord {
                    entry,
                    output_index: *output_index,
                    call: index_of(&mut self.calls, call),
                    author: index_of(&mut self.authors, author),
                    piece,
                    arguments: if piece.is_some() { String::new() } else { arguments.clone() },
                })
            }
            EventKind::EntryDone { entry } => {
                let outputs = &self.written.turn.outputs;
                let output = outputs.iter().position(|output| same_entry(output, entry)).map(|index| index as u32);
                let entry = if output.is_some() { None } else { Some((&**entry).into()) };
                KindRecord::EntryDone(DoneRecord { output, entry })
            }
            EventKind::ResponseDone { turn } => {
                let other = !same_turn(turn, self.written.turn);
                KindRecord::ResponseDone(ResponseRecord { turn: other.then(|| Box::new((&**turn).into())) })
            }
            EventKind::UpstreamRetry { model, attempt, delay_ms, failure } => {
                KindRecord::Retry(Box::new(RetryRecord {
                    model: model.clone(),
                    attempt: *attempt,
                    delay_ms: *delay_ms,
                    failure: Some((&**failure).into()),
                }))
            }
            EventKind::UpstreamSwitched { from_model, to_model, attempts, failure } => {
                KindRecord::Switched(Box::new(SwitchRecord {
                    from_model: from_model.clone(),
                    to_model: to_model.clone(),
                    attempts: *attempts,
                    failure: Some((&**failure).into()),
                }))
            }
            EventKind::ToolExecutionStarted { entry_id, output_index, run, author } => {
                KindRecord::ToolStarted(Box::new(self.tool_started(*entry_id, *output_index, run, author)))
            }
            EventKind::ToolExecutionDelta { entry_id, output_index, name, message, arguments } => {
                KindRecord::ToolDelta(Box::new(ToolDeltaRecord {
                    entry: self.entry(*entry_id),
                    output_index: *output_index,
                    name: name.to_string(),
                    message: message.clone(),
                    arguments: arguments.clone(),
                }))
            }
            EventKind::ToolExecutionDone { entry_id, output_index, name, result, info, error } => {
                let entry = self.entry(*entry_id);
                let usual = self.run(entry).is_some_and(|run| {
                    run.name == **name && run.result == *result && run.info == *info && run.error == *error
                });
                let reference =
                    ToolDoneRecord { entry, output_index: *output_index, usual, ..ToolDoneRecord::default() };
                KindRecord::ToolDone(Box::new(match usual {
                    true => reference,
                    false => ToolDoneRecord {
                        name: name.to_string(),
                        result: result.iter().map(Into::into).collect(),
                        info: info.clone(),
                        error: error.clone(),
                        ..reference
                    },
                }))
            }
            EventKind::AgentHandoffStarted {
                entry_id,
                output_index,
                previous_agent_id: id,
                previous_agent_name: name,
                author,
            } => KindRecord::HandoffStarted(self.handoff(*entry_id, *output_index, Some(author), id, name)),
            EventKind::AgentHandoffDone { entry_id, output_index, next_agent_id: id, next_agent_name: name } => {
                KindRecord::HandoffDone(self.handoff(*entry_id, *output_index, None, id, name))
            }
            EventKind::HumanHandoff { entry_id, output_index, message, author } => {
                KindRecord::HumanHandoff(self.handoff(*entry_id, *output_index, Some(author), message, ""))
            }
            EventKind::ResponseError { failure } => KindRecord::ResponseError(Box::new((&**failure).into())),
            EventKind::TurnQueued { conversation_id, not_before, after } => KindRecord::Queued(QueuedRecord {
                conversation_id: (*conversation_id != self.written.turn.id.conversation())
                    .then(|| id_bytes(conversation_id.0)),
                not_before_us: not_before.map(|time| time.unix_us),
                after: after.map(|turn| id_bytes(turn.0)),
            }),
            EventKind::TurnResumed { attempt, kept_outputs } => {
                KindRecord::Resumed(ResumedRecord { attempt: *attempt, kept_outputs: *kept_outputs })
            }
            EventKind::TurnRequeued { attempt, not_before, failure } => {
                KindRecord::Requeued(Box::new(RequeuedRecord {
                    attempt: *attempt,
                    not_before_us: not_before.unix_us,
                    failure: Some((&**failure).into()),
                }))
            }
            EventKind::TurnConflict { other, policy, newcomer } => KindRecord::Conflict(ConflictRecord {
                other: id_bytes(other.0),
                policy: *policy as u32,
                newcomer: *newcomer,
            }),
        }
    }

    fn output_delta(
        &mut self,
        id: EntryId,
        (output_index, content_index): (u32, u32),
        author: &'a Arc<Author>,
        chunk: &'a Chunk,
    ) -> OutputRecord {
        let entry = self.entry(id);
        let author = index_of(&mut self.authors, author);
        let piece = self.piece(entry, content_index, chunk);
        let (thought, chunk) = match (piece, chunk) {
            (None, chunk) => (None, Some(chunk.into())),
            (Some(_), Chunk::Thinking(thinking)) => (Some(thought(thinking)), None),
            (Some(_), _) => (None, None),
        };
        OutputRecord { entry, output_index, content_index, author, piece, thought, chunk }
    }

    fn handoff(
        &mut self,
        id: EntryId,
        output_index: u32,
        author: Option<&'a Arc<Author>>,
        text: &str,
        name: &str,
    ) -> Box<HandoffRecord> {
        Box::new(HandoffRecord {
            entry: self.entry(id),
            output_index,
            author: author.map_or(0, |author| index_of(&mut self.authors, author)),
            text: text.to_owned(),
            name: name.to_owned(),
        })
    }

    /// An output that is a run of a tool.
    fn run(&self, index: u32) -> Option<&'a ToolExecution> {
        match &self.output(index)?.body {
            Body::ToolExecution(run) => Some(run),
            _ => None,
        }
    }

    fn tool_started(
        &mut self,
        id: EntryId,
        output_index: u32,
        head: &ToolHead,
        author: &'a Arc<Author>,
    ) -> ToolStartedRecord {
        let ToolHead { name, arguments, tool_call_id, parallel, decision } = head;
        let entry = self.entry(id);
        let author = index_of(&mut self.authors, author);
        let usual = self.run(entry).is_some_and(|run| {
            run.name == *name
                && run.arguments == *arguments
                && run.tool_call_id == *tool_call_id
                && run.parallel == *parallel
                && run.decision == *decision
        });
        if usual {
            return ToolStartedRecord { entry, output_index, author, usual, ..ToolStartedRecord::default() };
        }
        ToolStartedRecord {
            entry,
            output_index,
            author,
            usual,
            name: name.clone(),
            arguments: arguments.clone(),
            tool_call_id: tool_call_id.clone(),
            parallel: *parallel,
            decision: decision.as_ref().map(DecisionRecord::from),
        }
    }

    fn started(
        &self,
        conversation_id: Option<ConversationId>,
        parent_id: Option<ConversationId>,
        inputs: &[Arc<Entry>],
    ) -> StartedRecord {
        let Written { turn, inputs: row, .. } = self.written;
        let usual = conversation_id == Some(turn.id.conversation())
            && parent_id == turn.parent_id
            && inputs.len() == row.len()
            && inputs.iter().zip(*row).all(|(one, other)| same_entry(one, other));
        if usual {
            return StartedRecord { usual, ..StartedRecord::default() };
        }
        StartedRecord {
            usual,
            conversation_id: conversation_id.map(|id| id_bytes(id.0)),
            parent_id: parent_id.map(|id| id_bytes(id.0)),
            inputs: inputs.iter().map(|entry| (&**entry).into()).collect(),
        }
    }

    fn piece(&mut self, entry: u32, content_index: u32, chunk: &Chunk) -> Option<u32> {
        let whole = whole_text(self.output(entry), content_index)?;
        self.cursors.cut(entry, content_index, whole, text_of(chunk)?)
    }
}

fn call_record(call: &CallHead) -> CallRecord {
    let CallHead { tool_call_id, name, confirmation, confirmation_expires_at } = call;
    CallRecord {
        tool_call_id: tool_call_id.clone(),
        name: name.clone(),
        confirmation: confirmation_number(*confirmation),
        confirmation_expires_at_us: confirmation_expires_at.map(|time| time.unix_us),
    }
}

fn thought(thinking: &Thinking) -> ThoughtRecord {
    let Thinking { content: _, signature, closed, provider } = thinking;
    ThoughtRecord { closed: *closed, provider: provider.clone(), signature: signature.clone() }
}

/// Equal in all that comes back, the kind of the id too.
fn same_entry(one: &Arc<Entry>, other: &Arc<Entry>) -> bool {
    Arc::ptr_eq(one, other) || (one.id.kind == other.id.kind && one == other)
}

fn same_turn(one: &Turn, other: &Turn) -> bool {
    one == other && one.outputs.iter().zip(&other.outputs).all(|(one, other)| one.id.kind == other.id.kind)
}
