//! A background turn is taken in: what its caller is told, and how it is followed.

use causerie::proto::{self, ErrorReason, stream_events_request::Request, turn::State};
use tonic::{Code, metadata::MetadataValue};

use crate::support::{
    completion::silence,
    event_log,
    events::{Seen, assert_whole, events_of, full, joined, names, resume, run, soon, watch},
    golden::assert_golden,
    provider::Reply,
    queued::{accepted, log_of, next_asked, queued, queued_append, queued_on, version_of},
    reads,
    refusal::{fields, told},
    server::{TestServer, start, text_of},
    status::{assert_promised, named},
};

#[tokio::test]
async fn every_method_answers_at_once_with_the_id_that_the_version_will_have() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    server.provider.reply(Reply::text("first"));
    let first = client.start(start("Hello")).await.expect("an answer").into_inner();
    let mut reply = Reply::text("one two");
    let gate = reply.gate();
    server.provider.on_every(reply);
    let restart = proto::RestartRequest {
        conversation_id: first.conversation_id.clone(),
        from_entry_id: first.outputs[0].id.clone(),
        input: "again".to_owned(),
        background: true,
        ..Default::default()
    };

    let turns = [
        soon(client.start(queued("Hello"))).await.expect("it is queued").into_inner(),
        soon(client.append(queued_append(&first.conversation_id, "And?"))).await.expect("it is queued").into_inner(),
        soon(client.restart(restart)).await.expect("it is queued").into_inner(),
    ];

    for (turn, parent) in turns.iter().zip(["", &first.conversation_id, &first.conversation_id]) {
        assert_eq!((turn.state(), turn.parent_conversation_id.as_str()), (State::Queued, parent), "{turn:?}");
        assert_eq!((turn.model.as_str(), turn.last_sequence), ("scripted-model", 1));
        assert!(turn.conversation_id.is_empty() && turn.outputs.is_empty() && turn.completed_at.is_none());
        let background = turn.background.as_ref().expect("it is a background turn");
        assert_eq!((background.attempt, background.max_attempts), (0, 3));
    }
    gate.open();
    for turn in turns {
        let seen = log_of(&client, &turn.id).await;
        assert_whole(&seen.events);
        let Some(proto::event::Kind::TurnQueued(first)) = &seen.events[0].kind else { panic!("{seen:?}") };
        assert_eq!(first.conversation_id, version_of(&turn.id));
        let done = seen.turn();
        assert_eq!((done.state(), &done.conversation_id), (State::Completed, &version_of(&turn.id)));
        assert_eq!((done.created_at, done.background.clone()), (turn.created_at, None));
        assert_eq!(reads::turn(&client, &turn.id).await, *done);
        assert_eq!(reads::version(&client, &done.conversation_id).await.turn_id, turn.id);
        assert_eq!(text_of(done), "one two");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_turn_says_how_far_it_has_come() {
    let server = TestServer::with(&[("background.max_running", "1")]).await;
    let client = server.client().await;
    server.provider.on_every(silence());
    let first = accepted(&client, queued("first")).await;
    let second = accepted(&client, queued("second")).await;
    next_asked(&server.provider).await;
    let running = reads::turn(&client, &first).await;
    assert_eq!((running.state(), running.background.expect("one").attempt), (State::Running, 1));
    let waiting = reads::turn(&client, &second).await;
    assert_eq!((waiting.state(), waiting.background.expect("one").attempt), (State::Queued, 0));
    for turn in [second, first] {
        client.clone().cancel_turn(proto::CancelTurnRequest { turn_id: turn }).await.expect("the turn");
    }
    server.stop().await;
}

/// Nobody reads it while it runs, and somebody all the time: both are the same log.
#[tokio::test]
async fn a_log_is_the_same_from_every_sequence_on_and_while_the_turn_runs() {
    let mut server = TestServer::start().await;
    let mut client = server.client().await;
    server.provider.reply(Reply::text("one two three"));
    let unread = accepted(&client, queued("Hello")).await;
    let unread = log_of(&client, &unread).await;
    let mut reply = Reply::text("one two three");
    let gate = reply.gate();
    server.provider.reply(reply);
    let turn = accepted(&client, queued("Hello")).await;
    let mut early = watch(&client, resume(&turn, 0)).await;
    early.queued().await;
    early.started().await;
    (0..4).for_each(|_| gate.step());
    early.until("one two ").await;
    let mut late = watch(&client, resume(&turn, 3)).await;
    late.until("two ").await;
    gate.open();
    let (early, late) = (early.rest().await, late.rest().await);

    assert_eq!(names(&early.events), names(&unread.events));
    assert_eq!(names(&early.events)[..3], ["turn_queued", "response_started", "message_output_delta"]);
    assert_eq!(early.events[3..], late.events);
    assert_golden("turns/background.jsonl", &event_log::told(&[("a background turn", &early.events)]));
    for restarted in [false, true] {
        for original in [&early, &unread] {
            assert_whole(&original.events);
            for after in 0..=original.events.len() + 1 {
                let Seen { events, status } = events_of(&client, resume(original.turn_id(), after as i64)).await;
                assert_eq!(events, original.events.get(after..).unwrap_or_default(), "after {after}, {restarted}");
                assert!(status.is_none());
            }
        }
        server.restart().await;
        client = server.client().await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_stream_that_asks_for_a_background_turn_follows_it_and_may_leave() {
    let server = TestServer::with(&[("turns.grace", "1ms")]).await;
    let client = server.client().await;
    let mut reply = Reply::text("one two three");
    let gate = reply.gate();
    server.provider.reply(reply);
    let mut reader = watch(&client, run(queued("Hello"))).await;
    let turn = reader.queued().await;
    (0..4).for_each(|_| gate.step());
    reader.until("one two ").await;
    let seen = reader.leave();
    gate.open();

    let all = log_of(&client, &turn).await;
    assert_eq!(all.events[..seen.len()], seen);
    assert_eq!((joined(&all.events).as_str(), all.turn().state()), ("one two three", State::Completed));
    server.stop().await;
}

#[tokio::test]
async fn a_turn_with_nothing_to_ask_is_done_in_the_background_too() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let turn = accepted(&client, proto::StartRequest { skip_completion: true, ..queued("Keep this") }).await;
    let seen = log_of(&client, &turn).await;
    assert_eq!(names(&seen.events), ["turn_queued", "response_started", "response_done"]);
    assert_eq!(reads::texts(&client, &version_of(&turn)).await, ["Keep this"]);
    server.stop().await;
}

#[tokio::test]
async fn what_can_not_be_run_is_refused_before_it_is_queued() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let long = "k".repeat(129);
    let options = |options: proto::BackgroundOptions| proto::StartRequest {
        background_options: Some(options),
        ..queued("Hello")
    };
    let default = proto::BackgroundOptions::default;
    let bad_time = Some(prost_types::Timestamp { seconds: 0, nanos: -1 });
    let rows = [
        (proto::StartRequest { store: Some(false), ..queued("Hello") }, "background"),
        (proto::StartRequest { background: false, ..options(default()) }, "background_options"),
        (options(proto::BackgroundOptions { priority: 101, ..default() }), "background_options.priority"),
        (options(proto::BackgroundOptions { max_attempts: 101, ..default() }), "background_options.max_attempts"),
        (options(proto::BackgroundOptions { max_attempts: -1, ..default() }), "background_options.max_attempts"),
        (options(proto::BackgroundOptions { fairness_key: long, ..default() }), "background_options.fairness_key"),
        (
            options(proto::BackgroundOptions { not_before: bad_time, ..default() }),
            "background_options.not_before.nanos",
        ),
        (queued(""), "input"),
        (queued_on("two words", "Hello"), "model"),
    ];
    for (request, field) in rows {
        let refused = client.start(named(field, request.clone())).await.expect_err(field);
        assert_promised(&refused, ErrorReason::InvalidRequest, field);
        assert_eq!(fields(&refused), [field]);
        let refused = client.stream_events(run(request)).await.expect_err(field);
        assert_eq!(fields(&refused), [format!("start.{field}")]);
    }
    let nowhere = queued_append("conv_01919d3c2f5b7c3e8f00112233445566", "Hello");
    let refused = client.append(nowhere.clone()).await.expect_err("no such version");
    assert_eq!(told(&refused), (Code::NotFound, "CONVERSATION_NOT_FOUND".to_owned()));
    let refused = client.stream_events(full(Request::Append(nowhere))).await.expect_err("no such version");
    assert_eq!(told(&refused), (Code::NotFound, "CONVERSATION_NOT_FOUND".to_owned()));
    let list = client.list_conversations(proto::ListConversationsRequest::default()).await.expect("a list");
    assert_eq!((list.into_inner().conversations.len(), server.provider.requests().len()), (0, 0));
    server.stop().await;
}

#[tokio::test]
async fn a_key_of_the_callers_own_is_refused_since_it_is_never_kept() {
    let server = TestServer::with(&[("providers.mistral.caller_keys", "true")]).await;
    let mut client = server.client().await;
    let mut request = tonic::Request::new(queued("Hello"));
    request.metadata_mut().insert("x-provider-api-key", MetadataValue::from_static("mine"));
    let refused = client.start(request).await.expect_err("it would have to be kept");
    assert_eq!(fields(&refused), ["x-provider-api-key"]);
    server.stop().await;
}
