//! The scripted provider does what other tests trust it to do.

use serde_json::json;

use crate::support::http::{self, client};
use crate::support::provider::{Reply, ScriptedProvider};

#[tokio::test]
async fn replies_come_in_order_and_requests_are_kept() {
    let provider = ScriptedProvider::start().await;
    provider.on_every(Reply::plain(503, "text/plain", "later"));
    provider.reply(Reply::json(429, &json!({"message": "slow down"})).header("retry-after", "3"));
    let url = provider.base_url() + "/v1/x";

    let first = http::post(&url, &json!({"a": 1})).await;
    assert_eq!((first.status, first.headers["retry-after"].to_str().ok()), (429, Some("3")));
    assert_eq!(http::post(&url, &json!({"a": 2})).await.text, "later");

    let (one, two) = (provider.next_request().await, provider.next_request().await);
    assert_eq!((one.method.as_str(), one.path.as_str()), ("POST", "/v1/x"));
    assert_eq!(one.header("authorization"), Some("Bearer test"));
    assert_eq!((one.raw.as_slice(), &two.json), (br#"{"a":1}"#.as_slice(), &json!({"a": 2})));
    assert_eq!(provider.requests().len(), 2);
}

#[tokio::test]
async fn a_text_is_streamed_when_the_request_says_so() {
    let provider = ScriptedProvider::start().await;
    provider.on_every(Reply::text("one two").split_at_every_byte());
    let whole = http::post(&provider.base_url(), &json!({"model": "m"})).await.json();
    assert_eq!(whole["choices"][0]["message"]["content"], "one two");

    let streamed = http::post(&provider.base_url(), &json!({"model": "m", "stream": true})).await;
    assert!(streamed.is_done() && streamed.headers["content-type"] == "text/event-stream");
    let words =
        streamed.events().iter().filter_map(|e| e["choices"][0]["delta"]["content"].as_str()).collect::<String>();
    assert_eq!(words, "one two");
}

#[tokio::test]
async fn every_byte_is_a_chunk_of_its_own() {
    let provider = ScriptedProvider::start().await;
    provider.reply(Reply::sse(&[json!({"a": "é"})]).split_at_every_byte());
    let mut response = client().get(provider.base_url()).send().await.expect("an answer");
    let mut sizes = Vec::new();
    while let Some(chunk) = response.chunk().await.expect("a whole body") {
        sizes.push(chunk.len());
    }
    assert_eq!(sizes, vec![1; "data: {\"a\":\"é\"}\n\ndata: [DONE]\n\n".len()]);
}

#[tokio::test]
async fn a_reply_can_be_cut_or_not_given_at_all() {
    let provider = ScriptedProvider::start().await;
    provider.reply(Reply::raw_sse(["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"]).cut_after(2));
    let cut = http::post(&provider.base_url(), &json!({})).await;
    assert_eq!((cut.text.as_str(), cut.broken), ("data: 1\n\ndata: 2\n\n", true));

    provider.reply(Reply::hang_up());
    assert!(client().get(provider.base_url()).send().await.is_err());
}

#[tokio::test]
async fn the_gate_holds_headers_and_chunks() {
    let provider = ScriptedProvider::start().await;
    let mut reply = Reply::raw_sse(["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"]);
    let gate = reply.gate();
    provider.reply(reply);
    let call = tokio::spawn(client().get(provider.base_url()).send());
    provider.next_request().await;
    assert!(!call.is_finished());

    gate.step();
    let mut response = call.await.expect("no panic").expect("the headers");
    gate.step();
    assert_eq!(response.chunk().await.expect("a chunk").as_deref(), Some(b"data: 1\n\n".as_slice()));
    gate.open();
    assert_eq!(http::read(response).await.text, "data: 2\n\ndata: 3\n\n");
}

#[tokio::test]
async fn a_client_that_leaves_is_seen_and_one_that_stays_keeps_its_connection() {
    let provider = ScriptedProvider::start().await;
    provider.reply(Reply::text("a"));
    provider.reply(Reply::text("b"));
    provider.reply(Reply::raw_sse(["data: 1\n\n"]).stall());
    let client = client();
    for _ in 0..2 {
        let response = client.get(provider.base_url()).send().await.expect("an answer");
        assert!(!http::read(response).await.broken);
    }
    assert_eq!(provider.connections(), 1);

    let response = client.get(provider.base_url()).send().await.expect("the headers");
    drop(response);
    provider.connection_dropped().await;
}
