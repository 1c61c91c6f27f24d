//! A reader that loses its connection every few events sees exactly the original sequence.

use causerie::proto;

use super::{
    get, open,
    sse::{Reader, all, path, refused, with_losses},
};
use crate::support::{
    completion::silence,
    events::{Seen, assert_whole, events_of, resume, run, soon, watch},
    provider::Reply,
    server::{Client, TestServer, start},
};

/// The same over gRPC: cut after every `each` events, resumed after the last one that was seen.
async fn grpc_with_losses(client: Client, turn_id: String, each: usize) -> Vec<proto::Event> {
    let mut seen: Vec<proto::Event> = Vec::new();
    loop {
        let after = seen.last().map_or(0, |event| event.sequence);
        let mut stream = client.clone().stream_events(resume(&turn_id, after)).await.expect("a stream").into_inner();
        for _ in 0..each {
            match soon(stream.message()).await.expect("no error") {
                Some(event) if event.sequence > 0 => seen.push(event),
                Some(_) => {}
                None => return seen,
            }
        }
    }
}

#[tokio::test]
async fn of_a_turn_that_has_ended() {
    let server = open().await;
    let client = server.client().await;
    server.provider.reply(Reply::text("one two three four five six seven"));
    let original = events_of(&client, run(start("Hello"))).await;
    let id = original.turn_id();
    let told = all(&server, &path(id)).await;
    for each in 1..=told.len() + 1 {
        assert_eq!(with_losses(&server, &path(id), each).await, told, "lost every {each}");
        assert_eq!(grpc_with_losses(client.clone(), id.to_owned(), each).await, original.events, "lost every {each}");
    }
    for after in 0..told.len() {
        let query = format!("{}?after_sequence={after}", path(id));
        assert_eq!(all(&server, &query).await, told[after..], "after {after}");
        // A browser that comes back has both, and is further than its address says.
        let reader = Reader::open(&server, &format!("{}?after_sequence=0", path(id)), &after.to_string()).await;
        assert_eq!(reader.rest().await.messages, told[after..]);
    }
    server.stop().await;
}

#[tokio::test]
async fn of_a_turn_that_runs() {
    let server = open().await;
    let client = server.client().await;
    let words: Vec<String> = (0..30).map(|word| format!("word{word}")).collect();
    let mut reply = Reply::text(&words.join(" "));
    let gate = reply.gate();
    server.provider.reply(reply);
    let mut original = watch(&client, run(start("Hello"))).await;
    let id = original.started().await;
    let lossy = async |server: &TestServer| {
        let path = path(&id);
        let browsers = [1, 2, 3, 5].map(|each| with_losses(server, &path, each));
        let callers = [1, 2, 3, 5].map(|each| grpc_with_losses(client.clone(), id.clone(), each));
        futures_util::join!(futures_util::future::join_all(browsers), futures_util::future::join_all(callers))
    };
    let progress = async {
        let mut said = String::new();
        // The head, and a first chunk without text.
        (0..2).for_each(|_| gate.step());
        for word in &words {
            gate.step();
            said = if said.is_empty() { format!("{word} ") } else { format!("{said}{word} ") };
            if word != words.last().expect("words") {
                original.until(&said).await;
            }
        }
        gate.open();
        original.rest().await
    };
    let ((browsers, callers), original): (_, Seen) =
        soon(async { futures_util::join!(lossy(&server), progress) }).await;
    assert_whole(&original.events);
    let told = all(&server, &path(&id)).await;
    assert_eq!(told.len(), original.events.len());
    for seen in browsers {
        assert_eq!(seen, told);
    }
    for seen in callers {
        assert_eq!(seen, original.events);
    }
    server.stop().await;
}

#[tokio::test]
async fn whoever_had_the_last_event_is_told_to_stop() {
    let server = open().await;
    let client = server.client().await;
    server.provider.reply(Reply::text("one"));
    let done = events_of(&client, run(start("Hello"))).await;
    server.provider.reply(Reply::json(503, &serde_json::json!({"message": "later"})));
    let failed = events_of(&client, run(start("Hello"))).await;
    for turn in [&done, &failed] {
        let last = turn.events.len().to_string();
        for after in [last.as_str(), "1000"] {
            let answer = get(&server, &path(turn.turn_id()), &[("last-event-id", after)]).await;
            assert_eq!((answer.status, answer.text.as_str()), (204, ""));
        }
        let before = (turn.events.len() - 1).to_string();
        assert_eq!(get(&server, &path(turn.turn_id()), &[("last-event-id", &before)]).await.status, 200);
    }
    server.stop().await;
}

/// There is nothing to say yet, and there will be: that is no end.
#[tokio::test]
async fn a_running_turn_keeps_its_reader_waiting() {
    let server = open().await;
    let client = server.client().await;
    server.provider.reply(silence());
    let mut turn = watch(&client, run(start("Hello"))).await;
    let id = turn.started().await;
    let mut reader = Reader::open(&server, &path(&id), "1").await;
    assert_eq!(reader.status, 200);
    client.clone().cancel_turn(proto::CancelTurnRequest { turn_id: id.clone() }).await.expect("cancelled");
    assert!(reader.until(1).await);
    assert_eq!(reader.messages[0].name, "conversation.response.error");
    server.stop().await;
}

/// Of a turn that a crash took there is its end, once; whoever had some of it, or that end, does not ask for ever.
#[tokio::test]
async fn a_lost_turn_is_no_loop() {
    let server = open().await;
    server.provider.reply(silence());
    let mut turn = watch(&server.client().await, run(start("Hello"))).await;
    let id = turn.started().await;
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let left = folder.path().join("store");
    crate::support::files::copy(&server.store_path(), &left);
    drop(turn);
    server.stop().await;
    let after_crash = super::open_with(&[("store.path", left.to_str().expect("a path"))]).await;
    let told = all(&after_crash, &path(&id)).await;
    let names: Vec<_> = told.iter().map(|message| (message.name.as_str(), message.id.as_str())).collect();
    assert_eq!(names, [("conversation.response.error", "1")]);
    let (status, reason, _) = refused(&after_crash, &path(&id), &[("last-event-id", "1")]).await;
    assert_eq!((status, reason.as_str()), (409, "TURN_LOST"));
    after_crash.stop().await;
}
