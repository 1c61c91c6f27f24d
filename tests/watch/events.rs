//! The events of turns among the changes: as they happen, all of a turn before its end, and the same as the turn's own log.

use std::collections::BTreeSet;

use causerie::proto::{self, ChangeFilter, Event, ResumeRequest, event::Kind, stream_events_request::Request};
use futures_util::future::join_all;
use serde_json::json;

use super::{Watch, after, all, filtered, from_oldest, now, say, watch, watcher, with_events};
use crate::support::{
    completion::{silence, stream_of, stream_of_calls},
    events::{assert_whole, events_of, full, merged, names, resume, run, watch as watch_turn},
    provider::Reply,
    server::{Client, TestServer, append, start},
};

/// Whether the events of each turn that was seen to its end are those of its own log, and come before that end.
async fn assert_logs(client: &Client, seen: &Watch) {
    for (turn_id, events) in seen.logs() {
        assert_whole(&events);
        let own = events_of(client, resume(&turn_id, 0)).await;
        assert_eq!(merged(&events), merged(&own.events), "{turn_id}");
    }
}

#[tokio::test]
async fn a_turn_in_flight_is_seen_from_its_first_event_and_as_it_goes_on() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let mut reply = Reply::text("one two three");
    let gate = reply.gate();
    server.provider.reply(reply);
    let mut reader = watch_turn(&client, run(start("Hello"))).await;
    let turn_id = reader.started().await;
    (0..3).for_each(|_| gate.step());
    reader.until("one ").await;

    let mut following = watch(&watcher(&server).await, with_events(now())).await;
    following.until_said(&turn_id, "one ").await;
    assert_eq!(names(&following.events)[0], "response_started");
    gate.step();
    following.until_said(&turn_id, "one two ").await;
    assert_eq!(following.revision, 0, "the cursor moves with changes");
    gate.open();
    while following.changes.is_empty() {
        following.next().await;
    }
    assert!(names(&following.events).contains(&"response_done"), "all events come before the end is told");
    let own = reader.rest().await;
    assert_eq!(merged(&following.events), merged(&own.events));
    assert_eq!(following.types(), ["turn.completed"]);
    server.stop().await;
}

/// Turns of every way to end.
async fn one_of_each_end(server: &TestServer, client: &Client) {
    let replies = [
        Reply::text("one two three"),
        stream_of(&["one ", "two"], "length"),
        stream_of(&["one ", "two "], "stop").cut_after(2),
        stream_of_calls(&[("weather", "{}"), ("clock", "{\"a\":1}")]),
        Reply::json(503, &json!({"message": "later"})),
    ];
    for reply in replies {
        server.provider.reply(reply);
        events_of(client, run(start("Hello"))).await;
    }
    server.provider.reply(silence());
    let mut reader = watch_turn(client, run(start("Hello"))).await;
    let turn_id = reader.started().await;
    client.clone().cancel_turn(proto::CancelTurnRequest { turn_id }).await.expect("the turn");
    reader.rest().await;
}

#[tokio::test]
async fn however_turns_end_their_events_are_those_of_their_logs() {
    let mut server = TestServer::start().await;
    let client = server.client().await;
    let mut live = watch(&watcher(&server).await, with_events(now())).await;
    one_of_each_end(&server, &client).await;
    live.until(6).await;
    let expected = [
        "turn.completed",
        "turn.incomplete",
        "turn.incomplete",
        "turn.requires_action",
        "turn.failed",
        "turn.cancelled",
    ];
    assert_eq!(live.types(), expected);
    assert_eq!(live.logs().len(), 6);
    assert_logs(&client, &live).await;

    server.restart().await;
    let client = server.client().await;
    let mut replayed = watch(&watcher(&server).await, with_events(from_oldest())).await;
    replayed.until(6).await;
    assert_eq!(replayed.changes, live.changes);
    let merged_logs = |seen: &Watch| seen.logs().into_values().map(|log| merged(&log)).collect::<Vec<_>>();
    assert_eq!(merged_logs(&replayed), merged_logs(&live));
    assert_logs(&client, &replayed).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_twice_among_many_turns_at_once() {
    const TURNS: usize = 120;
    let server = TestServer::start().await;
    server.provider.on_every(Reply::text(&"word ".repeat(100)));
    let clients = join_all((0..8).map(|_| server.client())).await;
    let watcher = watcher(&server).await;
    let mut readers = join_all((0..4).map(|_| watch(&watcher, with_events(now())))).await;
    let turns = (0..TURNS).map(|i| events_of(&clients[i % clients.len()], run(start("Hello"))));
    let reading = join_all(readers.iter_mut().map(|reader| read_in_order(reader, TURNS as i64)));
    let (seen, _) = tokio::join!(join_all(turns), reading);
    for reader in &readers {
        let logs = reader.logs();
        assert_eq!(logs.len(), TURNS);
        for turn in &seen {
            assert_eq!(merged(&logs[turn.turn_id()]), merged(&turn.events));
        }
    }
    server.stop().await;
}

/// Reads on to a revision; the end of each turn must come after its events, and nothing of it after that.
async fn read_in_order(reader: &mut Watch, revision: i64) {
    let mut ended = BTreeSet::new();
    while reader.revision < revision {
        let message = reader.next().await;
        assert!(message.events.iter().all(|event| !ended.contains(&event.turn_id)), "an event after the end");
        for change in message.changes {
            let of_it = |event: &&Event| event.turn_id == change.turn_id;
            let last = reader.events.iter().rfind(of_it).expect("its events come before its end");
            assert!(matches!(last.kind, Some(Kind::ResponseDone(_))), "{last:?}");
            ended.insert(change.turn_id);
        }
    }
}

/// Who does not read is caught up from the store: the log is in memory no more.
#[tokio::test]
async fn a_reader_that_lags_misses_nothing() {
    let server = TestServer::start().await;
    let client = server.client().await;
    // Far more than a connection's window holds.
    let long: Vec<String> = (0..400).map(|i| format!("{i:>4096}")).collect();
    let pieces: Vec<&str> = long.iter().map(String::as_str).collect();
    server.provider.reply(Reply::text("one two three"));
    server.provider.on_every(stream_of(&pieces, "stop"));
    let mut following = watch(&watcher(&server).await, with_events(now())).await;
    for _ in 0..4 {
        events_of(&client, run(start("Hello"))).await;
    }
    following.until(4).await;
    assert_eq!(following.logs().len(), 4);
    assert_logs(&client, &following).await;
    server.stop().await;
}

#[tokio::test]
async fn events_of_other_turns_are_left_out() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    server.provider.on_every(Reply::text("one two"));
    let mine = say(&client, "Hello").await;
    let filter = ChangeFilter { root_id: mine.conversation_id.clone(), ..Default::default() };
    let watcher = watcher(&server).await;
    let mut following = watch(&watcher, filtered(with_events(now()), filter.clone())).await;
    client.start(start("Not mine")).await.expect("a turn");
    let request = full(Request::Append(append(&mine.conversation_id, "Mine")));
    let own = events_of(&client, request).await;
    let unstored = proto::AppendRequest { store: Some(false), ..append(&mine.conversation_id, "Leaves no trace") };
    client.append(unstored).await.expect("a turn");
    say(&client, "Not mine").await;

    following.until(3).await;
    assert_eq!(following.revisions(), [3]);
    assert_eq!(following.logs().len(), 1);
    assert_eq!(merged(&following.events), merged(&own.events));
    // Which changes are wanted says nothing of events.
    let only_deletes = ChangeFilter { kinds: vec![proto::ChangeKind::VersionDeleted.into()], ..filter };
    let mut events_only = watch(&watcher, filtered(with_events(after(1)), only_deletes)).await;
    events_only.until(3).await;
    assert_eq!((events_only.revisions(), merged(&events_only.events)), (vec![], merged(&own.events)));
    server.stop().await;
}

/// A background turn is seen from its acceptance on, over all its attempts.
#[tokio::test]
async fn a_background_turn_is_followed_over_its_attempts() {
    let server = TestServer::with(&[("background.backoff_base", "1ms"), ("background.backoff_max", "1ms")]).await;
    let mut client = server.client().await;
    server.provider.reply(Reply::json(503, &json!({"message": "later"})));
    let mut reply = Reply::text("one two three");
    let gate = reply.gate();
    server.provider.reply(reply);
    let mut following = watch(&watcher(&server).await, with_events(now())).await;
    let background_options = Some(proto::BackgroundOptions { max_attempts: 2, ..Default::default() });
    let request = proto::StartRequest { background: true, background_options, ..start("Hello") };
    let turn_id = client.start(request).await.expect("a turn").into_inner().id;
    (0..3).for_each(|_| gate.step());
    following.until_said(&turn_id, "one ").await;
    gate.open();
    following.end_of(&turn_id).await;

    let types = ["turn.queued", "turn.started", "turn.requeued", "turn.started", "turn.completed"];
    assert_eq!(following.types(), types);
    let attempts: Vec<i32> = following.changes.iter().map(|change| change.attempt).collect();
    assert_eq!(attempts, [0, 1, 1, 2, 2]);
    let own = events_of(&client, resume(&turn_id, 0)).await;
    assert_eq!(merged(&following.events), merged(&own.events));
    assert_eq!(names(&following.events)[0], "turn_queued");
    server.stop().await;
}

/// After a lost connection events of turns whose end was not seen come again, and no others.
#[tokio::test]
async fn whoever_comes_back_gets_the_open_turns_again() {
    let server = TestServer::start().await;
    let client = server.client().await;
    server.provider.reply(Reply::text("one"));
    let mut reply = Reply::text("one two");
    let gate = reply.gate();
    server.provider.reply(reply);
    let watcher = watcher(&server).await;
    let mut following = watch(&watcher, with_events(now())).await;
    let ended = events_of(&client, run(start("Hello"))).await;
    let mut reader = watch_turn(&client, run(start("Hello"))).await;
    let open = reader.started().await;
    (0..3).for_each(|_| gate.step());
    following.until_said(&open, "one ").await;
    following.until(1).await;
    let cursor = following.revision;
    assert_eq!(cursor, 1);
    drop(following);

    let mut back = watch(&watcher, with_events(after(cursor))).await;
    gate.open();
    back.until(2).await;
    let logs = back.logs();
    assert!(!logs.contains_key(ended.turn_id()), "its end was seen");
    assert_eq!(merged(&logs[&open]), merged(&reader.rest().await.events));
    server.stop().await;
}

#[tokio::test]
async fn of_a_deleted_turn_only_the_changes_are_left() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let gone = say(&client, "Hello").await;
    let request = proto::DeleteConversationRequest { conversation_id: gone.conversation_id, force: false };
    client.clone().delete_conversation(request).await.expect("it is there");
    let watcher = watcher(&server).await;
    let mut following = watch(&watcher, with_events(from_oldest())).await;
    following.until(2).await;
    assert_eq!(following.types(), ["turn.completed", "conversation.deleted"]);
    assert_eq!(following.events, []);
    assert_eq!(all(&watcher, ChangeFilter::default()).await.changes, following.changes);
    server.stop().await;
}

/// Watching keeps no turn alive.
#[tokio::test]
async fn a_watched_turn_without_readers_is_cancelled_all_the_same() {
    let server = TestServer::with(&[("turns.grace", "50ms")]).await;
    let client = server.client().await;
    server.provider.reply(silence());
    let mut following = watch(&watcher(&server).await, with_events(now())).await;
    let mut reader = watch_turn(&client, run(start("Hello"))).await;
    let turn_id = reader.started().await;
    drop(reader);
    assert_eq!(following.end_of(&turn_id).await.r#type, "turn.cancelled");
    assert_eq!(names(&following.events), ["response_started", "response_error"]);
    let request = Request::Resume(ResumeRequest { turn_id, after_sequence: 0 });
    assert_eq!(events_of(&client, full(request)).await.events, following.events);
    server.stop().await;
}
