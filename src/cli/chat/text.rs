//! Entries as a person reads them.

use crate::proto::{Chunk, Entry, FunctionCall, MessageInput, Role, chunk, entry};

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

/// The message, if it is one that the user put in.
pub(super) fn question(entry: &Entry) -> Option<&MessageInput> {
    match &entry.kind {
        Some(entry::Kind::MessageInput(message)) if message.role() == Role::User => Some(message),
        _ => None,
    }
}

/// Who speaks in an entry, and what is said.
pub(super) fn spoken(entry: &Entry) -> (String, String) {
    let model = || if entry.model.is_empty() { "assistant".to_owned() } else { entry.model.clone() };
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
        Some(entry::Kind::MessageOutput(message)) => (model(), plain(&message.content)),
        Some(entry::Kind::FunctionCall(asked)) => (format!("{} asks for", model()), call(asked)),
        Some(entry::Kind::FunctionResult(result)) => {
            let who = if result.is_error { "the function failed" } else { "the function returned" };
            (who.into(), plain(&result.content))
        }
        Some(entry::Kind::ToolExecution(run)) => (format!("tool {}", run.name), plain(&run.result)),
        Some(entry::Kind::AgentHandoff(handoff)) => ("handoff".into(), format!("to {}", handoff.next_agent_name)),
        Some(entry::Kind::HumanHandoff(handoff)) => ("handoff to a person".into(), handoff.message.clone()),
        None => ("unknown".into(), "an entry of a kind that this version does not know".into()),
    }
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
mod tests {
    use super::*;

    #[test]
    fn the_first_words_fit_one_line() {
        assert_eq!(shortened(" what\n is  sled? ", 20), "what is sled?");
        assert_eq!(shortened("Größe und Höhe", 6), "Größe…");
        assert_eq!(shortened("", 3), "");
    }
}
