//! Versions and their settings.

use std::sync::Arc;

use causerie::domain::{
    EntryId, Settings, Turn, Version,
    agent::AgentPin,
    ids::EntryKind,
    settings::{CompletionArgs, ReasoningEffort, ResponseFormat, ToolChoice},
};
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::{
    super::spending,
    conversation_id, count, name, text, time,
    tools::{schema, tools},
    uuid,
};

fn format() -> impl Strategy<Value = ResponseFormat> {
    let fitting = (name(), text(), schema(), any::<bool>(), any::<bool>());
    prop_oneof![
        Just(ResponseFormat::Text),
        Just(ResponseFormat::JsonObject),
        fitting.prop_map(|(name, description, schema, strict, check)| {
            ResponseFormat::JsonSchema { name, description, schema, strict, check }
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
fn completion_args() -> BoxedStrategy<CompletionArgs> {
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

fn pin() -> impl Strategy<Value = AgentPin> {
    prop_oneof![(1..=u32::MAX).prop_map(AgentPin::Version), "[a-z]([a-z0-9_-]{0,8}[a-z0-9])?".prop_map(AgentPin::Alias),]
}

/// The version that this turn made.
pub(crate) fn version(turn: &Turn) -> BoxedStrategy<Version> {
    let id = turn.id.conversation();
    let (parent_id, turn_state) = (turn.parent_id, turn.state);
    let agent = (option::of(name()), option::of(pin()));
    let settings = (name(), agent, text(), tools(), completion_args());
    let metadata = prop::collection::btree_map(name(), text(), 0..4);
    let last = option::of((select(EntryKind::ALL.to_vec()), uuid()));
    let place = (conversation_id(), time(), 0..1_000_000u64, count(), vec(text(), 0..3), last);
    (settings.boxed(), metadata, place.boxed(), spending::spend().boxed())
        .prop_map(move |(settings, metadata, place, (spend, tree_budget))| {
            let (model, (agent_id, agent_pin), instructions, tools, completion_args) = settings;
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
                    agent_pin,
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
