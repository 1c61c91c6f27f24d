//! A request id of a background turn: the same request is one turn, wherever the turn is.

use causerie::proto::{self, turn::State};
use tonic::Code;

use crate::support::{
    completion::silence,
    events::{run, soon, watch},
    provider::Reply,
    queued::{accepted, cancel, log_of, next_asked, queued},
    refusal::{told, value},
    server::{TestServer, start},
};

fn named(input: &str) -> proto::StartRequest {
    proto::StartRequest { request_id: "mine".to_owned(), ..queued(input) }
}

#[tokio::test]
async fn the_same_request_is_one_turn_queued_running_ended_and_after_a_restart() {
    let mut server = TestServer::with(&[("background.max_running", "1")]).await;
    let mut client = server.client().await;
    let mut reply = Reply::text("once");
    let gate = reply.gate();
    server.provider.on_every(reply);
    accepted(&client, queued("before it")).await;
    let id = accepted(&client, named("Hello")).await;
    next_asked(&server.provider).await;

    assert_eq!(accepted(&client, named("Hello")).await, id, "queued");
    let mut stream = watch(&client, run(named("Hello"))).await;
    assert_eq!(stream.queued().await, id, "queued, with its events");
    let other = soon(client.start(named("Hello!"))).await.expect_err("another request");
    assert_eq!(told(&other), (Code::AlreadyExists, "REQUEST_ID_REUSED".to_owned()));
    assert_eq!(value(&other, "turn_id"), id);
    let direct = proto::StartRequest { background: false, ..named("Hello") };
    let other = soon(client.start(direct)).await.expect_err("another request");
    assert_eq!(told(&other), (Code::AlreadyExists, "REQUEST_ID_REUSED".to_owned()));
    (0..4).for_each(|_| gate.step());
    assert_eq!(next_asked(&server.provider).await, "Hello");
    let running = soon(client.start(named("Hello"))).await.expect("it runs").into_inner();
    assert_eq!((running.state(), &running.id), (State::Running, &id));
    gate.open();
    let seen = stream.rest().await;
    for _ in 0..2 {
        let ended = soon(client.start(named("Hello"))).await.expect("it has ended").into_inner();
        assert_eq!(ended, *seen.turn());
        server.restart().await;
        client = server.client().await;
    }
    assert_eq!(server.provider.requests().len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn a_turn_that_waits_is_met_again_after_a_restart() {
    let mut server = TestServer::with(&[("background.max_running", "1"), ("shutdown.grace", "1s")]).await;
    server.provider.on_every(silence());
    let client = server.client().await;
    let first = accepted(&client, queued("before it")).await;
    let id = accepted(&client, named("Hello")).await;
    next_asked(&server.provider).await;
    server.restart().await;
    let client = server.client().await;
    assert_eq!(accepted(&client, named("Hello")).await, id);
    cancel(&client, &first).await;
    cancel(&client, &id).await;
    server.stop().await;
}

#[tokio::test]
async fn a_turn_that_failed_or_was_cancelled_gives_its_id_free() {
    let server = TestServer::start().await;
    let client = server.client().await;
    server.provider.reply(Reply::json(400, &serde_json::json!({"message": "never"})));
    let failed = accepted(&client, named("Hello")).await;
    log_of(&client, &failed).await.error();
    server.provider.reply(silence());
    let cancelled = accepted(&client, named("Hello")).await;
    assert_ne!(cancelled, failed);
    next_asked(&server.provider).await;
    cancel(&client, &cancelled).await;
    server.provider.reply(Reply::text("at last"));
    let turn = client.clone().start(proto::StartRequest { request_id: "mine".to_owned(), ..start("Another") }).await;
    assert_eq!(turn.expect("an answer").into_inner().state(), State::Completed);
    server.stop().await;
}
