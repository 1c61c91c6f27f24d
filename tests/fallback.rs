//! Other models take over: which, when, and what callers are told of it.

use causerie::proto::{self, ErrorReason, entry::Kind, stream_events_request::Request, turn::State};
use serde_json::{Value, json};

use crate::support::{
    calls::{self, get_turn, history},
    completion::{calls as function, event, finish, says, stream_of},
    events::{Seen, assert_whole, events_of, merged, names, resume, run},
    forwarding::{RETRIES, asked, falling_back_to, other, retries, start_on, switches, with},
    provider::{Reply, ScriptedProvider},
    server::{TestServer, text_of},
    status::{assert_promised, carried, reason_of, told},
};

fn refusal(status: u16) -> Reply {
    Reply::json(status, &json!({"message": "no"}))
}

fn with_fallback(model: &str, fallbacks: &[&str]) -> proto::StartRequest {
    proto::StartRequest { forwarding: Some(falling_back_to(fallbacks)), ..start_on(model, "Hello") }
}

fn going_on(model: &str, fallbacks: &[&str]) -> proto::StartRequest {
    let forwarding = proto::Forwarding { continue_on_other_model: true, ..falling_back_to(fallbacks) };
    proto::StartRequest { forwarding: Some(forwarding), ..start_on(model, "Hello") }
}

/// A server with a second provider, `other`.
async fn two(more: &str, settings: &[(&str, &str)]) -> (TestServer, ScriptedProvider) {
    let second = ScriptedProvider::start().await;
    let server = TestServer::configured(&format!("{more}\n{}", other(&second)), settings).await;
    (server, second)
}

fn reason_in(error: Option<&tonic_types::pb::Status>) -> String {
    reason_of(&carried(error.expect("why")))
}

/// Each message of a request: who speaks, and what they say.
fn messages(request: &Value) -> Vec<(&str, &str)> {
    let messages = request["messages"].as_array().expect("messages").iter();
    messages.map(|said| (said["role"].as_str().expect("a role"), said["content"].as_str().unwrap_or("?"))).collect()
}

#[tokio::test]
async fn a_fault_that_may_pass_moves_the_turn_to_the_next_model() {
    use ErrorReason as R;
    let rows = [
        ("503", refusal(503), R::ServiceUnavailable),
        ("500", refusal(500), R::ServiceUnavailable),
        ("429", refusal(429), R::RateLimitExceeded),
        ("408", refusal(408), R::Timeout),
        ("hang-up", Reply::hang_up(), R::UpstreamProtocolError),
        ("too-long", refusal(413), R::ContextLengthExceeded),
    ];
    let (server, second) = two("", &[]).await;
    let mut client = server.client().await;
    for (name, reply, reason) in rows {
        server.provider.on_model(name, [reply]);
        second.on_every(stream_of(&["I stand in"], "stop"));
        let seen = events_of(&client, run(with_fallback(name, &["other/stand-in"]))).await;
        assert_whole(&seen.events);
        let told = ["response_started", "upstream_switched", "message_output_delta", "entry_done", "response_done"];
        assert_eq!(names(&seen.events), told, "{name}");
        let switch = switches(&seen.events)[0];
        let models = (switch.from_model.as_str(), switch.to_model.as_str(), switch.attempts);
        assert_eq!(models, (name, "other/stand-in", 1));
        assert_eq!(reason_in(switch.error.as_ref()), reason.as_str_name(), "{name}");
        check_stood_in(seen.turn(), name);
        check_free(seen.turn(), name);

        // The same without a stream.
        second.on_every(Reply::text("I stand in"));
        let unary = proto::StartRequest { model: name.to_owned(), ..with_fallback(name, &["other/stand-in"]) };
        let turn = calls::run(&mut client, name, Request::Start(unary)).await.expect(name);
        check_stood_in(&turn, name);
        if name != "hang-up" {
            // An answer that is not streamed may have been under way.
            check_free(&turn, name);
        }
        assert_eq!(second.next_request().await.json["model"], "stand-in");
        assert_eq!(second.next_request().await.json["model"], "stand-in");
    }
    server.stop().await;
}

fn check_stood_in(turn: &proto::Turn, name: &str) {
    assert_eq!((turn.state(), text_of(turn).as_str()), (State::Completed, "I stand in"), "{name}");
    assert_eq!((turn.model.as_str(), turn.outputs[0].model.as_str()), (name, "other/stand-in"));
    assert_eq!(asked(turn), [(name, 1), ("other/stand-in", 1)]);
}

/// A refusal costs nothing.
fn check_free(turn: &proto::Turn, name: &str) {
    assert_eq!(turn.models[0].usage.clone().unwrap_or_default(), proto::Usage::default(), "{name}");
    assert_eq!(turn.models[1].usage, turn.usage, "{name}");
}

#[tokio::test]
async fn what_fails_again_everywhere_stays_where_it_is() {
    let (server, second) = two("", &[]).await;
    second.on_every(Reply::text("wrong"));
    let mut client = server.client().await;
    for status in [400, 401, 402, 403, 404, 409, 422, 501] {
        server.provider.reply(refusal(status));
        let request = with_fallback("scripted-model", &["other/stand-in"]);
        let failed = calls::run(&mut client, "stays", Request::Start(request)).await.expect_err("permanent");
        assert_eq!(told(&failed, "fallback_models"), "", "{status}");
    }
    assert_eq!(second.connections(), 0);
    server.stop().await;
}

#[tokio::test]
async fn the_lists_of_request_model_and_configuration_go_before_each_other() {
    let own = "[providers.mistral.models.listed]\nfallback_models = [\"other/own\"]\n\
               [providers.mistral.models.alone]\nfallback_models = []\n";
    let (server, second) = two(&format!("fallback_models = [\"other/for-all\"]\n{own}"), &[]).await;
    server.provider.on_every(refusal(503));
    second.on_every(stream_of(&["fine"], "stop"));
    let client = server.client().await;
    let nobody = || Some(proto::Forwarding { no_fallback: true, ..Default::default() });
    let rows = [
        ("unlisted", None, Some("other/for-all")),
        ("listed", None, Some("other/own")),
        ("alone", None, None),
        ("unlisted", nobody(), None),
        ("listed", nobody(), None),
        ("listed", Some(falling_back_to(&["other/asked"])), Some("other/asked")),
        ("alone", Some(falling_back_to(&["other/asked"])), Some("other/asked")),
        // A model does not stand in for itself.
        ("unlisted", Some(falling_back_to(&["unlisted", "mistral/unlisted"])), None),
    ];
    for (model, forwarding, expected) in rows {
        let name = format!("{model} {forwarding:?}");
        let seen = events_of(&client, run(proto::StartRequest { forwarding, ..start_on(model, "Hello") })).await;
        let to: Vec<&str> = switches(&seen.events).iter().map(|switch| switch.to_model.as_str()).collect();
        assert_eq!(to, Vec::from_iter(expected), "{name}");
        assert_eq!(seen.status.is_none(), expected.is_some(), "{name}");
    }
    server.stop().await;
}

#[tokio::test]
async fn if_nobody_can_the_first_failure_is_told_and_who_else_was_asked() {
    let (server, second) = two("", &with(&RETRIES, &[("retry.max_attempts", "2")])).await;
    server.provider.on_every(refusal(503).header("retry-after", "0"));
    second.on_every(refusal(500));
    let client = server.client().await;
    let request = with_fallback("scripted-model", &["other/one", "scripted-model", "other/two"]);
    let seen = events_of(&client, run(request)).await;
    let once_each = ["upstream_retry", "upstream_switched", "upstream_retry", "upstream_switched", "upstream_retry"];
    assert_eq!(names(&seen.events)[1..6], once_each);
    let attempts: Vec<i32> = switches(&seen.events).iter().map(|switch| switch.attempts).collect();
    assert_eq!(attempts, [2, 4]);
    let who: Vec<&str> = retries(&seen.events).iter().map(|retry| retry.model.as_str()).collect();
    assert_eq!(who, ["scripted-model", "other/one", "other/two"]);
    let status = seen.error();
    assert_eq!(reason_of(status), "SERVICE_UNAVAILABLE");
    assert_eq!((told(status, "attempts").as_str(), told(status, "provider").as_str()), ("6", "mistral"));
    assert_eq!(told(status, "fallback_models"), "other/one,other/two");
    let turn = get_turn(&mut client.clone(), seen.turn_id()).await.expect("kept");
    assert_eq!(asked(&turn), [("scripted-model", 2), ("other/one", 2), ("other/two", 2)]);
    let unary = Request::Start(with_fallback("scripted-model", &["other/one"]));
    let status = calls::run(&mut client.clone(), "unary", unary).await.expect_err("nobody");
    assert_promised(&status, ErrorReason::ServiceUnavailable, "unary");
    server.stop().await;
}

#[tokio::test]
async fn a_context_that_is_too_small_is_left_without_asking() {
    let small = "[providers.mistral.models.small]\ncontext_tokens = 100\n";
    let (server, second) = two(small, &[]).await;
    second.on_every(stream_of(&["fine"], "stop"));
    let client = server.client().await;
    let request = proto::StartRequest { input: "word ".repeat(1000), ..with_fallback("small", &["other/large"]) };
    let seen = events_of(&client, run(request)).await;
    let switch = switches(&seen.events)[0];
    assert_eq!(reason_in(switch.error.as_ref()), "CONTEXT_LENGTH_EXCEEDED");
    assert_eq!((switch.attempts, server.provider.requests().len()), (0, 0));
    let turn = seen.turn();
    assert_eq!((turn.outputs[0].model.as_str(), turn.model.as_str()), ("other/large", "small"));
    assert_eq!(asked(turn), [("other/large", 1)], "the turn's own model was not asked");
    server.stop().await;
}

/// "Once upon", and then the connection is gone.
fn begun() -> Reply {
    Reply::raw_sse([event(&says("Once ")), event(&says("upon ")), "never".to_owned()]).cut_after(2)
}

#[tokio::test]
async fn after_output_nobody_takes_over_unasked() {
    let (server, second) = two("", &RETRIES).await;
    server.provider.on_every(begun());
    let client = server.client().await;
    let seen = events_of(&client, run(with_fallback("scripted-model", &["other/stand-in"]))).await;
    assert_whole(&seen.events);
    let turn = seen.turn();
    assert_eq!((turn.state(), text_of(turn).as_str()), (State::Incomplete, "Once upon "));
    assert_eq!((server.provider.requests().len(), second.connections(), turn.models.len()), (1, 0, 0));
    server.stop().await;
}

#[tokio::test]
async fn another_model_goes_on_with_a_partial_answer() {
    let (mut server, second) = two("", &[]).await;
    server.provider.on_every(begun());
    second.on_every(Reply::raw_sse([event(&says("a ")), event(&says("time")), event(&finish("stop"))]));
    let client = server.client().await;
    let seen = events_of(&client, run(going_on("scripted-model", &["other/stand-in"]))).await;
    assert_whole(&seen.events);
    let turn = seen.turn().clone();
    check_gone_on(&turn);
    let asked_to_go_on = second.next_request().await.json;
    assert_eq!(messages(&asked_to_go_on), [("user", "Hello"), ("assistant", "Once upon ")]);

    let version = history(&mut client.clone(), &turn.conversation_id).await.expect("a history");
    assert_eq!(version.last(), turn.outputs.last());
    server.restart().await;
    let client = server.client().await;
    let again: Seen = events_of(&client, resume(&turn.id, 0)).await;
    assert_eq!(merged(&again.events), merged(&seen.events), "a replay equals the original");
    assert_eq!(get_turn(&mut client.clone(), &turn.id).await.expect("stored"), turn);
    server.stop().await;
}

fn check_gone_on(turn: &proto::Turn) {
    assert_eq!((turn.state(), text_of(turn).as_str()), (State::Completed, "Once upon a time"));
    assert_eq!((turn.outputs.len(), turn.outputs[0].model.as_str()), (1, "scripted-model"));
    let Some(Kind::MessageOutput(message)) = &turn.outputs[0].kind else { panic!("{turn:?}") };
    let parts: Vec<(i32, &str)> =
        message.segments.iter().map(|part| (part.first_content_index, part.model.as_str())).collect();
    assert_eq!(parts, [(0, "scripted-model"), (1, "other/stand-in")]);
    assert_eq!(asked(turn), [("scripted-model", 1), ("other/stand-in", 1)]);
    let [first, last] = [0, 1].map(|of| turn.models[of].usage.clone().expect("used"));
    assert!(first.estimated && !last.estimated && last.total_tokens == 7, "{first:?} {last:?}");
    let sum = turn.usage.as_ref().expect("used");
    assert_eq!((sum.total_tokens, sum.estimated), (first.total_tokens + last.total_tokens, true));
}

#[tokio::test]
async fn a_model_that_goes_on_may_fail_too() {
    let (server, second) = two("", &[]).await;
    server.provider.on_every(begun());
    second.on_model("ill", [refusal(503)]);
    second.on_model("also-cut", [Reply::raw_sse([event(&says("a ")), "never".to_owned()]).cut_after(1)]);
    second.on_model("well", [stream_of(&["time"], "stop")]);
    let client = server.client().await;
    let rows = [
        (vec!["other/ill"], "Once upon ", State::Incomplete, 2),
        (vec!["other/ill", "other/also-cut"], "Once upon a ", State::Incomplete, 3),
        (vec!["other/also-cut", "other/well"], "Once upon a time", State::Completed, 3),
    ];
    for (models, text, state, count) in rows {
        let seen = events_of(&client, run(going_on("scripted-model", &models))).await;
        assert_whole(&seen.events);
        let turn = seen.turn();
        assert_eq!((turn.state(), text_of(turn).as_str()), (state, text), "{models:?}");
        assert_eq!(turn.models.len(), count, "{models:?}");
        assert_eq!(turn.error.is_some(), state == State::Incomplete, "{models:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn nobody_goes_on_with_a_function_call() {
    let (server, second) = two("", &[]).await;
    let chunks = [says("Let me see"), function(0, Some("get_weather"), "{\"ci")];
    server.provider.on_every(Reply::raw_sse(chunks.iter().map(event)).cut_after(2));
    let client = server.client().await;
    let tool = proto::Function { name: "get_weather".to_owned(), ..Default::default() };
    let tools = vec![proto::Tool { kind: Some(proto::tool::Kind::Function(tool)) }];
    let request = proto::StartRequest { tools, ..going_on("scripted-model", &["other/stand-in"]) };
    let seen = events_of(&client, run(request)).await;
    let turn = seen.turn();
    assert_eq!((turn.state(), text_of(turn).as_str()), (State::Incomplete, "Let me see"));
    assert_eq!((turn.outputs.len(), second.connections()), (1, 0), "arguments may be torn");
    server.stop().await;
}
