//! Tools that answer too much, too little, or something else than text, and many of them at once.

use causerie::proto::{event::Kind, stream_events_request::Request, turn::State};
use serde_json::Value;

use super::{asked, count, http_tool, mcp_faults, runs_of, server, server_with, stream, texts, tool, with_tools};
use crate::support::{
    calls,
    completion::{stream_of, stream_of_calls},
    events::soon,
    provider::{Reply, ScriptedProvider},
};

#[tokio::test]
async fn what_is_too_long_empty_or_a_picture_is_told_as_such() {
    let (server, peer) = (server().await, ScriptedProvider::start().await);
    let client = server.client().await;
    peer.on_path("/long", Reply::plain(200, "text/plain", &"x".repeat(1 << 20)));
    peer.on_path("/empty", Reply::plain(200, "text/plain", ""));
    peer.on_path("/none", Reply::plain(204, "text/plain", ""));
    peer.on_path("/picture", Reply::plain(200, "image/png", "\u{89}PNG\r\n"));
    peer.on_path("/bytes", Reply::plain(200, "application/octet-stream", "\0\u{1}"));
    let names = ["long", "empty", "none", "picture", "bytes"];
    let q = r#"{"q":"x"}"#;
    server.provider.reply(stream_of_calls(&names.map(|name| (name, q))));
    server.provider.reply(stream_of(&["I see."], "stop"));
    let tools = names.map(|name| tool(http_tool(name, &peer, &format!("/{name}")))).to_vec();
    let seen = stream(&client, Request::Start(with_tools("All", tools))).await;
    assert_eq!(seen.turn().state(), State::Completed);
    let runs = runs_of(seen.turn());
    assert!(runs.iter().all(|run| run.error.is_empty()), "{runs:?}");
    let long = texts(&runs[0].result);
    assert!(long.len() < 300_000 && long.ends_with("[cut off here: the answer is longer than 262144 bytes]"));
    for (run, status) in [(1, "200"), (2, "204")] {
        assert_eq!(texts(&runs[run].result), format!("HTTP {status}: the answer has no content"));
    }
    let content = &server.provider.requests()[1].json["messages"];
    for message in 2..7 {
        assert_eq!(content[message]["role"], "tool");
        let said = &content[message]["content"];
        assert!(said.as_str().is_some_and(|text| !text.is_empty()) || said.is_array(), "{message}");
    }
    server.stop().await;
}

#[tokio::test]
async fn arguments_that_are_no_object_are_not_sent() {
    let (server, peer) = (server().await, ScriptedProvider::start().await);
    let client = server.client().await;
    let torn = ["[1]", "7", "null", "\"q\"", "{\"q\":1}", "{}{}", "{\"q\":\"a\",\"q\":\"b\"}"];
    server.provider.reply(stream_of_calls(&torn.map(|arguments| ("clock", arguments))));
    server.provider.reply(stream_of(&["Sorry."], "stop"));
    peer.on_path("/clock", Reply::plain(200, "text/plain", "noon"));
    let tools = vec![tool(http_tool("clock", &peer, "/clock"))];
    let seen = stream(&client, Request::Start(with_tools("Time?", tools))).await;
    assert_eq!(seen.turn().state(), State::Completed);
    let runs = runs_of(seen.turn());
    assert!(runs[..6].iter().all(|run| !run.error.is_empty()), "{runs:?}");
    assert!(peer.requests().len() <= 1, "{:?}", peer.requests());
    // Whatever it wrote, what is sent back is JSON: Mistral refuses a history with anything else.
    let sent = &server.provider.requests()[1].json["messages"][1]["tool_calls"];
    for (call, arguments) in sent.as_array().expect("calls").iter().zip(torn) {
        let text = call["function"]["arguments"].as_str().expect("a text");
        assert_eq!(serde_json::from_str::<Value>(text).is_ok(), serde_json::from_str::<Value>(arguments).is_ok());
    }
    server.stop().await;
}

#[tokio::test]
async fn many_calls_of_one_answer_keep_their_order_and_wait_for_each_other() {
    let (server, peer) = (server_with(&[("turns.max_parallel_tools", "2")]).await, ScriptedProvider::start().await);
    let client = server.client().await;
    const CALLS: usize = 64;
    let mut gates = Vec::new();
    for call in 0..CALLS {
        let mut reply = Reply::plain(200, "text/plain", &format!("answer {call}"));
        gates.push(reply.gate());
        peer.on_path(&format!("/{call}"), reply);
    }
    let names: Vec<String> = (0..CALLS).map(|call| format!("tool-{call}")).collect();
    let asks: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), r#"{"q":"x"}"#)).collect();
    server.provider.reply(stream_of_calls(&asks));
    server.provider.reply(stream_of(&["Done."], "stop"));
    let tools = names.iter().enumerate().map(|(call, name)| tool(http_tool(name, &peer, &format!("/{call}"))));
    let request = Request::Start(with_tools("All", tools.collect()));
    let turn = tokio::spawn(async move { stream(&client, request).await });
    // Two are under way; a third comes only when one of them has ended, and here that is the later one.
    let number = |path: &str| path[1..path.find('?').expect("a query")].parse::<usize>().expect("a number");
    let mut under_way: Vec<usize> = Vec::new();
    for arrived in 0..CALLS {
        if under_way.len() == 2 {
            assert_eq!(peer.requests().len(), arrived, "no more than two at once");
            gates[under_way.pop().expect("two")].open();
        }
        under_way.push(number(&soon(peer.next_request()).await.path));
    }
    gates.iter().for_each(|gate| gate.open());
    let seen = soon(turn).await.expect("no panic");
    assert_eq!(seen.turn().state(), State::Completed);
    assert_eq!(count(&seen, |kind| matches!(kind, Kind::ToolExecutionStarted(_))), CALLS);
    let results: Vec<String> = runs_of(seen.turn()).iter().map(|run| texts(&run.result)).collect();
    assert_eq!(results, (0..CALLS).map(|call| format!("answer {call}")).collect::<Vec<_>>());
    let told = asked(&server.provider.requests()[1]);
    assert_eq!(told[2..], (0..CALLS).map(|call| format!("tool: answer {call}")).collect::<Vec<_>>());
    server.stop().await;
}

#[tokio::test]
async fn a_long_result_of_an_mcp_server_is_cut() {
    let Some(stage) = mcp_faults::Stage::new(&[]).await else { return };
    let arguments = serde_json::json!({"text": "y".repeat((1 << 20) + 9)}).to_string();
    let seen = stage.turn(&[("faults_echo", &arguments)]).await;
    let run = runs_of(seen.turn())[0];
    // The arguments are part of the turn too: what is left of its room is the result's.
    let text = texts(&run.result);
    assert!(text.starts_with("yyy") && text.contains("[cut"), "{}", run.error);
    assert!(text.len() < 600 << 10, "{}", text.len());
    let read = calls::get_turn(&mut stage.client.clone(), &seen.turn().id).await.expect("it fits");
    assert_eq!(read.outputs, seen.turn().outputs);
    stage.server.stop().await;
}
