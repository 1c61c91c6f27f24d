//! A server that is a program: started, listened to, ended. It leads a process group of its own, so that what it started itself
//! ends with it, and so that Ctrl-C at our terminal is ours alone.

use std::{io, path::Path, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// For each step of ending: after its input is closed, and after it is told to end.
const GRACE: Duration = Duration::from_secs(2);
/// Of a line of its complaints in our log.
const LOG_LINE_BYTES: usize = 1024;
/// What any program needs to find its files and to speak its user's language. Nothing else of our environment is its business:
/// the keys of providers stand there.
const INHERITED: [&str; 14] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "TERM",
    "SYSTEMROOT",
    "TEMP",
    "APPDATA",
];

/// A program that runs. Dropping it kills it and all that it started.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// The id of its group, until there is nobody left in it.
    group: Option<u32>,
}

/// Its ends of the pipes.
pub(super) struct Pipes {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

impl Process {
    pub(super) fn start(
        program: &str,
        arguments: &[String],
        env: &[(String, String)],
        directory: Option<&Path>,
    ) -> io::Result<(Process, Pipes)> {
        let mut command = Command::new(program);
        command.args(arguments).env_clear();
        command.envs(INHERITED.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.envs(env.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = directory {
            command.current_dir(directory);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn()?;
        let missing = || io::Error::other("a pipe is missing");
        let pipes = Pipes {
            stdin: child.stdin.take().ok_or_else(missing)?,
            stdout: child.stdout.take().ok_or_else(missing)?,
            stderr: child.stderr.take().ok_or_else(missing)?,
        };
        let group = child.id();
        Ok((Process { child, group }, pipes))
    }

    /// Its id, while it runs.
    #[cfg(test)]
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for its end, and says how it ended. Can be dropped and called again.
    pub(super) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => format!("its status is not known: {error}"),
        }
    }

    /// Ends it. Its input must be closed already, which asks it to go; then it is told, then made to.
    pub(super) async fn end(mut self) {
        if timeout(GRACE, self.ended()).await.is_err() {
            self.signal(Signal::End);
            if timeout(GRACE, self.ended()).await.is_err() {
                self.signal(Signal::Kill);
                self.ended().await;
            }
        }
        // Dropping it ends what it left behind.
    }

    /// To all of its group. That there is nobody left is as good.
    #[cfg(unix)]
    fn signal(&self, signal: Signal) {
        use rustix::process::{self, Pid};
        let signal = match signal {
            Signal::End => process::Signal::TERM,
            Signal::Kill => process::Signal::KILL,
        };
        let group = self.group.and_then(|id| Pid::from_raw(id.try_into().ok()?));
        if let Some(group) = group {
            let _ = process::kill_process_group(group, signal);
        }
    }

    #[cfg(not(unix))]
    fn signal(&mut self, signal: Signal) {
        match signal {
            Signal::End => {}
            Signal::Kill => drop(self.child.start_kill()),
        }
    }
}

enum Signal {
    End,
    Kill,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::Kill);
    }
}

/// Writes a server's complaints to the log, line by line, until there are no more.
pub(super) async fn log_complaints(server: String, mut from: impl AsyncRead + Unpin) {
    let (mut buffer, mut line) = ([0; 4096], Vec::new());
    // An error is as good as the end: there is nobody to tell.
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        for part in buffer[..count].split_inclusive(|byte| *byte == b'\n') {
            let room = LOG_LINE_BYTES.saturating_sub(line.len());
            line.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                log_line(&server, &line);
                line.clear();
            }
        }
    }
    log_line(&server, &line);
}

fn log_line(server: &str, line: &[u8]) {
    let line = String::from_utf8_lossy(line);
    let line = line.trim_end();
    if !line.is_empty() {
        tracing::debug!(server, line, "an MCP server writes");
    }
}

#[cfg(all(test, unix))]
mod tests {
    use tokio::io::{AsyncBufReadExt, BufReader};

    use super::*;

    fn shell(script: &str, env: &[(String, String)]) -> (Process, Pipes) {
        Process::start("sh", &["-c".into(), script.into()], env, None).expect("there is a shell")
    }

    async fn first_line(stdout: ChildStdout) -> String {
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).await.expect("readable");
        line.trim_end().to_owned()
    }

    fn is_there(id: i32) -> bool {
        use rustix::process::{Pid, test_kill_process};
        Pid::from_raw(id).is_some_and(|id| test_kill_process(id).is_ok())
    }

    /// Until somebody else has waited for it, what was killed is still there.
    async fn is_gone(id: i32) {
        while is_there(id) && !is_zombie(id) {
            tokio::task::yield_now().await;
        }
    }

    fn is_zombie(id: i32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
    }

    #[tokio::test]
    async fn it_sees_what_it_is_given_and_the_basics() {
        let env = [("GIVEN".to_owned(), "yes".to_owned())];
        let (process, pipes) = shell("echo \"$GIVEN ${PATH:+path} ${CARGO_MANIFEST_DIR:-none}\"; read _", &env);
        assert_eq!(first_line(pipes.stdout).await, "yes path none");
        drop(pipes.stdin);
        process.end().await;
    }

    #[tokio::test]
    async fn what_it_started_ends_with_it() {
        let (process, pipes) = shell("sleep 600 & echo $!; read _", &[]);
        let grandchild = first_line(pipes.stdout).await.parse().expect("an id");
        assert!(is_there(grandchild));
        drop(pipes.stdin);
        process.end().await;
        is_gone(grandchild).await;
    }

    #[tokio::test]
    async fn dropping_it_kills_it() {
        let (process, pipes) = shell("trap '' TERM; echo $$; while :; do read _ || sleep 600; done", &[]);
        let id = first_line(pipes.stdout).await.parse().expect("an id");
        assert_eq!(process.id().map(|id| id as i32), Some(id));
        drop(process);
        is_gone(id).await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_will_not_go_is_made_to() {
        let (process, pipes) = shell("trap '' TERM; echo ready; while :; do sleep 600; done", &[]);
        assert_eq!(first_line(pipes.stdout).await, "ready");
        drop(pipes.stdin);
        process.end().await;
    }
}
