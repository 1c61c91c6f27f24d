//! The command line, and how much is measured.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;

use crate::{Result, sections::Section};

/// What the service costs, beside the floors of this machine.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --")]
pub(crate) struct Args {
    /// What to measure; everything if nothing is named.
    sections: Vec<Section>,
    /// Small and short: shows that the benchmark works, its figures mean nothing.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Print the table as Markdown.
    #[arg(long)]
    pub(crate) markdown: bool,
    /// Where the figures go as JSON.
    #[arg(long, default_value_os_t = home().join("causerie.json"))]
    pub(crate) json: PathBuf,
    /// How often everything is repeated.
    #[arg(long)]
    repetitions: Option<usize>,
    /// How many callers ask for turns at once, such as 1,32,256.
    #[arg(long, value_delimiter = ',')]
    callers: Option<Vec<usize>>,
    /// The binary that is measured, to compare two builds of it.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_causerie"))]
    server: PathBuf,
    /// What cargo adds by itself.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What the sections measure, with, and how long.
#[derive(Debug)]
pub(crate) struct Bench {
    /// The service's binary.
    pub(crate) server: PathBuf,
    /// Where fixtures are kept between runs.
    pub(crate) home: PathBuf,
    /// Where stores are made; removed at the end. On the disk that is measured.
    pub(crate) scratch: PathBuf,
    /// How much.
    pub(crate) scale: Scale,
}

/// How much is measured.
#[derive(Debug, Clone)]
pub(crate) struct Scale {
    /// Repetitions of everything.
    pub(crate) repetitions: usize,
    /// Callers of turns at once.
    pub(crate) callers: Vec<usize>,
    /// How long callers run before it counts.
    pub(crate) warm_up: Duration,
    /// How long unary calls are counted.
    pub(crate) window: Duration,
    /// How long streams are counted.
    pub(crate) stream_window: Duration,
    /// Open idle streams, fewer and more: the slope between them is the cost of one.
    pub(crate) idle_streams: [usize; 2],
    /// The turns whose cost is measured.
    pub(crate) depths: Vec<usize>,
    /// Branches from one entry.
    pub(crate) branches: usize,
    /// Conversations in the store that is started.
    pub(crate) conversations: usize,
    /// Readers of one turn at once.
    pub(crate) readers: usize,
    /// Watchers at once.
    pub(crate) watchers: usize,
    /// Turns a second of which a watcher is told.
    pub(crate) watched_rate: f64,
    /// How long a rate limit is watched, twice.
    pub(crate) minute: Duration,
}

impl Args {
    /// The sections that were asked for.
    pub(crate) fn sections(&self) -> &[Section] {
        if self.sections.is_empty() { &Section::USUAL } else { &self.sections }
    }

    /// What the sections need. Makes the folders.
    pub(crate) fn bench(&self) -> Result<Bench> {
        let mut scale = if self.quick { Scale::quick() } else { Scale::full() };
        scale.repetitions = self.repetitions.unwrap_or(scale.repetitions).max(1);
        if let Some(callers) = &self.callers {
            scale.callers.clone_from(callers);
        }
        let home = home();
        let scratch = home.join("scratch");
        // What an earlier run left behind when it was interrupted.
        if scratch.exists() {
            fs::remove_dir_all(&scratch)?;
        }
        fs::create_dir_all(&scratch)?;
        Ok(Bench { server: self.server.clone(), home, scratch, scale })
    }
}

impl Bench {
    /// A folder of this name in the scratch folder, empty.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf> {
        let path = self.scratch.join(name);
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Removes the scratch folder.
    pub(crate) fn clean_up(&self) {
        if let Err(error) = fs::remove_dir_all(&self.scratch) {
            eprintln!("{} was left behind: {error}", self.scratch.display());
        }
    }
}

impl Scale {
    fn full() -> Scale {
        Scale {
            repetitions: 5,
            callers: vec![1, 32, 256],
            warm_up: Duration::from_millis(300),
            window: Duration::from_secs(1),
            stream_window: Duration::from_secs(3),
            idle_streams: [1_000, 2_000],
            depths: vec![10, 100, 1_000, 10_000],
            branches: 1_000,
            conversations: 100_000,
            readers: 10_000,
            watchers: 1_000,
            watched_rate: 5_000.0,
            minute: Duration::from_secs(61),
        }
    }

    fn quick() -> Scale {
        Scale {
            repetitions: 1,
            callers: vec![1, 32, 256],
            warm_up: Duration::from_millis(50),
            window: Duration::from_millis(200),
            stream_window: Duration::from_millis(400),
            idle_streams: [100, 200],
            depths: vec![10, 100],
            branches: 200,
            conversations: 2_000,
            readers: 200,
            watchers: 50,
            watched_rate: 500.0,
            minute: Duration::from_secs(2),
        }
    }
}

/// Under the target folder, wherever that is.
fn home() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench")
}
