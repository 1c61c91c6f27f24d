//! `causerie serve`: what it refuses, what it says, and how it ends.
//!
//! With a client, on several threads: it hears the server leave while the test waits for its end.

use std::{fs, net::TcpListener};

use causerie::proto::{
    EventView, ListConversationsRequest, StartRequest, StreamEventsRequest, event::Kind,
    stream_events_request::Request, turn::State,
};
use tempfile::TempDir;
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::{
    program::{Causerie, causerie, piped, told},
    server::start,
};

#[test]
fn wrong_settings_are_named_all_at_once() {
    let dir = TempDir::new().expect("a folder");
    fs::write(dir.path().join("causerie.toml"), "[store]\npaht = \"x\"\n[log]\nformat = \"xml\"\n").expect("a file");
    let mut command = causerie(dir.path());
    command.args(["serve", "--listen", "nonsense", "--store-cache-mib", "1"]).env("CAUSERIE_TURNS_GRACE", "soon");
    let (out, err, code) = told(&command.output().expect("it runs"));
    assert_eq!((out.as_str(), code), ("", Some(2)), "{err}");
    for part in [
        "the configuration has 5 faults:",
        "--listen is \"nonsense\"",
        "127.0.0.1:50051",
        "--store-cache-mib is \"1\"",
        "from 16 to 1048576",
        "CAUSERIE_TURNS_GRACE is \"soon\"",
        "log.format (causerie.toml, line 4) is \"xml\"",
        "text or json",
        "store.paht (causerie.toml, line 2)",
        "store.path",
        "causerie serve --help",
    ] {
        assert!(err.contains(part), "{part} is not in:\n{err}");
    }
    assert!(!dir.path().join("causerie-data").exists(), "a store was made");
}

#[test]
fn an_open_port_has_to_be_asked_for() {
    let dir = TempDir::new().expect("a folder");
    let mut command = causerie(dir.path());
    let (_, err, code) = told(&command.args(["--offline", "--listen", "0.0.0.0:0"]).output().expect("it runs"));
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("--trusted-network") && err.contains("no authentication"), "{err}");
}

#[test]
fn a_flag_that_does_not_exist_is_not_guessed() {
    let dir = TempDir::new().expect("a folder");
    let (_, err, code) = told(&causerie(dir.path()).args(["serve", "--ofline"]).output().expect("it runs"));
    assert_eq!(code, Some(2));
    assert!(err.contains("--offline"), "{err}");
}

#[test]
fn a_store_has_one_process() {
    let first = Causerie::serve(&["serve", "--offline"], &[]);
    let store = first.store();
    let mut second = causerie(first.directory());
    second.args(["serve", "--offline", "--listen", "127.0.0.1:0", "--store-path", &store]);
    let (_, err, code) = told(&second.output().expect("it runs"));
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains(&store) && err.contains("in use by another process"), "{err}");
    assert!(!err.contains("panicked"), "{err}");
    first.stop();
}

#[test]
fn a_store_that_cannot_be_opened_says_why() {
    let dir = TempDir::new().expect("a folder");
    fs::write(dir.path().join("file"), "").expect("a file");
    let mut command = causerie(dir.path());
    command.args(["serve", "--offline", "--listen", "127.0.0.1:0", "--store-path", "file/store"]);
    let (_, err, code) = told(&command.output().expect("it runs"));
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("file/store can't be opened") && err.contains("Not a directory"), "{err}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let dir = TempDir::new().expect("a folder");
    let (_, err, code) =
        told(&causerie(dir.path()).args(["serve", "--offline", "--listen", &address]).output().expect("it runs"));
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains(&format!("cannot listen on {address}")) && err.contains("--listen"), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn without_a_key_it_serves_and_turns_say_what_is_missing() {
    let server = Causerie::serve(&[], &[]);
    assert!(server.banner().contains("NO KEY") && server.banner().contains("MISTRAL_API_KEY"), "{}", server.banner());
    let mut client = server.connect().await;
    let status = client.start(start("Hello")).await.expect_err("there is no key");
    assert_eq!(status.code(), Code::FailedPrecondition);
    let details = status.get_error_details();
    assert_eq!(details.error_info().expect("always there").reason, "API_KEY_MISSING");
    for part in ["MISTRAL_API_KEY", "providers.mistral.key_file", "--offline"] {
        assert!(status.message().contains(part), "{part} is not in: {}", status.message());
    }
    // What needs no model works.
    let import = StartRequest { skip_completion: true, ..start("Hello") };
    client.start(import).await.expect("no model is asked");
    let listed = client.list_conversations(ListConversationsRequest::default()).await.expect("read").into_inner();
    assert_eq!(listed.conversations.len(), 1);
    server.stop();
}

#[test]
fn the_banner_says_what_somebody_must_know() {
    let server =
        Causerie::serve(&["serve", "--offline", "--store-sync=false"], &[("MISTRAL_API_KEY", "not-a-real-key")]);
    let banner = server.banner();
    for part in [
        &format!("causerie {} serves", env!("CARGO_PKG_VERSION")),
        "(this machine only)",
        &server.store(),
        "SYNC OFF",
        "NONE: OFFLINE",
        "offline-small, offline-large, offline-reasoning",
        &format!("causerie chat --server {} --model offline-small", server.address()),
    ] {
        assert!(banner.contains(part), "{part} is not in:\n{banner}");
    }
    let all = format!("{}{}", server.banner().to_owned(), server.stop());
    assert!(!all.contains("not-a-real-key"), "{all}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sigterm_lets_a_running_turn_end() {
    let server = Causerie::serve(&["serve", "--offline"], &[]);
    let mut client = server.connect().await;
    let model = "offline-small".to_owned();
    // 40 pieces, 15 ms apart: it runs when the signal comes.
    let request = Request::Start(StartRequest { model, ..start("/offline words 40") });
    let request = StreamEventsRequest { request: Some(request), view: EventView::Full.into() };
    let mut events = client.stream_events(request).await.expect("it streams").into_inner();
    let first = events.message().await.expect("no error").expect("an event");
    assert!(matches!(first.kind, Some(Kind::ResponseStarted(_))), "{first:?}");
    server.ask_to_stop();
    let mut last = first;
    while let Some(event) = events.message().await.expect("no error") {
        last = event;
    }
    let Some(Kind::ResponseDone(done)) = last.kind else { panic!("{last:?}") };
    assert_eq!(done.turn.expect("the whole turn").state(), State::Completed);
    drop(client);
    server.ended();
}

#[test]
fn help_teaches_and_goes_to_stdout() {
    let dir = TempDir::new().expect("a folder");
    for (arguments, parts) in [
        (&["--help"][..], &["--offline", "MISTRAL_API_KEY", "causerie export", "Exit codes"][..]),
        (&["serve", "--help"], &["--trusted-network", "CAUSERIE_STORE_SYNC", "key_file", "causerie.toml"]),
        (&["chat", "--help"], &["In a pipe", "CAUSERIE_SERVER", "/help"]),
        (&["export", "--help"], &["JSON Lines", "only when it is whole"]),
        (&["import", "--help"], &["checked whole", "repeated"]),
        (&["--version"], &[env!("CARGO_PKG_VERSION")]),
    ] {
        let (out, err, code) = told(&piped(causerie(dir.path()).args(arguments), ""));
        assert_eq!((err.as_str(), code), ("", Some(0)), "{arguments:?}");
        // As wide as a terminal may be: a phrase may be broken by a line's end.
        let flat = out.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in parts {
            assert!(flat.contains(part), "{part} is not in {arguments:?}:\n{out}");
        }
    }
}
