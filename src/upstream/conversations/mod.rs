//! Mistral's own conversations (`POST /v1/conversations`), where its tools and its agents are. Nothing is stored there: each request
//! holds the whole history.
//!
//! Histories are grouped into messages as for chat completions, under the same rules; only what is written differs. What Mistral
//! refuses here although its schema has it is told otherwise: citations and files as text, tool runs and handoffs as calls and their
//! results, system messages as a user's.

mod check;
mod decode;
mod encode;
mod entries;
mod wire;

pub(super) use check::check;
pub(super) use decode::Conversations;
pub(super) use encode::encode;
pub(super) use entries::write;
