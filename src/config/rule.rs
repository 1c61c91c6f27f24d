//! What a value may be. The same text rules hold for flags, the environment and the file.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use http::HeaderValue;
use reqwest::Url;
use rust_decimal::Decimal;
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
    /// Whether the text may be a secret, which no fault may show.
    hidden: bool,
}

impl<T> Rule<T> {
    fn new(name: &'static str, allowed: impl Into<String>, parse: impl Fn(&str) -> Option<T> + 'static) -> Rule<T> {
        Rule { name, allowed: allowed.into(), parse: Box::new(move |text| parse(text).ok_or(None)), hidden: false }
    }

    /// The same for a text that may be a secret: faults do not show it.
    pub(super) fn hidden(self) -> Rule<T> {
        Rule { hidden: true, ..self }
    }

    pub(super) fn is_hidden(&self) -> bool {
        self.hidden
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

impl Rule<u32> {
    /// In bytes, from `min` to `max`, both written as sizes.
    pub(super) fn size(min: &'static str, max: &'static str) -> Rule<u32> {
        let bound = |text| parse_size(text).expect("the bounds of a rule are sizes");
        let range = bound(min)..=bound(max);
        let allowed = format!("a size from {min} to {max}, such as 64KiB or 1MiB");
        Rule::new("SIZE", allowed, move |text| parse_size(text).filter(|value| range.contains(value)))
    }
}

/// A whole number and its unit: `B`, `KiB` or `MiB`.
fn parse_size(text: &str) -> Option<u32> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let number: u32 = number.parse().ok()?;
    let unit = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    number.checked_mul(unit)
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

/// A whole number and its unit: `ms`, `s`, `m`, `h` or `d`.
fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let number: u64 = number.parse().ok()?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit_ms).map(Duration::from_millis)
}

impl Rule<Duration> {
    /// A window of time, such as that of a budget.
    pub(super) fn window() -> Rule<Duration> {
        let range = Duration::from_secs(60)..=Duration::from_secs(366 * 24 * 3600);
        let allowed = "a duration from 1m to 366d, such as 1h, 1d or 30d";
        Rule::new("DURATION", allowed, move |text| parse_duration(text).filter(|value| range.contains(value)))
    }
}

impl Rule<f64> {
    /// A share of one.
    pub(super) fn share(range: RangeInclusive<f64>) -> Rule<f64> {
        let allowed = format!("a number from {} to {}", range.start(), range.end());
        Rule::new("NUMBER", allowed, move |text| text.parse().ok().filter(|number| range.contains(number)))
    }
}

impl Rule<Decimal> {
    /// An exact amount of US dollars.
    pub(super) fn dollars() -> Rule<Decimal> {
        let allowed = "an amount of US dollars from 0 to 1000000 with at most 4 decimals, such as 0.25";
        Rule::new("USD", allowed, |text| {
            let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            let amount = Decimal::from_str_exact(text).ok().filter(|_| plain && !text.starts_with('.'))?;
            (amount.normalize().scale() <= 4 && amount <= Decimal::from(1_000_000)).then_some(amount)
        })
    }
}

impl Rule<HeaderValue> {
    /// The value of a header. It may be a secret: neither faults nor its `Debug` show it.
    pub(super) fn header() -> Rule<HeaderValue> {
        let rule = Rule::new("TEXT", "a text of visible ASCII characters and blanks, at most 4096", |text| {
            let allowed = text.len() <= 4096 && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
            let mut value = HeaderValue::from_str(text).ok().filter(|_| allowed)?;
            value.set_sensitive(true);
            Some(value)
        });
        rule.hidden()
    }
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
    /// An address that a path can be added to, without the slash at its end, or that of chat completions itself.
    pub(super) fn base_url() -> Rule<String> {
        let allowed = "http:// or https://, a host and perhaps a port and a path, such as https://api.mistral.ai";
        Rule { name: "URL", allowed: allowed.into(), parse: Box::new(parse_base_url), hidden: false }
    }

    /// The name of a provider.
    pub(super) fn provider() -> Rule<String> {
        Rule::new("PROVIDER", "1 to 32 characters, each of a-z, 0-9 and -", |text| {
            let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            ((1..=32).contains(&text.len()) && text.bytes().all(allowed)).then(|| text.to_owned())
        })
    }

    /// The name of a tool, as models write it.
    pub(super) fn tool() -> Rule<String> {
        Rule::new("NAME", "1 to 64 characters, each of A-Z, a-z, 0-9, _ and -", |text| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
            ((1..=64).contains(&text.len()) && text.bytes().all(allowed)).then(|| text.to_owned())
        })
    }

    /// An address with places for arguments. It is read where it is used.
    pub(super) fn url_template() -> Rule<String> {
        let rule = Rule::new(
            "URL",
            "http:// or https://, a host, and perhaps {arguments} in the path and the query",
            |text| {
                let starts = text.starts_with("https://") || text.starts_with("http://");
                (starts && text.len() <= 8192).then(|| text.to_owned())
            },
        );
        rule.hidden()
    }

    /// A place in the network, as `tools.http.allow` has it.
    pub(super) fn network_place() -> Rule<String> {
        let allowed =
            "an address, a range or a host's name, each with or without a port, such as 10.0.0.0/8 or localhost:8080";
        Rule::new("PLACE", allowed, |text| {
            let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']' | '/');
            ((1..=256).contains(&text.len()) && !text.contains("://") && text.chars().all(fits))
                .then(|| text.to_owned())
        })
    }

    /// A host, perhaps with a port.
    pub(super) fn host() -> Rule<String> {
        Rule::new("HOST", "a host's name or address, perhaps with a port, such as api.example.com", |text| {
            let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
            ((1..=256).contains(&text.len()) && text.chars().all(fits)).then(|| text.to_owned())
        })
    }

    /// The origin of a web page, as browsers tell it (RFC 6454).
    pub(super) fn origin() -> Rule<String> {
        let allowed =
            "http:// or https://, a host and perhaps a port, as browsers write it, such as https://app.example.com";
        Rule::new("ORIGIN", allowed, |text| {
            let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
            // The same letters, or it would never be equal to what a browser sends.
            (url.origin().ascii_serialization() == text).then(|| text.to_owned())
        })
    }

    /// The name of a model, as requests have it.
    pub(super) fn model() -> Rule<String> {
        Rule::new("MODEL", "a model's name, such as mistral-small-latest or openai/gpt-4.1-mini", |text| {
            let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
            ((1..=256).contains(&text.len()) && visible).then(|| text.to_owned())
        })
    }

    /// A name of the operator's own for something.
    pub(super) fn label() -> Rule<String> {
        Rule::new("NAME", "1 to 64 visible ASCII characters", |text| {
            let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
            ((1..=64).contains(&text.len()) && visible).then(|| text.to_owned())
        })
    }

    /// A text of any kind. Faults do not show it: it may be long.
    pub(super) fn text(most_bytes: usize) -> Rule<String> {
        let allowed = format!("a text of at most {most_bytes} bytes");
        let rule = Rule::new("TEXT", allowed, move |text| (text.len() <= most_bytes).then(|| text.to_owned()));
        rule.hidden()
    }

    /// The name of an environment variable that holds a key. Keys have small letters, so a key that was put here by mistake is
    /// not taken for a name, and no fault shows it.
    pub(super) fn key_variable() -> Rule<String> {
        let allowed = "the name of an environment variable in capital letters, digits and _, such as OPENAI_API_KEY";
        let rule = Rule::new("VARIABLE", allowed, |text| {
            let allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
            let named = text.bytes().all(allowed) && !text.starts_with(|first: char| first.is_ascii_digit());
            ((1..=64).contains(&text.len()) && named).then(|| text.to_owned())
        });
        rule.hidden()
    }

    /// A text that a program is given: an argument, or a variable of its environment. It may be a secret.
    pub(super) fn argument() -> Rule<String> {
        let rule = Rule::new("TEXT", "a text of at most 32768 bytes", |text| {
            (text.len() <= 32_768 && !text.contains('\0')).then(|| text.to_owned())
        });
        rule.hidden()
    }

    /// The name of any environment variable.
    pub(super) fn variable() -> Rule<String> {
        let allowed = "the name of an environment variable: letters, digits and _, such as HTTP_PROXY";
        Rule::new("VARIABLE", allowed, |text| {
            let allowed = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            let named = allowed && !text.starts_with(|first: char| first.is_ascii_digit());
            ((1..=128).contains(&text.len()) && named).then(|| text.to_owned())
        })
    }

    /// An address that is asked as it is. Its query may hold a key.
    pub(super) fn url() -> Rule<String> {
        let allowed =
            "http:// or https://, a host and perhaps a port, a path and a query, without user name and fragment";
        let rule = Rule::new("URL", allowed, |text| {
            let url = Url::parse(text).ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_graphic()))?;
            let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
            (matches!(url.scheme(), "http" | "https") && url.has_host() && plain).then(|| text.to_owned())
        });
        rule.hidden()
    }

    /// A command line that no shell runs.
    pub(super) fn command() -> Rule<String> {
        Rule::new("COMMAND", "a program and its arguments, quoted as in a shell", |text| {
            let words = shlex::split(text).filter(|_| !text.contains('\0'))?;
            words.first().is_some_and(|program| !program.is_empty()).then(|| text.to_owned())
        })
    }

    pub(super) fn log_filter() -> Rule<String> {
        let allowed = "off, error, warn, info, debug, trace, or directives such as causerie=debug,warn";
        Rule::new("LEVEL", allowed, |text| is_log_filter(text).then(|| text.to_owned()))
    }
}

fn parse_base_url(text: &str) -> Result<String, Option<String>> {
    // The type that requests are sent with: what it does not read could not be asked. It reads blanks, backslashes and missing
    // slashes too, which are mistakes here.
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let rest = text.split_once("://").map_or("/", |(_, rest)| rest);
    let url = Url::parse(text).ok().filter(|url| is_plain && !rest.starts_with('/') && url.has_host()).ok_or(None)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(None);
    }
    let is_whole = url.path().ends_with("/chat/completions");
    // A user:password, or a key in a query, would end in logs and in the start banner.
    match url.query() {
        Some(query) if !is_whole || !is_api_version(query) => Err(Some(
            "must have no query but api-version=… after /chat/completions; the key is set apart from it".into(),
        )),
        Some(_) | None if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() => {
            Err(Some("must have no user name, query or fragment; the key is set apart from it".into()))
        }
        Some(_) => Ok(text.to_owned()),
        None => Ok(text.trim_end_matches('/').to_owned()),
    }
}

/// Azure wants the version of its API there.
fn is_api_version(query: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    query.strip_prefix("api-version=").is_some_and(|version| !version.is_empty() && version.bytes().all(plain))
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
