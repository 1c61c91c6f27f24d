//! The sliding window: which entries of a history a model is told when it can't read all of them.
//!
//! The oldest go first, in whole stretches: what is kept begins with a user's or a system message, so that no answer stands
//! without its question and no function's result without its call. System messages at the head of the history stay, as they
//! are instructions; the last user message and all that follows it stay, as they are what is asked.

use std::{collections::HashMap, sync::Arc};

use crate::domain::{Body, Entry, Omission, OmissionKind, entry::Role};

/// What of a history is told to the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// In the order of the history.
    pub kept: Vec<Arc<Entry>>,
    /// What was left out between the system messages at the head and the rest; `None`: nothing.
    pub omission: Option<Omission>,
}

/// The most of a history that fits. `tokens` is what each entry weighs, `available` what there is for all of them: instructions,
/// tools and the answer are already taken off. `None`: what must stay does not fit.
///
/// # Panics
///
/// If there are more or fewer weights than entries.
pub fn cut(entries: &[Arc<Entry>], tokens: &[u64], available: u64) -> Option<Window> {
    assert_eq!(entries.len(), tokens.len(), "each entry has a weight");
    if sum(tokens) <= available {
        return Some(Window { kept: entries.to_vec(), omission: None });
    }
    let head = entries.iter().take_while(|entry| is_message(entry, Role::System)).count();
    let available = available.checked_sub(sum(&tokens[..head]))?;
    let start = earliest_start(&entries[head..], &tokens[head..], available)? + head;
    Some(Window { kept: [&entries[..head], &entries[start..]].concat(), omission: omission(&entries[head..start]) })
}

/// The earliest place from which everything fits and may be told without what is before it.
fn earliest_start(entries: &[Arc<Entry>], tokens: &[u64], available: u64) -> Option<usize> {
    let last_question = entries.iter().rposition(|entry| is_message(entry, Role::User)).unwrap_or(entries.len());
    let calls = answered_calls(entries);
    let mut start = None;
    let (mut told, mut earliest_call) = (0u64, usize::MAX);
    for index in (0..entries.len()).rev() {
        told = told.saturating_add(tokens[index]);
        if told > available {
            break;
        }
        earliest_call = earliest_call.min(calls[index].unwrap_or(usize::MAX));
        let begins = is_message(&entries[index], Role::User) || is_message(&entries[index], Role::System);
        if begins && index <= last_question && index <= earliest_call {
            start = Some(index);
        }
    }
    start
}

/// For each entry the call that it answers, if it is a result: the newest call of that id before it.
fn answered_calls(entries: &[Arc<Entry>]) -> Vec<Option<usize>> {
    let mut newest: HashMap<&str, usize> = HashMap::new();
    let answered = entries.iter().enumerate().map(|(index, entry)| match &entry.body {
        Body::FunctionCall(call) => {
            newest.insert(&call.tool_call_id, index);
            None
        }
        Body::FunctionResult(result) => newest.get(&*result.tool_call_id).copied(),
        Body::ToolExecution(run) => run.tool_call_id.as_deref().and_then(|id| newest.get(id).copied()),
        Body::MessageInput(_) | Body::MessageOutput(_) | Body::AgentHandoff(_) | Body::HumanHandoff(_) => None,
    });
    answered.collect()
}

fn omission(dropped: &[Arc<Entry>]) -> Option<Omission> {
    let (first, last) = (dropped.first()?, dropped.last()?);
    Some(Omission {
        kind: OmissionKind::OldEntries,
        entry_count: dropped.len() as u64,
        first_entry_id: first.id,
        last_entry_id: last.id,
    })
}

fn is_message(entry: &Entry, role: Role) -> bool {
    matches!(&entry.body, Body::MessageInput(message) if message.role == role)
}

fn sum(tokens: &[u64]) -> u64 {
    tokens.iter().fold(0, |sum, tokens| sum.saturating_add(*tokens))
}

#[cfg(test)]
mod tests;
