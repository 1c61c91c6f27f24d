//! The pieces of an answer that wait to be given, and how many there may be.
//!
//! Each becomes an event of its turn and takes 200 to 400 bytes there beside its text: 184 itself, in a list that grows by
//! doubling, and what holds the text. So 2 MiB of answer in pieces of one byte would be hundreds of MiB. But models write a piece
//! a token, of four bytes or so, and some write 250,000 tokens: 1 MiB, which must pass. Therefore the first pieces are given as
//! they come, later ones are gathered, and one that can't be counts for as much as if it were. Of 2 MiB that leaves at most
//! 16,384 + 2 MiB / 64 = 49,152 pieces: 10 to 20 MiB.

use std::collections::VecDeque;

use crate::{
    domain::{Chunk, Usage},
    upstream::Piece,
};

/// So many pieces are given as they come. Few answers have more.
const AS_THEY_COME: usize = 16 * 1024;
/// Later ones are given when they have so many bytes, about 16 tokens, or when something else comes.
const GATHERED_BYTES: usize = 64;

/// A queue of pieces.
#[derive(Default)]
pub(super) struct Pieces {
    waiting: VecDeque<Piece>,
    taken: usize,
    /// What the pieces that are not given as they come lack of [`GATHERED_BYTES`].
    missing_bytes: usize,
    /// The newest, where usage would part pieces that can be gathered.
    usage: Option<Usage>,
}

impl Pieces {
    /// Takes the next piece.
    pub(super) fn push(&mut self, piece: Piece) {
        if self.taken < AS_THEY_COME {
            self.taken += 1;
            self.waiting.push_back(piece);
            return;
        }
        if let Piece::Usage(usage) = piece {
            self.usage = Some(usage);
            return;
        }
        if let Some(piece) = self.gather(piece) {
            self.missing_bytes += missing(&piece);
            self.waiting.push_back(piece);
        }
    }

    /// The next piece that is to be given. `more_comes`: what may still grow can wait.
    pub(super) fn pop(&mut self, more_comes: bool) -> Option<Piece> {
        let grows = self.waiting.len() == 1 && self.waiting.front().is_some_and(may_grow);
        let waits = more_comes && grows && self.taken == AS_THEY_COME;
        let piece = if waits { None } else { self.waiting.pop_front() };
        piece.or_else(|| self.usage.take().map(Piece::Usage))
    }

    /// What the pieces count towards the output limit beside their texts.
    pub(super) fn missing_bytes(&self) -> usize {
        self.missing_bytes
    }

    /// Makes it a part of the one before; gives it back if it is none.
    fn gather(&mut self, piece: Piece) -> Option<Piece> {
        let Some(last) = self.waiting.back_mut().filter(|last| may_grow(last)) else { return Some(piece) };
        let before = missing(last);
        let rest = append(last, piece);
        // The last of the first ones was not counted.
        self.missing_bytes = self.missing_bytes.saturating_sub(before - missing(last));
        rest
    }
}

fn missing(piece: &Piece) -> usize {
    let bytes = match piece {
        Piece::Text(text) => text.len(),
        Piece::Thinking(thinking) => match thinking.content.last() {
            Some(Chunk::Text(text)) => text.len(),
            Some(_) | None => 0,
        },
        Piece::Chunk(_) => 0,
        Piece::Call { index: _, name: _, arguments } | Piece::ToolArguments { index: _, arguments } => arguments.len(),
        // They are few, and each counts for an entry.
        Piece::Message
        | Piece::ToolStarted { .. }
        | Piece::ToolDone { .. }
        | Piece::HandoffStarted { .. }
        | Piece::HandoffDone { .. } => GATHERED_BYTES,
        // Once an answer.
        Piece::Finish(_) | Piece::Usage(_) => GATHERED_BYTES,
    };
    GATHERED_BYTES.saturating_sub(bytes)
}

fn may_grow(piece: &Piece) -> bool {
    let goes_on = match piece {
        Piece::Text(_) | Piece::Call { .. } | Piece::ToolArguments { .. } => true,
        Piece::Thinking(thinking) => thinking.signature.is_empty(),
        Piece::Chunk(_)
        | Piece::Message
        | Piece::ToolStarted { .. }
        | Piece::ToolDone { .. }
        | Piece::HandoffStarted { .. }
        | Piece::HandoffDone { .. }
        | Piece::Finish(_)
        | Piece::Usage(_) => false,
    };
    goes_on && missing(piece) > 0
}

/// Appends a piece to one that it goes on with; gives it back if it does not.
fn append(last: &mut Piece, piece: Piece) -> Option<Piece> {
    match (last, piece) {
        (Piece::Text(text), Piece::Text(more)) => text.push_str(&more),
        (Piece::Thinking(thinking), Piece::Thinking(more)) => {
            match (thinking.content.last_mut(), more.content.as_slice()) {
                (Some(Chunk::Text(text)), [Chunk::Text(more)]) => text.push_str(more),
                _ => return Some(Piece::Thinking(more)),
            }
            thinking.signature = more.signature;
            thinking.closed = more.closed;
        }
        (Piece::Call { index, name: _, arguments }, Piece::Call { index: same, name: None, arguments: more })
            if *index == same =>
        {
            arguments.push_str(&more);
        }
        (Piece::ToolArguments { index, arguments }, Piece::ToolArguments { index: same, arguments: more })
            if *index == same =>
        {
            arguments.push_str(&more);
        }
        (_, piece) => return Some(piece),
    }
    None
}
