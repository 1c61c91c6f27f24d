//! Entries as a person reads them.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;

use super::pending::needs_consent;
use crate::proto::{
    AgentHandoff, Chunk, Decision, Entry, FunctionCall, FunctionResult, MessageInput, OutputStatus, Role,
    ToolExecution, chunk, decision::Verdict, entry,
};

/// The names of agents, by their ids, as far as they are known.
pub(super) type Names = HashMap<String, String>;

/// The text of some content; what is no text stands in brackets. Thinking is left out.
pub(super) fn plain(content: &[Chunk]) -> String {
    content.iter().map(chunk_text).collect()
}

/// The text of a chunk, empty for thinking.
pub(super) fn chunk_text(chunk: &Chunk) -> String {
    match &chunk.kind {
        Some(chunk::Kind::Text(text)) => text.clone(),
        Some(chunk::Kind::ImageUrl(image)) => format!("[image {}]", shortened(&image.url, 60)),
        Some(chunk::Kind::DocumentUrl(document)) => format!("[document {}]", shortened(&document.url, 60)),
        Some(chunk::Kind::ToolFile(file)) => format!("[file {} {}]", file.file_name, file.file_id),
        Some(chunk::Kind::ToolReference(source)) => format!("[{} {}]", source.title, source.url),
        Some(chunk::Kind::InputAudio(_)) => "[audio]".into(),
        Some(chunk::Kind::File(file)) => format!("[file {}]", file.file_id),
        Some(chunk::Kind::Reference(reference)) => format!("[{}]", reference.reference_ids.join(", ")),
        Some(chunk::Kind::Thinking(_)) | None => String::new(),
    }
}

/// A call as it would stand in code.
pub(super) fn call(call: &FunctionCall) -> String {
    format!("{}({})", call.name, call.arguments)
}

/// The same for somebody who decides on it: nothing in it is hidden, or turns round what stands beside it.
pub(super) fn whole_call(asked: &FunctionCall) -> String {
    let shown = |c: char| match c {
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => {
            c.escape_unicode().to_string()
        }
        '\n' | '\t' => c.to_string(),
        c if c.is_control() => c.escape_unicode().to_string(),
        c => c.to_string(),
    };
    call(asked).chars().map(shown).collect()
}

/// The message, if it is one that the user put in.
pub(super) fn question(entry: &Entry) -> Option<&MessageInput> {
    match &entry.kind {
        Some(entry::Kind::MessageInput(message)) if message.role() == Role::User => Some(message),
        _ => None,
    }
}

/// Who speaks in an entry, and what is said.
pub(super) fn spoken(entry: &Entry, names: &Names) -> (String, String) {
    match &entry.kind {
        Some(entry::Kind::MessageInput(message)) => {
            let who = match message.role() {
                Role::User => "you",
                Role::System => "system",
                Role::Assistant => "assistant",
                Role::Unspecified => "somebody",
            };
            (who.into(), plain(&message.content))
        }
        Some(entry::Kind::MessageOutput(message)) => (author(entry, names), plain(&message.content)),
        Some(entry::Kind::FunctionCall(asked)) => {
            let what = if needs_consent(asked) { "asks for consent to" } else { "asks for" };
            (format!("{} {what}", author(entry, names)), call(asked))
        }
        Some(entry::Kind::FunctionResult(result)) => (answered(result), plain(&result.content)),
        Some(entry::Kind::ToolExecution(run)) => executed(run),
        Some(entry::Kind::AgentHandoff(handoff)) => ("handoff".into(), handed_over(handoff)),
        Some(entry::Kind::HumanHandoff(handoff)) => {
            (format!("{} asks a person", author(entry, names)), handoff.message.clone())
        }
        None => ("unknown".into(), "an entry of a kind that this version does not know".into()),
    }
}

/// Learns names from a handoff.
pub(super) fn learn(names: &mut Names, entry: &Entry) {
    if let Some(entry::Kind::AgentHandoff(handoff)) = &entry.kind {
        let AgentHandoff { previous_agent_id, previous_agent_name, next_agent_id, next_agent_name } = handoff;
        for (id, name) in [(previous_agent_id, previous_agent_name), (next_agent_id, next_agent_name)] {
            if !name.is_empty() {
                names.insert(id.clone(), name.clone());
            }
        }
    }
}

/// From whom to whom.
pub(super) fn handed_over(handoff: &AgentHandoff) -> String {
    match handoff.previous_agent_name.as_str() {
        "" => format!("the conversation is handed over to {}", handoff.next_agent_name),
        previous => format!("{previous} hands over to {}", handoff.next_agent_name),
    }
}

/// How long something took.
pub(super) fn took(duration: Duration) -> String {
    match duration.as_millis() {
        millis @ 0..1000 => format!("{millis} ms"),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

/// A time as we reckon with it; none if it is out of range.
pub(super) fn time(time: &prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(time.seconds, time.nanos).ok()
}

fn author(entry: &Entry, names: &Names) -> String {
    let name = names.get(&entry.agent_id).unwrap_or(&entry.agent_id);
    match (name.as_str(), entry.model.as_str()) {
        ("", "") => "assistant".into(),
        ("", model) => model.to_owned(),
        (agent, _) => agent.to_owned(),
    }
}

fn answered(result: &FunctionResult) -> String {
    let Some(decision) = &result.decision else {
        let who = if result.is_error { "the function failed" } else { "the function returned" };
        return who.into();
    };
    match decision.verdict() {
        Verdict::Denied => format!("{} did not agree", person(decision)),
        Verdict::Expired => "nobody agreed in time".into(),
        Verdict::Skipped => "the call was skipped".into(),
        Verdict::Allowed | Verdict::Unspecified => format!("{} decided", person(decision)),
    }
}

fn executed(run: &ToolExecution) -> (String, String) {
    let mut who = format!("tool {}", run.name);
    if let Some(duration) = run.duration.and_then(|duration| Duration::try_from(duration).ok()) {
        who.push_str(&format!(", {}", took(duration)));
    }
    if let Some(decision) = &run.decision {
        who.push_str(&format!(", {} agreed", person(decision)));
    }
    let asked = format!("{}({})", run.name, run.arguments);
    let came = match (run.status(), run.error.as_str()) {
        (OutputStatus::Incomplete, _) => "was cut off; whether it did its work is not known".to_owned(),
        (_, "") => plain(&run.result),
        (_, error) => format!("failed: {error}"),
    };
    (who, format!("{asked}\n{came}").trim_end().to_owned())
}

fn person(decision: &Decision) -> &str {
    if decision.decided_by.is_empty() { "a person" } else { &decision.decided_by }
}

/// The first words, on one line, of at most so many characters.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        None => line,
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
    }
}

#[cfg(test)]
mod tests;
