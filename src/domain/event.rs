//! A turn's events: what every reader of the turn sees, in the same order.

use std::sync::Arc;

use super::{
    entry::{Chunk, Confirmation, Decision, Entry},
    failure::Failure,
    ids::{ConversationId, EntryId, Time, TurnId},
    request::Concurrency,
    turn::Turn,
};

/// One event of a turn's log.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// 1, 2, 3 … within the turn.
    pub sequence: u64,
    /// The first sequence that it stands for, if it was merged from several deltas; otherwise `sequence`.
    pub first_sequence: u64,
    /// When it happened.
    pub created_at: Time,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// The turn was accepted.
    ResponseStarted {
        /// The id that the new version will have; `None` for a turn that is not stored.
        conversation_id: Option<ConversationId>,
        /// The version that it runs on.
        parent_id: Option<ConversationId>,
        /// Its inputs.
        inputs: Arc<[Arc<Entry>]>,
    },
    /// A piece of a message.
    MessageOutputDelta {
        /// The message.
        entry_id: EntryId,
        /// Its place among the outputs.
        output_index: u32,
        /// The chunk's place in the message.
        content_index: u32,
        /// Who wrote it.
        author: Arc<Author>,
        /// The piece: text and thinking go on in one chunk while the index stays, other chunks come whole.
        chunk: Chunk,
    },
    /// A piece of a function call.
    FunctionCallDelta {
        /// The call's entry.
        entry_id: EntryId,
        /// Its place among the outputs.
        output_index: u32,
        /// What is called, and under which id.
        call: Arc<CallHead>,
        /// Who asks.
        author: Arc<Author>,
        /// A piece of the JSON text.
        arguments: String,
    },
    /// A tool begins to run.
    ToolExecutionStarted {
        /// The run's entry.
        entry_id: EntryId,
        /// Its place among the outputs.
        output_index: u32,
        /// What is run.
        run: Arc<ToolHead>,
        /// Who asked for it.
        author: Arc<Author>,
    },
    /// A tool says how far it is.
    ToolExecutionDelta {
        /// The run's entry.
        entry_id: EntryId,
        /// Its place among the outputs.
        output_index: u32,
        /// The tool.
        name: Arc<str>,
        /// For a person; may be empty.
        message: String,
        /// A piece of the arguments, of a provider's own tool; may be empty.
        arguments: String,
    },
    /// A tool has ended.
    ToolExecutionDone {
        /// The run's entry.
        entry_id: EntryId,
        /// Its place among the outputs.
        output_index: u32,
        /// The tool.
        name: Arc<str>,
        /// What it returned.
        result: Vec<Chunk>,
        /// What it says beside it, as JSON text; may be empty.
        info: String,
        /// Why it failed.
        error: Option<String>,
    },
    /// An agent hands over.
    AgentHandoffStarted {
        /// The handoff's entry.
        entry_id: EntryId,
        /// Its place among the outputs.
        output_index: u32,
        /// The agent that hands over.
        previous_agent_id: String,
        /// Its name.
        previous_agent_name: String,
        /// Who asked for it: the agent that hands over.
        author: Arc<Author>,
    },
    /// Another agent takes over.
    AgentHandoffDone {
        /// The handoff's entry.
        entry_id: EntryId,
        /// Its place among the outputs.
        output_index: u32,
        /// The agent that takes over.
        next_agent_id: String,
        /// Its name.
        next_agent_name: String,
    },
    /// A person is asked.
    HumanHandoff {
        /// The handoff's entry.
        entry_id: EntryId,
        /// Its place among the outputs.
        output_index: u32,
        /// What the person is asked.
        message: String,
        /// Who asked for it.
        author: Arc<Author>,
    },
    /// A turn that outlives its call waits for its place. The first event of such a turn.
    TurnQueued {
        /// The version that it will make.
        conversation_id: ConversationId,
        /// Not earlier than this.
        not_before: Option<Time>,
        /// It waits for this turn, and goes on from its result.
        after: Option<TurnId>,
    },
    /// The server went down in the middle of the turn, which is begun again.
    TurnResumed {
        /// Which attempt this is, from 1.
        attempt: u32,
        /// So many of the outputs stay; those behind them come anew.
        kept_outputs: u32,
    },
    /// An attempt failed before anything came out, and another one follows.
    TurnRequeued {
        /// Which attempt failed, from 1.
        attempt: u32,
        /// When the next one is due.
        not_before: Time,
        /// Why it failed.
        failure: Arc<Failure>,
    },
    /// Another turn on the same conversation, and what was wanted of the two.
    TurnConflict {
        /// The other one.
        other: TurnId,
        /// What was wanted: not FORK.
        policy: Concurrency,
        /// This turn came second; the other one is waited for, or was stopped.
        newcomer: bool,
    },
    /// The provider is asked again.
    UpstreamRetry {
        /// The model that is asked.
        model: String,
        /// Which attempt at it failed, from 1.
        attempt: u32,
        /// How long the next one waits, in milliseconds.
        delay_ms: u64,
        /// Why it failed.
        failure: Arc<Failure>,
    },
    /// Another model is asked.
    UpstreamSwitched {
        /// The model that was asked before.
        from_model: String,
        /// The model that is asked now.
        to_model: String,
        /// How many attempts were made before, at all models.
        attempts: u32,
        /// Why.
        failure: Arc<Failure>,
    },
    /// An entry is finished.
    EntryDone {
        /// The entry.
        entry: Arc<Entry>,
    },
    /// The turn ended and, if it is stored, is on disk.
    ResponseDone {
        /// The whole turn.
        turn: Arc<Turn>,
    },
    /// The turn failed, or was cancelled before output began.
    ResponseError {
        /// Why.
        failure: Arc<Failure>,
    },
}

/// Who wrote an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The model.
    pub model: String,
    /// The agent, if one leads.
    pub agent_id: Option<String>,
}

/// What a function call asks for, without its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallHead {
    /// To be answered with this id.
    pub tool_call_id: String,
    /// The function.
    pub name: String,
    /// Where it stands, if it needs consent.
    pub confirmation: Option<Confirmation>,
    /// Until when consent is waited for.
    pub confirmation_expires_at: Option<Time>,
}

/// What a run of a tool is, before anything came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolHead {
    /// The tool.
    pub name: String,
    /// JSON text.
    pub arguments: String,
    /// The function call that it answers, if it had to be agreed to first.
    pub tool_call_id: Option<String>,
    /// The model asked for it together with the entry before.
    pub parallel: bool,
    /// Who agreed to it, if somebody had to.
    pub decision: Option<Decision>,
}

impl EventKind {
    /// Whether it is a piece of an output: what the LIFECYCLE view leaves out.
    pub fn is_delta(&self) -> bool {
        matches!(
            self,
            EventKind::MessageOutputDelta { .. }
                | EventKind::FunctionCallDelta { .. }
                | EventKind::ToolExecutionDelta { .. }
        )
    }

    /// How many bytes of output it carries; 0 if it is no delta.
    pub fn delta_bytes(&self) -> usize {
        match self {
            EventKind::MessageOutputDelta { chunk, .. } => chunk.content_bytes(),
            EventKind::FunctionCallDelta { arguments, .. } => arguments.len(),
            EventKind::ToolExecutionDelta { message, arguments, .. } => message.len() + arguments.len(),
            EventKind::ResponseStarted { .. }
            | EventKind::ToolExecutionStarted { .. }
            | EventKind::ToolExecutionDone { .. }
            | EventKind::AgentHandoffStarted { .. }
            | EventKind::AgentHandoffDone { .. }
            | EventKind::HumanHandoff { .. }
            | EventKind::TurnQueued { .. }
            | EventKind::TurnResumed { .. }
            | EventKind::TurnRequeued { .. }
            | EventKind::TurnConflict { .. }
            | EventKind::UpstreamRetry { .. }
            | EventKind::UpstreamSwitched { .. }
            | EventKind::EntryDone { .. }
            | EventKind::ResponseDone { .. }
            | EventKind::ResponseError { .. } => 0,
        }
    }

    /// Whether it is the last event of a turn.
    pub fn is_terminal(&self) -> bool {
        matches!(self, EventKind::ResponseDone { .. } | EventKind::ResponseError { .. })
    }
}

impl Event {
    /// Takes the next event of the log into this one, if both are pieces of one chunk or of one call. The merged event stands
    /// for both sequences. False: `next` is something else and nothing was changed.
    pub fn merge(&mut self, next: &Event) -> bool {
        let merged = match (&mut self.kind, &next.kind) {
            (
                EventKind::MessageOutputDelta { entry_id, content_index, chunk, .. },
                EventKind::MessageOutputDelta { entry_id: id, content_index: index, chunk: piece, .. },
            ) => entry_id == id && content_index == index && merge_chunk(chunk, piece),
            (
                EventKind::FunctionCallDelta { entry_id, arguments, .. },
                EventKind::FunctionCallDelta { entry_id: id, arguments: piece, .. },
            ) if entry_id == id => {
                arguments.push_str(piece);
                true
            }
            _ => false,
        };
        if merged {
            self.sequence = next.sequence;
            self.created_at = next.created_at;
        }
        merged
    }
}

/// Takes a piece into the chunk that it goes on with. False: it can't go on, it is another chunk.
pub fn merge_chunk(chunk: &mut Chunk, piece: &Chunk) -> bool {
    match (chunk, piece) {
        (Chunk::Text(text), Chunk::Text(piece)) => {
            text.push_str(piece);
            true
        }
        (Chunk::Thinking(thinking), Chunk::Thinking(piece)) => {
            for part in &piece.content {
                let goes_on = thinking.content.last_mut().is_some_and(|last| merge_chunk(last, part));
                if !goes_on {
                    thinking.content.push(part.clone());
                }
            }
            thinking.signature.push_str(&piece.signature);
            thinking.closed = piece.closed;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::ids::EntryKind;

    fn id(kind: EntryKind, number: u128) -> EntryId {
        EntryId { kind, uuid: Uuid::from_u128(number) }
    }

    fn event(sequence: u64, kind: EventKind) -> Event {
        Event { sequence, first_sequence: sequence, created_at: Time { unix_us: sequence as i64 }, kind }
    }

    fn call(number: u128, arguments: &str) -> EventKind {
        let call = CallHead {
            tool_call_id: "call-a".into(),
            name: "pay".into(),
            confirmation: Some(Confirmation::Pending),
            confirmation_expires_at: Some(Time { unix_us: 9 }),
        };
        EventKind::FunctionCallDelta {
            entry_id: id(EntryKind::FunctionCall, number),
            output_index: 0,
            call: Arc::new(call),
            author: Arc::new(Author { model: "small".into(), agent_id: None }),
            arguments: arguments.into(),
        }
    }

    fn progress(message: &str) -> EventKind {
        EventKind::ToolExecutionDelta {
            entry_id: id(EntryKind::ToolExecution, 1),
            output_index: 0,
            name: "search".into(),
            message: message.into(),
            arguments: String::new(),
        }
    }

    #[test]
    fn pieces_of_one_call_become_one_event() {
        let mut first = event(3, call(1, "{\"a\""));
        assert!(first.merge(&event(4, call(1, ":1}"))));
        let merged = Event { first_sequence: 3, ..event(4, call(1, "{\"a\":1}")) };
        assert_eq!(first, merged);
        assert!(!first.merge(&event(5, call(2, "{}"))), "another call");
        assert_eq!(first, merged);
    }

    /// A report replaces the one before it; run together they would say nothing.
    #[test]
    fn what_a_tool_reports_stays_as_many_events() {
        let done = EventKind::ToolExecutionDone {
            entry_id: id(EntryKind::ToolExecution, 1),
            output_index: 0,
            name: "search".into(),
            result: Vec::new(),
            info: String::new(),
            error: None,
        };
        for next in [progress("2 of 3"), done] {
            let mut first = event(3, progress("1 of 3"));
            assert!(!first.merge(&event(4, next)));
            assert_eq!(first, event(3, progress("1 of 3")));
        }
    }

    #[test]
    fn reports_of_a_tool_are_deltas_and_its_begin_and_end_are_not() {
        let report = progress("half");
        assert!(report.is_delta() && !report.is_terminal());
        assert_eq!(report.delta_bytes(), 4);
        let handoff = EventKind::HumanHandoff {
            entry_id: id(EntryKind::HumanHandoff, 1),
            output_index: 0,
            message: "help".into(),
            author: Arc::new(Author { model: String::new(), agent_id: None }),
        };
        assert!(!handoff.is_delta() && !handoff.is_terminal());
        assert_eq!(handoff.delta_bytes(), 0);
    }
}
