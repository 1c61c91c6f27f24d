//! MCP servers: those that others wrote, and those that nobody should have written.

mod cli;
mod faults;
pub(crate) mod foreign;
mod http_peer;
mod over_http;

use std::{path::Path, time::Duration};

use causerie::{
    domain::{Chunk, tool::ToolOutcome},
    tools::mcp::{McpServerOptions, McpServers, McpTransport, Rest},
};

use crate::support::outside::PYTHON;

/// A server with ample time.
fn options(name: &str, transport: McpTransport) -> McpServerOptions {
    McpServerOptions {
        name: name.to_owned(),
        transport,
        include: Vec::new(),
        exclude: Vec::new(),
        connect_timeout: Duration::from_secs(60),
        list_timeout: Duration::from_secs(60),
        call_timeout: Duration::from_secs(60),
        max_concurrent: 16,
        max_result_bytes: 1 << 20,
        rest: Rest { first: Duration::from_secs(3600), longest: Duration::from_secs(7200) },
    }
}

fn program(program: impl Into<String>, arguments: &[&str]) -> McpTransport {
    McpTransport::Stdio {
        program: program.into(),
        arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
        env: vec![("GIVEN".into(), "yes".into())],
        directory: None,
    }
}

/// The server of tests/clients/mcp_faults.py, which writes a line into `starts` for each start.
fn faults(mode: &str, starts: &Path) -> Option<McpServerOptions> {
    let Some(python) = PYTHON.path() else {
        PYTHON.skip("mcp_faults.py");
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/mcp_faults.py");
    let arguments = ["-u", &script.to_string_lossy(), mode, &starts.to_string_lossy()].map(str::to_owned);
    let transport = program(python.to_string_lossy(), &arguments.each_ref().map(String::as_str));
    Some(options("faults", transport))
}

/// A call that nobody watches.
async fn call(servers: &McpServers, server: &str, tool: &str, arguments: &str) -> ToolOutcome {
    servers.call(server, tool, arguments, |_| {}).await
}

/// The one text of a call that did not fail.
fn text(outcome: &ToolOutcome) -> &str {
    match outcome {
        ToolOutcome { content, error: None, .. } => match content.as_slice() {
            [Chunk::Text(text)] => text,
            other => panic!("{other:?} is no single text"),
        },
        other => panic!("{other:?} failed"),
    }
}

fn error(outcome: &ToolOutcome) -> &str {
    outcome.error.as_deref().unwrap_or_else(|| panic!("{outcome:?} did not fail"))
}
