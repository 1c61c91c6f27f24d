//! Chunks to message content. What chat completions doesn't take in a place is told as text or left out, so that every history
//! can be sent again; what would change the answer if it were missing is refused. `Target::takes` decides:
//!
//! | chunk          | user             | function result        | assistant              | system                 |
//! |----------------|------------------|------------------------|------------------------|------------------------|
//! | text           | as it is         | as it is               | as it is               | as it is               |
//! | image_url      | as it is         | as it is (OpenAI: refused) | `[image URL]`      | `[image URL]`          |
//! | document_url   | as it is (OpenAI: refused) | `[document NAME URL]` | `[document NAME URL]` | `[document NAME URL]` |
//! | input_audio    | as it is (OpenAI: a known file) | `[audio]` | `[audio]`              | `[audio]`              |
//! | file           | as it is         | `[file ID]`            | `[file ID]`            | `[file ID]`            |
//! | thinking       | left out         | left out               | Mistral, if this provider's: as it is, with its signature | left out |
//! | tool_file      | `[file NAME]`    | `[file NAME]`          | `[file NAME]`          | `[file NAME]`          |
//! | tool_reference | `[TITLE](URL)`   | `[TITLE](URL)`         | `[TITLE](URL)`         | `[TITLE](URL)`         |
//! | reference      | left out         | left out               | left out               | left out               |
//!
//! What a tool returned that was run for the model goes like a function's result, but nothing of it is refused.
//!
//! Mistral's conversations endpoint takes less than its chat completions: no input_audio and no file, which are refused in a
//! user's message, and text only in a function's result.
//!
//! Other providers' thinking is refused by Mistral, and so are tool_reference and tool_file outside of its Conversations API. A
//! reference is a number that means something only to the request that it came from.
//!
//! Data URIs are not told as text: they are long and say nothing.

use std::borrow::Cow;

use super::{
    dialect::{Dialect, Place, Taken, Target, audio},
    wire,
};
use crate::domain::{Chunk, entry::Thinking};

/// The content of a message: a string if all of it is text. `target`: whose thinking may go in, and in which form.
pub(super) fn content<'a>(
    chunks: impl IntoIterator<Item = &'a Chunk>,
    place: Place,
    target: Target<'_>,
) -> wire::Content<'a> {
    let mut rendered: Vec<wire::Chunk<'a>> = Vec::new();
    for chunk in chunks.into_iter().filter_map(|chunk| render(chunk, place, target)) {
        push(&mut rendered, chunk);
    }
    match rendered.pop() {
        None => wire::Content::Text(Cow::Borrowed("")),
        Some(wire::Chunk::Text { text }) if rendered.is_empty() => wire::Content::Text(text),
        Some(last) => {
            rendered.push(last);
            wire::Content::Chunks(rendered)
        }
    }
}

/// The text of content, without its other chunks.
pub(in crate::upstream) fn text_of(content: &wire::Content<'_>) -> String {
    match content {
        wire::Content::Nothing => String::new(),
        wire::Content::Text(text) => text.clone().into_owned(),
        wire::Content::Chunks(chunks) => {
            let texts = chunks.iter().filter_map(|chunk| match chunk {
                wire::Chunk::Text { text } => Some(&**text),
                wire::Chunk::ImageUrl { .. }
                | wire::Chunk::DocumentUrl { .. }
                | wire::Chunk::InputAudio { .. }
                | wire::Chunk::Recording { .. }
                | wire::Chunk::File { .. }
                | wire::Chunk::FileById { .. }
                | wire::Chunk::Thinking { .. }
                | wire::Chunk::Reference { .. }
                | wire::Chunk::ToolReference { .. } => None,
            });
            texts.collect()
        }
    }
}

pub(in crate::upstream) fn is_empty(content: &wire::Content<'_>) -> bool {
    match content {
        wire::Content::Nothing => true,
        wire::Content::Text(text) => text.is_empty(),
        wire::Content::Chunks(chunks) => chunks.is_empty(),
    }
}

/// Texts next to each other are one text: pieces of a stream, or an answer and its continuation.
fn push<'a>(rendered: &mut Vec<wire::Chunk<'a>>, chunk: wire::Chunk<'a>) {
    match (rendered.last_mut(), chunk) {
        (_, wire::Chunk::Text { text }) if text.is_empty() => {}
        (Some(wire::Chunk::Text { text: last }), wire::Chunk::Text { text }) => last.to_mut().push_str(&text),
        (_, chunk) => rendered.push(chunk),
    }
}

/// A refused chunk is left out here: who encodes has asked `Target::takes` before.
fn render<'a>(chunk: &'a Chunk, place: Place, target: Target<'_>) -> Option<wire::Chunk<'a>> {
    if let Chunk::Thinking(thinking) = chunk {
        return is_replayed(thinking, place, target).then(|| replay(thinking));
    }
    match target.takes(chunk, place) {
        Taken::Whole => whole(chunk, target.dialect),
        Taken::Told => told(chunk),
        Taken::LeftOut | Taken::Refused(_) => None,
    }
}

/// Whether a thought goes back to the provider.
pub(super) fn is_replayed(thinking: &Thinking, place: Place, target: Target<'_>) -> bool {
    place == Place::Assistant && target.dialect.replays_thinking() && thinking.provider == target.provider
}

fn whole(chunk: &Chunk, dialect: Dialect) -> Option<wire::Chunk<'_>> {
    Some(match (chunk, dialect) {
        (Chunk::Text(text), _) => wire::Chunk::Text { text: text.into() },
        (Chunk::ImageUrl { url, detail }, _) => wire::Chunk::ImageUrl { image_url: wire::ImageUrl { url, detail } },
        (Chunk::DocumentUrl { url, name }, _) => wire::Chunk::DocumentUrl { document_url: url, document_name: name },
        (Chunk::InputAudio { data }, Dialect::Mistral) => wire::Chunk::InputAudio { input_audio: data },
        (Chunk::InputAudio { data }, Dialect::OpenAi) => {
            let (data, format) = audio(data)?;
            wire::Chunk::Recording { input_audio: wire::Recording { data, format } }
        }
        (Chunk::File { file_id }, Dialect::Mistral) => wire::Chunk::File { file_id },
        (Chunk::File { file_id }, Dialect::OpenAi) => wire::Chunk::FileById { file: wire::FileId { file_id } },
        (
            Chunk::Thinking(_) | Chunk::ToolFile { .. } | Chunk::ToolReference { .. } | Chunk::Reference { .. },
            Dialect::Mistral | Dialect::OpenAi,
        ) => return None,
    })
}

fn told(chunk: &Chunk) -> Option<wire::Chunk<'_>> {
    Some(match chunk {
        Chunk::ImageUrl { url, detail: _ } => note("image", &[address(url)]),
        Chunk::DocumentUrl { url, name } => note("document", &[name, address(url)]),
        Chunk::InputAudio { data: _ } => note("audio", &[]),
        Chunk::File { file_id } => note("file", &[file_id]),
        Chunk::ToolFile { tool: _, file_id, file_name, file_type: _ } => {
            note("file", &[if file_name.is_empty() { file_id } else { file_name }])
        }
        Chunk::ToolReference { tool: _, title, url, favicon: _, description: _ } if url.is_empty() => note(title, &[]),
        Chunk::ToolReference { tool: _, title, url, favicon: _, description: _ } => {
            wire::Chunk::Text { text: format!("[{title}]({url})").into() }
        }
        Chunk::Text(_) | Chunk::Thinking(_) | Chunk::Reference { .. } => return None,
    })
}

/// `[what detail detail]`, empty details left out.
fn note(what: &str, details: &[&str]) -> wire::Chunk<'static> {
    let words = [&[what], details].concat();
    let told: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    wire::Chunk::Text { text: format!("[{}]", told.join(" ")).into() }
}

fn address(url: &str) -> &str {
    if url.starts_with("data:") { "" } else { url }
}

/// The signature covers the thinking as the provider wrote it, so nothing in it is rendered otherwise.
fn replay(thinking: &Thinking) -> wire::Chunk<'_> {
    let Thinking { content, signature, closed, provider: _ } = thinking;
    wire::Chunk::Thinking { thinking: content.iter().filter_map(thought).collect(), signature, closed: *closed }
}

fn thought(chunk: &Chunk) -> Option<wire::Chunk<'_>> {
    match chunk {
        Chunk::Text(text) => Some(wire::Chunk::Text { text: text.into() }),
        Chunk::Reference { reference_ids } => {
            Some(wire::Chunk::Reference { reference_ids: reference_ids.iter().map(|id| reference_id(id)).collect() })
        }
        Chunk::ToolReference { tool, title, url, favicon, description } => {
            Some(wire::Chunk::ToolReference { tool, title, url, favicon, description })
        }
        // Nothing else is ever in thinking.
        Chunk::ImageUrl { .. }
        | Chunk::DocumentUrl { .. }
        | Chunk::Thinking(_)
        | Chunk::ToolFile { .. }
        | Chunk::InputAudio { .. }
        | Chunk::File { .. } => None,
    }
}

/// A number again, if it was one: only such a text comes out of a number.
fn reference_id(id: &str) -> wire::ReferenceId<'_> {
    match id.parse::<u64>() {
        Ok(number) if number.to_string() == id => wire::ReferenceId::Number(number),
        Ok(_) | Err(_) => wire::ReferenceId::Name(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_ids_come_back_as_what_they_were() {
        assert_eq!(reference_id("12"), wire::ReferenceId::Number(12));
        assert_eq!(reference_id("012"), wire::ReferenceId::Name("012"));
        assert_eq!(reference_id("web-1"), wire::ReferenceId::Name("web-1"));
    }
}
