//! `causerie turns`: what is listed, shown, waited for, stopped and followed.

use causerie::proto::{BackgroundOptions, StartRequest};
use prost_types::Timestamp;

use crate::support::{
    program::{Causerie, piped, told},
    server::{Client, start},
};

/// What a command says on stdout; it must end well.
fn done(server: &Causerie, arguments: &[&str]) -> String {
    let (out, err, code) = told(&piped(server.client(&["turns"]).args(arguments), ""));
    assert_eq!((err.as_str(), code), ("", Some(0)), "{arguments:?}: {out}");
    out
}

/// What a command says on stdout and stderr; it must fail with this code.
fn failed(server: &Causerie, arguments: &[&str], expected: i32) -> (String, String) {
    let (out, err, code) = told(&piped(server.client(&["turns"]).args(arguments), ""));
    assert_eq!(code, Some(expected), "{arguments:?}: {out}{err}");
    (out, err)
}

async fn queue(client: &mut Client, input: &str, not_before: Option<Timestamp>) -> String {
    let options = BackgroundOptions { not_before, max_attempts: 1, ..BackgroundOptions::default() };
    let request = StartRequest {
        model: "offline-small".to_owned(),
        background: true,
        background_options: Some(options),
        metadata: [("user".to_owned(), "ann".to_owned())].into(),
        ..start(input)
    };
    client.start(request).await.expect("it is queued").into_inner().id
}

/// The first words of the lines of a table, without its headings.
fn ids(table: &str) -> Vec<&str> {
    table.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect()
}

#[tokio::test]
async fn turns_are_listed_shown_waited_for_stopped_and_followed() {
    let server = Causerie::serve(&["serve", "--offline"], &[]);
    let mut client = server.connect().await;
    assert_eq!(done(&server, &[]), "id  state  model  created  attempt  error\n");
    let answered = queue(&mut client, "Hello", None).await;
    let waited = done(&server, &["wait", &answered]);
    assert!(waited.starts_with(&format!("{answered}  completed  offline-small  2")), "{waited}");
    let broken = queue(&mut client, "/offline error 400\nHello", None).await;
    let (out, err) = failed(&server, &["wait", &broken], 1);
    assert!(out.starts_with(&format!("{broken}  failed")) && err.starts_with("error: "), "{out}{err}");
    // The year 2100.
    let later = queue(&mut client, "Later", Some(Timestamp { seconds: 4_102_444_800, nanos: 0 })).await;
    let (out, err) = failed(&server, &["wait", &later, "--timeout", "50ms"], 1);
    assert!(out.starts_with(&format!("{later}  queued")), "{out}");
    assert!(out.contains("  0 of 1, next 2100-01-01T00:00:00Z  -"), "{out}");
    assert_eq!(err, "error: the turn has not ended\n");

    assert_eq!(ids(&done(&server, &[])), [&later, &broken, &answered]);
    assert_eq!(ids(&done(&server, &["--state", "failed", "--state", "queued"])), [&later, &broken]);
    assert_eq!(ids(&done(&server, &["list", "--metadata", "user=ann", "--since", "1h"])), [&later, &answered]);
    assert_eq!(ids(&done(&server, &["--limit", "1"])), [&later]);
    assert_eq!(ids(&done(&server, &["--before", "1h"])), [""; 0]);
    let tree = answered.replace("turn_", "conv_");
    assert_eq!(ids(&done(&server, &["--tree", &tree])), [&answered]);
    for (line, id) in done(&server, &["--json", "--limit", "0"]).lines().zip([&later, &broken, &answered]) {
        let turn: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!((turn["id"].as_str(), turn.get("outputs")), (Some(id.as_str()), None));
    }

    let shown: serde_json::Value = serde_json::from_str(&done(&server, &["show", &answered])).expect("JSON");
    let text = shown["outputs"][0]["messageOutput"]["content"][0]["text"].as_str().expect("a text");
    assert!(text.starts_with("[offline] You said: \"Hello\"."), "{text}");
    for _ in 0..2 {
        let stopped = done(&server, &["cancel", &later]);
        assert!(
            stopped.starts_with(&format!("{later}  cancelled")) && stopped.contains("  TURN_CANCELLED: "),
            "{stopped}"
        );
    }

    let followed = done(&server, &["follow", &answered]);
    let lines: Vec<Vec<&str>> = followed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((lines[0][0], lines[0][2]), ("1", "turnQueued"), "{followed}");
    let last = lines.last().expect("events");
    assert_eq!(last[2], "responseDone", "{followed}");
    assert!(followed.lines().all(|line| line.chars().count() < 250), "{followed}");
    let after = last[0].parse::<i64>().expect("a sequence") - 1;
    let rest = done(&server, &["follow", &answered, "--after", &after.to_string(), "--json"]);
    let event: serde_json::Value = serde_json::from_str(rest.trim()).expect("one line of JSON");
    assert_eq!(event["responseDone"]["turn"]["id"], answered.as_str());
    server.stop();
}

#[test]
fn what_is_wrong_is_told() {
    let server = Causerie::serve(&["serve", "--offline"], &[]);
    let unknown = "turn_019f0000000070008000000000000000";
    for command in ["show", "wait", "cancel", "follow"] {
        let (_, err) = failed(&server, &[command, unknown], 1);
        assert!(err.contains("(TURN_NOT_FOUND)"), "{command}: {err}");
    }
    for wrong in [
        &["--state", "lost"][..],
        &["--since", "yesterday"],
        &["--metadata", "user"],
        &["--state", "failed", "show", unknown],
    ] {
        failed(&server, wrong, 2);
    }
    let (_, err) = failed(&server, &["--batch", "1"], 1);
    assert!(err.contains("(INVALID_REQUEST)") && err.contains("batch_id"), "{err}");
    server.stop();
}
