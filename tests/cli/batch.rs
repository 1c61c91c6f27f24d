//! `causerie batch`: a file of prompts in, results as JSON Lines out, and on from where it was.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
};

use causerie::proto::{WatchBatchRequest, batch_service_client::BatchServiceClient};
use serde_json::{Value, json};

use crate::support::{
    events::soon,
    program::{Causerie, piped, told},
};

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON Lines")).collect()
}

fn field(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.trim().to_owned()
}

#[test]
fn a_file_of_prompts_and_turns_is_run() {
    let server = Causerie::serve(&["serve", "--offline"], &[]);
    let (_, err, code) = told(&piped(&mut server.client(&["chat", "--model", "offline-small"]), "Hello\n"));
    assert_eq!(code, Some(0), "{err}");
    let version = err.split_whitespace().rev().find(|word| word.starts_with("conv_")).expect("the last version");
    let version = version.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    let items = [
        json!("Why is the sky blue?"),
        json!({"prompt": "Why?"}),
        json!({"model": "offline-reasoning", "input": "Why not?"}),
        json!({"conversationId": version, "input": "And now?"}),
    ];
    let text = items.map(|item| item.to_string()).join("\n\n") + "\n";
    fs::write(server.directory().join("in.jsonl"), text).expect("a file");
    let run = ["batch", "in.jsonl", "--model", "offline-small", "--concurrency", "2"];

    let (out, err, code) = told(&piped(&mut server.client(&run), ""));

    assert_eq!(code, Some(0), "{err}");
    let results = lines(&out);
    let of = |key: &str| results.iter().map(|line| line[key].as_i64().expect("a number")).collect::<Vec<_>>();
    assert_eq!(of("sequence"), [1, 2, 3, 4]);
    assert_eq!(of("index").into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([0, 2, 4, 6]));
    for line in &results {
        assert_eq!(line["state"], "COMPLETED");
        assert!(!line["text"].as_str().expect("a text").is_empty() && line["usage"]["totalTokens"].as_i64() > Some(0));
    }
    assert_eq!(field(&err, "items"), "4, 4 ended");
    assert_eq!(field(&err, "completed"), "4");

    // The same again, from a pipe, is another file for nobody.
    let id = err.lines().next().expect("the batch").to_owned();
    let (again, err, code) = told(&piped(&mut server.client(&run), ""));
    assert_eq!((lines(&again), code, err.lines().next()), (results, Some(0), Some(id.as_str())));
    let (out, _, code) = told(&piped(&mut server.client(&["batch", "--status", &id]), ""));
    assert_eq!((field(&out, "state"), field(&out, "description"), code), ("ended".into(), "in.jsonl".into(), Some(0)));
    let (out, _, _) = told(&piped(&mut server.client(&["batch", "--list"]), ""));
    assert!(out.lines().count() == 2 && out.contains(&id), "{out}");
    let (out, err, code) =
        told(&piped(&mut server.client(&["batch", "-", "--model", "offline-small"]), "\"From a pipe\"\n"));
    assert_eq!((lines(&out).len(), code), (1, Some(0)), "{err}");
    server.stop();
}

#[test]
fn what_fails_is_told_and_is_a_failure_of_the_command() {
    let server = Causerie::serve(&["serve", "--offline"], &[]);
    let run = ["batch", "-"];
    let (out, err, code) = told(&piped(
        &mut server.client(&run),
        "\"Nobody leads it\"\n{\"model\": \"offline-small\", \"input\": \"Hi\"}\n",
    ));
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("1 of 2 items failed or were cancelled"), "{err}");
    let results = lines(&out);
    let failed = results.iter().find(|line| line["index"] == 0).expect("a result");
    assert_eq!((&failed["state"], &failed["error"]["reason"]), (&json!("FAILED"), &json!("INVALID_REQUEST")));
    assert!(failed.get("turn").is_none());

    for (input, why) in [
        ("", "stdin has no items"),
        ("\"a\"\nb\n", "stdin line 2, column 1"),
        ("{\"inputs\": 7}\n", "stdin line 1, column"),
    ] {
        let (out, err, code) = told(&piped(&mut server.client(&run), input));
        assert_eq!((out.as_str(), code), ("", Some(1)), "{err}");
        assert!(err.contains(why) && err.contains("Nothing was sent."), "{err}");
    }
    let (_, _, code) = told(&piped(&mut server.client(&["batch"]), ""));
    assert_eq!(code, Some(2));
    server.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_interrupted_run_says_how_to_go_on_and_the_same_command_does() {
    const ITEMS: i64 = 60;
    let server = Causerie::serve(&["serve", "--offline"], &[]);
    let text: String = (0..ITEMS).map(|n| format!("\"Item {n}\"\n")).collect();
    // One that never ends until it is cancelled.
    fs::write(server.directory().join("in.jsonl"), text + "\"/offline delay 600000\\nWait\"\n").expect("a file");
    let run = ["batch", "in.jsonl", "--model", "offline-small", "--output", "out.jsonl", "--concurrency", "4"];
    let output = server.directory().join("out.jsonl");

    let mut child = server.client(&run).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut id = String::new();
    stderr.read_line(&mut id).expect("it prints text");
    let id = id.trim().to_owned();
    let interrupt = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupt.expect("kill runs").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    let said: String = stderr.lines().map(|line| line.expect("text") + "\n").collect();
    assert!(said.contains("interrupted") && said.contains("Run the same command again"), "{said}");
    assert!(said.contains(&format!("causerie batch --status {id}")), "{said}");

    // What there is stays, but for a line that was cut off.
    let there = fs::read_to_string(&output).expect("a file");
    fs::write(&output, there.clone() + "{\"batch\":\"ba").expect("a file");
    let mut child = server.client(&run).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut same = String::new();
    stderr.read_line(&mut same).expect("it prints text");
    assert_eq!(same.trim(), id);
    // All others end; the last one would wait for ever.
    has_results(&server, &id, ITEMS).await;
    let (out, _, code) = told(&piped(&mut server.client(&["batch", "--cancel", &id]), ""));
    assert_eq!((field(&out, "state"), code), ("cancelled".into(), Some(0)));
    let said: String = stderr.lines().map(|line| line.expect("text") + "\n").collect();
    assert_eq!(child.wait().expect("it ends").code(), Some(1), "{said}");
    assert!(said.contains(&format!("1 of {} items failed or were cancelled", ITEMS + 1)), "{said}");
    let text = fs::read_to_string(&output).expect("a file");
    assert!(text.starts_with(&there));
    let results = lines(&text);
    assert!(results.iter().map(|line| line["sequence"].as_i64()).eq((1..=ITEMS + 1).map(Some)), "each once");
    assert_eq!(results.iter().map(|line| line["index"].as_i64()).collect::<BTreeSet<_>>().len() as i64, ITEMS + 1);

    // A third time there is nothing to do, and the file of one batch is not that of another.
    let (_, _, code) = told(&piped(&mut server.client(&run), ""));
    assert_eq!((code, fs::read_to_string(&output).expect("a file")), (Some(1), text.clone()));
    let other = ["batch", "-", "--model", "offline-small", "--output", "out.jsonl"];
    let (_, err, code) = told(&piped(&mut server.client(&other), "\"Other\"\n"));
    assert_eq!((code, fs::read_to_string(&output).expect("a file")), (Some(1), text), "{err}");
    assert!(err.contains("another batch"), "{err}");
    server.stop();
}

/// Waits until a batch has so many results.
async fn has_results(server: &Causerie, batch_id: &str, count: i64) {
    let mut client = BatchServiceClient::connect(format!("http://{}", server.address())).await.expect("it listens");
    let request = WatchBatchRequest { batch_id: batch_id.to_owned(), after_sequence: count - 1 };
    let mut results = client.watch_batch(request).await.expect("there is such a batch").into_inner();
    let result = async { while results.message().await.expect("no error").expect("a message").sequence < count {} };
    soon(result).await;
}
