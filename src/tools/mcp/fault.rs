//! What went wrong with a request, in words that tell neither what was sent nor what came back.

use std::error::Error;

use rmcp::{
    service::{ClientInitializeError, ServiceError},
    transport::{DynamicTransportError, streamable_http_client::StreamableHttpError},
};

/// Of a text that a server wrote.
const SERVER_TEXT_CHARS: usize = 2000;

/// Why a request brought nothing. The texts continue "the server `name` …".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The server says so: its own words.
    Answered(String),
    /// The server refused to look at it.
    Refused(Refusal),
    /// This request failed, and the next one may do.
    Failed(String),
    /// The connection is gone.
    Lost(String),
    /// There was no answer in time.
    TimedOut,
}

/// What was not good enough for the server to look at a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The bearer token, or that there is none.
    Token,
    /// The session, which it knows no more.
    Session,
}

impl Refusal {
    pub(super) fn text(self) -> &'static str {
        match self {
            Refusal::Token => "refuses the bearer token, or wants one",
            Refusal::Session => "does not know its sessions",
        }
    }
}

impl From<ServiceError> for Fault {
    fn from(error: ServiceError) -> Fault {
        match error {
            ServiceError::McpError(error) => Fault::Answered(bounded(&error.message)),
            ServiceError::TransportSend(error) => of_transport(&error),
            ServiceError::TransportClosed => Fault::Lost("closed the connection".into()),
            ServiceError::Timeout { .. } => Fault::TimedOut,
            // The enum may grow. What is left of it today speaks of answers to another question.
            _ => Fault::Failed("answered something else than what it was asked for".into()),
        }
    }
}

impl From<ClientInitializeError> for Fault {
    fn from(error: ClientInitializeError) -> Fault {
        match error {
            ClientInitializeError::TransportError { error, context: _ } => of_transport(&error),
            ClientInitializeError::JsonRpcError(error) => {
                Fault::Failed(format!("refuses to be connected to: {}", bounded(&error.message)))
            }
            ClientInitializeError::NoCompatibleProtocolVersion { .. } => {
                Fault::Failed("speaks no version of the protocol that is known here".into())
            }
            ClientInitializeError::ConnectionClosed(_) => {
                Fault::Lost("closed the connection before it introduced itself".into())
            }
            // The enum may grow. Its texts quote what the server sent.
            _ => Fault::Failed("does not introduce itself as the protocol wants it".into()),
        }
    }
}

fn of_transport(error: &DynamicTransportError) -> Fault {
    match error.error.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
        Some(error) => of_http(error),
        None => Fault::Lost("does not read what it is sent".into()),
    }
}

fn of_http(error: &StreamableHttpError<reqwest::Error>) -> Fault {
    match error {
        StreamableHttpError::AuthRequired(_) => Fault::Refused(Refusal::Token),
        StreamableHttpError::SessionExpired => Fault::Refused(Refusal::Session),
        StreamableHttpError::InsufficientScope(_) => Fault::Failed("refuses: the token's scope is not enough".into()),
        StreamableHttpError::HttpStatus(error) => Fault::Failed(format!("answers HTTP {}", error.status)),
        StreamableHttpError::ResponseBodyTooLarge { max_size } => {
            Fault::Failed(format!("answers with more than {max_size} bytes"))
        }
        StreamableHttpError::UnexpectedContentType(_) => {
            Fault::Failed("answers with neither JSON nor events: the address may be another service's".into())
        }
        // The status stands in the text, and the answer's body after it.
        StreamableHttpError::UnexpectedServerResponse(text) => match status(text) {
            Some("401") => Fault::Refused(Refusal::Token),
            Some(status) => Fault::Failed(format!("answers HTTP {status}")),
            None => Fault::Failed("answers something that is no message of the protocol".into()),
        },
        StreamableHttpError::Client(error) => match error.status() {
            Some(status) => Fault::Failed(format!("answers HTTP {}", status.as_u16())),
            None if error.is_connect() => Fault::Lost(format!("can't be reached: {}", cause(error))),
            None => Fault::Lost(format!("broke the connection: {}", cause(error))),
        },
        // The enum may grow.
        _ => Fault::Lost("broke the connection".into()),
    }
}

fn status(text: &str) -> Option<&str> {
    let status = text.strip_prefix("HTTP ")?.get(..3)?;
    status.bytes().all(|byte| byte.is_ascii_digit()).then_some(status)
}

/// What the operating system, TLS or HTTP has to say. reqwest's own text repeats the URL, which may hold a key.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

pub(super) fn bounded(text: &str) -> String {
    match text.char_indices().nth(SERVER_TEXT_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answers_body_is_not_told() {
        let of = |text: &'static str| of_http(&StreamableHttpError::UnexpectedServerResponse(text.into()));
        assert_eq!(of("HTTP 401 Unauthorized: sk-visible"), Fault::Refused(Refusal::Token));
        assert_eq!(of("HTTP 418 I'm a teapot: sk-visible"), Fault::Failed("answers HTTP 418".into()));
        for text in ["HTTP sk-visible", "HTTP é", "could not parse JSON response: sk-visible"] {
            assert!(!format!("{:?}", of(text)).contains("sk-visible"), "{text}");
        }
    }

    #[test]
    fn a_servers_words_are_bounded() {
        assert_eq!(bounded("no such file"), "no such file");
        assert_eq!(bounded(&"é".repeat(9000)).chars().count(), SERVER_TEXT_CHARS + 1);
    }
}
