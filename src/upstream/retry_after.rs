//! When a provider wants to be asked again, from the headers of its refusal.

use http::HeaderMap;
use jiff::{Timestamp, fmt::rfc2822};

use super::Quota;

/// Longer waits are told as an hour: who can wait that long asks again then.
const MOST_MS: u64 = 3_600_000;
/// "At once" is no answer to too many requests.
const LEAST_MS: u64 = 100;
/// A rate limit's window is a minute at most; a larger reset value is a date, or of a monthly quota.
const LONGEST_WINDOW_MS: f64 = 120_000.0;

/// Milliseconds to wait after a refusal for too many requests: what [`told_ms`] says, else the reset time of the rate limits
/// that are used up, else the longest one. `None`: the headers don't say.
pub(super) fn retry_after_ms(headers: &HeaderMap, now: Timestamp) -> Option<u64> {
    told_ms(headers, now).or_else(|| {
        let ms = Quota::read(headers).empty_until_ms().or_else(|| Some(longest_reset_ms(headers)?.ceil() as u64))?;
        Some(ms.clamp(LEAST_MS, MOST_MS))
    })
}

/// Milliseconds to wait, as the provider says in so many words: `retry-after-ms`, else `Retry-After` (RFC 9110: seconds or a
/// date).
pub(super) fn told_ms(headers: &HeaderMap, now: Timestamp) -> Option<u64> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let from_ms = || text("retry-after-ms")?.parse::<f64>().ok();
    let from_seconds = || Some(text("retry-after")?.parse::<f64>().ok()? * 1000.0);
    let from_date = || Some(until(text("retry-after")?, now)? * 1000.0);
    let ms = from_ms().or_else(from_seconds).or_else(from_date)?;
    // The cast saturates; what is no number becomes the least.
    Some((ms.ceil() as u64).clamp(LEAST_MS, MOST_MS))
}

/// A span of time in milliseconds: a number of seconds (`17`, `1.5`), or numbers with units (`6m0s`, `20ms`, `1h2m3.5s`).
pub(super) fn span_ms(text: &str) -> Option<f64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Some(seconds * 1000.0);
    }
    let (mut rest, mut sum_ms) = (text, 0.0);
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..unit_at].parse().ok()?;
        rest = &rest[unit_at..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit_ms = match &rest[..unit_end] {
            "h" => 3_600_000.0,
            "m" => 60_000.0,
            "s" => 1000.0,
            "ms" => 1.0,
            "us" | "µs" => 0.001,
            "ns" => 0.000_001,
            _ => return None,
        };
        sum_ms += number * unit_ms;
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then_some(sum_ms)
}

/// Seconds until an HTTP date.
fn until(date: &str, now: Timestamp) -> Option<f64> {
    // Every HTTP date of today's form is also one of RFC 2822 mails.
    let at = rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
    Some(at.duration_since(now).as_secs_f64())
}

/// The names differ between gateways (`x-ratelimit-reset-tokens-minute`, `ratelimit-reset` …), but all hold both words. Which
/// bucket is empty isn't always told, so the longest wait is the sure one.
fn longest_reset_ms(headers: &HeaderMap) -> Option<f64> {
    let resets = headers.iter().filter(|(name, _)| {
        let name = name.as_str();
        name.contains("ratelimit") && name.contains("reset") && !name.contains("month")
    });
    let spans = resets.filter_map(|(_, value)| span_ms(value.to_str().ok()?.trim()));
    spans.filter(|ms| (0.0..=LONGEST_WINDOW_MS).contains(ms)).reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn every_way_of_telling_is_understood() {
        type Headers = [(&'static str, &'static str)];
        let rows: [(&Headers, Option<u64>); 15] = [
            (&[], None),
            (&[("retry-after", "7")], Some(7000)),
            (&[("retry-after", " 1.5 ")], Some(1500)),
            (&[("retry-after", "0")], Some(100)),
            (&[("retry-after", "99999999999999999999")], Some(3_600_000)),
            (&[("retry-after", "NaN")], Some(100)),
            (&[("retry-after", "Sat, 21 Nov 2026 08:00:12 GMT")], Some(12_000)),
            (&[("retry-after", "Sat, 21 Nov 2026 07:00:00 GMT")], Some(100)),
            (&[("retry-after", "soon")], None),
            (&[("retry-after-ms", "250"), ("retry-after", "1")], Some(250)),
            (&[("x-ratelimit-reset-tokens-minute", "17"), ("x-ratelimit-reset-req-minute", "40")], Some(40_000)),
            (&[("x-ratelimit-reset-tokens-month", "900000")], None),
            (&[("ratelimit-reset", "1795248012")], None),
            (&[("x-ratelimit-reset-requests", "120ms"), ("x-ratelimit-reset-tokens", "1m30s")], Some(90_000)),
            (
                &[
                    ("x-ratelimit-remaining-tokens", "0"),
                    ("x-ratelimit-reset-tokens", "6m0s"),
                    ("retry-after", "later"),
                ],
                Some(360_000),
            ),
        ];
        let now: Timestamp = "2026-11-21T08:00:00Z".parse().expect("a time");
        for (row, expected) in rows {
            let mut headers = HeaderMap::new();
            for (name, value) in row {
                headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            assert_eq!(retry_after_ms(&headers, now), expected, "{row:?}");
        }
    }

    #[test]
    fn spans_are_seconds_or_have_units() {
        let rows = [
            ("17", Some(17_000.0)),
            ("1.5", Some(1500.0)),
            ("1s", Some(1000.0)),
            ("6m0s", Some(360_000.0)),
            ("20ms", Some(20.0)),
            ("1h2m3.5s", Some(3_723_500.0)),
            ("250µs", Some(0.25)),
            ("", None),
            ("s", None),
            ("1x", None),
            ("1s2", None),
            ("1..5s", None),
            ("-1s", None),
            ("1 s", None),
        ];
        for (text, expected) in rows {
            assert_eq!(span_ms(text), expected, "{text:?}");
        }
    }
}
