//! Background turns that are cancelled, wherever they are.

use causerie::proto::turn::State;
use tonic::Code;

use crate::support::{
    completion::{silence, stream_of},
    events::{assert_whole, names, resume, soon, watch},
    provider::Reply,
    queued::{accepted, cancel, log_of, next_asked, queued, queued_on},
    reads,
    refusal::{told, turn_reason},
    server::{TestServer, text_of},
};

#[tokio::test]
async fn a_turn_that_waits_is_cancelled_and_never_run() {
    let mut server = TestServer::with(&[("background.max_running", "1")]).await;
    let client = server.client().await;
    server.provider.on_every(silence());
    let running = accepted(&client, queued("running")).await;
    next_asked(&server.provider).await;
    let waiting = accepted(&client, queued("waiting")).await;
    let mut reader = watch(&client, resume(&waiting, 0)).await;
    reader.queued().await;

    let turn = cancel(&client, &waiting).await;

    assert_eq!((turn.state(), turn_reason(&turn).as_str()), (State::Cancelled, "TURN_CANCELLED"));
    let seen = reader.rest().await;
    assert_eq!(names(&seen.events), ["turn_queued", "response_error"]);
    assert_eq!(told(seen.error()), (Code::Aborted, "TURN_CANCELLED".to_owned()));
    assert_eq!(cancel(&client, &waiting).await, turn);
    assert_eq!(cancel(&client, &running).await.state(), State::Cancelled);
    soon(server.provider.connection_dropped()).await;
    server.restart().await;
    let client = server.client().await;
    assert_eq!(reads::turn(&client, &waiting).await, turn);
    assert_eq!(log_of(&client, &waiting).await.events, seen.events);
    server.provider.on_every(Reply::text("next"));
    log_of(&client, &accepted(&client, queued("next")).await).await;
    assert_eq!(next_asked(&server.provider).await, "next");
    server.stop().await;
}

#[tokio::test]
async fn a_turn_that_talks_is_cancelled_and_keeps_what_it_has() {
    let server = TestServer::start().await;
    let client = server.client().await;
    server.provider.reply(stream_of(&["Once ", "upon"], "stop").cut_after(2).stall());
    let id = accepted(&client, queued("Tell a tale")).await;
    let mut reader = watch(&client, resume(&id, 0)).await;
    reader.until("Once upon").await;

    let turn = cancel(&client, &id).await;

    assert_eq!((turn.state(), turn_reason(&turn).as_str()), (State::Incomplete, "TURN_CANCELLED"));
    let seen = reader.rest().await;
    assert_whole(&seen.events);
    assert_eq!((seen.turn(), text_of(&turn).as_str()), (&turn, "Once upon"));
    assert_eq!(reads::texts(&client, &turn.conversation_id).await, ["Tell a tale", "Once upon"]);
    server.stop().await;
}

#[tokio::test]
async fn a_turn_that_waits_for_another_attempt_is_cancelled() {
    let settings = [("background.backoff_base", "1h"), ("background.backoff_max", "1h")];
    let server = TestServer::with(&settings).await;
    let client = server.client().await;
    server.provider.on_every(Reply::json(503, &serde_json::json!({"message": "later"})));
    let id = accepted(&client, queued("Hello")).await;
    let mut reader = watch(&client, resume(&id, 0)).await;
    reader.until_kind("turn_requeued").await;
    let turn = cancel(&client, &id).await;
    assert_eq!((turn.state(), turn_reason(&turn).as_str()), (State::Cancelled, "TURN_CANCELLED"));
    let seen = reader.rest().await;
    assert_eq!(names(&seen.events), ["turn_queued", "response_started", "turn_requeued", "response_error"]);
    server.stop().await;
}

/// A cancel meets a turn at every moment: between two attempts too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_turn_that_is_cancelled_ends_at_once() {
    let settings = [
        ("background.backoff_base", "1ms"),
        ("background.backoff_max", "1h"),
        ("background.max_running", "4"),
        ("background.max_attempts", "100"),
    ];
    let server = TestServer::with(&settings).await;
    let client = server.client().await;
    server.provider.on_every(Reply::hang_up());
    for _ in 0..25 {
        let mut turns = Vec::new();
        for _ in 0..8 {
            turns.push(accepted(&client, queued_on("other", "Hello")).await);
        }
        let cancelled = turns.iter().map(|id| cancel(&client, id));
        for turn in futures_util::future::join_all(cancelled).await {
            assert_eq!((turn.state(), turn_reason(&turn).as_str()), (State::Cancelled, "TURN_CANCELLED"));
        }
    }
    server.stop().await;
}
