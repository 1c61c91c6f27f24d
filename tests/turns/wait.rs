//! GetTurn with `wait`: a long poll that ends with the turn, with its patience, or shortly before its deadline.

use std::time::{Duration, Instant};

use causerie::proto::{self, turn::State};
use tonic::{Code, Request, Status};

use super::{cancel, for_tomorrow, get, ms, queue, silent_turn};
use crate::support::{
    completion::stream_of,
    events::{run, soon, watch},
    provider::Reply,
    refusal::{fields, told, turn_reason},
    server::{Client, TestServer, start, text_of},
};

fn waiting(turn_id: &str, wait: prost_types::Duration) -> proto::GetTurnRequest {
    proto::GetTurnRequest { turn_id: turn_id.to_owned(), wait: Some(wait) }
}

async fn wait(client: &Client, turn_id: &str, patience: prost_types::Duration) -> Result<proto::Turn, Status> {
    let answer = soon(client.clone().get_turn(waiting(turn_id, patience))).await;
    answer.map(tonic::Response::into_inner)
}

/// Waits for the end of a turn at the same time as something else that must come first.
async fn wait_until<T>(client: &Client, turn_id: &str, something: impl Future<Output = T>) -> proto::Turn {
    let waits = wait(client, turn_id, ms(3_600_000));
    tokio::pin!(waits);
    let mut other = client.clone();
    tokio::select! {
        biased;
        turn = &mut waits => panic!("it has not ended: {turn:?}"),
        // The answer to a later call on the same connection: the one before was taken, and waits.
        stands = get(&mut other, turn_id) => assert!([State::Running, State::Queued].contains(&stands.expect("a turn").state())),
    }
    let (turn, _) = tokio::join!(waits, something);
    turn.expect("the turn")
}

#[tokio::test]
async fn a_wait_ends_with_the_turn() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let mut answer = stream_of(&["Hello"], "stop");
    let gate = answer.gate();
    server.provider.reply(answer);
    let mut reader = watch(&client, run(start("Hi"))).await;
    let id = reader.started().await;

    let turn = wait_until(&client, &id, async { gate.open() }).await;

    assert_eq!((turn.state(), text_of(&turn).as_str()), (State::Completed, "Hello"));
    assert_eq!(*reader.rest().await.turn(), turn);
    // One that has ended is not waited for.
    assert_eq!(wait(&client, &id, ms(3_600_000)).await.expect("the turn"), turn);
    server.stop().await;
}

#[tokio::test]
async fn a_wait_ends_with_its_patience_or_its_call() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let (_reader, running) = silent_turn(&server, &client).await;
    server.provider.next_request().await;
    let queued = queue(&mut client, for_tomorrow("Later")).await;
    for (id, state) in [(&running, State::Running), (&queued, State::Queued)] {
        let began = Instant::now();
        assert_eq!(wait(&client, id, ms(150)).await.expect("as it stands").state(), state);
        assert!(began.elapsed() >= Duration::from_millis(150), "it waited");
        // Shorter than the way back: no time to wait is left, and yet there is an answer.
        for (deadline, at_least) in [(400, 200), (40, 0)] {
            let began = Instant::now();
            let mut request = Request::new(waiting(id, ms(3_600_000)));
            request.set_timeout(Duration::from_millis(deadline));
            let answer = client.get_turn(request).await;
            if deadline > 100 {
                assert_eq!(answer.expect("before the deadline").into_inner().state(), state);
            }
            assert!(began.elapsed() >= Duration::from_millis(at_least), "it waited");
        }
    }
    cancel(&mut client, &running).await;
    server.stop().await;
}

#[tokio::test]
async fn whoever_waits_sees_a_cancel() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let (_reader, running) = silent_turn(&server, &client).await;
    server.provider.next_request().await;
    let queued = queue(&mut client, for_tomorrow("Later")).await;
    for id in [&running, &queued] {
        let turn = wait_until(&client, id, cancel(&mut client.clone(), id)).await;
        assert_eq!((turn.state(), turn_reason(&turn).as_str()), (State::Cancelled, "TURN_CANCELLED"));
    }
    server.stop().await;
}

#[tokio::test]
async fn waiting_keeps_no_turn_alive() {
    let server = TestServer::with(&[("turns.grace", "0s")]).await;
    let client = server.client().await;
    let (reader, id) = silent_turn(&server, &client).await;
    server.provider.next_request().await;

    let turn = wait_until(&client, &id, async { drop(reader) }).await;

    assert_eq!((turn.state(), turn_reason(&turn).as_str()), (State::Cancelled, "TURN_CANCELLED"));
    soon(server.provider.connection_dropped()).await;
    server.stop().await;
}

#[tokio::test]
async fn a_background_turn_is_waited_for_and_read_after_a_restart() {
    let mut server = TestServer::start().await;
    let mut client = server.client().await;
    server.provider.on_every(Reply::text("Done"));
    let id = queue(&mut client, proto::StartRequest { background: true, ..start("Work") }).await;

    let turn = wait(&client, &id, ms(3_600_000)).await.expect("the turn");

    assert_eq!((turn.state(), text_of(&turn).as_str()), (State::Completed, "Done"));
    server.restart().await;
    assert_eq!(wait(&server.client().await, &id, ms(3_600_000)).await.expect("the turn"), turn);
    server.stop().await;
}

#[tokio::test]
async fn there_is_nothing_to_wait_for() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let unknown = "turn_019f0000000070008000000000000000";
    let refused = wait(&client, unknown, ms(3_600_000)).await.expect_err("no such turn");
    assert_eq!(told(&refused), (Code::NotFound, "TURN_NOT_FOUND".to_owned()));
    let backwards = prost_types::Duration { seconds: -1, nanos: 0 };
    for patience in [ms(3_601_000), backwards] {
        let refused = wait(&client, unknown, patience).await.expect_err("not so long");
        assert_eq!(
            (refused.code(), fields(&refused)),
            (Code::InvalidArgument, vec!["wait".to_owned()]),
            "{patience:?}"
        );
    }
    server.stop().await;
}
