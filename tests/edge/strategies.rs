//! Arbitrary domain values: everything that a store can hold, and inputs that keep to the rules.

use std::sync::Arc;

use causerie::domain::{
    Body, Chunk, ConversationId, Entry, EntryId, Event, EventKind, Failure, FinishReason, Reason, Settings, Time, Turn,
    TurnState, Version, Violation,
    entry::{
        AgentHandoff, Confirmation, FunctionCall, FunctionResult, HumanHandoff, MessageInput, MessageOutput,
        OutputStatus, Role, Thinking, ToolExecution,
    },
    event::{Author, CallHead},
    ids::EntryKind,
    settings::{CompletionArgs, ReasoningEffort, ResponseFormat, ToolChoice},
    tool::{Function, Tool},
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::spending;

fn text() -> impl Strategy<Value = String> {
    "[a-zé€ \"\\n]{0,12}"
}

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_-]{1,12}"
}

fn url() -> impl Strategy<Value = String> {
    prop_oneof!["https://[a-z]{1,8}/[a-z]{0,4}", "data:text/plain,[a-z]{0,8}"]
}

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<[u8; 16]>().prop_map(Uuid::from_bytes)
}

fn conversation_id() -> impl Strategy<Value = ConversationId> {
    uuid().prop_map(ConversationId)
}

pub(crate) fn time() -> impl Strategy<Value = Time> {
    (-60_000_000_000_000_000i64..250_000_000_000_000_000).prop_map(|unix_us| Time { unix_us })
}

fn count() -> impl Strategy<Value = u64> {
    0..=u64::try_from(i64::MAX).expect("positive")
}

fn source() -> impl Strategy<Value = Chunk> {
    prop_oneof![
        vec(name(), 0..3).prop_map(|reference_ids| Chunk::Reference { reference_ids }),
        (text(), text(), text(), text(), text()).prop_map(|(tool, title, url, favicon, description)| {
            Chunk::ToolReference { tool, title, url, favicon, description }
        }),
    ]
}

fn plain() -> impl Strategy<Value = Chunk> {
    "[a-z]{1,9}".prop_map(Chunk::Text)
}

fn thinking() -> impl Strategy<Value = Chunk> {
    (vec(prop_oneof![plain(), source()], 0..3), text(), any::<bool>(), text()).prop_map(
        |(content, signature, closed, provider)| Chunk::Thinking(Thinking { content, signature, closed, provider }),
    )
}

fn image() -> impl Strategy<Value = Chunk> {
    (url(), select(vec!["", "low", "auto", "high"]))
        .prop_map(|(url, detail)| Chunk::ImageUrl { url, detail: detail.to_owned() })
}

fn asked() -> impl Strategy<Value = Chunk> {
    prop_oneof![
        plain(),
        image(),
        (url(), text()).prop_map(|(url, name)| Chunk::DocumentUrl { url, name }),
        "([A-Za-z0-9+/]{4}){1,3}".prop_map(|data| Chunk::InputAudio { data }),
        name().prop_map(|file_id| Chunk::File { file_id }),
    ]
}

fn answered() -> impl Strategy<Value = Chunk> {
    let file = (text(), name(), text(), text());
    prop_oneof![
        plain(),
        source(),
        thinking(),
        file.prop_map(|(tool, file_id, file_name, file_type)| Chunk::ToolFile { tool, file_id, file_name, file_type }),
    ]
}

fn status() -> impl Strategy<Value = OutputStatus> {
    select(vec![OutputStatus::Completed, OutputStatus::Incomplete])
}

fn message() -> impl Strategy<Value = Body> {
    let of = |role, content: BoxedStrategy<Chunk>| {
        vec(content, 1..4)
            .prop_map(move |content| Body::MessageInput(MessageInput { role, content, prefix: false }))
            .boxed()
    };
    prop_oneof![
        of(Role::System, plain().boxed()),
        of(Role::User, asked().boxed()),
        of(Role::Assistant, answered().boxed()),
    ]
}

/// Bodies that a request may put in.
fn body() -> impl Strategy<Value = Body> {
    let call = (name(), name(), text());
    let result = (name(), vec(prop_oneof![plain(), image()], 0..3), any::<bool>());
    let execution = (name(), text(), text(), vec(prop_oneof![asked(), answered()], 0..3), status());
    prop_oneof![
        message(),
        (vec(answered(), 0..4), status(), spending::segments()).prop_map(|(content, status, segments)| {
            Body::MessageOutput(MessageOutput { content, status, segments })
        }),
        call.prop_map(|(tool_call_id, name, arguments)| {
            Body::FunctionCall(FunctionCall { tool_call_id, name, arguments, confirmation: None })
        }),
        result.prop_map(|(tool_call_id, content, is_error)| {
            Body::FunctionResult(FunctionResult { tool_call_id, content, is_error })
        }),
        execution.prop_map(|(name, arguments, info, result, status)| {
            Body::ToolExecution(ToolExecution { name, arguments, info, result, status })
        }),
        (text(), text(), text(), text()).prop_map(
            |(previous_agent_id, previous_agent_name, next_agent_id, next_agent_name)| {
                Body::AgentHandoff(AgentHandoff {
                    previous_agent_id,
                    previous_agent_name,
                    next_agent_id,
                    next_agent_name,
                })
            }
        ),
        text().prop_map(|message| Body::HumanHandoff(HumanHandoff { message })),
    ]
}

/// Bodies that only a store holds: what models write keeps to no rules.
fn wild_body() -> impl Strategy<Value = Body> {
    let confirmation = select(vec![Confirmation::Pending, Confirmation::Allowed, Confirmation::Denied]);
    prop_oneof![
        vec(prop_oneof![asked(), answered(), text().prop_map(Chunk::Text)], 0..3).prop_map(|content| {
            let segments = Vec::new();
            Body::MessageOutput(MessageOutput { content, status: OutputStatus::Completed, segments })
        }),
        (text(), text(), text(), option::of(confirmation)).prop_map(|(tool_call_id, name, arguments, confirmation)| {
            Body::FunctionCall(FunctionCall { tool_call_id, name, arguments, confirmation })
        }),
        "[a-z]{1,5}".prop_map(|text| Body::MessageInput(MessageInput {
            role: Role::Assistant,
            content: vec![Chunk::Text(text)],
            prefix: true
        })),
    ]
}

fn entry_of(body: impl Strategy<Value = Body> + 'static) -> BoxedStrategy<Entry> {
    (uuid(), time(), option::of(time()), option::of(name()), option::of(name()), body)
        .prop_map(|(uuid, created_at, completed_at, model, agent_id, body)| Entry {
            id: EntryId { kind: body.kind(), uuid },
            created_at,
            completed_at,
            model,
            agent_id,
            body,
        })
        .boxed()
}

/// Entries that a request may put in.
pub(crate) fn input() -> impl Strategy<Value = Entry> {
    entry_of(body())
}

/// Entries that a store can hold.
pub(crate) fn entry() -> impl Strategy<Value = Entry> {
    entry_of(prop_oneof![body(), wild_body()])
}

fn entries() -> impl Strategy<Value = Vec<Arc<Entry>>> {
    vec(entry().prop_map(Arc::new), 0..4)
}

pub(crate) fn failure() -> impl Strategy<Value = Failure> {
    let metadata = prop::collection::btree_map(name(), text(), 0..4);
    let violation = (text(), text()).prop_map(|(field, description)| Violation { field, description });
    let parts = (
        select(Reason::ALL.to_vec()),
        text(),
        metadata,
        vec(violation, 0..4),
        option::of(any::<u64>()),
        option::of((name(), text())),
    );
    parts.prop_map(|(reason, message, metadata, violations, retry_after_ms, resource)| Failure {
        reason,
        message,
        metadata: metadata.into_iter().map(|(key, value)| (key.into(), value)).collect(),
        violations,
        retry_after_ms,
        resource: resource.map(|(kind, name)| (kind.into(), name)),
    })
}

fn state() -> impl Strategy<Value = TurnState> {
    select(vec![
        TurnState::Queued,
        TurnState::Running,
        TurnState::RequiresAction,
        TurnState::Completed,
        TurnState::Incomplete,
        TurnState::Failed,
        TurnState::Cancelled,
    ])
}

fn reason() -> impl Strategy<Value = FinishReason> {
    select(vec![
        FinishReason::Stop,
        FinishReason::Length,
        FinishReason::ToolCalls,
        FinishReason::ContentFilter,
        FinishReason::ModelLength,
        FinishReason::Error,
    ])
}

pub(crate) fn turn() -> BoxedStrategy<Turn> {
    let made = (uuid(), state(), option::of(reason()), any::<bool>(), option::of(conversation_id()));
    let said = (text(), option::of(name()), entries(), spending::usage(), option::of(failure()));
    let ended = (time(), option::of(time()), count(), option::of(name()));
    (made.boxed(), said.boxed(), ended.boxed(), spending::cost().boxed())
        .prop_map(|(made, said, ended, (cost, models, omissions))| {
            let (uuid, state, finish_reason, stored, parent_id) = made;
            let (model, agent_id, outputs, usage, error) = said;
            let (created_at, completed_at, last_sequence, request_id) = ended;
            Turn {
                id: ConversationId(uuid).turn(),
                state,
                finish_reason,
                conversation_id: stored.then_some(ConversationId(uuid)),
                parent_id,
                model,
                agent_id,
                outputs,
                usage,
                cost,
                models,
                omissions,
                error,
                created_at,
                completed_at,
                last_sequence,
                request_id,
            }
        })
        .boxed()
}

fn delta() -> impl Strategy<Value = EventKind> {
    let author =
        (text(), option::of(name())).prop_map(|(model, agent_id)| Arc::new(Author { model, agent_id })).boxed();
    let index = 0u32..1000;
    let message = (uuid(), index.clone(), index.clone(), author.clone(), prop_oneof![answered(), asked()]);
    let call = (uuid(), index, text(), text(), author, text());
    prop_oneof![
        message.prop_map(|(uuid, output_index, content_index, author, chunk)| EventKind::MessageOutputDelta {
            entry_id: EntryId { kind: EntryKind::MessageOutput, uuid },
            output_index,
            content_index,
            author,
            chunk,
        }),
        call.prop_map(|(uuid, output_index, tool_call_id, name, author, arguments)| EventKind::FunctionCallDelta {
            entry_id: EntryId { kind: EntryKind::FunctionCall, uuid },
            output_index,
            call: Arc::new(CallHead { tool_call_id, name }),
            author,
            arguments,
        }),
    ]
}

/// Events of this turn with these inputs; half of them say what an export has said already.
pub(crate) fn event(turn: Turn, inputs: Vec<Arc<Entry>>) -> impl Strategy<Value = Event> {
    let (conversation_id, parent_id) = (turn.conversation_id, turn.parent_id);
    let done = turn.outputs.first().cloned();
    let started =
        move |inputs: Vec<Arc<Entry>>| EventKind::ResponseStarted { conversation_id, parent_id, inputs: inputs.into() };
    let kind = prop_oneof![
        delta(),
        vec(entry().prop_map(Arc::new), 1..3).prop_map(started),
        Just(started(inputs)),
        entry().prop_map(|entry| EventKind::EntryDone { entry: Arc::new(entry) }),
        entry().prop_map(move |entry| EventKind::EntryDone { entry: done.clone().unwrap_or(Arc::new(entry)) }),
        self::turn().prop_map(|turn| EventKind::ResponseDone { turn: Arc::new(turn) }),
        Just(EventKind::ResponseDone { turn: Arc::new(turn) }),
        failure().prop_map(|failure| EventKind::ResponseError { failure: Arc::new(failure) }),
        (text(), 0..9u32, count(), failure()).prop_map(|(model, attempt, delay_ms, failure)| {
            EventKind::UpstreamRetry { model, attempt, delay_ms, failure: Arc::new(failure) }
        }),
        (text(), text(), 0..9u32, failure()).prop_map(|(from_model, to_model, attempts, failure)| {
            EventKind::UpstreamSwitched { from_model, to_model, attempts, failure: Arc::new(failure) }
        }),
    ];
    (1..1_000_000u64, 0..5u64, time(), kind).prop_map(|(first_sequence, merged, created_at, kind)| Event {
        sequence: first_sequence + merged,
        first_sequence,
        created_at,
        kind,
    })
}

pub(crate) fn turn_with_inputs() -> impl Strategy<Value = (Turn, Vec<Arc<Entry>>)> {
    (turn(), entries())
}

fn schema() -> impl Strategy<Value = Map<String, Value>> {
    let property = prop_oneof![
        (0i64..1 << 50).prop_map(|least| json!({"type": "integer", "minimum": least})),
        Just(json!({"type": "number", "maximum": 0.5, "default": null})),
        text().prop_map(|text| json!({"enum": [text, true, -1, {"a": []}]})),
    ];
    prop::collection::hash_map(name(), property, 0..4).prop_map(|properties| {
        let schema = json!({"type": "object", "properties": Map::from_iter(properties)});
        serde_json::from_value(schema).expect("an object")
    })
}

fn tools() -> impl Strategy<Value = Vec<Tool>> {
    let function = (text(), option::of(schema()), any::<bool>());
    prop::collection::btree_map(name(), function, 0..4).prop_map(|functions| {
        let tool = |(name, (description, parameters, strict))| {
            Tool::Function(Function { name, description, parameters, strict })
        };
        functions.into_iter().map(tool).collect()
    })
}

fn format() -> impl Strategy<Value = ResponseFormat> {
    let fitting = (name(), text(), schema(), any::<bool>());
    prop_oneof![
        Just(ResponseFormat::Text),
        Just(ResponseFormat::JsonObject),
        fitting.prop_map(|(name, description, schema, strict)| {
            ResponseFormat::JsonSchema { name, description, schema, strict }
        }),
    ]
}

fn choice() -> impl Strategy<Value = ToolChoice> {
    prop_oneof![
        select(vec![ToolChoice::Auto, ToolChoice::None, ToolChoice::Any, ToolChoice::Required]),
        name().prop_map(ToolChoice::Function),
    ]
}

// The strategies of large messages are boxed: their trees of nested tuples outgrow a test thread's stack otherwise.
pub(crate) fn completion_args() -> BoxedStrategy<CompletionArgs> {
    let tokens = || option::of(1u32..=i32::MAX.unsigned_abs());
    let penalty = || option::of(-2.0..=2.0f64);
    let numbers = (option::of(0.0..=1.5f64), option::of(0.1..=1.0f64), tokens(), tokens(), tokens());
    let more = (option::of(count()), penalty(), penalty(), option::of(0.1..10.0f64), vec("[a-z]{1,4}", 0..3));
    let choices = (option::of(format()), option::of(choice()), option::of(any::<bool>()), option::of("[a-z]{1,9}"));
    let switches = (
        option::of(select(ReasoningEffort::ALL.to_vec())),
        option::of(any::<bool>()),
        text(),
        select(vec!["", "reasoning"]),
        select(vec!["", "auto", "standard_only"]),
        vec(schema(), 0..3),
    );
    (numbers.boxed(), more.boxed(), choices.boxed(), switches.boxed())
        .prop_map(|(numbers, more, choices, switches)| {
            let (temperature, top_p, max_tokens, min_tokens, top_k) = numbers;
            let (random_seed, presence_penalty, frequency_penalty, repetition_penalty, stop) = more;
            let (response_format, tool_choice, parallel_tool_calls, prediction) = choices;
            let (reasoning_effort, safe_prompt, prompt_cache_key, prompt_mode, service_tier, guardrails) = switches;
            CompletionArgs {
                temperature,
                top_p,
                max_tokens,
                stop,
                random_seed,
                presence_penalty,
                frequency_penalty,
                response_format,
                tool_choice,
                parallel_tool_calls,
                prediction,
                reasoning_effort,
                safe_prompt,
                prompt_cache_key,
                prompt_mode: prompt_mode.to_owned(),
                service_tier: service_tier.to_owned(),
                min_tokens,
                repetition_penalty,
                top_k,
                guardrails,
            }
        })
        .boxed()
}

/// The version that this turn made.
pub(crate) fn version(turn: &Turn) -> BoxedStrategy<Version> {
    let id = turn.id.conversation();
    let (parent_id, turn_state) = (turn.parent_id, turn.state);
    let settings = (name(), option::of(name()), text(), tools(), completion_args());
    let metadata = prop::collection::btree_map(name(), text(), 0..4);
    let last = option::of((select(EntryKind::ALL.to_vec()), uuid()));
    let place = (conversation_id(), time(), 0..1_000_000u64, count(), vec(text(), 0..3), last);
    (settings.boxed(), metadata, place.boxed(), spending::spend().boxed())
        .prop_map(move |(settings, metadata, place, (spend, tree_budget))| {
            let (model, agent_id, instructions, tools, completion_args) = settings;
            let (root_id, created_at, entry_count, turn_count, pending_calls, last) = place;
            Version {
                id,
                parent_id,
                root_id: if parent_id.is_none() { id } else { root_id },
                turn_state,
                created_at,
                settings: Arc::new(Settings {
                    model,
                    agent_id,
                    instructions,
                    tools,
                    completion_args,
                    metadata,
                    tree_budget,
                }),
                entry_count,
                turn_count,
                spend,
                pending_calls,
                last_entry: last.map(|(kind, uuid)| EntryId { kind, uuid }),
            }
        })
        .boxed()
}
