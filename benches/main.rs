//! The benchmark: what the service costs, beside the floors that it can't get under on this machine.
//!
//! `cargo bench` measures everything, `cargo bench -- turns streams` two sections, `cargo bench -- --quick` whether the
//! benchmark itself still works. It prints a table and writes JSON.
//!
//! The service is the real binary in a process of its own, the provider's stand-in another process, this one the callers:
//! what each of them costs can be read apart. Everything is repeated, the contenders take turns within a repetition, and
//! floors and figures that are compared come from the same repetition.

mod args;
mod http;
mod load;
mod machine;
mod process;
mod report;
mod roles;
mod sections;
mod service;
mod stats;
mod syncs;
mod text;
mod tooling;

use std::{env, error, fs, process::ExitCode};

use clap::Parser;
use tokio::runtime;

use self::{args::Args, report::Report};

/// As in the service: the callers' share of the two cores is smaller with it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Whatever goes wrong in a benchmark ends it, with its reason.
type Result<T> = std::result::Result<T, Box<dyn error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let done = match env::var(roles::VARIABLE) {
        Ok(role) => roles::play(&role),
        Err(_) => measure(&Args::parse()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the benchmark failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> Result<()> {
    // reqwest asks for a TLS provider even where nothing speaks TLS.
    drop(rustls::crypto::ring::default_provider().install_default());
    let bench = args.bench()?;
    let begun = machine::Ticks::now();
    let mut report = Report::new(machine::facts(&bench)?, args.quick);
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut failed = Vec::new();
    for section in args.sections() {
        eprintln!("{section}: measuring");
        match runtime.block_on(section.run(&bench)) {
            Ok(figures) => report.add(figures),
            // What the others measure is shown all the same.
            Err(error) => failed.push(format!("{section}: {error}")),
        }
    }
    report.finish(machine::Ticks::now().stolen_share_since(begun));
    if let Some(folder) = args.json.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&args.json, format!("{:#}\n", report.json()))?;
    let table = if args.markdown { report.markdown() } else { report.table() };
    println!("{table}");
    eprintln!("written to {}", args.json.display());
    bench.clean_up();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ").into()) }
}
