//! Figures, the marks that they are held against, and the forms in which they are shown.

mod figure;

use std::fmt::Write;

use serde_json::{Value, json};

pub(crate) use self::figure::{Figure, Mark, Unit, ratios};

/// All figures of a run.
#[derive(Debug)]
pub(crate) struct Report {
    machine: Value,
    /// Marks are for a full run on a quiet machine.
    judged: bool,
    figures: Vec<Figure>,
}

const COLUMNS: [&str; 7] = ["what", "median", "min", "max", "compared", "mark", ""];

impl Report {
    /// An empty one.
    pub(crate) fn new(machine: Value, quick: bool) -> Report {
        Report { machine, judged: !quick, figures: Vec::new() }
    }

    /// Adds a section's figures.
    pub(crate) fn add(&mut self, figures: Vec<Figure>) {
        self.figures.extend(figures);
    }

    /// Adds what is known only at the end: the share of processor time that the host gave to others.
    pub(crate) fn finish(&mut self, stolen_share: f64) {
        self.machine["stolen_share"] = json!((stolen_share * 1e4).round() / 1e4);
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let figures: Vec<Value> = self.figures.iter().map(Figure::json).collect();
        json!({"machine": self.machine, "judged": self.judged, "figures": figures})
    }

    /// For people, in a terminal.
    pub(crate) fn table(&self) -> String {
        let mut widths = COLUMNS.map(str::len);
        for row in self.figures.iter().map(|figure| self.row(figure)) {
            for (width, cell) in widths.iter_mut().zip(&row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = |cells: &[String; 7]| {
            let mut line = format!("{:<1$}", cells[0], widths[0]);
            for (cell, width) in cells.iter().zip(widths).skip(1) {
                write!(line, "  {cell:>width$}").expect("a String takes all");
            }
            line.trim_end().to_owned() + "\n"
        };
        let mut text = format!("{}\n", self.machine_line());
        let mut section = "";
        for figure in &self.figures {
            if figure.section != section {
                section = figure.section;
                text += &format!("\n{}\n", section.to_uppercase());
                text += &line(&COLUMNS.map(str::to_owned));
            }
            text += &line(&self.row(figure));
        }
        text
    }

    /// For the README.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("{}\n", self.machine_line());
        let mut section = "";
        for figure in &self.figures {
            if figure.section != section {
                section = figure.section;
                text += &format!(
                    "\n| {section} | median | min – max | compared | mark | |\n|---|---:|---:|---:|---:|---|\n"
                );
            }
            let [what, median, min, max, compared, mark, verdict] = self.row(figure);
            text += &format!("| {what} | {median} | {min} – {max} | {compared} | {mark} | {verdict} |\n");
        }
        text
    }

    fn row(&self, figure: &Figure) -> [String; 7] {
        let spread = figure.spread();
        let show = |value| figure.unit.show(value);
        let verdict = match figure.mark {
            Some(mark) if self.judged && mark.is_met(spread.median) => "met",
            Some(_) if self.judged => "MISSED",
            _ => "",
        };
        let mark = figure.mark.map(|mark| mark.show(figure.unit)).unwrap_or_default();
        let compared = figure.compared.clone().unwrap_or_default();
        [
            figure.what.clone(),
            show(spread.median),
            show(spread.min),
            show(spread.max),
            compared,
            mark,
            verdict.to_owned(),
        ]
    }

    fn machine_line(&self) -> String {
        let fact = |name: &str| match &self.machine[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        format!(
            "{} cores ({}), Linux {}, {}: {} appends of 2 KB with an fdatasync each a second ({} µs); load before: {}; \
             stolen: {}; repetitions: {}; {}",
            fact("cores"),
            fact("processor"),
            fact("kernel"),
            fact("filesystem"),
            fact("fdatasync_per_second"),
            fact("fdatasync_p50_us"),
            fact("load_before"),
            fact("stolen_share"),
            fact("repetitions"),
            fact("date"),
        )
    }
}
