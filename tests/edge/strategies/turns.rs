//! Turns.

use std::sync::Arc;

use causerie::domain::{ConversationId, Entry, FinishReason, Turn, TurnState};
use proptest::{option, prelude::*, sample::select};

use super::{super::spending, conversation_id, count, entries::entries, failure, name, text, time, uuid};

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
    let led = (option::of(name()), option::of(1..=i32::MAX.unsigned_abs()));
    let said = (text(), led, entries(), spending::usage(), option::of(failure()));
    let ended = (time(), option::of(time()), count(), option::of(name()));
    (made.boxed(), said.boxed(), ended.boxed(), spending::cost().boxed())
        .prop_map(|(made, said, ended, (cost, models, omissions))| {
            let (uuid, state, finish_reason, stored, parent_id) = made;
            let (model, (agent_id, agent_version), outputs, usage, error) = said;
            let (created_at, completed_at, last_sequence, request_id) = ended;
            Turn {
                id: ConversationId(uuid).turn(),
                state,
                finish_reason,
                conversation_id: stored.then_some(ConversationId(uuid)),
                parent_id,
                model,
                agent_id,
                agent_version,
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
                background: None,
            }
        })
        .boxed()
}

pub(crate) fn turn_with_inputs() -> impl Strategy<Value = (Turn, Vec<Arc<Entry>>)> {
    (turn(), entries())
}
