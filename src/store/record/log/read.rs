//! Reading a log: what was referred to is looked up.

use std::sync::Arc;

use super::{
    super::{
        Damaged, ENTRY_ID_BYTES, at, entry, entry_id, id, optional_id,
        pieces::{Cursors, whole_arguments, whole_text},
        request::concurrency,
        required,
    },
    AuthorRecord, CallDeltaRecord, CallRecord, ConflictRecord, DoneRecord, HandoffRecord, KindRecord, LogRecord,
    OutputRecord, QueuedRecord, RequeuedRecord, ResponseRecord, ResumedRecord, RetryRecord, StartedRecord,
    SwitchRecord, ThoughtRecord, ToolDeltaRecord, ToolDoneRecord, ToolStartedRecord,
};
use crate::domain::{
    Body, Chunk, ConversationId, Entry, EntryId, Event, EventKind, Time, Turn, TurnId,
    entry::{Decision, Thinking, ToolExecution},
    event::{Author, CallHead, ToolHead},
};

/// A turn with its log, as it was read.
pub(in crate::store::record) struct Read {
    pub(in crate::store::record) turn: Turn,
    pub(in crate::store::record) events: Vec<Event>,
    pub(in crate::store::record) fingerprint: Option<[u8; 16]>,
}

impl LogRecord {
    /// The turn and its events, given the row's id and entries.
    pub(in crate::store::record) fn read(
        self,
        id: TurnId,
        inputs: &[Arc<Entry>],
        outputs: &[Arc<Entry>],
    ) -> Result<Read, Damaged> {
        let turn = Arc::new(required(self.turn)?.into_turn(id, outputs.to_vec())?);
        let mut reader = Reader {
            turn: &turn,
            inputs,
            cursors: Cursors::default(),
            ids: self.other_ids.chunks(ENTRY_ID_BYTES).map(entry_id).collect::<Result<_, _>>()?,
            authors: self.authors.into_iter().map(Arc::<Author>::from).collect(),
            calls: self.calls.into_iter().map(Arc::<CallHead>::try_from).collect::<Result<_, _>>()?,
        };
        let mut before = (0u64, turn.created_at.unix_us);
        let mut events = Vec::with_capacity(self.events.len());
        for record in self.events {
            let first_sequence = before.0.wrapping_add(1).wrapping_add(record.skipped.cast_unsigned());
            let event = Event {
                first_sequence,
                sequence: first_sequence.wrapping_add(record.merged.cast_unsigned()),
                created_at: Time { unix_us: before.1.wrapping_add(record.after_us) },
                kind: reader.kind(required(record.kind)?)?,
            };
            before = (event.sequence, event.created_at.unix_us);
            events.push(event);
        }
        let fingerprint = self.fingerprint.map(|bytes| bytes.try_into()).transpose();
        let fingerprint = fingerprint.map_err(|_| Damaged("a fingerprint has not 16 bytes"))?;
        drop(reader);
        Ok(Read { turn: Arc::unwrap_or_clone(turn), events, fingerprint })
    }
}

impl From<AuthorRecord> for Arc<Author> {
    fn from(AuthorRecord { model, agent_id }: AuthorRecord) -> Arc<Author> {
        Arc::new(Author { model, agent_id })
    }
}

impl TryFrom<CallRecord> for Arc<CallHead> {
    type Error = Damaged;

    fn try_from(record: CallRecord) -> Result<Arc<CallHead>, Damaged> {
        let CallRecord { tool_call_id, name, confirmation, confirmation_expires_at_us } = record;
        let confirmation = entry::confirmation(confirmation)?;
        let confirmation_expires_at = confirmation_expires_at_us.map(|unix_us| Time { unix_us });
        Ok(Arc::new(CallHead { tool_call_id, name, confirmation, confirmation_expires_at }))
    }
}

/// Looks up what was referred to.
struct Reader<'a> {
    turn: &'a Arc<Turn>,
    inputs: &'a [Arc<Entry>],
    cursors: Cursors,
    ids: Vec<EntryId>,
    authors: Vec<Arc<Author>>,
    calls: Vec<Arc<CallHead>>,
}

impl<'a> Reader<'a> {
    fn output(&self, index: u32) -> Option<&'a Entry> {
        self.turn.outputs.get(index as usize).map(|entry| &**entry)
    }

    fn entry_id(&self, index: u32) -> Result<EntryId, Damaged> {
        match self.output(index) {
            Some(output) => Ok(output.id),
            None => at(&self.ids, index - self.turn.outputs.len() as u32),
        }
    }

    fn kind(&mut self, record: KindRecord) -> Result<EventKind, Damaged> {
        Ok(match record {
            KindRecord::Started(record) => self.started(record)?,
            KindRecord::Output(record) => EventKind::MessageOutputDelta {
                entry_id: self.entry_id(record.entry)?,
                output_index: record.output_index,
                content_index: record.content_index,
                author: at(&self.authors, record.author)?,
                chunk: self.chunk(record)?,
            },
            KindRecord::Call(record) => EventKind::FunctionCallDelta {
                entry_id: self.entry_id(record.entry)?,
                output_index: record.output_index,
                call: at(&self.calls, record.call)?,
                author: at(&self.authors, record.author)?,
                arguments: self.arguments(record)?,
            },
            KindRecord::EntryDone(DoneRecord { output: Some(index), .. }) => {
                EventKind::EntryDone { entry: at(&self.turn.outputs, index)? }
            }
            KindRecord::EntryDone(DoneRecord { output: None, entry }) => {
                EventKind::EntryDone { entry: Arc::new(required(entry)?.try_into()?) }
            }
            KindRecord::ResponseDone(ResponseRecord { turn }) => EventKind::ResponseDone {
                turn: match turn {
                    None => Arc::clone(self.turn),
                    Some(turn) => Arc::new((*turn).try_into()?),
                },
            },
            KindRecord::Retry(record) => {
                let RetryRecord { model, attempt, delay_ms, failure } = *record;
                let failure = Arc::new(required(failure)?.try_into()?);
                EventKind::UpstreamRetry { model, attempt, delay_ms, failure }
            }
            KindRecord::Switched(record) => {
                let SwitchRecord { from_model, to_model, attempts, failure } = *record;
                let failure = Arc::new(required(failure)?.try_into()?);
                EventKind::UpstreamSwitched { from_model, to_model, attempts, failure }
            }
            KindRecord::ToolStarted(record) => self.tool_started(*record)?,
            KindRecord::ToolDelta(record) => {
                let ToolDeltaRecord { entry, output_index, name, message, arguments } = *record;
                let entry_id = self.entry_id(entry)?;
                EventKind::ToolExecutionDelta { entry_id, output_index, name: name.into(), message, arguments }
            }
            KindRecord::ToolDone(record) => self.tool_done(*record)?,
            KindRecord::HandoffStarted(record) => {
                let HandoffRecord { entry, output_index, author, text, name } = *record;
                EventKind::AgentHandoffStarted {
                    entry_id: self.entry_id(entry)?,
                    output_index,
                    previous_agent_id: text,
                    previous_agent_name: name,
                    author: at(&self.authors, author)?,
                }
            }
            KindRecord::HandoffDone(record) => {
                let HandoffRecord { entry, output_index, author: _, text, name } = *record;
                let entry_id = self.entry_id(entry)?;
                EventKind::AgentHandoffDone { entry_id, output_index, next_agent_id: text, next_agent_name: name }
            }
            KindRecord::HumanHandoff(record) => {
                let HandoffRecord { entry, output_index, author, text, name: _ } = *record;
                let author = at(&self.authors, author)?;
                EventKind::HumanHandoff { entry_id: self.entry_id(entry)?, output_index, message: text, author }
            }
            KindRecord::ResponseError(failure) => {
                EventKind::ResponseError { failure: Arc::new((*failure).try_into()?) }
            }
            KindRecord::Queued(QueuedRecord { conversation_id, not_before_us, after }) => EventKind::TurnQueued {
                conversation_id: optional_id(conversation_id)?.map_or(self.turn.id.conversation(), ConversationId),
                not_before: not_before_us.map(|unix_us| Time { unix_us }),
                after: optional_id(after)?.map(TurnId),
            },
            KindRecord::Resumed(ResumedRecord { attempt, kept_outputs }) => {
                EventKind::TurnResumed { attempt, kept_outputs }
            }
            KindRecord::Requeued(record) => {
                let RequeuedRecord { attempt, not_before_us, failure } = *record;
                let failure = Arc::new(required(failure)?.try_into()?);
                EventKind::TurnRequeued { attempt, not_before: Time { unix_us: not_before_us }, failure }
            }
            KindRecord::Conflict(ConflictRecord { other, policy, newcomer }) => {
                EventKind::TurnConflict { other: TurnId(id(&other)?), policy: concurrency(policy)?, newcomer }
            }
        })
    }

    /// An output that is a run of a tool.
    fn run(&self, index: u32) -> Result<&'a ToolExecution, Damaged> {
        match self.output(index).map(|entry| &entry.body) {
            Some(Body::ToolExecution(run)) => Ok(run),
            Some(_) | None => Err(Damaged("an output is no run of a tool")),
        }
    }

    fn tool_started(&self, record: ToolStartedRecord) -> Result<EventKind, Damaged> {
        let ToolStartedRecord { entry, output_index, author, usual, name, arguments, tool_call_id, parallel, decision } =
            record;
        let head = if usual {
            let ToolExecution { name, arguments, tool_call_id, parallel, decision, .. } = self.run(entry)?.clone();
            ToolHead { name, arguments, tool_call_id, parallel, decision }
        } else {
            let decision = decision.map(Decision::try_from).transpose()?;
            ToolHead { name, arguments, tool_call_id, parallel, decision }
        };
        let (entry_id, author) = (self.entry_id(entry)?, at(&self.authors, author)?);
        Ok(EventKind::ToolExecutionStarted { entry_id, output_index, run: Arc::new(head), author })
    }

    fn tool_done(&self, record: ToolDoneRecord) -> Result<EventKind, Damaged> {
        let ToolDoneRecord { entry, output_index, usual, name, result, info, error } = record;
        let entry_id = self.entry_id(entry)?;
        if usual {
            let ToolExecution { name, result, info, error, .. } = self.run(entry)?.clone();
            return Ok(EventKind::ToolExecutionDone { entry_id, output_index, name: name.into(), result, info, error });
        }
        let result = result.into_iter().map(Chunk::try_from).collect::<Result<_, _>>()?;
        Ok(EventKind::ToolExecutionDone { entry_id, output_index, name: name.into(), result, info, error })
    }

    fn started(&self, record: StartedRecord) -> Result<EventKind, Damaged> {
        if record.usual {
            return Ok(EventKind::ResponseStarted {
                conversation_id: Some(self.turn.id.conversation()),
                parent_id: self.turn.parent_id,
                inputs: self.inputs.into(),
            });
        }
        let inputs = record.inputs.into_iter().map(|entry| Ok(Arc::new(entry.try_into()?)));
        Ok(EventKind::ResponseStarted {
            conversation_id: optional_id(record.conversation_id)?.map(ConversationId),
            parent_id: optional_id(record.parent_id)?.map(ConversationId),
            inputs: inputs.collect::<Result<_, Damaged>>()?,
        })
    }

    fn chunk(&mut self, record: OutputRecord) -> Result<Chunk, Damaged> {
        let Some(len) = record.piece else { return required(record.chunk)?.try_into() };
        let whole = required(whole_text(self.output(record.entry), record.content_index))?;
        let text = Chunk::Text(self.cursors.take(record.entry, record.content_index, whole, len)?);
        Ok(match record.thought {
            None => text,
            Some(ThoughtRecord { closed, provider, signature }) => {
                Chunk::Thinking(Thinking { content: vec![text], signature, closed, provider })
            }
        })
    }

    fn arguments(&mut self, record: CallDeltaRecord) -> Result<String, Damaged> {
        let Some(len) = record.piece else { return Ok(record.arguments) };
        let whole = required(whole_arguments(self.output(record.entry)))?;
        self.cursors.take(record.entry, 0, whole, len)
    }
}
