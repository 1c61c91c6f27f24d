//! The process is killed at random moments under load, and at its start, and nothing that anybody was told is lost.
//!
//! `CAUSERIE_KILL_ROUNDS` takes more rounds, `CAUSERIE_KILL_SEED` throws the same dice again (the moments are the machine's).

mod book;
mod check;
mod load;
mod outlive;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use causerie::proto::{self, ErrorReason, event::Kind, stream_events_request::Request};
use tempfile::TempDir;
use tokio::task::JoinSet;

use self::{
    book::Book,
    check::Checked,
    load::{lock, work},
};
use crate::support::{
    calls,
    events::name,
    process::{self, Flags, Process},
    provider::{Reply, ScriptedProvider},
    random::{Dice, rounds},
    server::start,
    status::{assert_promised, carried, reason_of},
};

const CLIENTS: usize = 8;
/// Of them.
const BULK_CLIENTS: usize = 2;
/// The process lives this long under load, at most.
const LOAD_MS: usize = 250;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_told_is_lost() {
    let mut dice = Dice::seeded_by("CAUSERIE_KILL_SEED");
    let provider = ScriptedProvider::start().await;
    provider.on_every(Reply::text("one two three"));
    let dir = TempDir::new().expect("a temporary folder");
    let flags = process::flags(&dir.path().join("store"), &provider.base_url());
    let (book, mut checked) = (Arc::new(Mutex::new(Book::default())), Checked::default());
    let rounds = rounds("CAUSERIE_KILL_ROUNDS", 5);
    let begun = Instant::now();
    Process::start(&flags).await.kill();
    let opening_ms = 1 + begun.elapsed().as_millis() as usize;
    for _ in 0..rounds {
        kill_at_start(&flags, dice.below(2 * opening_ms)).await;
        let process = Process::start(&flags).await;
        check(&process, &book, &mut checked).await;
        load_and_kill(process, &book, &mut dice).await;
    }
    let process = Process::start(&flags).await;
    check(&process, &book, &mut checked).await;
    let everything = lock(&book).versions.keys().cloned().collect();
    lock(&book).fresh = everything;
    check(&process, &book, &mut checked).await;
    assert_eq!(process.stop().await.code, Some(0));
    let book = lock(&book);
    println!(
        "{rounds} kills: {} versions, {} turns lost before they were stored, {} requests met their turn again",
        book.versions.len(),
        checked.lost,
        checked.repeated
    );
    assert!(book.versions.len() > 10 * rounds, "there was a load");
}

async fn check(process: &Process, book: &Mutex<Book>, checked: &mut Checked) {
    let mut told = std::mem::take(&mut *lock(book));
    check::after_crash(&mut process.client().await, &mut told, checked).await;
    *lock(book) = told;
}

/// About every second start is cut short.
async fn kill_at_start(flags: &Flags, ms: usize) {
    let process = Process::spawn(flags);
    random_moment(ms).await;
    process.kill();
}

async fn load_and_kill(process: Process, book: &Arc<Mutex<Book>>, dice: &mut Dice) {
    let mut clients = JoinSet::new();
    for n in 0..CLIENTS {
        let (client, book, dice) = (process.client().await, Arc::clone(book), Dice::new(dice.number()));
        clients.spawn(async move { work(client, &book, dice, n < BULK_CLIENTS).await });
    }
    random_moment(5 + dice.below(LOAD_MS)).await;
    process.kill();
    while let Some(client) = clients.join_next().await {
        client.expect("no client panics");
    }
}

/// The one place where a test waits for a time and not for an event: a kill has to come when nobody expects it.
async fn random_moment(ms: usize) {
    tokio::time::sleep(Duration::from_millis(ms as u64)).await;
}

#[tokio::test]
async fn a_turn_that_was_announced_and_lost_has_an_end() {
    let provider = ScriptedProvider::start().await;
    provider.on_every(Reply::text("too late").stall().cut_after(2));
    let dir = TempDir::new().expect("a temporary folder");
    let flags = process::flags(&dir.path().join("store"), &provider.base_url());
    let process = Process::start(&flags).await;
    let request = proto::StartRequest { request_id: "mine".to_owned(), ..start("Hello") };
    let stream = proto::StreamEventsRequest { request: Some(Request::Start(request.clone())), ..Default::default() };
    let mut stream = process.client().await.stream_events(stream).await.expect("a stream").into_inner();
    let first = stream.message().await.expect("no error").expect("the turn is announced");
    let delta = stream.message().await.expect("no error").expect("output has begun");
    assert_eq!(name(&delta), "message_output_delta");
    process.kill();

    let process = Process::start(&flags).await;
    let mut client = process.client().await;
    let turn = calls::get_turn(&mut client, &first.turn_id).await.expect("it was announced");
    assert_eq!(turn.state(), proto::turn::State::Failed);
    assert_eq!(reason_of(&carried(&turn.error.expect("an error"))), ErrorReason::TurnLost.as_str_name());
    let (events, end) = calls::watch(&mut client, "lost", calls::resume(&first.turn_id, 2)).await;
    assert!(matches!(events[..], [proto::Event { kind: Some(Kind::ResponseError(_)), sequence: 3, .. }]), "{events:?}");
    assert_promised(&end.expect_err("it failed"), ErrorReason::TurnLost, "lost");
    assert_eq!(calls::list_all(&mut client).await, []);
    provider.on_every(Reply::text("in time"));
    let again = calls::run(&mut client, "again", Request::Start(request)).await.expect("its request id is free");
    assert_ne!(again.id, first.turn_id);
    assert_eq!(process.stop().await.code, Some(0));
}
