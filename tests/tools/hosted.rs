//! Turns with Mistral's own tools and with agents that Mistral hosts: forwarded to its conversations, streamed, and kept here.

use causerie::{
    offline::{MODELS, Offline, Options},
    proto::{self, entry::Kind, stream_events_request::Request, turn::State},
};
use serde_json::{Value, json};

use super::{asked, calls_of, function, http_tool, runs_of, stream, tool, with_tools};
use crate::support::{
    completion::stream_of,
    event_log, forwarding,
    golden::assert_golden,
    http::post,
    provider::{Captured, Reply, ScriptedProvider},
    refusal::turn_reason,
    server::{TestServer, append, start, text_of},
    status::reason_of,
};

/// A stream of these events, as Mistral's conversations send it.
pub(super) fn conversation(events: &[Value]) -> Reply {
    let started = json!({"type": "conversation.response.started", "conversation_id": "conv_0198c0ffee"});
    let event = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().expect("a type"));
    Reply::raw_sse([&started].into_iter().chain(events).map(event))
}

pub(super) fn says(id: &str, content: Value) -> Value {
    json!({"type": "message.output.delta", "id": id, "role": "assistant", "content": content})
}

pub(super) fn begins(id: &str, name: &str, arguments: &str) -> Value {
    json!({"type": "tool.execution.started", "id": id, "name": name, "arguments": arguments})
}

fn goes_on(id: &str, name: &str, arguments: &str) -> Value {
    json!({"type": "tool.execution.delta", "id": id, "name": name, "arguments": arguments})
}

pub(super) fn ends(id: &str, name: &str, info: Value) -> Value {
    json!({"type": "tool.execution.done", "id": id, "name": name, "info": info})
}

pub(super) fn asks(id: &str, name: &str, arguments: &str) -> Value {
    json!({"type": "function.call.delta", "id": id, "tool_call_id": id, "name": name, "arguments": arguments})
}

fn hands_over(id: &str, from: &str, to: &str) -> [Value; 2] {
    let names = |agent: &str| agent.trim_start_matches("ag_").to_owned();
    [
        json!({"type": "agent.handoff.started", "id": id, "previous_agent_id": from, "previous_agent_name": names(from)}),
        json!({"type": "agent.handoff.done", "id": id, "next_agent_id": to, "next_agent_name": names(to)}),
    ]
}

/// `read` and `written` by the model, `fed` to it by so many `calls` of a tool.
fn used(read: u64, written: u64, fed: u64, calls: Value) -> Value {
    let total = read + written + fed;
    let usage = json!({"prompt_tokens": read, "completion_tokens": written, "total_tokens": total,
        "connector_tokens": fed, "connectors": calls});
    json!({"type": "conversation.response.done", "usage": usage})
}

pub(super) fn ended() -> Value {
    used(10, 5, 0, Value::Null)
}

pub(super) fn web_search() -> proto::Tool {
    proto::Tool { kind: Some(proto::tool::Kind::WebSearch(proto::ConnectorTool::default())) }
}

fn code_interpreter() -> proto::Tool {
    proto::Tool { kind: Some(proto::tool::Kind::CodeInterpreter(proto::ConnectorTool::default())) }
}

const PRICED: &str = "[providers.mistral.models.scripted-model]\ninput_price = \"1.00\"\noutput_price = \"2.00\"\n\
                      connector_prices = { web_search = \"0.03\" }\n";

/// A service with another provider, which speaks OpenAI's dialect and says "I see.".
async fn two_providers(file: &str) -> (TestServer, ScriptedProvider) {
    let other = ScriptedProvider::start().await;
    other.on_every(stream_of(&["I see."], "stop"));
    let file = format!(
        "{file}[tools.http]\nallow = [\"127.0.0.1\"]\n\
         [providers.other]\ndialect = \"openai\"\nbase_url = \"{}\"\nkey_header = \"none\"\n",
        other.base_url()
    );
    (TestServer::configured(&file, &[]).await, other)
}

/// The request goes to Mistral's conversations, leaves nothing there, and the stand-in, which checks by itself, takes it.
async fn assert_taken(request: &Captured) {
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/conversations"));
    assert_eq!(request.json["store"], false);
    let offline = Offline::start_with(Options { pace: std::time::Duration::ZERO }).await.expect("loopback");
    let mut body = request.json.clone();
    if body.get("model").is_some() {
        body["model"] = json!(MODELS[0]);
    } else {
        body["agent_id"] = json!("ag_offline");
    }
    let answer = post(&format!("{}/v1/conversations", offline.base_url()), &body).await;
    assert_eq!(answer.status, 200, "{} for {body:#}", answer.text);
    offline.stop().await.expect("it ends in order");
}

/// An entry of a request, in short.
fn inputs(request: &Captured) -> Vec<String> {
    let told = |input: &Value| {
        let text = |key: &str| match &input[key] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match input["type"].as_str().expect("a type") {
            "function.call" => format!("call: {}({})", text("name"), text("arguments")),
            "function.result" => format!("result: {}", text("result")),
            "message.input" => format!("{}: {}", text("role"), text("content")),
            other => format!("{other}: {}", text("content")),
        }
    };
    request.json["inputs"].as_array().expect("entries").iter().map(told).collect()
}

fn found() -> Reply {
    let source = json!({"type": "tool_reference", "tool": "web_search", "title": "Roma", "url": "https://example.org/roma",
        "description": "The city"});
    conversation(&[
        says("msg_a", json!("Let me ")),
        says("msg_a", json!("look.")),
        begins("run_a", "web_search", r#"{"query":"Rome"}"#),
        begins("run_b", "web_search", r#"{"query":"#),
        goes_on("run_b", "web_search", r#""weather"}"#),
        ends("run_b", "web_search", json!({"hits": 2})),
        ends("run_a", "web_search", json!({})),
        says("msg_b", json!("It is sunny")),
        says("msg_b", source),
        says("msg_b", json!(" in Rome.")),
        says("msg_c", json!("Enjoy it.")),
        used(188, 55, 7112, json!({"web_search": 2})),
    ])
}

#[tokio::test]
async fn a_search_goes_through_mistral_and_its_conversation_everywhere() {
    let (server, other) = two_providers(PRICED).await;
    let client = server.client().await;
    server.provider.reply(found());
    let seen = stream(&client, Request::Start(with_tools("Weather in Rome?", vec![web_search()]))).await;
    assert_golden("turns/connector.jsonl", &event_log::told(&[("a turn with a search", &seen.events)]));
    let turn = seen.turn();
    assert_eq!((turn.state(), turn.outputs.len()), (State::Completed, 5));
    let usage = turn.usage.as_ref().expect("usage");
    assert_eq!((usage.connector_tokens, usage.connector_calls["web_search"], usage.total_tokens), (7112, 2, 7355));
    // What it fed to the model is read like a prompt; the two calls have their price.
    assert_eq!(forwarding::picos(turn.cost.as_ref()), Some((188 + 7112) * 1_000_000 + 55 * 2_000_000 + 60_000_000_000));
    let first = server.provider.requests().remove(0);
    assert_eq!(first.json["tools"], json!([{"type": "web_search"}]));
    assert_eq!((&first.json["stream"], first.json.get("agent_id")), (&json!(true), None));
    assert_taken(&first).await;

    // The next turn replays everything in a form that Mistral takes: runs as calls, citations as text.
    server.provider.reply(conversation(&[says("msg_a", json!("Rain.")), used(20, 1, 0, Value::Null)]));
    let next = stream(&client, Request::Append(append(&turn.conversation_id, "Tomorrow?"))).await;
    assert_eq!((next.turn().state(), text_of(next.turn()).as_str()), (State::Completed, "Rain."));
    let replayed = server.provider.requests().remove(1);
    assert_taken(&replayed).await;
    let told = inputs(&replayed);
    assert_eq!(
        told[..6],
        [
            "user: Weather in Rome?",
            "message.output: Let me look.",
            r#"call: web_search({"query":"Rome"})"#,
            "result: done",
            r#"call: web_search({"query":"weather"})"#,
            r#"result: {"hits":2}"#,
        ]
    );
    assert!(told[6].contains("sunny") && told[6].contains("https://example.org/roma"), "{told:?}");
    assert_eq!(told.last().map(String::as_str), Some("user: Tomorrow?"));

    // A plain model of another provider goes on, and then the search again.
    let elsewhere = proto::AppendRequest {
        model: "other/model".to_owned(),
        clear_tools: true,
        ..append(&next.turn().conversation_id, "What do you see?")
    };
    let elsewhere = stream(&client, Request::Append(elsewhere)).await;
    assert_eq!((elsewhere.turn().state(), text_of(elsewhere.turn()).as_str()), (State::Completed, "I see."));
    let request = other.requests().remove(0);
    assert!(request.path.ends_with("/chat/completions"), "{}", request.path);
    let told = asked(&request);
    assert!(told.iter().any(|line| line.contains(r#"web_search({"query":"weather"})"#)), "{told:?}");
    server.provider.reply(conversation(&[says("msg_a", json!("Sun again.")), ended()]));
    let back = proto::AppendRequest {
        model: "scripted-model".to_owned(),
        tools: vec![web_search()],
        ..append(&elsewhere.turn().conversation_id, "Look again")
    };
    let back = stream(&client, Request::Append(back)).await;
    assert_eq!(text_of(back.turn()), "Sun again.");
    assert_taken(&server.provider.requests()[2]).await;
    server.stop().await;
}

#[tokio::test]
async fn a_function_beside_mistral_s_tools_is_the_caller_s() {
    let (server, _other) = two_providers("").await;
    let client = server.client().await;
    server.provider.reply(conversation(&[
        begins("run_a", "code_interpreter", r#"{"code":"1+1"}"#),
        ends("run_a", "code_interpreter", json!({"code": "1+1", "code_output": "2"})),
        says("msg_a", json!("Two. Now yours.")),
        asks("AbCdEfGh1", "mine", "{\"n\":"),
        asks("AbCdEfGh1", "mine", "2}"),
        ended(),
    ]));
    let tools = vec![code_interpreter(), function("mine")];
    let seen = stream(&client, Request::Start(with_tools("Compute", tools))).await;
    let turn = seen.turn();
    assert_eq!(turn.state(), State::RequiresAction);
    let calls = calls_of(turn);
    assert_eq!((calls.len(), calls[0].name.as_str(), calls[0].arguments.as_str()), (1, "mine", "{\"n\":2}"));

    server.provider.reply(conversation(&[says("msg_a", json!("Four.")), ended()]));
    let content = vec![proto::Chunk { kind: Some(proto::chunk::Kind::Text("4".to_owned())) }];
    let result = proto::FunctionResult { tool_call_id: calls[0].tool_call_id.clone(), content, ..Default::default() };
    let inputs_given = vec![proto::Entry { kind: Some(Kind::FunctionResult(result)), ..Default::default() }];
    let request = proto::AppendRequest { inputs: inputs_given, ..append(&turn.conversation_id, "") };
    let on = stream(&client, Request::Append(request)).await;
    assert_eq!((on.turn().state(), text_of(on.turn()).as_str()), (State::Completed, "Four."));
    let request = server.provider.requests().remove(1);
    assert_taken(&request).await;
    let mut told = inputs(&request);
    // Which of the two results comes first does not matter to Mistral.
    told.sort_unstable();
    assert_eq!(
        told,
        [
            r#"call: code_interpreter({"code":"1+1"})"#,
            r#"call: mine({"n":2})"#,
            "message.output: Two. Now yours.",
            "result: 4",
            r#"result: {"code":"1+1","code_output":"2"}"#,
            "user: Compute",
        ]
    );
    let logs = [("the caller's function is asked for", &seen.events[..]), ("and answered", &on.events)];
    assert_golden("turns/connector_and_function.jsonl", &event_log::told(&logs));
    server.stop().await;
}

#[tokio::test]
async fn tools_of_the_service_run_between_two_requests_to_mistral_s_conversations() {
    let (server, _other) = two_providers("").await;
    let (client, peer) = (server.client().await, ScriptedProvider::start().await);
    peer.on_path("/clock", Reply::plain(200, "text/plain", "noon"));
    server.provider.reply(conversation(&[
        begins("run_a", "web_search", "{}"),
        ends("run_a", "web_search", json!({})),
        asks("AbCdEfGh1", "clock", r#"{"q":"now"}"#),
        ended(),
    ]));
    // Ids of messages may come again in the next answer.
    server.provider.reply(conversation(&[says("msg_a", json!("Noon.")), ended()]));
    let tools = vec![web_search(), tool(http_tool("clock", &peer, "/clock"))];
    let seen = stream(&client, Request::Start(with_tools("Time?", tools))).await;
    let turn = seen.turn();
    assert_eq!((turn.state(), text_of(turn).as_str()), (State::Completed, "Noon."));
    let names: Vec<&str> = runs_of(turn).iter().map(|run| run.name.as_str()).collect();
    assert_eq!(names, ["web_search", "clock"]);
    let requests = server.provider.requests();
    for request in &requests {
        assert_taken(request).await;
    }
    let offered: Vec<&str> =
        requests[0].json["tools"].as_array().expect("tools").iter().filter_map(|tool| tool["type"].as_str()).collect();
    assert_eq!(offered, ["web_search", "function"]);
    let told = inputs(&requests[1]);
    assert!(told.contains(&r#"call: clock({"q":"now"})"#.to_owned()) && told.contains(&"result: noon".to_owned()));
    assert_eq!(turn.models[0].attempts, 2);
    server.stop().await;
}

/// A Start led by an agent of Mistral's.
fn led_by(agent_id: &str, version: &str) -> proto::StartRequest {
    let (agent_id, agent_version) = (agent_id.to_owned(), version.to_owned());
    proto::StartRequest { model: String::new(), agent_id, agent_version, ..start("A book, please") }
}

#[tokio::test]
async fn an_agent_of_mistral_leads_hands_over_and_is_left_again() {
    let (server, other) = two_providers("").await;
    let client = server.client().await;
    let mut events = vec![says("msg_a", json!("One moment."))];
    events.extend(hands_over("handoff_a", "ag_front", "ag_books"));
    events.extend([says("msg_b", json!("Here it is.")), ended()]);
    server.provider.reply(conversation(&events));
    let seen = stream(&client, Request::Start(led_by("ag_front", "3"))).await;
    assert_golden("turns/hosted_agent.jsonl", &event_log::told(&[("Mistral's agent hands over", &seen.events)]));
    let turn = seen.turn();
    assert_eq!((turn.state(), turn.agent_id.as_str()), (State::Completed, "ag_front"));
    let writers: Vec<&str> = turn.outputs.iter().map(|output| output.agent_id.as_str()).collect();
    assert_eq!(writers, ["ag_front", "ag_front", "ag_books"]);
    let Some(Kind::AgentHandoff(handoff)) = &turn.outputs[1].kind else { panic!("{turn:?}") };
    assert_eq!((handoff.previous_agent_id.as_str(), handoff.next_agent_id.as_str()), ("ag_front", "ag_books"));
    let first = server.provider.requests().remove(0);
    assert_eq!((&first.json["agent_id"], &first.json["agent_version"]), (&json!("ag_front"), &json!(3)));
    for absent in ["model", "tools", "instructions", "completion_args"] {
        assert_eq!(first.json.get(absent), None);
    }

    server.provider.reply(conversation(&[says("msg_a", json!("Until Monday.")), ended()]));
    let next = stream(&client, Request::Append(append(&turn.conversation_id, "For how long?"))).await;
    assert_eq!(next.turn().agent_id, "ag_front");
    let replayed = server.provider.requests().remove(1);
    assert_eq!(replayed.json["agent_version"], 3, "the conversation keeps to it");
    assert_taken(&replayed).await;

    // A model goes on in its place, and then the agent again.
    let model =
        proto::AppendRequest { model: "other/model".to_owned(), ..append(&next.turn().conversation_id, "And you?") };
    let elsewhere = stream(&client, Request::Append(model)).await;
    let turn = elsewhere.turn();
    assert_eq!((text_of(turn).as_str(), turn.agent_id.as_str()), ("I see.", ""));
    assert_eq!(asked(&other.requests()[0]).last().map(String::as_str), Some("user: And you?"));
    server.provider.reply(conversation(&[says("msg_a", json!("Back.")), ended()]));
    let back = proto::AppendRequest { agent_id: "ag_front".to_owned(), ..append(&turn.conversation_id, "Again") };
    let back = stream(&client, Request::Append(back)).await;
    assert_eq!((text_of(back.turn()).as_str(), back.turn().agent_id.as_str()), ("Back.", "ag_front"));
    assert_eq!(server.provider.requests()[2].json.get("agent_version"), None, "it was not asked for");
    assert_taken(&server.provider.requests()[2]).await;
    server.stop().await;
}

#[tokio::test]
async fn an_error_in_the_stream_keeps_what_came_before_it() {
    let (server, _other) = two_providers("").await;
    let client = server.client().await;
    let error = || json!({"type": "conversation.response.error", "message": "prompt of somebody", "code": 3000});
    server.provider.reply(conversation(&[error()]));
    let early = stream(&client, Request::Start(with_tools("Search", vec![web_search()]))).await;
    assert_eq!(reason_of(early.error()), "UPSTREAM_PROTOCOL_ERROR");
    assert!(!format!("{:?}", early.error()).contains("prompt of"), "{:?}", early.error());

    server.provider.reply(conversation(&[
        begins("run_a", "web_search", r#"{"query":"a"}"#),
        ends("run_a", "web_search", json!({"hits": 1})),
        says("msg_a", json!("Half of ")),
        begins("run_b", "web_search", r#"{"query":"b"}"#),
        error(),
    ]));
    let late = stream(&client, Request::Start(with_tools("Search", vec![web_search()]))).await;
    let turn = late.turn();
    assert_eq!((turn.state(), turn_reason(turn).as_str()), (State::Incomplete, "UPSTREAM_PROTOCOL_ERROR"));
    let status: Vec<_> = runs_of(turn).iter().map(|run| run.status()).collect();
    assert_eq!(status, [proto::OutputStatus::Completed, proto::OutputStatus::Incomplete]);
    // It goes on from there.
    server.provider.reply(conversation(&[says("msg_a", json!("it all.")), ended()]));
    let on = stream(&client, Request::Append(append(&turn.conversation_id, ""))).await;
    assert_eq!((on.turn().state(), text_of(on.turn()).as_str()), (State::Completed, "it all."));
    assert_taken(&server.provider.requests()[2]).await;
    server.stop().await;
}
