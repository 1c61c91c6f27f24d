//! Entries for the tests, in a line each.

use std::sync::Arc;

use causerie::domain::{
    Body, Chunk, Entry, EntryDraft, Time,
    entry::{
        AgentHandoff, FunctionCall, FunctionResult, HumanHandoff, MessageInput, MessageOutput, OutputStatus, Role,
        Thinking, ToolExecution,
    },
};
use uuid::Uuid;

/// Entries with ids that are the same in every run.
pub(crate) fn history(bodies: impl IntoIterator<Item = Body>) -> Vec<Arc<Entry>> {
    let numbered = bodies.into_iter().zip(1u128..);
    numbered.map(|(body, n)| Arc::new(EntryDraft::new(body).into_entry(Uuid::from_u128(n), Time::default()))).collect()
}

pub(crate) fn text(text: &str) -> Chunk {
    Chunk::Text(text.to_owned())
}

pub(crate) fn thinking(of: &str, provider: &str) -> Chunk {
    let content = vec![text(of)];
    Chunk::Thinking(Thinking { content, signature: "c2ln".to_owned(), closed: true, provider: provider.to_owned() })
}

pub(crate) fn input(role: Role, content: Vec<Chunk>) -> Body {
    Body::MessageInput(MessageInput { role, content, prefix: false })
}

pub(crate) fn user(of: &str) -> Body {
    input(Role::User, vec![text(of)])
}

pub(crate) fn system(of: &str) -> Body {
    input(Role::System, vec![text(of)])
}

/// An assistant message that the model is to continue.
pub(crate) fn prefix(of: &str) -> Body {
    Body::MessageInput(MessageInput { role: Role::Assistant, content: vec![text(of)], prefix: true })
}

pub(crate) fn output(content: Vec<Chunk>) -> Body {
    Body::MessageOutput(MessageOutput { content, status: OutputStatus::Completed, segments: vec![] })
}

pub(crate) fn answer(of: &str) -> Body {
    output(vec![text(of)])
}

/// An answer that was cut off.
pub(crate) fn cut(content: Vec<Chunk>) -> Body {
    Body::MessageOutput(MessageOutput { content, status: OutputStatus::Incomplete, segments: vec![] })
}

pub(crate) fn call(id: &str, name: &str, arguments: &str) -> Body {
    let (tool_call_id, name, arguments) = (id.to_owned(), name.to_owned(), arguments.to_owned());
    Body::FunctionCall(FunctionCall { tool_call_id, name, arguments, ..FunctionCall::default() })
}

pub(crate) fn result(id: &str, content: Vec<Chunk>) -> Body {
    Body::FunctionResult(FunctionResult { tool_call_id: id.to_owned(), content, ..FunctionResult::default() })
}

pub(crate) fn error_result(id: &str, content: Vec<Chunk>) -> Body {
    Body::FunctionResult(FunctionResult { tool_call_id: id.to_owned(), content, is_error: true, decision: None })
}

pub(crate) fn execution(name: &str, arguments: &str, info: &str, result: Vec<Chunk>, status: OutputStatus) -> Body {
    let (name, arguments, info) = (name.to_owned(), arguments.to_owned(), info.to_owned());
    Body::ToolExecution(ToolExecution { name, arguments, info, result, status, ..ToolExecution::default() })
}

pub(crate) fn agent_handoff(next: &str) -> Body {
    Body::AgentHandoff(AgentHandoff {
        previous_agent_id: "agent_1".to_owned(),
        previous_agent_name: "front desk".to_owned(),
        next_agent_id: "agent_2".to_owned(),
        next_agent_name: next.to_owned(),
    })
}

pub(crate) fn human_handoff(message: &str) -> Body {
    Body::HumanHandoff(HumanHandoff { message: message.to_owned() })
}
