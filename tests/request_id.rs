//! A request id (AIP-155): the same request is one turn, however often and however it is sent.

use causerie::proto::{self, stream_events_request::Request, turn::State};
use futures_util::future::join_all;
use tonic::Code;

use crate::support::{
    completion::{silence, stream_of},
    events::{assert_whole, events_of, full, joined, merged, run, soon, watch},
    provider::Reply,
    refusal::{told, value},
    server::{TestServer, append, start, text_of},
};

fn named(request_id: &str, input: &str) -> proto::StartRequest {
    proto::StartRequest { request_id: request_id.to_owned(), ..start(input) }
}

fn unavailable() -> Reply {
    Reply::json(503, &serde_json::json!({"message": "later"}))
}

/// Their history takes a while to be read from the disk, so that they meet before the first of them has a turn.
#[tokio::test]
async fn twenty_callers_at_once_share_one_turn() {
    let mut server = TestServer::start().await;
    let first = server.client().await.start(long_history()).await.expect("an import").into_inner();
    server.restart().await;
    let client = server.client().await;
    let mut reply = Reply::text("one for all");
    let gate = reply.gate();
    server.provider.reply(reply);
    let request = proto::AppendRequest { request_id: "r-1".to_owned(), ..append(&first.conversation_id, "And?") };
    let calls = (0..10).map(|_| {
        let (mut client, request) = (client.clone(), request.clone());
        tokio::spawn(async move { client.append(request).await })
    });
    let calls: Vec<_> = calls.collect();
    let open = (0..10).map(|_| watch(&client, full(Request::Append(request.clone()))));
    let mut readers = join_all(open).await;
    for reader in &mut readers {
        reader.started().await;
    }
    gate.open();

    let mut turns = Vec::new();
    for call in calls {
        turns.push(soon(call).await.expect("no panic").expect("an answer").into_inner());
    }
    for reader in readers {
        let seen = reader.rest().await;
        assert_whole(&seen.events);
        turns.push(seen.turn().clone());
    }
    assert_eq!(turns.len(), 20);
    assert_eq!((turns[0].request_id.as_str(), text_of(&turns[0]).as_str()), ("r-1", "one for all"));
    assert!(turns.iter().all(|turn| *turn == turns[0]));
    assert_eq!(server.provider.requests().len(), 1);
    server.stop().await;
}

fn long_history() -> proto::StartRequest {
    let content = vec![proto::Chunk { kind: Some(proto::chunk::Kind::Text("tell me more ".repeat(40))) }];
    let message = proto::MessageInput { role: proto::Role::User.into(), content, prefix: false };
    let entry = proto::Entry { kind: Some(proto::entry::Kind::MessageInput(message)), ..Default::default() };
    let inputs = vec![entry; 4000];
    proto::StartRequest { input: String::new(), inputs, skip_completion: true, ..start("") }
}

#[tokio::test]
async fn a_turn_that_has_ended_is_given_again_also_after_a_restart() {
    let mut server = TestServer::start().await;
    server.provider.reply(Reply::text("once"));
    let original = events_of(&server.client().await, run(named("r-1", "Hello"))).await;
    for _ in 0..2 {
        let mut client = server.client().await;
        let unary = client.start(named("r-1", "Hello")).await.expect("the turn").into_inner();
        assert_eq!(unary, *original.turn());
        let streamed = events_of(&client, run(named("r-1", "Hello"))).await;
        assert_eq!(merged(&streamed.events), merged(&original.events));
        server.restart().await;
    }
    assert_eq!(server.provider.requests().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_stream_joins_a_unary_call() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let mut reply = Reply::text("the same");
    let gate = reply.gate();
    server.provider.reply(reply);
    let unary = tokio::spawn(async move { client.start(named("r-1", "Hello")).await });
    server.provider.next_request().await;

    let mut stream = watch(&server.client().await, run(named("r-1", "Hello"))).await;
    stream.started().await;
    gate.open();

    let unary = soon(unary).await.expect("no panic").expect("an answer").into_inner();
    let seen = stream.rest().await;
    assert_whole(&seen.events);
    assert_eq!((*seen.turn() == unary, joined(&seen.events).as_str()), (true, "the same"));
    assert_eq!(server.provider.requests().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn every_method_has_its_request_ids() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    server.provider.on_every(Reply::text("ok"));
    let first = client.start(start("Hello")).await.expect("an answer").into_inner();
    let entry = first.outputs[0].id.clone();
    let appended = proto::AppendRequest { request_id: "a".to_owned(), ..append(&first.conversation_id, "again") };
    let restarted = proto::RestartRequest {
        conversation_id: first.conversation_id.clone(),
        from_entry_id: entry,
        input: "again".to_owned(),
        request_id: "b".to_owned(),
        ..Default::default()
    };

    let turn = client.append(appended.clone()).await.expect("an answer").into_inner();
    assert_eq!(client.append(appended.clone()).await.expect("the turn").into_inner(), turn);
    assert_eq!(events_of(&client, full(Request::Append(appended))).await.turn(), &turn);
    let turn = client.restart(restarted.clone()).await.expect("an answer").into_inner();
    assert_eq!(client.restart(restarted.clone()).await.expect("the turn").into_inner(), turn);
    assert_eq!(events_of(&client, full(Request::Restart(restarted))).await.turn(), &turn);
    assert_eq!(server.provider.requests().len(), 3);
    server.stop().await;
}

#[tokio::test]
async fn another_request_with_the_same_id_is_refused_with_the_turn_that_has_it() {
    let mut server = TestServer::start().await;
    let mut client = server.client().await;
    let mut reply = Reply::text("ok");
    let gate = reply.gate();
    server.provider.reply(reply);
    let mut running = watch(&client, run(named("r-1", "Hello"))).await;
    let turn_id = running.started().await;
    let others = [
        named("r-1", "Hello!"),
        proto::StartRequest { model: "another-model".to_owned(), ..named("r-1", "Hello") },
        proto::StartRequest { store: Some(false), ..named("r-1", "Hello") },
    ];
    for restarted in [false, true] {
        for other in &others {
            let refused = soon(client.start(other.clone())).await.expect_err("another request");
            assert_eq!(told(&refused), (Code::AlreadyExists, "REQUEST_ID_REUSED".to_owned()));
            assert_eq!(value(&refused, "turn_id"), turn_id);
            let refused = client.stream_events(run(other.clone())).await.expect_err("another request");
            assert_eq!(told(&refused), (Code::AlreadyExists, "REQUEST_ID_REUSED".to_owned()));
        }
        if restarted {
            break;
        }
        gate.open();
        client.start(named("r-1", "Hello")).await.expect("the turn's end");
        server.restart().await;
        client = server.client().await;
    }
    drop(running);
    assert_eq!(server.provider.requests().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_turn_that_failed_or_was_cancelled_gives_its_id_free() {
    let mut server = TestServer::start().await;
    server.provider.reply(unavailable());
    let mut client = server.client().await;
    let failed = client.start(named("failed", "Hello")).await.expect_err("the provider failed");
    assert_eq!(told(&failed), (Code::Unavailable, "SERVICE_UNAVAILABLE".to_owned()));
    server.provider.reply(silence());
    let mut reader = watch(&client, run(named("cancelled", "Hello"))).await;
    let request = proto::CancelTurnRequest { turn_id: reader.started().await };
    client.cancel_turn(request).await.expect("the turn");
    reader.rest().await;
    server.provider.on_every(Reply::text("at last"));

    let turn = client.start(named("failed", "Hello")).await.expect("an answer").into_inner();
    assert_eq!((turn.state(), text_of(&turn).as_str()), (State::Completed, "at last"));
    // Another request may take the id too.
    server.restart().await;
    let turn = events_of(&server.client().await, run(named("cancelled", "Another"))).await.turn().clone();
    assert_eq!((turn.state(), text_of(&turn).as_str()), (State::Completed, "at last"));
    server.stop().await;
}

/// The id is free as soon as the failure is told: a client that tries again at once gets a new turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_id_of_a_failed_turn_is_free_at_once() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    server.provider.on_every(unavailable());
    for round in 1..=200 {
        soon(client.start(named("r-1", "Hello"))).await.expect_err("the provider failed");
        assert_eq!(server.provider.requests().len(), round, "the old failure was given again");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_incomplete_turn_keeps_its_id() {
    let server = TestServer::start().await;
    let client = server.client().await;
    server.provider.reply(stream_of(&["half "], "stop").cut_after(1));
    let original = events_of(&client, run(named("r-1", "Hello"))).await;
    assert_eq!(original.turn().state(), State::Incomplete);
    let again = client.clone().start(named("r-1", "Hello")).await.expect("the turn").into_inner();
    assert_eq!(again, *original.turn());
    assert_eq!(server.provider.requests().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_turn_that_is_not_stored_can_be_joined_while_it_runs() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let mut reply = Reply::text("between us");
    let gate = reply.gate();
    server.provider.reply(reply);
    let aside = proto::StartRequest { store: Some(false), ..named("r-1", "Hello") };
    let mut one = watch(&client, run(aside.clone())).await;
    let mut two = watch(&client, run(aside.clone())).await;
    assert_eq!(one.started().await, two.started().await);
    gate.open();
    assert_eq!(one.rest().await.events, two.rest().await.events);

    server.provider.reply(Reply::text("anew"));
    let turn = client.clone().start(aside).await.expect("a new turn").into_inner();
    assert_eq!(text_of(&turn), "anew");
    server.stop().await;
}
