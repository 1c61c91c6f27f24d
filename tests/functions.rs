//! Function calls: asked for by the model, run by the caller, told to the model again.

use causerie::proto::{self, entry::Kind, turn::State};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::support::{
    completion::{stream_of_calls, whole},
    events::{assert_whole, events_of, run},
    provider::Reply,
    reads,
    refusal::{fields, told, value},
    server::{Client, TestServer, append, start, text_of},
};

fn tool(name: &str) -> proto::Tool {
    let function = proto::Function { name: name.to_owned(), ..Default::default() };
    proto::Tool { kind: Some(proto::tool::Kind::Function(function)) }
}

fn with_tools(names: &[&str]) -> proto::StartRequest {
    proto::StartRequest { tools: names.iter().map(|name| tool(name)).collect(), ..start("Weather and time?") }
}

fn entry(kind: Kind) -> proto::Entry {
    proto::Entry { kind: Some(kind), ..Default::default() }
}

fn text(text: &str) -> proto::Chunk {
    proto::Chunk { kind: Some(proto::chunk::Kind::Text(text.to_owned())) }
}

fn result(tool_call_id: &str, content: &str) -> proto::Entry {
    let tool_call_id = tool_call_id.to_owned();
    entry(Kind::FunctionResult(proto::FunctionResult {
        tool_call_id,
        content: vec![text(content)],
        is_error: false,
        decision: None,
    }))
}

fn call(tool_call_id: &str, name: &str) -> proto::Entry {
    let (tool_call_id, name) = (tool_call_id.to_owned(), name.to_owned());
    entry(Kind::FunctionCall(proto::FunctionCall { tool_call_id, name, ..Default::default() }))
}

fn user(content: &str) -> proto::Entry {
    let role = proto::Role::User.into();
    entry(Kind::MessageInput(proto::MessageInput { role, content: vec![text(content)], prefix: false }))
}

fn append_all(conversation_id: &str, inputs: Vec<proto::Entry>) -> proto::AppendRequest {
    proto::AppendRequest { input: String::new(), inputs, ..append(conversation_id, "") }
}

/// The calls of a turn: their ids, names and arguments.
fn calls_of(turn: &proto::Turn) -> Vec<(String, String, String)> {
    let calls = turn.outputs.iter().filter_map(|output| match &output.kind {
        Some(Kind::FunctionCall(call)) => Some((call.tool_call_id.clone(), call.name.clone(), call.arguments.clone())),
        _ => None,
    });
    calls.collect()
}

async fn pending(client: &Client, conversation_id: &str) -> Vec<String> {
    reads::version(client, conversation_id).await.pending_tool_call_ids
}

/// A call and a result as the provider gets them.
fn wire_call(id: &str, name: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

fn wire_result(id: &str, name: &str, content: &str) -> Value {
    json!({"role": "tool", "tool_call_id": id, "name": name, "content": content})
}

fn assert_missing(refused: &Status, ids: &[&str]) {
    assert_eq!(told(refused), (Code::FailedPrecondition, "TOOL_RESULTS_MISSING".to_owned()));
    assert_eq!(value(refused, "tool_call_ids"), ids.join(","));
    assert!(ids.iter().all(|id| refused.message().contains(id)), "{}", refused.message());
}

fn assert_invalid(refused: &Status, field: &str) {
    assert_eq!(told(refused), (Code::InvalidArgument, "INVALID_REQUEST".to_owned()));
    assert_eq!(fields(refused), [field]);
}

/// A turn in which the model asks for the weather and for the time.
async fn two_calls(server: &TestServer, client: &mut Client) -> proto::Turn {
    let calls = json!({"role": "assistant", "content": "", "tool_calls": [
        {"index": 0, "id": "AAAAAAAAA", "function": {"name": "weather", "arguments": r#"{"in":"Paris"}"#}},
        {"index": 1, "id": "BBBBBBBBB", "function": {"name": "clock", "arguments": {}}},
    ]});
    server.provider.reply(whole(calls, "tool_calls"));
    let turn = client.start(with_tools(&["weather", "clock"])).await.expect("an answer").into_inner();
    server.provider.on_every(Reply::text("Sunny at noon."));
    turn
}

#[tokio::test]
async fn calls_are_asked_for_and_their_results_taken_in_any_order() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let asked = two_calls(&server, &mut client).await;

    assert_eq!(asked.state(), State::RequiresAction);
    assert_eq!(asked.finish_reason(), proto::turn::FinishReason::ToolCalls);
    let calls = calls_of(&asked);
    let told: Vec<(&str, &str)> = calls.iter().map(|call| (call.1.as_str(), call.2.as_str())).collect();
    assert_eq!(told, [("weather", r#"{"in":"Paris"}"#), ("clock", "{}")]);
    let (weather, clock) = (&calls[0].0, &calls[1].0);
    assert_eq!(pending(&client, &asked.conversation_id).await, [weather.clone(), clock.clone()]);

    let results = vec![result(clock, "12:00"), result(weather, "sun")];
    let turn = client.append(append_all(&asked.conversation_id, results)).await.expect("an answer").into_inner();
    assert_eq!((turn.state(), text_of(&turn).as_str()), (State::Completed, "Sunny at noon."));
    assert!(pending(&client, &turn.conversation_id).await.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_call_and_its_result_have_one_id_of_nine_characters_on_the_wire() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let asked = two_calls(&server, &mut client).await;
    let calls = calls_of(&asked);
    assert!(calls.iter().all(|call| call.0.starts_with("call_") && call.0.len() == 37));

    let results = vec![result(&calls[1].0, "12:00"), result(&calls[0].0, "sun")];
    client.append(append_all(&asked.conversation_id, results)).await.expect("an answer");

    let messages = &server.provider.requests()[1].json["messages"];
    let wire: Vec<&str> =
        messages[1]["tool_calls"].as_array().expect("calls").iter().filter_map(|call| call["id"].as_str()).collect();
    assert!(wire.len() == 2 && wire[0] != wire[1]);
    assert!(wire.iter().all(|id| id.len() == 9 && id.chars().all(|c| c.is_ascii_alphanumeric())), "{wire:?}");
    let calls = json!([wire_call(wire[0], "weather", r#"{"in":"Paris"}"#), wire_call(wire[1], "clock", "{}")]);
    assert_eq!(messages[1]["tool_calls"], calls);
    assert_eq!(messages[2], wire_result(wire[1], "clock", "12:00"));
    assert_eq!(messages[3], wire_result(wire[0], "weather", "sun"));
    server.stop().await;
}

#[tokio::test]
async fn nothing_but_the_missing_results_may_follow() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let asked = two_calls(&server, &mut client).await;
    let calls = calls_of(&asked);
    let (weather, clock) = (calls[0].0.as_str(), calls[1].0.as_str());
    let rows = [
        (vec![user("Never mind")], vec![weather, clock]),
        (vec![], vec![weather, clock]),
        (vec![result(weather, "sun")], vec![clock]),
        (vec![result(clock, "12:00"), user("And?")], vec![weather]),
        (vec![call("call_1", "weather")], vec![weather, clock]),
    ];
    for (inputs, missing) in rows {
        let request = append_all(&asked.conversation_id, inputs);
        assert_missing(&client.append(request.clone()).await.expect_err("results are missing"), &missing);
        let aside = proto::AppendRequest { store: Some(false), ..request };
        assert_missing(&client.append(aside).await.expect_err("results are missing"), &missing);
    }
    assert_eq!(server.provider.requests().len(), 1, "no model was asked");
    server.stop().await;
}

#[tokio::test]
async fn results_may_be_stored_one_by_one() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let asked = two_calls(&server, &mut client).await;
    let calls = calls_of(&asked);
    let store_one = proto::AppendRequest {
        skip_completion: true,
        ..append_all(&asked.conversation_id, vec![result(&calls[1].0, "12:00")])
    };
    let half = client.append(store_one).await.expect("stored").into_inner();
    assert_eq!(pending(&client, &half.conversation_id).await, [calls[0].0.clone()]);
    let rest = append_all(&half.conversation_id, vec![result(&calls[0].0, "sun")]);
    let turn = client.append(rest).await.expect("an answer").into_inner();
    assert_eq!(text_of(&turn), "Sunny at noon.");
    server.stop().await;
}

#[tokio::test]
async fn a_result_must_answer_a_call_that_waits_and_only_once() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let asked = two_calls(&server, &mut client).await;
    let calls = calls_of(&asked);
    let (weather, clock) = (calls[0].0.as_str(), calls[1].0.as_str());
    let field = |i: usize| format!("inputs[{i}].function_result.tool_call_id");

    let made_up = append_all(&asked.conversation_id, vec![result(weather, "sun"), result("call_x", "?")]);
    assert_invalid(&client.append(made_up).await.expect_err("no such call"), &field(1));
    let twice = append_all(&asked.conversation_id, vec![result(weather, "sun"), result(weather, "rain")]);
    assert_invalid(&client.append(twice).await.expect_err("answered"), &field(1));
    let both = append_all(&asked.conversation_id, vec![result(weather, "sun"), result(clock, "12:00")]);
    let answered = client.append(both).await.expect("an answer").into_inner();
    let late = append_all(&answered.conversation_id, vec![result(weather, "rain")]);
    assert_invalid(&client.append(late).await.expect_err("answered"), &field(0));
    let first = proto::StartRequest { input: String::new(), inputs: vec![result("call_1", "?")], ..start("") };
    assert_invalid(&client.start(first).await.expect_err("no call at all"), &field(0));
    server.stop().await;
}

#[tokio::test]
async fn the_model_is_told_that_a_function_failed() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    server.provider.reply(stream_of_calls(&[("weather", "{}")]));
    let asked = events_of(&client, run(with_tools(&["weather"]))).await;
    assert_whole(&asked.events);
    let turn = asked.turn();
    server.provider.reply(Reply::text("A pity."));
    let failed = proto::FunctionResult {
        tool_call_id: calls_of(turn)[0].0.clone(),
        content: vec![text("no network")],
        is_error: true,
        decision: None,
    };
    let failed = append_all(&turn.conversation_id, vec![entry(Kind::FunctionResult(failed))]);
    client.append(failed).await.expect("an answer");
    let messages = &server.provider.requests()[1].json["messages"];
    let content: Value = serde_json::from_str(messages[2]["content"].as_str().expect("text")).expect("JSON");
    assert_eq!(content, json!({"error": "no network"}));
    server.stop().await;
}

#[tokio::test]
async fn tools_are_inherited_replaced_and_removed() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    server.provider.on_every(Reply::text("ok"));
    let first = client.start(with_tools(&["weather"])).await.expect("an answer").into_inner();
    let again = append(&first.conversation_id, "again");
    let kept = client.append(again.clone()).await.expect("an answer").into_inner();
    let replaced = proto::AppendRequest { tools: vec![tool("clock")], ..again.clone() };
    let replaced = client.append(replaced).await.expect("an answer").into_inner();
    let removed = proto::AppendRequest { clear_tools: true, ..again };
    client.append(removed).await.expect("an answer");
    let later = client.append(append(&replaced.conversation_id, "still?")).await.expect("an answer").into_inner();

    let asked = server.provider.requests();
    let offered: Vec<Value> = asked.iter().map(|asked| asked.json["tools"][0]["function"]["name"].clone()).collect();
    assert_eq!(json!(offered), json!(["weather", "weather", "clock", null, "clock"]));
    assert!(!kept.conversation_id.is_empty() && !later.conversation_id.is_empty());
    assert_eq!(asked[0].json["tools"][0]["type"], "function");
    server.stop().await;
}

#[tokio::test]
async fn every_tool_choice_reaches_the_provider() {
    use proto::tool_choice::{Kind, Mode};
    let server = TestServer::start().await;
    let mut client = server.client().await;
    server.provider.on_every(Reply::text("ok"));
    let with_choice = |kind: Kind| {
        let tool_choice = Some(proto::ToolChoice { kind: Some(kind) });
        let args = proto::CompletionArgs { tool_choice, parallel_tool_calls: Some(false), ..Default::default() };
        proto::StartRequest { completion_args: Some(args), ..with_tools(&["weather"]) }
    };
    let rows = [
        (Kind::Mode(Mode::Auto.into()), json!("auto")),
        (Kind::Mode(Mode::None.into()), json!("none")),
        (Kind::Mode(Mode::Any.into()), json!("any")),
        (Kind::Mode(Mode::Required.into()), json!("required")),
        (Kind::FunctionName("weather".to_owned()), json!({"type": "function", "function": {"name": "weather"}})),
    ];
    for (kind, expected) in rows {
        client.start(with_choice(kind)).await.expect("an answer");
        let asked = server.provider.next_request().await;
        assert_eq!(asked.json["tool_choice"], expected);
        assert_eq!(asked.json["parallel_tool_calls"], false);
    }
    let unknown = client.start(with_choice(Kind::FunctionName("clock".to_owned()))).await.expect_err("no such tool");
    assert_invalid(&unknown, "completion_args.tool_choice.function_name");
    server.stop().await;
}

#[tokio::test]
async fn calls_of_other_services_can_be_imported_and_answered() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    server.provider.reply(Reply::text("ok"));
    let foreign = ["call_abcDEF123456", "toolu_01A09q90qw90lq917835lq9"];
    let import = proto::StartRequest {
        input: String::new(),
        inputs: vec![user("Weather?"), call(foreign[0], "weather"), call(foreign[1], "clock")],
        skip_completion: true,
        ..start("")
    };
    let import = client.start(import).await.expect("stored").into_inner();
    assert_eq!(pending(&client, &import.conversation_id).await, foreign);

    let results = vec![result(foreign[0], "sun"), result(foreign[1], "12:00")];
    client.append(append_all(&import.conversation_id, results)).await.expect("an answer");

    let messages = &server.provider.requests()[0].json["messages"];
    let calls = messages[1]["tool_calls"].as_array().expect("calls");
    for (i, call) in calls.iter().enumerate() {
        let id = call["id"].as_str().expect("an id");
        assert!(id.len() == 9 && id.chars().all(|c| c.is_ascii_alphanumeric()), "{id}");
        assert_eq!(messages[2 + i]["tool_call_id"], id);
    }
    assert_ne!(calls[0]["id"], calls[1]["id"]);
    server.stop().await;
}

#[tokio::test]
async fn a_restart_goes_before_the_calls_or_after_them() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let asked = two_calls(&server, &mut client).await;
    let calls = calls_of(&asked);
    let from = |entry: &proto::Entry, inputs: Vec<proto::Entry>| proto::RestartRequest {
        conversation_id: asked.conversation_id.clone(),
        from_entry_id: entry.id.clone(),
        inputs,
        ..Default::default()
    };
    let before = proto::RestartRequest {
        boundary: proto::restart_request::Boundary::BeforeEntry.into(),
        ..from(&asked.outputs[0], vec![])
    };

    let regenerated = client.restart(before).await.expect("another answer").into_inner();
    let last = &asked.outputs[1];
    let missing = client.restart(from(last, vec![user("Never mind")])).await.expect_err("results are missing");
    assert_missing(&missing, &[&calls[0].0, &calls[1].0]);
    // Between the two: only the first call was made.
    let first = &asked.outputs[0];
    let other = client.restart(from(first, vec![result(&calls[1].0, "12:00")])).await.expect_err("not made");
    assert_invalid(&other, "inputs[0].function_result.tool_call_id");
    let answered = client.restart(from(first, vec![result(&calls[0].0, "sun")])).await.expect("an answer");

    assert_eq!(text_of(&regenerated), "Sunny at noon.");
    assert_eq!(text_of(&answered.into_inner()), "Sunny at noon.");
    let asked = server.provider.requests();
    assert_eq!(asked[1].json["messages"], json!([{"role": "user", "content": "Weather and time?"}]));
    assert_eq!(asked[2].json["messages"][1]["tool_calls"].as_array().map(Vec::len), Some(1));
    server.stop().await;
}
