//! What a value may be. The same text rules hold for flags, the environment and the file.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use tracing_subscriber::EnvFilter;

type Parse<T> = Box<dyn Fn(&str) -> Result<T, Option<String>>>;

/// How a text becomes a value, and how to tell a person what is allowed.
pub(super) struct Rule<T> {
    /// What stands for the value in the help, such as `PATH`.
    pub(super) name: &'static str,
    /// What is allowed, such as "a whole number from 1 to 16".
    pub(super) allowed: String,
    /// The value, or what is wrong with the text if `allowed` does not say enough.
    parse: Parse<T>,
}

impl<T> Rule<T> {
    fn new(name: &'static str, allowed: impl Into<String>, parse: impl Fn(&str) -> Option<T> + 'static) -> Rule<T> {
        Rule { name, allowed: allowed.into(), parse: Box::new(move |text| parse(text).ok_or(None)) }
    }

    /// The value, or a text that continues "`--flag` is `value`, …".
    pub(super) fn parse(&self, text: &str) -> Result<T, String> {
        (self.parse)(text).map_err(|why| why.unwrap_or_else(|| format!("must be {}", self.allowed)))
    }
}

impl Rule<bool> {
    pub(super) fn switch() -> Rule<bool> {
        Rule::new("BOOL", "true or false", |text| match text {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        })
    }
}

impl<T: TryFrom<u64> + 'static> Rule<T> {
    pub(super) fn count(range: RangeInclusive<u64>) -> Rule<T> {
        let allowed = format!("a whole number from {} to {}", range.start(), range.end());
        Rule::new("NUMBER", allowed, move |text| in_range(text, &range)?.try_into().ok())
    }

    /// Written in MiB, kept in bytes.
    pub(super) fn mib(range: RangeInclusive<u64>) -> Rule<T> {
        let allowed = format!("a whole number of MiB from {} to {}", range.start(), range.end());
        Rule::new("MIB", allowed, move |text| (in_range(text, &range)? << 20).try_into().ok())
    }
}

fn in_range(text: &str, range: &RangeInclusive<u64>) -> Option<u64> {
    text.parse().ok().filter(|number| range.contains(number))
}

impl Rule<Duration> {
    /// From `min` to `max`, both written as durations.
    pub(super) fn duration(min: &'static str, max: &'static str) -> Rule<Duration> {
        let bound = |text| parse_duration(text).expect("the bounds of a rule are durations");
        let range = bound(min)..=bound(max);
        let allowed = format!("a duration from {min} to {max}, such as 500ms, 30s or 10m");
        Rule::new("DURATION", allowed, move |text| parse_duration(text).filter(|value| range.contains(value)))
    }
}

/// A whole number and its unit: `ms`, `s`, `m` or `h`.
fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let number: u64 = number.parse().ok()?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(unit_ms).map(Duration::from_millis)
}

impl Rule<SocketAddr> {
    pub(super) fn address() -> Rule<SocketAddr> {
        let allowed = "an IP address and a port, such as 127.0.0.1:50051, [::1]:50051 or 0.0.0.0:50051";
        Rule::new("ADDRESS", allowed, |text| match text.strip_prefix("localhost:") {
            Some(port) => Some(SocketAddr::from(([127, 0, 0, 1], port.parse().ok()?))),
            None => text.parse().ok(),
        })
    }
}

impl Rule<PathBuf> {
    pub(super) fn path() -> Rule<PathBuf> {
        Rule::new("PATH", "a path", |text| (!text.is_empty() && !text.contains('\0')).then(|| PathBuf::from(text)))
    }
}

impl Rule<String> {
    /// An address that a path can be added to, without the slash at its end.
    pub(super) fn base_url() -> Rule<String> {
        let allowed = "http:// or https://, a host and perhaps a port and a path, such as https://api.mistral.ai";
        Rule { name: "URL", allowed: allowed.into(), parse: Box::new(parse_base_url) }
    }

    pub(super) fn log_filter() -> Rule<String> {
        let allowed = "off, error, warn, info, debug, trace, or directives such as causerie=debug,warn";
        Rule::new("LEVEL", allowed, |text| is_log_filter(text).then(|| text.to_owned()))
    }
}

fn parse_base_url(text: &str) -> Result<String, Option<String>> {
    let url: http::Uri = text.parse().map_err(|_| None)?;
    let has_host = url.host().is_some_and(|host| !host.is_empty());
    let authority = url.authority().map_or("", |authority| authority.as_str());
    if !matches!(url.scheme_str(), Some("http" | "https")) || !has_host {
        return Err(None);
    }
    // Someone's user:password would end in logs and in the start banner.
    if authority.contains('@') || url.query().is_some() || text.contains('#') {
        return Err(Some("must have no user name, query or fragment; the key is set apart from it".into()));
    }
    let trimmed = text.trim_end_matches('/');
    match trimmed.strip_suffix("/v1").or_else(|| trimmed.strip_suffix("/v1/chat/completions")) {
        Some(base) => Err(Some(format!("must end before /v1, which is added to it: {base}"))),
        None => Ok(trimmed.to_owned()),
    }
}

/// `EnvFilter` takes a lone word for the name of a module, so that a level with a typing error would silence the log.
fn is_log_filter(text: &str) -> bool {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word.trim()));
    let words_known = text.split(',').all(|part| part.contains(['=', '[']) || is_level(part));
    words_known && EnvFilter::builder().parse(text).is_ok()
}

impl<T: Copy + 'static> Rule<T> {
    /// One of a few words.
    pub(super) fn one_of(words: &'static [(&'static str, T)]) -> Rule<T> {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        Rule::new("WORD", names.join(" or "), |text| {
            words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value)
        })
    }
}
