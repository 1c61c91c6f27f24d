//! What ends the loop: rounds, time, budgets, a person who stops it.

use causerie::proto::{
    self, ErrorReason, agent_service_client::AgentServiceClient, stream_events_request::Request, turn::State,
};

use super::{http_tool, runs_of, server_with, stream, tool, with_tools};
use crate::support::{
    completion::{calls, finish, says, stream_of, stream_of_calls},
    events::{full, soon, watch},
    provider::{Reply, ScriptedProvider},
    server::{Client, TestServer, append, text_of},
    status::{carried, reason_of},
};

/// A model that wants the same tool over and over again.
async fn insatiable(settings: &[(&str, &str)]) -> (TestServer, ScriptedProvider, Client) {
    let (server, peer) = (server_with(settings).await, ScriptedProvider::start().await);
    let client = server.client().await;
    peer.on_path("/more", Reply::plain(200, "text/plain", "more"));
    server.provider.on_every(stream_of_calls(&[("more", r#"{"q":"x"}"#)]));
    (server, peer, client)
}

fn more(peer: &ScriptedProvider) -> proto::StartRequest {
    with_tools("More", vec![tool(http_tool("more", peer, "/more"))])
}

fn reason(turn: &proto::Turn) -> String {
    reason_of(&carried(turn.error.as_ref().expect("an error")))
}

#[tokio::test]
async fn rounds_are_bounded_and_a_turn_goes_on_after_them() {
    let (server, peer, client) = insatiable(&[("turns.max_tool_rounds", "3")]).await;
    for (asked, expected) in [(0, 3), (2, 2), (9, 3)] {
        let request = proto::StartRequest { max_tool_rounds: asked, ..more(&peer) };
        let seen = stream(&client, Request::Start(request)).await;
        let turn = seen.turn();
        assert_eq!((turn.state(), runs_of(turn).len()), (State::Incomplete, expected), "asked for {asked}");
        assert_eq!(reason(turn), ErrorReason::TurnLimitExceeded.as_str_name());
        server.provider.reply(stream_of(&["Enough."], "stop"));
        let on = stream(&client, Request::Append(append(&turn.conversation_id, ""))).await;
        assert_eq!((on.turn().state(), text_of(on.turn()).as_str()), (State::Completed, "Enough."));
    }
    server.stop().await;
}

/// A model that insists on somebody who is not there must not keep the turn going for ever.
#[tokio::test]
async fn handoffs_to_nobody_are_rounds_too() {
    let server = server_with(&[("turns.max_tool_rounds", "3")]).await;
    let mut agents = AgentServiceClient::new(server.channel().await);
    let mut create = async |agent: proto::Agent| {
        let request = proto::CreateAgentRequest { agent: Some(agent), ..Default::default() };
        agents.create_agent(request).await.expect("an agent").into_inner().id
    };
    let model = "scripted-model".to_owned();
    let next = create(proto::Agent { name: "next".to_owned(), model: model.clone(), ..Default::default() }).await;
    let first = proto::Agent { name: "first".to_owned(), model, handoffs: vec![next], ..Default::default() };
    let agent_id = create(first).await;
    server.provider.on_every(stream_of_calls(&[("transfer_to_agent", r#"{"agent":"nobody"}"#)]));
    let request = proto::StartRequest { model: String::new(), agent_id, ..with_tools("Help", Vec::new()) };
    let seen = stream(&server.client().await, Request::Start(request)).await;
    let turn = seen.turn();
    assert_eq!((turn.state(), reason(turn).as_str()), (State::Incomplete, "TURN_LIMIT_EXCEEDED"));
    assert_eq!(runs_of(turn).len(), 4, "the model was told each time");
    server.stop().await;
}

#[tokio::test]
async fn a_budget_holds_for_all_rounds_together() {
    let (server, peer, client) = insatiable(&[("turns.max_tool_rounds", "1000")]).await;
    let budget = Some(proto::Budget { max_tokens: Some(6000), ..Default::default() });
    let forwarding = Some(proto::Forwarding { budget, ..Default::default() });
    let seen = stream(&client, Request::Start(proto::StartRequest { forwarding, ..more(&peer) })).await;
    let turn = seen.turn();
    assert_eq!((turn.state(), reason(turn).as_str()), (State::Incomplete, "BUDGET_EXCEEDED"));
    assert!(turn.usage.as_ref().expect("usage").total_tokens <= 6000, "{turn:?}");
    assert!(!runs_of(turn).is_empty(), "it had room for some");
    server.stop().await;
}

#[tokio::test]
async fn a_turn_that_is_stopped_keeps_what_ran_and_what_was_running() {
    let (server, peer) = (server_with(&[]).await, ScriptedProvider::start().await);
    let mut client = server.client().await;
    let mut never = Reply::plain(200, "text/plain", "never");
    let _closed = never.gate();
    peer.on_path("/quick", Reply::plain(200, "text/plain", "done"));
    peer.on_path("/slow", never);
    server.provider.reply(stream_of_calls(&[("quick", r#"{"q":"x"}"#), ("slow", r#"{"q":"x"}"#)]));
    let tools = vec![tool(http_tool("quick", &peer, "/quick")), tool(http_tool("slow", &peer, "/slow"))];
    let mut reader = watch(&client, full(Request::Start(with_tools("Both", tools)))).await;
    let turn_id = reader.started().await;
    let first_done = async {
        loop {
            if let Some(proto::event::Kind::ToolExecutionDone(done)) = reader.next().await.kind {
                return done;
            }
        }
    };
    assert_eq!(soon(first_done).await.name, "quick");
    soon(async {
        while peer.requests().len() < 2 {
            peer.next_request().await;
        }
    })
    .await;
    let request = proto::CancelTurnRequest { turn_id: turn_id.clone() };
    let turn = client.cancel_turn(request).await.expect("a turn").into_inner();
    assert_eq!(turn.state(), State::Incomplete);
    let runs = runs_of(&turn);
    let status: Vec<_> = runs.iter().map(|run| (run.name.as_str(), run.status())).collect();
    assert_eq!(status, [("quick", proto::OutputStatus::Completed), ("slow", proto::OutputStatus::Incomplete)]);
    // The call was given up, and is not made again when the turn goes on.
    soon(peer.connection_dropped()).await;
    server.provider.reply(stream_of(&["Half of it."], "stop"));
    let on = stream(&client, Request::Append(append(&turn.conversation_id, ""))).await;
    assert_eq!(on.turn().state(), State::Completed);
    assert_eq!(peer.requests().len(), 2);
    let told = super::asked(&server.provider.requests()[1]);
    assert_eq!(told[2..], ["tool: done", r#"tool: {"error":"the tool was cut off: what it did is not known"}"#]);
    let _ = reader.rest().await;
    server.stop().await;
}

/// What the model said beside the calls that it may not have any more is no answer.
#[tokio::test]
async fn a_turn_that_may_run_nothing_more_goes_on_also_after_words() {
    let (server, peer, client) = insatiable(&[]).await;
    let words = || Reply::sse(&[says("Let me look."), calls(0, Some("more"), r#"{"q":"x"}"#), finish("tool_calls")]);
    server.provider.on_every(words());
    let request = proto::StartRequest { max_tool_rounds: 1, ..more(&peer) };
    let seen = stream(&client, Request::Start(request)).await;
    assert_eq!((seen.turn().state(), reason(seen.turn()).as_str()), (State::Incomplete, "TURN_LIMIT_EXCEEDED"));
    server.provider.reply(stream_of(&["Enough."], "stop"));
    let on = stream(&client, Request::Append(append(&seen.turn().conversation_id, ""))).await;
    assert_eq!(on.turn().state(), State::Completed);
    server.stop().await;
}

#[tokio::test]
async fn a_turn_fits_a_message_whatever_its_tools_are_asked() {
    let (server, peer, client) = insatiable(&[]).await;
    let long = |bytes: usize| format!(r#"{{"q":"{}"}}"#, "x".repeat(bytes));
    let ask = |bytes: usize| {
        let text = long(bytes);
        let pieces = text.as_bytes().chunks(60_000).map(|piece| std::str::from_utf8(piece).expect("ASCII"));
        let pieces = pieces.enumerate().map(|(i, piece)| calls(0, (i == 0).then_some("more"), piece));
        Reply::sse(&pieces.chain([finish("tool_calls")]).collect::<Vec<_>>())
    };
    let piece = "y".repeat(60_000);
    server.provider.reply(ask(1_400_000));
    server.provider.reply(ask(1_900_000));
    server.provider.reply(stream_of(&vec![piece.as_str(); 32], "stop"));
    let mut client = client.max_decoding_message_size(64 << 20);
    let turn = client.start(more(&peer)).await.expect("a turn").into_inner();
    let size = prost::Message::encoded_len(&turn);
    assert!(size < 4 << 20, "{size} {:?}", turn.error);
    server.stop().await;
}
