//! `causerie agents`: what is listed, shown, compared and written.

use std::fs;

use crate::support::program::{Causerie, piped, told};

/// What a command says on stdout; it must end well.
fn done(server: &Causerie, arguments: &[&str], input: &str) -> String {
    let (out, err, code) = told(&piped(server.client(&["agents"]).args(arguments), input));
    assert_eq!((err.as_str(), code), ("", Some(0)), "{arguments:?}: {out}");
    out
}

/// What a command says on stderr; it must fail.
fn failed(server: &Causerie, arguments: &[&str], input: &str) -> String {
    let (out, err, code) = told(&piped(server.client(&["agents"]).args(arguments), input));
    assert_eq!((out.as_str(), code), ("", Some(1)), "{arguments:?}: {err}");
    err
}

/// A value of a line of JSON.
fn value(json: &str, key: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(json).expect("JSON");
    json[key].as_str().unwrap_or_default().to_owned()
}

#[test]
fn agents_are_made_changed_and_compared_from_files() {
    let server = Causerie::serve(&["serve", "--offline"], &[]);
    assert_eq!(done(&server, &[], ""), "name  id  version  model  source  description\n");
    let file = r#"{"name": "support", "model": "offline-small", "instructions": "Be kind"}"#;
    let made = done(&server, &["create", "-", "--message", "the first"], file);
    let id = value(&made, "id");
    assert_eq!(done(&server, &["show", "support"], ""), made);
    assert_eq!(done(&server, &["show", &id, "--version", "1"], ""), made);

    let path = server.directory().join("support.json");
    fs::write(&path, made.replace("Be kind", "Be short")).expect("a file");
    let path = path.to_str().expect("a path of letters");
    let changed = done(&server, &["update", path], "");
    assert_eq!(value(&changed, "instructions"), "Be short");
    let stale = failed(&server, &["update", path], "");
    assert!(stale.contains("(AGENT_CHANGED)"), "{stale}");

    let diff = done(&server, &["diff", "support", "1", "2"], "");
    assert!(diff.starts_with(&format!("--- {id} version 1\n+++ {id} version 2\n@@ ")), "{diff}");
    assert!(diff.contains("\n-  \"instructions\": \"Be kind\",\n+  \"instructions\": \"Be short\",\n"), "{diff}");
    assert_eq!(done(&server, &["diff", &id, "2", "2"], ""), "");

    let versions = done(&server, &["versions", "support"], "");
    let lines: Vec<Vec<&str>> = versions.lines().map(|line| line.split("  ").map(str::trim).collect()).collect();
    let first_words: Vec<&str> = lines.iter().map(|cells| cells[0]).collect();
    assert_eq!(first_words, ["version", "2 (current)", "1"], "{versions}");
    assert!(versions.lines().last().is_some_and(|line| line.ends_with("the first")), "{versions}");

    let table = done(&server, &["list"], "");
    let row = table.lines().nth(1).expect("an agent");
    assert!(row.starts_with(&format!("support  {id}  2 of 2   offline-small  api")), "{table}");
    server.stop();
}

#[test]
fn what_is_not_there_or_not_clear_is_told() {
    let server = Causerie::serve(&["serve", "--offline"], &[]);
    let none = failed(&server, &["show", "support"], "");
    assert!(none.starts_with("error: no agent is called \"support\""), "{none}");
    let unknown = failed(&server, &["show", "agent_019f0000000070008000000000000000"], "");
    assert!(unknown.contains("(AGENT_NOT_FOUND)"), "{unknown}");
    let file = r#"{"name": "support", "model": "offline-small"}"#;
    let ids = [(); 2].map(|()| value(&done(&server, &["create", "-"], file), "id"));
    let both = failed(&server, &["versions", "support"], "");
    assert!(
        both.starts_with("error: 2 agents are called \"support\"") && ids.iter().all(|id| both.contains(id)),
        "{both}"
    );
    let typo = failed(&server, &["create", "-"], r#"{"nam": "support"}"#);
    assert!(typo.starts_with("error: stdin cannot be read: unrecognized field name 'nam'"), "{typo}");
    let wrong = failed(&server, &["create", "-"], r#"{"name": "support"}"#);
    assert!(wrong.contains("(INVALID_REQUEST)") && wrong.contains("agent.model: is required"), "{wrong}");
    server.stop();
}
