//! The server in a process of its own, which can be killed.
//!
//! The process is this test binary again, with [`child`] as its only test: what runs in it is `causerie::server::run`, as in
//! the product's binary.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use causerie::{
    config::{Config, Sources},
    proto::conversation_service_client::ConversationServiceClient,
    server,
};
use tokio::{net::TcpListener, sync::oneshot};
use tonic::transport::{Channel, Endpoint};

use super::server::Client;

const SETTINGS: &str = "CAUSERIE_TEST_CHILD";
const ADDRESS: &str = "LISTENING ";
const END: &str = "ENDED ";

/// Configuration keys and their text.
pub(crate) type Settings = BTreeMap<String, String>;

/// A running server. Killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    /// Closed, it asks the server to stop.
    stdin: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
    address: Option<SocketAddr>,
}

/// How a process ended by itself.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// What it said; empty if it ended well.
    pub(crate) said: String,
}

/// Settings for a store and a provider.
pub(crate) fn settings(store: &Path, base_url: &str) -> Settings {
    let pairs = [
        ("provider.base_url", base_url),
        ("store.cache_mib", "16"),
        ("store.min_free_mib", "0"),
        ("shutdown.grace", "5s"),
    ];
    let mut settings: Settings = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let key = store.with_extension("key");
    std::fs::write(&key, "test-key").expect("a writable folder");
    settings.insert("provider.key_file".to_owned(), key.display().to_string());
    settings.insert("store.path".to_owned(), store.display().to_string());
    settings
}

impl Process {
    /// Starts a process, without waiting for anything.
    pub(crate) fn spawn(settings: &Settings) -> Process {
        let lines: Vec<String> = settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mut command = Command::new(std::env::current_exe().expect("the test binary"));
        command.args(["--exact", "support::process::child", "--ignored", "--nocapture", "--quiet"]);
        command.env(SETTINGS, lines.join("\n")).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the test binary runs");
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().map(BufReader::new);
        Process { child, stdin, stdout, address: None }
    }

    /// Starts a process and waits until it listens. Its store may still be opening: calls wait for it.
    pub(crate) async fn start(settings: &Settings) -> Process {
        let mut process = Process::spawn(settings);
        let mut stdout = process.stdout.take().expect("not read yet");
        let read = tokio::task::spawn_blocking(move || {
            let address = read_address(&mut stdout);
            (stdout, address)
        });
        let (stdout, address) = read.await.expect("no panic");
        process.stdout = Some(stdout);
        process.address = Some(address.expect("the process listens"));
        process
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

    /// Ends the process at once (SIGKILL).
    pub(crate) fn kill(mut self) {
        self.end_now();
    }

    /// Asks the process to stop and waits for its end.
    pub(crate) async fn stop(mut self) -> Ended {
        drop(self.stdin.take());
        self.ended().await
    }

    /// Waits until the process ends by itself.
    pub(crate) async fn ended(mut self) -> Ended {
        let mut stdout = self.stdout.take().expect("not read yet");
        let wait = move || {
            let mut said = String::new();
            stdout.read_to_string(&mut said).expect("text");
            let code = self.child.wait().expect("a child").code();
            let said = said.split_once(END).map_or("", |(_, said)| said.lines().next().unwrap_or_default());
            Ended { code, said: said.to_owned() }
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

fn read_address(stdout: &mut BufReader<ChildStdout>) -> Option<SocketAddr> {
    loop {
        let mut line = String::new();
        if stdout.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some((_, address)) = line.split_once(ADDRESS) {
            return address.trim().parse().ok();
        }
    }
}

/// What runs in the process.
#[test]
#[ignore = "no test: the process that other tests start and kill"]
fn child() {
    let Ok(settings) = std::env::var(SETTINGS) else { return };
    let settings = settings.lines().filter_map(|line| line.split_once('='));
    let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let config = Config::load(&Sources::from_flags(settings)).expect("a configuration that holds");
    let (stop, stopped) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = stop.send(());
    });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let ended = runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        println!("\n{ADDRESS}{}", listener.local_addr().expect("a bound socket"));
        let stopped = async {
            let _ = stopped.await;
        };
        server::run(listener, config, stopped).await
    });
    drop(runtime);
    if let Err(error) = ended {
        println!("\n{END}{error}");
        std::process::exit(1);
    }
    std::process::exit(0);
}
