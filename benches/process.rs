//! Child processes, and what the kernel says about them. Linux only.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use crate::{Result, roles};

/// Ticks of `/proc/<pid>/stat` a second: USER_HZ, 100 on every Linux that Rust has a target for.
const TICK: Duration = Duration::from_millis(10);

/// What the kernel says about a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pid(pub(crate) u32);

/// One of our roles in a process of its own. It ends when this is dropped, and when this process dies.
#[derive(Debug)]
pub(crate) struct Helper {
    child: Child,
    address: SocketAddr,
    // The helper reads it and ends when it is closed, by whatever closes it.
    _stdin: Option<ChildStdin>,
}

impl Pid {
    /// This process.
    pub(crate) fn own() -> Pid {
        Pid(std::process::id())
    }

    /// Processor time that it has used, all threads.
    pub(crate) fn cpu(self) -> Result<Duration> {
        let stat = self.read("stat")?;
        // The name in the second field may hold spaces; nothing after its parenthesis does.
        let fields = stat.rsplit_once(')').ok_or("no name in stat")?.1;
        let mut ticks = 0;
        for text in fields.split_whitespace().skip(11).take(2) {
            ticks += text.parse::<u32>()?;
        }
        Ok(TICK * ticks)
    }

    /// Memory that it holds, in bytes.
    pub(crate) fn resident_bytes(self) -> Result<f64> {
        Ok(self.field("status", "VmRSS:")? * 1024.0)
    }

    /// The most memory that it held, in bytes.
    pub(crate) fn peak_bytes(self) -> Result<f64> {
        Ok(self.field("status", "VmHWM:")? * 1024.0)
    }

    /// What it has caused to be written to disk, in bytes; the kernel counts pages that became dirty.
    pub(crate) fn written_bytes(self) -> Result<f64> {
        self.field("io", "write_bytes:")
    }

    fn field(self, file: &str, name: &str) -> Result<f64> {
        let text = self.read(file)?;
        let value =
            text.lines().find_map(|line| line.strip_prefix(name)).ok_or_else(|| format!("no {name} in {file}"))?;
        Ok(value.trim().trim_end_matches(" kB").parse()?)
    }

    fn read(self, file: &str) -> Result<String> {
        Ok(fs::read_to_string(Path::new("/proc").join(self.0.to_string()).join(file))?)
    }
}

impl Helper {
    /// Starts a role and waits until it listens.
    pub(crate) fn start(role: &str, arguments: &[&str]) -> Result<Helper> {
        let mut child = Command::new(env::current_exe()?)
            .env(roles::VARIABLE, role)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
        let address = line.trim().parse().map_err(|_| format!("the {role} did not start: {line:?}"))?;
        let stdin = child.stdin.take();
        Ok(Helper { child, address, _stdin: stdin })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        Pid(self.child.id())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It has nothing to put in order. Errors: it is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
