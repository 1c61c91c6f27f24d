//! What is measured.

mod background;
mod branches;
mod contest;
mod crowd;
mod fixture;
mod forwarding;
mod growth;
mod idle;
mod readers;
mod startup;
mod streams;
mod tools;
mod turns;
mod watch;

use std::fmt;

use clap::ValueEnum;

use crate::{Result, args::Bench, report::Figure};

/// A part of the benchmark that can be run by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Section {
    /// What the machine gives without the service: direct calls, the bare hop, direct streams.
    Floors,
    /// Turns a second and what they add to a direct call, durable and not.
    Turns,
    /// Streams: time to the first event, chunks a second, memory of idle ones.
    Streams,
    /// Background turns a second, beside direct ones.
    Background,
    /// What limits, breaker and retries cost where nothing goes wrong, and what comes through at twice the allowed rate.
    Forwarding,
    /// What a round of tools adds to a turn, over its two hops over the network.
    Tools,
    /// Ten thousand readers of one turn: whether they hold it up, and what they cost.
    Readers,
    /// How long after a turn's acknowledgement a watcher is told of it, and what a thousand watchers cost.
    Watch,
    /// What a turn costs at turn 10 and at turn 10,000, and the thousandth branch.
    Growth,
    /// Start-up with many conversations.
    Startup,
}

impl Section {
    /// All that is measured if nothing is named. The floors are measured along with what stands on them.
    pub(crate) const USUAL: [Section; 9] = [
        Section::Turns,
        Section::Background,
        Section::Streams,
        Section::Forwarding,
        Section::Tools,
        Section::Readers,
        Section::Watch,
        Section::Growth,
        Section::Startup,
    ];

    /// Measures it.
    pub(crate) async fn run(self, bench: &Bench) -> Result<Vec<Figure>> {
        match self {
            Section::Floors => {
                let mut figures = turns::floors(bench).await?;
                figures.extend(streams::floors(bench).await?);
                Ok(figures)
            }
            Section::Turns => turns::run(bench).await,
            Section::Streams => {
                let mut figures = streams::run(bench).await?;
                figures.extend(idle::run(bench).await?);
                Ok(figures)
            }
            Section::Growth => {
                let mut figures = growth::run(bench).await?;
                figures.extend(branches::run(bench).await?);
                Ok(figures)
            }
            Section::Background => background::run(bench).await,
            Section::Forwarding => forwarding::run(bench).await,
            Section::Tools => tools::run(bench).await,
            Section::Readers => readers::run(bench).await,
            Section::Watch => watch::run(bench).await,
            Section::Startup => startup::run(bench).await,
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Section::Floors => "floors",
            Section::Turns => "turns",
            Section::Streams => "streams",
            Section::Background => "background",
            Section::Forwarding => "forwarding",
            Section::Tools => "tools",
            Section::Readers => "readers",
            Section::Watch => "watch",
            Section::Growth => "growth",
            Section::Startup => "startup",
        })
    }
}
