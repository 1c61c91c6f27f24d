//! What is stored, as JSON: a view of the methods that gRPC has.

use serde_json::json;

use super::{get, open, sse::refused};
use crate::support::{
    events::{events_of, run},
    provider::Reply,
    server::{append, start},
};

#[tokio::test]
async fn conversations_versions_entries_and_turns() {
    let server = open().await;
    let mut client = server.client().await;
    server.provider.on_every(Reply::text("fine"));
    let first = events_of(&client, run(start("Hello"))).await;
    let (root, turn_id) = (first.turn().conversation_id.clone(), first.turn_id());
    let second = client.append(append(&root, "And you?")).await.expect("an answer").into_inner();

    let listed = get(&server, "/v1/conversations", &[]).await;
    assert_eq!((listed.status, listed.headers["content-type"].to_str().expect("text")), (200, "application/json"));
    assert_eq!(listed.headers["cache-control"], "no-store");
    let ids = |answer: &crate::support::http::Answer, list: &str| -> Vec<String> {
        let rows = answer.json()[list].as_array().cloned().unwrap_or_default();
        rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
    };
    assert_eq!(ids(&listed, "conversations"), [second.conversation_id.as_str(), root.as_str()]);
    let heads = get(&server, "/v1/conversations?heads_only=true&model=scripted-model", &[]).await;
    assert_eq!(ids(&heads, "conversations"), [second.conversation_id.as_str()]);
    let one = get(&server, "/v1/conversations?page_size=1", &[]).await;
    let token = one.json()["nextPageToken"].as_str().expect("a token").to_owned();
    let two = get(&server, &format!("/v1/conversations?page_size=1&page_token={token}"), &[]).await;
    assert_eq!(ids(&two, "conversations"), [root.as_str()]);

    let version = get(&server, &format!("/v1/conversations/{}", second.conversation_id), &[]).await.json();
    assert_eq!((&version["parentId"], &version["head"]), (&json!(root), &json!(true)));
    let versions = get(&server, &format!("/v1/conversations/{root}/versions"), &[]).await;
    assert_eq!(ids(&versions, "versions").len(), 2);
    let entries = get(&server, &format!("/v1/conversations/{}/entries", second.conversation_id), &[]).await.json();
    let kinds: Vec<_> =
        entries["entries"].as_array().expect("entries").iter().map(|entry| entry["messageInput"].is_object()).collect();
    assert_eq!(kinds, [true, false, true, false]);
    let inputs = format!("/v1/conversations/{root}/entries?kinds=ENTRY_KIND_MESSAGE_INPUT&order=ORDER_NEWEST_FIRST");
    assert_eq!(get(&server, &inputs, &[]).await.json()["entries"].as_array().map(Vec::len), Some(1));
    let turn = get(&server, &format!("/v1/turns/{turn_id}"), &[]).await.json();
    assert_eq!((&turn["state"], &turn["conversationId"]), (&json!("STATE_COMPLETED"), &json!(root)));
    server.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_query_is_told() {
    let server = open().await;
    for (path, field) in [
        ("/v1/conversations?page_size=many", "page_size"),
        ("/v1/conversations?heads_only=1", "heads_only"),
        ("/v1/conversations?heads=true", "heads"),
        ("/v1/conversations?page_token=x", "page_token"),
        ("/v1/conversations/conv_1", "conversation_id"),
        ("/v1/turns/turn_01919d3c2f5b7c3e8f00112233445566?turn_id=x", "turn_id"),
    ] {
        let (status, reason, error) = refused(&server, path, &[]).await;
        assert_eq!((status, reason.as_str()), (400, "INVALID_REQUEST"), "{path}: {error}");
        assert!(error.to_string().contains(&format!("\"field\":\"{field}\"")), "{path}: {error}");
    }
    server.stop().await;
}
