//! Tools that the service runs.

use crate::domain::{ToolOutcome, ToolSpec, tool::HttpRequest};

#[derive(Debug, Clone, Default)]
pub struct Tools {
    pub http: http::HttpTools,
    pub mcp: mcp::McpServers,
}
pub mod http {
    use super::*;
    #[derive(Debug, Clone, Default)]
    pub struct HttpTools;
    impl HttpTools {
        pub fn check(&self, _: &HttpRequest) -> Result<(), String> {
            Ok(())
        }
        pub fn spec(&self, _: &HttpRequest) -> Option<ToolSpec> {
            None
        }
        pub async fn call(&self, _: &HttpRequest, _: &str) -> ToolOutcome {
            ToolOutcome::failed("")
        }
    }
}
pub mod mcp {
    use super::*;
    use std::sync::Arc;
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
