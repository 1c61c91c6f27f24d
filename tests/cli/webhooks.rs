//! `causerie webhooks`: what is made, listed, changed and sent.

use std::fs;

use crate::support::program::{Causerie, piped, told};

fn run(server: &Causerie, arguments: &[&str]) -> (String, String, Option<i32>) {
    told(&piped(server.client(&["webhooks"]).args(arguments), ""))
}

/// What a command says on stdout; it must end well.
fn done(server: &Causerie, arguments: &[&str]) -> String {
    let (out, err, code) = run(server, arguments);
    assert_eq!((err.as_str(), code), ("", Some(0)), "{arguments:?}: {out}");
    out
}

/// A value of a line of JSON.
fn value(json: &str, name: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(json).expect("JSON");
    json[name].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_webhook_is_made_tested_changed_and_deleted() {
    let server = Causerie::serve(&["serve", "--offline"], &[("CAUSERIE_TOOLS_HTTP_ALLOW", "127.0.0.1")]);
    assert_eq!(done(&server, &[]), "id  url  state  delivered  failures  last error\n");
    // Nobody listens there.
    let filter = r#"{"model": "offline-small"}"#;
    let made = done(&server, &["create", "http://127.0.0.1:1/hooks", "--payload", "full", "--filter", filter]);
    let id = value(&made, "id");
    assert!(made.contains("\"whsec_"), "{made}");
    let shown = done(&server, &["show", &id]);
    assert!(!shown.contains("whsec_") && shown.contains("\"offline-small\""), "{shown}");

    let (out, err, code) = run(&server, &["test", &id]);
    assert_eq!((out.as_str(), code), ("", Some(1)));
    assert!(err.starts_with("error: the test failed: 127.0.0.1 gives no answer: "), "{err}");
    let sent = done(&server, &["deliveries", &id, "--state", "failed"]);
    let row = sent.lines().nth(1).expect("the test");
    assert!(row.starts_with("msg_") && row.contains("webhook.test") && row.contains("failed"), "{sent}");
    assert_eq!(done(&server, &["deliveries", &id, "--state", "delivered"]).lines().count(), 1);

    let secrets = server.directory().join("secrets");
    fs::write(&secrets, "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX\nwhsec_GBkaGxwdHh8gISIjJCUmJygpKissLS4v\n")
        .expect("a file");
    let secrets = secrets.to_str().expect("a path of letters");
    let changed = done(&server, &["update", &id, "--description", "mine", "--secrets-file", secrets]);
    assert_eq!(value(&changed, "description"), "mine");
    assert!(changed.contains("\"secretCount\": 2") && !changed.contains("whsec_"), "{changed}");
    assert_eq!(value(&done(&server, &["disable", &id]), "state"), "STATE_DISABLED");
    let table = done(&server, &["list"]);
    assert!(table.lines().nth(1).is_some_and(|row| row.starts_with(&id) && row.contains("  disabled  ")), "{table}");
    assert_eq!(value(&done(&server, &["enable", &id]), "state"), "STATE_ENABLED");
    assert_eq!(value(&done(&server, &["redeliver", &id, "--after", "0"]), "id"), id);

    assert_eq!(done(&server, &["delete", &id]), "");
    let (_, err, code) = run(&server, &["show", &id]);
    assert!(code == Some(1) && err.contains("(WEBHOOK_NOT_FOUND)"), "{err}");
    let (_, err, code) = run(&server, &["update", &id]);
    assert!(code == Some(2) && err.starts_with("error: nothing to change is given"), "{err}");
    server.stop();
}
