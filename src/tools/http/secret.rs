//! Secrets of the configuration: where they come from, whom they may be sent to, and that nobody else sees them.

use std::{collections::BTreeMap, fmt, fs, path::PathBuf};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

use super::template::percent_encode;
use crate::tools::net::HostPort;

/// The shortest that can be hidden in an answer without tearing up other words.
const SHORTEST: usize = 8;
const LONGEST: usize = 4096;
/// What stands in an answer in the place of a secret.
const SHOWN: &str = "***";

/// A text that must not be shown: its `Debug` hides it, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// The secret.
    Value(Secret),
    /// A file that holds it, blanks around it ignored. It is read for each call, so that a rotated one works at once.
    File(PathBuf),
    /// There is none, though there should be one.
    Missing,
}

/// A secret that headers may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSecret {
    /// Where it comes from: 8 to 4,096 visible ASCII characters.
    pub value: SecretSource,
    /// Whom it may be sent to, `host` or `host:port`; without a port: those of http and https. Nobody else gets it, or any caller
    /// could send it to himself.
    pub hosts: Vec<String>,
}

/// The secrets, ready for use.
#[derive(Debug)]
pub(super) struct Secrets {
    by_name: BTreeMap<String, Bound>,
}

#[derive(Debug)]
struct Bound {
    value: SecretSource,
    hosts: Vec<HostPort>,
}

impl Secrets {
    /// Fails if a host is none, or a value that is at hand can't be used.
    pub(super) fn new(secrets: BTreeMap<String, HttpSecret>) -> Result<Secrets, String> {
        let bound = secrets.into_iter().map(|(name, HttpSecret { value, hosts })| {
            let parse =
                |host: &String| HostPort::parse(host).ok_or_else(|| format!("secret {name}: {host} is no host"));
            let hosts = hosts.iter().map(parse).collect::<Result<_, _>>()?;
            if let SecretSource::Value(Secret(text)) = &value {
                checked(text).map_err(|why| format!("secret {name} {why}"))?;
            }
            Ok((name, Bound { value, hosts }))
        });
        Ok(Secrets { by_name: bound.collect::<Result<_, String>>()? })
    }

    /// Whether a secret may be sent there. Says what is wrong otherwise.
    pub(super) fn check(&self, name: &str, host: &str, port: Option<u16>) -> Result<(), String> {
        let Some(bound) = self.by_name.get(name) else {
            return Err(format!("names a secret that the configuration does not have: set tools.secrets.{name}"));
        };
        if bound.hosts.iter().any(|entry| entry.means(host, port)) {
            return Ok(());
        }
        Err(format!("names the secret {name}, which is not for this host: see tools.secrets.{name}.hosts"))
    }

    /// Whether files are read for a call.
    pub(super) fn read_files(&self) -> bool {
        self.by_name.values().any(|bound| matches!(bound.value, SecretSource::File(_)))
    }

    /// All that can be had now. Reads files.
    pub(super) fn read(&self) -> Values {
        let read = self.by_name.iter().map(|(name, bound)| {
            let value = match &bound.value {
                SecretSource::Value(Secret(text)) => Some(text.clone()),
                SecretSource::File(path) => fs::read_to_string(path).ok(),
                SecretSource::Missing => None,
            };
            let value = value.and_then(|text| checked(&text).ok().map(str::to_owned));
            (name.clone(), value)
        });
        Values { by_name: read.filter_map(|(name, value)| Some((name, value?))).collect() }
    }
}

fn checked(text: &str) -> Result<&str, &'static str> {
    let text = text.trim();
    let fits = (SHORTEST..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(text) } else { Err("must be 8 to 4096 visible ASCII characters") }
}

/// What the secrets were when a call began.
pub(super) struct Values {
    by_name: BTreeMap<String, String>,
}

impl Values {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.by_name.get(name).map(String::as_str)
    }

    /// All of them are hidden, not only those that were sent: what one call left on a host, another may find there.
    pub(super) fn hidden(&self) -> Hidden {
        let mut forms: Vec<String> = self.by_name.values().flat_map(|secret| forms(secret)).collect();
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        let mut begins = [false; 256];
        forms.iter().filter_map(|form| form.bytes().next()).for_each(|byte| begins[usize::from(byte)] = true);
        Hidden { forms, begins }
    }
}

/// Texts that must not be seen in what comes back.
pub(super) struct Hidden {
    /// The longest first: one may be a part of another. ASCII, so that none begins or ends within a character.
    forms: Vec<String>,
    /// The bytes that forms begin with.
    begins: [bool; 256],
}

impl Hidden {
    /// How many bytes past a cut have to be read so that what the cut would go through is still found.
    pub(super) fn longest(&self) -> usize {
        self.forms.first().map_or(0, String::len)
    }

    /// The text up to about `limit` of its bytes, without the secrets. One that begins before the limit is hidden whole.
    pub(super) fn hide(&self, text: &str, limit: usize) -> String {
        let mut limit = limit.min(text.len());
        while !text.is_char_boundary(limit) {
            limit -= 1;
        }
        let bytes = text.as_bytes();
        let (mut hidden, mut kept_to, mut at) = (String::with_capacity(limit), 0, 0);
        while at < limit {
            match self
                .forms
                .iter()
                .find(|form| self.begins[usize::from(bytes[at])] && bytes[at..].starts_with(form.as_bytes()))
            {
                Some(form) => {
                    hidden.push_str(&text[kept_to..at]);
                    hidden.push_str(SHOWN);
                    at += form.len();
                    kept_to = at;
                }
                None => at += 1,
            }
        }
        if kept_to < limit {
            hidden.push_str(&text[kept_to..limit]);
        }
        hidden
    }

    /// The same for a whole text.
    pub(super) fn hide_all(&self, text: &str) -> String {
        self.hide(text, usize::MAX)
    }
}

/// The ways in which answers quote a secret: as it is, in JSON, in a URL, and in base64 at each of its three places.
fn forms(secret: &str) -> Vec<String> {
    let json = secret.replace('\\', "\\\\").replace('"', "\\\"");
    let url = percent_encode(secret);
    let mut forms = vec![secret.to_owned(), json.replace('/', "\\/"), json, small_digits(&url), url];
    for before in 0..3 {
        let bytes: Vec<u8> = std::iter::repeat_n(0, before).chain(secret.bytes()).collect();
        // Of the first and the last character a part belongs to what stands around the secret.
        let (from, to) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        forms.extend(
            [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)].map(|text| text[from..to].to_owned()),
        );
    }
    forms
}

/// The hexadecimal digits of a percent-encoded text in small letters, and nothing else.
fn small_digits(url: &str) -> String {
    let mut small = String::with_capacity(url.len());
    let mut digits = 0;
    for c in url.chars() {
        small.push(if digits > 0 { c.to_ascii_lowercase() } else { c });
        digits = if c == '%' { 2 } else { digits - digits.min(1) };
    }
    small
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "S3/cR+t\"Key%";

    fn values(secrets: &[&str]) -> Values {
        Values { by_name: secrets.iter().map(|secret| (secret.to_string(), secret.to_string())).collect() }
    }

    #[test]
    fn a_secret_is_hidden_in_every_form() {
        let hidden = values(&[SECRET]).hidden();
        let quoted = [
            SECRET.to_owned(),
            serde_json::json!(SECRET).to_string(),
            "S3\\/cR+t\\\"Key%".to_owned(),
            "S3%2FcR%2Bt%22Key%25".to_owned(),
            "S3%2fcR%2bt%22Key%25".to_owned(),
        ];
        for text in quoted {
            let shown = hidden.hide_all(&format!("é{text}é{text}"));
            assert!(!shown.contains("S3") && shown.matches(SHOWN).count() == 2, "{shown}");
        }
        for before in ["", "a", "me:", "user:"] {
            for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                let shown = hidden.hide_all(&engine.encode(format!("{before}{SECRET} and more")));
                assert!(shown.contains(SHOWN), "{before}: {shown}");
                let inner: String = STANDARD_NO_PAD.encode(SECRET).chars().skip(4).take(8).collect();
                assert!(!shown.contains(&inner), "{shown}");
            }
        }
    }

    #[test]
    fn other_texts_stay_as_they_are() {
        let hidden = values(&["UPPERCASE-1"]).hidden();
        assert_eq!(hidden.hide_all("uppercase-1 UPPERCASE"), "uppercase-1 UPPERCASE");
        assert_eq!(values(&[]).hidden().hide("héllo", 2), "h");
    }

    #[test]
    fn a_cut_leaves_no_part_of_a_secret() {
        let hidden = values(&["12345678", "12345678-longer"]).hidden();
        let text = "12345678-longer".repeat(3) + "12345678 rest";
        for limit in 0..=text.len() {
            let shown = hidden.hide(&text, limit);
            assert!(!shown.contains("12") && !shown.contains("lon"), "{limit}: {shown}");
        }
        assert_eq!(hidden.hide("a 12345678", 3), "a ***");
    }

    #[test]
    fn secrets_are_for_their_hosts() {
        let secret = |hosts: &[&str]| HttpSecret {
            value: SecretSource::Value(Secret::new("12345678")),
            hosts: hosts.iter().map(ToString::to_string).collect(),
        };
        let secrets = [("a".to_owned(), secret(&["Api.Example", "10.0.0.1:8080"]))];
        let secrets = Secrets::new(secrets.into_iter().collect()).expect("hosts");
        for (host, port, fits) in [
            ("api.example", 443, true),
            ("api.example", 80, true),
            ("api.example", 8080, false),
            ("10.0.0.1", 8080, true),
            ("10.0.0.1", 443, false),
            ("evil.api.example", 443, false),
        ] {
            assert_eq!(secrets.check("a", host, Some(port)).is_ok(), fits, "{host}:{port}");
        }
        assert!(secrets.check("b", "api.example", Some(443)).is_err());
        assert!(!format!("{secrets:?}").contains("12345678"));
    }

    #[test]
    fn secrets_that_cannot_be_hidden_are_refused() {
        for text in ["", "1234567", "1234 5678", "1234567\u{e9}"] {
            let secret = HttpSecret { value: SecretSource::Value(Secret::new(text)), hosts: Vec::new() };
            let fault = Secrets::new([("a".to_owned(), secret)].into_iter().collect()).expect_err(text);
            assert_eq!(fault, "secret a must be 8 to 4096 visible ASCII characters");
        }
    }
}
