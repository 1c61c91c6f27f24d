//! `causerie tools`: what an operator sees of the configured servers.

use std::{fs, path::Path};

use tokio::process::Command;

use crate::support::outside::PYTHON;

/// Exit code, stdout and stderr.
async fn run(file: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causerie"));
    let output = command.arg("tools").arg("--config").arg(file).args(arguments).output().await.expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// What is said when one of them can't be used.
const DOWN: &str = "error: the tools of bad cannot be used
  What a program writes to stderr is shown with --log-level causerie=debug.
";

#[tokio::test]
async fn tools_schemas_and_what_is_wrong_are_shown() {
    let Some(python) = PYTHON.path() else { return PYTHON.skip("causerie tools") };
    let folder = tempfile::tempdir().expect("a folder");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/mcp_faults.py");
    let starts = folder.path().join("starts");
    let server = |name: &str, mode: &str| {
        format!(
            "[mcp.{name}]\ncommand = [{python:?}, {script:?}, {mode:?}, {starts:?}]\ninclude = [\"echo\", \"env\"]\n"
        )
    };
    let file = folder.path().join("causerie.toml");

    fs::write(&file, server("good", "good")).expect("written");
    let (code, out, err) = run(&file, &[]).await;
    let lines: Vec<&str> = out.lines().skip(1).collect();
    assert_eq!(
        lines,
        ["  faults 1.2.3, protocol 2025-11-25", "  good_echo  Does echo.", "  good_env   Does env."],
        "{err}"
    );
    assert_eq!(code, Some(0));
    let (code, out, _) = run(&file, &["good", "env"]).await;
    assert_eq!((code, out.as_str()), (Some(0), "good_env (env)\n  Does env.\n{\n  \"type\": \"object\"\n}\n"));
    let (code, _, err) = run(&file, &["good", "die"]).await;
    assert_eq!((code, err.as_str()), (Some(1), "error: there is no tool \"die\"; there are: echo, env\n"));

    fs::write(&file, server("good", "good") + &server("bad", "exit")).expect("written");
    let (code, out, err) = run(&file, &[]).await;
    assert!(out.contains("\n  the server `bad` ended (exit status: 7) before it introduced itself"), "{out}");
    assert!(out.contains("\n  good_echo  Does echo.\n"), "{out}");
    assert_eq!((code, err.as_str()), (Some(1), DOWN));
}
