//! The HTTP client of a provider.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderValue,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use jiff::Timestamp;
use reqwest::{Client, Response, Url, redirect};
use tokio::time::{Instant, timeout_at};

use super::{
    Completion, Dialect, Entry, Failure, Options, Request, Transcript, chat,
    completion::Limits,
    key::{KeyError, Keys},
    origin::Origin,
};
use crate::domain::Reason;

/// Mistral's SDK gives a whole answer so long.
const WHOLE_ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
/// Gateways close idle connections after 60 s and more; sending into a closing one fails, so ours are given up before.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(55);
/// One idle connection for each of as many turns at once. More are closed after use.
const POOL_MAX_IDLE: usize = 1024;
/// Of a refusal's body; the explanation is short.
const REFUSAL_BYTES: usize = 64 * 1024;
/// For a refusal's body: its status says the most.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);

/// A provider of chat completions. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Provider {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    origin: Origin,
    dialect: Dialect,
    endpoint: Url,
    keys: Keys,
    client: Client,
    first_byte_timeout: Duration,
    limits: Limits,
}

/// An option that can't work, in a sentence for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionsError(String);

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for OptionsError {}

impl Provider {
    /// A provider; nothing is sent yet. A key that is there but unusable is an error here, a missing one only when it is needed.
    pub fn new(options: Options) -> Result<Provider, OptionsError> {
        let Options {
            name,
            dialect,
            base_url,
            key,
            connect_timeout,
            first_byte_timeout,
            idle_timeout,
            max_output_bytes,
        } = options;
        let endpoint = endpoint(&base_url)?;
        let client = client(&endpoint, connect_timeout)?;
        let host = match (endpoint.host_str(), endpoint.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or_default().to_owned(),
        };
        let origin = Origin { provider: name.into(), host: host.into(), http_status: None, correlation_id: None };
        let keys = Keys::new(key);
        match keys.authorization() {
            Err(error @ (KeyError::Malformed | KeyError::Unreadable(..))) => {
                return Err(OptionsError(key_text(&error, &origin)));
            }
            Ok(_) | Err(KeyError::Missing) => {}
        }
        let limits = Limits { idle_timeout, max_output_bytes };
        Ok(Provider { inner: Arc::new(Inner { origin, dialect, endpoint, keys, client, first_byte_timeout, limits }) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.origin.provider
    }

    /// Whether a key is there at this moment.
    pub fn has_key(&self) -> bool {
        self.inner.keys.authorization().is_ok()
    }

    /// What it speaks.
    pub fn dialect(&self) -> Dialect {
        self.inner.dialect
    }

    /// A history in the provider's form. Fails with INVALID_REQUEST, and a violation for each, if it holds chunks that the
    /// provider can't be told of and that an answer depends on.
    pub fn encode(&self, entries: &[Arc<Entry>]) -> Result<Transcript, Failure> {
        Transcript::empty(self.inner.origin.provider.clone(), self.inner.dialect).extend(entries)
    }

    /// The same history with more entries: equals encoding all of them, but costs only the new ones. Fails as
    /// [`Provider::encode`] does, and with INTERNAL if the transcript is another provider's.
    pub fn extend(&self, transcript: &Transcript, entries: &[Arc<Entry>]) -> Result<Transcript, Failure> {
        self.require_own(transcript)?;
        transcript.extend(entries)
    }

    /// The body that [`Provider::complete`] sends. Fails with INVALID_REQUEST if arguments are set that the provider's dialect
    /// does not have (see [`Dialect::check_args`]), and with INTERNAL if the transcript is another provider's.
    pub fn body(&self, request: Request<'_>) -> Result<Vec<u8>, Failure> {
        Ok(self.prepare(&request)?.body)
    }

    /// Calls the model. Answers when the head of the provider's answer is there and says success; dropping the future or the
    /// [`Completion`] closes the connection at once.
    ///
    /// Fails with API_KEY_MISSING, or TIMEOUT if the deadline has passed, before anything is sent; SERVICE_UNAVAILABLE if the provider can't be reached or answers 5xx;
    /// TIMEOUT after the deadline or the first-byte timeout; UPSTREAM_PROTOCOL_ERROR if what answers does not speak its API;
    /// otherwise with what the refusal means. Nothing is retried.
    pub async fn complete(&self, request: Request<'_>) -> Result<Completion, Failure> {
        let inner = &*self.inner;
        let authorization = inner.keys.authorization().map_err(|error| key_failure(&error, &inner.origin))?;
        if request.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(inner.origin.failure(Reason::Timeout, "the deadline passed before the model was asked"));
        }
        let chat::Encoded { body, continued } = self.prepare(&request)?;
        let accept = if request.stream { "text/event-stream" } else { "application/json" };
        let sending = inner
            .client
            .post(inner.endpoint.clone())
            .header(AUTHORIZATION, authorization.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, accept)
            .body(body)
            .send();

        let patience = if request.stream { inner.first_byte_timeout } else { WHOLE_ANSWER_TIMEOUT };
        let until = inner.limits.until(patience, request.deadline);
        let response = match timeout_at(until.at, sending).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(send_failure(&error, &inner.origin)),
            Err(_) => return Err(until.failure(&inner.origin, "sent no answer")),
        };
        let origin = Origin {
            http_status: Some(response.status().as_u16()),
            correlation_id: correlation_id(response.headers()),
            ..inner.origin.clone()
        };
        if response.status() != 200 {
            let refused = refusal(response, request, &origin).await;
            return Err(without_key(refused, &authorization));
        }
        let answer = chat::Answer::new(origin.clone(), continued, inner.limits.max_output_bytes);
        Completion::new(response, answer, origin, inner.limits, &request)
    }

    fn prepare(&self, request: &Request<'_>) -> Result<chat::Encoded, Failure> {
        self.require_own(request.transcript)?;
        chat::encode(request, &request.transcript.messages, request.transcript.target())
    }

    fn require_own(&self, transcript: &Transcript) -> Result<(), Failure> {
        if transcript.is_for(self) {
            return Ok(());
        }
        let text = format!("a history encoded for {} was given to {}", transcript.provider, self.name());
        Err(Failure::new(Reason::Internal, text))
    }
}

fn endpoint(base_url: &str) -> Result<Url, OptionsError> {
    // The URL itself is not repeated: it may hold a password.
    let wrong = |what: &str| OptionsError(format!("the provider's base URL {what}"));
    let mut url = Url::parse(base_url).map_err(|error| wrong(&format!("can't be read: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("must begin with https:// or http://"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("must not hold a user name, password, query or fragment; the key has its own option"));
    }
    let path = url.path().trim_end_matches('/');
    let path = format!("{}/v1/chat/completions", path.strip_suffix("/v1").unwrap_or(path));
    url.set_path(&path);
    Ok(url)
}

fn client(endpoint: &Url, connect_timeout: Duration) -> Result<Client, OptionsError> {
    // rustls asks the process for its cryptography. An error says that it has one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("causerie/", env!("CARGO_PKG_VERSION")))
        // Over HTTP/2, h2 closes a connection whose reader lags behind many small DATA frames, which is what a stream of tokens
        // is (RUSTSEC-2026-0258), and takes all its streams with it. Over HTTP/1.1 a turn's connection is its own.
        .http1_only()
        .tcp_nodelay(true)
        .connect_timeout(connect_timeout)
        .pool_max_idle_per_host(POOL_MAX_IDLE)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        // The key must not travel to where the answer points.
        .redirect(redirect::Policy::none())
        .referer(false);
    // HTTPS_PROXY, ALL_PROXY and NO_PROXY are heeded for https, where a proxy only forwards bytes. An http address is a server
    // nearby (a local model, the offline stand-in), and a proxy would read the key. It needs no certificates either, which
    // minimal containers lack and others take milliseconds to load.
    if endpoint.scheme() == "http" {
        builder = builder.no_proxy().tls_certs_only([]);
    }
    builder.build().map_err(|error| OptionsError(format!("the HTTP client can't start: {}", cause(&error))))
}

/// A provider may quote the request in its explanation, and the key with it. What explains the caller's mistake is passed on;
/// the key never.
fn without_key(mut failure: Failure, authorization: &HeaderValue) -> Failure {
    let key = authorization.to_str().ok().and_then(|header| header.strip_prefix("Bearer "));
    // A stand-in's or a local server's key may be a short word, which says nothing and may stand in any text.
    if let Some(key) = key.filter(|key| key.len() >= 8) {
        let texts = failure.metadata.iter_mut().map(|(_, value)| value).chain([&mut failure.message]);
        for text in texts.filter(|text| text.contains(key)) {
            *text = text.replace(key, "[key]");
        }
    }
    failure
}

async fn refusal(mut response: Response, request: Request<'_>, origin: &Origin) -> Failure {
    let mut body = Vec::new();
    let reading = async {
        while let Ok(Some(bytes)) = response.chunk().await
            && body.len() < REFUSAL_BYTES
        {
            body.extend_from_slice(&bytes);
        }
    };
    let end = Instant::now() + REFUSAL_TIMEOUT;
    // What has come by then is read as far as it goes.
    let _ = timeout_at(request.deadline.map_or(end, |deadline| deadline.min(end)), reading).await;
    let refusal = chat::Refusal {
        status: response.status().as_u16(),
        headers: response.headers(),
        body: &body,
        model: request.model,
        now: Timestamp::now(),
    };
    let (failure, _class) = chat::refused(&refusal, origin);
    failure
}

fn correlation_id(headers: &HeaderMap) -> Option<String> {
    let names = ["mistral-correlation-id", "x-kong-request-id", "x-request-id"];
    let id = names.into_iter().find_map(|name| headers.get(name))?.to_str().ok()?;
    (!id.is_empty() && id.len() <= 128).then(|| id.to_owned())
}

fn send_failure(error: &reqwest::Error, origin: &Origin) -> Failure {
    let Origin { provider, host, .. } = origin;
    let failure = if error.is_connect() {
        // Also after `connect_timeout`: the provider was not reached and nothing was spent, which TIMEOUT does not say.
        let text = format!("{provider} can't be reached at {host}: {}", cause(error));
        origin.failure(Reason::ServiceUnavailable, text)
    } else {
        origin.protocol(format!("the connection to {host} broke before there was one: {}", cause(error)))
    };
    failure.with("host", &**host)
}

/// The innermost error: what the operating system, TLS or HTTP has to say. reqwest's own text repeats the URL.
pub(super) fn cause(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn key_failure(error: &KeyError, origin: &Origin) -> Failure {
    origin.failure(Reason::ApiKeyMissing, key_text(error, origin))
}

fn key_text(error: &KeyError, origin: &Origin) -> String {
    let variable = origin.key_variable();
    match error {
        KeyError::Missing => format!(
            "no API key for {}: set {variable} or provider.key_file, or start the service with --offline",
            origin.provider
        ),
        KeyError::Unreadable(path, kind) => {
            format!("the API key file {} (provider.key_file) can't be read: {kind}", path.display())
        }
        KeyError::Malformed => {
            format!("the API key in {variable} or provider.key_file holds characters that no HTTP header carries")
        }
    }
}
