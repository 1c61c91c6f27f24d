//! Turns that end while tools run: cancelled, late, left by their caller, or cut off by the end of the service.

use causerie::proto::{self, ErrorReason, event::Kind, stream_events_request::Request, turn::State};
use prost::Message;

use super::{http_tool, mcp_faults::Stage, runs_of, server_with, stream, tool, with_tools};
use crate::{
    support::{
        completion::{stream_of, stream_of_calls},
        events::{Reader, assert_whole, departures_seen, full, resume, soon, watch},
        provider::{Reply, ScriptedProvider},
        reads,
        refusal::turn_reason,
        server::{Client, TestServer, append},
    },
    transport::caller::{Caller, frame_of, messages},
};

/// A peer that never answers `/slow`.
async fn silent_peer() -> ScriptedProvider {
    let peer = ScriptedProvider::start().await;
    let mut never = Reply::plain(200, "text/plain", "never");
    // Nobody keeps the gate, so nobody opens it.
    never.gate();
    peer.on_path("/slow", never);
    peer
}

fn slow(server: &TestServer, peer: &ScriptedProvider) -> proto::StartRequest {
    server.provider.reply(stream_of_calls(&[("slow", r#"{"q":"x"}"#)]));
    with_tools("Slowly", vec![tool(http_tool("slow", peer, "/slow"))])
}

/// A turn in which the tool runs, and its id.
async fn under_way(server: &TestServer, client: &Client, peer: &ScriptedProvider) -> (Reader, String) {
    let mut reader = watch(client, full(Request::Start(slow(server, peer)))).await;
    let turn_id = reader.started().await;
    while !matches!(soon(reader.next()).await.kind, Some(Kind::ToolExecutionStarted(_))) {}
    soon(peer.next_request()).await;
    (reader, turn_id)
}

/// A turn that was stopped, when it is stored.
async fn ended(client: &Client, turn_id: &str) -> proto::Turn {
    let seen = watch(client, resume(turn_id, 0)).await.rest().await;
    assert_whole(&seen.events);
    assert_eq!(&reads::turn(client, turn_id).await, seen.turn());
    seen.turn().clone()
}

/// The turn kept the run as one of which nobody knows what it did, and it can go on.
fn assert_kept(turn: &proto::Turn, reason: ErrorReason) {
    assert_eq!((turn.state(), turn_reason(turn).as_str()), (State::Incomplete, reason.as_str_name()));
    let runs = runs_of(turn);
    assert_eq!(runs.len(), 1);
    assert_eq!((runs[0].status(), runs[0].error.as_str()), (proto::OutputStatus::Incomplete, ""));
}

async fn assert_goes_on(server: &TestServer, turn: &proto::Turn) {
    server.provider.reply(stream_of(&["So be it."], "stop"));
    let client = server.client().await;
    let on = stream(&client, Request::Append(append(&turn.conversation_id, ""))).await;
    assert_eq!(on.turn().state(), State::Completed);
    let last = server.provider.requests().pop().expect("a request");
    assert_eq!(last.json["messages"][2]["content"], r#"{"error":"the tool was cut off: what it did is not known"}"#);
}

#[tokio::test]
async fn a_deadline_ends_a_request_that_a_tool_makes() {
    let (server, peer) = (server_with(&[]).await, silent_peer().await);
    let request = full(Request::Start(slow(&server, &peer)));
    let caller = Caller::connect(server.address()).await;
    let method = "/causerie.v1.ConversationService/StreamEvents";
    let answer = caller.call_with(method, &[("grpc-timeout", "3S")], frame_of(&request.encode_to_vec())).await;
    soon(peer.connection_dropped()).await;
    let events = messages::<proto::Event>(&answer.data);
    let turn = ended(&server.client().await, &events[0].turn_id).await;
    assert_kept(&turn, ErrorReason::Timeout);
    assert_goes_on(&server, &turn).await;
    assert_eq!(peer.requests().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_caller_that_leaves_ends_a_request_that_a_tool_makes() {
    let (server, peer) = (server_with(&[("turns.grace", "0s")]).await, silent_peer().await);
    let client = server.client().await;
    let (reader, turn_id) = under_way(&server, &client, &peer).await;
    drop(reader);
    soon(peer.connection_dropped()).await;
    let turn = ended(&client, &turn_id).await;
    assert_kept(&turn, ErrorReason::TurnCancelled);
    assert_goes_on(&server, &turn).await;
    server.stop().await;
}

#[tokio::test]
async fn a_caller_may_come_back_within_the_grace_time_and_the_tool_runs_on() {
    let server = server_with(&[("turns.grace", "1h")]).await;
    let (client, peer) = (server.client().await, ScriptedProvider::start().await);
    let mut answer = Reply::plain(200, "text/plain", "at last");
    let gate = answer.gate();
    peer.on_path("/slow", answer);
    let (reader, turn_id) = under_way(&server, &client, &peer).await;
    drop(reader);
    departures_seen(&server, &client).await;
    server.provider.reply(stream_of(&["There."], "stop"));
    gate.open();
    let again = watch(&client, resume(&turn_id, 0)).await.rest().await;
    assert_whole(&again.events);
    assert_eq!(again.turn().state(), State::Completed);
    assert_eq!(super::texts(&runs_of(again.turn())[0].result), "at last");
    server.stop().await;
}

#[tokio::test]
async fn the_end_of_the_service_keeps_a_turn_whose_tool_runs() {
    let (mut server, peer) = (server_with(&[("shutdown.grace", "1s")]).await, silent_peer().await);
    let client = server.client().await;
    let (reader, _) = under_way(&server, &client, &peer).await;
    let stopped = server.begin_stop();
    let seen = reader.rest().await;
    soon(stopped).await.expect("no panic").expect("a good end");
    soon(peer.connection_dropped()).await;
    assert_whole(&seen.events);
    assert_kept(seen.turn(), ErrorReason::ShuttingDown);
    let path = server.store_path();
    let next = server_with(&[("store.path", path.to_str().expect("a path"))]).await;
    let read = reads::turn(&next.client().await, &seen.turn().id).await;
    assert_eq!(&read, seen.turn());
    assert_goes_on(&next, &read).await;
    next.stop().await;
}

#[tokio::test]
async fn calls_of_an_mcp_server_are_cancelled_there() {
    let Some(stage) = Stage::new(&[("turns.grace", "0s")]).await else { return };
    let mut client = stage.client.clone();
    // By the caller.
    let (reader, turn_id) = stage.hanging(1).await;
    let turn = client.cancel_turn(proto::CancelTurnRequest { turn_id }).await.expect("a turn").into_inner();
    assert_kept(&turn, ErrorReason::TurnCancelled);
    stage.cancelled(1).await;
    assert_eq!(reader.rest().await.turn(), &turn);
    // By the caller who leaves.
    let (reader, turn_id) = stage.hanging(2).await;
    drop(reader);
    stage.cancelled(2).await;
    // By the end of the caller's patience.
    stage.server.provider.reply(stream_of_calls(&[("faults_hang", "")]));
    let request = full(Request::Start(with_tools("Do it", vec![super::mcp_faults::faults()])));
    let caller = Caller::connect(stage.server.address()).await;
    let method = "/causerie.v1.ConversationService/StreamEvents";
    let answer = caller.call_with(method, &[("grpc-timeout", "3S")], frame_of(&request.encode_to_vec())).await;
    stage.cancelled(3).await;
    let events = messages::<proto::Event>(&answer.data);
    for (turn_id, reason) in [(turn_id, ErrorReason::TurnCancelled), (events[0].turn_id.clone(), ErrorReason::Timeout)]
    {
        assert_kept(&ended(&client, &turn_id).await, reason);
    }
    stage.server.stop().await;
}

#[tokio::test]
async fn the_end_of_the_service_keeps_a_turn_whose_mcp_call_runs() {
    let Some(mut stage) = Stage::new(&[("shutdown.grace", "1s")]).await else { return };
    let (reader, _) = stage.hanging(1).await;
    let stopped = stage.server.begin_stop();
    let seen = reader.rest().await;
    soon(stopped).await.expect("no panic").expect("a good end");
    assert_whole(&seen.events);
    assert_kept(seen.turn(), ErrorReason::ShuttingDown);
}
