//! Our own limits on a model, and the provider's before they are met: who waits, in which order, and who is sent away.

use std::time::Duration;

use causerie::proto::{self, ErrorReason, stream_events_request::Request};
use futures_util::{
    StreamExt,
    future::{join_all, select},
};
use prost::Message;
use serde_json::json;
use tokio::time::Instant;
use tonic::Status;
use tonic_types::StatusExt;

use crate::support::{
    calls,
    events::{Reader, name, run, soon, watch},
    forwarding::{RETRIES, start_on, with},
    provider::{Captured, Reply},
    server::{Client, TestServer},
    status::{assert_promised, carried, named, reason_of, retry_ms, told},
};
use crate::transport::caller::{Caller, frame_of};

/// A provider of few models, all with the same limits.
fn limited(lines: &[(&'static str, &'static str)]) -> Vec<(String, &'static str)> {
    lines.iter().map(|(key, value)| (format!("providers.mistral.{key}"), *value)).collect()
}

async fn server(lines: &[(&'static str, &'static str)]) -> TestServer {
    let settings = limited(lines);
    let settings = settings.iter().map(|(key, value)| (key.as_str(), *value));
    let settings: Vec<(&str, &str)> = settings.chain([("retry.max_elapsed", "10s")]).collect();
    TestServer::with(&with(&RETRIES, &settings)).await
}

async fn ask(client: &Client, id: &str, input: &str) -> Result<proto::Turn, Status> {
    calls::run(&mut client.clone(), id, Request::Start(start_on("limited", input))).await
}

/// With so little time.
async fn ask_within(client: &Client, id: &str, time: Duration) -> Result<proto::Turn, Status> {
    let mut request = named(id, start_on("limited", "Hello"));
    request.set_timeout(time);
    client.clone().start(request).await.map(tonic::Response::into_inner)
}

/// With 300 ms. On bare HTTP/2: tonic's client has a deadline timer of its own, which would hide the server's.
async fn ask_shortly(server: &TestServer, model: &str) -> Status {
    let caller = Caller::connect(server.address()).await;
    let body = frame_of(&start_on(model, "Hello").encode_to_vec());
    caller.call_with("/causerie.v1.ConversationService/Start", &[("grpc-timeout", "1S")], body).await.status
}

/// A turn that is accepted, and may wait.
async fn begin(client: &Client, input: &str) -> (Reader, String) {
    let mut reader = watch(client, run(start_on("limited", input))).await;
    let id = reader.started().await;
    (reader, id)
}

fn asked_for(request: &Captured) -> String {
    request.json["messages"][0]["content"].as_str().expect("a message").to_owned()
}

/// Sent away by a limit, and told which one and for how long.
fn assert_sent_away(status: &Status, id: &str, limit: &str) -> u64 {
    assert_promised(status, ErrorReason::RateLimitExceeded, id);
    assert_eq!(told(status, "limit"), limit, "{status:?}");
    let details = status.get_error_details();
    let quota = details.quota_failure().expect("QuotaFailure");
    assert!(!quota.violations.is_empty() && !quota.violations[0].description.is_empty(), "{quota:?}");
    retry_ms(&details).expect("RetryInfo")
}

#[tokio::test]
async fn who_would_wait_longer_than_its_caller_is_sent_away_at_once() {
    let server = server(&[("requests_per_minute", "2")]).await;
    server.provider.on_every(Reply::text("fine"));
    let client = server.client().await;
    for id in ["first", "second"] {
        ask(&client, id, "Hello").await.expect("within the limit");
    }
    let begun = Instant::now();
    let status = ask_within(&client, "third", Duration::from_secs(30)).await.expect_err("too many");
    let ms = assert_sent_away(&status, "third", "requests_per_minute");
    assert!((50_000..=61_100).contains(&ms), "when the minute is over: {ms}");
    assert!(begun.elapsed() < Duration::from_secs(15), "nobody waits in vain");
    assert_eq!(told(&status, "attempts"), "0");
    assert_eq!(server.provider.requests().len(), 2);

    // Another model has limits of its own.
    let other = calls::run(&mut client.clone(), "other", Request::Start(start_on("another", "Hello"))).await;
    other.expect("not limited");
    server.stop().await;
}

#[tokio::test]
async fn a_full_queue_sends_away() {
    let server = server(&[("requests_per_minute", "1"), ("max_waiting", "1")]).await;
    server.provider.on_every(Reply::text("fine"));
    let client = server.client().await;
    ask(&client, "first", "Hello").await.expect("within the limit");
    let [(one, one_id), (two, two_id)] = [begin(&client, "one").await, begin(&client, "two").await];
    // One of them waits, the other one finds the queue full.
    let (full, waiting_id, waiting) = match select(Box::pin(one.rest()), Box::pin(two.rest())).await {
        futures_util::future::Either::Left((full, waiting)) => (full, two_id, waiting),
        futures_util::future::Either::Right((full, waiting)) => (full, one_id, waiting),
    };
    assert_eq!(told(full.error(), "limit"), "requests_per_minute");
    let status = ask(&client, "again", "Hello").await.expect_err("still full");
    assert!(assert_sent_away(&status, "again", "requests_per_minute") > 61_000, "it would be the third");
    assert!(status.message().contains("1 turns wait"), "{}", status.message());
    client.clone().cancel_turn(proto::CancelTurnRequest { turn_id: waiting_id }).await.expect("cancelled");
    soon(waiting).await.error();
    assert_eq!(server.provider.requests().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn no_more_calls_run_at_once_than_allowed_and_turns_go_in_their_order() {
    let server = server(&[("max_concurrent", "2")]).await;
    let client = server.client().await;
    let mut gates = Vec::new();
    for _ in 0..8 {
        let mut reply = Reply::text("fine");
        gates.push(reply.gate());
        server.provider.reply(reply);
    }
    let mut readers = Vec::new();
    for at in 0..8 {
        readers.push(begin(&client, &at.to_string()).await.0);
    }
    let mut order = vec![soon(server.provider.next_request()).await, soon(server.provider.next_request()).await];
    for (at, gate) in gates.iter().enumerate().take(6) {
        assert_eq!(server.provider.requests().len(), at + 2, "two at once");
        gate.open();
        order.push(soon(server.provider.next_request()).await);
    }
    gates[6].open();
    gates[7].open();
    for reader in readers {
        reader.rest().await.turn();
    }
    let order: Vec<String> = order.iter().map(asked_for).collect();
    assert_eq!(order, ["0", "1", "2", "3", "4", "5", "6", "7"], "first come, first served");
    server.stop().await;
}

#[tokio::test]
async fn who_finds_all_places_taken_waits_until_its_deadline() {
    let server = server(&[("max_concurrent", "1"), ("max_waiting", "1")]).await;
    let client = server.client().await;
    let mut slow = Reply::text("fine");
    let gate = slow.gate();
    server.provider.reply(slow);
    let (first, _) = begin(&client, "first").await;
    server.provider.next_request().await;
    let late = ask_shortly(&server, "limited").await;
    assert_eq!((reason_of(&late).as_str(), told(&late, "limit").as_str()), ("RATE_LIMIT_EXCEEDED", "max_concurrent"));
    let turn = calls::get_turn(&mut client.clone(), &told(&late, "turn_id")).await.expect("kept");
    assert_eq!(reason_of(&carried(turn.error.as_ref().expect("an error"))), "RATE_LIMIT_EXCEEDED");
    // Its place in the queue is free again.
    let (waits, waiting) = begin(&client, "waits").await;
    let turn = calls::get_turn(&mut client.clone(), &waiting).await.expect("in flight");
    assert_eq!(turn.state(), proto::turn::State::Queued);
    let status = ask(&client, "full", "Hello").await.expect_err("full");
    assert_sent_away(&status, "full", "max_concurrent");
    server.provider.reply(Reply::text("fine"));
    gate.open();
    first.rest().await.turn();
    waits.rest().await.turn();
    assert_eq!(server.provider.requests().len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn tokens_are_set_aside_and_given_back() {
    let server = server(&[("tokens_per_minute", "2000")]).await;
    server.provider.on_every(Reply::text("fine"));
    let client = server.client().await;
    // Each sets aside more than 500, and uses 11: three would be the minute's if nothing were given back.
    for at in 0..20 {
        let turn = ask_within(&client, &at.to_string(), Duration::from_secs(20)).await;
        turn.expect("what was not used is there again");
    }
    let large = ask(&client, "large", &"words and words ".repeat(2000)).await.expect_err("it never fits");
    assert_promised(&large, ErrorReason::InvalidRequest, "large");
    assert_eq!(told(&large, "limit"), "tokens_per_minute");

    // One that may write a minute's worth takes all of it for as long as it runs.
    let mut slow = Reply::text("fine");
    let gate = slow.gate();
    server.provider.reply(slow);
    let args = proto::CompletionArgs { max_tokens: Some(5000), ..Default::default() };
    let wants_all = proto::StartRequest { completion_args: Some(args), ..start_on("limited-too", "Hello") };
    let reader = watch(&client, run(wants_all)).await;
    while server.provider.next_request().await.json["model"] != "limited-too" {}
    let late = ask_shortly(&server, "limited-too").await;
    assert_eq!(
        (reason_of(&late).as_str(), told(&late, "limit").as_str()),
        ("RATE_LIMIT_EXCEEDED", "tokens_per_minute")
    );
    gate.open();
    reader.rest().await.turn();
    let after = calls::run(&mut client.clone(), "after", Request::Start(start_on("limited-too", "Hello"))).await;
    after.expect("given back");
    server.stop().await;
}

#[tokio::test]
async fn what_the_provider_has_left_is_not_overdrawn() {
    let empty = |reply: Reply| {
        reply
            .header("x-ratelimit-limit-req-minute", "60")
            .header("x-ratelimit-remaining-req-minute", "0")
            .header("x-ratelimit-reset-req-minute", "1")
    };
    let server = server(&[]).await;
    let client = server.client().await;
    server.provider.on_model("limited", [empty(Reply::text("fine")), Reply::text("fine")]);
    ask(&client, "first", "Hello").await.expect("fine");
    let begun = Instant::now();
    let status = ask_within(&client, "hasty", Duration::from_millis(400)).await.expect_err("nothing is left");
    assert_sent_away(&status, "hasty", "requests_per_minute");
    assert_eq!(server.provider.requests().len(), 1, "a 429 is not met but prevented");
    ask(&client, "patient", "Hello").await.expect("it waits for the reset");
    let waited = begun.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(20)).contains(&waited), "{waited:?}");
    server.stop().await;
}

#[tokio::test]
async fn one_429_keeps_everybody_waiting_until_its_time() {
    let server = server(&[]).await;
    let client = server.client().await;
    let limited = Reply::json(429, &json!({"message": "Requests rate limit exceeded"})).header("retry-after", "0.6");
    server.provider.on_model("limited", [limited, Reply::text("fine")]);
    let (mut first, _) = begin(&client, "first").await;
    let refused_at = Instant::now();
    assert_eq!(name(&first.next().await), "upstream_retry");
    let others = join_all((0..5).map(|at| ask(&client, ["a", "b", "c", "d", "e"][at], "Hello"))).await;
    assert!(refused_at.elapsed() >= Duration::from_millis(500), "{:?}", refused_at.elapsed());
    for turn in others {
        let turn = turn.expect("none of them meets a 429");
        assert!(turn.models.is_empty(), "asked once: {:?}", turn.models);
    }
    first.rest().await.turn();
    assert_eq!(server.provider.requests().len(), 7);
    server.stop().await;
}

#[tokio::test]
async fn a_caller_s_own_key_has_limits_of_its_own() {
    let server = server(&[("requests_per_minute", "1"), ("caller_keys", "true")]).await;
    server.provider.on_every(Reply::text("fine"));
    let client = server.client().await;
    ask(&client, "first", "Hello").await.expect("within the limit");
    for _ in 0..3 {
        let mut request = named("own", start_on("limited", "Hello"));
        request.metadata_mut().insert("x-provider-api-key", "sk-own".parse().expect("ASCII"));
        request.set_timeout(Duration::from_secs(10));
        client.clone().start(request).await.expect("our account is not asked");
    }
    ask_within(&client, "ours", Duration::from_secs(10)).await.expect_err("ours is used up");
    server.stop().await;
}

#[tokio::test]
async fn a_turn_that_is_never_sent_takes_nothing_of_the_minute() {
    let server = server(&[("requests_per_minute", "1")]).await;
    let mut client = server.client().await;
    server.provider.reply(Reply::text("fine"));
    let budget = Some(proto::Budget { max_tokens: Some(1), ..Default::default() });
    for _ in 0..3 {
        let forwarding = Some(proto::Forwarding { budget: budget.clone(), ..Default::default() });
        let poor = proto::StartRequest { forwarding, ..start_on("limited", "Hello") };
        let refused = calls::run(&mut client, "poor", Request::Start(poor)).await.expect_err("no room");
        assert_eq!(reason_of(&refused), "BUDGET_EXCEEDED");
    }
    ask(&client, "first", "Hello").await.expect("the minute's only call was not made yet");
    server.stop().await;
}

#[tokio::test]
async fn time_in_our_own_queue_is_time_of_retries() {
    let server = server(&[("requests_per_minute", "1")]).await;
    server.provider.reply(Reply::json(503, &json!({"message": "no"})));
    let status = ask(&server.client().await, "ill", "Hello").await.expect_err("the minute has no other call");
    assert_promised(&status, ErrorReason::ServiceUnavailable, "ill");
    assert_eq!((told(&status, "http_status").as_str(), told(&status, "attempts").as_str()), ("503", "1"));
    let ms = retry_ms(&status.get_error_details()).expect("when there is one");
    assert!((50_000..=62_000).contains(&ms), "{ms}");
    server.stop().await;
}

#[tokio::test]
async fn names_that_callers_make_up_and_lists_of_models_wipe_no_limit() {
    let server = server(&[("requests_per_minute", "1"), ("max_waiting", "0")]).await;
    let client = server.client().await;
    let cards: Vec<_> = (0..6000).map(|at| json!({"id": format!("model-{at}"), "object": "model"})).collect();
    let refused = Reply::json(404, &json!({"message": "Model not found"}));
    server.provider.on_model("limited", [Reply::text("fine"), Reply::text("too many")]);
    ask(&client, "first", "Hello").await.expect("within the limit");

    server.provider.on_every(refused);
    let made_up = (0..4200).map(|at| {
        let mut client = client.clone();
        async move {
            let request = proto::StartRequest { store: Some(false), ..start_on(&format!("made-up-{at}"), "Hello") };
            let status = calls::run(&mut client, "made-up", Request::Start(request)).await.expect_err("no such model");
            assert_eq!(reason_of(&status), "MODEL_NOT_FOUND");
        }
    });
    futures_util::stream::iter(made_up).buffer_unordered(50).collect::<Vec<()>>().await;
    server.provider.on_every(Reply::json(200, &json!({"object": "list", "data": cards})));
    let mut models = proto::model_service_client::ModelServiceClient::new(server.channel().await);
    let listed = models.list_models(proto::ListModelsRequest::default()).await.expect("a list").into_inner();
    assert_eq!(listed.models.len(), 6000);

    let status = ask(&client, "second", "Hello").await.expect_err("too many");
    assert_sent_away(&status, "second", "requests_per_minute");
    assert_eq!(server.provider.requests_for("limited").len(), 1);
    server.stop().await;
}
