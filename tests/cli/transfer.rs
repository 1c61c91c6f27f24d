//! `causerie export` and `causerie import`: what comes out of one store is what comes out of the other.
//!
//! On several threads: a client hears the server leave while the test waits for its end.

use std::fs;

use causerie::proto::{Function, StartRequest, Tool, tool};

use crate::support::{
    program::{Causerie, piped, told},
    server::start,
};

/// A server with a tree, a conversation that waits for a function, and one that was cut off.
async fn filled() -> Causerie {
    let server = Causerie::serve(&["serve", "--offline"], &[]);
    let chat = ["chat", "--model", "offline-reasoning", "--instructions", "Be short"];
    let (_, err, code) =
        told(&piped(&mut server.client(&chat), "Hellö\nAnd now?\n/restart 1\nOther\n/branch 1\nMore\n"));
    assert_eq!(code, Some(0), "{err}");
    let chat = ["chat", "--model", "offline-small"];
    let (_, _, code) = told(&piped(&mut server.client(&chat), "//offline cut 2\n"));
    assert_eq!(code, Some(1), "it was cut off");
    let function = Function { name: "get_time".into(), ..Default::default() };
    let call = StartRequest {
        model: "offline-small".into(),
        tools: vec![Tool { kind: Some(tool::Kind::Function(function)) }],
        metadata: [("user".to_owned(), "42".to_owned())].into(),
        request_id: "once".into(),
        ..start("Call get_time, please")
    };
    server.connect().await.start(call).await.expect("a turn");
    server
}

/// All lines of an export.
fn exported(server: &Causerie, arguments: &[&str]) -> Vec<String> {
    let (out, err, code) = told(&piped(server.client(&["export"]).args(arguments), ""));
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("exported"), "{err}");
    out.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_import_exports_what_was_imported() {
    let (from, to) = (filled().await, Causerie::serve(&["serve", "--offline"], &[]));
    let original = exported(&from, &[]);
    assert!(original.last().expect("a summary").contains("\"versionCount\":\"6\""), "{:?}", original.last());
    let file = from.directory().join("all.jsonl");
    let file = file.to_str().expect("a path of letters");
    let (out, err, code) = told(&piped(&mut from.client(&["export", "--output", file]), ""));
    assert_eq!((out.as_str(), err.as_str(), code), ("", "exported 6 versions\n", Some(0)));
    for said in ["imported 6 versions; 0 were there already\n", "imported 0 versions; 6 were there already\n"] {
        let (out, err, code) = told(&piped(&mut to.client(&["import", file]), ""));
        assert_eq!((out.as_str(), err.as_str(), code), ("", said, Some(0)));
    }
    // Only the header differs: it has the time.
    let copy = exported(&to, &[]);
    assert_eq!(copy[1..], original[1..]);
    assert!(copy[0].starts_with("{\"header\":") && original[0].starts_with("{\"header\":"));

    // From stdin, too, and one conversation alone.
    let third = Causerie::serve(&["serve", "--offline"], &[]);
    let id = copy[1].split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a version's id");
    let one = exported(&to, &[id]);
    assert!(one.len() < copy.len());
    let (_, err, code) = told(&piped(&mut third.client(&["import", "-"]), &(one.join("\n") + "\n")));
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(exported(&third, &[])[1..], one[1..]);
    for server in [from, to, third] {
        server.stop();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_file_that_is_not_whole_is_refused_and_nothing_of_it_stored() {
    let (from, to) = (filled().await, Causerie::serve(&["serve", "--offline"], &[]));
    let lines = exported(&from, &[]);
    let whole = lines.join("\n") + "\n";
    let without_summary = lines[..lines.len() - 1].join("\n") + "\n";
    let cases = [
        (without_summary.as_str(), "cut off"),
        (&whole[..whole.len() / 2], "line"),
        ("", "it is empty"),
        ("{}\n", "line 1"),
    ];
    for (text, why) in cases {
        fs::write(to.directory().join("bad.jsonl"), text).expect("a file");
        let (_, err, code) = told(&piped(&mut to.client(&["import", "bad.jsonl"]), ""));
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains("bad.jsonl") && err.contains(why) && err.contains("Nothing was imported"), "{err}");
        assert_eq!(exported(&to, &[]).len(), 2, "a header and a summary: nothing was imported");
    }
    from.stop();
    to.stop();
}

#[test]
fn a_failed_export_leaves_no_file() {
    let server = Causerie::serve(&["serve", "--offline"], &[]);
    let nobody = "conv_00000000000070008000000000000000";
    let (_, err, code) = told(&piped(&mut server.client(&["export", "--output", "x.jsonl", nobody]), ""));
    assert_eq!(code, Some(1));
    assert!(err.contains("CONVERSATION_NOT_FOUND"), "{err}");
    let left: Vec<_> =
        fs::read_dir(server.directory()).expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(left, ["store"]);
    server.stop();
}
