//! Turns as callers look at them: waited for, listed, as operations; and the trees that go by themselves.

mod expiry;
mod list;
mod model;
mod operations;
mod wait;

use std::time::Duration;

use causerie::proto;
use prost_types::Timestamp;
use tonic::Status;

use crate::support::{
    completion::silence,
    events::{Reader, run, watch},
    server::{Client, TestServer, start},
};

/// A turn whose model says nothing, and whose reader keeps it alive.
async fn silent_turn(server: &TestServer, client: &Client) -> (Reader, String) {
    server.provider.reply(silence());
    let mut reader = watch(client, run(start("Hello"))).await;
    let id = reader.started().await;
    (reader, id)
}

/// A background turn that nobody runs before the test is over.
fn for_tomorrow(input: &str) -> proto::StartRequest {
    let not_before = Some(from_now(86_400));
    let options = proto::BackgroundOptions { not_before, ..Default::default() };
    proto::StartRequest { background: true, background_options: Some(options), ..start(input) }
}

/// So many seconds from now; negative: ago.
fn from_now(seconds: i64) -> Timestamp {
    let now = Timestamp::from(std::time::SystemTime::now());
    Timestamp { seconds: now.seconds + seconds, ..now }
}

async fn queue(client: &mut Client, request: proto::StartRequest) -> String {
    let turn = client.start(request).await.expect("it is queued").into_inner();
    assert_eq!(turn.state(), proto::turn::State::Queued);
    turn.id
}

async fn get(client: &mut Client, turn_id: &str) -> Result<proto::Turn, Status> {
    let request = proto::GetTurnRequest { turn_id: turn_id.to_owned(), wait: None };
    client.get_turn(request).await.map(tonic::Response::into_inner)
}

async fn cancel(client: &mut Client, turn_id: &str) -> proto::Turn {
    let request = proto::CancelTurnRequest { turn_id: turn_id.to_owned() };
    client.cancel_turn(request).await.expect("the turn").into_inner()
}

fn ms(ms: u64) -> prost_types::Duration {
    Duration::from_millis(ms).try_into().expect("it is short")
}
