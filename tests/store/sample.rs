//! Values to store: each kind of everything, and turns as they really run.

use std::{borrow::Cow, sync::Arc};

use causerie::domain::{
    Body, Budget, Chunk, ConversationId, Entry, EntryId, Event, EventKind, Failure, FinishReason, ModelUsage, Money,
    Omission, OmissionKind, Reason, Settings, Time, Turn, TurnId, TurnState, Usage, Violation,
    entry::{
        AgentHandoff, Confirmation, FunctionCall, FunctionResult, HumanHandoff, MessageInput, MessageOutput,
        OutputStatus, Role, Thinking, ToolExecution,
    },
    event::{Author, CallHead},
    settings::{CompletionArgs, ReasoningEffort, ResponseFormat, ToolChoice},
    tool::{Function, Tool},
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::random::Rng;

/// Makes values; ids grow with its clock.
#[derive(Debug)]
pub(super) struct Maker {
    pub(super) rng: Rng,
    /// Milliseconds since 1970.
    pub(super) now_ms: u64,
}

impl Maker {
    pub(super) fn new(seed: u64) -> Maker {
        Maker { rng: Rng(seed), now_ms: 1_700_000_000_000 }
    }

    /// A UUIDv7 of now; time goes on.
    pub(super) fn uuid(&mut self) -> Uuid {
        self.now_ms += 1;
        self.uuid_at(self.now_ms)
    }

    /// A UUIDv7 of a moment.
    pub(super) fn uuid_at(&mut self, ms: u64) -> Uuid {
        let random = u128::from(self.rng.next()) << 64 | u128::from(self.rng.next());
        let bits = u128::from(ms) << 80 | 7 << 76 | (random >> 52 & 0xfff) << 64 | 2 << 62 | random & (u128::MAX >> 66);
        Uuid::from_u128(bits)
    }

    pub(super) fn time(&mut self) -> Time {
        Time { unix_us: self.now_ms as i64 * 1000 + self.rng.below(1000) as i64 }
    }

    /// Words, some of them not ASCII.
    pub(super) fn text(&mut self, most_words: usize) -> String {
        const WORDS: [&str; 8] = ["the", "store", "keeps", "größe", "数据", "🙂", "turn\n", ""];
        let count = self.rng.below(most_words + 1);
        (0..count).map(|_| *self.rng.pick(&WORDS)).collect::<Vec<_>>().join(" ")
    }

    fn name(&mut self) -> String {
        format!("name-{}", self.rng.below(1000))
    }

    pub(super) fn chunk(&mut self, depth: usize) -> Chunk {
        match self.rng.below(if depth == 0 { 9 } else { 12 }) {
            0 => Chunk::ImageUrl { url: self.text(5), detail: self.text(1) },
            1 => Chunk::DocumentUrl { url: self.text(5), name: self.text(2) },
            2 => Chunk::ToolFile {
                tool: self.name(),
                file_id: self.name(),
                file_name: self.text(2),
                file_type: self.text(1),
            },
            3 => Chunk::ToolReference {
                tool: self.name(),
                title: self.text(3),
                url: self.text(2),
                favicon: self.text(1),
                description: self.text(9),
            },
            4 => Chunk::InputAudio { data: self.text(9) },
            5 => Chunk::File { file_id: self.name() },
            6 => Chunk::Reference { reference_ids: (0..self.rng.below(3)).map(|i| i.to_string()).collect() },
            7 | 8 => Chunk::Text(self.text(60)),
            _ => Chunk::Thinking(Thinking {
                content: (0..self.rng.below(3)).map(|_| self.chunk(depth - 1)).collect(),
                signature: self.text(3),
                closed: self.rng.one_in(2),
                provider: self.text(1),
            }),
        }
    }

    fn chunks(&mut self) -> Vec<Chunk> {
        (0..self.rng.below(4)).map(|_| self.chunk(2)).collect()
    }

    /// Any body.
    pub(super) fn body(&mut self) -> Body {
        let status = *self.rng.pick(&[OutputStatus::Completed, OutputStatus::Incomplete]);
        match self.rng.below(7) {
            0 => Body::MessageInput(MessageInput {
                role: *self.rng.pick(&[Role::System, Role::User, Role::Assistant]),
                content: self.chunks(),
                prefix: self.rng.one_in(2),
            }),
            1 => Body::MessageOutput(MessageOutput { content: self.chunks(), status, segments: vec![] }),
            2 => Body::FunctionCall(FunctionCall {
                tool_call_id: self.name(),
                name: self.name(),
                arguments: self.text(20),
                confirmation: *self.rng.pick(&[
                    None,
                    Some(Confirmation::Pending),
                    Some(Confirmation::Allowed),
                    Some(Confirmation::Denied),
                ]),
            }),
            3 => Body::FunctionResult(FunctionResult {
                tool_call_id: self.name(),
                content: self.chunks(),
                is_error: self.rng.one_in(2),
            }),
            4 => Body::ToolExecution(ToolExecution {
                name: self.name(),
                arguments: self.text(5),
                info: self.text(5),
                result: self.chunks(),
                status,
            }),
            5 => Body::AgentHandoff(AgentHandoff {
                previous_agent_id: self.name(),
                previous_agent_name: self.name(),
                next_agent_id: self.name(),
                next_agent_name: self.name(),
            }),
            _ => Body::HumanHandoff(HumanHandoff { message: self.text(9) }),
        }
    }

    /// An entry with this body.
    pub(super) fn entry(&mut self, body: Body) -> Arc<Entry> {
        Arc::new(Entry {
            id: EntryId { kind: body.kind(), uuid: self.uuid() },
            created_at: self.time(),
            completed_at: self.rng.maybe(|rng| Time { unix_us: rng.next() as i64 }),
            model: self.rng.maybe(|_| "mistral-small-latest".to_owned()),
            agent_id: self.rng.maybe(|_| "agent_1".to_owned()),
            body,
        })
    }

    /// A user message.
    pub(super) fn user(&mut self, words: usize) -> Arc<Entry> {
        let content = vec![Chunk::Text(self.text(words))];
        self.entry(Body::MessageInput(MessageInput { role: Role::User, content, prefix: false }))
    }

    pub(super) fn settings(&mut self) -> Settings {
        let object = |rng: &mut Rng| -> Map<String, Value> {
            let value =
                json!({ "z": { "b": [1, null, -2.5e-300, rng.next()] }, "a": f64::from_bits(0x3fb9_9999_9999_999a) });
            value.as_object().expect("it is an object").clone()
        };
        let rng = &mut self.rng;
        let unit = |rng: &mut Rng| rng.next() as f64 / u64::MAX as f64;
        let completion_args = CompletionArgs {
            temperature: rng.maybe(unit),
            top_p: rng.maybe(unit),
            max_tokens: rng.maybe(|rng| rng.next() as u32),
            stop: (0..rng.below(3)).map(|i| format!("stop{i}")).collect(),
            random_seed: rng.maybe(Rng::next),
            presence_penalty: rng.maybe(unit),
            frequency_penalty: rng.maybe(unit),
            response_format: rng.maybe(|rng| match rng.below(3) {
                0 => ResponseFormat::Text,
                1 => ResponseFormat::JsonObject,
                _ => ResponseFormat::JsonSchema {
                    name: "form".into(),
                    description: String::new(),
                    schema: object(rng),
                    strict: rng.one_in(2),
                },
            }),
            tool_choice: rng.maybe(|rng| {
                let function = ToolChoice::Function("f".into());
                rng.pick(&[ToolChoice::Auto, ToolChoice::None, ToolChoice::Any, ToolChoice::Required, function]).clone()
            }),
            parallel_tool_calls: rng.maybe(|rng| rng.one_in(2)),
            prediction: rng.maybe(|_| "likely".to_owned()),
            reasoning_effort: rng.maybe(|rng| *rng.pick(&ReasoningEffort::ALL)),
            safe_prompt: rng.maybe(|rng| rng.one_in(2)),
            prompt_cache_key: if rng.one_in(2) { String::new() } else { "key".into() },
            prompt_mode: if rng.one_in(2) { String::new() } else { "reasoning".into() },
            service_tier: if rng.one_in(2) { String::new() } else { "auto".into() },
            min_tokens: rng.maybe(|rng| rng.next() as u32),
            repetition_penalty: rng.maybe(unit),
            top_k: rng.maybe(|rng| rng.next() as u32),
            guardrails: (0..rng.below(2)).map(|_| object(rng)).collect(),
        };
        let tools = (0..rng.below(3)).map(|i| {
            Tool::Function(Function {
                name: format!("f{i}"),
                description: "does it".into(),
                parameters: rng.maybe(object),
                strict: rng.one_in(2),
            })
        });
        let tools = tools.collect();
        let pairs = ["user", "team"]
            .into_iter()
            .filter_map(|key| rng.maybe(|rng| (key.to_owned(), rng.pick(&["anna", "ben", ""]).to_string())));
        let metadata = pairs.collect();
        Settings {
            model: (*rng.pick(&["small", "large", ""])).to_owned(),
            agent_id: rng.maybe(|rng| (*rng.pick(&["agent_a", "agent_b"])).to_owned()),
            instructions: self.text(8),
            tools,
            completion_args,
            metadata,
            tree_budget: self
                .rng
                .maybe(|rng| Budget { max_tokens: Some(rng.next()), max_cost: Some(Money::new(2, 5)) }),
        }
    }

    pub(super) fn failure(&mut self) -> Failure {
        Failure {
            reason: *self.rng.pick(&Reason::ALL),
            message: self.text(9),
            metadata: (0..self.rng.below(3)).map(|i| (Cow::Owned(format!("key{i}")), self.text(2))).collect(),
            violations: (0..self.rng.below(3))
                .map(|i| Violation { field: format!("inputs[{i}]"), description: self.text(3) })
                .collect(),
            retry_after_ms: self.rng.maybe(Rng::next),
            resource: self.rng.maybe(|_| (Cow::Borrowed("turn"), "turn_x".to_owned())),
        }
    }

    /// A turn that made a version (with `outputs`) or none.
    pub(super) fn turn(
        &mut self,
        id: Uuid,
        parent: Option<ConversationId>,
        outputs: Vec<Arc<Entry>>,
        state: TurnState,
    ) -> Turn {
        let made = !matches!(state, TurnState::Failed | TurnState::Cancelled);
        let finishes = [
            FinishReason::Stop,
            FinishReason::Length,
            FinishReason::ToolCalls,
            FinishReason::ContentFilter,
            FinishReason::ModelLength,
            FinishReason::Error,
        ];
        let outputs_ids: Vec<_> = outputs.iter().map(|output| output.id).collect();
        let usage = Usage {
            prompt_tokens: self.rng.next() >> 24,
            total_tokens: 7,
            connector_calls: [("web".to_owned(), 3)].into(),
            ..Usage::default()
        };
        Turn {
            id: TurnId(id),
            state,
            finish_reason: self.rng.maybe(|rng| *rng.pick(&finishes)),
            conversation_id: made.then_some(ConversationId(id)),
            parent_id: parent,
            model: self.text(1),
            agent_id: self.rng.maybe(|_| "agent_a".to_owned()),
            outputs,
            usage: if self.rng.one_in(2) { Usage::default() } else { usage },
            cost: self.rng.maybe(|rng| Money::new(rng.below(9) as i64, rng.below(1_000_000) as i64)),
            models: self.models(),
            omissions: self.omissions(&outputs_ids),
            error: if made { None } else { Some(self.failure()) },
            created_at: self.time(),
            completed_at: self.rng.maybe(|rng| Time { unix_us: rng.below(1 << 50) as i64 }),
            last_sequence: self.rng.next(),
            request_id: None,
        }
    }

    fn models(&mut self) -> Vec<ModelUsage> {
        let count = self.rng.below(3) as u32;
        let model = |attempts| ModelUsage {
            model: self.text(1),
            usage: Usage { completion_tokens: 5, estimated: self.rng.one_in(2), ..Usage::default() },
            cost: self.rng.maybe(|rng| Money::new(0, rng.below(1000) as i64)),
            attempts,
        };
        (0..count).map(model).collect()
    }

    fn omissions(&mut self, entries: &[EntryId]) -> Vec<Omission> {
        let kinds = [OmissionKind::Thinking, OmissionKind::References, OmissionKind::OldEntries];
        entries.iter().map(|id| Omission::of(*self.rng.pick(&kinds), *id)).collect()
    }

    /// The events of a turn as it really runs: its outputs come in pieces.
    pub(super) fn events(&mut self, turn: &Turn, inputs: &[Arc<Entry>]) -> Vec<Event> {
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
                let head = Arc::new(CallHead { tool_call_id: call.tool_call_id.clone(), name: call.name.clone() });
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
            _ => {}
        }
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
    pub(super) fn any_event(&mut self, entries: &[Arc<Entry>]) -> Event {
        let entry = if entries.is_empty() || self.rng.one_in(3) {
            let body = self.body();
            self.entry(body)
        } else {
            Arc::clone(self.rng.pick(entries))
        };
        let author = Arc::new(Author { model: self.text(1), agent_id: self.rng.maybe(|_| "a".to_owned()) });
        let (output_index, content_index) = (self.rng.below(3) as u32, self.rng.below(3) as u32);
        let parent_id = self.rng.maybe(|rng| ConversationId(Uuid::from_u128(rng.next().into())));
        let kind = match self.rng.below(6) {
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
                call: Arc::new(CallHead { tool_call_id: self.name(), name: self.text(1) }),
                author,
                arguments: self.text(3),
            },
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
}
