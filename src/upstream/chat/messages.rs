//! A history as messages, kept encoded so that a long one costs a turn only its new entries.
//!
//! Entries are grouped into messages under the order rules of `mistral-common` (`validator.py`), the strictest that are known;
//! who is less strict takes them too: an answer's text and the
//! calls beside it are one assistant message, and so are an answer that was cut off and its continuation. A group stays open
//! until an entry comes that can't belong to it; only then is it encoded for good. So `extend` gives the same messages
//! wherever a history is split.
//!
//! Where the target takes no system message, it is told as a user message. What a message is in the JSON of the target's endpoint
//! is decided only when it is written.

use std::sync::Arc;

use super::{
    content,
    dialect::{Place, Target},
    losses::Losses,
    render, wire,
};
use crate::{
    domain::{
        Body, Chunk, Entry, Failure, Omission,
        entry::{FunctionResult, MessageInput, OutputStatus, Role, ToolExecution},
    },
    upstream::pages::Pages,
};

/// A history as messages.
#[derive(Clone, Default)]
pub(in crate::upstream) struct Messages {
    /// The messages that no further entry can change, each with a comma before it.
    closed: Pages,
    /// The entries of the message that further entries may still join: an assistant's, or one system message.
    open: Vec<Arc<Entry>>,
    /// The last closed message is an assistant's or a tool's.
    after_answer: bool,
    /// The function calls that results may answer now.
    calls: Vec<Arc<Entry>>,
    /// What the messages do not hold of the history.
    losses: Losses,
}

/// The last message of a history, encoded for one request.
pub(in crate::upstream) struct End {
    /// It, with a comma before it; empty if all messages are closed.
    pub(in crate::upstream) json: Vec<u8>,
    /// The text that the model is asked to continue; `None`: it is asked for a new message.
    pub(in crate::upstream) continued: Option<String>,
}

impl Messages {
    /// The history with more entries. Fails with INVALID_REQUEST, and a violation for each, if they hold chunks that the target
    /// can't be told of.
    pub(in crate::upstream) fn extend(&self, entries: &[Arc<Entry>], target: Target<'_>) -> Result<Messages, Failure> {
        let mut next = self.clone();
        next.losses.take(entries, target)?;
        let mut json = Vec::new();
        for entry in entries {
            next.take(entry, target, &mut json);
        }
        next.closed.push(json);
        Ok(next)
    }

    /// What the messages do not hold of the history, one a kind.
    pub(in crate::upstream) fn omissions(&self) -> &[Omission] {
        self.losses.omissions()
    }

    /// How long the messages are, encoded.
    pub(in crate::upstream) fn size_bytes(&self, target: Target<'_>) -> usize {
        // An open message is short and seldom: it is encoded to be measured.
        let mut json = Vec::new();
        if !self.open.is_empty() {
            render::write_assistant(&mut json, &self.open, target);
        }
        self.closed.size_bytes() + json.len()
    }

    /// The closed messages.
    pub(in crate::upstream) fn closed(&self) -> &Pages {
        &self.closed
    }

    /// The last message as a request carries it. With `continue_last` the model is asked to continue an assistant's message.
    pub(in crate::upstream) fn end(&self, target: Target<'_>, continue_last: bool) -> End {
        let mut json = Vec::new();
        let mut continued = None;
        if let Some(system) = as_system(&self.open) {
            render::write(&mut json, &system_message(system, false, target), target);
        } else if continue_last {
            continued = render::write_prefix(&mut json, &self.open, target);
        } else {
            render::write_assistant(&mut json, &self.open, target);
        }
        End { json, continued }
    }

    fn take(&mut self, entry: &Arc<Entry>, target: Target<'_>, json: &mut Vec<u8>) {
        if !self.takes_in(&entry.body) {
            self.close(target, json);
        }
        match &entry.body {
            Body::MessageInput(MessageInput { role: Role::User, content, prefix: _ }) => {
                let content = content::content(content, Place::User, target);
                self.write_plain(json, &wire::Message::User { content }, target);
            }
            Body::FunctionResult(result) => self.write_result(json, result, target),
            Body::MessageInput(MessageInput { role: Role::System | Role::Assistant, .. })
            | Body::MessageOutput(_)
            | Body::FunctionCall(_) => self.open.push(entry.clone()),
            Body::ToolExecution(run) if self.answers(run) => self.write_run(json, run, target),
            // What was asked for beside it may follow, and belongs to the same message.
            Body::ToolExecution(_) | Body::AgentHandoff(_) | Body::HumanHandoff(_) => self.open.push(entry.clone()),
        }
    }

    /// Whether an entry of this kind, coming next, belongs to the open message.
    fn takes_in(&self, next: &Body) -> bool {
        let Some(last) = self.open.last() else { return false };
        if as_system(&self.open).is_some() {
            return false;
        }
        match next {
            Body::MessageInput(_) | Body::FunctionResult(_) => false,
            Body::ToolExecution(run) if run.tool_call_id.is_some() => false,
            // Functions wait for their results, before which no new message may begin.
            Body::MessageOutput(_) => self.waits_for_results() || is_unfinished(&last.body),
            Body::ToolExecution(run) if is_answered(&last.body) => run.parallel || self.waits_for_results(),
            Body::FunctionCall(_) | Body::AgentHandoff(_) | Body::HumanHandoff(_) if is_answered(&last.body) => {
                self.waits_for_results()
            }
            Body::FunctionCall(_) | Body::ToolExecution(_) | Body::AgentHandoff(_) | Body::HumanHandoff(_) => true,
        }
    }

    /// Whether a run is the answer to a call that stands in a message of its own.
    fn answers(&self, run: &ToolExecution) -> bool {
        let Some(id) = &run.tool_call_id else { return false };
        let is_it = |entry: &Arc<Entry>| matches!(&entry.body, Body::FunctionCall(call) if call.tool_call_id == *id);
        self.calls.iter().any(is_it)
    }

    fn write_run(&mut self, json: &mut Vec<u8>, run: &ToolExecution, target: Target<'_>) {
        render::write(json, &render::agreed(run, target), target);
        self.after_answer = true;
    }

    fn waits_for_results(&self) -> bool {
        self.open.iter().any(|entry| matches!(entry.body, Body::FunctionCall(_)))
    }

    fn close(&mut self, target: Target<'_>, json: &mut Vec<u8>) {
        let open = std::mem::take(&mut self.open);
        if let Some(system) = as_system(&open) {
            let message = system_message(system, !self.after_answer, target);
            self.write_plain(json, &message, target);
        } else if render::write_assistant(json, &open, target) {
            self.after_answer = true;
            self.calls = open.into_iter().filter(|entry| matches!(entry.body, Body::FunctionCall(_))).collect();
        }
    }

    /// Writes a user's or a system message.
    fn write_plain(&mut self, json: &mut Vec<u8>, message: &wire::Message<'_>, target: Target<'_>) {
        render::write(json, message, target);
        self.after_answer = false;
        self.calls.clear();
    }

    fn write_result(&mut self, json: &mut Vec<u8>, result: &FunctionResult, target: Target<'_>) {
        render::write(json, &render::result(result, &self.calls, target), target);
        self.after_answer = true;
    }
}

/// The content of the open message, if it is a system message.
fn as_system(open: &[Arc<Entry>]) -> Option<&[Chunk]> {
    let Body::MessageInput(MessageInput { role: Role::System, content, prefix: _ }) = &open.first()?.body else {
        return None;
    };
    Some(content)
}

/// A system message. `fits`: even Mistral takes one here.
fn system_message<'a>(system: &'a [Chunk], fits: bool, target: Target<'_>) -> wire::Message<'a> {
    let content = content::content(system, Place::System, target);
    if target.takes_system(fits) {
        return wire::Message::System { content };
    }
    let text = format!("<system>\n{}\n</system>", content::text_of(&content));
    wire::Message::User { content: wire::Content::Text(text.into()) }
}

/// Whether it is a call that was answered at once.
fn is_answered(body: &Body) -> bool {
    match body {
        Body::ToolExecution(_) | Body::AgentHandoff(_) | Body::HumanHandoff(_) => true,
        Body::MessageInput(_) | Body::MessageOutput(_) | Body::FunctionCall(_) | Body::FunctionResult(_) => false,
    }
}

/// Whether the model's next message goes on with this one.
fn is_unfinished(body: &Body) -> bool {
    match body {
        Body::MessageInput(message) => message.role == Role::Assistant && message.prefix,
        Body::MessageOutput(message) => message.status == OutputStatus::Incomplete,
        Body::FunctionCall(_)
        | Body::FunctionResult(_)
        | Body::ToolExecution(_)
        | Body::AgentHandoff(_)
        | Body::HumanHandoff(_) => false,
    }
}
