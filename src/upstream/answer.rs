//! An answer while it comes in, in whichever JSON.

use super::{Piece, chat::Output};
use crate::domain::Failure;

/// Turns the JSON of an endpoint's answers into pieces, streamed and whole alike.
pub(super) trait Answer: Send + Sync {
    /// What was said so far.
    fn output(&self) -> &Output;

    fn output_mut(&mut self) -> &mut Output;

    /// Takes the data of a stream's event.
    fn take_event(&mut self, data: &[u8]) -> Result<(), Failure>;

    /// Takes the body of an answer that was not streamed.
    fn take_whole(&mut self, body: &[u8]) -> Result<(), Failure>;

    /// The next piece that is there to be given.
    fn pop(&mut self) -> Option<Piece> {
        self.output_mut().pop()
    }

    /// Nothing more is read: what waits for more is given.
    fn stop(&mut self) {
        self.output_mut().is_done = true;
    }

    /// The model is finished: whatever befalls the connection from here on loses nothing but, perhaps, the usage.
    fn is_finished(&self) -> bool {
        self.output().is_finished
    }

    /// Nothing more comes.
    fn is_done(&self) -> bool {
        self.output().is_done
    }

    /// The body has ended.
    fn end(&mut self) -> Result<(), Failure> {
        self.output_mut().end()
    }
}
