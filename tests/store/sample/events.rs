//! The event logs of turns: as they really run, and as nothing runs.

use std::sync::Arc;

use causerie::domain::{
    Body, Chunk, ConversationId, Entry, EntryId, Event, EventKind, Time, Turn, TurnState,
    entry::{FunctionCall, Thinking, ToolExecution},
    event::{Author, CallHead, ToolHead},
    ids::EntryKind,
};
use uuid::Uuid;

use super::{super::random::Rng, Maker};

impl Maker {
    /// The events of a turn as it really runs: its outputs come in pieces.
    pub(in crate::store) fn events(&mut self, turn: &Turn, inputs: &[Arc<Entry>]) -> Vec<Event> {
        let mut kinds = vec![EventKind::ResponseStarted {
            conversation_id: Some(turn.id.conversation()),
            parent_id: turn.parent_id,
            inputs: inputs.into(),
        }];
        for (index, entry) in turn.outputs.iter().enumerate() {
            self.deltas(index as u32, entry, &mut kinds);
            kinds.push(EventKind::EntryDone { entry: Arc::clone(entry) });
        }
        kinds.push(match &turn.error {
            None => EventKind::ResponseDone { turn: Arc::new(turn.clone()) },
            Some(failure) => EventKind::ResponseError { failure: Arc::new(failure.clone()) },
        });
        let mut at = turn.created_at;
        let number = |(i, kind): (usize, EventKind)| {
            at.unix_us += self.rng.below(20_000) as i64;
            let sequence = i as u64 + 1;
            Event { sequence, first_sequence: sequence, created_at: at, kind }
        };
        kinds.into_iter().enumerate().map(number).collect()
    }

    fn deltas(&mut self, output_index: u32, entry: &Entry, kinds: &mut Vec<EventKind>) {
        let author = Arc::new(Author { model: "small".into(), agent_id: None });
        match &entry.body {
            Body::MessageOutput(message) => {
                for (content_index, chunk) in message.content.iter().enumerate() {
                    for chunk in self.pieces(chunk) {
                        kinds.push(EventKind::MessageOutputDelta {
                            entry_id: entry.id,
                            output_index,
                            content_index: content_index as u32,
                            author: Arc::clone(&author),
                            chunk,
                        });
                    }
                }
            }
            Body::FunctionCall(call) => {
                let head = Arc::new(call_head(call));
                for arguments in self.cut(&call.arguments) {
                    let (call, author) = (Arc::clone(&head), Arc::clone(&author));
                    kinds.push(EventKind::FunctionCallDelta {
                        entry_id: entry.id,
                        output_index,
                        call,
                        author,
                        arguments,
                    });
                }
            }
            Body::ToolExecution(run) => {
                let (start, done) = (started(entry.id, output_index, run, author), done(entry.id, output_index, run));
                kinds.push(start);
                kinds.push(self.progress(entry.id, output_index, &run.name));
                kinds.push(done);
            }
            Body::AgentHandoff(handoff) => {
                let (entry_id, handoff) = (entry.id, handoff.clone());
                kinds.push(EventKind::AgentHandoffStarted {
                    entry_id,
                    output_index,
                    previous_agent_id: handoff.previous_agent_id,
                    previous_agent_name: handoff.previous_agent_name,
                    author,
                });
                kinds.push(EventKind::AgentHandoffDone {
                    entry_id,
                    output_index,
                    next_agent_id: handoff.next_agent_id,
                    next_agent_name: handoff.next_agent_name,
                });
            }
            Body::HumanHandoff(handoff) => {
                let message = handoff.message.clone();
                kinds.push(EventKind::HumanHandoff { entry_id: entry.id, output_index, message, author });
            }
            Body::MessageInput(_) | Body::FunctionResult(_) => {}
        }
    }

    fn progress(&mut self, entry_id: EntryId, output_index: u32, name: &str) -> EventKind {
        let (message, arguments) = (self.text(4), self.text(1));
        EventKind::ToolExecutionDelta { entry_id, output_index, name: name.into(), message, arguments }
    }

    fn pieces(&mut self, chunk: &Chunk) -> Vec<Chunk> {
        match chunk {
            Chunk::Text(text) => self.cut(text).into_iter().map(Chunk::Text).collect(),
            Chunk::Thinking(thinking) => match thinking.content.as_slice() {
                [Chunk::Text(text)] => {
                    let piece =
                        |text| Chunk::Thinking(Thinking { content: vec![Chunk::Text(text)], ..thinking.clone() });
                    self.cut(text).into_iter().map(piece).collect()
                }
                _ => vec![chunk.clone()],
            },
            other => vec![other.clone()],
        }
    }

    fn cut(&mut self, text: &str) -> Vec<String> {
        let mut pieces = vec![String::new()];
        for char in text.chars() {
            if self.rng.one_in(5) {
                pieces.push(String::new());
            }
            pieces.last_mut().expect("there is one").push(char);
        }
        pieces
    }

    /// Any event, sensible or not.
    pub(in crate::store) fn any_event(&mut self, entries: &[Arc<Entry>]) -> Event {
        let entry = if entries.is_empty() || self.rng.one_in(3) {
            let body = self.body();
            self.entry(body)
        } else {
            Arc::clone(self.rng.pick(entries))
        };
        let author = Arc::new(Author { model: self.text(1), agent_id: self.rng.maybe(|_| "a".to_owned()) });
        let (output_index, content_index) = (self.rng.below(3) as u32, self.rng.below(3) as u32);
        let parent_id = self.rng.maybe(|rng| ConversationId(Uuid::from_u128(rng.next().into())));
        let kind = match self.rng.below(11) {
            0 => EventKind::ResponseStarted {
                conversation_id: parent_id,
                parent_id,
                inputs: [Arc::clone(&entry)].into(),
            },
            1 => EventKind::EntryDone { entry },
            2 => {
                let outputs = vec![Arc::clone(&entry)];
                let id = self.uuid();
                EventKind::ResponseDone { turn: Arc::new(self.turn(id, parent_id, outputs, TurnState::Incomplete)) }
            }
            3 => EventKind::ResponseError { failure: Arc::new(self.failure()) },
            4 => EventKind::FunctionCallDelta {
                entry_id: entry.id,
                output_index,
                call: Arc::new(CallHead {
                    tool_call_id: self.name(),
                    name: self.text(1),
                    confirmation: self.confirmation(),
                    confirmation_expires_at: self.moment(),
                }),
                author,
                arguments: self.text(3),
            },
            5 | 6 => self.any_tool_event(&entry, output_index, author),
            7 => self.any_handoff(entry.id, output_index, author),
            8 | 9 => self.event_of_a_job(),
            _ => EventKind::MessageOutputDelta {
                entry_id: entry.id,
                output_index,
                content_index,
                author,
                chunk: self.chunk(1),
            },
        };
        let extreme = |rng: &mut Rng| *rng.pick(&[0, 1, 2, 1 << 40, u64::MAX]);
        Event {
            sequence: extreme(&mut self.rng),
            first_sequence: extreme(&mut self.rng),
            created_at: Time { unix_us: extreme(&mut self.rng) as i64 },
            kind,
        }
    }
    fn any_tool_event(&mut self, entry: &Entry, output_index: u32, author: Arc<Author>) -> EventKind {
        let events = self.events_of_run(entry, output_index, &author);
        if events.is_empty() {
            self.progress(entry.id, output_index, "of another kind")
        } else {
            self.rng.pick(&events).clone()
        }
    }

    /// Events of a run: such that agree with its entry, such that disagree in one thing, and such of other entries. None if the
    /// entry is no run.
    pub(in crate::store) fn events_of_run(
        &mut self,
        entry: &Entry,
        output_index: u32,
        author: &Arc<Author>,
    ) -> Vec<EventKind> {
        let Body::ToolExecution(run) = &entry.body else { return Vec::new() };
        let changes: [fn(&mut ToolExecution); 11] = [
            |_| (),
            |run| run.name.push('x'),
            |run| run.arguments.push('x'),
            |run| run.info.push('x'),
            |run| run.result.push(Chunk::Text("x".into())),
            |run| run.error = run.error.is_none().then(|| "another".into()),
            |run| run.tool_call_id = run.tool_call_id.is_none().then(|| "another".into()),
            |run| run.parallel = !run.parallel,
            |run| run.decision = None,
            |run| run.decision.iter_mut().for_each(|decision| decision.reason.push('x')),
            |run| *run = ToolExecution::default(),
        ];
        // An id of another kind, and one that no output has.
        let other = EntryId { kind: EntryKind::FunctionCall, ..entry.id };
        let unknown = EntryId { uuid: self.uuid(), ..entry.id };
        let mut events = vec![self.progress(entry.id, output_index, &run.name)];
        for id in [entry.id, other, unknown] {
            for change in changes {
                let mut run = run.clone();
                change(&mut run);
                events.push(started(id, output_index, &run, Arc::clone(author)));
                events.push(done(id, output_index, &run));
            }
        }
        events
    }

    fn any_handoff(&mut self, entry_id: EntryId, output_index: u32, author: Arc<Author>) -> EventKind {
        match self.rng.below(3) {
            0 => EventKind::AgentHandoffStarted {
                entry_id,
                output_index,
                previous_agent_id: self.text(1),
                previous_agent_name: self.text(1),
                author,
            },
            1 => EventKind::AgentHandoffDone {
                entry_id,
                output_index,
                next_agent_id: self.text(1),
                next_agent_name: self.text(1),
            },
            _ => EventKind::HumanHandoff { entry_id, output_index, message: self.text(3), author },
        }
    }
}

fn call_head(call: &FunctionCall) -> CallHead {
    let FunctionCall { tool_call_id, name, arguments: _, confirmation, confirmation_expires_at } = call.clone();
    CallHead { tool_call_id, name, confirmation, confirmation_expires_at }
}

fn started(entry_id: EntryId, output_index: u32, run: &ToolExecution, author: Arc<Author>) -> EventKind {
    let ToolExecution { name, arguments, tool_call_id, parallel, decision, .. } = run.clone();
    let run = Arc::new(ToolHead { name, arguments, tool_call_id, parallel, decision });
    EventKind::ToolExecutionStarted { entry_id, output_index, run, author }
}

fn done(entry_id: EntryId, output_index: u32, run: &ToolExecution) -> EventKind {
    let ToolExecution { name, result, info, error, .. } = run.clone();
    EventKind::ToolExecutionDone { entry_id, output_index, name: name.into(), result, info, error }
}
