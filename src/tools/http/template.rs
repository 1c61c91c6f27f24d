//! Texts with places for arguments and secrets.
//!
//! A template is taken apart once; what is put in is never looked at for places again.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// A text with places in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Argument(String),
    Secret(String),
}

/// Why a template could not be filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Gap {
    /// The call has no such argument, or it is null.
    Argument(String),
    /// The configuration's secret can't be had.
    Secret(String),
}

impl Template {
    /// A part of a URL. Braces are for arguments only: a URL has none of its own.
    pub(super) fn in_url(text: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            if before.ends_with('$') && after.starts_with("secret:") {
                return Err("has a secret, which may stand in a header only".to_owned());
            }
            let (name, after) = after.split_once('}').filter(|(name, _)| is_name(name)).ok_or_else(stray)?;
            parts.extend([Part::Literal(before.to_owned()), Part::Argument(name.to_owned())]);
            rest = after;
        }
        parts.push(Part::Literal(rest.to_owned()));
        let stray_end = |part: &Part| matches!(part, Part::Literal(text) if text.contains('}'));
        if parts.iter().any(stray_end) { Err(stray()) } else { Ok(Template(parts)) }
    }

    /// The value of a header. Braces that hold no name stand for themselves.
    pub(super) fn in_header(text: &str) -> Template {
        let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            literal.push_str(before);
            let place =
                after.split_once('}').and_then(|(name, after)| Some((place(name, before.ends_with('$'))?, after)));
            let Some((place, after)) = place else {
                literal.push('{');
                rest = after;
                continue;
            };
            if matches!(place, Part::Secret(_)) {
                literal.pop();
            }
            parts.extend([Part::Literal(std::mem::take(&mut literal)), place]);
            rest = after;
        }
        literal.push_str(rest);
        parts.push(Part::Literal(literal));
        Template(parts)
    }

    pub(super) fn arguments(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Argument(name) => Some(name.as_str()),
            Part::Literal(_) | Part::Secret(_) => None,
        })
    }

    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Secret(name) => Some(name.as_str()),
            Part::Literal(_) | Part::Argument(_) => None,
        })
    }

    /// The text with each argument and each secret as these give it.
    pub(super) fn fill(
        &self,
        argument: impl Fn(&str) -> Option<String>,
        secret: impl Fn(&str) -> Option<String>,
    ) -> Result<String, Gap> {
        let mut filled = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(text) => filled.push_str(text),
                Part::Argument(name) => filled.push_str(&argument(name).ok_or_else(|| Gap::Argument(name.clone()))?),
                Part::Secret(name) => filled.push_str(&secret(name).ok_or_else(|| Gap::Secret(name.clone()))?),
            }
        }
        Ok(filled)
    }
}

fn stray() -> String {
    "has a brace that belongs to no argument: write %7B and %7D for braces".to_owned()
}

fn place(name: &str, after_dollar: bool) -> Option<Part> {
    match name.strip_prefix("secret:") {
        Some(secret) if after_dollar && is_name(secret) => Some(Part::Secret(secret.to_owned())),
        Some(_) | None => is_name(name).then(|| Part::Argument(name.to_owned())),
    }
}

/// Names of properties are free; those with quotes or blanks in them would be pieces of JSON more often than names.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '{' | '}'))
}

/// A URL with places in its path and its query.
#[derive(Debug, Clone)]
pub(super) struct UrlTemplate {
    /// Scheme, host and port.
    start: String,
    path: Template,
    /// `name=value`, each.
    query: Vec<Template>,
}

impl UrlTemplate {
    /// Takes a URL apart. Its host is fixed, or the model would choose whom to ask.
    pub(super) fn parse(url: &str) -> Result<UrlTemplate, String> {
        // URLs are read without line breaks and tabs, and with backslashes for slashes.
        if url.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
            return Err("must have no blanks, line breaks or backslashes".to_owned());
        }
        let url = url.split_once('#').map_or(url, |(url, _)| url);
        let scheme = ["https://", "http://"].into_iter().find(|scheme| url.starts_with(scheme));
        let scheme = scheme.ok_or("must begin with https:// or http://")?;
        let end = url[scheme.len()..].find(['/', '?']).map_or(url.len(), |at| scheme.len() + at);
        let (start, rest) = url.split_at(end);
        if start.len() == scheme.len() || start.contains(['{', '}', '@']) {
            return Err("must have a fixed host, without arguments and without a user's name".to_owned());
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if has_dot_segment(path) {
            return Err("must have no . or .. in its path".to_owned());
        }
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let query = pairs.map(Template::in_url).collect::<Result<_, _>>()?;
        Ok(UrlTemplate { start: start.to_owned(), path: Template::in_url(path)?, query })
    }

    /// Scheme, host and port.
    pub(super) fn start(&self) -> &str {
        &self.start
    }

    pub(super) fn arguments(&self) -> impl Iterator<Item = &str> {
        self.path.arguments().chain(self.query.iter().flat_map(Template::arguments))
    }

    /// The URL with these arguments, and with those that `in_query` names in its query. A pair of the query that lacks an
    /// argument is left out; the path needs all of its own.
    pub(super) fn fill(&self, arguments: &Map<String, Value>, in_query: &BTreeSet<&str>) -> Result<String, String> {
        let argument = |name: &str| arguments.get(name).and_then(text).map(|text| percent_encode(&text));
        let in_path = |name: &str| argument(name).filter(|text| !text.is_empty());
        let path = self.path.fill(in_path, |_| None).map_err(|gap| match gap {
            Gap::Argument(name) | Gap::Secret(name) => {
                format!("the argument {name} is missing or empty; the address needs it")
            }
        })?;
        if has_dot_segment(&path) {
            return Err("an argument must not be . or .. in the address".to_owned());
        }
        let given = self.query.iter().filter_map(|pair| pair.fill(argument, |_| None).ok());
        let more = in_query.iter().filter_map(|name| Some(format!("{}={}", percent_encode(name), argument(name)?)));
        let query: Vec<String> = given.chain(more).collect();
        let mark = if query.is_empty() { "" } else { "?" };
        Ok(format!("{}{path}{mark}{}", self.start, query.join("&")))
    }
}

/// URLs are read without such segments, and with what stands before them.
fn has_dot_segment(path: &str) -> bool {
    path.split('/').any(|segment| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | ".."))
}

/// An argument as a text: strings as they are, all else as JSON. Null is as good as none.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Some(value.to_string()),
    }
}

/// All but letters, digits and `-._~` (RFC 3986, 2.3), byte by byte.
pub(super) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fill(url: &str, arguments: Value, in_query: &[&str]) -> Result<String, String> {
        let template = UrlTemplate::parse(url)?;
        let arguments = arguments.as_object().expect("an object").clone();
        template.fill(&arguments, &in_query.iter().copied().collect())
    }

    #[test]
    fn arguments_stand_in_path_and_query() {
        for (url, arguments, filled) in [
            ("https://a/u/{id}", json!({"id": "x/../y?z#"}), "https://a/u/x%2F..%2Fy%3Fz%23"),
            ("https://a/u/{id}.json?q={q}", json!({"id": 7, "q": "é &="}), "https://a/u/7.json?q=%C3%A9%20%26%3D"),
            ("https://a:1?q={q}&r={r}&s=1", json!({"r": null, "q": true}), "https://a:1?q=true&s=1"),
            ("https://a/?q={q}", json!({"q": {"a": [1]}}), "https://a/?q=%7B%22a%22%3A%5B1%5D%7D"),
            ("https://a/{a}#f{b}", json!({"a": "{b}"}), "https://a/%7Bb%7D"),
            ("https://a/{a}?b={b}", json!({"a": "%2e", "b": "1\r\n"}), "https://a/%252e?b=1%0D%0A"),
        ] {
            assert_eq!(fill(url, arguments, &[]).as_deref(), Ok(filled), "{url}");
        }
        let more = fill("https://a/x?k=1", json!({"a b": "1", "c": null, "d": 0.5}), &["a b", "c", "d", "e"]);
        assert_eq!(more.as_deref(), Ok("https://a/x?k=1&a%20b=1&d=0.5"));
    }

    #[test]
    fn an_argument_cannot_leave_its_place_in_the_path() {
        for (url, arguments) in [
            ("https://a/u/{id}/x", json!({"id": ".."})),
            ("https://a/u/{a}{b}", json!({"a": ".", "b": "."})),
            ("https://a/u/%2{a}.", json!({"a": "e"})),
            ("https://a/u/{id}", json!({"id": ""})),
            ("https://a/u/{id}", json!({})),
        ] {
            assert!(fill(url, arguments, &[]).is_err(), "{url}");
        }
    }

    #[test]
    fn what_is_no_template_of_a_url_is_refused() {
        for url in [
            "ftp://a",
            "https://",
            "https://{host}/",
            "https://a{b}/",
            "https://u@a/",
            "https://a\\@b/",
            "https://a/\n",
            "https://a/{",
            "https://a/}",
            "https://a/{}",
            "https://a/{a b}",
            "https://a/${secret:x}",
            "https://a/?k=${secret:x}",
            "https://a/../b",
            "https://a/%2E%2e",
        ] {
            assert!(UrlTemplate::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn headers_have_arguments_and_secrets_and_other_braces() {
        let filled = |text: &str| {
            let argument = |name: &str| (name == "a").then(|| "${secret:s}{a}".to_owned());
            let secret = |name: &str| (name == "s").then(|| "S".to_owned());
            Template::in_header(text).fill(argument, secret)
        };
        for (text, shown) in [
            ("Bearer ${secret:s}", "Bearer S"),
            ("$${secret:s}{a}", "$S${secret:s}{a}"),
            ("{\"k\": {}} {a", "{\"k\": {}} {a"),
            ("{{a}}", "{${secret:s}{a}}"),
            ("", ""),
        ] {
            assert_eq!(filled(text).as_deref(), Ok(shown), "{text}");
        }
        assert_eq!(filled("{b}"), Err(Gap::Argument("b".into())));
        assert_eq!(filled("${secret:t}"), Err(Gap::Secret("t".into())));
        assert_eq!(filled("{secret:s}"), Err(Gap::Argument("secret:s".into())));
    }
}
