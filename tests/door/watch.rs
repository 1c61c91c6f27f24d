//! What happens in the store as server-sent events.

use serde_json::json;

use super::{
    open, open_with,
    sse::{Message, Reader, refused},
};
use crate::support::{
    events::{events_of, run, soon},
    provider::Reply,
    server::{TestServer, start},
};

async fn turns(server: &TestServer, count: usize) {
    let client = server.client().await;
    for _ in 0..count {
        server.provider.reply(Reply::text("one two"));
        events_of(&client, run(start("Hello"))).await;
    }
}

/// Reads so many changes from the beginning, and loses the connection after every `each`.
async fn with_losses(server: &TestServer, count: usize, each: usize) -> Vec<Message> {
    let (mut seen, mut last_id) = (Vec::new(), String::new());
    while seen.len() < count {
        let mut reader = Reader::open(server, "/v1/watch?after_revision=0", &last_id).await;
        assert_eq!(reader.status, 200);
        assert!(reader.until(each.min(count - seen.len())).await);
        reader.messages.truncate(each);
        last_id = reader.messages.last().expect("changes").id.clone();
        seen.extend(reader.messages);
    }
    seen
}

#[tokio::test]
async fn changes_are_numbered_and_resumed_exactly() {
    let server = open().await;
    turns(&server, 5).await;
    let mut reader = Reader::open(&server, "/v1/watch?from_oldest=true", "").await;
    assert!(reader.until(5).await);
    let all = reader.messages;
    for (at, change) in all.iter().enumerate() {
        assert_eq!((change.id.as_str(), change.name.as_str()), ((at + 1).to_string().as_str(), "turn.completed"));
        assert_eq!(change.data["revision"], json!(change.id));
        assert_eq!(change.data["kind"], json!("CHANGE_KIND_VERSION_CREATED"));
    }
    for each in 1..=6 {
        assert_eq!(with_losses(&server, 5, each).await, all, "lost every {each}");
    }
    server.stop().await;
}

#[tokio::test]
async fn it_begins_now_and_comments_move_the_reader_past_what_it_does_not_want() {
    let server = open_with(&[("events.heartbeat", "1s")]).await;
    turns(&server, 2).await;
    let mut reader = Reader::open(&server, "/v1/watch?model=another-model", "").await;
    while reader.last_id.is_empty() {
        assert!(reader.more().await);
    }
    assert_eq!(reader.last_id, "2");
    turns(&server, 1).await;
    while reader.last_id == "2" {
        assert!(reader.more().await);
    }
    assert_eq!((reader.last_id.as_str(), reader.messages.len(), reader.comments[0].as_str()), ("3", 0, "up to here"));
    let mut reader =
        Reader::open(&server, "/v1/watch?model=scripted-model&kinds=CHANGE_KIND_VERSION_CREATED", "2").await;
    assert!(reader.until(1).await);
    assert_eq!(reader.messages[0].id, "3");
    server.stop().await;
}

#[tokio::test]
async fn events_of_turns_come_along_without_moving_the_reader() {
    let server = open().await;
    let mut reader = Reader::open(&server, "/v1/watch?include_events=true", "").await;
    while reader.last_id.is_empty() {
        assert!(reader.more().await);
    }
    turns(&server, 1).await;
    while reader.messages.last().is_none_or(|last| last.name != "turn.completed") {
        assert!(reader.more().await);
    }
    let (change, events) = reader.messages.split_last().expect("events");
    assert_eq!(change.id, "1");
    assert_eq!(events.first().map(|event| event.name.as_str()), Some("conversation.response.started"));
    assert_eq!(events.last().map(|event| event.name.as_str()), Some("conversation.response.done"));
    assert!(events.iter().all(|event| event.id == "0"), "{events:?}");
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_watched_is_refused() {
    let server = open().await;
    for (query, field) in [
        ("after_revision=x", "after_revision"),
        ("after_revision=7", "after_revision"),
        ("root_id=x", "filter.root_id"),
        ("kinds=NONE", "kinds"),
        ("colour=red", "colour"),
    ] {
        let (status, reason, error) = refused(&server, &format!("/v1/watch?{query}"), &[]).await;
        assert_eq!((status, reason.as_str()), (400, "INVALID_REQUEST"), "{query}");
        assert!(error.to_string().contains(&format!("\"field\":\"{field}\"")), "{query}: {error}");
    }
    server.stop().await;
}

#[tokio::test]
async fn it_ends_with_the_server() {
    let mut server = open().await;
    let mut reader = Reader::open(&server, "/v1/watch", "").await;
    assert!(reader.more().await);
    let stopped = server.begin_stop();
    reader.rest().await;
    soon(stopped).await.expect("no panic").expect("a good end");
}
