//! Tools that the service runs: HTTP requests that agents and callers declare, and the tools of MCP servers.
//!
//! What a model asks for comes in as the text that it wrote, what came of it goes out as a
//! [`ToolOutcome`](crate::domain::ToolOutcome): a call that fails is an outcome too, and told to the model.

pub mod http;
pub mod net;

use crate::domain::{ToolOutcome, ToolSpec};
use std::sync::Arc;

/// All of them.
#[derive(Debug, Clone)]
pub struct Tools {
    /// HTTP requests.
    pub http: http::HttpTools,
    /// MCP servers.
    pub mcp: mcp::McpServers,
}
pub mod mcp {
    use super::*;
    #[derive(Debug, Clone, Default)]
    pub struct McpServers;
    #[derive(Debug, Clone)]
    pub struct McpTool {
        pub name: String,
        pub spec: ToolSpec,
    }
    #[derive(Debug)]
    pub struct McpError(pub String);
    impl std::fmt::Display for McpError {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(&self.0)
        }
    }
    impl McpServers {
        pub fn names(&self) -> Vec<&str> {
            Vec::new()
        }
        pub async fn tools(&self, _: &str) -> Result<Arc<[McpTool]>, McpError> {
            Err(McpError(String::new()))
        }
        pub async fn call(&self, _: &str, _: &str, _: &str, _: impl FnMut(String) + Send) -> ToolOutcome {
            ToolOutcome::failed("")
        }
    }
}
