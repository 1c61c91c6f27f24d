//! How often a process syncs files: counted by the kernel, asked through `perf`, so that no count of our own is believed.
//!
//! Counting system calls makes all of them a little slower, in every process. So it is done in windows of its own.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use crate::{Result, process::Pid};

const EVENTS: &str = "syscalls:sys_enter_fdatasync,syscalls:sys_enter_fsync";

/// A count that runs until it is asked for.
#[derive(Debug)]
pub(crate) struct Count {
    perf: Child,
    orders: File,
    acknowledged: File,
    output: PathBuf,
}

impl Count {
    /// Begins to count. An error says why this machine can't.
    pub(crate) fn begin(pid: Pid, folder: &Path) -> Result<Count> {
        let (orders, acknowledged) = (fifo(folder, "perf.orders")?, fifo(folder, "perf.acknowledged")?);
        let output = folder.join("perf.csv");
        let mut perf = Command::new("perf")
            .args(["stat", "-x,", "--delay=-1", "-e", EVENTS, "-p", &pid.0.to_string(), "-o"])
            .arg(&output)
            .arg(format!("--control=fifo:{},{}", orders.0.display(), acknowledged.0.display()))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("perf: {error}"))?;
        // It ends at once if it may not count, and would then never acknowledge.
        thread::sleep(Duration::from_millis(300));
        if let Some(status) = perf.try_wait()? {
            return Err(format!("perf may not count here: {status}").into());
        }
        let mut count = Count { perf, orders: orders.1, acknowledged: acknowledged.1, output };
        count.order("enable")?;
        Ok(count)
    }

    /// How many syncs there were.
    pub(crate) fn end(mut self) -> Result<f64> {
        self.order("disable")?;
        Command::new("kill").args(["-INT", &self.perf.id().to_string()]).status()?;
        self.perf.wait()?;
        let text = fs::read_to_string(&self.output)?;
        let counts = text.lines().filter_map(|line| line.split_once(",")?.0.parse::<f64>().ok());
        Ok(counts.sum())
    }

    /// Waits until it is done, so that the count has sharp edges.
    fn order(&mut self, order: &str) -> Result<()> {
        writeln!(self.orders, "{order}")?;
        let mut answer = [0; 5];
        self.acknowledged.read_exact(&mut answer)?;
        if answer.starts_with(b"ack\n") { Ok(()) } else { Err(format!("perf answered {answer:?}").into()) }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        // Errors: it has ended already.
        drop(self.perf.kill());
        drop(self.perf.wait());
    }
}

fn fifo(folder: &Path, name: &str) -> Result<(PathBuf, File)> {
    let path = folder.join(name);
    if !path.exists() && !Command::new("mkfifo").arg(&path).status()?.success() {
        return Err(format!("{} can't be made", path.display()).into());
    }
    // Both ways, because opening one end would wait for the other.
    let file = OpenOptions::new().read(true).write(true).open(&path)?;
    Ok((path, file))
}
