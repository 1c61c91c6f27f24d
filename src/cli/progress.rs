//! Tells on stderr how far long work is: a bar for a terminal, a line now and then for a log.

use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// How far some work on versions is. Gone when dropped.
pub(super) struct Progress {
    doing: &'static str,
    total: u64,
    done: u64,
    bar: Option<ProgressBar>,
    next_line: Instant,
}

impl Progress {
    /// Work on so many versions; 0 if that is not known.
    pub(super) fn new(doing: &'static str, total: i64) -> Progress {
        let total = u64::try_from(total).unwrap_or(0);
        let bar = stderr().is_terminal().then(|| bar(doing, total));
        Progress { doing, total, done: 0, bar, next_line: Instant::now() + LINE_EVERY }
    }

    /// So many versions are done.
    pub(super) fn set(&mut self, done: i64) {
        self.done = u64::try_from(done).unwrap_or(0);
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        } else if Instant::now() >= self.next_line {
            self.next_line = Instant::now() + LINE_EVERY;
            eprintln!("{}", line(self.doing, self.done, self.total));
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

fn line(doing: &str, done: u64, total: u64) -> String {
    if total == 0 { format!("{doing}: {done} versions") } else { format!("{doing}: {done} of {total} versions") }
}

fn bar(doing: &'static str, total: u64) -> ProgressBar {
    let (bar, template) = match total {
        0 => (ProgressBar::new_spinner(), "{prefix} {spinner} {pos} versions, {elapsed}"),
        _ => (ProgressBar::new(total), "{prefix} [{wide_bar}] {pos} of {len} versions, {eta} left"),
    };
    let style = ProgressStyle::with_template(template).expect("the templates above are right");
    bar.with_style(style).with_prefix(doing)
}
