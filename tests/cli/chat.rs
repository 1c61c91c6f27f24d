//! `causerie chat` through a pipe.

use tempfile::TempDir;

use crate::support::{
    golden::normalised,
    program::{Causerie, causerie, piped, told},
};

const CHAT: [&str; 3] = ["chat", "--model", "offline-small"];

#[test]
fn stdout_gets_the_answers_and_nothing_else() {
    let server = Causerie::serve(&["serve", "--offline"], &[]);
    let (out, err, code) = told(&piped(&mut server.client(&CHAT), "Hello\n\n//etc and so on\n"));
    assert_eq!(code, Some(0), "{err}");
    let answers = "[offline] You said: \"Hello\". (message 1 of this conversation)\n\
                   [offline] You said: \"/etc and so on\". (message 3 of this conversation)\n";
    assert_eq!(out, answers);
    let last = err.lines().last().expect("a line");
    assert_eq!(normalised(last), "conversation conv_ID");

    // The line on stderr names what to go on from.
    let id = last.trim_start_matches("conversation ");
    let (out, err, code) = told(&piped(&mut server.client(&["chat", id]), "More"));
    assert_eq!(
        (out.as_str(), code),
        ("[offline] You said: \"More\". (message 5 of this conversation)\n", Some(0)),
        "{err}"
    );
    server.stop();
}

#[test]
fn commands_work_in_a_pipe() {
    let server = Causerie::serve(&["serve", "--offline"], &[]);
    let lines = "Hello\nAnd now?\n/history\n/versions\n/restart\n/restart 2\nAnd then?\n/branch 1\nOther\n/versions\n/save t.jsonl\n";
    let (out, err, code) = told(&piped(&mut server.client(&CHAT), lines));
    assert_eq!(code, Some(0), "{err}");
    let expected = r#"[offline] You said: "Hello". (message 1 of this conversation)
[offline] You said: "And now?". (message 3 of this conversation)
[1] you (msg_ID)
Hello

offline-small (msg_ID)
[offline] You said: "Hello". (message 1 of this conversation)

[2] you (msg_ID)
And now?

offline-small (msg_ID)
[offline] You said: "And now?". (message 3 of this conversation)

○ 1  Hello
● 2  And now? · head · you are here
[offline] You said: "And now?". (message 3 of this conversation)
[offline] You said: "And then?". (message 3 of this conversation)
[offline] You said: "Other". (message 3 of this conversation)
○ 1  Hello
├─○ 2  And now?
│ ○ 3  And now? · restarted
│ ○ 5  And then? · restarted · head
● 4  Other · head · you are here
"#;
    assert_eq!(normalised(&out), expected);
    assert!(err.contains("t.jsonl holds 5 versions"), "{err}");

    // What was saved is an export like any other.
    let (out, err, code) = told(&piped(&mut server.client(&["import", "t.jsonl"]), ""));
    assert_eq!((out.as_str(), err.as_str(), code), ("", "imported 0 versions; 5 were there already\n", Some(0)));
    server.stop();
}

#[test]
fn models_costs_retries_and_switches_are_shown() {
    let flags = ["--retry-max-attempts", "2", "--retry-base-delay", "1ms", "--fallback-models", "offline-large"];
    let server = Causerie::serve(&[&["serve", "--offline"][..], &flags].concat(), &[]);
    let (out, err, code) = told(&piped(&mut server.client(&CHAT), "/models\nHello\n/cost\n"));
    assert_eq!(code, Some(0), "{err}");
    let expected = "\
offline-large      262144 tokens   $4.00 in, $12.00 out per million
offline-reasoning  262144 tokens   $2.00 in, $6.00 out per million
offline-small      32768 tokens    $1.00 in, $3.00 out per million
[offline] You said: \"Hello\". (message 1 of this conversation)
2 tokens read, 9 written, $0.000029
";
    assert_eq!(out, expected);

    // In a pipe they go to stderr, one line each.
    let (out, err, code) = told(&piped(&mut server.client(&CHAT), "//offline error 503\n"));
    assert_eq!((out.as_str(), code), ("", Some(1)), "{err}");
    for said in [
        "asking offline-small again in 0.0 s (attempt 2): offline failed (HTTP 503)",
        "asking offline-large in place of offline-small: offline failed (HTTP 503)",
        "asking offline-large again in 0.0 s (attempt 2): ",
        "(after 4 attempts) (SERVICE_UNAVAILABLE)",
    ] {
        assert!(err.contains(said), "{said} is not in:\n{err}");
    }
    server.stop();
}

#[test]
fn the_first_failure_ends_a_pipe() {
    // A retry would only take time.
    let server = Causerie::serve(&["serve", "--offline", "--retry-max-attempts", "1"], &[]);
    for (line, said) in [
        ("//offline cut 2", &["the answer was cut off", "causerie chat conv_"][..]),
        ("/nonsense", &["there is no /nonsense"]),
        ("/branch 7", &["7"]),
        // The last one: after it the model is left alone for so long.
        ("//offline error 429 7", &["RATE_LIMIT_EXCEEDED", "Try again in 7.0 s"]),
    ] {
        let (out, err, code) = told(&piped(&mut server.client(&CHAT), &format!("{line}\nHello\n")));
        assert_eq!(code, Some(1), "{line}: {err}");
        assert!(!out.contains("Hello"), "{line}: {out}");
        for part in said {
            assert!(err.contains(part), "{part} is not in:\n{err}");
        }
    }
    server.stop();
}

#[test]
fn what_is_missing_is_said() {
    let dir = TempDir::new().expect("a folder");
    let (_, err, code) = told(&piped(causerie(dir.path()).args(["chat"]), "Hello\n"));
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("needs a model or an agent") && err.contains("CAUSERIE_MODEL"), "{err}");

    // Nobody listens on the port of a server that has stopped.
    let server = Causerie::serve(&["serve", "--offline"], &[]);
    let mut client = server.client(&CHAT);
    client.current_dir(dir.path());
    server.stop();
    let (_, err, code) = told(&piped(&mut client, "Hello\n"));
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("does not answer") && err.contains("causerie serve"), "{err}");
}
