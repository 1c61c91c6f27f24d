use std::{fmt, fs, path::PathBuf, time::Duration};

use super::{
    reader::Reader,
    rule::Rule,
    source::{KEY_VARIABLE, Origin},
};

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// `http` or `https`, a host and perhaps a path, without a slash at the end. `/v1/chat/completions` is added to it.
    pub base_url: String,
    /// The key. Without one, model turns are answered with API_KEY_MISSING.
    pub key: Option<ApiKey>,
    /// Where the key came from.
    pub key_source: Option<KeySource>,
    /// The longest that making a connection may take.
    pub connect_timeout: Duration,
    /// The longest wait for the answer's first byte.
    pub first_byte_timeout: Duration,
    /// The longest silence between two pieces of an answer.
    pub idle_timeout: Duration,
}

/// Where the key came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// `provider.key_file`.
    File(PathBuf),
    /// This environment variable.
    Variable(&'static str),
}

/// A key of a provider. Its debug form hides it; there is no other way to print it than [`ApiKey::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// The key, for the `Authorization` header and nothing else: 1 to 4,096 visible ASCII characters.
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Result<ApiKey, &'static str> {
        match text.trim() {
            "" => Err("holds no key"),
            key if !key.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Err("must hold the key and nothing else: one line of visible ASCII characters")
            }
            key if key.len() > 4096 => Err("must hold a key of at most 4096 characters"),
            key => Ok(ApiKey(key.to_owned())),
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

impl Provider {
    pub(super) fn read(from: &mut Reader<'_>) -> Provider {
        let base_url = from.get(
            "provider.base_url",
            Rule::base_url(),
            "https://api.mistral.ai",
            "Where chat completions are asked for; /v1/chat/completions is added to it.",
        );
        let key_file = from.optional(
            "provider.key_file",
            Rule::path(),
            "A file with the provider key in it. Without it the key is read from MISTRAL_API_KEY. The key itself is never a \
             flag nor in the configuration file, where other users and backups would see it.",
        );
        let (key, key_source) = read_key(from, key_file).unzip();
        Provider {
            base_url,
            key,
            key_source,
            connect_timeout: from.get(
                "provider.connect_timeout",
                Rule::duration("100ms", "5m"),
                "10s",
                "The longest that making a connection to the provider may take.",
            ),
            first_byte_timeout: from.get(
                "provider.first_byte_timeout",
                Rule::duration("1s", "1h"),
                "120s",
                "The longest wait for the first byte of an answer.",
            ),
            idle_timeout: from.get(
                "provider.idle_timeout",
                Rule::duration("1s", "1h"),
                "60s",
                "The longest silence between two pieces of an answer.",
            ),
        }
    }
}

/// The first place that names a key. Faults never show what was read: it may be a key.
fn read_key(from: &mut Reader<'_>, key_file: Option<PathBuf>) -> Option<(ApiKey, KeySource)> {
    if let Some(path) = key_file {
        let key = match fs::read_to_string(&path) {
            Ok(text) => ApiKey::parse(&text).map_err(str::to_owned),
            Err(error) => Err(format!("must name a file that holds the key and can be read ({error})")),
        };
        return match key {
            Ok(key) => Some((key, KeySource::File(path))),
            Err(text) => {
                from.reject_hidden("provider.key_file", text);
                None
            }
        };
    }
    let text = from.variable(KEY_VARIABLE)?;
    match ApiKey::parse(text) {
        Ok(key) => Some((key, KeySource::Variable(KEY_VARIABLE))),
        Err(text) => {
            from.reject_at(Origin::Variable(KEY_VARIABLE.to_owned()), text);
            None
        }
    }
}
