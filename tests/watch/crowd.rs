//! A thousand readers on a busy server. What it costs is printed; that nobody misses anything is asserted.

use std::time::{Duration, Instant};

use causerie::proto::{WatchResponse, watch_service_client::WatchServiceClient};
use futures_util::future::join_all;
use tempfile::TempDir;
use tonic::Streaming;

use super::now;
use crate::support::{
    forwarding::start_on,
    process::{Process, flags},
    provider::{Reply, ScriptedProvider},
    server::Client,
};

const CONNECTIONS: usize = 10;
const WATCHERS: usize = 1000;
const WRITERS: usize = 8;
const TURNS: usize = 40;

/// Reads on to the last revision: when that was, and how many messages it took.
async fn read(mut stream: Streaming<WatchResponse>) -> (Instant, usize) {
    let (mut next, mut messages) = (1, 0);
    while next <= (WRITERS * TURNS) as i64 {
        let message = stream.message().await.expect("no error").expect("a message");
        for change in message.changes {
            assert_eq!(change.revision, next);
            next += 1;
        }
        messages += 1;
    }
    (Instant::now(), messages)
}

async fn write(mut client: Client) -> Instant {
    for _ in 0..TURNS {
        client.start(start_on("scripted-model", "Hello")).await.expect("a turn");
    }
    Instant::now()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_watchers_all_see_everything() {
    let provider = ScriptedProvider::start().await;
    provider.on_every(Reply::text("Yes"));
    let folder = TempDir::new().expect("a temporary folder");
    let process = Process::start(&flags(&folder.path().join("store"), &provider.base_url())).await;
    let writers = join_all((0..WRITERS).map(|_| process.client())).await;
    let (before, alone) = (process.resident_bytes(), process.cpu());
    let mut readers = Vec::new();
    for _ in 0..CONNECTIONS {
        let client = WatchServiceClient::new(process.channel().await);
        let opened = (0..WATCHERS / CONNECTIONS).map(|_| {
            let mut client = client.clone();
            async move { client.watch(now()).await.expect("a stream").into_inner() }
        });
        readers.extend(join_all(opened).await);
    }
    let (open, opened) = (process.resident_bytes(), process.cpu());
    let began = Instant::now();

    let reading = join_all(readers.into_iter().map(|stream| tokio::spawn(read(stream))));
    let writing = join_all(writers.into_iter().map(write));
    let (read, written) = tokio::join!(reading, writing);

    let read: Vec<_> = read.into_iter().map(|read| read.expect("no panic")).collect();
    let last_written = *written.iter().max().expect("writers");
    let last_read = read.iter().map(|(at, _)| *at).max().expect("readers");
    let messages: usize = read.iter().map(|(_, messages)| messages).sum();
    let (busy, turns) = (process.cpu(), WRITERS * TURNS);
    println!(
        "{WATCHERS} watchers: {:.1} KiB each when idle (opening them {:.0} ms of processor); {turns} turns in {:.2} s with \
         {:.2} s of processor and {messages} messages; the last reader {:.0} ms after the last writer; {:.1} MiB in the end",
        open.saturating_sub(before) as f64 / 1024.0 / WATCHERS as f64,
        (opened - alone).as_secs_f64() * 1000.0,
        (last_written - began).as_secs_f64(),
        (busy - opened).as_secs_f64(),
        last_read.saturating_duration_since(last_written).as_secs_f64() * 1000.0,
        process.resident_bytes() as f64 / 1024.0 / 1024.0,
    );
    // A hundred times what was measured: a reader that holds a queue of its own shows.
    assert!(process.resident_bytes() - before < 1 << 30, "{} bytes", process.resident_bytes() - before);
    assert!(last_read.saturating_duration_since(last_written) < Duration::from_secs(60));
    let ended = process.stop().await;
    assert_eq!(ended.code, Some(0), "{}", ended.said);
}
