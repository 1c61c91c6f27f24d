//! The provider's API key: where it comes from, and the header that carries it. It is never shown.

use std::{
    fmt,
    fs::{self, Metadata},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use http::{HeaderName, HeaderValue, header::AUTHORIZATION};

use super::key_command::{CommandError, KeyCommand};

/// A text that must not be shown: its `Debug` hides it, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Where the API key comes from.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// There is none: every call that brings no key of its own fails with API_KEY_MISSING before anything is sent.
    None,
    /// The provider wants none, as local servers do: calls are sent without one.
    NotNeeded,
    /// The key.
    Value(Secret),
    /// A file that holds the key, blanks around it ignored. It is looked at on each call, so that a rotated key works at once.
    File(PathBuf),
    /// A command line whose first line of output is the key, such as `pass show mistral`. It is split as a shell does it, but no
    /// shell runs it: no pipes, no variables, unless it is `sh -c '…'`. It has 10 s. The key is kept for 5 minutes, or until the provider refuses it.
    Command(Secret),
}

/// How a key is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyHeader {
    /// `Authorization: Bearer KEY`.
    #[default]
    Bearer,
    /// `api-key: KEY`, as Azure OpenAI wants it.
    ApiKey,
}

impl KeyHeader {
    pub(super) fn name(self) -> HeaderName {
        match self {
            KeyHeader::Bearer => AUTHORIZATION,
            KeyHeader::ApiKey => HeaderName::from_static("api-key"),
        }
    }

    /// The header, marked sensitive: HTTP libraries neither log nor index it. A header may carry blanks and other bytes than
    /// visible ASCII, but no key has them: something else stands where the key should.
    pub(super) fn value(self, key: &str) -> Result<HeaderValue, KeyError> {
        let key = key.trim();
        if key.is_empty() {
            return Err(KeyError::Missing);
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(KeyError::Malformed);
        }
        let value = match self {
            KeyHeader::Bearer => HeaderValue::try_from(format!("Bearer {key}")),
            KeyHeader::ApiKey => HeaderValue::from_str(key),
        };
        let mut value = value.map_err(|_| KeyError::Malformed)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Why there is no key to send. Says what is wrong, never what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeyError {
    /// None is configured, or it is empty.
    Missing,
    /// The file can't be read.
    Unreadable(PathBuf, io::ErrorKind),
    /// It holds blanks or other characters than visible ASCII.
    Malformed,
    /// The command gave none.
    Command {
        /// Its first word.
        program: String,
        /// What became of it.
        error: CommandError,
    },
}

/// Gives the key of each call.
#[derive(Debug)]
pub(super) struct Keys {
    source: Source,
    header: KeyHeader,
}

#[derive(Debug)]
enum Source {
    None,
    NotNeeded,
    Value(Secret),
    File(PathBuf, Mutex<Option<Cached>>),
    Command(KeyCommand),
}

/// What the key file held when it looked like this.
#[derive(Debug, Clone)]
struct Cached {
    stamp: Stamp,
    value: HeaderValue,
}

/// Tells two states of a file apart without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    size_bytes: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp { modified: metadata.modified().ok(), size_bytes: metadata.len() }
    }

    /// Whether any later change shows in the stamp: a key is often as long as the one before.
    fn is_settled(&self) -> bool {
        let age = self.modified.and_then(|modified| modified.elapsed().ok());
        age.is_some_and(|age| age >= SETTLED_AFTER)
    }
}

/// File systems date changes in steps, of up to two seconds: within one of them the file is read on each call.
const SETTLED_AFTER: Duration = Duration::from_secs(3);

impl Keys {
    /// Fails if a key is there but can't be used. A command is not run yet.
    pub(super) fn new(source: KeySource, header: KeyHeader) -> Result<Keys, KeyError> {
        let source = match source {
            KeySource::None => Source::None,
            KeySource::NotNeeded => Source::NotNeeded,
            KeySource::Value(key) => Source::Value(key),
            KeySource::File(path) => Source::File(path, Mutex::new(None)),
            KeySource::Command(line) => Source::Command(KeyCommand::parse(line.expose())?),
        };
        let keys = Keys { source, header };
        match keys.at_hand() {
            Ok(_) | Err(KeyError::Missing) => Ok(keys),
            Err(error @ (KeyError::Unreadable(..) | KeyError::Malformed | KeyError::Command { .. })) => Err(error),
        }
    }

    pub(super) fn header(&self) -> KeyHeader {
        self.header
    }

    /// Whether calls are sent without a key.
    pub(super) fn is_not_needed(&self) -> bool {
        matches!(self.source, Source::NotNeeded)
    }

    /// The key's header; `None`: no key is needed.
    pub(super) async fn value(&self) -> Result<Option<HeaderValue>, KeyError> {
        match &self.source {
            Source::Command(command) => command.value(self.header).await.map(Some),
            Source::None | Source::NotNeeded | Source::Value(_) | Source::File(..) => self.at_hand(),
        }
    }

    /// The provider has answered 401 to this header.
    pub(super) async fn refused(&self, value: &HeaderValue) {
        match &self.source {
            Source::Command(command) => command.forget(value).await,
            // They are looked at on each call.
            Source::None | Source::NotNeeded | Source::Value(_) | Source::File(..) => {}
        }
    }

    /// What needs no waiting; of a command nothing.
    fn at_hand(&self) -> Result<Option<HeaderValue>, KeyError> {
        match &self.source {
            Source::None => Err(KeyError::Missing),
            Source::NotNeeded | Source::Command(_) => Ok(None),
            Source::Value(key) => self.header.value(&key.0).map(Some),
            Source::File(path, cached) => self.read_file(path, cached).map(Some),
        }
    }

    /// One `stat` a call, a microsecond on a local disk; the file is read only when it has changed.
    fn read_file(&self, path: &Path, cached: &Mutex<Option<Cached>>) -> Result<HeaderValue, KeyError> {
        let unreadable = |error: io::Error| KeyError::Unreadable(path.to_owned(), error.kind());
        let stamp = Stamp::of(&fs::metadata(path).map_err(unreadable)?);
        // A panic elsewhere can't leave half a value here, so a poisoned lock is as good as any.
        let mut cached = cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = cached.as_ref().filter(|known| known.stamp == stamp) {
            return Ok(known.value.clone());
        }
        let value = self.header.value(&fs::read_to_string(path).map_err(unreadable)?)?;
        *cached = stamp.is_settled().then(|| Cached { stamp, value: value.clone() });
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(source: KeySource) -> Keys {
        Keys::new(source, KeyHeader::Bearer).expect("nothing is wrong yet")
    }

    #[tokio::test]
    async fn a_secret_is_not_shown() {
        for header in [KeyHeader::Bearer, KeyHeader::ApiKey] {
            let keys = Keys::new(KeySource::Value(Secret::new("sk-visible")), header).expect("a key");
            assert!(!format!("{keys:?} {:?}", keys.value().await).contains("visible"));
        }
        let command = KeySource::Command(Secret::new("echo sk-visible"));
        assert!(!format!("{command:?}").contains("visible"));
        let keys = keys(command);
        assert!(!format!("{keys:?} {:?}", keys.value().await).contains("visible"));
    }

    #[tokio::test]
    async fn each_source_gives_its_header() {
        let value = || KeySource::Value(Secret::new(" k "));
        let rows = [
            (value(), KeyHeader::Bearer, Ok(Some("Bearer k"))),
            (value(), KeyHeader::ApiKey, Ok(Some("k"))),
            (KeySource::NotNeeded, KeyHeader::Bearer, Ok(None)),
            (KeySource::None, KeyHeader::Bearer, Err(KeyError::Missing)),
            (KeySource::Value(Secret::new(" ")), KeyHeader::ApiKey, Err(KeyError::Missing)),
        ];
        for (source, header, expected) in rows {
            let keys = Keys::new(source, header).expect("nothing is wrong");
            let expected = expected.map(|value| value.map(HeaderValue::from_static));
            assert_eq!(keys.value().await, expected);
        }
        assert_eq!(KeyHeader::ApiKey.name(), "api-key");
    }

    #[tokio::test]
    async fn a_rotated_file_is_read_again() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let keys = keys(KeySource::File(file.path().to_owned()));
        assert_eq!(keys.value().await, Err(KeyError::Missing));
        // Of one length, and faster than the file system's clock.
        for round in 100..200 {
            fs::write(file.path(), format!("key-{round}\n")).expect("written");
            assert_eq!(keys.value().await.expect("a key").expect("one is needed"), format!("Bearer key-{round}"));
        }
        fs::remove_file(file.path()).expect("removed");
        assert!(matches!(keys.value().await, Err(KeyError::Unreadable(_, io::ErrorKind::NotFound))));
    }

    #[test]
    fn a_key_that_is_no_visible_text_is_refused() {
        for key in ["a\nb", "a b", "a\tb", "sk-k\u{e9}y", "sk-\u{1f511}"] {
            for header in [KeyHeader::Bearer, KeyHeader::ApiKey] {
                let error = Keys::new(KeySource::Value(Secret::new(key)), header).expect_err(key);
                assert_eq!(error, KeyError::Malformed, "{key}");
            }
        }
    }
}
