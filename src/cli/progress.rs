//! Tells on stderr how far long work is: a bar for a terminal, a line now and then for a log.

use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// How far some work is. Gone when dropped.
pub(super) struct Progress {
    doing: &'static str,
    /// What it is done on.
    of: &'static str,
    total: u64,
    done: u64,
    bar: Option<ProgressBar>,
    next_line: Instant,
}

impl Progress {
    /// Work on so many versions; 0 if that is not known.
    pub(super) fn new(doing: &'static str, total: i64) -> Progress {
        Progress::of("versions", doing, total)
    }

    /// The same on something else.
    pub(super) fn of(of: &'static str, doing: &'static str, total: i64) -> Progress {
        let total = u64::try_from(total).unwrap_or(0);
        let bar = stderr().is_terminal().then(|| bar(of, doing, total));
        Progress { doing, of, total, done: 0, bar, next_line: Instant::now() + LINE_EVERY }
    }

    /// So many are done.
    pub(super) fn set(&mut self, done: i64) {
        self.done = u64::try_from(done).unwrap_or(0);
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        } else if Instant::now() >= self.next_line {
            self.next_line = Instant::now() + LINE_EVERY;
            eprintln!("{}", line(self.of, self.doing, self.done, self.total));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(of: &str, doing: &str, done: u64, total: u64) -> String {
    if total == 0 { format!("{doing}: {done} {of}") } else { format!("{doing}: {done} of {total} {of}") }
}

fn bar(of: &str, doing: &'static str, total: u64) -> ProgressBar {
    let (bar, template) = match total {
        0 => (ProgressBar::new_spinner(), format!("{{prefix}} {{spinner}} {{pos}} {of}, {{elapsed}}")),
        _ => (ProgressBar::new(total), format!("{{prefix}} [{{wide_bar}}] {{pos}} of {{len}} {of}, {{eta}} left")),
    };
    let style = ProgressStyle::with_template(&template).expect("the templates above are right");
    bar.with_style(style).with_prefix(doing)
}
