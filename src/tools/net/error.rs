use std::{error, fmt};

/// Why there is no answer. Its text is a sentence without addresses, for models and callers: what a name means inside the
/// operator's network is not theirs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The URL can't be asked, for this reason.
    Unusable(&'static str),
    /// The host is, or leads only to, addresses that may not be reached.
    Refused {
        /// As the URL has it.
        host: String,
    },
    /// The name has no address.
    Unresolved {
        /// The name.
        host: String,
    },
    /// No connection, or no answer on it.
    Unreachable {
        /// As the URL has it.
        host: String,
        /// What the operating system, TLS or HTTP has to say.
        why: String,
    },
    /// Redirects lead on and on.
    TooManyRedirects,
    /// A redirect leads to something that is no http address.
    BadRedirect {
        /// Who redirects.
        host: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unusable(why) => write!(f, "the address cannot be asked: it {why}"),
            Error::Refused { host } => {
                write!(
                    f,
                    "{host} is, or leads to, an address that may not be reached unless the operator lists it \
                     (tools.http.allow)"
                )
            }
            Error::Unresolved { host } => write!(f, "{host} has no address that is known here"),
            Error::Unreachable { host, why } => write!(f, "{host} gives no answer: {why}"),
            Error::TooManyRedirects => write!(f, "there are more than {} redirects", super::MAX_REDIRECTS),
            Error::BadRedirect { host } => write!(f, "{host} redirects to something that is no http or https address"),
        }
    }
}

impl error::Error for Error {}

impl Error {
    /// What went wrong on the way to this host.
    pub(super) fn of(error: &reqwest::Error, host: &str) -> Error {
        let mut innermost: &(dyn error::Error + 'static) = error;
        while let Some(source) = innermost.source() {
            if let Some(own) = source.downcast_ref::<Error>() {
                return own.clone();
            }
            innermost = source;
        }
        // reqwest's own text repeats the URL.
        let why = if error.is_timeout() { "it took too long".to_owned() } else { innermost.to_string() };
        Error::Unreachable { host: host.to_owned(), why }
    }
}
