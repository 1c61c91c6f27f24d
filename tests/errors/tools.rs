//! What tools, and the people who decide on them, are the reason of.

use causerie::proto::{
    self, ErrorReason, agent_service_client::AgentServiceClient, stream_events_request::Request,
    tool_confirmation::Confirmation,
};
use prost_types::Duration;

use super::{
    PROMPT,
    own::{Refused, both},
};
use crate::support::{
    calls,
    completion::stream_of_calls,
    events::{done, name},
    refusal::value,
    server::{TestServer, append, start},
    status::{named, reason_of, told},
};

pub(super) async fn tools_unavailable() -> Vec<Refused> {
    let server = TestServer::configured("[mcp.gone]\ncommand = [\"/no/such/program\"]\n", &[]).await;
    let mut client = server.client().await;
    let tools = proto::McpTools { server: "gone".to_owned(), ..Default::default() };
    let tools = vec![proto::Tool { kind: Some(proto::tool::Kind::Mcp(tools)) }];
    let request = proto::StartRequest { tools, ..start(PROMPT) };
    let unary = calls::run(&mut client, "no-tools", Request::Start(request.clone())).await.expect_err("it is gone");
    // It rests now; that is told in the same way.
    let (events, end) = calls::watch(&mut client, "no-tools-stream", Request::Start(request)).await;
    assert_eq!(events.iter().map(name).collect::<Vec<_>>(), ["response_started", "response_error"]);
    assert!(server.provider.requests().is_empty(), "no model was asked");
    server.stop().await;
    let refused = vec![
        Refused { id: "no-tools", status: unary },
        Refused { id: "no-tools-stream", status: end.expect_err("it is gone") },
    ];
    assert!(refused.iter().all(|refused| told(&refused.status, "server") == "gone"));
    refused
}

pub(super) async fn turn_limit_exceeded() -> Vec<Refused> {
    let server = TestServer::with(&[("turns.max_handoffs", "0")]).await;
    let mut agents = AgentServiceClient::new(server.channel().await);
    let mut create = async |name: &str, handoffs: Vec<String>| {
        let (name, model) = (name.to_owned(), "scripted-model".to_owned());
        let agent = proto::Agent { name, model, handoffs, ..Default::default() };
        let request = proto::CreateAgentRequest { agent: Some(agent), ..Default::default() };
        agents.create_agent(request).await.expect("an agent").into_inner().id
    };
    let expert = create("expert", Vec::new()).await;
    let agent_id = create("triage", vec![expert]).await;
    server.provider.on_every(stream_of_calls(&[("transfer_to_agent", r#"{"agent":"expert"}"#)]));
    let request = proto::StartRequest { model: String::new(), agent_id, ..start(PROMPT) };
    let mut client = server.client().await;
    let (events, end) = calls::watch(&mut client, "no-handoffs-stream", Request::Start(request)).await;
    assert_eq!(events.iter().map(name).collect::<Vec<_>>(), ["response_started", "response_error"]);
    let status = end.expect_err("it may not hand over");
    assert_eq!(value(&status, "limit"), "max_handoffs");
    server.stop().await;
    vec![Refused { id: "no-handoffs-stream", status }]
}

/// A call whose consent was waited for until a moment ago.
pub(super) async fn confirmation_expired() -> Vec<Refused> {
    let server = TestServer::configured("[tools.http]\nallow = [\"127.0.0.1\"]\n", &[]).await;
    let mut client = server.client().await;
    let guarded = proto::HttpRequestTool {
        name: "pay".to_owned(),
        url: format!("{}/pay", server.provider.base_url()),
        requires_confirmation: true,
        confirmation_ttl: Some(Duration { seconds: 1, nanos: 0 }),
        ..Default::default()
    };
    let tools = vec![proto::Tool { kind: Some(proto::tool::Kind::HttpRequest(guarded)) }];
    server.provider.reply(stream_of_calls(&[("pay", "{}")]));
    let stream = Request::Start(proto::StartRequest { tools, ..start(PROMPT) });
    let (events, end) = calls::watch(&mut client, "consent", stream).await;
    end.expect("it is asked for");
    let turn = done(&events).expect("a turn");
    let version = calls::get_conversation(&mut client, &turn.conversation_id).await.expect("a version");
    let allow = proto::ToolConfirmation {
        tool_call_id: version.pending_tool_call_ids[0].clone(),
        confirmation: Confirmation::Allow.into(),
        ..Default::default()
    };
    let request = proto::AppendRequest { tool_confirmations: vec![allow], ..append(&turn.conversation_id, "") };
    // As long as it is not too late the model is asked, which here has nothing to say: no version is the wiser.
    let late = loop {
        let refused =
            client.append(named("late", proto::AppendRequest { store: Some(false), ..request.clone() })).await;
        match refused {
            Err(status) if reason_of(&status) == ErrorReason::ConfirmationExpired.as_str_name() => break status,
            Ok(_) | Err(_) => {}
        }
    };
    let both = both(&mut client, ["late-again", "late-stream"], Request::Append(request)).await;
    server.stop().await;
    both.into_iter().chain([Refused { id: "late", status: late }]).collect()
}
