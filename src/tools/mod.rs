//! Tools that the service runs: what the engine asks for when a model wants one used.
//!
//! Knows the domain and nothing else of ours, nor of turns: a call goes in with its arguments, what came of it goes out. What a
//! tool's server does, dies, lies or floods, ends in a [`ToolOutcome`] with an error, never in a panic or in memory without bound.
//! Arguments, results and secrets are in no log.
//!
//! [`ToolOutcome`]: crate::domain::tool::ToolOutcome

pub mod http;
pub mod mcp;
pub mod net;
pub mod schema;

/// All of them.
#[derive(Debug, Clone)]
pub struct Tools {
    /// HTTP requests.
    pub http: http::HttpTools,
    /// MCP servers.
    pub mcp: mcp::McpServers,
}
