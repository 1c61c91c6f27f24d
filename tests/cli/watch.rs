//! `causerie watch`: what it prints, and that a lost connection costs nothing.

use std::{net::SocketAddr, process::Stdio, sync::Arc};

use causerie::proto;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines, copy_bidirectional},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStdout, Command},
    sync::Notify,
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

use crate::support::{
    events::{events_of, run, soon},
    program::{Causerie, causerie, piped, told},
    server::{Client, start},
};

async fn say(client: &mut Client, text: &str) -> proto::Turn {
    let request = proto::StartRequest { model: "offline-small".into(), ..start(text) };
    client.start(request).await.expect("a turn").into_inner()
}

/// The lines that a command prints; it must end well.
fn lines(server: &Causerie, arguments: &[&str]) -> Vec<String> {
    let (out, err, code) = told(&piped(server.client(&["watch"]).args(arguments), ""));
    assert_eq!(code, Some(0), "{arguments:?}: {err}");
    assert!(err.starts_with("read up to revision ") && err.lines().count() == 1, "{err}");
    out.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_kept_is_told_one_line_each() {
    let server = Causerie::serve(&["serve", "--offline"], &[]);
    let mut client = server.connect().await;
    let (first, second) = (say(&mut client, "Hello").await, say(&mut client, "Hello").await);
    let request = proto::DeleteConversationRequest { conversation_id: second.conversation_id.clone(), force: false };
    client.delete_conversation(request).await.expect("it is there");

    let all = lines(&server, &["--from-oldest", "--no-follow"]);
    let cells: Vec<Vec<&str>> = all.iter().map(|line| line.split_whitespace().collect()).collect();
    let without_time: Vec<[&str; 5]> =
        cells.iter().map(|cells| [cells[0], cells[2], cells[3], cells[4], cells[5]]).collect();
    let (one, two) = (first.conversation_id.as_str(), second.conversation_id.as_str());
    let expected = [
        ["1", "turn.completed", one, "offline-small", "completed"],
        ["2", "turn.completed", two, "offline-small", "completed"],
        ["3", "conversation.deleted", two, "offline-small", "completed"],
    ];
    assert_eq!(without_time, expected);

    assert_eq!(lines(&server, &["--after-revision", "1", "--no-follow"]), all[1..]);
    assert_eq!(lines(&server, &["--no-follow"]), [""; 0], "nothing has happened since now");
    assert_eq!(lines(&server, &["--from-oldest", "--no-follow", "--tree", one]), all[..1]);
    assert_eq!(lines(&server, &["--from-oldest", "--no-follow", "--tree", two]), all[1..], "it is gone");
    let kinds = ["--from-oldest", "--no-follow", "--kind", "version-deleted", "--kind", "batch-ended"];
    assert_eq!(lines(&server, &kinds), all[2..]);
    assert_eq!(lines(&server, &["--from-oldest", "--no-follow", "--metadata", "team=red"]), [""; 0]);
    assert_eq!(lines(&server, &["--from-oldest", "--no-follow", "--model", "offline-small"]), all);

    let json = lines(&server, &["--from-oldest", "--no-follow", "--json"]);
    let change: serde_json::Value = serde_json::from_str(&json[0]).expect("JSON");
    assert_eq!((&change["revision"], &change["type"]), (&"1".into(), &"turn.completed".into()));
    assert_eq!(change["conversationId"], one);

    let events = lines(&server, &["--from-oldest", "--no-follow", "--events"]);
    let names: Vec<&str> = events.iter().filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert_eq!((names[0], names[names.len() - 4]), ("response_started", "response_done"), "{events:#?}");
    assert!(events.iter().any(|line| line.contains("\"[offline] ")), "{events:#?}");
    server.stop();
}

#[test]
fn what_cannot_be_watched_is_told() {
    let server = Causerie::serve(&["serve", "--offline"], &[]);
    let cases: [(&[&str], i32, &str); 4] = [
        (&["--after-revision", "7"], 1, "after_revision: must be at most 0, the newest revision, is 7"),
        (&["--tree", "conv_1"], 1, "conversation_id: must be conv_"),
        (&["--agent", "nobody"], 1, "no agent is called \"nobody\""),
        (&["--metadata", "red"], 2, "must be KEY=VALUE"),
    ];
    for (arguments, expected, part) in cases {
        let (out, err, code) = told(&piped(server.client(&["watch"]).args(arguments), ""));
        assert_eq!((out.as_str(), code), ("", Some(expected)), "{arguments:?}: {err}");
        assert!(err.contains(part), "{part} is not in: {err}");
    }
    let nobody = tempfile::TempDir::new().expect("a folder");
    let mut command = causerie(nobody.path());
    let (_, err, code) = told(&piped(command.args(["watch", "--server", "127.0.0.1:1"]), ""));
    assert_eq!(code, Some(1));
    assert!(err.contains("does not answer") && err.contains("causerie serve"), "{err}");
    server.stop();
}

/// Stands between a client and a server, and cuts their connections when it is told to.
struct Between {
    address: SocketAddr,
    cut: Arc<Notify>,
    _task: AbortOnDropHandle<()>,
}

impl Between {
    async fn before(server: SocketAddr) -> Between {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let cut = Arc::new(Notify::new());
        let task = tokio::spawn(forward(listener, server, cut.clone()));
        Between { address, cut, _task: AbortOnDropHandle::new(task) }
    }
}

async fn forward(listener: TcpListener, server: SocketAddr, cut: Arc<Notify>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (mut client, _) = accepted.expect("a connection");
                let mut server = TcpStream::connect(server).await.expect("the server listens");
                connections.spawn(async move {
                    // Either side may leave.
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
            () = cut.notified() => connections.shutdown().await,
        }
    }
}

/// A `causerie watch` that runs.
struct Watching {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watching {
    fn start(directory: &std::path::Path, server: SocketAddr, arguments: &[&str]) -> Watching {
        let mut command = Command::from(causerie(directory));
        command.args(["watch", "--server", &server.to_string()]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Watching { child, lines }
    }

    /// The first word of the next line: a revision, or the sequence of an event.
    async fn place(&mut self) -> String {
        let line = soon(self.lines.next_line()).await.expect("text").expect("a line");
        line.split_whitespace().next().unwrap_or_default().to_owned()
    }

    /// Presses Ctrl-C; what it says on stderr, all in all.
    async fn interrupt(mut self) -> String {
        let pid = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args(["-INT", &pid]).status().await.expect("kill runs");
        assert!(sent.success(), "the process is there");
        assert_eq!(soon(self.child.wait()).await.expect("it ends").code(), Some(0));
        let mut said = String::new();
        self.child.stderr.take().expect("it is piped").read_to_string(&mut said).await.expect("text");
        said
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_is_taken_up_where_it_was() {
    let server = Causerie::serve(&["serve", "--offline"], &[]);
    let between = Between::before(server.address()).await;
    let mut client = server.connect().await;
    say(&mut client, "Hello").await;
    let mut watching = Watching::start(server.directory(), between.address, &["--from-oldest"]);
    for revision in 1..=6 {
        assert_eq!(watching.place().await, revision.to_string());
        if revision % 2 == 1 {
            between.cut.notify_one();
        }
        say(&mut client, "Hello").await;
    }
    assert_eq!(watching.place().await, "7");
    let said = watching.interrupt().await;
    assert_eq!(said.matches("; going on after revision ").count(), 3, "{said}");
    assert_eq!(said.matches("connected again\n").count(), 3, "{said}");
    assert!(said.ends_with("read up to revision 7; go on from there with --after-revision 7\n"), "{said}");
    server.stop();
}

/// The events of turns that had not ended come again; they are told once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_told_once_over_lost_connections() {
    let server = Causerie::serve(&["serve", "--offline"], &[]);
    let between = Between::before(server.address()).await;
    let client = server.connect().await;
    let mut watching = Watching::start(server.directory(), between.address, &["--from-oldest", "--events"]);
    // 60 pieces, 15 ms apart.
    let talk = tokio::spawn(async move {
        let talk = proto::StartRequest { model: "offline-small".into(), ..start("/offline words 60") };
        events_of(&client, run(talk)).await
    });
    let mut seen = Vec::new();
    loop {
        let place = watching.place().await;
        if place == "1" {
            break;
        }
        seen.push(place);
        if seen.len() == 5 {
            between.cut.notify_one();
        }
    }
    let talk = soon(talk).await.expect("no panic");
    let sequences: Vec<i64> =
        seen.iter().map(|place| place.trim_start_matches('#').parse().expect("a number")).collect();
    assert!(sequences.is_sorted_by(|one, next| one < next), "{sequences:?}");
    assert_eq!(sequences.last(), Some(&talk.turn().last_sequence));
    let said = watching.interrupt().await;
    assert!(said.contains("connected again"), "{said}");
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_server_that_goes_is_waited_for() {
    let server = Causerie::serve(&["serve", "--offline"], &[]);
    let mut client = server.connect().await;
    let directory = tempfile::TempDir::new().expect("a folder");
    let mut watching = Watching::start(directory.path(), server.address(), &["--from-oldest"]);
    say(&mut client, "Hello").await;
    assert_eq!(watching.place().await, "1");
    drop(client);
    server.stop();
    let mut stderr = BufReader::new(watching.child.stderr.take().expect("it is piped")).lines();
    for part in ["(SHUTTING_DOWN)", "the server does not answer"] {
        let line = soon(stderr.next_line()).await.expect("text").expect("a line");
        assert!(line.contains(part) && line.contains("; going on after revision 1 in "), "{line}");
    }
    assert!(watching.child.try_wait().expect("a child").is_none(), "it waits");
}
