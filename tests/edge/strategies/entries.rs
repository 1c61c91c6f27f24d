//! Entries and their chunks.

use std::sync::Arc;

use causerie::domain::{
    Body, Chunk, Entry, EntryId,
    entry::{
        AgentHandoff, Confirmation, Decision, FunctionCall, FunctionResult, HumanHandoff, MessageInput, MessageOutput,
        OutputStatus, Role, Thinking, ToolExecution, Verdict,
    },
};
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::{super::spending, name, text, time, url, uuid};

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

pub(super) fn asked() -> impl Strategy<Value = Chunk> {
    prop_oneof![
        plain(),
        image(),
        (url(), text()).prop_map(|(url, name)| Chunk::DocumentUrl { url, name }),
        "([A-Za-z0-9+/]{4}){1,3}".prop_map(|data| Chunk::InputAudio { data }),
        name().prop_map(|file_id| Chunk::File { file_id }),
    ]
}

pub(super) fn answered() -> impl Strategy<Value = Chunk> {
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
    let result = (name(), vec(prop_oneof![plain(), image()], 0..3), any::<bool>(), option::of(decision()));
    prop_oneof![
        message(),
        (vec(answered(), 0..4), status(), spending::segments()).prop_map(|(content, status, segments)| {
            Body::MessageOutput(MessageOutput { content, status, segments })
        }),
        call(name(), name()),
        result.prop_map(|(tool_call_id, content, is_error, decision)| {
            Body::FunctionResult(FunctionResult { tool_call_id, content, is_error, decision })
        }),
        run(name()),
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

fn call(
    id: impl Strategy<Value = String> + 'static,
    name: impl Strategy<Value = String> + 'static,
) -> BoxedStrategy<Body> {
    let consent = (option::of(confirmation()), option::of(time()));
    (id, name, text(), consent)
        .prop_map(|(tool_call_id, name, arguments, (confirmation, confirmation_expires_at))| {
            Body::FunctionCall(FunctionCall { tool_call_id, name, arguments, confirmation, confirmation_expires_at })
        })
        .boxed()
}

fn run(name: impl Strategy<Value = String> + 'static) -> BoxedStrategy<Body> {
    let said = (vec(prop_oneof![asked(), answered()], 0..3), text(), option::of("[a-z ]{1,9}"), status());
    let asked_for = (name, text(), option::of(super::name()), any::<bool>(), option::of(decision()));
    (said, asked_for)
        .prop_map(|((result, info, error, status), (name, arguments, tool_call_id, parallel, decision))| {
            Body::ToolExecution(ToolExecution {
                name,
                arguments,
                info,
                result,
                status,
                error,
                tool_call_id,
                parallel,
                decision,
            })
        })
        .boxed()
}

pub(super) fn confirmation() -> impl Strategy<Value = Confirmation> {
    select(vec![Confirmation::Pending, Confirmation::Allowed, Confirmation::Denied])
}

pub(super) fn decision() -> impl Strategy<Value = Decision> {
    let verdict = select(vec![Verdict::Allowed, Verdict::Denied, Verdict::Expired, Verdict::Skipped]);
    (verdict, text(), text(), time()).prop_map(|(verdict, reason, decided_by, decided_at)| Decision {
        verdict,
        reason,
        decided_by,
        decided_at,
    })
}

/// Bodies that only a store holds: what models write keeps to no rules.
fn wild_body() -> impl Strategy<Value = Body> {
    prop_oneof![
        vec(prop_oneof![asked(), answered(), text().prop_map(Chunk::Text)], 0..3).prop_map(|content| {
            let segments = Vec::new();
            Body::MessageOutput(MessageOutput { content, status: OutputStatus::Completed, segments })
        }),
        call(text(), text()),
        run(text()),
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

pub(super) fn entries() -> impl Strategy<Value = Vec<Arc<Entry>>> {
    vec(entry().prop_map(Arc::new), 0..4)
}
