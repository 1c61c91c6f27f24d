//! What the README tells a new user to type is typed, in its order, against a server that runs offline.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;

use super::{
    blocks::{Block, blocks, fenced},
    compare, text,
};
use crate::support::{
    golden::normalised,
    outside::{self, BUF, PYTHON, Program},
    program::Causerie,
    server::TestServer,
};

/// Blocks that start a server or take too long; each is checked by what its comment says.
const OTHERWISE: [&str; 4] = [
    // `the_server_starts_as_shown`.
    "cargo run --release -- serve --offline\n",
    "MISTRAL_API_KEY=… cargo run --release -- serve\n",
    // `the_test_command_is_that_of_ci`.
    "cargo test --locked\n",
    // Whoever changes the figures runs it.
    "cargo bench\n",
];

const PROGRAMS: [&Program; 2] = [&BUF, &PYTHON];

/// A block that is run, and what is shown right after it.
struct Step {
    run: Block,
    shown: Option<Block>,
}

impl Step {
    fn compare(&self, printed: &str) {
        let Step { run, shown: Some(shown) } = self else { return };
        let end = if printed.is_empty() || printed.ends_with('\n') { "" } else { "\n" };
        let found = format!("{printed}{end}");
        if normalised(&shown.body) != normalised(&found) {
            // With what was run: the same output may stand in several places.
            let both = |body: &str| format!("{}\n{}", fenced(&run.language, &run.body), fenced("text", body));
            compare(&format!("line {}", run.line), &both(&shown.body), &both(&found));
        }
    }
}

fn steps() -> Vec<Step> {
    let blocks = blocks(&text());
    let shown_after = |at: usize| blocks.get(at + 1).filter(|next| next.language == "text" && next.follows).cloned();
    let run = blocks.iter().enumerate().filter(|(_, block)| {
        matches!(block.language.as_str(), "sh" | "python") && !OTHERWISE.contains(&block.body.as_str())
    });
    run.map(|(at, block)| Step { run: block.clone(), shown: shown_after(at) }).collect()
}

#[tokio::test]
async fn every_command_works_and_shows_what_is_shown() {
    let what = "the commands of README.md";
    if let Some(program) = PROGRAMS.iter().find(|program| program.path().is_none()) {
        return program.skip(what);
    }
    if let Some(tool) = ["jq", "curl"].iter().find(|tool| Command::new(tool).arg("--version").output().is_err()) {
        return outside::skip(what, &format!("{tool} cannot be run. To enable: install {tool}"));
    }
    // With its retries, as they are for a user.
    let settings =
        [("offline", "true"), ("providers.mistral.key_file", ""), ("retry.max_attempts", ""), ("http.page", "true")];
    let server = TestServer::with(&settings).await;
    let address = server.address().to_string();
    let steps = steps();
    let dir = TempDir::new().expect("a temporary folder");
    fs::write(dir.path().join("steps.sh"), script(&steps, &address)).expect("a writable folder");
    let output = tokio::task::spawn_blocking({
        let dir = dir.path().to_owned();
        move || run(&dir, &address)
    });
    let Output { status, stderr, .. } = output.await.expect("no panic");
    let errors = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "README.md, the last of these blocks fails:\n{errors}");
    for (number, step) in steps.iter().enumerate() {
        let printed = fs::read_to_string(dir.path().join(format!("out.{number}"))).expect("every block was run");
        step.compare(&printed);
    }
    server.stop().await;
}

/// One shell for all blocks: a variable of one is used in the next.
fn script(steps: &[Step], address: &str) -> String {
    let mut script = String::from("set -eu\n");
    for (number, Step { run, .. }) in steps.iter().enumerate() {
        let body = run.body.replace("127.0.0.1:50051", address);
        let _ = writeln!(script, "echo 'line {}:' >&2", run.line);
        let _ = match run.language.as_str() {
            "python" => writeln!(script, "\"$CAUSERIE_PYTHON\" >out.{number} - <<'END OF PYTHON'\n{body}END OF PYTHON"),
            _ => writeln!(script, "{{\n{body}}} >out.{number}"),
        };
    }
    script
}

fn run(dir: &Path, address: &str) -> Output {
    let bin = dir.join("bin");
    fs::create_dir(&bin).expect("a writable folder");
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    for (name, target) in [("causerie", env!("CARGO_BIN_EXE_causerie").into()), ("grpcurl", clients.join("grpcurl"))] {
        symlink(target, bin.join(name)).expect("a link can be made");
    }
    // The packages of the Python bring programs, too.
    let python = Path::new(&PYTHON.path().expect("it was looked for before")).with_file_name("");
    let path = format!("{}:{}:{}", bin.display(), std::env::var("PATH").expect("a shell needs one"), python.display());
    let mut bash = Command::new("bash");
    bash.arg("steps.sh").current_dir(dir).env("PATH", path).env("CAUSERIE_SERVER", format!("http://{address}"));
    for program in PROGRAMS {
        bash.env(program.variable, program.path().expect("it was looked for before"));
    }
    bash.output().expect("bash runs")
}

/// The arguments after `--`, and the banner up to the address that differs.
#[test]
fn the_server_starts_as_shown() {
    let blocks = blocks(&text());
    let at = blocks.iter().position(|block| block.body == OTHERWISE[0]).expect("the README says how to start it");
    let shown = &blocks[at + 1].body;
    let server = Causerie::serve(&["serve", "--offline"], &[]);
    let address = server.address().to_string();
    let banner = server.banner().replace(&address, "127.0.0.1:50051").replace(&server.store(), "./causerie-data");
    let banner = banner.replace(" --server 127.0.0.1:50051", "");
    compare("the banner", &fenced("text", shown), &fenced("text", &banner));
    server.stop();

    assert!(blocks.iter().any(|block| block.body == OTHERWISE[1]), "the README says how to give a key");
    let server = Causerie::serve(&["serve"], &[("MISTRAL_API_KEY", "not-a-real-key")]);
    assert!(server.banner().contains("(key from MISTRAL_API_KEY)"), "{}", server.banner());
    server.stop();
}

#[test]
fn the_test_command_is_that_of_ci() {
    let ci = include_str!("../../.ci/run");
    assert!(blocks(&text()).iter().any(|block| block.body == OTHERWISE[2]));
    assert!(ci.lines().any(|line| line.trim().starts_with(&format!("{} 2>&1", OTHERWISE[2].trim()))), "{ci}");
}

/// The page says that `grpcurl` is asked; the stand-in must refuse what it does not know, not guess.
#[test]
fn the_stand_in_for_grpcurl_refuses_what_it_does_not_know() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/grpcurl");
    let mode = fs::metadata(&path).expect("it is there").permissions().mode();
    assert_ne!(mode & 0o111, 0, "it is a program");
    for arguments in [&["-insecure", "127.0.0.1:1", "a/b"][..], &["127.0.0.1:1", "a/b"], &["-plaintext", "127.0.0.1:1"]]
    {
        let output = Command::new(&path).args(arguments).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
