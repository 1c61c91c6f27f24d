//! Events.

use std::sync::Arc;

use causerie::domain::{
    Entry, EntryId, Event, EventKind, Turn,
    event::{Author, CallHead, ToolHead},
    ids::EntryKind,
};
use proptest::{collection::vec, option, prelude::*};

use super::{
    count,
    entries::{answered, asked, confirmation, decision, entry},
    failure, name, text, time, turns, uuid,
};

fn author() -> BoxedStrategy<Arc<Author>> {
    (text(), option::of(name())).prop_map(|(model, agent_id)| Arc::new(Author { model, agent_id })).boxed()
}

fn call_head() -> BoxedStrategy<Arc<CallHead>> {
    (text(), text(), option::of(confirmation()), option::of(time()))
        .prop_map(|(tool_call_id, name, confirmation, confirmation_expires_at)| {
            Arc::new(CallHead { tool_call_id, name, confirmation, confirmation_expires_at })
        })
        .boxed()
}

fn delta() -> impl Strategy<Value = EventKind> {
    let index = 0u32..1000;
    let message = (uuid(), index.clone(), index.clone(), author(), prop_oneof![answered(), asked()]);
    let call = (uuid(), index, call_head(), author(), text());
    prop_oneof![
        message.prop_map(|(uuid, output_index, content_index, author, chunk)| EventKind::MessageOutputDelta {
            entry_id: EntryId { kind: EntryKind::MessageOutput, uuid },
            output_index,
            content_index,
            author,
            chunk,
        }),
        call.prop_map(|(uuid, output_index, call, author, arguments)| EventKind::FunctionCallDelta {
            entry_id: EntryId { kind: EntryKind::FunctionCall, uuid },
            output_index,
            call,
            author,
            arguments,
        }),
    ]
}

fn tool_head() -> BoxedStrategy<Arc<ToolHead>> {
    (text(), text(), option::of(name()), any::<bool>(), option::of(decision()))
        .prop_map(|(name, arguments, tool_call_id, parallel, decision)| {
            Arc::new(ToolHead { name, arguments, tool_call_id, parallel, decision })
        })
        .boxed()
}

fn of_tool() -> BoxedStrategy<EventKind> {
    let place = || (uuid().prop_map(|uuid| EntryId { kind: EntryKind::ToolExecution, uuid }), 0u32..1000);
    let result = vec(prop_oneof![asked(), answered()], 0..3);
    prop_oneof![
        (place(), tool_head(), author()).prop_map(|((entry_id, output_index), run, author)| {
            EventKind::ToolExecutionStarted { entry_id, output_index, run, author }
        }),
        (place(), text(), text(), text()).prop_map(|((entry_id, output_index), name, message, arguments)| {
            EventKind::ToolExecutionDelta { entry_id, output_index, name: name.into(), message, arguments }
        }),
        (place(), text(), result, text(), option::of(text())).prop_map(
            |((entry_id, output_index), name, result, info, error)| EventKind::ToolExecutionDone {
                entry_id,
                output_index,
                name: name.into(),
                result,
                info,
                error,
            }
        ),
    ]
    .boxed()
}

fn handoff() -> BoxedStrategy<EventKind> {
    let place = |kind| (uuid().prop_map(move |uuid| EntryId { kind, uuid }), 0u32..1000);
    let agents = || place(EntryKind::AgentHandoff);
    prop_oneof![
        // The agent that hands over is the author, and stands on the wire once.
        (agents(), option::of(name()), text(), text()).prop_map(
            |((entry_id, output_index), agent_id, previous_agent_name, model)| EventKind::AgentHandoffStarted {
                entry_id,
                output_index,
                previous_agent_id: agent_id.clone().unwrap_or_default(),
                previous_agent_name,
                author: Arc::new(Author { model, agent_id }),
            }
        ),
        (agents(), text(), text()).prop_map(|((entry_id, output_index), next_agent_id, next_agent_name)| {
            EventKind::AgentHandoffDone { entry_id, output_index, next_agent_id, next_agent_name }
        }),
        (place(EntryKind::HumanHandoff), text(), author()).prop_map(|((entry_id, output_index), message, author)| {
            EventKind::HumanHandoff { entry_id, output_index, message, author }
        }),
    ]
    .boxed()
}

/// Events of this turn with these inputs; half of them say what an export has said already.
pub(crate) fn event(turn: Turn, inputs: Vec<Arc<Entry>>) -> impl Strategy<Value = Event> {
    let (conversation_id, parent_id) = (turn.conversation_id, turn.parent_id);
    let done = turn.outputs.first().cloned();
    let started =
        move |inputs: Vec<Arc<Entry>>| EventKind::ResponseStarted { conversation_id, parent_id, inputs: inputs.into() };
    let kind = prop_oneof![
        delta(),
        of_tool(),
        handoff(),
        vec(entry().prop_map(Arc::new), 1..3).prop_map(started),
        Just(started(inputs)),
        entry().prop_map(|entry| EventKind::EntryDone { entry: Arc::new(entry) }),
        entry().prop_map(move |entry| EventKind::EntryDone { entry: done.clone().unwrap_or(Arc::new(entry)) }),
        turns::turn().prop_map(|turn| EventKind::ResponseDone { turn: Arc::new(turn) }),
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
