//! The text of deltas on disk: a delta is nearly always the next piece of a text that the row has whole, so only its length is
//! kept. That makes an event log of any number of deltas a few bytes each, and its text is on disk once.

use super::Damaged;
use crate::domain::{Body, Chunk, Entry};

/// How far the deltas of each text have come.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    /// Entry, content index, bytes. Few, and the newest is the one that moves.
    places: Vec<(u32, u32, usize)>,
}

impl Cursors {
    fn place(&mut self, entry: u32, content: u32) -> &mut usize {
        let found = self.places.iter().rposition(|place| (place.0, place.1) == (entry, content));
        let index = found.unwrap_or_else(|| {
            self.places.push((entry, content, 0));
            self.places.len() - 1
        });
        &mut self.places[index].2
    }

    /// The length of `piece`, if it is what comes next in `whole`.
    pub(super) fn cut(&mut self, entry: u32, content: u32, whole: &str, piece: &str) -> Option<u32> {
        let place = self.place(entry, content);
        whole.as_bytes()[*place..].starts_with(piece.as_bytes()).then(|| {
            *place += piece.len();
            piece.len() as u32
        })
    }

    /// What comes next in `whole`.
    pub(super) fn take(&mut self, entry: u32, content: u32, whole: &str, len: u32) -> Result<String, Damaged> {
        let place = self.place(entry, content);
        let end = place.saturating_add(len as usize);
        let piece = whole.get(*place..end).ok_or(Damaged("a delta is longer than its text"))?;
        *place = end;
        Ok(piece.to_owned())
    }
}

/// The text of a chunk that comes in pieces: of a text, or of a thought that is one text.
pub(super) fn text_of(chunk: &Chunk) -> Option<&str> {
    match chunk {
        Chunk::Text(text) => Some(text),
        Chunk::Thinking(thinking) => match thinking.content.as_slice() {
            [Chunk::Text(text)] => Some(text),
            _ => None,
        },
        Chunk::ImageUrl { .. }
        | Chunk::DocumentUrl { .. }
        | Chunk::ToolFile { .. }
        | Chunk::ToolReference { .. }
        | Chunk::InputAudio { .. }
        | Chunk::File { .. }
        | Chunk::Reference { .. } => None,
    }
}

/// The whole text of which a message's deltas are the pieces.
pub(super) fn whole_text(entry: Option<&Entry>, content: u32) -> Option<&str> {
    match &entry?.body {
        Body::MessageOutput(message) => text_of(message.content.get(content as usize)?),
        _ => None,
    }
}

/// The whole arguments of which a call's deltas are the pieces.
pub(super) fn whole_arguments(entry: Option<&Entry>) -> Option<&str> {
    match &entry?.body {
        Body::FunctionCall(call) => Some(&call.arguments),
        _ => None,
    }
}
