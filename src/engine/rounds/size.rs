//! How much a turn may hold: all that its rounds bring must fit the message that tells the whole turn, with the last answer.

use crate::{
    domain::{Chunk, ToolOutcome},
    engine::assemble::Held,
};

/// For all rounds but the last answer, in bytes as [`Entry::size_bytes`](crate::domain::Entry::size_bytes) counts. An answer may
/// have 2 MiB, and clients take 4 MiB in a message.
pub(super) const TURN_BYTES: usize = 3 << 19;

/// The longest error of a tool that is kept.
const ERROR_BYTES: usize = 8 << 10;

/// Of an error that is kept even if there is no room any more.
const SHORT_ERROR_BYTES: usize = 256;

/// What an entry takes beside its texts, and the note or the error that it has at least.
const CALL_BYTES: usize = 256 + SHORT_ERROR_BYTES;

const NOTE: &str = "[cut: the turn has no room for more]";

/// What a call takes at least once it has run.
pub(super) fn of_call(call: &Held) -> usize {
    CALL_BYTES + call.name.len() + call.arguments.len()
}

/// What came of a call, cut to so many bytes.
pub(super) fn fit(outcome: ToolOutcome, room: usize) -> ToolOutcome {
    let ToolOutcome { content, info, error } = outcome;
    let error = error.map(|error| cut(&error, room.clamp(SHORT_ERROR_BYTES, ERROR_BYTES)).to_owned());
    let mut left = room.saturating_sub(info.len());
    let info = if info.len() > room { String::new() } else { info };
    let mut kept = Vec::with_capacity(content.len());
    for chunk in content {
        let size = chunk.size_bytes();
        if size <= left {
            left -= size;
            kept.push(chunk);
            continue;
        }
        if let Chunk::Text(text) = &chunk {
            kept.push(Chunk::Text(cut(text, left).to_owned()));
        }
        kept.push(Chunk::Text(NOTE.to_owned()));
        break;
    }
    ToolOutcome { content: kept, info, error }
}

/// The beginning of a text, whole characters.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut_to(content: Vec<Chunk>, room: usize) -> Vec<Chunk> {
        fit(ToolOutcome { content, info: String::new(), error: None }, room).content
    }

    #[test]
    fn what_fits_is_kept_as_it_is() {
        let content = vec![Chunk::Text("größe".into()), Chunk::File { file_id: "f".into() }];
        assert_eq!(cut_to(content.clone(), 100), content);
    }

    #[test]
    fn what_does_not_is_cut_between_characters_and_says_so() {
        let text = |text: &str| Chunk::Text(text.into());
        let (long, small) = (text("größe".repeat(100).as_str()), text("a"));
        let found = cut_to(vec![small.clone(), long, small.clone()], small.size_bytes() + 3);
        assert_eq!(found, [small, text("gr"), text(NOTE)]);
        let picture = Chunk::ImageUrl { url: "data:".repeat(100), detail: String::new() };
        assert_eq!(cut_to(vec![picture], 50), [text(NOTE)]);
        let outcome = ToolOutcome { content: vec![], info: "x".repeat(9), error: Some("e".repeat(9000)) };
        let found = fit(outcome, 5);
        assert_eq!((found.info.len(), found.error.map(|error| error.len())), (0, Some(SHORT_ERROR_BYTES)));
    }
}
