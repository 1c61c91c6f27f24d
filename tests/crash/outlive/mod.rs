//! The process is killed at random moments while work is under way that outlives its calls, and everybody comes back and goes on
//! where they were: whoever asked, whoever reads a turn, whoever watches.
//!
//! Variables as in the other kill test.

mod batches;
mod check;
mod hooks;
mod known;
mod read;
mod submit;
mod watch;

use std::sync::{Arc, Mutex};

use causerie::proto::watch_service_client::WatchServiceClient;
use tempfile::TempDir;
use tokio::task::JoinSet;

use self::{
    batches::Batches,
    known::{Known, lock},
    watch::{Watcher, watchers},
};
use super::{kill_at_start, random_moment};
use crate::{
    support::{
        completion::stream_of_calls,
        process::{self, Flags, Process},
        provider::{Captured, Reply, ScriptedProvider},
        random::{Dice, rounds},
    },
    tools::{http_tool, tool},
};

/// Of turns.
const CALLERS: usize = 5;
/// The process lives this long under load, at most.
const LOAD_MS: usize = 250;

/// Everything that a round needs.
struct Stage {
    flags: Flags,
    known: Arc<Mutex<Known>>,
    watchers: Vec<Arc<Mutex<Watcher>>>,
    /// What callers need besides.
    means: submit::Means,
    receiver: ScriptedProvider,
    batches: Arc<Mutex<Batches>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_ends_once() {
    let mut dice = Dice::seeded_by("CAUSERIE_KILL_SEED");
    let (provider, peer) = (ScriptedProvider::start().await, ScriptedProvider::start().await);
    provider.on_every(Reply::of(answer));
    peer.on_every(Reply::plain(200, "text/plain", "done"));
    let dir = TempDir::new().expect("a temporary folder");
    let mut flags = process::flags(&dir.path().join("store"), &provider.base_url());
    flags.insert("--tools-http-allow", "127.0.0.1".to_owned());
    let receiver = hooks::receiver().await;
    hooks::configure(&mut flags, dir.path());
    let tools = ["first", "second"].map(|name| tool(http_tool(name, &peer, &format!("/{name}")))).into();
    let means = submit::Means { tools, callback_url: hooks::callback(&receiver) };
    let stage = Stage { flags, known: Arc::default(), watchers: watchers(), means, receiver, batches: Arc::default() };
    let rounds = rounds("CAUSERIE_KILL_ROUNDS", 5);
    for round in 0..rounds {
        if dice.one_in(3) {
            kill_at_start(&stage.flags, dice.below(40)).await;
        }
        let process = Process::start(&stage.flags).await;
        if round == 0 {
            hooks::create(&process, &stage.receiver).await;
        }
        check::after_start(&process, &stage.known).await;
        load_and_kill(process, &stage, &mut dice).await;
    }
    let process = Process::start(&stage.flags).await;
    check::after_start(&process, &stage.known).await;
    let ended = check::at_end(&process, &stage).await;
    check::tools_ran_once(&ended, &peer.requests());
    assert_eq!(process.stop().await.code, Some(0));
    let known = lock(&stage.known);
    println!("{rounds} kills: {}, {} requests met their turn again", ended.told(), known.repeated);
    assert!(known.accepted.len() > rounds, "there was a load");
}

async fn load_and_kill(process: Process, stage: &Stage, dice: &mut Dice) {
    let mut tasks = JoinSet::new();
    for watcher in &stage.watchers {
        let client = WatchServiceClient::new(process.channel().await);
        tasks.spawn(watch::follow(client, Arc::clone(watcher)));
    }
    let unfinished = lock(&stage.known).unfinished();
    for turn_id in unfinished {
        let (client, known, dice) = (process.client().await, Arc::clone(&stage.known), Dice::new(dice.number()));
        tasks.spawn(async move {
            // Either way: the reader has all, or goes on after the next start.
            let _ = read::to_end(client, &known, &turn_id, dice).await;
        });
    }
    for _ in 0..CALLERS {
        let (client, known, dice) = (process.client().await, Arc::clone(&stage.known), Dice::new(dice.number()));
        tasks.spawn(submit::work(client, known, stage.means.clone(), dice));
    }
    let (client, dice_of_batches) = (batches::Client::new(process.channel().await), Dice::new(dice.number()));
    let (batches, known) = (Arc::clone(&stage.batches), Arc::clone(&stage.known));
    tasks.spawn(async move { batches::work(client, &batches, &known, dice_of_batches).await });
    random_moment(5 + dice.below(LOAD_MS)).await;
    process.kill();
    while let Some(task) = tasks.join_next().await {
        task.expect("nobody panics");
    }
}

/// Asks for two tools, with the question as their argument, where there are tools and they have not run; else it talks, so long
/// that a kill can come in between.
fn answer(request: &Captured) -> Reply {
    let messages = request.json["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let role = |message: &serde_json::Value| message["role"].as_str().unwrap_or_default().to_owned();
    let have_run = messages.last().is_some_and(|last| role(last) == "tool");
    let question = messages.iter().rev().find(|message| role(message) == "user");
    match question.and_then(|message| message["content"].as_str()) {
        Some(question) if !have_run && request.json["tools"].is_array() => {
            let arguments = serde_json::json!({"q": question}).to_string();
            stream_of_calls(&[("first", &arguments), ("second", &arguments)])
        }
        _ => Reply::text(&"word and word ".repeat(8)),
    }
}
