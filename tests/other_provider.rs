//! A conversation that goes on with another provider: what that one is told of it, in its own words, and what it is not.

use causerie::proto::{self, ErrorReason, chunk, entry::Kind, omission, stream_events_request::Request, turn::State};
use serde_json::{Value, json};

use crate::support::{
    calls::{self, history},
    completion::{finish, says, stream_of, stream_of_calls, thinks, whole},
    events::{events_of, full, run},
    forwarding::{asked, falling_back_to, other, start_on, switches},
    provider::{Reply, ScriptedProvider},
    server::{Client, TestServer, append, text_of},
    status::{assert_promised, fields_of},
};

async fn two() -> (TestServer, ScriptedProvider, Client) {
    let second = ScriptedProvider::start().await;
    let server = TestServer::configured(&other(&second), &[]).await;
    let client = server.client().await;
    (server, second, client)
}

fn tools() -> Vec<proto::Tool> {
    let function = proto::Function { name: "get_weather".to_owned(), ..Default::default() };
    vec![proto::Tool { kind: Some(proto::tool::Kind::Function(function)) }]
}

fn text(text: &str) -> proto::Chunk {
    proto::Chunk { kind: Some(chunk::Kind::Text(text.to_owned())) }
}

fn result(tool_call_id: &str, content: &str) -> proto::Entry {
    let content = vec![text(content)];
    let result =
        proto::FunctionResult { tool_call_id: tool_call_id.to_owned(), content, is_error: false, decision: None };
    proto::Entry { kind: Some(Kind::FunctionResult(result)), ..Default::default() }
}

fn call_ids(turn: &proto::Turn) -> Vec<String> {
    let ids = turn.outputs.iter().filter_map(|entry| match &entry.kind {
        Some(Kind::FunctionCall(call)) => Some(call.tool_call_id.clone()),
        _ => None,
    });
    ids.collect()
}

/// The ids of a request's calls, and those that its results name.
fn wire_ids(request: &Value) -> (Vec<String>, Vec<String>) {
    let messages = request["messages"].as_array().expect("messages");
    let text = |id: &Value| id.as_str().expect("an id").to_owned();
    let calls = messages.iter().filter_map(|message| message["tool_calls"].as_array()).flatten();
    let results = messages.iter().filter(|message| message["role"] == "tool");
    (calls.map(|call| text(&call["id"])).collect(), results.map(|result| text(&result["tool_call_id"])).collect())
}

fn append_at(model: &str, to: &proto::Turn, inputs: Vec<proto::Entry>) -> proto::AppendRequest {
    proto::AppendRequest { model: model.to_owned(), inputs, input: String::new(), ..append(&to.conversation_id, "") }
}

fn is_mistral_s(id: &str) -> bool {
    id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[tokio::test]
async fn calls_and_results_keep_together_there_and_back() {
    let (server, second, client) = two().await;
    server.provider.reply(stream_of_calls(&[("get_weather", "{\"city\":\"Paris\"}")]));
    let begun = events_of(&client, run(proto::StartRequest { tools: tools(), ..start_on("first", "Weather?") })).await;
    let begun = begun.turn().clone();
    let ours = call_ids(&begun);

    // The other one answers the result with a call of its own.
    second.reply(stream_of_calls(&[("get_weather", "{\"city\":\"Rome\"}")]));
    let there = append_at("other/x", &begun, vec![result(&ours[0], "rain")]);
    let there = events_of(&client, full(Request::Append(there))).await.turn().clone();
    let (calls, results) = wire_ids(&second.next_request().await.json);
    assert_eq!((calls.len(), &calls), (1, &results));
    assert!(calls[0].starts_with("call_") && calls[0].len() <= 40, "{calls:?}");
    assert_eq!((there.model.as_str(), there.state()), ("other/x", State::RequiresAction));
    let theirs = call_ids(&there);
    assert!(theirs[0] != ours[0] && theirs[0].starts_with("call_"), "{theirs:?}");

    // And back: the first provider gets both calls, in its own form.
    server.provider.reply(stream_of(&["Rain in Paris, sun in Rome"], "stop"));
    let back = append_at("first", &there, vec![result(&theirs[0], "sun")]);
    let back = events_of(&client, full(Request::Append(back))).await.turn().clone();
    server.provider.next_request().await;
    let (calls, results) = wire_ids(&server.provider.next_request().await.json);
    assert_eq!((calls.len(), &calls), (2, &results));
    assert!(calls[0] != calls[1] && calls.iter().all(|id| is_mistral_s(id)), "{calls:?}");
    assert_eq!((back.model.as_str(), text_of(&back).as_str()), ("first", "Rain in Paris, sun in Rome"));

    // An override stays: without a word the model is the version's.
    server.provider.reply(stream_of(&["Yes"], "stop"));
    let on = events_of(&client, full(Request::Append(append(&back.conversation_id, "Sure?")))).await.turn().clone();
    assert_eq!(on.model, "first");
    let whole = history(&mut client.clone(), &on.conversation_id).await.expect("a history");
    let models: Vec<&str> = whole.iter().map(|entry| entry.model.as_str()).filter(|model| !model.is_empty()).collect();
    assert_eq!(models, ["first", "other/x", "first", "first"]);
    server.stop().await;
}

#[tokio::test]
async fn thinking_is_told_to_nobody_but_the_provider_that_thought() {
    let (server, second, client) = two().await;
    server.provider.reply(Reply::sse(&[thinks("a private thought"), says("Four"), finish("stop")]));
    let begun = events_of(&client, run(start_on("first", "Two and two?"))).await.turn().clone();
    assert_eq!(begun.omissions, []);

    second.reply(stream_of(&["Really"], "stop"));
    let there = proto::AppendRequest { model: "other/x".to_owned(), ..append(&begun.conversation_id, "Really?") };
    let there = events_of(&client, full(Request::Append(there))).await.turn().clone();
    let told = second.next_request().await;
    assert!(!String::from_utf8_lossy(&told.raw).contains("private thought"), "{}", told.json);
    let [left_out] = there.omissions.as_slice() else { panic!("{:?}", there.omissions) };
    assert_eq!((left_out.kind(), left_out.entry_count), (omission::Kind::Thinking, 1));
    assert_eq!(left_out.first_entry_id, begun.outputs[0].id);
    assert_eq!(left_out.last_entry_id, begun.outputs[0].id);

    server.provider.reply(stream_of(&["Yes"], "stop"));
    let back = proto::AppendRequest { model: "first".to_owned(), ..append(&there.conversation_id, "Sure?") };
    let back = events_of(&client, full(Request::Append(back))).await.turn().clone();
    server.provider.next_request().await;
    let told = server.provider.next_request().await;
    assert!(String::from_utf8_lossy(&told.raw).contains("private thought"), "{}", told.json);
    assert_eq!(back.omissions, []);
    server.stop().await;
}

#[tokio::test]
async fn a_fallback_is_told_what_an_append_there_would_be() {
    let (server, second, client) = two().await;
    let mut client = client;
    let thought = json!([{"type": "thinking", "thinking": [{"type": "text", "text": "a private thought"}]},
        {"type": "text", "text": "I look"}]);
    let call = json!({"id": "abcdefghi", "function": {"name": "get_weather", "arguments": "{}"}});
    let answer = json!({"role": "assistant", "content": thought, "tool_calls": [call]});
    server.provider.reply(whole(answer, "tool_calls"));
    let request = proto::StartRequest { tools: tools(), ..start_on("first", "Weather?") };
    let begun = calls::run(&mut client, "begin", Request::Start(request)).await.expect("a call");
    let ours = call_ids(&begun);

    server.provider.reply(Reply::json(503, &json!({})));
    second.reply(stream_of(&["Rain"], "stop"));
    let forwarding = Some(falling_back_to(&["other/x"]));
    let there = proto::AppendRequest { forwarding, ..append_at("", &begun, vec![result(&ours[0], "rain")]) };
    let seen = events_of(&client, full(Request::Append(there))).await;
    assert_eq!(switches(&seen.events).len(), 1);
    let there = seen.turn().clone();
    assert_eq!((there.model.as_str(), there.outputs[0].model.as_str()), ("first", "other/x"));
    assert_eq!(asked(&there), [("first", 1), ("other/x", 1)]);
    let told = second.next_request().await;
    assert!(!String::from_utf8_lossy(&told.raw).contains("private thought"), "{}", told.json);
    let (calls, results) = wire_ids(&told.json);
    assert!(calls == results && calls[0].starts_with("call_"), "{calls:?} {results:?}");
    let kinds: Vec<omission::Kind> = there.omissions.iter().map(proto::Omission::kind).collect();
    assert_eq!(kinds, [omission::Kind::Thinking]);

    // The version's own model is asked next time, and has its thought.
    server.provider.reply(stream_of(&["Yes"], "stop"));
    let on = events_of(&client, full(Request::Append(append(&there.conversation_id, "Sure?")))).await.turn().clone();
    let requests = server.provider.requests_for("first");
    let last = requests.last().expect("asked");
    assert!(String::from_utf8_lossy(&last.raw).contains("private thought"), "{}", last.json);
    assert_eq!((on.omissions.len(), text_of(&on).as_str()), (0, "Yes"));
    let (calls, results) = wire_ids(&last.json);
    assert!(calls == results && is_mistral_s(&calls[0]), "{calls:?}");
    server.stop().await;
}

#[tokio::test]
async fn what_the_other_one_does_not_take_is_named_by_its_entry() {
    let (server, second, mut client) = two().await;
    let document = proto::DocumentUrl { url: "https://example.org/a.pdf".to_owned(), name: String::new() };
    let content = vec![text("Read this"), proto::Chunk { kind: Some(chunk::Kind::DocumentUrl(document)) }];
    let message = proto::MessageInput { role: proto::Role::User.into(), content, prefix: false };
    let input = proto::Entry { kind: Some(Kind::MessageInput(message)), ..Default::default() };
    let request = proto::StartRequest { inputs: vec![input], input: String::new(), ..start_on("first", "") };
    server.provider.on_every(Reply::text("It is short"));
    second.on_every(Reply::text("wrong"));
    let begun = calls::run(&mut client, "begin", Request::Start(request.clone())).await.expect("read");
    let entries = history(&mut client, &begun.conversation_id).await.expect("a history");
    let expected = vec![format!("entries[{}].content[1]", entries[0].id)];

    let there = proto::AppendRequest { model: "other/x".to_owned(), ..append(&begun.conversation_id, "And this?") };
    let refused = calls::run(&mut client, "there", Request::Append(there)).await.expect_err("not taken");
    assert_promised(&refused, ErrorReason::InvalidRequest, "there");
    assert_eq!(fields_of(&refused), expected);
    let at_once = proto::StartRequest { model: "other/x".to_owned(), ..request };
    let refused = calls::run(&mut client, "at-once", Request::Start(at_once)).await.expect_err("not taken");
    assert_eq!(fields_of(&refused).len(), 1);

    // A fallback that can't take it is passed over; the first failure is what is told.
    server.provider.on_every(Reply::json(503, &json!({})));
    let forwarding = Some(falling_back_to(&["other/x"]));
    let fallen = proto::AppendRequest { forwarding, ..append(&begun.conversation_id, "And this?") };
    let failed = calls::run(&mut client, "fallen", Request::Append(fallen)).await.expect_err("nobody");
    assert_promised(&failed, ErrorReason::ServiceUnavailable, "fallen");
    assert_eq!(second.connections(), 0);
    server.stop().await;
}

#[tokio::test]
async fn a_provider_that_is_misspelt_is_told_with_those_that_there_are() {
    let second = ScriptedProvider::start().await;
    let server = TestServer::configured(&other(&second), &[]).await;
    server.provider.reply(Reply::json(404, &json!({"message": "no such model", "code": "3040"})));
    let start = Request::Start(start_on("othr/large", "Hello"));
    let status = calls::run(&mut server.client().await, "misspelt", start).await.expect_err("no such model");
    assert_promised(&status, ErrorReason::ModelNotFound, "misspelt");
    let told = "if \"othr\" is meant as a provider: there are mistral, other";
    assert!(status.message().contains(told), "{}", status.message());
    server.stop().await;
}
