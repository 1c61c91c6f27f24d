//! Servers that others wrote.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use causerie::{
    domain::Chunk,
    tools::mcp::{McpServers, McpTransport},
};
use http::HeaderMap;
use serde_json::Value;

use super::{call, error, options, program, text};
use crate::support::outside::{MCP_EVERYTHING, PYTHON};

/// `mcp-server-time`, in Python with the official SDK.
#[tokio::test]
async fn time_over_pipes() {
    let Some(python) = PYTHON.path() else { return PYTHON.skip("mcp-server-time") };
    let arguments = ["-m", "mcp_server_time", "--local-timezone", "UTC"];
    let servers = McpServers::new(vec![options("time", program(python.to_string_lossy(), &arguments))]);
    let seen = servers.inspect("time").await.expect("it is configured");
    let (info, tools) = seen.found.expect("it answers");
    assert_eq!(info.name, "mcp-time");
    let names: Vec<&str> = tools.iter().map(|tool| tool.spec.name.as_str()).collect();
    assert_eq!(names, ["time_get_current_time", "time_convert_time"]);
    assert_eq!(tools[0].spec.parameters["required"], serde_json::json!(["timezone"]));
    let arguments = r#"{"source_timezone":"Asia/Tokyo","time":"16:30","target_timezone":"UTC"}"#;
    let converted = call(&servers, "time", "convert_time", arguments).await;
    let converted: Value = serde_json::from_str(text(&converted)).expect("JSON");
    assert!(converted["target"]["datetime"].as_str().expect("a time").contains("T07:30:00"), "{converted}");
    let failed = call(&servers, "time", "get_current_time", r#"{"timezone":"Mars/Base"}"#).await;
    assert!(error(&failed).contains("Mars/Base"), "{failed:?}");
    servers.close().await;
}

/// `@modelcontextprotocol/server-everything`, in TypeScript with the official SDK.
#[tokio::test]
async fn everything_over_pipes() {
    let Some(everything) = MCP_EVERYTHING.path() else { return MCP_EVERYTHING.skip("server-everything over pipes") };
    let transport = program(everything.to_string_lossy(), &["stdio"]);
    check_everything(McpServers::new(vec![options("everything", transport)])).await;
}

#[tokio::test]
async fn everything_over_http() {
    let Some(everything) = MCP_EVERYTHING.path() else { return MCP_EVERYTHING.skip("server-everything over HTTP") };
    let (_server, port) = tokio::task::spawn_blocking(move || start(Path::new(&everything))).await.expect("no panic");
    let transport =
        McpTransport::Http { url: format!("http://127.0.0.1:{port}/mcp"), headers: HeaderMap::new(), bearer: None };
    check_everything(McpServers::new(vec![options("everything", transport)])).await;
}

async fn check_everything(servers: McpServers) {
    let tools = servers.tools("everything").await.expect("they are listed");
    let echo = tools.iter().find(|tool| tool.name == "echo").expect("a known tool");
    assert_eq!(echo.spec.name, "everything_echo");
    assert_eq!(text(&call(&servers, "everything", "echo", r#"{"message":"hello"}"#).await), "Echo: hello");

    let image = call(&servers, "everything", "get-tiny-image", "").await;
    let url = image.content.iter().find_map(|chunk| match chunk {
        Chunk::ImageUrl { url, .. } => Some(url.as_str()),
        _ => None,
    });
    assert!(url.is_some_and(|url| url.starts_with("data:image/png;base64,iVBORw0KGgo")), "{image:?}");

    let structured = call(&servers, "everything", "get-structured-content", r#"{"location":"Chicago"}"#).await;
    let info: Value = serde_json::from_str(&structured.info).expect("JSON");
    assert!(info["temperature"].is_number(), "{structured:?}");

    let links = call(&servers, "everything", "get-resource-links", r#"{"count":1}"#).await;
    assert!(
        links
            .content
            .iter()
            .any(|chunk| matches!(chunk, Chunk::Text(text) if text.starts_with('[') && text.contains("](demo://"))),
        "{links:?}"
    );

    let failed = call(&servers, "everything", "get-sum", r#"{"a":"no number","b":1}"#).await;
    assert!(error(&failed).contains("number"), "{failed:?}");

    let mut said = Vec::new();
    let arguments = r#"{"duration":0.6,"steps":3}"#;
    let tool = "trigger-long-running-operation";
    let long = servers.call("everything", tool, arguments, |text| said.push(text)).await;
    assert!(text(&long).starts_with("Long running operation completed"), "{long:?}");
    assert_eq!(said, ["1 of 3", "2 of 3", "3 of 3"]);
    servers.close().await;
}

/// A server that runs until this is dropped.
pub(crate) struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `server-everything` on a free port.
pub(crate) fn start(everything: &Path) -> (Server, u16) {
    let announce = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/announce_port.cjs");
    let mut child = Command::new("node")
        .arg("--require")
        .arg(announce)
        .arg(everything)
        .arg("streamableHttp")
        .env("PORT", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("who has the server has node");
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped"));
    let server = Server(child);
    let mut line = String::new();
    while lines.read_line(&mut line).expect("readable") > 0 {
        if let Some(port) = line.trim().strip_prefix("listens at port ") {
            let port = port.parse().expect("a port");
            // Else it would be stopped by a full pipe.
            std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
            return (server, port);
        }
        line.clear();
    }
    panic!("it ended before it listened");
}
