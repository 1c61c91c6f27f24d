//! An answer while it comes in, in whichever JSON.

use super::Piece;
use crate::domain::Failure;

/// Turns the JSON of an endpoint's answers into pieces, streamed and whole alike.
pub(super) trait Answer: Send + Sync {
    /// The next piece that is there to be given.
    fn pop(&mut self) -> Option<Piece>;

    /// Nothing more is read: what waits for more is given.
    fn stop(&mut self);

    /// The model is finished: whatever befalls the connection from here on loses nothing but, perhaps, the usage.
    fn is_finished(&self) -> bool;

    /// Nothing more comes.
    fn is_done(&self) -> bool;

    /// Takes the data of a stream's event.
    fn take_event(&mut self, data: &[u8]) -> Result<(), Failure>;

    /// Takes the body of an answer that was not streamed.
    fn take_whole(&mut self, body: &[u8]) -> Result<(), Failure>;

    /// The body has ended.
    fn end(&mut self) -> Result<(), Failure>;
}
