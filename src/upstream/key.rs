//! The provider's API key: where it comes from, and the header that carries it. It is never shown.

use std::{
    fmt,
    fs::{self, Metadata},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use http::HeaderValue;

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

/// Where the API key comes from.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// There is none: every call fails with API_KEY_MISSING before anything is sent.
    None,
    /// The key.
    Value(Secret),
    /// A file that holds the key, blanks around it ignored. It is looked at on each call, so that a rotated key works at once.
    File(PathBuf),
}

/// Why there is no key to send. Says what is wrong, never what was found.
#[derive(Debug)]
pub(super) enum KeyError {
    /// None is configured, or it is empty.
    Missing,
    /// The file can't be read.
    Unreadable(PathBuf, io::ErrorKind),
    /// It holds characters that no HTTP header carries.
    Malformed,
}

/// Gives the `Authorization` header of each call.
#[derive(Debug)]
pub(super) struct Keys {
    source: KeySource,
    cached: Mutex<Option<Cached>>,
}

/// What the key file held when it looked like this.
#[derive(Debug, Clone)]
struct Cached {
    stamp: Stamp,
    authorization: HeaderValue,
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
}

impl Keys {
    pub(super) fn new(source: KeySource) -> Keys {
        Keys { source, cached: Mutex::new(None) }
    }

    /// The header, marked sensitive: HTTP libraries neither log nor index it.
    pub(super) fn authorization(&self) -> Result<HeaderValue, KeyError> {
        match &self.source {
            KeySource::None => Err(KeyError::Missing),
            KeySource::Value(key) => bearer(&key.0),
            KeySource::File(path) => self.read_file(path),
        }
    }

    /// One `stat` a call, a microsecond on a local disk; the file is read only when it has changed.
    fn read_file(&self, path: &Path) -> Result<HeaderValue, KeyError> {
        let unreadable = |error: io::Error| KeyError::Unreadable(path.to_owned(), error.kind());
        let stamp = Stamp::of(&fs::metadata(path).map_err(unreadable)?);
        // A panic elsewhere can't leave half a value here, so a poisoned lock is as good as any.
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = cached.as_ref().filter(|known| known.stamp == stamp) {
            return Ok(known.authorization.clone());
        }
        let authorization = bearer(&fs::read_to_string(path).map_err(unreadable)?)?;
        *cached = Some(Cached { stamp, authorization: authorization.clone() });
        Ok(authorization)
    }
}

fn bearer(key: &str) -> Result<HeaderValue, KeyError> {
    let key = key.trim();
    if key.is_empty() {
        return Err(KeyError::Missing);
    }
    let mut value = HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| KeyError::Malformed)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let key = Keys::new(KeySource::Value(Secret::new("sk-visible")));
        assert!(!format!("{key:?} {:?}", key.authorization()).contains("visible"));
    }

    #[test]
    fn a_rotated_file_is_read_again() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let keys = Keys::new(KeySource::File(file.path().to_owned()));
        assert!(matches!(keys.authorization(), Err(KeyError::Missing)));
        fs::write(file.path(), "first\n").expect("written");
        assert_eq!(keys.authorization().expect("a key"), "Bearer first");
        fs::write(file.path(), " second\n").expect("written");
        assert_eq!(keys.authorization().expect("a key"), "Bearer second");
        fs::remove_file(file.path()).expect("removed");
        assert!(matches!(keys.authorization(), Err(KeyError::Unreadable(_, io::ErrorKind::NotFound))));
    }

    #[test]
    fn a_key_that_no_header_carries_is_refused() {
        let keys = Keys::new(KeySource::Value(Secret::new("a\nb")));
        assert!(matches!(keys.authorization(), Err(KeyError::Malformed)));
    }
}
