//! A key that a program prints: of a password manager, a vault, a cloud's command line.

use std::{fmt, io, process::Stdio, time::Duration};

use http::HeaderValue;
use tokio::{
    io::AsyncReadExt,
    process::Command,
    sync::Mutex,
    time::{Instant, timeout},
};

use super::key::{KeyError, KeyHeader};

/// For one run of the program.
const RUN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a key is used before the program is asked again.
const KEY_KEPT: Duration = Duration::from_secs(300);
/// How long a failure is told without a new run, so that the calls that waited for one run don't each wait for their own.
const FAILURE_KEPT: Duration = Duration::from_secs(1);
/// Of the output. Keys have some hundred bytes, signed tokens some thousand.
const OUTPUT_BYTES: u64 = 64 * 1024;

/// A program that prints the key, and what it last printed.
pub(super) struct KeyCommand {
    program: String,
    arguments: Vec<String>,
    /// Held while the program runs, so that it runs once for all calls that want its key.
    kept: Mutex<Option<Kept>>,
}

/// Why a program gave no key. What it printed is not told: it may be a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CommandError {
    /// The command line is empty or a quotation in it does not end.
    NoCommand,
    /// It could not be started, or its output not be read.
    Io(io::ErrorKind),
    /// It did not end in time.
    TimedOut,
    /// It ended with this status, told as the system does.
    Failed(String),
    /// Its first line is empty.
    NoKey,
    /// Its first line holds blanks or other characters than visible ASCII.
    Malformed,
}

struct Kept {
    result: Result<HeaderValue, CommandError>,
    until: Instant,
}

impl KeyCommand {
    pub(super) fn parse(line: &str) -> Result<KeyCommand, KeyError> {
        let none = || KeyError::Command { program: String::new(), error: CommandError::NoCommand };
        let mut words = shlex::split(line).ok_or_else(none)?.into_iter();
        let program = words.next().filter(|program| !program.is_empty()).ok_or_else(none)?;
        Ok(KeyCommand { program, arguments: words.collect(), kept: Mutex::new(None) })
    }

    /// The key's header: the kept one, or that of a new run.
    pub(super) async fn value(&self, header: KeyHeader) -> Result<HeaderValue, KeyError> {
        let mut kept = self.kept.lock().await;
        let result = match kept.as_ref().filter(|kept| Instant::now() < kept.until) {
            Some(kept) => kept.result.clone(),
            None => {
                let result = self.run(header).await;
                let time = if result.is_ok() { KEY_KEPT } else { FAILURE_KEPT };
                *kept = Some(Kept { result: result.clone(), until: Instant::now() + time });
                result
            }
        };
        result.map_err(|error| KeyError::Command { program: self.program.clone(), error })
    }

    /// The provider refused this header: the next call asks the program again, unless another call already did.
    pub(super) async fn forget(&self, value: &HeaderValue) {
        let mut kept = self.kept.lock().await;
        if kept.as_ref().is_some_and(|kept| kept.result.as_ref() == Ok(value)) {
            *kept = None;
        }
    }

    async fn run(&self, header: KeyHeader) -> Result<HeaderValue, CommandError> {
        let output = timeout(RUN_TIMEOUT, self.output()).await.unwrap_or(Err(CommandError::TimedOut))?;
        let first = output.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let key = std::str::from_utf8(first).map_err(|_| CommandError::Malformed)?;
        header.value(key).map_err(|error| match error {
            KeyError::Missing => CommandError::NoKey,
            KeyError::Unreadable(..) | KeyError::Malformed | KeyError::Command { .. } => CommandError::Malformed,
        })
    }

    async fn output(&self) -> Result<Vec<u8>, CommandError> {
        let failed = |error: io::Error| CommandError::Io(error.kind());
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // What it complains of may quote the key.
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let mut output = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(OUTPUT_BYTES).read_to_end(&mut output).await.map_err(failed)?;
        }
        let status = child.wait().await.map_err(failed)?;
        if status.success() { Ok(output) } else { Err(CommandError::Failed(status.to_string())) }
    }
}

impl fmt::Debug for KeyCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCommand").field("program", &self.program).finish_non_exhaustive()
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::NoCommand => f.write_str("is empty, or a quotation in it does not end"),
            CommandError::Io(kind) => write!(f, "can't be run: {kind}"),
            CommandError::TimedOut => write!(f, "did not end within {} s", RUN_TIMEOUT.as_secs()),
            CommandError::Failed(status) => write!(f, "failed ({status}); what it says is not logged, run it by hand"),
            CommandError::NoKey => f.write_str("printed no key in its first line"),
            CommandError::Malformed => f.write_str(
                "must print the key and nothing else in its first line: visible ASCII characters without blanks. No shell runs \
                 it; a pipe needs sh -c '…'",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::time::{advance, pause, resume};

    use super::*;

    async fn value(line: &str) -> Result<HeaderValue, KeyError> {
        KeyCommand::parse(line)?.value(KeyHeader::ApiKey).await
    }

    fn error(result: Result<HeaderValue, KeyError>) -> CommandError {
        match result {
            Err(KeyError::Command { program: _, error }) => error,
            other => panic!("{other:?} is no failure of a command"),
        }
    }

    #[tokio::test]
    async fn the_first_line_is_the_key() {
        for (line, key) in [
            ("echo sk-1", "sk-1"),
            (r"printf ' sk-2 \r\nuser: me\n'", "sk-2"),
            (r#"sh -c "echo 'ab' | tr b c; exit 0""#, "ac"),
            // No shell: a variable is a text.
            ("echo $HOME", "$HOME"),
            ("sh -c 'echo sk-3; echo complaint >&2'", "sk-3"),
        ] {
            assert_eq!(value(line).await.expect(line), key, "{line}");
        }
    }

    #[tokio::test]
    async fn what_goes_wrong_is_told_without_the_output() {
        assert_eq!(error(value("").await), CommandError::NoCommand);
        assert_eq!(error(value("echo 'sk-1").await), CommandError::NoCommand);
        assert_eq!(error(value("/nonexistent/program").await), CommandError::Io(io::ErrorKind::NotFound));
        assert_eq!(error(value("sh -c 'echo sk-visible; echo sk-visible >&2; exit 3'").await).to_string(), {
            "failed (exit status: 3); what it says is not logged, run it by hand"
        });
        for line in ["true", r"printf '\nsk-1'"] {
            assert_eq!(error(value(line).await), CommandError::NoKey, "{line}");
        }
        for line in ["echo sk-1 | tr 1 2", r"printf '\377'", r"printf 'a\001b'", r"printf 'a\tb'"] {
            assert_eq!(error(value(line).await), CommandError::Malformed, "{line}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_hangs_is_given_up() {
        let started = Instant::now();
        assert_eq!(error(value("sleep 600").await), CommandError::TimedOut);
        assert_eq!(started.elapsed().as_secs(), RUN_TIMEOUT.as_secs());
    }

    #[tokio::test]
    async fn a_key_is_kept_until_it_is_old_or_refused() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = file.path().to_str().expect("its name is text").to_owned();
        let command = KeyCommand::parse(&format!("cat {path}")).expect("a command");
        let key = async |write: &str| {
            fs::write(&path, write).expect("written");
            command.value(KeyHeader::ApiKey).await
        };
        let first = key("first").await.expect("a key");
        assert_eq!(key("second").await.expect("the kept one"), "first");
        command.forget(&HeaderValue::from_static("another")).await;
        assert_eq!(key("second").await.expect("the kept one"), "first");
        command.forget(&first).await;
        assert_eq!(key("second").await.expect("a new one"), "second");
        pause();
        advance(KEY_KEPT - Duration::from_millis(1)).await;
        assert_eq!(key("third").await.expect("the kept one"), "second");
        advance(Duration::from_millis(1)).await;
        resume();
        assert_eq!(key("third").await.expect("a new one"), "third");
    }

    #[tokio::test]
    async fn all_who_wait_share_one_run() {
        let directory = tempfile::tempdir().expect("a folder");
        let log = directory.path().join("runs");
        let line = format!("sh -c 'echo run >> {}; exit 1'", log.display());
        let command = KeyCommand::parse(&line).expect("a command");
        let calls = futures_util::future::join_all((0..20).map(|_| command.value(KeyHeader::Bearer))).await;
        assert!(calls.iter().all(Result::is_err));
        assert_eq!(fs::read_to_string(&log).expect("it ran"), "run\n");
    }
}
