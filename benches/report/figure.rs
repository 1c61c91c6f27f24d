//! One figure: a value from each repetition, and the mark for their median.

use serde_json::{Value, json};

use crate::stats::Spread;

/// What was measured.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    /// The section that measured it.
    pub(crate) section: &'static str,
    /// What it is, for a reader who knows the service.
    pub(crate) what: String,
    /// Of all values.
    pub(crate) unit: Unit,
    /// One from each repetition.
    pub(crate) values: Vec<f64>,
    /// What it is beside another figure: "2.1 of direct".
    pub(crate) compared: Option<String>,
    /// What its median should be.
    pub(crate) mark: Option<Mark>,
}

/// The unit of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Microseconds.
    Micros,
    /// Milliseconds.
    Millis,
    /// So many a second.
    PerSecond,
    /// 1,024 bytes.
    KiB,
    /// 1,048,576 bytes.
    MiB,
    /// A plain number.
    Number,
}

/// What a median should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mark {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Figure {
    /// A figure without a mark.
    pub(crate) fn new(section: &'static str, what: impl Into<String>, unit: Unit, values: Vec<f64>) -> Figure {
        Figure { section, what: what.into(), unit, values, compared: None, mark: None }
    }

    /// Adds what the median should be.
    pub(crate) fn mark(self, mark: Mark) -> Figure {
        Figure { mark: Some(mark), ..self }
    }

    /// Adds how it stands to a figure of the same repetitions: the median of the ratios.
    pub(crate) fn beside(self, values: &[f64], name: &str) -> Figure {
        let ratio = Spread::of(&ratios(&self.values, values)).median;
        let compared = ratio.is_finite().then(|| format!("{ratio:.2} of {name}"));
        Figure { compared, ..self }
    }

    /// Over the repetitions.
    pub(crate) fn spread(&self) -> Spread {
        Spread::of(&self.values)
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let Spread { min, median, max } = self.spread();
        let Figure { section, what, unit, values, compared, mark } = self;
        json!({
            "section": section,
            "what": what,
            "unit": unit.name(),
            "median": median,
            "min": min,
            "max": max,
            "values": values,
            "compared": compared,
            "mark": mark.map(|mark| mark.show(*unit)),
            "met": mark.map(|mark| mark.is_met(median)),
        })
    }
}

impl Unit {
    /// The value with its unit, in about three digits.
    pub(crate) fn show(self, value: f64) -> String {
        let number = match value.abs() {
            size if !size.is_finite() => return "–".to_owned(),
            size if size >= 100.0 => thousands(value.round()),
            size if size >= 10.0 => format!("{value:.1}"),
            _ => format!("{value:.2}"),
        };
        match self.name() {
            "" => number,
            name => format!("{number} {name}"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Unit::Micros => "µs",
            Unit::Millis => "ms",
            Unit::PerSecond => "/s",
            Unit::KiB => "KiB",
            Unit::MiB => "MiB",
            Unit::Number => "",
        }
    }
}

impl Mark {
    /// Whether this median is as it should be. What is not a number is not.
    pub(crate) fn is_met(self, median: f64) -> bool {
        match self {
            Mark::AtMost(most) => median <= most,
            Mark::AtLeast(least) => median >= least,
        }
    }

    /// For people.
    pub(crate) fn show(self, unit: Unit) -> String {
        match self {
            Mark::AtMost(most) => format!("≤ {}", unit.show(most)),
            Mark::AtLeast(least) => format!("≥ {}", unit.show(least)),
        }
    }
}

/// Of figures of the same repetitions, one by one.
pub(crate) fn ratios(values: &[f64], of: &[f64]) -> Vec<f64> {
    values.iter().zip(of).map(|(value, of)| value / of).collect()
}

fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}
