//! The page in a real browser.

use std::{net::SocketAddr, process::Stdio, sync::Arc};

use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::Notify,
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

use super::open;
use crate::support::{
    events::{run, soon, watch},
    outside::{CHROMIUM, WEB_CLIENTS},
    provider::Reply,
    server::{TestServer, append, start, text_of},
};

/// Stands between browser and server, and can cut all connections.
struct Wire {
    address: SocketAddr,
    cut: Arc<Notify>,
    _task: AbortOnDropHandle<()>,
}

impl Wire {
    async fn to(server: SocketAddr) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let cut = Arc::new(Notify::new());
        let task = AbortOnDropHandle::new(tokio::spawn(forward(listener, server, cut.clone())));
        Wire { address, cut, _task: task }
    }
}

async fn forward(listener: TcpListener, server: SocketAddr, cut: Arc<Notify>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (mut browser, _) = accepted.expect("the listener lives as long as its task");
                connections.spawn(async move {
                    let mut server = TcpStream::connect(server).await.expect("the server listens");
                    // However a connection ends: browsers leave without a word.
                    let _ = copy_bidirectional(&mut browser, &mut server).await;
                });
            }
            () = cut.notified() => connections.abort_all(),
        }
    }
}

/// What would be run if it were taken for a part of the page.
const TRAPS: [&str; 4] = [
    "<img src=x onerror=\"window.owned=1\"> Hello & <b>welcome</b>",
    "</script><script>window.owned=1</script> Certainly. <a href=\"javascript:window.owned=1\">More</a>",
    "<iframe srcdoc=\"<script>parent.owned=1</script>\"></iframe> And now?",
    "**Bold** remains a text: <svg onload=window.owned=1>\n\n  indented, and a second paragraph that is long enough to be wrapped \
     when the window is narrow",
];

/// Two trees: a plain one, and one that forks after its first turn.
async fn fill(server: &TestServer) -> serde_json::Value {
    let mut client = server.client().await;
    let say = async |request| client.clone().start(request).await.expect("an answer").into_inner();
    server.provider.reply(Reply::text("Bonjour !"));
    say(start("A first conversation about nothing in particular")).await;
    server.provider.reply(Reply::text(TRAPS[1]));
    let root = say(start(TRAPS[0])).await;
    server.provider.reply(Reply::text(TRAPS[3]));
    let branch = client.append(append(&root.conversation_id, TRAPS[2])).await.expect("an answer").into_inner();
    assert_eq!(text_of(&branch), TRAPS[3]);
    server.provider.reply(Reply::text("Another way to go on."));
    client.append(append(&root.conversation_id, "Or otherwise?")).await.expect("an answer");
    let title = |text: &str| text.chars().take(24).collect::<String>();
    json!({
        "heads": 3,
        "titles": [title(TRAPS[0]), title(TRAPS[0]), title("A first conversation about nothing in particular")],
        "branch": branch.conversation_id,
        "history": TRAPS,
    })
}

#[tokio::test]
async fn shows_conversations_and_a_turn_while_it_is_written() {
    let script = "browser.cjs";
    let (Some(packages), Some(chromium)) = (WEB_CLIENTS.path(), CHROMIUM.path()) else {
        return [&WEB_CLIENTS, &CHROMIUM]
            .iter()
            .filter(|program| program.path().is_none())
            .for_each(|p| p.skip(script));
    };
    let server = open().await;
    let mut there = fill(&server).await;
    let wire = Wire::to(server.address()).await;
    let words = ["Once ", "upon ", "a ", "time ", "there ", "was ", "a ", "stream."];
    let mut reply = Reply::text(&words.concat());
    let gate = reply.gate();
    server.provider.reply(reply);
    let mut turn = watch(&server.client().await, run(start("Tell me a story"))).await;
    (there["turn"], there["words"], there["asked"]) =
        (json!(turn.started().await), json!(words), json!("Tell me a story"));
    // The head, and a first chunk without text.
    (0..2).for_each(|_| gate.step());

    let mut node = Command::from(WEB_CLIENTS.command(&packages, script, &wire.address.to_string()));
    node.env("CAUSERIE_CHROMIUM", chromium).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut node = node.spawn().expect("node runs");
    let mut stdin = node.stdin.take().expect("it is piped");
    let mut said = BufReader::new(node.stdout.take().expect("it is piped")).lines();
    stdin.write_all(format!("{there}\n").as_bytes()).await.expect("it reads");
    let mut last = String::new();
    while let Some(line) = said.next_line().await.expect("text") {
        println!("{line}");
        match line.strip_prefix("ask ") {
            Some("word") => gate.step(),
            Some("cut") => wire.cut.notify_one(),
            Some("end") => gate.open(),
            Some(other) => panic!("{other} is not known here"),
            None => {
                last = line;
                continue;
            }
        }
        stdin.write_all(b"done\n").await.expect("it reads");
    }
    let status = soon(node.wait()).await.expect("it ended");
    assert!(status.success() && last.ends_with(" passed, 0 failed"), "checks of {script} failed ({status})");
    assert_eq!(text_of(turn.rest().await.turn()), words.concat());
    server.stop().await;
}
