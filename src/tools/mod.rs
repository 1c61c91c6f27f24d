//! Tools that the service runs: what the engine asks for when a model wants one used.
//!
//! Knows the domain and nothing else of ours. What a tool's server does, dies, lies or floods, ends in a [`ToolOutcome`] with an
//! error, never in a panic or in memory without bound. Arguments and results are in no log.
//!
//! [`ToolOutcome`]: crate::domain::tool::ToolOutcome

pub mod mcp;
