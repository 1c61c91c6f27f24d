//! What is measured.

mod contest;
mod turns;

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
}

impl Section {
    /// All that is measured if nothing is named. The floors are measured along with what stands on them.
    pub(crate) const USUAL: [Section; 1] = [Section::Turns];

    /// Measures it.
    pub(crate) async fn run(self, bench: &Bench) -> Result<Vec<Figure>> {
        match self {
            Section::Floors => turns::floors(bench).await,
            Section::Turns => turns::run(bench).await,
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Section::Floors => "floors",
            Section::Turns => "turns",
        })
    }
}
