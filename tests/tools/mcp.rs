//! Tools of MCP servers that others wrote, over pipes and over HTTP, in turns of the real server.

use std::path::Path;

use causerie::proto::{
    self, ErrorReason, agent_service_client::AgentServiceClient, event::Kind, stream_events_request::Request,
    tool_confirmation::Confirmation, turn::State,
};
use serde_json::Value;

use super::{asked, calls_of, count, runs_of, stream, texts, with_tools};
use crate::{
    mcp::foreign,
    support::{
        completion::{stream_of, stream_of_calls},
        events::Seen,
        outside::{MCP_EVERYTHING, PYTHON},
        refusal::fields,
        server::{Client, TestServer, append, text_of},
        status::reason_of,
    },
};

/// The service with three servers of tools: `time` and `pipes` are programs, `web` is an address.
struct Stage {
    server: TestServer,
    client: Client,
    _web: foreign::Server,
}

impl Stage {
    /// `None`: they are not on this machine.
    async fn new(what: &str) -> Option<Stage> {
        let (Some(everything), Some(python)) = (MCP_EVERYTHING.path(), PYTHON.path()) else {
            let missing = if PYTHON.path().is_none() { &PYTHON } else { &MCP_EVERYTHING };
            missing.skip(what);
            return None;
        };
        let program = everything.clone();
        let start = tokio::task::spawn_blocking(move || foreign::start(Path::new(&program)));
        let (web, port) = start.await.expect("no panic");
        let file = format!(
            "[mcp.pipes]\ncommand = [{everything:?}, \"stdio\"]\nconnect_timeout = \"60s\"\n\
             [mcp.web]\nurl = \"http://127.0.0.1:{port}/mcp\"\nconnect_timeout = \"60s\"\n\
             [mcp.time]\ncommand = [{python:?}, \"-m\", \"mcp_server_time\", \"--local-timezone\", \"UTC\"]\n\
             connect_timeout = \"60s\"\n"
        );
        let server = TestServer::configured(&file, &[]).await;
        let client = server.client().await;
        Some(Stage { server, client, _web: web })
    }

    async fn start(&self, tools: Vec<proto::Tool>) -> Seen {
        stream(&self.client, Request::Start(with_tools("Do it", tools))).await
    }
}

fn of(server: &str, include: &[&str]) -> proto::McpTools {
    let include = include.iter().map(|&name| name.to_owned()).collect();
    proto::McpTools { server: server.to_owned(), include, ..Default::default() }
}

fn tool(tools: proto::McpTools) -> proto::Tool {
    proto::Tool { kind: Some(proto::tool::Kind::Mcp(tools)) }
}

/// The names under which the model was offered tools.
fn offered(request: &Value) -> Vec<&str> {
    let tools = request["tools"].as_array().expect("tools");
    tools.iter().map(|tool| tool["function"]["name"].as_str().expect("a name")).collect()
}

#[tokio::test]
async fn tools_of_three_servers_run_side_by_side() {
    let Some(stage) = Stage::new("tools of MCP servers in a turn").await else { return };
    let long = r#"{"duration":0.6,"steps":3}"#;
    let convert = r#"{"source_timezone":"Asia/Tokyo","time":"16:30","target_timezone":"UTC"}"#;
    stage.server.provider.reply(stream_of_calls(&[
        ("web_trigger-long-running-operation", long),
        ("pipes_echo", r#"{"message":"over pipes"}"#),
        ("web_get-sum", r#"{"a":"no number","b":1}"#),
        ("time_convert_time", convert),
        ("pipes_trigger-long-running-operation", long),
    ]));
    stage.server.provider.reply(stream_of(&["All is done."], "stop"));
    let long_one = "trigger-long-running-operation";
    let tools = vec![
        tool(of("pipes", &["echo", long_one])),
        tool(of("web", &["get-sum", long_one])),
        tool(proto::McpTools { exclude: vec!["get_current_time".to_owned()], ..of("time", &[]) }),
    ];
    let seen = stage.start(tools).await;
    let turn = seen.turn();
    assert_eq!((turn.state(), text_of(turn).as_str()), (State::Completed, "All is done."));
    let requests = stage.server.provider.requests();
    let mut names = offered(&requests[0].json);
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "pipes_echo",
            "pipes_trigger-long-running-operation",
            "time_convert_time",
            "web_get-sum",
            "web_trigger-long-running-operation"
        ]
    );
    let runs = runs_of(turn);
    assert_eq!(runs.iter().map(|run| run.parallel).collect::<Vec<_>>(), [false, true, true, true, true]);
    assert!(runs.iter().all(|run| run.duration.is_some()), "{runs:?}");
    assert_eq!(texts(&runs[1].result), "Echo: over pipes");
    assert!(runs[2].error.contains("number"), "{:?}", runs[2]);
    assert!(texts(&runs[3].result).contains("T07:30:00"), "{:?}", runs[3]);
    // The model is told of each in its order, and of the failure as such.
    let told = asked(&requests[1]);
    assert_eq!(told.len(), 7, "{told:?}");
    assert!(told[2].starts_with("tool: Long running operation completed"), "{told:?}");
    assert_eq!(told[3], "tool: Echo: over pipes");
    assert!(told[4].starts_with(r#"tool: {"error":"#), "{told:?}");
    assert!(told[5].contains("T07:30:00") && told[6].contains("completed"), "{told:?}");
    // What they say of their progress comes while they run, each under its own entry.
    for run in [0, 4] {
        let id = &turn.outputs[run].id;
        let said: Vec<&str> = seen.events.iter().filter_map(|event| progress(event, id)).collect();
        assert_eq!(said, ["1 of 3", "2 of 3", "3 of 3"], "{run}");
    }
    stage.server.stop().await;
}

/// What an entry's tool reports in this event.
fn progress<'a>(event: &'a proto::Event, entry_id: &str) -> Option<&'a str> {
    match &event.kind {
        Some(Kind::ToolExecutionDelta(delta)) if delta.entry_id == entry_id => Some(&delta.message),
        _ => None,
    }
}

#[tokio::test]
async fn an_agent_has_them_and_a_person_agrees_to_one() {
    let Some(stage) = Stage::new("an agent with tools of MCP servers").await else { return };
    let guarded = proto::McpTools { requires_confirmation: vec!["echo".to_owned()], ..of("web", &["echo", "get-sum"]) };
    let mut agents = AgentServiceClient::new(stage.server.channel().await);
    let agent = proto::Agent {
        name: "helper".to_owned(),
        model: "scripted-model".to_owned(),
        tools: vec![tool(guarded), tool(of("time", &["convert_time"]))],
        ..Default::default()
    };
    let request = proto::CreateAgentRequest { agent: Some(agent), ..Default::default() };
    let agent_id = agents.create_agent(request).await.expect("an agent").into_inner().id;
    stage
        .server
        .provider
        .reply(stream_of_calls(&[("web_echo", r#"{"message":"mind me"}"#), ("web_get-sum", r#"{"a":1,"b":2}"#)]));
    let start = proto::StartRequest { model: String::new(), agent_id, ..with_tools("Echo", Vec::new()) };
    let asked_for = stream(&stage.client, Request::Start(start)).await;
    let turn = asked_for.turn();
    assert_eq!((turn.state(), turn.outputs.len()), (State::RequiresAction, 2));
    let call = calls_of(turn)[0];
    assert_eq!((call.name.as_str(), call.confirmation_status()), ("web_echo", proto::ConfirmationStatus::Pending));
    assert!(texts(&runs_of(turn)[0].result).contains('3'), "{turn:?}");

    stage.server.provider.reply(stream_of(&["It echoes."], "stop"));
    let allowed = proto::ToolConfirmation {
        tool_call_id: call.tool_call_id.clone(),
        confirmation: Confirmation::Allow.into(),
        ..Default::default()
    };
    let request = proto::AppendRequest { tool_confirmations: vec![allowed], ..append(&turn.conversation_id, "") };
    let done = stream(&stage.client, Request::Append(request)).await;
    assert_eq!(done.turn().state(), State::Completed);
    assert_eq!(texts(&runs_of(done.turn())[0].result), "Echo: mind me");
    assert_eq!(asked(&stage.server.provider.requests()[1])[3], "tool: Echo: mind me");
    stage.server.stop().await;
}

#[tokio::test]
async fn tools_that_are_not_there_are_named_before_a_model_is_asked() {
    let Some(stage) = Stage::new("tools that an MCP server does not have").await else { return };
    let missing = stage.start(vec![tool(of("time", &["convert_time", "stop_time"]))]).await;
    assert_eq!(reason_of(missing.error()), ErrorReason::InvalidRequest.as_str_name());
    assert_eq!(fields(missing.error()), ["tools[0].mcp.include"]);
    let text = missing.error().message();
    assert!(text.contains("stop_time") && text.contains("get_current_time"), "{text}");

    // Of the same name as a function of the caller's.
    let twins = vec![super::function("time_convert_time"), tool(of("time", &[]))];
    let twins = stage.start(twins).await;
    assert_eq!(reason_of(twins.error()), ErrorReason::InvalidRequest.as_str_name());
    assert!(twins.error().message().contains("time_convert_time"), "{:?}", twins.error());
    assert_eq!(count(&twins, |kind| matches!(kind, Kind::EntryDone(_))), 0);
    assert!(stage.server.provider.requests().is_empty(), "no model was asked");
    stage.server.stop().await;
}

#[tokio::test]
async fn a_picture_reaches_the_model() {
    let Some(stage) = Stage::new("a picture of an MCP server").await else { return };
    stage.server.provider.reply(stream_of_calls(&[("pipes_get-tiny-image", "")]));
    stage.server.provider.reply(stream_of(&["Tiny."], "stop"));
    let seen = stage.start(vec![tool(of("pipes", &["get-tiny-image"]))]).await;
    assert_eq!(seen.turn().state(), State::Completed);
    let is_picture = |chunk: &proto::Chunk| matches!(chunk.kind, Some(proto::chunk::Kind::ImageUrl(_)));
    assert!(runs_of(seen.turn())[0].result.iter().any(is_picture), "{:?}", seen.turn());
    let told = &stage.server.provider.requests()[1].json["messages"][2];
    assert_eq!(told["role"], "tool");
    let sent = told["content"].as_array().expect("chunks").iter().any(|chunk| {
        let url = chunk["image_url"]["url"].as_str().or(chunk["image_url"].as_str()).unwrap_or_default();
        chunk["type"] == "image_url" && url.starts_with("data:image/png;base64,")
    });
    assert!(sent, "{told}");
    stage.server.stop().await;
}
