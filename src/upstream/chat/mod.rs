//! Chat completions (`POST /v1/chat/completions`). Its JSON stays in this folder.

mod calls;
mod chunks;
mod content;
mod decode;
mod dialect;
mod echo;
mod encode;
mod errors;
#[cfg(test)]
mod golden;
mod losses;
mod messages;
mod pieces;
mod render;
mod said;
mod tool_id;
mod window;
mod wire;

pub(super) use decode::Answer;
pub(super) use dialect::Target;
pub use dialect::{Dialect, MaxTokensField};
pub(super) use encode::{Encoded, encode};
pub(super) use errors::{Refusal, refused};
pub(super) use messages::Messages;
