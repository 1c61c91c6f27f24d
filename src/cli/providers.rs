//! `causerie providers`: a table of the configured providers and whether they can be used. The composition root asks them;
//! here the answers are shown.

use std::{
    future::Future,
    io::{IsTerminal, Write, stderr, stdout},
    time::Duration,
};

use clap::Args;
use indicatif::ProgressBar;

use super::{Failure, serve::ServeArgs, table};
use crate::config::Config;

pub(super) const AFTER_HELP: &str = "\
Takes every flag of `causerie serve`: what counts is the configuration that the service would run with. No server has to \
run. Exit codes: 0 the default provider can be used, 1 it can't, 2 a setting is wrong.";

/// Clocks are compared to the second.
const IN_STEP_MS: u64 = 2000;

/// What `causerie providers` takes: the settings of `causerie serve`.
#[derive(Debug, Args)]
pub struct ProvidersArgs {
    #[command(flatten)]
    serve: ServeArgs,
}

/// What is known of a provider.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Models that are named without a provider are its own.
    pub is_default: bool,
    /// How it speaks chat completions.
    pub dialect: &'static str,
    /// It answered.
    pub is_reachable: bool,
    /// What is known of its key, in a word or two.
    pub key: &'static str,
    /// How many models it lists.
    pub models: Option<usize>,
    /// How far its clock is ahead of ours (behind: negative), in milliseconds.
    pub clock_skew_ms: Option<i64>,
    /// How long its answer took.
    pub round_trip: Option<Duration>,
    /// What is wrong.
    pub problem: Option<String>,
    /// Turns can be forwarded to it.
    pub is_usable: bool,
}

impl ProvidersArgs {
    /// The configuration that the service would run with, or everything that is wrong with it.
    pub fn config(&self) -> Result<Config, Failure> {
        self.serve.config()
    }
}

/// Waits for the checks and shows them on stdout. Fails if the default provider cannot be used.
pub async fn run(checks: impl Future<Output = Result<Vec<Row>, Failure>>) -> Result<(), Failure> {
    let waiting = stderr().is_terminal().then(|| {
        let spinner = ProgressBar::new_spinner().with_message("asking the providers");
        spinner.enable_steady_tick(Duration::from_millis(100));
        spinner
    });
    let rows = checks.await;
    if let Some(spinner) = waiting {
        spinner.finish_and_clear();
    }
    let rows = rows?;
    stdout().write_all(table(&rows).as_bytes())?;
    match rows.iter().find(|row| row.is_default && !row.is_usable) {
        Some(row) => Err(Failure::new(format!("the default provider, {}, cannot be used", row.name))
            .note("`causerie providers --offline` tries the stand-in, which needs neither key nor internet.")),
        None => Ok(()),
    }
}

const HEADINGS: [&str; 7] = ["provider", "dialect", "reachable", "key", "models", "clock", "round trip"];

/// A line for each provider, and below them what is wrong.
fn table(rows: &[Row]) -> String {
    let mut lines = vec![HEADINGS.map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let mut text = table::table(lines);
    let problems: Vec<String> = rows.iter().filter_map(problem).collect();
    if !problems.is_empty() {
        text.push('\n');
    }
    text.extend(problems);
    text
}

/// A line that names the provider, as most of what goes wrong does by itself.
fn problem(row: &Row) -> Option<String> {
    let problem = row.problem.as_ref()?;
    Some(if problem.contains(&row.name) { format!("{problem}\n") } else { format!("{}: {problem}\n", row.name) })
}

fn cells(row: &Row) -> [String; 7] {
    let unknown = || "-".to_owned();
    [
        if row.is_default { format!("{} (default)", row.name) } else { row.name.clone() },
        row.dialect.to_owned(),
        if row.is_reachable { "yes" } else { "NO" }.to_owned(),
        row.key.to_owned(),
        row.models.map_or_else(unknown, |models| models.to_string()),
        row.clock_skew_ms.map_or_else(unknown, |ms| clock(ms, row.round_trip)),
        row.round_trip.map_or_else(unknown, |time| format!("{} ms", time.as_millis())),
    ]
}

fn clock(skew_ms: i64, round_trip: Option<Duration>) -> String {
    let half_trip_ms = round_trip.map_or(0, |time| u64::try_from(time.as_millis() / 2).unwrap_or(u64::MAX));
    let off_ms = skew_ms.unsigned_abs();
    if off_ms <= IN_STEP_MS.saturating_add(half_trip_ms) {
        return "in step".to_owned();
    }
    let off = match off_ms / 1000 {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    };
    format!("{off} {}", if skew_ms > 0 { "ahead" } else { "behind" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str) -> Row {
        Row {
            name: name.into(),
            is_default: false,
            dialect: "openai",
            is_reachable: true,
            key: "accepted",
            models: Some(2),
            clock_skew_ms: Some(-300),
            round_trip: Some(Duration::from_micros(42_900)),
            problem: None,
            is_usable: true,
        }
    }

    #[test]
    fn the_table_is_aligned_and_problems_stand_below_it() {
        let down = Row {
            is_reachable: false,
            key: "not known",
            models: None,
            clock_skew_ms: None,
            round_trip: None,
            problem: Some("cannot be reached".into()),
            ..row("gpu-box")
        };
        let default = Row { is_default: true, dialect: "mistral", models: Some(58), ..row("mistral") };
        let expected = "\
provider           dialect  reachable  key        models  clock    round trip
mistral (default)  mistral  yes        accepted   58      in step  42 ms
gpu-box            openai   NO         not known  -       -        -

gpu-box: cannot be reached
";
        assert_eq!(table(&[default, down]), expected);
    }

    #[test]
    fn a_clock_is_off_by_more_than_the_comparison_is() {
        for (skew_ms, expected) in [
            (0, "in step"),
            (-2400, "in step"),
            (2600, "2 s ahead"),
            (-119_999, "119 s behind"),
            (150_000, "2 min ahead"),
            (-7_200_000, "2 h behind"),
            (i64::MIN, "2562047788015 h behind"),
        ] {
            assert_eq!(clock(skew_ms, Some(Duration::from_secs(1))), expected, "{skew_ms}");
        }
    }

    #[tokio::test]
    async fn only_the_default_provider_decides_how_it_ends() {
        let broken = |is_default| Row { is_usable: false, is_default, ..row("a") };
        assert!(run(async { Ok(vec![broken(false)]) }).await.is_ok());
        let failure = run(async { Ok(vec![broken(true)]) }).await.expect_err("it cannot be used");
        assert!(failure.to_string().contains("the default provider, a, cannot be used"), "{failure}");
    }
}
