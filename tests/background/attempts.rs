//! Attempts: what is tried again, how often, when, and what a turn says of it.

use causerie::proto::{self, event::Kind, turn::State};
use serde_json::json;
use tonic::Code;

use crate::support::{
    completion::stream_of,
    event_log,
    events::{Seen, assert_whole, names, resume, watch},
    golden::assert_golden,
    provider::Reply,
    queued::{accepted, cancel, log_of, queued, queued_on},
    reads,
    refusal::{as_status, reason, told, turn_reason, value},
    server::{TestServer, text_of},
};

const QUICK: [(&str, &str); 3] =
    [("background.backoff_base", "1ms"), ("background.backoff_max", "2ms"), ("background.max_attempts", "3")];

fn refusal(status: u16) -> Reply {
    Reply::json(status, &json!({"message": "no"}))
}

/// The attempts that failed, and why.
fn requeued(seen: &Seen) -> Vec<(i32, String)> {
    let requeued = seen.events.iter().filter_map(|event| match &event.kind {
        Some(Kind::TurnRequeued(requeued)) => {
            Some((requeued.attempt, reason(&as_status(requeued.error.as_ref().expect("an error")))))
        }
        _ => None,
    });
    requeued.collect()
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let server = TestServer::with(&QUICK).await;
    let client = server.client().await;
    let rows = [
        ("unavailable", vec![refusal(503), refusal(503)], "SERVICE_UNAVAILABLE"),
        ("rate-limited", vec![refusal(429).header("retry-after", "0")], "RATE_LIMIT_EXCEEDED"),
        ("hung-up", vec![Reply::hang_up()], "UPSTREAM_PROTOCOL_ERROR"),
        ("cut", vec![stream_of(&["never"], "stop").cut_after(0)], "UPSTREAM_PROTOCOL_ERROR"),
    ];
    for (model, failures, reason) in rows {
        let expected: Vec<_> = (1..).zip(&failures).map(|(attempt, _)| (attempt, reason.to_owned())).collect();
        server.provider.on_model(model, failures.into_iter().chain([Reply::text("at last")]));
        let seen = log_of(&client, &accepted(&client, queued_on(model, "Hello")).await).await;
        assert_whole(&seen.events);
        assert_eq!(requeued(&seen), expected, "{model}");
        assert_eq!((seen.turn().state(), text_of(seen.turn()).as_str()), (State::Completed, "at last"), "{model}");
        assert_eq!(server.provider.requests_for(model).len(), expected.len() + 1, "{model}");
        if model == "unavailable" {
            let log = event_log::told(&[("the third attempt succeeds", &seen.events)]);
            assert_golden("turns/background_attempts.jsonl", &log);
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_tried_again() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let nobody = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let server = TestServer::with(&[&QUICK[..], &[("providers.mistral.base_url", &nobody)]].concat()).await;
    let client = server.client().await;
    let seen = log_of(&client, &accepted(&client, queued("Hello")).await).await;
    assert_eq!(requeued(&seen).len(), 2);
    assert_eq!(told(seen.error()).0, Code::Unavailable);
    server.stop().await;
}

#[tokio::test]
async fn it_is_given_up_after_the_last_attempt_with_its_error() {
    let mut server = TestServer::with(&QUICK).await;
    let mut client = server.client().await;
    server.provider.on_every(refusal(503));
    let twice = proto::BackgroundOptions { max_attempts: 2, ..Default::default() };
    let twice = proto::StartRequest { background_options: Some(twice), ..queued("twice") };
    for (request, attempts) in [(queued("as configured"), 3), (twice, 2)] {
        let before = server.provider.requests().len();
        let seen = log_of(&client, &accepted(&client, request).await).await;
        assert_eq!(requeued(&seen).len(), attempts - 1);
        assert_eq!(told(seen.error()), (Code::Unavailable, "SERVICE_UNAVAILABLE".to_owned()));
        assert_eq!(value(seen.error(), "turn_id"), seen.turn_id());
        assert_eq!(server.provider.requests().len() - before, attempts);
        for _ in 0..2 {
            let turn = reads::turn(&client, seen.turn_id()).await;
            assert_eq!((turn.state(), turn_reason(&turn).as_str()), (State::Failed, "SERVICE_UNAVAILABLE"));
            assert_eq!((turn.background.is_none(), turn.last_sequence), (true, seen.events.len() as i64));
            assert_eq!(log_of(&client, seen.turn_id()).await.events, seen.events);
            server.restart().await;
            client = server.client().await;
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn what_would_fail_again_is_not_tried_again() {
    let server = TestServer::with(&QUICK).await;
    let client = server.client().await;
    for (status, reason) in [(400, "INVALID_REQUEST"), (401, "INVALID_API_KEY"), (404, "MODEL_NOT_FOUND")] {
        server.provider.reply(refusal(status));
        let seen = log_of(&client, &accepted(&client, queued("Hello")).await).await;
        assert_eq!(names(&seen.events), ["turn_queued", "response_started", "response_error"], "{status}");
        assert_eq!(told(seen.error()).1, reason);
    }
    // Something had come out: it is kept, and the caller decides.
    server.provider.reply(stream_of(&["Once ", "upon"], "stop").cut_after(1));
    let seen = log_of(&client, &accepted(&client, queued("Hello")).await).await;
    assert_eq!((seen.turn().state(), text_of(seen.turn()).as_str()), (State::Incomplete, "Once "));
    assert_eq!(requeued(&seen), []);
    server.stop().await;
}

#[tokio::test]
async fn a_turn_that_waits_for_its_next_attempt_says_so_and_why_also_after_a_restart() {
    let settings = [("background.backoff_base", "1h"), ("background.backoff_max", "2h")];
    let mut server = TestServer::with(&settings).await;
    let mut client = server.client().await;
    // An hour is what the backoff may add to it.
    server.provider.on_every(refusal(429).header("retry-after", "1800"));
    let id = accepted(&client, queued("Hello")).await;
    let mut reader = watch(&client, resume(&id, 0)).await;
    let event = reader.until_kind("turn_requeued").await;
    let Some(Kind::TurnRequeued(requeued)) = &event.kind else { panic!("{event:?}") };
    let due = requeued.not_before.expect("it is due");
    let after = due.seconds - event.created_at.expect("a time").seconds;
    assert!((1800..=1800 + 3600).contains(&after), "due after {after} s");
    let seen = reader.leave();
    for _ in 0..2 {
        let turn = reads::turn(&client, &id).await;
        let background = turn.background.as_ref().expect("it waits");
        assert_eq!((turn.state(), background.attempt, background.not_before), (State::Queued, 1, Some(due)));
        let error = as_status(background.last_error.as_ref().expect("an error"));
        assert_eq!(reason(&error), "RATE_LIMIT_EXCEEDED");
        let mut again = watch(&client, resume(&id, 0)).await;
        again.until_kind("turn_requeued").await;
        assert_eq!(again.leave(), seen);
        server.restart().await;
        client = server.client().await;
    }
    assert_eq!(server.provider.requests().len(), 1);
    cancel(&client, &id).await;
    let all = log_of(&client, &id).await;
    assert_eq!(names(&all.events), ["turn_queued", "response_started", "turn_requeued", "response_error"]);
    server.stop().await;
}
