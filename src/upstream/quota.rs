//! What a provider says of its rate limits in the head of an answer, success or refusal.

use http::HeaderMap;

use super::retry_after::span_ms;

/// A longer wait is no wait but a date, or of a quota that no turn waits for.
const LONGEST_RESET_MS: f64 = 86_400_000.0;

/// What is left of a provider's rate limits. `None`: it does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Requests that a minute has.
    pub limit_requests: Option<u64>,
    /// Requests left of this minute.
    pub remaining_requests: Option<u64>,
    /// Tokens that a minute has.
    pub limit_tokens: Option<u64>,
    /// Tokens left of this minute.
    pub remaining_tokens: Option<u64>,
    /// When the requests are all there again, in milliseconds from now.
    pub reset_requests_ms: Option<u64>,
    /// When the tokens are all there again, in milliseconds from now.
    pub reset_tokens_ms: Option<u64>,
}

impl Quota {
    /// Reads the headers of Mistral (`x-ratelimit-limit-req-minute`) and of OpenAI (`x-ratelimit-limit-requests`). What is no
    /// number is as good as not there.
    pub fn read(headers: &HeaderMap) -> Quota {
        let text = |what: &str, name: &str| {
            headers.get(format!("x-ratelimit-{what}-{name}")).and_then(|value| value.to_str().ok()).map(str::trim)
        };
        let number =
            |what: &str, names: [&str; 2]| names.into_iter().find_map(|name| text(what, name)?.parse::<u64>().ok());
        let reset = |names: [&str; 2]| {
            let ms = names.into_iter().find_map(|name| span_ms(text("reset", name)?))?;
            (0.0..=LONGEST_RESET_MS).contains(&ms).then(|| ms.ceil() as u64)
        };
        let requests = ["req-minute", "requests"];
        let tokens = ["tokens-minute", "tokens"];
        Quota {
            limit_requests: number("limit", requests),
            remaining_requests: number("remaining", requests),
            limit_tokens: number("limit", tokens),
            remaining_tokens: number("remaining", tokens),
            reset_requests_ms: reset(requests),
            reset_tokens_ms: reset(tokens),
        }
    }

    /// When what is used up is there again: the longest wait, if both are.
    pub(super) fn empty_until_ms(&self) -> Option<u64> {
        let requests = self.reset_requests_ms.filter(|_| self.remaining_requests == Some(0));
        let tokens = self.reset_tokens_ms.filter(|_| self.remaining_tokens == Some(0));
        requests.max(tokens)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn read(row: &[(&'static str, &'static str)]) -> Quota {
        let mut headers = HeaderMap::new();
        for (name, value) in row {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Quota::read(&headers)
    }

    #[test]
    fn both_families_of_headers_are_read() {
        let mistral = read(&[
            ("x-ratelimit-limit-tokens-minute", "2000000"),
            ("x-ratelimit-remaining-tokens-minute", "1999000"),
            ("x-ratelimit-tokens-query-cost", "1000"),
            ("x-ratelimit-reset-tokens-minute", "17"),
            ("x-ratelimit-limit-tokens-month", "9"),
            ("x-ratelimit-limit-req-minute", "600"),
            ("x-ratelimit-remaining-req-minute", "0"),
            ("x-ratelimit-reset-req-minute", "40.5"),
        ]);
        let expected = Quota {
            limit_requests: Some(600),
            remaining_requests: Some(0),
            limit_tokens: Some(2_000_000),
            remaining_tokens: Some(1_999_000),
            reset_requests_ms: Some(40_500),
            reset_tokens_ms: Some(17_000),
        };
        assert_eq!(mistral, expected);
        assert_eq!(mistral.empty_until_ms(), Some(40_500));

        let openai = read(&[
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-limit-tokens", "150000"),
            ("x-ratelimit-remaining-tokens", "149984"),
            ("x-ratelimit-reset-tokens", "6m0s"),
        ]);
        let expected = Quota {
            limit_requests: Some(60),
            remaining_requests: Some(59),
            limit_tokens: Some(150_000),
            remaining_tokens: Some(149_984),
            reset_requests_ms: Some(1000),
            reset_tokens_ms: Some(360_000),
        };
        assert_eq!(openai, expected);
        assert_eq!(openai.empty_until_ms(), None);
    }

    #[test]
    fn garbage_is_as_good_as_nothing() {
        let rows: [&[(&str, &str)]; 6] = [
            &[],
            &[("x-ratelimit-limit-requests", "many"), ("x-ratelimit-remaining-tokens", "-1")],
            &[("x-ratelimit-limit-tokens", "1.5"), ("x-ratelimit-limit-req-minute", "")],
            &[("x-ratelimit-reset-requests", "soon"), ("x-ratelimit-reset-tokens", "-3")],
            &[("x-ratelimit-reset-requests", "1795248012"), ("x-ratelimit-reset-tokens", "NaN")],
            &[("x-ratelimit-remaining-requests", "99999999999999999999999")],
        ];
        for row in rows {
            assert_eq!(read(row), Quota::default(), "{row:?}");
        }
    }
}
