//! When a provider wants to be asked again, from the headers of its refusal.

use http::HeaderMap;
use jiff::{Timestamp, fmt::rfc2822};

/// Longer waits are told as an hour: who can wait that long asks again then.
const MOST_MS: u64 = 3_600_000;
/// "At once" is no answer to too many requests.
const LEAST_MS: u64 = 100;
/// A rate limit's window is a minute at most; a larger reset value is a date, or of a monthly quota.
const LONGEST_WINDOW_S: f64 = 120.0;

/// Milliseconds to wait: `retry-after-ms`, else `Retry-After` (RFC 9110: seconds or a date), else the longest of the rate
/// limits' reset times in seconds. `None`: the headers don't say.
pub(super) fn retry_after_ms(headers: &HeaderMap, now: Timestamp) -> Option<u64> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let from_ms = || text("retry-after-ms")?.parse::<f64>().ok();
    let from_seconds = || Some(text("retry-after")?.parse::<f64>().ok()? * 1000.0);
    let from_date = || Some(until(text("retry-after")?, now)? * 1000.0);
    let ms = from_ms().or_else(from_seconds).or_else(from_date).or_else(|| Some(reset_seconds(headers)? * 1000.0))?;
    // The cast saturates; what is no number becomes the least.
    Some((ms.ceil() as u64).clamp(LEAST_MS, MOST_MS))
}

/// Seconds until an HTTP date.
fn until(date: &str, now: Timestamp) -> Option<f64> {
    // Every HTTP date of today's form is also one of RFC 2822 mails.
    let at = rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
    Some(at.duration_since(now).as_secs_f64())
}

/// The names differ between gateways (`x-ratelimit-reset-tokens-minute`, `ratelimit-reset` …), but all hold both words. Which
/// bucket is empty isn't always told, so the longest wait is the sure one.
fn reset_seconds(headers: &HeaderMap) -> Option<f64> {
    let resets = headers.iter().filter(|(name, _)| {
        let name = name.as_str();
        name.contains("ratelimit") && name.contains("reset") && !name.contains("month")
    });
    let seconds = resets.filter_map(|(_, value)| value.to_str().ok()?.trim().parse::<f64>().ok());
    seconds.filter(|seconds| (0.0..=LONGEST_WINDOW_S).contains(seconds)).reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn every_way_of_telling_is_understood() {
        type Headers = [(&'static str, &'static str)];
        let rows: [(&Headers, Option<u64>); 13] = [
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
}
