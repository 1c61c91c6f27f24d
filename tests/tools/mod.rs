//! Tools that the service runs: the loop, its events and entries, and what ends it.

mod approval;
mod crash;
mod format;
mod handoff;
mod hosted;
mod hosted_settings;
mod limits;
mod mcp;
mod mcp_faults;
mod random;
mod round_trip;
mod rounds;
mod stopped;
mod strain;

use causerie::proto::{self, entry::Kind, event::Kind as EventKind, stream_events_request::Request};
use prost_types::{ListValue, Struct, Value, value};

use crate::support::{
    events::{Seen, assert_whole, events_of, full},
    provider::ScriptedProvider,
    server::{Client, TestServer, start},
};

/// A server whose tools may reach this machine.
async fn server() -> TestServer {
    server_with(&[]).await
}

async fn server_with(settings: &[(&str, &str)]) -> TestServer {
    TestServer::configured("[tools.http]\nallow = [\"127.0.0.1\"]\n", settings).await
}

/// A tool that asks `path` of a scripted server, with the arguments as its query.
pub(crate) fn http_tool(name: &str, peer: &ScriptedProvider, path: &str) -> proto::HttpRequestTool {
    proto::HttpRequestTool {
        name: name.to_owned(),
        description: "Asks the test.".to_owned(),
        url: format!("{}{path}", peer.base_url()),
        parameters: Some(object(&["q"])),
        ..Default::default()
    }
}

pub(crate) fn tool(request: proto::HttpRequestTool) -> proto::Tool {
    proto::Tool { kind: Some(proto::tool::Kind::HttpRequest(request)) }
}

fn function(name: &str) -> proto::Tool {
    let function = proto::Function { name: name.to_owned(), ..Default::default() };
    proto::Tool { kind: Some(proto::tool::Kind::Function(function)) }
}

/// The schema of an object with these texts.
fn object(properties: &[&str]) -> Struct {
    let text = |text: &str| Value { kind: Some(value::Kind::StringValue(text.to_owned())) };
    let of = |fields: Vec<(&str, Value)>| Value {
        kind: Some(value::Kind::StructValue(Struct {
            fields: fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        })),
    };
    let properties: Vec<(&str, Value)> =
        properties.iter().map(|name| (*name, of(vec![("type", text("string"))]))).collect();
    let required = properties.iter().map(|(name, _)| text(name)).collect();
    let required = Value { kind: Some(value::Kind::ListValue(ListValue { values: required })) };
    let fields = [("type", text("object")), ("properties", of(properties)), ("required", required)];
    Struct { fields: fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect() }
}

fn with_tools(input: &str, tools: Vec<proto::Tool>) -> proto::StartRequest {
    proto::StartRequest { tools, ..start(input) }
}

/// Runs a turn as a stream; it must be well formed.
async fn stream(client: &Client, request: Request) -> Seen {
    let seen = events_of(client, full(request)).await;
    assert_whole(&seen.events);
    seen
}

/// The calls among a turn's outputs.
fn calls_of(turn: &proto::Turn) -> Vec<&proto::FunctionCall> {
    let calls = turn.outputs.iter().filter_map(|output| match &output.kind {
        Some(Kind::FunctionCall(call)) => Some(call),
        _ => None,
    });
    calls.collect()
}

/// The runs of tools among a turn's outputs.
pub(crate) fn runs_of(turn: &proto::Turn) -> Vec<&proto::ToolExecution> {
    let runs = turn.outputs.iter().filter_map(|output| match &output.kind {
        Some(Kind::ToolExecution(run)) => Some(run),
        _ => None,
    });
    runs.collect()
}

fn texts(chunks: &[proto::Chunk]) -> String {
    let texts = chunks.iter().filter_map(|chunk| match &chunk.kind {
        Some(proto::chunk::Kind::Text(text)) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

/// How often each kind of event came.
fn count(seen: &Seen, is: impl Fn(&EventKind) -> bool) -> usize {
    seen.events.iter().filter_map(|event| event.kind.as_ref()).filter(|kind| is(kind)).count()
}

/// The messages of a request to the provider, one a line: role and what it says or asks.
fn asked(request: &crate::support::provider::Captured) -> Vec<String> {
    let messages = request.json["messages"].as_array().expect("messages");
    messages.iter().map(told).collect()
}

fn told(message: &serde_json::Value) -> String {
    let role = message["role"].as_str().unwrap_or_default();
    let content = match &message["content"] {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    };
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    let calls: Vec<String> = calls
        .map(|call| {
            let function = &call["function"];
            format!(
                "{}({})",
                function["name"].as_str().unwrap_or_default(),
                function["arguments"].as_str().unwrap_or("")
            )
        })
        .collect();
    format!("{role}: {content}{}", calls.join(" + "))
}
