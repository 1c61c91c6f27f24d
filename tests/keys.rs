//! Whose key goes to a provider, how it changes without a restart, and that nobody else ever sees it.

use std::fs;

use causerie::proto::{self, ErrorReason, stream_events_request::Request};
use prost::Message;
use serde_json::json;
use tempfile::TempDir;
use tonic::{Request as Call, Status};

use crate::support::{
    calls::{self, get_turn},
    completion::{says, stream_of},
    events::{events_of, resume},
    forwarding::{RETRIES, falling_back_to, other, section, start_on, with},
    log::Log,
    provider::{Captured, Reply, ScriptedProvider},
    server::{Client, TestServer, start},
    status::{assert_promised, fields_of, named, told},
};

const OWN: &str = "sk-of-the-caller-3e7b";
const CONFIGURED: &str = "sk-of-the-operator-9c1d";
const CALLER_KEYS: (&str, &str) = ("providers.mistral.caller_keys", "true");

/// A call with the caller's own key.
fn with_key<T>(id: &str, message: T) -> Call<T> {
    let mut call = named(id, message);
    call.metadata_mut().insert("x-provider-api-key", OWN.parse().expect("ASCII"));
    call
}

fn authorization(request: &Captured) -> &str {
    request.header("authorization").unwrap_or_default()
}

#[track_caller]
fn assert_unseen(what: &str, text: &[u8]) {
    let holds = |key: &str| text.windows(key.len()).any(|part| part == key.as_bytes());
    assert!(!holds(OWN) && !holds(CONFIGURED), "{what} tells the key: {}", String::from_utf8_lossy(text));
}

fn assert_unseen_status(what: &str, status: &Status) {
    let said = format!("{} {:?} {:?}", status.message(), status.metadata(), String::from_utf8_lossy(status.details()));
    assert_unseen(what, said.as_bytes());
}

async fn ask(client: &Client) -> Result<proto::Turn, Status> {
    calls::run(&mut client.clone(), "ask", Request::Start(start("Hello"))).await
}

#[tokio::test]
async fn a_caller_s_key_is_refused_unless_the_configuration_takes_it() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let refused = client.start(with_key("unary", start("Hello"))).await.expect_err("not taken");
    assert_promised(&refused, ErrorReason::InvalidRequest, "unary");
    assert_eq!(fields_of(&refused), ["x-provider-api-key"]);
    assert!(refused.message().contains("providers.mistral.caller_keys"), "{}", refused.message());
    assert_unseen_status("the refusal", &refused);
    let stream = proto::StreamEventsRequest { request: Some(Request::Start(start("Hello"))), ..Default::default() };
    let refused = client.stream_events(with_key("stream", stream)).await.map(drop).expect_err("not taken");
    assert_eq!(fields_of(&refused), ["x-provider-api-key"]);
    assert_eq!(server.provider.connections(), 0);
    server.stop().await;
}

#[tokio::test]
async fn a_caller_s_key_is_used_for_that_call_and_kept_nowhere() {
    let log = Log::listen();
    let mut server = TestServer::with(&with(&RETRIES, &[CALLER_KEYS])).await;
    let mut client = server.client().await;
    // The provider quotes it, refuses it, fails and then answers.
    let quoting = json!({"object": "error", "message": format!("no {OWN} here"), "code": OWN, "type": OWN});
    for status in [400, 401, 403, 404, 422] {
        server.provider.reply(Reply::json(status, &quoting));
        let refused = client.start(with_key("own-key-refused", start("Hello"))).await.expect_err("refused");
        assert_unseen_status("a refusal", &refused);
        let turn_id = told(&refused, "turn_id");
        let turn = get_turn(&mut client, &turn_id).await.expect("kept");
        assert_unseen("a failed turn", &turn.encode_to_vec());
    }
    server.provider.reply(Reply::json(503, &quoting));
    server.provider.reply(stream_of(&["fine"], "stop"));
    let stream = proto::StreamEventsRequest { request: Some(Request::Start(start("Hello"))), ..Default::default() };
    let opened = client.stream_events(with_key("own-key-stream", stream)).await.expect("a stream").into_inner();
    let (events, end) = calls::rest(opened).await;
    end.expect("fine");
    for event in &events {
        assert_unseen("an event", &event.encode_to_vec());
    }
    // The next call has none: ours is sent.
    server.provider.reply(Reply::text("fine"));
    ask(&client).await.expect("fine");
    let sent = server.provider.requests();
    let (last, own) = sent.split_last().expect("requests");
    assert!(own.iter().all(|request| authorization(request) == format!("Bearer {OWN}")), "{own:?}");
    assert_eq!(authorization(last), "Bearer test-key");

    let replayed = events_of(&client, resume(&events[0].turn_id, 0)).await;
    for event in &replayed.events {
        assert_unseen("a replayed event", &event.encode_to_vec());
    }
    assert!(!log.calls("own-key-stream").is_empty(), "the log is heard");
    assert_unseen("the log", log.text().as_bytes());
    server.begin_stop().await.expect("no panic").expect("it ends well");
    assert_unstored(&server);
}

/// Of a server that was stopped.
fn assert_unstored(server: &TestServer) {
    let mut files = 0;
    for file in fs::read_dir(server.store_path()).expect("the store's folder") {
        let path = file.expect("a file").path();
        if path.is_file() {
            files += 1;
            assert_unseen(&path.display().to_string(), &fs::read(&path).expect("readable"));
        }
    }
    assert!(files > 0, "the store is there");
}

/// Answers that begin with success and quote the key.
fn quoting(key: &str) -> [Reply; 5] {
    let error = json!({"error": {"message": key, "type": key, "code": key}});
    [
        Reply::json(200, &json!({"object": "error", "message": key, "code": key})),
        Reply::sse(std::slice::from_ref(&error)),
        Reply::sse(&[says("some"), error]),
        Reply::plain(200, &format!("text/{key}"), "no"),
        Reply::raw_sse(["data: {\n\n"]).header("x-request-id", key),
    ]
}

#[tokio::test]
async fn a_key_that_an_answer_quotes_is_told_to_nobody() {
    let log = Log::listen();
    let dir = TempDir::new().expect("a folder");
    let file = dir.path().join("key");
    fs::write(&file, CONFIGURED).expect("written");
    let path = file.display().to_string();
    let mut server = TestServer::with(&with(&RETRIES, &[CALLER_KEYS, ("providers.mistral.key_file", &path)])).await;
    let mut client = server.client().await;
    let asked = quoting(OWN).map(|reply| (Some(OWN), reply)).into_iter();
    for (own, reply) in asked.chain(quoting(CONFIGURED).map(|reply| (None, reply))) {
        let name = format!("{own:?} {reply:?}");
        server.provider.on_every(reply);
        let call = |id| if own.is_some() { with_key(id, ()) } else { named(id, ()) };
        match client.start(call("quoted").map(|()| start("Hello"))).await {
            Ok(turn) => assert_unseen(&name, &turn.into_inner().encode_to_vec()),
            Err(status) => assert_unseen_status(&name, &status),
        }
        let stream = proto::StreamEventsRequest { request: Some(Request::Start(start("Hello"))), ..Default::default() };
        let opened = client.stream_events(call("quoted-stream").map(|()| stream)).await.expect("a stream");
        let (events, end) = calls::rest(opened.into_inner()).await;
        end.err().iter().for_each(|status| assert_unseen_status(&name, status));
        for event in &events {
            assert_unseen(&name, &event.encode_to_vec());
        }
        let turn = get_turn(&mut client, &events[0].turn_id).await.expect("kept");
        assert!(turn.error.is_some(), "{name}: it failed, or was cut");
        assert_unseen(&name, &turn.encode_to_vec());
    }
    assert!(!log.calls("quoted").is_empty(), "the log is heard");
    assert_unseen("the log", log.text().as_bytes());
    server.begin_stop().await.expect("no panic").expect("it ends well");
    assert_unstored(&server);
}

#[tokio::test]
async fn a_caller_s_key_goes_to_no_other_provider() {
    let [second, third] = [ScriptedProvider::start().await, ScriptedProvider::start().await];
    let sections = format!("{}caller_keys = true\n{}", other(&second), section("third", "mistral", &third));
    let server = TestServer::configured(&sections, &[CALLER_KEYS]).await;
    let mut client = server.client().await;
    server.provider.on_every(Reply::json(503, &json!({})));
    second.on_every(Reply::text("fine"));
    third.on_every(Reply::text("fine"));
    for to in ["other/x", "third/x"] {
        let forwarding = Some(falling_back_to(&[to]));
        let request = proto::StartRequest { forwarding, ..start_on("scripted-model", "Hello") };
        // Nor is a caller who pays moved to an account of the operator's.
        client.start(with_key("fallback", request)).await.expect_err("nobody else is asked");
        assert_eq!(authorization(&server.provider.next_request().await), format!("Bearer {OWN}"));
    }
    assert_eq!((second.requests().len(), third.requests().len()), (0, 0));
    let refused = client.start(with_key("third", start_on("third/x", "Hello"))).await.expect_err("not taken there");
    assert_eq!(fields_of(&refused), ["x-provider-api-key"]);
    assert!(refused.message().contains("providers.third.caller_keys"), "{}", refused.message());
    client.start(with_key("other", start_on("other/x", "Hello"))).await.expect("taken there");
    assert_eq!(second.next_request().await.header("authorization"), Some(&*format!("Bearer {OWN}")));
    server.stop().await;
}

#[tokio::test]
async fn a_service_without_a_key_lives_on_those_of_its_callers() {
    let server = TestServer::with(&[("providers.mistral.key_file", ""), CALLER_KEYS]).await;
    let mut client = server.client().await;
    server.provider.on_every(Reply::text("fine"));
    let status = ask(&client).await.expect_err("no key");
    assert_promised(&status, ErrorReason::ApiKeyMissing, "ask");
    assert_eq!(told(&status, "attempts"), "0", "{status:?}");
    client.start(with_key("own", start("Hello"))).await.expect("fine");
    assert_eq!(authorization(&server.provider.next_request().await), format!("Bearer {OWN}"));
    server.stop().await;
}

#[tokio::test]
async fn a_key_that_changes_in_its_file_is_the_next_call_s() {
    let dir = TempDir::new().expect("a folder");
    let file = dir.path().join("key");
    fs::write(&file, "sk-1").expect("written");
    let path = file.display().to_string();
    let server = TestServer::with(&[("providers.mistral.key_file", &path)]).await;
    let client = server.client().await;
    server.provider.on_every(Reply::text("fine"));
    for key in ["sk-1", "sk-2", "sk-3"] {
        // As secrets are mounted: another file takes the name.
        let next = dir.path().join("next");
        fs::write(&next, format!("{key}\n")).expect("written");
        fs::rename(&next, &file).expect("renamed");
        ask(&client).await.expect("fine");
        assert_eq!(authorization(&server.provider.next_request().await), format!("Bearer {key}"));
    }
    fs::remove_file(&file).expect("removed");
    let status = ask(&client).await.expect_err("no key");
    assert_promised(&status, ErrorReason::ApiKeyMissing, "ask");
    fs::write(&file, "sk-4").expect("written");
    ask(&client).await.expect("fine again");
    assert_eq!(authorization(&server.provider.next_request().await), "Bearer sk-4");
    server.stop().await;
}

#[tokio::test]
async fn a_key_of_a_command_that_is_refused_is_asked_for_again_in_the_same_turn() {
    let dir = TempDir::new().expect("a folder");
    let file = dir.path().join("printed");
    fs::write(&file, "sk-printed-1").expect("written");
    let command = format!("cat '{}'", file.display());
    let settings = [("providers.mistral.key_file", ""), ("providers.mistral.key_command", command.as_str())];
    let server = TestServer::with(&settings).await;
    let client = server.client().await;
    server.provider.reply(Reply::text("fine"));
    ask(&client).await.expect("fine");
    assert_eq!(authorization(&server.provider.next_request().await), "Bearer sk-printed-1");
    fs::write(&file, "sk-printed-2").expect("written");
    server.provider.reply(Reply::json(401, &json!({"detail": "Unauthorized"})));
    server.provider.reply(Reply::text("fine"));
    ask(&client).await.expect("the kept one is old, which costs no turn");
    assert_eq!(authorization(&server.provider.next_request().await), "Bearer sk-printed-1");
    assert_eq!(authorization(&server.provider.next_request().await), "Bearer sk-printed-2");

    server.provider.reply(Reply::json(401, &json!({"detail": "Unauthorized"})));
    let status = ask(&client).await.expect_err("there is no other one");
    assert_promised(&status, ErrorReason::InvalidApiKey, "ask");
    assert!(status.message().contains("providers.mistral.key_command"), "{}", status.message());
    assert_eq!(authorization(&server.provider.next_request().await), "Bearer sk-printed-2");
    assert_eq!(server.provider.requests().len(), 4);
    server.stop().await;
}
