//! A token for a server that is no provider, from where keys come from: read and renewed as a provider's key is.

use std::sync::Arc;

use http::HeaderValue;

use super::{
    KeySource, OptionsError,
    key::{KeyError, KeyHeader, Keys},
};

/// A bearer token. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bearer {
    keys: Arc<Keys>,
    place: String,
}

impl Bearer {
    /// A token that is there but unusable is an error here, a missing one only when it is needed. `place` is where the operator
    /// puts it.
    pub fn new(source: KeySource, place: impl Into<String>) -> Result<Bearer, OptionsError> {
        let place = place.into();
        match Keys::new(source, KeyHeader::Bearer) {
            Ok(keys) => Ok(Bearer { keys: Arc::new(keys), place }),
            Err(error) => Err(OptionsError(text(&error, &place))),
        }
    }

    /// The value of the header, or why there is none.
    pub async fn token(&self) -> Result<HeaderValue, String> {
        match self.keys.value().await {
            Ok(Some(token)) => Ok(token),
            Ok(None) => Err(text(&KeyError::Missing, &self.place)),
            Err(error) => Err(text(&error, &self.place)),
        }
    }

    /// The server has refused this value.
    pub async fn refused(&self, token: &HeaderValue) {
        self.keys.refused(token).await;
    }
}

fn text(error: &KeyError, place: &str) -> String {
    match error {
        KeyError::Missing => format!("there is no bearer token: set {place}"),
        KeyError::Unreadable(path, kind) => format!("the file {} of {place} can't be read: {kind}", path.display()),
        KeyError::Malformed => {
            format!("{place} must hold the token and nothing else: one line of visible ASCII characters, no blanks")
        }
        KeyError::Command { program, error } => format!("the command of {place}, which runs {program:?}, {error}"),
    }
}
