//! What an answer says, whichever endpoint it comes from: its text, thinking and other chunks as pieces, and how much of it there
//! may be.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    calls::{self, Calls},
    chunks,
    echo::Echo,
    pieces::Pieces,
    wire,
};
use crate::{
    domain::{Chunk, Failure, entry::Thinking},
    upstream::{Form, Piece, origin::Origin},
};

/// What an answer says so far.
pub(in crate::upstream) struct Output {
    pub(in crate::upstream) origin: Origin,
    form: Form,
    pieces: Pieces,
    calls: Calls,
    echo: Option<Echo>,
    bytes: usize,
    max_bytes: usize,
    /// The model has said that it came to its end.
    pub(in crate::upstream) is_finished: bool,
    /// Nothing more comes.
    pub(in crate::upstream) is_done: bool,
}

impl Output {
    /// `continued`: the text that the model was asked to continue. More output than `max_bytes` is an error.
    pub(in crate::upstream) fn new(origin: Origin, form: Form, continued: Option<String>, max_bytes: usize) -> Output {
        Output {
            origin,
            form,
            pieces: Pieces::default(),
            calls: Calls::default(),
            echo: continued.and_then(Echo::new),
            bytes: 0,
            max_bytes,
            is_finished: false,
            is_done: false,
        }
    }

    /// The next piece that is there to be given. While more comes, what may still grow waits.
    pub(in crate::upstream) fn pop(&mut self) -> Option<Piece> {
        self.pieces.pop(!self.is_done)
    }

    /// Whether nothing was said yet.
    pub(in crate::upstream) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Whether functions are called.
    pub(in crate::upstream) fn has_calls(&self) -> bool {
        self.calls.any()
    }

    /// The model came to its end: nothing is held back, and every call has to have its name.
    pub(in crate::upstream) fn close(&mut self) -> Result<(), Failure> {
        self.release_echo();
        if self.calls.all_named() { Ok(()) } else { Err(self.origin.protocol("a function call has no name")) }
    }

    /// The body has ended, which it may only when the model is finished.
    pub(in crate::upstream) fn end(&mut self) -> Result<(), Failure> {
        self.is_done = true;
        if self.is_finished {
            return Ok(());
        }
        self.release_echo();
        Err(self.origin.protocol("it was cut off before the model had finished"))
    }

    /// A body or an event.
    pub(in crate::upstream) fn parse<T: DeserializeOwned>(&self, json: &[u8]) -> Result<T, Failure> {
        serde_json::from_slice(json).map_err(|error| {
            // serde's own text quotes what it found.
            let what = match error.classify() {
                serde_json::error::Category::Data => {
                    format!("JSON of another shape than {} promise", self.form.name())
                }
                serde_json::error::Category::Syntax => "no JSON".to_owned(),
                serde_json::error::Category::Eof => "JSON that ends too early".to_owned(),
                serde_json::error::Category::Io => "not readable".to_owned(),
            };
            self.origin.protocol(format!("it is {what} (line {}, column {})", error.line(), error.column()))
        })
    }

    /// A piece that counts for nothing, or was counted.
    pub(in crate::upstream) fn push(&mut self, piece: Piece) {
        self.pieces.push(piece);
    }

    /// Something that is no text, of so many bytes.
    pub(in crate::upstream) fn take_piece(&mut self, piece: Piece, bytes: usize) -> Result<(), Failure> {
        self.interrupt_echo();
        self.count(bytes)?;
        self.pieces.push(piece);
        Ok(())
    }

    pub(in crate::upstream) fn take_text(&mut self, text: String) -> Result<(), Failure> {
        self.count(text.len())?;
        let new = match self.echo.take() {
            None => text,
            Some(echo) => match echo.strip(text) {
                Ok(waiting) => {
                    self.echo = Some(waiting);
                    return Ok(());
                }
                Err(new) => new,
            },
        };
        self.push_text(new);
        Ok(())
    }

    /// Content in either of its forms.
    pub(in crate::upstream) fn take_content(&mut self, content: wire::PartContent) -> Result<(), Failure> {
        match content {
            wire::PartContent::Text(text) => self.take_text(text),
            wire::PartContent::Chunks(chunks) => chunks.into_iter().try_for_each(|chunk| self.take_chunk(chunk)),
        }
    }

    /// Thinking that is told as plain text.
    pub(in crate::upstream) fn take_thought(&mut self, text: String) -> Result<(), Failure> {
        let bytes = text.len();
        let provider = self.origin.provider.to_string();
        let content = vec![Chunk::Text(text)];
        self.take_piece(Piece::Thinking(Thinking { content, signature: String::new(), closed: true, provider }), bytes)
    }

    /// A chunk; one of a kind that is not known is passed over.
    pub(in crate::upstream) fn take_chunk(&mut self, object: Map<String, Value>) -> Result<(), Failure> {
        let bytes = chunks::size_bytes(&object);
        let Some(chunk) = chunks::decode(object, &self.origin.provider) else { return Ok(()) };
        let piece = match chunk {
            Chunk::Text(text) => return self.take_text(text),
            Chunk::Thinking(thinking) => Piece::Thinking(thinking),
            other @ (Chunk::ImageUrl { .. }
            | Chunk::DocumentUrl { .. }
            | Chunk::ToolFile { .. }
            | Chunk::ToolReference { .. }
            | Chunk::InputAudio { .. }
            | Chunk::File { .. }
            | Chunk::Reference { .. }) => Piece::Chunk(other),
        };
        self.take_piece(piece, bytes)
    }

    /// A piece of a call, the one at `position` of `of` pieces that came together.
    pub(in crate::upstream) fn take_call(
        &mut self,
        call: wire::ToolCallPart,
        position: usize,
        of: usize,
    ) -> Result<(), Failure> {
        self.interrupt_echo();
        self.count(calls::size_bytes(&call))?;
        let before = self.calls.size_bytes();
        if let Some(piece) = self.calls.take(call, position, of) {
            self.pieces.push(piece);
        }
        self.count(self.calls.size_bytes() - before)
    }

    /// No more text comes: what was held back as a repetition was none.
    pub(in crate::upstream) fn release_echo(&mut self) {
        if let Some(echo) = self.echo.take() {
            self.push_text(echo.held());
        }
    }

    /// Something that is no text came: text that was held back as a repetition was none. Before any text it says nothing.
    fn interrupt_echo(&mut self) {
        if self.echo.as_ref().is_some_and(Echo::holds_text) {
            self.release_echo();
        }
    }

    fn push_text(&mut self, text: String) {
        if !text.is_empty() {
            self.pieces.push(Piece::Text(text));
        }
    }

    /// So many bytes of output came.
    pub(in crate::upstream) fn count(&mut self, bytes: usize) -> Result<(), Failure> {
        self.bytes += bytes;
        if self.bytes.saturating_add(self.pieces.missing_bytes()) <= self.max_bytes {
            return Ok(());
        }
        Err(self.origin.protocol(format!("it is longer than {} bytes", self.max_bytes)))
    }
}
