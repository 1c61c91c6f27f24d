//! Entries to the messages that they make.
//!
//! - An assistant message that has neither content nor calls is left out: one such message makes every later request fail.
//! - What the service or the provider ran by itself (tool executions, handoffs) is told as a call and its result. As a note in
//!   the assistant's text it would teach the model to write such notes instead of calling.
//! - A function's error is the JSON object `{"error": TEXT}` in the result: chat completions has no flag for it.

use std::{borrow::Cow, sync::Arc};

use super::{
    content,
    dialect::{Place, Target},
    wire,
};
use crate::{
    domain::{
        Body, Chunk, Entry,
        entry::{FunctionCall, FunctionResult, MessageInput, MessageOutput, OutputStatus, ToolExecution},
    },
    upstream::{Form, conversations},
};

/// Writes a message as the target's endpoint takes it, with a comma before it.
pub(super) fn write(json: &mut Vec<u8>, message: &wire::Message<'_>, target: Target<'_>) {
    match target.form {
        Form::Chat => {
            json.push(b',');
            serde_json::to_writer(json, message).expect("writing to memory can't fail, and all keys are strings");
        }
        Form::Conversations => conversations::write(json, message),
    }
}

/// Writes the assistant message that these entries make, and the results of the calls that the service or the provider
/// answered itself. False: it would be empty, and nothing was written.
pub(super) fn write_assistant(json: &mut Vec<u8>, entries: &[Arc<Entry>], target: Target<'_>) -> bool {
    let content = content::content(said(entries), Place::Assistant, target);
    let mut tool_calls = Vec::new();
    let mut results = Vec::new();
    for entry in entries {
        let Some(Called { call, answer }) = called(entry, target) else { continue };
        results.extend(answer.map(|content| wire::Message::Tool {
            tool_call_id: call.id.clone(),
            name: target.dialect.names_results().then(|| call.function.name.clone()),
            content,
        }));
        tool_calls.push(call);
    }
    if tool_calls.is_empty() && content::is_empty(&content) {
        return false;
    }
    if tool_calls.is_empty() {
        write(json, &wire::Message::Assistant { content, tool_calls, prefix: false }, target);
    } else {
        write_calls(json, content, tool_calls, target);
    }
    for result in &results {
        write(json, result, target);
    }
    true
}

/// Writes calls with what was said before them, which some take only as a message of its own.
fn write_calls(
    json: &mut Vec<u8>,
    content: wire::Content<'_>,
    tool_calls: Vec<wire::ToolCall<'_>>,
    target: Target<'_>,
) {
    if target.dialect.text_beside_calls() {
        let content = if content::is_empty(&content) { wire::Content::Nothing } else { content };
        return write(json, &wire::Message::Assistant { content, tool_calls, prefix: false }, target);
    }
    if !content::is_empty(&content) {
        write(json, &wire::Message::Assistant { content, tool_calls: Vec::new(), prefix: false }, target);
    }
    let content = wire::Content::Text("".into());
    write(json, &wire::Message::Assistant { content, tool_calls, prefix: false }, target);
}

/// Writes the assistant message that these entries make for the model to continue, and returns its text. `None`: it would be
/// empty, and nothing was written.
pub(super) fn write_prefix(json: &mut Vec<u8>, entries: &[Arc<Entry>], target: Target<'_>) -> Option<String> {
    let mut content = content::content(said(entries), Place::Assistant, target);
    if content::is_empty(&content) {
        return None;
    }
    // A thought in the last place was cut off: the model goes on thinking.
    if let wire::Content::Chunks(chunks) = &mut content
        && let Some(wire::Chunk::Thinking { closed, .. }) = chunks.last_mut()
    {
        *closed = false;
    }
    let text = content::text_of(&content);
    let prefix = target.dialect.marks_prefix();
    write(json, &wire::Message::Assistant { content, tool_calls: Vec::new(), prefix }, target);
    Some(text)
}

/// A function's result. `calls`: the calls that it may answer.
pub(super) fn result<'a>(result: &'a FunctionResult, calls: &'a [Arc<Entry>], target: Target<'_>) -> wire::Message<'a> {
    let FunctionResult { tool_call_id, content, is_error, decision: _ } = result;
    let name = calls.iter().filter(|_| target.dialect.names_results()).find_map(|entry| {
        let Body::FunctionCall(call) = &entry.body else { return None };
        (call.tool_call_id == *tool_call_id).then(|| function_name(&call.name))
    });
    let content = content::content(content, Place::Result, target);
    let content = if *is_error { as_error(content) } else { content };
    wire::Message::Tool { tool_call_id: target.dialect.tool_id(tool_call_id), name, content }
}

/// What came of a call that had to be agreed to first.
pub(super) fn agreed<'a>(run: &'a ToolExecution, target: Target<'_>) -> wire::Message<'a> {
    let id = run.tool_call_id.as_deref().unwrap_or_default();
    wire::Message::Tool {
        tool_call_id: target.dialect.tool_id(id),
        name: target.dialect.names_results().then(|| function_name(&run.name)),
        content: outcome(run, target),
    }
}

fn said(entries: &[Arc<Entry>]) -> impl Iterator<Item = &Chunk> {
    entries.iter().flat_map(|entry| match &entry.body {
        Body::MessageInput(MessageInput { content, .. }) | Body::MessageOutput(MessageOutput { content, .. }) => {
            content.as_slice()
        }
        Body::FunctionCall(_)
        | Body::FunctionResult(_)
        | Body::ToolExecution(_)
        | Body::AgentHandoff(_)
        | Body::HumanHandoff(_) => &[],
    })
}

/// An entry as a call.
struct Called<'a> {
    call: wire::ToolCall<'a>,
    /// What came of it, if no entry of its own says so.
    answer: Option<wire::Content<'a>>,
}

fn called<'a>(entry: &'a Entry, target: Target<'_>) -> Option<Called<'a>> {
    // What is no call to us has no call id. Its entry id is as unique.
    let entry_id = || target.dialect.tool_id(&entry.id.to_string()).into_owned().into();
    match &entry.body {
        Body::MessageInput(_) | Body::MessageOutput(_) | Body::FunctionResult(_) => None,
        Body::FunctionCall(FunctionCall { tool_call_id, name, arguments, .. }) => {
            let call = tool_call(target.dialect.tool_id(tool_call_id), name, arguments.into());
            Some(Called { call, answer: None })
        }
        Body::ToolExecution(run) => {
            let call = tool_call(entry_id(), &run.name, (&*run.arguments).into());
            Some(Called { call, answer: Some(outcome(run, target)) })
        }
        Body::AgentHandoff(handoff) => {
            let arguments = serde_json::json!({ "agent": handoff.next_agent_name }).to_string();
            Some(transfer(tool_call(entry_id(), "transfer_to_agent", arguments.into())))
        }
        Body::HumanHandoff(handoff) => {
            let arguments = serde_json::json!({ "message": handoff.message }).to_string();
            Some(transfer(tool_call(entry_id(), "transfer_to_human", arguments.into())))
        }
    }
}

fn tool_call<'a>(id: Cow<'a, str>, name: &'a str, arguments: Cow<'a, str>) -> wire::ToolCall<'a> {
    // A call without arguments: an empty text is not JSON.
    let arguments = if arguments.trim().is_empty() { "{}".into() } else { arguments };
    wire::ToolCall { id, kind: "function", function: wire::FunctionCall { name: function_name(name), arguments } }
}

fn transfer(call: wire::ToolCall<'_>) -> Called<'_> {
    Called { call, answer: Some(wire::Content::Text("transferred".into())) }
}

/// The name as providers take it, `[a-zA-Z0-9_-]{1,64}`. Models make names up, and one that doesn't fit would make every later
/// request of the conversation fail.
fn function_name(name: &str) -> Cow<'_, str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if (1..=64).contains(&name.len()) && name.chars().all(fits) {
        return name.into();
    }
    let name: String = name.chars().map(|c| if fits(c) { c } else { '_' }).take(64).collect();
    if name.is_empty() { "_".into() } else { name.into() }
}

fn as_error(content: wire::Content<'_>) -> wire::Content<'_> {
    let text = serde_json::json!({ "error": content::text_of(&content) }).to_string();
    match content {
        wire::Content::Nothing | wire::Content::Text(_) => wire::Content::Text(text.into()),
        wire::Content::Chunks(chunks) => {
            let others = chunks.into_iter().filter(|chunk| !matches!(chunk, wire::Chunk::Text { .. }));
            wire::Content::Chunks([wire::Chunk::Text { text: text.into() }].into_iter().chain(others).collect())
        }
    }
}

fn outcome<'a>(run: &'a ToolExecution, target: Target<'_>) -> wire::Content<'a> {
    let result = content::content(&run.result, Place::Execution, target);
    match (&run.error, run.status) {
        (Some(error), _) => as_error(match result {
            wire::Content::Nothing => wire::Content::Text(error.into()),
            wire::Content::Text(text) => wire::Content::Text(format!("{error}\n{text}").trim().to_owned().into()),
            wire::Content::Chunks(mut chunks) => {
                chunks.insert(0, wire::Chunk::Text { text: error.into() });
                wire::Content::Chunks(chunks)
            }
        }),
        (None, _) if !content::is_empty(&result) => result,
        // An empty result would say that nothing was found.
        (None, OutputStatus::Completed) if run.info.is_empty() => wire::Content::Text("done".into()),
        (None, OutputStatus::Completed) => wire::Content::Text((&*run.info).into()),
        (None, OutputStatus::Incomplete) => {
            wire::Content::Text(r#"{"error":"the tool was cut off: what it did is not known"}"#.into())
        }
    }
}
