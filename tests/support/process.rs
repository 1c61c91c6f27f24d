//! The product's binary in a process of its own, which can be killed.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
    thread::{self, JoinHandle},
    time::Duration,
};

use causerie::proto::conversation_service_client::ConversationServiceClient;
use tokio::sync::oneshot;
use tonic::transport::{Channel, Endpoint};

use super::server::Client;

/// Flags of `causerie serve` and their values.
pub(crate) type Flags = BTreeMap<&'static str, String>;

/// A running server. Killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    /// Reads what the process says until its end.
    listener: Option<JoinHandle<String>>,
    announced: Option<oneshot::Receiver<SocketAddr>>,
    address: Option<SocketAddr>,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// What it said on stderr.
    pub(crate) said: String,
}

/// Flags for a store and a provider.
pub(crate) fn flags(store: &Path, base_url: &str) -> Flags {
    let key = store.with_extension("key");
    fs::write(&key, "test-key").expect("a writable folder");
    [
        ("--listen", "127.0.0.1:0".to_owned()),
        ("--providers-mistral-base-url", base_url.to_owned()),
        ("--providers-mistral-key-file", key.display().to_string()),
        ("--store-path", store.display().to_string()),
        ("--store-cache-mib", "16".to_owned()),
        // The machine's disk is not what these tests are about.
        ("--store-min-free-mib", "0".to_owned()),
        ("--shutdown-grace", "5s".to_owned()),
        ("--log-level", "error".to_owned()),
    ]
    .into()
}

impl Process {
    /// Starts a process, without waiting for anything.
    pub(crate) fn spawn(flags: &Flags) -> Process {
        let store = Path::new(&flags["--store-path"]);
        let mut command = Command::new(env!("CARGO_BIN_EXE_causerie"));
        // No settings but the flags: neither variables nor a file in the working directory.
        command.env_clear().current_dir(store.parent().expect("a folder for the store"));
        command.arg("serve").args(flags.iter().flat_map(|(flag, value)| [*flag, value]));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let stderr = child.stderr.take().expect("it is piped");
        let (announce, announced) = oneshot::channel();
        let listener = thread::spawn(move || listen(stderr, announce));
        Process { child, listener: Some(listener), announced: Some(announced), address: None }
    }

    /// Starts a process and waits until it is ready.
    pub(crate) async fn start(flags: &Flags) -> Process {
        Process::try_start(flags).await.unwrap_or_else(|ended| panic!("the process does not listen: {ended:?}"))
    }

    /// The same, for one that may end instead.
    pub(crate) async fn try_start(flags: &Flags) -> Result<Process, Ended> {
        let mut process = Process::spawn(flags);
        let announced = process.announced.take().expect("nobody has waited yet").await;
        match announced {
            Ok(address) => {
                process.address = Some(address);
                Ok(process)
            }
            Err(_) => Err(process.ended().await),
        }
    }

    /// A client on a connection of its own.
    pub(crate) async fn client(&self) -> Client {
        ConversationServiceClient::new(self.channel().await)
    }

    pub(crate) async fn channel(&self) -> Channel {
        let address = self.address.expect("the process was started, not only spawned");
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        endpoint.connect().await.expect("the process listens")
    }

    /// Memory that it holds, in bytes. Linux only, as the next one.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of it");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// Processor time that it took so far.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        // The name of the program, in parentheses, may have blanks.
        let (_, after_name) = stat.rsplit_once(')').expect("a name");
        let ticks = |field: usize| -> u64 {
            after_name.split_whitespace().nth(field).and_then(|ticks| ticks.parse().ok()).expect("a number")
        };
        // Linux counts in hundredths of a second, wherever programs see it.
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// Files and sockets that it has open.
    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it runs").count()
    }

    /// Ends the process at once (SIGKILL).
    pub(crate) fn kill(mut self) {
        self.end_now();
    }

    /// Asks the process to stop (SIGTERM) and waits for its end.
    pub(crate) async fn stop(self) -> Ended {
        let kill = format!("kill -TERM {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &kill]).status().expect("a shell");
        assert!(sent.success(), "the process has ended before: {:?}", self.ended().await);
        self.ended().await
    }

    /// Waits until the process ends by itself.
    pub(crate) async fn ended(mut self) -> Ended {
        let wait = move || {
            let code = self.child.wait().expect("a child").code();
            let said = self.listener.take().expect("nobody has waited yet").join().expect("no panic");
            Ended { code, said }
        };
        tokio::task::spawn_blocking(wait).await.expect("no panic")
    }

    fn end_now(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end_now();
    }
}

/// Announces the address that the process says, and reads on, so that the process never waits for a reader.
fn listen(stderr: ChildStderr, announce: oneshot::Sender<SocketAddr>) -> String {
    let mut stderr = BufReader::new(stderr);
    let mut said = String::new();
    while stderr.read_line(&mut said).is_ok_and(|read| read > 0) {
        let last = said.lines().last().unwrap_or_default();
        let address = last.trim().strip_prefix("listening ").and_then(|rest| rest.split_whitespace().next());
        if let Some(address) = address.and_then(|address| address.parse().ok()) {
            // Nobody waits where the process is killed at its start.
            let _ = announce.send(address);
            // What is no UTF-8 would be the end of it.
            let _ = stderr.read_to_string(&mut said);
            break;
        }
    }
    said
}
