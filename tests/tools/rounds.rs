//! The loop: calls run side by side, what came of them goes back, until there is an answer.

use causerie::proto::{self, event::Kind, stream_events_request::Request, turn::State};
use serde_json::json;

use super::{asked, calls_of, count, function, http_tool, runs_of, server, stream, texts, tool, with_tools};
use crate::support::{
    calls,
    completion::{calls as call_piece, finish, says, stream_of, stream_of_calls},
    event_log,
    events::soon,
    golden::assert_golden,
    provider::{Reply, ScriptedProvider},
    refusal::value,
    server::{append, text_of},
    status::{carried, reason_of},
};

fn two_tools(peer: &ScriptedProvider) -> Vec<proto::Tool> {
    vec![tool(http_tool("weather", peer, "/weather")), tool(http_tool("clock", peer, "/clock"))]
}

#[tokio::test]
async fn parallel_calls_run_side_by_side_and_stay_in_order() {
    let (server, peer) = (server().await, ScriptedProvider::start().await);
    let client = server.client().await;
    let (mut slow, quick) = (Reply::plain(200, "text/plain", "rain"), Reply::plain(200, "text/plain", "noon"));
    let gate = slow.gate();
    peer.on_path("/weather", slow);
    peer.on_path("/clock", quick);
    let asks = [
        says("Let me look."),
        call_piece(0, Some("weather"), r#"{"q":"Paris"}"#),
        call_piece(1, Some("clock"), r#"{"q":"now"}"#),
        finish("tool_calls"),
    ];
    server.provider.reply(Reply::sse(&asks));
    server.provider.reply(stream_of(&["Rain, ", "at noon."], "stop"));
    let turn = tokio::spawn({
        let (client, tools) = (client.clone(), two_tools(&peer));
        async move { stream(&client, Request::Start(with_tools("Weather and time?", tools))).await }
    });
    // Both are under way before the first has answered.
    soon(peer.next_request()).await;
    soon(peer.next_request()).await;
    gate.open();
    let seen = soon(turn).await.expect("no panic");
    assert_golden("turns/parallel_calls.jsonl", &event_log::told(&[("a turn with two calls", &sorted(&seen.events))]));

    let done = seen.turn();
    assert_eq!((done.state(), text_of(done).as_str()), (State::Completed, "Let me look.Rain, at noon."));
    let runs = runs_of(done);
    assert_eq!(runs.iter().map(|run| run.name.as_str()).collect::<Vec<_>>(), ["weather", "clock"]);
    assert_eq!((runs[0].parallel, runs[1].parallel), (false, true));
    assert!(runs.iter().all(|run| run.duration.is_some()), "{runs:?}");
    let requests = server.provider.requests();
    assert_eq!(
        asked(&requests[1])[1..],
        [
            "assistant: Let me look.",
            r#"assistant: weather({"q":"Paris"}) + clock({"q":"now"})"#,
            "tool: rain",
            "tool: noon"
        ]
    );
    // The next turn tells the model the same, whether it comes from the cache or from the store.
    server.provider.reply(stream_of(&["Again."], "stop"));
    let again = stream(&client, Request::Append(append(&done.conversation_id, "And tomorrow?"))).await;
    assert_eq!(again.turn().state(), State::Completed);
    let later = asked(&server.provider.requests()[2]);
    assert_eq!(later[..5], asked(&requests[1])[..]);
    server.stop().await;
}

/// The ends of parallel runs come in any order; the log of the golden file has them by entry.
fn sorted(events: &[proto::Event]) -> Vec<proto::Event> {
    let is_done = |event: &proto::Event| matches!(event.kind, Some(Kind::ToolExecutionDone(_)));
    let Some(first) = events.iter().position(is_done) else { return events.to_vec() };
    let mut events = events.to_vec();
    let key = |event: &proto::Event| match &event.kind {
        Some(Kind::ToolExecutionDone(done)) => done.entry_id.clone(),
        Some(Kind::EntryDone(done)) => done.entry.as_ref().map(|entry| entry.id.clone()).unwrap_or_default(),
        _ => String::new(),
    };
    events[first..first + 4].sort_by_key(key);
    for (event, sequence) in events[first..first + 4].iter_mut().zip(first as i64 + 1..) {
        (event.sequence, event.first_sequence) = (sequence, sequence);
    }
    events
}

#[tokio::test]
async fn a_failing_tool_is_told_to_the_model() {
    let (server, peer) = (server().await, ScriptedProvider::start().await);
    let client = server.client().await;
    peer.on_path("/weather", Reply::plain(503, "text/plain", "closed for lunch"));
    server.provider.reply(stream_of_calls(&[("weather", r#"{"q":"Paris"}"#)]));
    server.provider.reply(stream_of(&["I can't know."], "stop"));
    let tools = vec![tool(http_tool("weather", &peer, "/weather"))];
    let seen = stream(&client, Request::Start(with_tools("Weather?", tools))).await;
    assert_golden("turns/failing_tool.jsonl", &event_log::told(&[("a turn whose tool fails", &seen.events)]));
    let turn = seen.turn();
    assert_eq!(turn.state(), State::Completed);
    assert_eq!(runs_of(turn)[0].error, "HTTP 503: closed for lunch");
    let back = &asked(&server.provider.requests()[1])[2];
    assert_eq!(back, r#"tool: {"error":"HTTP 503: closed for lunch"}"#);
    server.stop().await;
}

#[tokio::test]
async fn a_tool_that_must_not_fail_ends_the_turn() {
    let (server, peer) = (server().await, ScriptedProvider::start().await);
    let client = server.client().await;
    peer.on_path("/pay", Reply::plain(500, "text/plain", "no"));
    server.provider.reply(stream_of_calls(&[("pay", r#"{"q":"1"}"#)]));
    let tools = vec![tool(proto::HttpRequestTool { required: true, ..http_tool("pay", &peer, "/pay") })];
    let seen = stream(&client, Request::Start(with_tools("Pay", tools))).await;
    let turn = seen.turn();
    assert_eq!(turn.state(), State::Incomplete);
    let error = turn.error.as_ref().expect("an error");
    assert!(error.message.contains("pay"), "{error:?}");
    let told = carried(error);
    assert_eq!((told.code(), reason_of(&told).as_str()), (tonic::Code::Aborted, "TOOL_FAILED"));
    assert_eq!(value(&told, "tool"), "pay");
    assert_eq!(runs_of(turn)[0].error, "HTTP 500: no");
    // It goes on where it stopped.
    server.provider.reply(stream_of(&["It did not work."], "stop"));
    let on = stream(&client, Request::Append(append(&turn.conversation_id, ""))).await;
    assert_eq!((on.turn().state(), text_of(on.turn()).as_str()), (State::Completed, "It did not work."));
    server.stop().await;
}

#[tokio::test]
async fn calls_for_the_caller_and_for_the_service_in_one_answer() {
    let (server, peer) = (server().await, ScriptedProvider::start().await);
    let client = server.client().await;
    peer.on_path("/clock", Reply::json(200, &json!({"time": "noon"})));
    let both = [("clock", r#"{"q":"now"}"#), ("mine", "{}")];
    server.provider.reply(stream_of_calls(&both));
    let tools = vec![tool(http_tool("clock", &peer, "/clock")), function("mine")];
    let seen = stream(&client, Request::Start(with_tools("Both", tools))).await;
    let turn = seen.turn();
    assert_eq!(turn.state(), State::RequiresAction);
    let (calls, runs) = (calls_of(turn), runs_of(turn));
    assert_eq!((calls.len(), runs.len()), (1, 1));
    assert!(runs[0].parallel, "it belongs to the answer that asks for `mine`");
    let version = calls::get_conversation(&mut client.clone(), &turn.conversation_id).await.expect("a version");
    assert_eq!(version.pending_tool_call_ids, [calls[0].tool_call_id.clone()]);

    server.provider.reply(stream_of(&["Done."], "stop"));
    let result = proto::FunctionResult { tool_call_id: calls[0].tool_call_id.clone(), ..Default::default() };
    let inputs = vec![proto::Entry { kind: Some(proto::entry::Kind::FunctionResult(result)), ..Default::default() }];
    let request = proto::AppendRequest { inputs, ..append(&turn.conversation_id, "") };
    let on = stream(&client, Request::Append(request)).await;
    assert_eq!(on.turn().state(), State::Completed);
    assert_eq!(
        asked(&server.provider.requests()[1])[1..],
        [r#"assistant: mine({}) + clock({"q":"now"})"#, r#"tool: {"time":"noon"}"#, "tool: "]
    );
    server.stop().await;
}

#[tokio::test]
async fn a_made_up_tool_and_torn_arguments_are_told_to_the_model() {
    let (server, peer) = (server().await, ScriptedProvider::start().await);
    let client = server.client().await;
    server.provider.reply(stream_of_calls(&[("wether", "{}"), ("weather", "{\"q\":"), ("weather", "{}")]));
    server.provider.reply(stream_of(&["Sorry."], "stop"));
    let tools = vec![tool(http_tool("weather", &peer, "/weather"))];
    let seen = stream(&client, Request::Start(with_tools("Weather?", tools))).await;
    let runs = runs_of(seen.turn());
    assert_eq!(runs[0].error, "there is no tool wether; there are weather");
    assert!(runs[1].error.contains("JSON"), "{:?}", runs[1]);
    assert!(runs[2].error.contains('q'), "{:?}", runs[2]);
    assert!(peer.requests().is_empty(), "nothing was sent");
    server.stop().await;
}

#[tokio::test]
async fn a_forced_choice_holds_for_the_first_answer_only() {
    let (server, peer) = (server().await, ScriptedProvider::start().await);
    let client = server.client().await;
    peer.on_path("/weather", Reply::plain(200, "text/plain", "rain"));
    server.provider.reply(stream_of_calls(&[("weather", r#"{"q":"Paris"}"#)]));
    server.provider.reply(stream_of(&["Rain."], "stop"));
    let choice =
        proto::ToolChoice { kind: Some(proto::tool_choice::Kind::Mode(proto::tool_choice::Mode::Required.into())) };
    let completion_args = Some(proto::CompletionArgs { tool_choice: Some(choice), ..Default::default() });
    let tools = vec![tool(http_tool("weather", &peer, "/weather"))];
    let request = proto::StartRequest { completion_args, ..with_tools("Weather?", tools) };
    let seen = stream(&client, Request::Start(request)).await;
    assert_eq!(seen.turn().state(), State::Completed);
    let choices: Vec<_> =
        server.provider.requests().iter().map(|request| request.json["tool_choice"].clone()).collect();
    assert_eq!(choices, [json!("required"), json!("auto")]);
    server.stop().await;
}

#[tokio::test]
async fn a_turn_without_a_trace_runs_tools_too() {
    let (server, peer) = (server().await, ScriptedProvider::start().await);
    let mut client = server.client().await;
    peer.on_path("/weather", Reply::plain(200, "text/plain", "rain"));
    server.provider.reply(stream_of_calls(&[("weather", r#"{"q":"Paris"}"#)]));
    server.provider.reply(Reply::text("Rain."));
    let tools = vec![tool(http_tool("weather", &peer, "/weather"))];
    let request = proto::StartRequest { store: Some(false), ..with_tools("Weather?", tools) };
    let seen = stream(&client, Request::Start(request)).await;
    assert_eq!((seen.turn().state(), seen.turn().conversation_id.as_str()), (State::Completed, ""));
    assert_eq!(count(&seen, |kind| matches!(kind, Kind::ToolExecutionDone(_))), 1);
    assert_eq!(calls::list_all(&mut client).await, []);
    server.stop().await;
}

#[tokio::test]
async fn a_unary_turn_runs_tools_too() {
    let (server, peer) = (server().await, ScriptedProvider::start().await);
    let mut client = server.client().await;
    peer.on_path("/weather", Reply::plain(200, "text/plain", "rain"));
    let calls = json!([{ "id": "wire00001", "function": { "name": "weather", "arguments": "{\"q\":\"Paris\"}" } }]);
    let message = json!({ "role": "assistant", "content": "", "tool_calls": calls });
    server.provider.reply(crate::support::completion::whole(message, "tool_calls"));
    server.provider.reply(Reply::text("Rain."));
    let tools = vec![tool(http_tool("weather", &peer, "/weather"))];
    let turn = client.start(with_tools("Weather?", tools)).await.expect("a turn").into_inner();
    assert_eq!((turn.state(), text_of(&turn).as_str()), (State::Completed, "Rain."));
    assert_eq!(texts(&runs_of(&turn)[0].result), "rain");
    assert_eq!(turn.models.len(), 1);
    assert_eq!(turn.models[0].attempts, 2);
    let read = calls::history(&mut client, &turn.conversation_id).await.expect("a history");
    assert_eq!(read.len(), 3);
    server.stop().await;
}
