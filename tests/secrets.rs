//! Keys, prompts and answers are where they belong: in requests, histories and the store, and in no status and no log.

use std::{fs, path::Path};

use causerie::proto::{self, event::Kind, stream_events_request::Request};
use prost::Message;
use tonic::Status;

use crate::{
    errors::{OWN, PROMPT, provider},
    support::{
        calls,
        log::Log,
        provider::Reply,
        server::{Client, TestServer, append, start},
    },
};

/// What the server of these tests is given as its key.
const KEY: &str = "test-key";
const ANSWER: &str = "answer-9c1d-for-the-caller-only";
const INSTRUCTIONS: &str = "instructions-2b7e-for-the-model-only";

/// Nothing secret, in whatever form the text is printed.
#[track_caller]
fn assert_clean(what: &str, text: &str) {
    for secret in [KEY, PROMPT, ANSWER, INSTRUCTIONS] {
        if let Some(at) = text.find(secret) {
            let from = text[..at].char_indices().rev().nth(300).map_or(0, |(at, _)| at);
            panic!("{what} tells {secret}: …{}", &text[from..at + secret.len()]);
        }
    }
}

#[track_caller]
fn assert_clean_status(what: &str, status: &Status) {
    let metadata = format!("{:?}", status.metadata());
    let details = String::from_utf8_lossy(status.details());
    assert_clean(what, &format!("{} {details} {metadata}", status.message()));
}

fn secret_start() -> proto::StartRequest {
    proto::StartRequest { instructions: INSTRUCTIONS.to_owned(), ..start(PROMPT) }
}

#[tokio::test]
async fn no_failure_of_the_provider_tells_secrets() {
    let log = Log::listen();
    let server = TestServer::start().await;
    let mut client = server.client().await;
    for row in provider::rows() {
        server.provider.reply(row.reply.clone());
        server.provider.reply(row.reply);
        // A model of its own: a rate limit would keep the next row waiting.
        let start = proto::StartRequest { model: row.name.to_owned(), ..secret_start() };
        let status = calls::run(&mut client, row.name, Request::Start(start.clone())).await.expect_err(row.name);
        assert_clean_status(row.name, &status);
        let start = proto::StartRequest { model: format!("{}-stream", row.name), ..start };
        let (events, end) = calls::watch(&mut client, row.name, Request::Start(start)).await;
        assert_clean_status(row.name, &end.expect_err(row.name));
        let last = events.last().expect("a terminal event");
        assert!(matches!(last.kind, Some(Kind::ResponseError(_))));
        assert_clean(row.name, &String::from_utf8_lossy(&last.encode_to_vec()));
    }
    assert!(!log.calls("429-gateway-after").is_empty(), "the log is heard");
    assert_clean("the log", &log.text());
    server.stop().await;
}

#[tokio::test]
async fn a_key_that_the_provider_quotes_is_taken_out_of_its_explanation() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    for status in [400, 404, 422] {
        let text = format!("the model of {KEY} is not available to {KEY}");
        let body =
            serde_json::json!({"object": "error", "message": text, "type": "invalid_request_error", "code": KEY});
        server.provider.reply(Reply::json(status, &body));
        let refused = client.start(secret_start()).await.expect_err("refused");
        assert_clean_status(&status.to_string(), &refused);
        let explained = refused.message().contains("[key]") || status == 404;
        assert!(explained, "the rest of the explanation is passed on: {}", refused.message());
    }
    server.stop().await;
}

#[tokio::test]
async fn nothing_that_the_service_refuses_tells_secrets() {
    let log = Log::listen();
    for (reason, scene) in OWN {
        for refused in scene().await {
            assert_clean_status(reason.as_str_name(), &refused.status);
        }
    }
    assert!(!log.calls("head-moved-stream").is_empty(), "the log is heard");
    assert_clean("the log", &log.text());
}

/// What is cut off after output began keeps its output where it belongs, and its error tells none of it.
#[tokio::test]
async fn a_turn_that_is_cut_off_tells_no_secrets() {
    let log = Log::listen();
    let server = TestServer::start().await;
    let mut client = server.client().await;
    server.provider.reply(Reply::text(&format!("{ANSWER} and more")).cut_after(2));

    let (events, end) = calls::watch(&mut client, "secret-cut", Request::Start(secret_start())).await;

    end.expect("an INCOMPLETE turn is no failed call");
    let turn = match events.into_iter().last().expect("a terminal event").kind {
        Some(Kind::ResponseDone(done)) => done.turn.expect("the turn"),
        other => panic!("{other:?}"),
    };
    assert_eq!(turn.state(), proto::turn::State::Incomplete);
    assert!(format!("{:?}", turn.outputs).contains(ANSWER), "the output is kept");
    assert_clean("Turn.error", &String::from_utf8_lossy(&turn.error.expect("an error").encode_to_vec()));
    assert!(!log.calls("secret-cut").is_empty(), "the log is heard");
    assert_clean("the log", &log.text());
    server.stop().await;
}

/// A conversation that goes well is as silent.
#[tokio::test]
async fn the_log_says_nothing_of_what_is_said_and_the_store_nothing_of_the_key() {
    let log = Log::listen();
    let mut server = TestServer::start().await;
    let mut client = server.client().await;
    converse(&server, &mut client).await;
    server.restart().await;

    assert_clean("the log", &log.text());
    let store = server.store_path();
    assert!(holds(&store, PROMPT), "the store keeps the prompt, where this search finds it");
    assert!(!holds(&store, KEY), "the store keeps the key");
    server.stop().await;
}

async fn converse(server: &TestServer, client: &mut Client) {
    server.provider.on_every(Reply::text(ANSWER));
    let turn = calls::run(client, "secret-start", Request::Start(secret_start())).await.expect("an answer");
    let more = Request::Append(append(&turn.conversation_id, PROMPT));
    calls::watch(client, "secret-append", more).await.1.expect("an answer");
    server.provider.reply(Reply::json(401, &serde_json::json!({"message": format!("bad key {KEY}")})));
    let more = Request::Append(append(&turn.conversation_id, PROMPT));
    calls::run(client, "secret-failed", more).await.expect_err("a failed turn is kept too");
    assert_eq!(server.provider.requests()[0].header("authorization"), Some("Bearer test-key"), "the key is used");
}

/// Whether a file of the store holds this text.
fn holds(store: &Path, text: &str) -> bool {
    let files = fs::read_dir(store).expect("the store's directory");
    files.map(|file| file.expect("a file").path()).filter(|path| path.is_file()).any(|path| {
        let bytes = fs::read(path).expect("a readable file");
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}
