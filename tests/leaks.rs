//! What a server holds in memory and in open files does not grow with the turns that it has run, however they ended.

use causerie::proto::stream_events_request::Request;
use futures_util::future::join_all;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    calls,
    completion::{event, says},
    events,
    forwarding::start_on,
    process::{Process, flags},
    provider::{Reply, ScriptedProvider},
    server::{Client, append},
};

const CALLERS: usize = 8;
/// Of each caller on a connection.
const TURNS: usize = 4;
/// Connections of a block.
const ROUNDS: usize = 12;
/// A leak grows in every block; caches, pools and the memory that an allocator keeps stop growing in one of them.
const BLOCKS: usize = 8;
/// So long are a question and an answer: a turn that stays is seen.
const TEXT: usize = 64 * 1024;
/// What may stay of a turn: the store's own table of pages grows, too.
const MOST: u64 = TEXT as u64 / 4;

/// Half of them fail.
fn replies() -> Vec<Reply> {
    let text = "y".repeat(TEXT);
    let fine = || Reply::text(&text);
    let some = || event(&says(&text));
    let no = json!({"message": "no"});
    vec![
        fine(),
        Reply::json(503, &no),
        fine(),
        Reply::raw_sse([some(), "never".to_owned()]).cut_after(1),
        fine(),
        Reply::hang_up(),
        fine(),
        Reply::json(400, &no),
        fine(),
        Reply::raw_sse([some(), "data: }{\n\n".to_owned()]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_leave_neither_memory_nor_connections_behind() {
    let provider = ScriptedProvider::start().await;
    provider.on_every_in_turn(replies());
    let folder = TempDir::new().expect("a temporary folder");
    let mut flags = flags(&folder.path().join("store"), &provider.base_url());
    // A cache that fills up would look like a leak.
    flags.insert("--turns-history-cache-mib", "0".to_owned());
    flags.insert("--retry-base-delay", "1ms".to_owned());
    flags.insert("--breaker-min-calls", "100000".to_owned());
    let process = Process::start(&flags).await;
    let mut grown = Vec::new();
    block(&process).await;
    while grown.last().is_none_or(|grown| *grown > MOST) && grown.len() < BLOCKS {
        let before = process.resident_bytes();
        block(&process).await;
        grown.push(process.resident_bytes().saturating_sub(before) / (ROUNDS * CALLERS * TURNS) as u64);
    }
    let files = process.open_files();
    println!("bytes more for each turn, block by block: {grown:?}; {files} open files");
    assert!(grown.last().is_some_and(|grown| *grown <= MOST), "so many bytes stay of each turn: {grown:?}");
    assert!(files < 5 * CALLERS, "{files} open files");
    let ended = process.stop().await;
    assert_eq!((ended.code, ended.said.contains("panic")), (Some(0), false), "{}", ended.said);
}

async fn block(process: &Process) {
    for _ in 0..ROUNDS {
        let client = process.client().await;
        join_all((0..CALLERS).map(|_| call(client.clone()))).await;
    }
}

/// Turns that end in every way: answered, refused, cut off, and left in the middle by their reader.
async fn call(mut client: Client) {
    let text = "x".repeat(TEXT);
    let mut version: Option<String> = None;
    for turn in 0..TURNS {
        let request = match &version {
            None => Request::Start(start_on("mistral-small-latest", &text)),
            Some(version) => Request::Append(append(version, &text)),
        };
        match turn {
            0 | 2 => {
                let ended = calls::run(&mut client, "leaks", request).await;
                version = ended.ok().map(|turn| turn.conversation_id).or(version);
            }
            1 => drop(calls::watch(&mut client, "leaks", request).await),
            _ => drop(events::watch(&client, events::full(request)).await.next().await),
        }
    }
}
