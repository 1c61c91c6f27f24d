//! Chat completions (`POST /v1/chat/completions`). Its JSON stays in this folder.

mod calls;
mod chunks;
pub(super) mod content;
mod decode;
mod dialect;
mod echo;
mod encode;
mod errors;
mod losses;
mod messages;
mod output;
mod pieces;
mod render;
mod said;
mod tool_id;
mod window;
pub(super) mod wire;

pub(super) use calls::json_text;
pub(super) use decode::Chat;
pub(super) use dialect::Target;
pub use dialect::{Dialect, MaxTokensField};
pub(super) use encode::{Encoded, FunctionTool, effort_name, encode, function_tool, response_format_json};
pub(super) use errors::{Refusal, coded_in_answer, in_answer, is_error, refused};
pub(super) use messages::Messages;
pub(super) use output::Output;
