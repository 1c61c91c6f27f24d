//! Both ways between the generated types of `causerie.v1` and the domain, one file a noun.
//!
//! In (`read`): a message is taken apart completely and comes out as a checked domain value, or as one failure that lists
//! every field that breaks a rule. Nothing a client can send panics here. Out (`write`): infallible.
//!
//! Two kinds of readers exist. Requests are held to every limit of the contract. Imports bring back what a store gave out,
//! and what models wrote keeps to no limits: their entries must only have the right shape.

pub mod agent;
pub mod agent_request;
pub mod agent_spec;
mod background;
pub mod batch;
pub mod change;
pub mod chunk;
pub mod completion;
mod connector;
mod decision;
pub mod entry;
pub mod event;
pub mod export;
pub mod failure;
mod fingerprint;
mod forwarding;
mod inputs;
mod json;
pub mod list;
pub mod lookup;
pub mod model;
mod number;
mod omission;
pub mod operation;
pub mod path;
pub mod request;
mod response_format;
mod rules;
mod schema;
pub mod spend;
pub mod time;
pub mod tool;
mod tool_event;
mod tool_use;
pub mod turn;
pub mod version;
pub mod violations;
pub mod webhook;
pub mod webhook_request;
