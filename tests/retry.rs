//! Calls that are made again: when, how often, how long after, and what stops them.

use std::time::Duration;

use causerie::proto::{self, ErrorReason, stream_events_request::Request, turn::State};
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use serde_json::json;
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{
    calls::{self, get_turn},
    completion::{finish, stream_of, whole},
    events::{self, assert_whole, done, name, names, soon},
    forwarding::{RETRIES, asked, retries, start_on, with},
    provider::Reply,
    server::{TestServer, text_of},
    status::{assert_promised, named, retry_ms, told},
};

fn refusal(status: u16) -> Reply {
    Reply::json(status, &json!({"message": "no"}))
}

/// A turn of a model, as a stream.
async fn streamed(server: &TestServer, model: &str) -> (Vec<proto::Event>, Result<(), Status>) {
    calls::watch(&mut server.client().await, model, Request::Start(start_on(model, "Hello"))).await
}

#[tokio::test]
async fn an_answer_after_failures_is_whole_and_says_how_often_was_asked() {
    let rows = [
        ("one-503", vec![refusal(503)]),
        ("two-503", vec![refusal(503), refusal(503)]),
        ("one-of-each", vec![refusal(408), refusal(529), refusal(500)]),
        ("hung-up", vec![Reply::hang_up()]),
        ("gateways", vec![refusal(502), refusal(504)]),
        ("rate-limited", vec![refusal(429).header("retry-after", "0")]),
    ];
    let server = TestServer::with(&with(&RETRIES, &[("retry.max_attempts", "4")])).await;
    let mut client = server.client().await;
    for (name, failures) in rows {
        let attempts = i32::try_from(failures.len() + 1).expect("few");
        for stream in [false, true] {
            let model = format!("{name}-{stream}");
            let answer = if stream {
                stream_of(&["All ", "is well"], "stop")
            } else {
                whole(json!({"role": "assistant", "content": "All is well"}), "stop")
            };
            server.provider.on_model(&model, failures.iter().cloned().chain([answer]));
            let turn = if stream {
                let (events, end) = streamed(&server, &model).await;
                end.expect(name);
                assert_whole(&events);
                assert_eq!(names(&events)[1..=failures.len()], vec!["upstream_retry"; failures.len()], "{name}");
                assert_eq!(retries(&events).len(), failures.len(), "{name}");
                done(&events).expect(name).clone()
            } else {
                calls::run(&mut client, &model, Request::Start(start_on(&model, "Hello"))).await.expect(name)
            };
            assert_eq!((turn.state(), text_of(&turn).as_str()), (State::Completed, "All is well"), "{name}");
            assert_eq!(asked(&turn), [(model.as_str(), attempts)], "{name}");
            let usage = turn.usage.as_ref().expect(name);
            // An answer that is not streamed may have been under way when the connection broke; a refusal costs nothing.
            let may_be_billed = name == "hung-up" && !stream;
            assert_eq!((usage.total_tokens > 7, usage.estimated), (may_be_billed, may_be_billed), "{name}: {usage:?}");
            assert_eq!(turn.models[0].usage, turn.usage, "{name}");
            let requests = server.provider.requests_for(&model);
            assert_eq!(requests.len(), failures.len() + 1, "{name}");
            assert!(requests.iter().all(|request| request.raw == requests[0].raw), "{name}: the same again");
            assert_eq!(get_turn(&mut client, &turn.id).await.expect("stored"), turn, "{name}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn what_a_broken_answer_used_is_added_up() {
    let server = TestServer::with(&RETRIES).await;
    let told = Reply::sse(&[finish("error")]);
    let untold = Reply::raw_sse(["data: }{\n\n"]);
    let rows = [("told", told, (14, false)), ("untold", untold, (7, true))];
    for (name, broken, (least, estimated)) in rows {
        server.provider.on_model(name, [broken, stream_of(&["fine"], "stop")]);
        let (events, end) = streamed(&server, name).await;
        end.expect(name);
        let turn = done(&events).expect(name);
        let usage = turn.usage.as_ref().expect(name);
        assert_eq!(usage.estimated, estimated, "{name}: {usage:?}");
        assert!(usage.total_tokens >= least && (!estimated || usage.total_tokens > least), "{name}: {usage:?}");
        assert_eq!((text_of(turn).as_str(), asked(turn)), ("fine", vec![(name, 2)]), "{name}");
    }
    server.stop().await;
}

#[tokio::test]
async fn nobody_is_asked_before_the_time_that_the_provider_named() {
    let soon = Timestamp::now() + SignedDuration::from_secs(2);
    let date = rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&soon).expect("a date");
    let rows: [(&str, Reply, u64); 6] = [
        ("503-seconds", refusal(503).header("retry-after", "0.3"), 300),
        ("429-seconds", refusal(429).header("retry-after", "1"), 1000),
        ("429-milliseconds", refusal(429).header("retry-after-ms", "250"), 250),
        // A date has whole seconds: it may be up to one nearer.
        ("429-date", refusal(429).header("retry-after", &date), 500),
        (
            "429-mistral",
            refusal(429)
                .header("x-ratelimit-limit-req-minute", "60")
                .header("x-ratelimit-remaining-req-minute", "0")
                .header("x-ratelimit-reset-req-minute", "1"),
            1000,
        ),
        // A provider that names none is left alone for so long.
        ("429-without-a-word", refusal(429), 1000),
    ];
    let server = TestServer::with(&RETRIES).await;
    let checks = rows.iter().map(|(name, refused, told_ms)| {
        let server = &server;
        async move {
            server.provider.on_model(name, [refused.clone(), Reply::text("fine")]);
            let begun = Instant::now();
            let (events, end) = streamed(server, name).await;
            let took = begun.elapsed();
            end.expect(name);
            let retry = retries(&events);
            assert_eq!(retry.len(), 1, "{name}");
            assert!(retry[0].delay_ms >= i64::try_from(*told_ms).expect("short"), "{name}: {}", retry[0].delay_ms);
            assert!(took >= Duration::from_millis(*told_ms), "{name}: after {took:?}");
            assert_eq!(server.provider.requests_for(name).len(), 2, "{name}");
        }
    });
    join_all(checks).await;
    server.stop().await;
}

#[tokio::test]
async fn a_wait_that_nobody_has_time_for_is_told_at_once() {
    let server = TestServer::with(&with(&RETRIES, &[("retry.max_elapsed", "5s")])).await;
    let mut client = server.client().await;
    // The first would take longer than retries may, the second longer than its caller waits.
    for (model, seconds, deadline) in [("impatient-server", "60", 100), ("impatient-caller", "4", 3)] {
        server.provider.on_model(model, [refusal(429).header("retry-after", seconds), Reply::text("too late")]);
        let mut request = named(model, start_on(model, "Hello"));
        request.set_timeout(Duration::from_secs(deadline));
        let status = client.start(request).await.expect_err("nobody waits");
        assert_promised(&status, ErrorReason::RateLimitExceeded, model);
        let ms: u64 = seconds.parse::<u64>().expect("a number") * 1000;
        assert_eq!(retry_ms(&status.get_error_details()), Some(ms), "{model}");
        assert_eq!((told(&status, "attempts").as_str(), server.provider.requests_for(model).len()), ("1", 1));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_turn_is_cancelled_in_the_middle_of_a_wait() {
    let server = TestServer::with(&RETRIES).await;
    let client = server.client().await;
    server.provider.reply(refusal(503).header("retry-after", "50"));
    let mut reader = events::watch(&client, events::run(start_on("waits", "Hello"))).await;
    let turn_id = reader.started().await;
    assert_eq!(name(&reader.next().await), "upstream_retry");
    let request = proto::CancelTurnRequest { turn_id: turn_id.clone() };
    let turn = soon(client.clone().cancel_turn(request)).await.expect("cancelled").into_inner();
    assert_eq!((turn.state(), turn.conversation_id.as_str()), (State::Cancelled, ""));
    let seen = reader.rest().await;
    assert_eq!(seen.error().code(), Code::Aborted);
    assert_eq!(names(&seen.events), ["response_started", "upstream_retry", "response_error"]);
    assert_eq!(server.provider.requests().len(), 1, "and nobody is asked any more");
    server.stop().await;
}

#[tokio::test]
async fn retries_are_replayed_as_they_were_after_a_restart() {
    let mut server = TestServer::with(&RETRIES).await;
    server.provider.on_model("heals", [refusal(503), refusal(500), stream_of(&["All ", "is well"], "stop")]);
    server.provider.on_model("ill", [refusal(503).header("retry-after", "0.2")]);
    let (healed, end) = streamed(&server, "heals").await;
    end.expect("an answer");
    let (failed, status) = streamed(&server, "ill").await;
    let status = status.expect_err("no answer");
    assert_eq!((retries(&healed).len(), retries(&failed).len()), (2, 2));
    for restarts in 0..2 {
        if restarts > 0 {
            server.restart().await;
        }
        let mut client = server.client().await;
        for (events, after) in [(&healed, 0), (&healed, 2), (&failed, 0), (&failed, 1)] {
            let (again, end) = calls::watch(&mut client, "again", calls::resume(&events[0].turn_id, after)).await;
            let rest: Vec<_> = events.iter().filter(|event| event.first_sequence > after).cloned().collect();
            assert_eq!(events::merged(&again), events::merged(&rest), "{restarts} restarts, after {after}");
            if events == &failed {
                assert_eq!(end.expect_err("as before").message(), status.message());
            }
        }
    }
    server.stop().await;
}

/// The errors of the integration that this service takes the place of: HTTP status, what the provider says, gRPC code, reason,
/// and whether the same request is worth another try.
#[tokio::test]
async fn every_known_error_has_its_code_its_reason_and_its_advice() {
    use ErrorReason as R;
    let too_long = "This model's maximum context length is 32768 tokens. However, you requested 35000 tokens.";
    let rows = [
        (401, "Invalid API key", Code::Unauthenticated, R::InvalidApiKey, false),
        (
            402,
            "Insufficient credits. Please add credits to your account.",
            Code::FailedPrecondition,
            R::InsufficientCredits,
            false,
        ),
        (404, "The model 'invalid-model' does not exist", Code::NotFound, R::ModelNotFound, false),
        (
            429,
            "Rate limit exceeded. Please retry after 60 seconds.",
            Code::ResourceExhausted,
            R::RateLimitExceeded,
            true,
        ),
        (400, "'temperature' must be between 0 and 2", Code::InvalidArgument, R::InvalidRequest, false),
        (500, "Internal Server Error", Code::Unavailable, R::ServiceUnavailable, true),
        (
            503,
            "Service temporarily unavailable. Please try again later.",
            Code::Unavailable,
            R::ServiceUnavailable,
            true,
        ),
        (408, "Request Timeout", Code::DeadlineExceeded, R::Timeout, true),
        (400, too_long, Code::InvalidArgument, R::ContextLengthExceeded, false),
    ];
    let server = TestServer::with(&RETRIES).await;
    let mut client = server.client().await;
    for (http, said, code, reason, again) in rows {
        let name = format!("{http}-{}", reason.as_str_name());
        let body = json!({"object": "error", "message": said, "type": "error", "param": null, "code": null});
        server.provider.on_model(&name, [Reply::json(http, &body).header("retry-after", "0")]);
        let status = calls::run(&mut client, &name, Request::Start(start_on(&name, "Hello"))).await.expect_err(&name);
        assert_promised(&status, reason, &name);
        assert_eq!((status.code(), told(&status, "http_status")), (code, http.to_string()), "{name}");
        assert_eq!(retry_ms(&status.get_error_details()).is_some(), again, "{name}: {status:?}");
        let requests = server.provider.requests_for(&name).len();
        assert_eq!(requests, if again { 3 } else { 1 }, "{name}");
        if said == too_long {
            let numbers = (told(&status, "context_tokens"), told(&status, "requested_tokens"));
            assert_eq!(numbers, ("32768".to_owned(), "35000".to_owned()));
        }
    }
    server.stop().await;
}
