//! Chat completions (`POST /v1/chat/completions`). Its JSON stays in this folder.

mod calls;
mod chunks;
mod content;
mod decode;
mod echo;
mod encode;
mod errors;
#[cfg(test)]
mod golden;
mod messages;
mod render;
mod tool_id;
mod wire;

pub(super) use decode::Answer;
pub(super) use encode::{Encoded, encode};
pub(super) use errors::{Refusal, refused};
pub(super) use messages::Messages;
