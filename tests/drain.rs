//! The server is told to stop while turns run: they may finish, and those that can't are ended with a word, not with a cut.

use causerie::proto::{self, turn::State};
use tokio::net::TcpStream;
use tonic::{Code, Streaming};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::support::{
    completion::{silence, stream_of},
    events::{assert_whole, events_of, names, resume, run, soon, watch},
    provider::Reply,
    reads,
    refusal::{told, turn_reason},
    server::{Client, TestServer, start, text_of},
};

async fn watch_health(server: &TestServer) -> Streaming<HealthCheckResponse> {
    let mut client = HealthClient::new(server.channel().await);
    let request = HealthCheckRequest { service: "causerie.v1.ConversationService".to_owned() };
    let mut watch = client.watch(request).await.expect("a watch").into_inner();
    assert_eq!(next_health(&mut watch).await, ServingStatus::Serving);
    watch
}

async fn next_health(watch: &mut Streaming<HealthCheckResponse>) -> ServingStatus {
    soon(watch.message()).await.expect("no error").expect("a message").status()
}

/// Another server on the store that the first one left.
async fn successor(of: &TestServer) -> TestServer {
    TestServer::with(&[("store.path", of.store_path().to_str().expect("a path"))]).await
}

#[tokio::test]
async fn turns_that_finish_in_time_are_answered_and_stored() {
    let mut server = TestServer::start().await;
    let client = server.client().await;
    let (mut one, mut two) = (Reply::text("in time"), Reply::text("in time"));
    let gates = [one.gate(), two.gate()];
    server.provider.reply(one);
    server.provider.reply(two);
    let mut caller = client.clone();
    let unary = tokio::spawn(async move { caller.start(start("Hello")).await });
    server.provider.next_request().await;
    let mut streamed = watch(&client, run(start("Hello"))).await;
    streamed.started().await;
    let mut health = watch_health(&server).await;

    let stopped = server.begin_stop();
    assert_eq!(next_health(&mut health).await, ServingStatus::NotServing);
    assert!(!stopped.is_finished());
    gates.iter().for_each(|gate| gate.open());

    let unary = soon(unary).await.expect("no panic").expect("an answer").into_inner();
    let streamed = streamed.rest().await;
    soon(stopped).await.expect("no panic").expect("a good end");
    let successor = successor(&server).await;
    let client = successor.client().await;
    for turn in [&unary, streamed.turn()] {
        assert_eq!((turn.state(), text_of(turn).as_str()), (State::Completed, "in time"));
        assert_eq!(reads::texts(&client, &turn.conversation_id).await, ["Hello", "in time"]);
    }
    successor.stop().await;
}

#[tokio::test]
async fn turns_that_take_too_long_are_ended_with_a_word() {
    let mut server = TestServer::with(&[("shutdown.grace", "1s")]).await;
    let client = server.client().await;
    server.provider.reply(stream_of(&["Once ", "upon"], "stop").cut_after(2).stall());
    server.provider.on_every(silence());
    let mut talking = watch(&client, run(start("Tell a tale"))).await;
    talking.until("Once upon").await;
    let mut silent = watch(&client, run(start("Tell a tale"))).await;
    silent.started().await;
    let mut caller = client.clone();
    let unary = tokio::spawn(async move { caller.start(start("Tell a tale")).await });
    for _ in 0..3 {
        server.provider.next_request().await;
    }

    let stopped = server.begin_stop();
    let (talking, silent, unary) = (talking.rest().await, silent.rest().await, soon(unary).await.expect("no panic"));
    soon(stopped).await.expect("no panic").expect("a good end");

    let shutting_down = (Code::Unavailable, "SHUTTING_DOWN".to_owned());
    assert_eq!(told(&unary.expect_err("cut off")), shutting_down);
    assert_eq!(names(&silent.events), ["response_started", "response_error"]);
    assert_eq!(told(silent.error()), shutting_down);
    assert_whole(&talking.events);
    let turn = talking.turn();
    assert_eq!((turn.state(), turn_reason(turn).as_str()), (State::Incomplete, "SHUTTING_DOWN"));
    let successor = successor(&server).await;
    let client = successor.client().await;
    assert_eq!(reads::texts(&client, &turn.conversation_id).await, ["Tell a tale", "Once upon"]);
    assert_eq!(events_of(&client, resume(&turn.id, 0)).await.events, talking.events);
    let replayed = events_of(&client, resume(silent.turn_id(), 0)).await;
    assert_eq!((replayed.events, told(replayed.status.as_ref().expect("a status"))), (silent.events, shutting_down));
    successor.stop().await;
}

#[tokio::test]
async fn no_turn_begins_once_the_server_stops() {
    let mut server = TestServer::start().await;
    let mut client = server.client().await;
    let mut reply = Reply::text("in time");
    let gate = reply.gate();
    server.provider.reply(reply);
    let mut running = watch(&client, run(start("Hello"))).await;
    running.started().await;
    server.provider.next_request().await;
    let mut health = watch_health(&server).await;

    let stopped = server.begin_stop();
    assert_eq!(next_health(&mut health).await, ServingStatus::NotServing);
    let refused = soon(client.start(start("Hello"))).await.expect_err("the server stops");
    gate.open();

    // On its way, the call meets the end of its connection or, before that, a server that takes no more turns.
    let by_the_connection = std::error::Error::source(&refused).is_some();
    assert!(by_the_connection || told(&refused) == (Code::Unavailable, "SHUTTING_DOWN".to_owned()), "{refused:?}");
    assert!(TcpStream::connect(server.address()).await.is_err(), "nobody listens");
    assert_eq!(text_of(running.rest().await.turn()), "in time");
    soon(stopped).await.expect("no panic").expect("a good end");
    assert_eq!(server.provider.requests().len(), 1);
}

#[tokio::test]
async fn whoever_only_watches_does_not_hold_the_server_up() {
    // Longer than this test may take: nothing here ends by its timeout.
    let mut server = TestServer::with(&[("shutdown.grace", "1h")]).await;
    let mut health = watch_health(&server).await;
    let _idle: Client = server.client().await;
    let _silent = TcpStream::connect(server.address()).await.expect("accepted");
    server.client().await.list_conversations(proto::ListConversationsRequest::default()).await.expect("a list");

    let stopped = server.begin_stop();

    soon(stopped).await.expect("no panic").expect("a good end");
    assert_eq!(next_health(&mut health).await, ServingStatus::NotServing);
    assert!(soon(health.message()).await.is_err(), "the watch ends");
    assert!(TcpStream::connect(server.address()).await.is_err(), "nobody listens");
}
