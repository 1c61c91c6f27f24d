//! A turn's inputs: each entry by itself, and what holds among them. Whether they fit the history is the engine's to say.

use std::collections::HashSet;

use prost::Message;

use super::{entry, path::Path, violations::Violations};
use crate::{
    domain::{
        Body, EntryDraft,
        entry::{MessageInput, Role},
    },
    proto,
};

const MAX_INPUTS: usize = 4096;
/// All inputs together: a request of 4 MiB keeps room for instructions and tools.
const MAX_BYTES: usize = 3 << 20;

/// What the inputs must be for the model to have something to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Anything: there is a history before them, or no model is asked.
    Any,
    /// They are all that there is.
    Answerable,
}

/// What `input` and `inputs` of the message at `at` hold.
pub(super) fn read(
    at: &Path<'_>,
    input: String,
    inputs: Vec<proto::Entry>,
    end: End,
    violations: &mut Violations,
) -> Vec<EntryDraft> {
    if !input.is_empty() && !inputs.is_empty() {
        let at = at.field("input");
        violations.add(&at, format_args!("must be left out when `inputs` is given, which has {}", inputs.len()));
    }
    if inputs.len() > MAX_INPUTS {
        let at = at.field("inputs");
        violations
            .add(&at, format_args!("must be at most {MAX_INPUTS} entries, has {}: send several turns", inputs.len()));
        return Vec::new();
    }
    let size = input.len() + inputs.iter().map(Message::encoded_len).sum::<usize>();
    if size > MAX_BYTES {
        let at = at.field(if inputs.is_empty() { "input" } else { "inputs" });
        violations.add(&at, format_args!("must be at most {MAX_BYTES} bytes together, has {size}: send several turns"));
        return Vec::new();
    }
    if !input.is_empty() {
        return vec![EntryDraft::user(input)];
    }
    let inputs = inputs.into_iter().enumerate();
    let drafts: Vec<_> = inputs.map(|(i, entry)| entry::read_draft(&at.item("inputs", i), entry, violations)).collect();
    check_calls(at, &drafts, violations);
    check_prefixes(at, &drafts, violations);
    if end == End::Answerable {
        check_end(at, &drafts, violations);
    }
    drafts.into_iter().flatten().collect()
}

fn check_end(at: &Path<'_>, drafts: &[Option<EntryDraft>], violations: &mut Violations) {
    match drafts.last() {
        None => {
            let at = at.field("input");
            violations.add(&at, format_args!("is required: give `input` or `inputs`, or set `skip_completion`"));
        }
        Some(Some(last)) if !can_be_answered(last) => violations.add(
            &at.field("inputs"),
            format_args!(
                "must end in a user message, a function result or an assistant message with `prefix`, so that there is \
                 something to answer; to store a transcript only, set `skip_completion`"
            ),
        ),
        Some(Some(_) | None) => {}
    }
}

/// Whether a model has something to answer after this entry.
fn can_be_answered(draft: &EntryDraft) -> bool {
    match &draft.body {
        Body::MessageInput(MessageInput { role, prefix, content: _ }) => match role {
            Role::User => true,
            Role::Assistant => *prefix,
            Role::System => false,
        },
        Body::FunctionResult(_) | Body::ToolExecution(_) | Body::AgentHandoff(_) => true,
        Body::MessageOutput(_) | Body::FunctionCall(_) | Body::HumanHandoff(_) => false,
    }
}

/// A call's id names it within its history, and a call is answered once. Only what one request can show is checked here.
fn check_calls(at: &Path<'_>, drafts: &[Option<EntryDraft>], violations: &mut Violations) {
    let (mut calls, mut results) = (HashSet::new(), HashSet::new());
    for (i, draft) in drafts.iter().enumerate() {
        let item = at.item("inputs", i);
        match draft.as_ref().map(|draft| &draft.body) {
            Some(Body::FunctionCall(call)) if !calls.insert(call.tool_call_id.as_str()) => {
                let at = item.field("function_call");
                violations
                    .add(&at.field("tool_call_id"), format_args!("is the id of an earlier call too: give another"));
            }
            Some(Body::FunctionResult(result)) if !results.insert(result.tool_call_id.as_str()) => {
                let at = item.field("function_result");
                violations
                    .add(&at.field("tool_call_id"), format_args!("has a result already: each call has exactly one"));
            }
            Some(Body::ToolExecution(run)) if run.tool_call_id.as_deref().is_some_and(|id| !results.insert(id)) => {
                let at = item.field("tool_execution");
                violations
                    .add(&at.field("tool_call_id"), format_args!("has a result already: each call has exactly one"));
            }
            Some(_) | None => {}
        }
    }
}

/// A prefix is what the model goes on from. In a history that is put in again its continuation follows it at once.
fn check_prefixes(at: &Path<'_>, drafts: &[Option<EntryDraft>], violations: &mut Violations) {
    for (i, pair) in drafts.windows(2).enumerate() {
        let [Some(draft), Some(next)] = pair else { continue };
        let is_prefix = matches!(&draft.body, Body::MessageInput(message) if message.prefix);
        if is_prefix && !is_output(&next.body) {
            let at = at.item("inputs", i);
            let at = at.field("message_input");
            violations.add(
                &at.field("prefix"),
                format_args!("is for the last input, or before the output that goes on from it"),
            );
        }
    }
}

fn is_output(body: &Body) -> bool {
    match body {
        Body::MessageOutput(_) | Body::FunctionCall(_) | Body::ToolExecution(_) | Body::AgentHandoff(_) => true,
        Body::MessageInput(_) | Body::FunctionResult(_) | Body::HumanHandoff(_) => false,
    }
}
