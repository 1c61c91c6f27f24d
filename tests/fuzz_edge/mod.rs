//! Whatever a client sends over TCP, to whichever method: no panic, and in bounded time an answer or a status with a reason.
//!
//! `CAUSERIE_FUZZ_ROUNDS` takes more rounds, `CAUSERIE_FUZZ_SEED` the same ones again.

mod requests;

use std::time::Duration;

use bytes::Bytes;
use causerie::proto::{self, ErrorReason};
use prost::Message;
use tonic::{Code, Status, transport::Channel};

use self::requests::{METHODS, Requests};
use crate::support::{
    calls,
    provider::Reply,
    random::{Dice, rounds},
    raw,
    server::{TestServer, start},
    status::{promise, reason_of},
};

/// Far more than any of these calls takes; a call that takes it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn random_bytes_are_refused_or_answered() {
    let mut dice = Dice::seeded_by("CAUSERIE_FUZZ_SEED");
    let server = TestServer::start().await;
    server.provider.on_every(Reply::text("ok"));
    let channel = server.channel().await;
    for _ in 0..rounds("CAUSERIE_FUZZ_ROUNDS", 40) {
        for method in METHODS {
            let messages: Vec<Bytes> = (0..dice.below(3)).map(|_| dice.bytes(64).into()).collect();
            send(&channel, method, messages).await;
        }
    }
    end(server).await;
}

#[tokio::test]
async fn random_requests_are_refused_or_answered() {
    let mut requests = Requests::new(Dice::seeded_by("CAUSERIE_FUZZ_SEED"));
    let server = TestServer::start().await;
    server.provider.on_every(Reply::text("ok"));
    let channel = server.channel().await;
    let mut answered = 0;
    for _ in 0..rounds("CAUSERIE_FUZZ_ROUNDS", 40) {
        for method in METHODS {
            let (messages, whole) = requests.next(method);
            if let Some(answer) = send(&channel, method, messages).await {
                answered += usize::from(whole && !answer.is_empty());
                requests.learn(method, &answer);
            }
        }
    }
    assert!(answered > 0, "requests that are never answered test little");
    end(server).await;
}

/// Answers, if it is no error; an error must be one of the table.
async fn send(channel: &Channel, method: &str, messages: Vec<Bytes>) -> Option<Vec<Bytes>> {
    let sent = messages.clone();
    let answer = tokio::time::timeout(PATIENCE, raw::call(channel, (method, "fuzz"), messages, 1000)).await;
    let answer = answer.unwrap_or_else(|_| panic!("{method} does not answer {sent:02x?}"));
    answer.map_err(|status| check(method, &sent, &status)).ok()
}

fn check(method: &str, sent: &[Bytes], status: &Status) {
    let unexpected = matches!(status.code(), Code::Internal | Code::Unknown | Code::Cancelled | Code::Unavailable);
    assert!(!unexpected, "{method}: {status:?} for {sent:02x?}");
    let reason = ErrorReason::from_str_name(&reason_of(status)).expect("a reason of error.proto");
    assert_eq!(promise(reason).0, status.code(), "{method}: {status:?} for {sent:02x?}");
}

/// The server lives, and what it has stored can be read.
async fn end(server: TestServer) {
    let mut client = server.client().await;
    for version in calls::list_all(&mut client).await {
        let history = calls::history(&mut client, &version.id).await.expect("a history that can be read");
        assert_eq!(history.len() as i64, version.entry_count, "{version:?}");
        let turn = calls::get_turn(&mut client, &version.turn_id).await.expect("a turn that can be read");
        assert!(proto::Turn::decode(turn.encode_to_vec().as_slice()).is_ok());
    }
    client.start(start("Hello")).await.expect("the server lives");
    server.stop().await;
}
