//! Events of turns as server-sent events.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    get, open, open_with,
    sse::{Reader, all, path, refused},
};
use crate::support::{
    completion::{silence, stream_of_calls},
    events::{events_of, run, soon, watch},
    log::Log,
    provider::Reply,
    server::start,
};

#[tokio::test]
async fn a_turn_is_told_as_the_standard_has_it() {
    let server = open().await;
    server.provider.reply(Reply::text("one\ntwo"));
    let turn = events_of(&server.client().await, run(start("Hello\r\nthere"))).await;
    let request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path(turn.turn_id()));
    let mut socket = tokio::net::TcpStream::connect(server.address()).await.expect("connected");
    socket.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    soon(socket.read_to_string(&mut answer)).await.expect("an answer");

    let (head, _) = answer.split_once("\r\n\r\n").expect("a head");
    let head = head.to_ascii_lowercase();
    let expected =
        ["http/1.1 200 ok", "content-type: text/event-stream", "cache-control: no-store", "x-accel-buffering: no"];
    for line in
        expected.into_iter().chain(["x-content-type-options: nosniff", "cross-origin-resource-policy: same-origin"])
    {
        assert!(head.lines().any(|said| said == line), "{line} is not in {head}");
    }
    assert!(head.contains("x-request-id: ") && !head.contains("\r\ngrpc"), "{head}");
    assert!(!answer.contains("grpc-status:"), "no trailers: {answer}");
    // Each event stands in lines of its own, whatever line breaks its texts have.
    let lines: Vec<&str> =
        answer.lines().filter(|line| line.contains(": ") && !head.contains(&line.to_ascii_lowercase())).collect();
    assert_eq!(lines[0], "retry: 1000");
    let names = [
        "conversation.response.started",
        "message.output.delta",
        "message.output.delta",
        "entry.done",
        "conversation.response.done",
    ];
    let deltas = turn.events.len() - 3;
    let names: Vec<&str> =
        names[..1].iter().chain(std::iter::repeat_n(&names[1], deltas)).chain(&names[3..]).copied().collect();
    for (at, name) in names.iter().enumerate() {
        let three = &lines[1 + 3 * at..][..3];
        assert_eq!(three[0], format!("id: {}", at + 1));
        assert_eq!(three[1], format!("event: {name}"));
        assert!(three[2].starts_with("data: {") && three[2].ends_with('}'), "{}", three[2]);
    }
    assert_eq!(lines.len(), 1 + 3 * names.len());
    server.stop().await;
}

#[tokio::test]
async fn it_tells_what_a_grpc_reader_is_told() {
    let server = open().await;
    let client = server.client().await;
    server.provider.reply(Reply::text("one two"));
    let text = events_of(&client, run(start("Hello"))).await;
    server.provider.reply(stream_of_calls(&[("weather", "{}")]));
    let calls = events_of(&client, run(start("Hello"))).await;
    server.provider.reply(Reply::json(503, &json!({"message": "later"})));
    let failed = events_of(&client, run(start("Hello"))).await;
    for turn in [&text, &calls, &failed] {
        let told = all(&server, &path(turn.turn_id())).await;
        assert_eq!(told.len(), turn.events.len());
        for (message, event) in told.iter().zip(&turn.events) {
            assert_eq!(message.id, event.sequence.to_string());
            assert_eq!(message.data["sequence"], json!(message.id));
            assert_eq!(message.data["turnId"], json!(event.turn_id));
            let kinds =
                message.data.as_object().expect("an object").keys().filter(|key| message.data[*key].is_object());
            assert_eq!(kinds.count(), 1, "one kind in {}", message.data);
        }
    }
    let delta = &all(&server, &path(text.turn_id())).await[1];
    assert_eq!(delta.name, "message.output.delta");
    assert_eq!(delta.data["messageOutputDelta"]["content"], json!({"text": "one "}));
    let names: Vec<_> = all(&server, &path(failed.turn_id())).await.into_iter().map(|message| message.name).collect();
    assert_eq!(names, ["conversation.response.started", "conversation.response.error"]);
    let lifecycle = all(&server, &format!("{}?view=lifecycle", path(text.turn_id()))).await;
    let names: Vec<_> = lifecycle.iter().map(|message| message.name.as_str()).collect();
    assert_eq!(names, ["conversation.response.started", "entry.done", "conversation.response.done"]);
    server.stop().await;
}

#[tokio::test]
async fn silence_is_told_in_comments() {
    let server = open_with(&[("events.heartbeat", "1s"), ("turns.grace", "50ms")]).await;
    let client = server.client().await;
    server.provider.reply(silence());
    let mut turn = watch(&client, run(start("Hello"))).await;
    let id = turn.started().await;
    let mut reader = Reader::open(&server, &path(&id), "1").await;
    while reader.comments.is_empty() {
        assert!(reader.more().await);
    }
    assert_eq!((reader.comments[0].as_str(), reader.messages.len(), reader.last_id.as_str()), ("heartbeat", 0, "1"));
    // The browser's reader alone keeps the turn alive.
    drop(turn);
    drop(reader);
    soon(server.provider.connection_dropped()).await;
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_in_json() {
    let log = Log::listen();
    let server = open().await;
    let unknown = path("turn_01919d3c2f5b7c3e8f00112233445566");
    let (status, reason, error) = refused(&server, &unknown, &[("x-request-id", "door-unknown")]).await;
    assert_eq!((status, reason.as_str(), &error["code"]), (404, "TURN_NOT_FOUND", &json!(5)));
    let types: Vec<_> = error["details"].as_array().expect("details").iter().map(|any| any["@type"].clone()).collect();
    assert!(types.contains(&json!("type.googleapis.com/google.rpc.ResourceInfo")), "{error}");
    let told = error["details"].as_array().expect("details").iter().find(|any| any["requestId"].is_string());
    assert_eq!(told.expect("RequestInfo")["requestId"], json!("door-unknown"));
    let logged = (unknown.clone(), "door-unknown".to_owned(), "NOT_FOUND".to_owned());
    assert_eq!(log.calls("door-unknown"), [logged]);

    for (path, field) in [
        (path("turn_1"), "turn_id"),
        (format!("{unknown}?after_sequence=-1"), "after_sequence"),
        (format!("{unknown}?after_sequence=x"), "after_sequence"),
        (format!("{unknown}?after=1"), "after"),
        (format!("{unknown}?view=all"), "view"),
        (format!("{unknown}?view=full&view=full"), "view"),
    ] {
        let (status, reason, error) = refused(&server, &path, &[]).await;
        assert_eq!((status, reason.as_str()), (400, "INVALID_REQUEST"), "{path}");
        assert!(error.to_string().contains(&format!("\"field\":\"{field}\"")), "{error}");
    }
    let (status, ..) = refused(&server, &unknown, &[("last-event-id", "one")]).await;
    assert_eq!(status, 400);
    server.stop().await;
}

#[tokio::test]
async fn a_finished_stream_is_logged_once_with_its_status() {
    let log = Log::listen();
    let server = open().await;
    server.provider.reply(Reply::text("one"));
    let turn = events_of(&server.client().await, run(start("Hello"))).await;
    let path = path(turn.turn_id());
    get(&server, &path, &[("x-request-id", "door-ok")]).await;
    get(&server, &path, &[("x-request-id", "door-end"), ("last-event-id", "1000")]).await;
    let line = |id: &str| (path.clone(), id.to_owned(), "OK".to_owned());
    assert_eq!(log.calls("door-ok"), [line("door-ok")]);
    assert_eq!(log.calls("door-end"), [line("door-end")]);
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_goes_down_ends_its_streams_with_their_last_event() {
    let mut server = open_with(&[("shutdown.grace", "1s")]).await;
    server.provider.reply(crate::support::completion::stream_of(&["one "], "stop").cut_after(1).stall());
    let mut turn = watch(&server.client().await, run(start("Hello"))).await;
    let id = turn.started().await;
    turn.until("one ").await;
    let mut reader = Reader::open(&server, &path(&id), "").await;
    assert!(reader.until(2).await);
    let stopped = server.begin_stop();
    let reader = reader.rest().await;
    let last = reader.messages.last().expect("events");
    assert_eq!(last.name, "conversation.response.done");
    assert_eq!(last.data["responseDone"]["turn"]["state"], json!("STATE_INCOMPLETE"));
    soon(stopped).await.expect("no panic").expect("a good end");
}
