//! A model that keeps failing is left alone, tried again with one call, and taken back.

use std::time::Duration;

use causerie::proto::{self, ErrorReason, stream_events_request::Request, turn::State};
use futures_util::future::join_all;
use serde_json::json;
use tonic::Status;
use tonic_types::StatusExt;

use crate::support::{
    calls,
    completion::stream_of,
    events::{events_of, run, soon},
    forwarding::{RETRIES, asked, falling_back_to, other, start_on, switches, with},
    provider::{Reply, ScriptedProvider},
    server::{Client, TestServer},
    status::{assert_promised, carried, reason_of, retry_ms, told},
};

/// Two failures of two calls open it.
fn breaker(open: &'static str) -> [(&'static str, &'static str); 4] {
    [("breaker.enabled", "true"), ("breaker.min_calls", "2"), ("breaker.failure_rate", "1.0"), ("breaker.open", open)]
}

async fn ask(client: &Client, model: &str) -> Result<proto::Turn, Status> {
    calls::run(&mut client.clone(), model, Request::Start(start_on(model, "Hello"))).await
}

fn ill() -> Reply {
    Reply::json(503, &json!({"message": "no"}))
}

#[tokio::test]
async fn a_model_that_keeps_failing_is_left_alone_and_others_are_not() {
    let server = TestServer::with(&breaker("1h")).await;
    let client = server.client().await;
    server.provider.on_model("ill", [ill()]);
    server.provider.on_model("well", [Reply::text("fine")]);
    for _ in 0..2 {
        ask(&client, "ill").await.expect_err("it fails");
    }
    for _ in 0..3 {
        let status = ask(&client, "ill").await.expect_err("left alone");
        assert_promised(&status, ErrorReason::ServiceUnavailable, "ill");
        assert!(status.message().contains("left alone"), "{}", status.message());
        let ms = retry_ms(&status.get_error_details()).expect("when");
        assert!((3_590_000..=3_600_000).contains(&ms), "{ms}");
    }
    assert_eq!(server.provider.requests_for("ill").len(), 2, "nobody is asked");
    ask(&client, "well").await.expect("a breaker is of one model");

    // As a stream, and the turn that failed is kept.
    let seen = events_of(&client, run(start_on("ill", "Hello"))).await;
    assert_eq!(reason_of(seen.error()), "SERVICE_UNAVAILABLE");
    let turn = calls::get_turn(&mut client.clone(), seen.turn_id()).await.expect("kept");
    assert_eq!((turn.state(), turn.usage.unwrap_or_default().total_tokens), (State::Failed, 0));
    server.stop().await;
}

#[tokio::test]
async fn a_retry_that_the_breaker_stops_tells_what_the_provider_said() {
    let server = TestServer::with(&with(&RETRIES, &breaker("1h"))).await;
    server.provider.on_model("ill", [ill()]);
    let status = ask(&server.client().await, "ill").await.expect_err("it fails");
    assert_promised(&status, ErrorReason::ServiceUnavailable, "ill");
    assert_eq!((told(&status, "http_status").as_str(), told(&status, "attempts").as_str()), ("503", "2"), "{status:?}");
    let ms = retry_ms(&status.get_error_details()).expect("when");
    assert!((3_590_000..=3_600_000).contains(&ms), "{ms}");
    assert_eq!(server.provider.requests_for("ill").len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn what_is_the_caller_s_fault_opens_nothing() {
    let server = TestServer::with(&breaker("1h")).await;
    let client = server.client().await;
    let mut refused: Vec<Reply> = [400, 401, 404, 422].map(|status| Reply::json(status, &json!({}))).into();
    refused.extend((0..2).map(|_| Reply::json(429, &json!({})).header("retry-after", "0")));
    let calls = refused.len();
    server.provider.on_model("strict", refused.into_iter().chain([Reply::text("fine")]));
    for _ in 0..calls {
        ask(&client, "strict").await.expect_err("refused");
    }
    ask(&client, "strict").await.expect("it was never left alone");
    server.stop().await;
}

#[tokio::test]
async fn an_open_breaker_sends_turns_to_another_model_without_asking() {
    let second = ScriptedProvider::start().await;
    let server = TestServer::configured(&other(&second), &breaker("1h")).await;
    let client = server.client().await;
    server.provider.on_model("ill", [ill()]);
    second.on_every(stream_of(&["fine"], "stop"));
    for _ in 0..2 {
        ask(&client, "ill").await.expect_err("it fails");
    }
    let forwarding = Some(falling_back_to(&["other/x"]));
    let seen = events_of(&client, run(proto::StartRequest { forwarding, ..start_on("ill", "Hello") })).await;
    let switch = switches(&seen.events)[0];
    assert_eq!((switch.to_model.as_str(), switch.attempts), ("other/x", 0));
    let why = carried(switch.error.as_ref().expect("why"));
    assert!(why.message().contains("left alone"), "{why:?}");
    assert_eq!(asked(seen.turn()), [("other/x", 1)]);
    assert_eq!(server.provider.requests_for("ill").len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn one_call_tries_again_and_closes_it() {
    let server = TestServer::with(&breaker("300ms")).await;
    let client = server.client().await;
    let mut probe = Reply::text("fine");
    let gate = probe.gate();
    server.provider.on_model("heals", [ill(), ill(), ill(), probe, Reply::text("fine")]);
    for _ in 0..2 {
        ask(&client, "heals").await.expect_err("it fails");
        server.provider.next_request().await;
    }
    // The first that may try fails: it is left alone again, for twice as long.
    until_asked(&server, &client).await.expect_err("the probe fails");
    let status = ask(&client, "heals").await.expect_err("left alone again");
    let ms = retry_ms(&status.get_error_details()).expect("when");
    assert!((300..=600).contains(&ms), "{ms}");

    // The second is slow: meanwhile nobody else is let through.
    let trying = tokio::spawn({
        let client = client.clone();
        let waiting = Duration::from_millis(ms + 1);
        async move {
            tokio::time::sleep(waiting).await;
            ask(&client, "heals").await
        }
    });
    soon(server.provider.next_request()).await;
    let turned_away = join_all((0..5).map(|_| ask(&client, "heals"))).await;
    for status in turned_away {
        assert_promised(&status.expect_err("one probe is enough"), ErrorReason::ServiceUnavailable, "heals");
    }
    assert_eq!(server.provider.requests_for("heals").len(), 4);
    gate.open();
    trying.await.expect("no panic").expect("the probe succeeds");
    for turn in join_all((0..5).map(|_| ask(&client, "heals"))).await {
        turn.expect("everybody may go again");
    }
    assert_eq!(server.provider.requests_for("heals").len(), 9);
    server.stop().await;
}

/// Asks until the provider is asked, never sooner than told.
async fn until_asked(server: &TestServer, client: &Client) -> Result<proto::Turn, Status> {
    loop {
        let before = server.provider.requests().len();
        let answer = ask(client, "heals").await;
        if server.provider.requests().len() > before {
            server.provider.next_request().await;
            return answer;
        }
        let status = answer.expect_err("left alone");
        let ms = retry_ms(&status.get_error_details()).expect("when");
        // Not for a race to settle: this is the wait that the service told.
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}
