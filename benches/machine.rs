//! What the figures were measured on.

use std::{
    fs,
    fs::OpenOptions,
    io::Write,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use crate::{Result, args::Bench, stats::Latencies, text};

/// How long the disk is measured.
const DISK_WINDOW: Duration = Duration::from_secs(1);

/// Appends of 2 KB, each followed by its own fdatasync, by one writer.
#[derive(Debug)]
pub(crate) struct Disk {
    /// How many a second.
    pub(crate) rate: f64,
    /// How long one takes, at the median.
    pub(crate) p50_us: f64,
}

/// Measures the floor of a durable write, on the disk that stores are made on.
pub(crate) fn disk(folder: &Path, window: Duration) -> Result<Disk> {
    let path = folder.join("appends");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let record = text::words(3, text::QUESTION_BYTES + text::ANSWER_BYTES);
    let (begun, mut calls) = (Instant::now(), Vec::new());
    while begun.elapsed() < window {
        let call = Instant::now();
        file.write_all(record.as_bytes())?;
        file.sync_data()?;
        calls.push(call.elapsed());
    }
    let rate = calls.len() as f64 / begun.elapsed().as_secs_f64();
    fs::remove_file(path)?;
    Ok(Disk { rate, p50_us: Latencies::new(calls).p50_us() })
}

/// Cores, kernel, disk and what else may explain a figure.
pub(crate) fn facts(bench: &Bench) -> Result<Value> {
    let disk = disk(&bench.scratch, DISK_WINDOW.min(bench.scale.stream_window))?;
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(json!({
        "date": jiff::Timestamp::from_second(since_epoch.as_secs().try_into()?)?.to_string(),
        "cores": thread::available_parallelism()?.get(),
        "processor": line_of("/proc/cpuinfo", "model name"),
        "memory": line_of("/proc/meminfo", "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease"),
        "filesystem": filesystem(&bench.scratch),
        "load_before": read("/proc/loadavg"),
        "fdatasync_per_second": disk.rate.round() as u64,
        "fdatasync_p50_us": disk.p50_us.round() as u64,
        "repetitions": bench.scale.repetitions,
    }))
}

/// Processor time since the machine started, in ticks: what its host gave to others, and all of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticks {
    stolen: f64,
    all: f64,
}

impl Ticks {
    /// Until now.
    pub(crate) fn now() -> Ticks {
        let stat = read("/proc/stat");
        let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
        let ticks: Vec<f64> = fields.filter_map(|field| field.parse().ok()).collect();
        Ticks { stolen: ticks.get(7).copied().unwrap_or(0.0), all: ticks.iter().sum() }
    }

    /// The share that was given to others since then. A high one spoils every figure.
    pub(crate) fn stolen_share_since(self, earlier: Ticks) -> f64 {
        (self.stolen - earlier.stolen) / (self.all - earlier.all).max(1.0)
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn line_of(path: &str, name: &str) -> String {
    let text = read(path);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
    value.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

fn filesystem(folder: &Path) -> String {
    let output = Command::new("df").arg("--output=fstype").arg(folder).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().nth(1).unwrap_or_default().trim().to_owned()
}
