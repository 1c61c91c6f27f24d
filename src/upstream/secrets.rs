//! What must not be told of a call, wherever a provider quotes it.

use http::{HeaderMap, HeaderValue};

/// A stand-in's or a local server's key may be a short word, which says nothing and may stand in any text.
const SHORTEST: usize = 8;

/// The secrets that a call was sent with, and what is shown in their place. A provider may quote the request in its explanation;
/// what explains the caller's mistake is passed on, the key never, nor the operator's own headers.
#[derive(Default)]
pub(super) struct Secrets<'a> {
    /// The longest first: one may be a part of another.
    shown: Vec<(&'a str, &'static str)>,
}

impl<'a> Secrets<'a> {
    /// The key's header and the operator's own headers.
    pub(super) fn of(key: Option<&'a HeaderValue>, headers: &'a HeaderMap) -> Secrets<'a> {
        // All of them are text: others are refused where they are made.
        let key = key.and_then(|header| header.to_str().ok());
        let key = key.map(|header| (header.strip_prefix("Bearer ").unwrap_or(header), "[key]"));
        let headers = headers.values().filter_map(|value| Some((value.to_str().ok()?, "[hidden]")));
        let mut shown: Vec<_> = key.into_iter().chain(headers).filter(|(secret, _)| secret.len() >= SHORTEST).collect();
        shown.sort_by_key(|(secret, _)| std::cmp::Reverse(secret.len()));
        Secrets { shown }
    }

    /// Hides them in a text. It must be whole: of a secret that is cut, the rest would not be found.
    pub(super) fn hide(&self, text: &mut String) {
        for (secret, shown) in &self.shown {
            if text.contains(secret) {
                *text = text.replace(secret, shown);
            }
        }
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
        let secrets = Secrets::of(Some(&key), &headers);
        for (text, shown) in [
            ("sk-12345678sk-12345678", "[key][key]"),
            ("Bearer sk-12345678, tenant-of-sk-12345678", "Bearer [key], [hidden]"),
            ("short", "short"),
            ("", ""),
        ] {
            let mut text = text.to_owned();
            secrets.hide(&mut text);
            assert_eq!(text, shown);
        }
    }
}
