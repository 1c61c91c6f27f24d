//! A history with every kind of entry goes out and in again: to another conversation, to another store, to another provider,
//! and on from each of its entries.

use causerie::proto::{
    self, agent_service_client::AgentServiceClient, entry::Kind, stream_events_request::Request,
    tool_confirmation::Confirmation, turn::State,
};

use super::{calls_of, function, http_tool, server, stream, tool, with_tools};
use crate::support::{
    calls,
    completion::{stream_of, stream_of_calls},
    provider::{Reply, ScriptedProvider},
    server::{Client, TestServer, append},
};
use crate::transfer;

/// A conversation in which everything happens once.
async fn eventful(server: &TestServer, peer: &ScriptedProvider, client: &Client) -> String {
    peer.on_path("/clock", Reply::plain(200, "text/plain", "noon"));
    peer.on_path("/broken", Reply::plain(500, "text/plain", "no"));
    peer.on_path("/delete", Reply::plain(200, "text/plain", "gone"));
    let mut agents = AgentServiceClient::new(server.channel().await);
    let mut create = async |agent: proto::Agent| {
        let request = proto::CreateAgentRequest { agent: Some(agent), ..Default::default() };
        agents.create_agent(request).await.expect("an agent").into_inner().id
    };
    let model = "scripted-model".to_owned();
    let human = proto::Tool { kind: Some(proto::tool::Kind::HumanHandoff(proto::HumanHandoffTool::default())) };
    let next = proto::Agent { name: "next".to_owned(), model: model.clone(), tools: vec![human], ..Default::default() };
    let next = create(next).await;
    let guarded = proto::HttpRequestTool { requires_confirmation: true, ..http_tool("delete", peer, "/delete") };
    let tools = vec![
        tool(http_tool("clock", peer, "/clock")),
        tool(http_tool("broken", peer, "/broken")),
        tool(guarded),
        function("mine"),
    ];
    let first = proto::Agent { name: "first".to_owned(), model, tools, handoffs: vec![next], ..Default::default() };
    let first = create(first).await;

    let reply = |calls: &[(&str, &str)]| server.provider.reply(stream_of_calls(calls));
    reply(&[("clock", r#"{"q":"a"}"#), ("broken", r#"{"q":"b"}"#)]);
    reply(&[("delete", r#"{"q":"c"}"#), ("delete", r#"{"q":"d"}"#), ("mine", "{}"), ("clock", r#"{"q":"e"}"#)]);
    let start = proto::StartRequest { model: String::new(), agent_id: first, ..with_tools("Go", Vec::new()) };
    let seen = stream(client, Request::Start(start)).await;
    let turn = seen.turn();
    let [allowed, denied, mine] = calls_of(turn)[..] else { panic!("{turn:?}") };
    let decide = |call: &proto::FunctionCall, confirmation: Confirmation| proto::ToolConfirmation {
        tool_call_id: call.tool_call_id.clone(),
        confirmation: confirmation.into(),
        decided_by: "anna".to_owned(),
        ..Default::default()
    };
    let result = proto::FunctionResult { tool_call_id: mine.tool_call_id.clone(), ..Default::default() };
    let inputs = vec![proto::Entry { kind: Some(Kind::FunctionResult(result)), ..Default::default() }];
    let tool_confirmations = vec![decide(allowed, Confirmation::Allow), decide(denied, Confirmation::Deny)];
    let request = proto::AppendRequest { inputs, tool_confirmations, ..append(&turn.conversation_id, "") };
    reply(&[("transfer_to_agent", r#"{"agent":"next"}"#)]);
    reply(&[("transfer_to_human", r#"{"message":"Please"}"#)]);
    let handed = stream(client, Request::Append(request)).await;
    assert_eq!(handed.turn().state(), State::RequiresAction);
    server.provider.reply(stream_of(&["Fine."], "stop"));
    let last = stream(client, Request::Append(append(&handed.turn().conversation_id, "I am here."))).await;
    assert_eq!(last.turn().state(), State::Completed);
    last.turn().conversation_id.clone()
}

/// Without what the service gives each entry anew.
fn bare(entries: &[proto::Entry]) -> Vec<proto::Entry> {
    entries.iter().map(|entry| proto::Entry { id: String::new(), ..entry.clone() }).collect()
}

#[tokio::test]
async fn a_history_with_everything_goes_everywhere() {
    let other = ScriptedProvider::start().await;
    other.on_every(stream_of(&["I see."], "stop"));
    let file = format!(
        "[tools.http]\nallow = [\"127.0.0.1\"]\n[providers.other]\ndialect = \"openai\"\nbase_url = \"{}\"\nkey_header = \"none\"\n",
        other.base_url()
    );
    let server = TestServer::configured(&file, &[]).await;
    let (peer, mut client) = (ScriptedProvider::start().await, server.client().await);
    let id = eventful(&server, &peer, &client).await;
    let entries = calls::history(&mut client, &id).await.expect("a history");
    let mut kinds: Vec<&str> = entries.iter().map(|entry| entry.r#type.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds.len(), 7, "every kind of entry is there: {kinds:?}");

    // As the inputs of another conversation.
    let start = proto::StartRequest {
        input: String::new(),
        inputs: entries.clone(),
        skip_completion: true,
        ..with_tools("", Vec::new())
    };
    let copy = calls::run(&mut client, "copy", Request::Start(start)).await.expect("it is taken");
    let copied = calls::history(&mut client, &copy.conversation_id).await.expect("a history");
    assert_eq!(bare(&copied), bare(&entries));

    // From each of its entries, whoever answers.
    server.provider.on_every(stream_of(&["Again."], "stop"));
    for entry in &entries {
        for model in ["", "other/model"] {
            let request = proto::RestartRequest {
                conversation_id: id.clone(),
                from_entry_id: entry.id.clone(),
                input: "Go on".to_owned(),
                model: model.to_owned(),
                pending_calls: proto::PendingCalls::Skip.into(),
                ..Default::default()
            };
            let turn = calls::run(&mut client, "restart", Request::Restart(request)).await;
            let turn = turn.unwrap_or_else(|status| panic!("{model} from {entry:?}: {status:?}"));
            assert_eq!(turn.state(), State::Completed, "{model} from {entry:?}: {turn:?}");
        }
    }
    assert!(!other.requests().is_empty());
    server.stop().await;
}

#[tokio::test]
async fn an_export_with_everything_is_imported_elsewhere() {
    let (one, two) = (server().await, server().await);
    let (peer, client) = (ScriptedProvider::start().await, one.client().await);
    let id = eventful(&one, &peer, &client).await;
    let exported = transfer::export(&mut client.clone(), &id).await;
    let mut there = two.client().await;
    let imported = transfer::import(&mut there, &exported).await.expect("it is taken");
    assert_eq!(imported, (3, 0));
    let read = |mut client: Client| {
        let id = id.clone();
        async move { calls::history(&mut client, &id).await.expect("a history") }
    };
    assert_eq!(read(client.clone()).await, read(there.clone()).await);
    let again = transfer::export(&mut there, &id).await;
    assert_eq!(transfer::timeless(again), transfer::timeless(exported), "events and decisions too");
    one.stop().await;
    two.stop().await;
}
