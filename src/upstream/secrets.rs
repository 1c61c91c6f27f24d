//! What must not be told of a call, wherever a provider quotes it.

use http::{HeaderMap, HeaderValue};

use super::Secret;
use crate::domain::Failure;

/// A stand-in's or a local server's key may be a short word, which says nothing and may stand in any text.
const SHORTEST: usize = 8;

/// The secrets that a call was sent with, and what is shown in their place. A provider may quote the request in its explanation;
/// what explains the caller's mistake is passed on, the key never, nor the operator's own headers.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    /// The longest first: one may be a part of another.
    shown: Vec<(Secret, &'static str)>,
}

impl Secrets {
    /// The key's header, the operator's own headers, and what connectors are authorized with.
    pub(super) fn of<'a>(
        key: Option<&HeaderValue>,
        headers: &HeaderMap,
        connectors: impl IntoIterator<Item = &'a Secret>,
    ) -> Secrets {
        // All of them are text: others are refused where they are made.
        let key = key.and_then(|header| header.to_str().ok());
        let key = key.map(|header| (header.strip_prefix("Bearer ").unwrap_or(header), "[key]"));
        let headers = headers.values().filter_map(|value| Some((value.to_str().ok()?, "[hidden]")));
        let connectors = connectors.into_iter().map(|secret| (secret.expose(), "[hidden]"));
        let shown = key.into_iter().chain(headers).chain(connectors);
        let mut shown: Vec<_> = shown.filter(|(secret, _)| secret.len() >= SHORTEST).collect();
        shown.sort_by_key(|(secret, _)| std::cmp::Reverse(secret.len()));
        Secrets { shown: shown.into_iter().map(|(secret, shown)| (Secret::new(secret), shown)).collect() }
    }

    /// Hides them in a text. It must be whole: of a secret that is cut, the rest would not be found.
    pub(super) fn hide(&self, text: &mut String) {
        for (secret, shown) in &self.shown {
            if text.contains(secret.expose()) {
                *text = text.replace(secret.expose(), shown);
            }
        }
    }

    /// Hides them in all that a failure tells of the provider's answer: not only its text may quote, ids and codes may too.
    pub(super) fn hide_in(&self, failure: &mut Failure) {
        let Failure { reason: _, message, metadata, violations: _, retry_after_ms: _, resource: _ } = failure;
        metadata.iter_mut().map(|(_, value)| value).chain([message]).for_each(|text| self.hide(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_wherever_they_stand() {
        let mut headers = HeaderMap::new();
        headers.insert("x-tenant", HeaderValue::from_static("tenant-of-sk-12345678"));
        headers.insert("x-short", HeaderValue::from_static("short"));
        let key = HeaderValue::from_static("Bearer sk-12345678");
        let secrets = Secrets::of(Some(&key), &headers, [&Secret::new("token-of-a-connector")]);
        for (text, shown) in [
            ("sk-12345678sk-12345678", "[key][key]"),
            ("Bearer sk-12345678, tenant-of-sk-12345678", "Bearer [key], [hidden]"),
            ("with token-of-a-connector", "with [hidden]"),
            ("short", "short"),
            ("", ""),
        ] {
            let mut text = text.to_owned();
            secrets.hide(&mut text);
            assert_eq!(text, shown);
        }
    }
}
