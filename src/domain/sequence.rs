//! The rules of a history's order: which inputs may follow it, and whether a model can answer it.

use super::{
    entry::{Body, Entry, EntryDraft, OutputStatus, Role},
    failure::{Failure, Reason},
};

/// The function calls of a history that wait for results, in its order.
pub fn pending_calls<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<String> {
    let mut pending = Vec::new();
    for entry in entries {
        advance(&mut pending, &entry.body);
    }
    pending
}

/// Takes one entry into the list of the calls that wait.
pub fn advance(pending: &mut Vec<String>, body: &Body) {
    match body {
        Body::FunctionCall(call) => pending.push(call.tool_call_id.clone()),
        Body::FunctionResult(result) => pending.retain(|id| *id != result.tool_call_id),
        Body::ToolExecution(run) => pending.retain(|id| Some(id) != run.tool_call_id.as_ref()),
        Body::MessageInput(_) | Body::MessageOutput(_) | Body::AgentHandoff(_) | Body::HumanHandoff(_) => {}
    }
}

/// Checks that the inputs may follow a history in which `pending` calls wait, and returns the calls that wait after them.
///
/// Calls that wait come first: nothing but their results may follow them. `TOOL_RESULTS_MISSING` lists all that are missing;
/// a result for a call that does not wait, or a call out of place, is a violation of its field.
pub fn follow(pending: &[String], inputs: &[EntryDraft]) -> Result<Vec<String>, Failure> {
    let mut open = pending.to_vec();
    for (i, input) in inputs.iter().enumerate() {
        let after_call = i > 0 && matches!(inputs[i - 1].body, Body::FunctionCall(_));
        match &input.body {
            Body::FunctionResult(result) if !open.contains(&result.tool_call_id) => {
                let field = format!("inputs[{i}].function_result.tool_call_id");
                return Err(Failure::invalid_field(field, "must name a function call that waits for its result"));
            }
            Body::FunctionResult(_) => {}
            Body::FunctionCall(call) if open.contains(&call.tool_call_id) => {
                let field = format!("inputs[{i}].function_call.tool_call_id");
                return Err(Failure::invalid_field(field, "must differ from the calls that wait for results"));
            }
            Body::FunctionCall(_) if after_call || open.is_empty() => {}
            Body::ToolExecution(run) if run.tool_call_id.as_ref().is_some_and(|id| !open.contains(id)) => {
                let field = format!("inputs[{i}].tool_execution.tool_call_id");
                return Err(Failure::invalid_field(field, "must name a function call that waits, or be left out"));
            }
            // It answers one of them, or was run beside them.
            Body::ToolExecution(run)
                if run.tool_call_id.is_some() || (run.parallel && after_call_or_run(inputs, i)) => {}
            Body::FunctionCall(_)
            | Body::MessageInput(_)
            | Body::MessageOutput(_)
            | Body::ToolExecution(_)
            | Body::AgentHandoff(_)
            | Body::HumanHandoff(_) => require_none(&open)?,
        }
        advance(&mut open, &input.body);
    }
    Ok(open)
}

/// Whether the input before is one that the model asked for together with this one.
fn after_call_or_run(inputs: &[EntryDraft], i: usize) -> bool {
    let before = i.checked_sub(1).map(|before| &inputs[before].body);
    matches!(before, Some(Body::FunctionCall(_) | Body::ToolExecution(_)))
}

/// `TOOL_RESULTS_MISSING` if calls wait.
pub fn require_none(pending: &[String]) -> Result<(), Failure> {
    if pending.is_empty() {
        return Ok(());
    }
    let ids = pending.join(", ");
    let message = format!("send the results of these function calls first: {ids}");
    Err(Failure::new(Reason::ToolResultsMissing, message).with("tool_call_ids", pending.join(",")))
}

/// What a history ends with, as far as the next answer depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// There is nothing, or nothing that asks for an answer.
    Answered,
    /// A question, a result or a handoff to an agent: the model answers it.
    Open,
    /// A piece of an answer, given or cut off: the model continues it.
    Unfinished,
}

/// What this last entry of a history means for the next answer.
pub fn ending(last: Option<&Body>) -> Ending {
    match last {
        Some(Body::MessageInput(message)) => match message.role {
            Role::User => Ending::Open,
            Role::Assistant if message.prefix => Ending::Unfinished,
            Role::Assistant | Role::System => Ending::Answered,
        },
        Some(Body::FunctionResult(_)) => Ending::Open,
        Some(Body::MessageOutput(message)) => match message.status {
            OutputStatus::Incomplete => Ending::Unfinished,
            OutputStatus::Completed => Ending::Answered,
        },
        Some(Body::ToolExecution(_) | Body::AgentHandoff(_)) => Ending::Open,
        Some(Body::FunctionCall(_) | Body::HumanHandoff(_)) | None => Ending::Answered,
    }
}
