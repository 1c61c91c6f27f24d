//! The program itself, as a process: what a user starts, types into and stops.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStderr, Command, Output, Stdio},
    thread::JoinHandle,
};

use tempfile::TempDir;

use super::server::Client;

/// The program, with nothing of this process's surroundings that it would take for a setting.
pub(crate) fn causerie(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causerie"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CAUSERIE_") || name == "MISTRAL_API_KEY" {
            command.env_remove(&*name);
        }
    }
    // No causerie.toml of the sources is read there.
    command.current_dir(directory);
    command
}

/// Runs the program to its end with these lines on stdin.
pub(crate) fn piped(command: &mut Command, input: &str) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_owned();
    // In a thread: both pipes may be full at once. A program that ends early does not read all of it.
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().expect("the program ends");
    writer.join().expect("no panic");
    output
}

/// stdout, stderr and exit code of a run.
pub(crate) fn told(output: &Output) -> (String, String, Option<i32>) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("it prints text");
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

/// A `causerie serve` that has said that it is ready. End it with [`Causerie::stop`].
pub(crate) struct Causerie {
    child: Option<Child>,
    banner: String,
    /// What it says on stderr after its banner.
    rest: Option<JoinHandle<String>>,
    dir: TempDir,
}

impl Causerie {
    /// Starts it on a free port with a store of its own. `arguments` begin with the command.
    pub(crate) fn serve(arguments: &[&str], variables: &[(&str, &str)]) -> Causerie {
        let dir = TempDir::new().expect("a temporary folder");
        let mut command = causerie(dir.path());
        command.args(arguments).args(["--listen", "127.0.0.1:0", "--store-path"]).arg(dir.path().join("store"));
        // The machine's disk is not what these tests are about.
        command.args(["--store-min-free-mib", "0", "--store-cache-mib", "16"]);
        command.envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let banner = read_banner(&mut stderr);
        let rest = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        Causerie { child: Some(child), banner, rest: Some(rest), dir }
    }

    /// What it said when it was ready, without log lines.
    pub(crate) fn banner(&self) -> &str {
        &self.banner
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let line = self.banner.lines().find_map(|line| line.trim().strip_prefix("listening  "));
        let address = line.and_then(|line| line.split_whitespace().next()).expect("the banner says where it listens");
        address.parse().expect("an address")
    }

    pub(crate) fn store(&self) -> String {
        self.dir.path().join("store").display().to_string()
    }

    /// A folder that goes with the server.
    pub(crate) fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// A gRPC client of this server.
    pub(crate) async fn connect(&self) -> Client {
        Client::connect(format!("http://{}", self.address())).await.expect("the server listens")
    }

    /// A command that is a client of this server.
    pub(crate) fn client(&self, arguments: &[&str]) -> Command {
        let mut command = causerie(self.directory());
        command.env("CAUSERIE_SERVER", format!("http://{}", self.address())).args(arguments);
        command
    }

    /// Asks it to stop, as an init system does.
    pub(crate) fn ask_to_stop(&self) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(sent.success(), "the process is there");
    }

    /// Waits for its end, which must be a good one, and gives what it said on the way.
    pub(crate) fn ended(mut self) -> String {
        let status = self.child.take().expect("it runs").wait().expect("it can be waited for");
        let said = self.rest.take().expect("taken once").join().expect("no panic");
        assert_eq!(status.code(), Some(0), "{said}");
        said
    }

    /// Stops it; it must end well.
    pub(crate) fn stop(self) -> String {
        self.ask_to_stop();
        self.ended()
    }
}

impl Drop for Causerie {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Reads up to the banner's last line. Whatever else is said before the end of stderr is in the panic.
fn read_banner(stderr: &mut BufReader<ChildStderr>) -> String {
    let (mut banner, mut all) = (String::new(), String::new());
    let mut line = String::new();
    while stderr.read_line(&mut line).expect("it prints text") > 0 {
        all.push_str(&line);
        if !banner.is_empty() || line.starts_with("causerie ") {
            banner.push_str(&line);
        }
        if line.starts_with("  grpcurl ") {
            return banner;
        }
        line.clear();
    }
    panic!("the server ended before it was ready:\n{all}");
}
