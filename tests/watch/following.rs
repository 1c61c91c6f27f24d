//! Following changes: none is missed, none comes twice, whatever happens to connections and servers.

use std::collections::BTreeSet;

use causerie::proto::{self, Change, ChangeKind, turn::State};
use futures_util::future::join_all;
use tonic::{Code, Request};

use super::{after, from_oldest, now, refused, revisions, say, watch, watcher};
use crate::support::{
    completion::silence,
    events::{soon, watch as watch_turn},
    provider::Reply,
    reads,
    refusal::{fields, told},
    server::{Client, TestServer, append, start},
};

/// A conversation of so many turns, and the ids of its versions.
async fn talk(mut client: Client, turns: usize) -> Vec<String> {
    let first = client.start(start("Hello")).await.expect("a turn").into_inner();
    let mut versions = vec![first.conversation_id];
    while versions.len() < turns {
        let turn = client.append(append(&versions[versions.len() - 1], "Go on")).await.expect("a turn").into_inner();
        versions.push(turn.conversation_id);
    }
    versions
}

async fn delete(client: &Client, conversation_id: &str) {
    let request = proto::DeleteConversationRequest { conversation_id: conversation_id.to_owned(), force: true };
    client.clone().delete_conversation(request).await.expect("it is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_make_one_order_without_gaps() {
    const WRITERS: usize = 16;
    const TURNS: usize = 20;
    let server = TestServer::start().await;
    server.provider.on_every(Reply::text("Yes"));
    let client = watcher(&server).await;
    let mut following = watch(&client, now()).await;
    assert_eq!(following.revision, 0, "nothing has happened");

    let clients = join_all((0..WRITERS).map(|_| server.client())).await;
    let written = async { join_all(clients.into_iter().map(|client| talk(client, TURNS))).await };
    let reading = following.until((WRITERS * TURNS) as i64);
    let (versions, ()) = tokio::join!(written, reading);

    let expected: Vec<i64> = (1..=(WRITERS * TURNS) as i64).collect();
    assert_eq!(following.revisions(), expected);
    let told: BTreeSet<&str> = following.changes.iter().map(|change| change.conversation_id.as_str()).collect();
    assert_eq!(told, versions.iter().flatten().map(String::as_str).collect());
    for conversation in &versions {
        let place = |id: &String| following.changes.iter().position(|change| change.conversation_id == *id);
        assert!(conversation.iter().map(place).is_sorted(), "parents come before their children");
    }
    let again = super::all(&client, proto::ChangeFilter::default()).await;
    assert_eq!(again.changes, following.changes, "whoever reads later reads the same");
    server.stop().await;
}

#[tokio::test]
async fn a_change_says_what_happened_to_which_ids() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let mut following = watch(&watcher(&server).await, now()).await;
    server.provider.reply(Reply::text("Yes"));
    let first = client.start(start("Hello")).await.expect("a turn").into_inner();
    let request = proto::AppendRequest { skip_completion: true, ..append(&first.conversation_id, "And?") };
    let second = client.append(request).await.expect("a turn").into_inner();
    server.provider.reply(Reply::json(503, &serde_json::json!({"message": "later"})));
    client.append(append(&second.conversation_id, "And?")).await.expect_err("the provider fails");

    following.until(3).await;
    let [made, appended, failed] = following.changes.as_slice() else { panic!("{:?}", following.changes) };
    let expected = Change {
        revision: 1,
        created_at: made.created_at,
        kind: ChangeKind::VersionCreated.into(),
        r#type: "turn.completed".into(),
        turn_id: first.id.clone(),
        state: State::Completed.into(),
        conversation_id: first.conversation_id.clone(),
        root_id: first.conversation_id.clone(),
        model: "scripted-model".into(),
        ..Change::default()
    };
    assert_eq!(*made, expected);
    assert_eq!(made.created_at, first.completed_at);
    assert_eq!(appended.root_id, first.conversation_id);
    assert_eq!(appended.parent_conversation_id, first.conversation_id);
    assert_eq!(
        (failed.kind(), failed.state(), failed.r#type.as_str()),
        (ChangeKind::TurnEnded, State::Failed, "turn.failed")
    );
    assert_eq!((failed.conversation_id.as_str(), failed.root_id.as_str()), ("", first.conversation_id.as_str()));
    assert_eq!(reads::turn(&client, &failed.turn_id).await.state(), State::Failed, "what is told can be read");
    server.stop().await;
}

#[tokio::test]
async fn deletes_are_told_version_by_version() {
    let server = TestServer::start().await;
    server.provider.on_every(Reply::text("Yes"));
    let client = server.client().await;
    let versions = talk(client.clone(), 3).await;
    let mut following = watch(&watcher(&server).await, now()).await;

    delete(&client, &versions[1]).await;

    following.until(5).await;
    assert_eq!(following.types(), ["conversation.deleted"; 2]);
    let gone: BTreeSet<&str> = following.changes.iter().map(|change| change.conversation_id.as_str()).collect();
    assert_eq!(gone, versions[1..].iter().map(String::as_str).collect());
    assert!(following.changes.iter().all(|change| change.root_id == versions[0]));
    server.stop().await;
}

/// A reader that loses its connection after each message, and once its server.
#[tokio::test]
async fn whoever_comes_back_sees_each_revision_once() {
    let mut server = TestServer::start().await;
    let (mut cursor, mut seen, mut made) = (0, Vec::new(), 0);
    for round in 0..12 {
        if round == 6 {
            server.restart().await;
        }
        let (client, watcher) = (server.client().await, watcher(&server).await);
        let mut following = watch(&watcher, after(cursor)).await;
        let turns = 1 + round % 3;
        let (_, _) = tokio::join!(join_all((0..turns).map(|_| say(&client, "Hello"))), following.next());
        made += turns as i64;
        seen.extend(following.revisions());
        // What comes later on this connection is lost with it.
        cursor = following.revision;
    }
    let watcher = watcher(&server).await;
    let mut following = watch(&watcher, after(cursor)).await;
    following.until(made).await;
    seen.extend(following.revisions());
    assert_eq!(seen, (1..=made).collect::<Vec<_>>());
    let kept = revisions(&watcher).await;
    assert_eq!((kept.oldest, kept.newest), (1, made));
    server.stop().await;
}

#[tokio::test]
async fn a_revision_that_never_was_is_refused() {
    let server = TestServer::start().await;
    say(&server.client().await, "Hello").await;
    let client = watcher(&server).await;
    for wrong in [-1, 2, i64::MAX] {
        let status = refused(&client, after(wrong)).await;
        assert_eq!(told(&status), (Code::InvalidArgument, "INVALID_REQUEST".to_owned()), "{wrong}");
        assert_eq!(fields(&status), ["after_revision"], "{wrong}");
    }
    assert_eq!(watch(&client, after(1)).await.revision, 1);
    server.stop().await;
}

#[tokio::test]
async fn the_callers_deadline_ends_a_watch() {
    let server = TestServer::start().await;
    let mut client = watcher(&server).await;
    let mut request = Request::new(from_oldest());
    request.set_timeout(std::time::Duration::from_millis(300));
    let mut stream = client.watch(request).await.expect("a stream").into_inner();
    assert!(stream.message().await.expect("no error").is_some());
    let ended = soon(stream.message()).await.expect_err("the deadline has passed");
    assert_eq!(ended.code(), Code::DeadlineExceeded);
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_ends_its_watches_at_once() {
    // Longer than this test may take: nothing here ends by its timeout.
    let mut server = TestServer::with(&[("shutdown.grace", "1h"), ("events.heartbeat", "5m")]).await;
    let client = watcher(&server).await;
    say(&server.client().await, "Hello").await;
    let mut watches = join_all((0..50).map(|_| watch(&client, super::with_events(from_oldest())))).await;

    let stopped = server.begin_stop();

    for following in &mut watches {
        assert_eq!(told(&following.error().await), (Code::Unavailable, "SHUTTING_DOWN".to_owned()));
        assert_eq!(following.revisions(), [1]);
    }
    soon(stopped).await.expect("no panic").expect("a good end");
}

#[tokio::test]
async fn the_ends_of_the_last_turns_are_told_before_the_server_goes() {
    let mut server = TestServer::with(&[("shutdown.grace", "1s")]).await;
    server.provider.reply(silence());
    let mut turn = watch_turn(&server.client().await, crate::support::events::run(start("Hello"))).await;
    let turn_id = turn.started().await;
    let mut following = watch(&watcher(&server).await, super::with_events(now())).await;

    let stopped = server.begin_stop();

    let status = following.error().await;
    assert_eq!(told(&status), (Code::Unavailable, "SHUTTING_DOWN".to_owned()));
    assert_eq!(following.types(), ["turn.failed"]);
    let events = following.logs().remove(&turn_id).expect("its events");
    assert_eq!(events, turn.rest().await.events);
    soon(stopped).await.expect("no panic").expect("a good end");
}
