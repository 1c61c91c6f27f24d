//! Re-attaching to a turn: while it runs, after its end, after a restart, and after its server died.

use causerie::proto::{self, turn::State};
use tonic::Code;

use crate::support::{
    completion::{silence, stream_of, stream_of_calls},
    events::{Seen, assert_gapless, assert_whole, departures_seen, events_of, joined, names, resume, run, soon, watch},
    files,
    provider::Reply,
    reads,
    refusal::{reason, told, turn_reason, value},
    server::{Client, TestServer, start, text_of},
};

async fn cancel(client: &mut Client, turn_id: &str) -> proto::Turn {
    let request = proto::CancelTurnRequest { turn_id: turn_id.to_owned() };
    client.cancel_turn(request).await.expect("the turn").into_inner()
}

#[tokio::test]
async fn from_every_sequence_comes_exactly_the_rest() {
    let server = TestServer::start().await;
    let client = server.client().await;
    server.provider.reply(Reply::text("one two three four five"));
    let original = events_of(&client, run(start("Hello"))).await;
    assert_eq!(original.events.len(), 8);

    for after in 0..=10 {
        let replayed = events_of(&client, resume(original.turn_id(), after)).await;
        let rest = original.events.get(after as usize..).unwrap_or_default();
        assert_eq!(replayed.events, rest, "after {after}");
        assert!(replayed.status.is_none());
    }
    server.stop().await;
}

#[tokio::test]
async fn a_running_turn_is_taken_up_where_the_reader_was() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let mut reply = Reply::text("one two three");
    let gate = reply.gate();
    server.provider.reply(reply);
    let mut reader = watch(&client, run(start("Hello"))).await;
    let turn_id = reader.started().await;
    (0..4).for_each(|_| gate.step());
    reader.until("one two ").await;

    let mut late = watch(&client, resume(&turn_id, 2)).await;
    let past_the_end = watch(&client, resume(&turn_id, 1000)).await;
    late.until("two ").await;
    gate.open();

    let (all, late) = (reader.rest().await, late.rest().await);
    assert_eq!(late.events, all.events[2..]);
    assert_eq!(names(&past_the_end.rest().await.events), [""; 0], "only the end");
    server.stop().await;
}

/// One turn of every way to end, as its reader saw it.
async fn one_of_each_end(server: &TestServer, client: &mut Client) -> Vec<(State, Seen)> {
    let mut seen = Vec::new();
    server.provider.reply(Reply::text("one two three"));
    seen.push((State::Completed, events_of(client, run(start("Hello"))).await));
    server.provider.reply(stream_of(&["one ", "two"], "length"));
    seen.push((State::Incomplete, events_of(client, run(start("Hello"))).await));
    server.provider.reply(stream_of(&["one ", "two "], "stop").cut_after(2));
    seen.push((State::Incomplete, events_of(client, run(start("Hello"))).await));
    server.provider.reply(stream_of_calls(&[("weather", "{}"), ("clock", "{\"a\":1}")]));
    seen.push((State::RequiresAction, events_of(client, run(start("Hello"))).await));
    server.provider.reply(Reply::json(503, &serde_json::json!({"message": "later"})));
    seen.push((State::Failed, events_of(client, run(start("Hello"))).await));
    server.provider.reply(silence());
    let mut reader = watch(client, run(start("Hello"))).await;
    let turn_id = reader.started().await;
    cancel(client, &turn_id).await;
    seen.push((State::Cancelled, reader.rest().await));
    seen
}

#[tokio::test]
async fn a_replay_equals_the_original_also_after_a_restart_of_the_server() {
    let mut server = TestServer::start().await;
    let mut client = server.client().await;
    let originals = one_of_each_end(&server, &mut client).await;
    for restarted in [false, true] {
        for (state, original) in &originals {
            assert_whole(&original.events);
            let replayed = events_of(&client, resume(original.turn_id(), 0)).await;
            assert_eq!(replayed.events, original.events, "{state:?}, restarted: {restarted}");
            assert_eq!(ending(&replayed), ending(original), "{state:?}, restarted: {restarted}");
            assert_eq!(reads::turn(&client, original.turn_id()).await.state(), *state);
        }
        server.restart().await;
        client = server.client().await;
    }
    server.stop().await;
}

fn ending(seen: &Seen) -> Option<(Code, String, String)> {
    seen.status.as_ref().map(|status| (status.code(), reason(status), status.message().to_owned()))
}

/// Whoever lost the connection between the last event and the status must not take the call for a success.
#[tokio::test]
async fn a_failed_turn_ends_with_its_status_from_wherever_it_is_replayed() {
    let server = TestServer::start().await;
    let client = server.client().await;
    server.provider.reply(Reply::json(503, &serde_json::json!({"message": "later"})));
    let original = events_of(&client, run(start("Hello"))).await;
    assert_eq!(names(&original.events), ["response_started", "response_error"]);
    for after in [0, 1, 2, 5] {
        let replayed = events_of(&client, resume(original.turn_id(), after)).await;
        assert_eq!(ending(&replayed), ending(&original), "after {after}");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_unknown_turn_is_not_found() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let unknown = "turn_01919d3c2f5b7c3e8f00112233445566";

    let refused = client.stream_events(resume(unknown, 0)).await.expect_err("nothing to read");
    assert_eq!(told(&refused), (Code::NotFound, "TURN_NOT_FOUND".to_owned()));
    let request = proto::GetTurnRequest { turn_id: unknown.to_owned(), ..Default::default() };
    let refused = client.get_turn(request).await.expect_err("nothing to read");
    assert_eq!(told(&refused), (Code::NotFound, "TURN_NOT_FOUND".to_owned()));
    let request = proto::CancelTurnRequest { turn_id: unknown.to_owned() };
    let refused = client.cancel_turn(request).await.expect_err("nothing to cancel");
    assert_eq!(told(&refused), (Code::NotFound, "TURN_NOT_FOUND".to_owned()));
    server.stop().await;
}

#[tokio::test]
async fn a_turn_that_was_announced_and_lost_in_a_crash_has_failed() {
    let server = TestServer::start().await;
    let mut reply = Reply::text("one two three");
    let gate = reply.gate();
    server.provider.reply(reply);
    let mut reader = watch(&server.client().await, run(start("Hello"))).await;
    let turn_id = reader.started().await;
    (0..3).for_each(|_| gate.step());
    reader.until("one ").await;
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let left = folder.path().join("store");
    files::copy(&server.store_path(), &left);
    gate.open();
    assert_eq!(text_of(reader.rest().await.turn()), "one two three");
    server.stop().await;

    let after_crash = TestServer::with(&[("store.path", left.to_str().expect("a path"))]).await;
    let mut client = after_crash.client().await;

    let turn = reads::turn(&client, &turn_id).await;
    assert_eq!((turn.id.as_str(), turn.state(), turn_reason(&turn).as_str()), (&*turn_id, State::Failed, "TURN_LOST"));
    assert_eq!(cancel(&mut client, &turn_id).await, turn);
    let seen = events_of(&client, resume(&turn_id, 2)).await;
    assert_eq!(names(&seen.events), ["response_error"]);
    assert_gapless(&seen.events, 3);
    assert_eq!(told(seen.error()), (Code::Aborted, "TURN_LOST".to_owned()));
    assert_eq!(value(seen.error(), "turn_id"), turn_id);
    after_crash.stop().await;
}

#[tokio::test]
async fn a_turn_without_readers_is_cancelled_after_the_grace_time() {
    let server = TestServer::with(&[("turns.grace", "50ms")]).await;
    let client = server.client().await;
    server.provider.reply(silence());
    server.provider.reply(stream_of(&["one "], "stop").cut_after(1).stall());
    let mut silent = watch(&client, run(start("Hello"))).await;
    let before = silent.started().await;
    drop(silent);
    soon(server.provider.connection_dropped()).await;
    let mut talking = watch(&client, run(start("Hello"))).await;
    let after = talking.started().await;
    talking.until("one ").await;
    drop(talking);
    soon(server.provider.connection_dropped()).await;

    let seen = events_of(&client, resume(&before, 0)).await;
    assert_eq!(told(seen.error()), (Code::Aborted, "TURN_CANCELLED".to_owned()));
    assert_eq!(reads::turn(&client, &before).await.state(), State::Cancelled);
    let seen = events_of(&client, resume(&after, 0)).await;
    let turn = seen.turn();
    assert_eq!((turn.state(), turn_reason(turn).as_str()), (State::Incomplete, "TURN_CANCELLED"));
    assert_eq!(joined(&seen.events), "one ");
    server.stop().await;
}

#[tokio::test]
async fn a_reader_that_comes_back_keeps_the_turn_alive() {
    // A heartbeat tells that twice the grace time has passed.
    let server = TestServer::with(&[("turns.grace", "500ms"), ("events.heartbeat", "1s")]).await;
    let client = server.client().await;
    let mut reply = Reply::text("one two");
    let gate = reply.gate();
    server.provider.reply(reply);
    let mut reader = watch(&client, run(start("Hello"))).await;
    let turn_id = reader.started().await;

    drop(reader);
    departures_seen(&server, &client).await;
    let mut back = watch(&client, resume(&turn_id, 1)).await;
    assert_eq!(names(&[back.next().await]), ["heartbeat"]);
    gate.open();

    assert_eq!(text_of(back.rest().await.turn()), "one two");
    server.stop().await;
}
