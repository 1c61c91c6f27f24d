//! A turn whose time is up: its caller's deadline, or the longest time that the server allows.

use causerie::proto::{self, turn::State};
use prost::Message;
use tonic::Code;
use tonic_types::StatusExt;

use crate::{
    support::{
        completion::{silence, stream_of},
        events::{events_of, joined, resume, run, soon, watch},
        provider::Reply,
        reads,
        refusal::{told, turn_reason},
        server::{TestServer, start, text_of},
    },
    transport::caller::{Answer, Caller, frame_of},
};

const START: &str = "/causerie.v1.ConversationService/Start";
const STREAM: &str = "/causerie.v1.ConversationService/StreamEvents";

/// A call on bare HTTP/2: tonic's client has a deadline timer of its own, which would hide the server's.
async fn call(server: &TestServer, method: &str, timeout: &str, request: &impl Message) -> Answer {
    let caller = Caller::connect(server.address()).await;
    caller.call_with(method, &[("grpc-timeout", timeout)], frame_of(&request.encode_to_vec())).await
}

/// A provider that says "Once upon" and then nothing.
fn once_upon() -> Reply {
    stream_of(&["Once ", "upon"], "stop").cut_after(2).stall()
}

fn events_in(answer: &Answer) -> Vec<proto::Event> {
    let (mut rest, mut events) = (answer.data.as_ref(), Vec::new());
    while let [0, a, b, c, d, tail @ ..] = rest {
        let (message, more) = tail.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        events.push(proto::Event::decode(message).expect("an event"));
        rest = more;
    }
    assert!(rest.is_empty());
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_short_deadlines_are_fifty_times_deadline_exceeded() {
    let server = TestServer::start().await;
    server.provider.on_every(silence());
    let calls = (0..50).map(|i| {
        let timeout = format!("{}u", 2_000 + i * 1_500);
        let server = &server;
        async move { call(server, START, &timeout, &start("Hello")).await }
    });
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(told(&answer.status), (Code::DeadlineExceeded, "TIMEOUT".to_owned()));
        assert_eq!(answer.retry_pushback(), Some("-1"));
    }
    let asked = server.provider.requests().len();
    assert!(asked > 10, "the provider was asked {asked} times only");
    for _ in 0..asked {
        soon(server.provider.connection_dropped()).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_stream_whose_deadline_passes_says_so_and_its_turn_keeps_what_came() {
    let server = TestServer::start().await;
    let client = server.client().await;
    server.provider.reply(once_upon());

    let answer = call(&server, STREAM, "300m", &run(start("Tell a tale"))).await;

    assert_eq!(told(&answer.status), (Code::DeadlineExceeded, "TIMEOUT".to_owned()));
    soon(server.provider.connection_dropped()).await;
    let events = events_in(&answer);
    assert_eq!(joined(&events), "Once upon");
    let replayed = events_of(&client, resume(&events[0].turn_id, 0)).await;
    let turn = replayed.turn();
    assert_eq!((turn.state(), turn_reason(turn).as_str()), (State::Incomplete, "TIMEOUT"));
    assert_eq!(reads::turn(&client, &turn.id).await, *turn);
    assert_eq!(reads::texts(&client, &turn.conversation_id).await, ["Tell a tale", "Once upon"]);
    server.stop().await;
}

#[tokio::test]
async fn a_stream_whose_deadline_passes_before_output_has_failed() {
    let server = TestServer::start().await;
    let client = server.client().await;
    server.provider.reply(silence());

    let answer = call(&server, STREAM, "300m", &run(start("Tell a tale"))).await;

    assert_eq!(told(&answer.status), (Code::DeadlineExceeded, "TIMEOUT".to_owned()));
    let turn_id = &events_in(&answer)[0].turn_id;
    let replayed = events_of(&client, resume(turn_id, 0)).await;
    assert_eq!(told(replayed.error()), (Code::DeadlineExceeded, "TIMEOUT".to_owned()));
    assert_eq!(reads::turn(&client, turn_id).await.state(), State::Failed);
    server.stop().await;
}

#[tokio::test]
async fn no_turn_runs_longer_than_the_server_allows() {
    let server = TestServer::with(&[("turns.timeout", "1s")]).await;
    let client = server.client().await;
    server.provider.reply(silence());
    let mut other = client.clone();
    let unary = tokio::spawn(async move { other.start(start("Hello")).await });
    server.provider.next_request().await;
    server.provider.reply(once_upon());
    let mut talking = watch(&client, run(start("Tell a tale"))).await;
    talking.until("Once upon").await;

    let refused = soon(unary).await.expect("no panic").expect_err("too long");
    let cut = talking.rest().await;

    assert_eq!(told(&refused), (Code::DeadlineExceeded, "TIMEOUT".to_owned()));
    assert!(refused.get_details_retry_info().is_some());
    // The turn timed out, not this call: the stream ends well, and the turn says what happened.
    assert_eq!((cut.turn().state(), turn_reason(cut.turn()).as_str()), (State::Incomplete, "TIMEOUT"));
    assert_eq!(text_of(cut.turn()), "Once upon");
    assert_eq!(reads::texts(&client, &cut.turn().conversation_id).await, ["Tell a tale", "Once upon"]);
    server.stop().await;
}
