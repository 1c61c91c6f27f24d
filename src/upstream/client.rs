//! The HTTP client of a provider.

use std::{collections::BTreeMap, error::Error, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING},
};
use reqwest::{Client, RequestBuilder, Response, Url, redirect};
use tokio::time::timeout_at;

use super::{
    Completion, Dialect, Entry, Failure, Fault, FaultClass, Form, MaxTokensField, Options, Reached, Request, Secret,
    Transcript,
    answer::Answer,
    chat,
    completion::{Call, Limits, Until},
    conversations,
    endpoint::Endpoint,
    key::{KeyError, KeyHeader, Keys},
    origin::Origin,
    prepare::Prepared,
    refusal::{Asked, Refused, Sent},
    secrets::Secrets,
};
use crate::domain::Reason;

/// Gateways close idle connections after 60 s and more; sending into a closing one fails, so ours are given up before.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(55);
/// One idle connection for each of as many turns at once. More are closed after use.
const POOL_MAX_IDLE: usize = 1024;
/// A provider of chat completions. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Provider {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) origin: Origin,
    pub(super) dialect: Dialect,
    pub(super) max_tokens_field: MaxTokensField,
    pub(super) endpoint: Endpoint,
    pub(super) keys: Keys,
    key_place: String,
    /// Sent with every request. The client holds them too; here they are for hiding them where the provider quotes them.
    headers: HeaderMap,
    pub(super) connector_secrets: BTreeMap<String, Secret>,
    client: Client,
    pub(super) first_byte_timeout: Duration,
    whole_answer_timeout: Duration,
    pub(super) limits: Limits,
}

/// An option that can't work, in a sentence for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionsError(pub(super) String);

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
            max_tokens_field,
            base_url,
            key,
            key_place,
            key_header,
            headers,
            connector_secrets,
            connect_timeout,
            first_byte_timeout,
            idle_timeout,
            whole_answer_timeout,
            max_output_bytes,
        } = options;
        let named = |OptionsError(what)| OptionsError(format!("{name}'s {what}"));
        let endpoint = Endpoint::parse(&base_url).map_err(named)?;
        let headers = extra_headers(&headers, key_header).map_err(named)?;
        let client = client(&endpoint.chat, connect_timeout, &headers).map_err(named)?;
        let origin =
            Origin { provider: name.into(), host: endpoint.host().into(), http_status: None, correlation_id: None };
        let keys = Keys::new(key, key_header).map_err(|error| OptionsError(key_text(&error, &key_place, &origin)))?;
        let limits = Limits { idle_timeout, max_output_bytes };
        let inner = Inner {
            origin,
            dialect,
            max_tokens_field: max_tokens_field.unwrap_or(dialect.max_tokens_field()),
            endpoint,
            keys,
            key_place,
            headers,
            connector_secrets,
            client,
            first_byte_timeout,
            whole_answer_timeout,
            limits,
        };
        Ok(Provider { inner: Arc::new(inner) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.origin.provider
    }

    /// What it speaks.
    pub fn dialect(&self) -> Dialect {
        self.inner.dialect
    }

    /// A history as messages of chat completions. Fails as [`Provider::encode_for`] does.
    pub fn encode(&self, entries: &[Arc<Entry>]) -> Result<Transcript, Failure> {
        self.encode_for(Form::Chat, entries)
    }

    /// A history as this endpoint of the provider takes it. Fails with INVALID_REQUEST, and a violation for each, if it holds chunks that the
    /// provider can't be told of and that an answer depends on.
    pub fn encode_for(&self, form: Form, entries: &[Arc<Entry>]) -> Result<Transcript, Failure> {
        Transcript::empty(self.inner.origin.provider.clone(), self.inner.dialect, form).extend(entries)
    }

    /// The same history with more entries: equals encoding all of them, but costs only the new ones. Fails as
    /// [`Provider::encode_for`] does, and with INTERNAL if the transcript is another provider's.
    pub fn extend(&self, transcript: &Transcript, entries: &[Arc<Entry>]) -> Result<Transcript, Failure> {
        self.require_own(transcript)?;
        transcript.extend(entries)
    }

    /// Calls the model. Answers when the head of the provider's answer is there and says success; dropping the future or the
    /// [`Completion`] closes the connection at once.
    ///
    /// Fails before anything is sent with API_KEY_MISSING, or INVALID_REQUEST if the caller's key can't be one;
    /// SERVICE_UNAVAILABLE if the provider can't be reached or answers 5xx; TIMEOUT if no head comes within the first-byte timeout;
    /// UPSTREAM_PROTOCOL_ERROR if what answers does not speak its API; otherwise with what the refusal means. Nothing is
    /// retried, but for a key that is refused (401) where there is a new one by now: short-lived ones cost no turn.
    pub async fn complete(&self, request: Request<'_>) -> Result<Completion, Fault> {
        let inner = &*self.inner;
        let mut sent = inner.key(request.key).await?;
        let prepared = self.prepare(&request);
        let Prepared { url, form, encoded: chat::Encoded { body, continued } } =
            prepared.map_err(|failure| Fault::new(FaultClass::Permanent, failure))?;
        let body = Bytes::from(body);
        let patience = if request.stream { inner.first_byte_timeout } else { inner.whole_answer_timeout };
        let until = Until::after(patience);
        let mut response = inner.send(url, &body, &sent, request.stream, until).await?;
        if response.status() == 401
            && let Some(renewed) = inner.renewed(&sent).await
        {
            sent = renewed;
            response = inner.send(url, &body, &sent, request.stream, until).await?;
        }
        let origin = inner.origin.answered(&response);
        if response.status() != 200 {
            let asked = Asked { form, model: request.model, hosted: request.hosted.is_some() };
            let refused = Refused { response, asked, deadline: None, sent: &sent };
            return Err(inner.refused(refused, &origin).await);
        }
        let max_bytes = inner.limits.max_output_bytes;
        let answer: Box<dyn Answer> = match form {
            Form::Chat => Box::new(chat::Chat::new(origin.clone(), continued, max_bytes)),
            Form::Conversations => Box::new(conversations::Conversations::new(origin.clone(), continued, max_bytes)),
        };
        let secrets = inner.secrets(&sent);
        let call = Call { origin, secrets, limits: inner.limits, first_byte: until, stream: request.stream };
        Completion::new(response, answer, call)
    }
}

#[cfg(test)]
impl Provider {
    /// For tests that only need one to be there: nothing listens at its address.
    pub(crate) fn never_asked(name: &str) -> Provider {
        Provider::new(Options {
            name: name.to_owned(),
            dialect: Dialect::Mistral,
            max_tokens_field: None,
            base_url: "http://127.0.0.1:1".to_owned(),
            key: super::KeySource::NotNeeded,
            key_place: String::new(),
            key_header: KeyHeader::Bearer,
            headers: Vec::new(),
            connector_secrets: BTreeMap::new(),
            connect_timeout: Duration::from_secs(1),
            first_byte_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(1),
            whole_answer_timeout: Duration::from_secs(1),
            max_output_bytes: 1,
        })
        .expect("the options are right")
    }
}

impl Inner {
    /// The key to send: the caller's own, else the configured one.
    async fn key(&self, own: Option<&Secret>) -> Result<Sent, Fault> {
        if let Some(own) = own {
            let header = self.keys.header().value(own.expose());
            let header = header.map_err(|_| Fault::new(FaultClass::Permanent, malformed_own_key()))?;
            return Ok(Sent { key: Some(header), is_own: true });
        }
        self.configured_key().await.map(|key| Sent { key, is_own: false })
    }

    /// `None`: none is needed. A command may have to be run for it.
    pub(super) async fn configured_key(&self) -> Result<Option<HeaderValue>, Fault> {
        self.keys.value().await.map_err(|error| {
            Fault::new(
                FaultClass::Permanent,
                self.origin.failure(Reason::ApiKeyMissing, key_text(&error, &self.key_place, &self.origin)),
            )
        })
    }

    /// The head of what comes back.
    async fn send(&self, url: &Url, body: &Bytes, sent: &Sent, stream: bool, until: Until) -> Result<Response, Fault> {
        let accept = if stream { "text/event-stream" } else { "application/json" };
        let request = self.request(Method::POST, url, sent);
        let request = request.header(CONTENT_TYPE, "application/json").header(ACCEPT, accept).body(body.clone());
        match timeout_at(until.at, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(send_fault(&error, &self.origin)),
            Err(_) => Err(until.fault(&self.origin, "sent no answer")),
        }
    }

    /// The configured key, if it is another one than that which was refused. A command is run again for it.
    async fn renewed(&self, refused: &Sent) -> Option<Sent> {
        let old = refused.key.as_ref().filter(|_| !refused.is_own)?;
        self.keys.refused(old).await;
        let key = self.keys.value().await.ok().flatten().filter(|key| key != old)?;
        Some(Sent { key: Some(key), is_own: false })
    }

    /// A request with its key.
    pub(super) fn request(&self, method: Method, url: &Url, sent: &Sent) -> RequestBuilder {
        let request = self.client.request(method, url.clone());
        match &sent.key {
            Some(key) => request.header(self.keys.header().name(), key.clone()),
            None => request,
        }
    }

    /// What a refusal means.
    pub(super) async fn refused(&self, refused: Refused<'_>, origin: &Origin) -> Fault {
        let secrets = self.secrets(refused.sent);
        refused.read(origin, &self.key_place, &secrets).await
    }

    /// What a call that was sent with this key must not have told of it.
    pub(super) fn secrets(&self, sent: &Sent) -> Secrets {
        Secrets::of(sent.key.as_ref(), &self.headers, self.connector_secrets.values())
    }

    pub(super) fn key_is_not_needed(&self) -> bool {
        self.keys.is_not_needed()
    }
}

/// The operator's own headers. Their values may be secrets, so only the names are told.
fn extra_headers(headers: &[(String, Secret)], key_header: KeyHeader) -> Result<HeaderMap, OptionsError> {
    let reserved = [key_header.name(), ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING];
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let wrong = |what: &str| OptionsError(format!("extra header {:?} {what}", shortened(name)));
        let name = HeaderName::try_from(name.as_str()).map_err(|_| wrong("is no name of an HTTP header"))?;
        if reserved.contains(&name) {
            return Err(wrong("is set by the service"));
        }
        let value = HeaderValue::try_from(value.expose()).ok().filter(|value| value.to_str().is_ok());
        let mut value = value.ok_or_else(|| wrong("has a value that is no visible ASCII"))?;
        value.set_sensitive(true);
        map.append(name, value);
    }
    Ok(map)
}

/// What is no header's name may be a whole line with its value.
fn shortened(name: &str) -> &str {
    name.split([':', ' ', '=']).next().unwrap_or_default()
}

fn client(endpoint: &Url, connect_timeout: Duration, headers: &HeaderMap) -> Result<Client, OptionsError> {
    // rustls asks the process for its cryptography. An error says that it has one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("causerie/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers.clone())
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
    builder.build().map_err(|error| OptionsError(format!("HTTP client can't start: {}", cause(&error))))
}

/// There is no head of an answer: whatever it was may be over soon.
pub(super) fn send_fault(error: &reqwest::Error, origin: &Origin) -> Fault {
    let Origin { provider, host, .. } = origin;
    let (reached, failure) = if error.is_connect() {
        // Also after `connect_timeout`: the provider was not reached and nothing was spent, which TIMEOUT does not say.
        let text = format!("{provider} can't be reached at {host}: {}", cause(error));
        (Reached::NotSent, origin.failure(Reason::ServiceUnavailable, text))
    } else {
        let text = format!("the connection to {host} broke before there was one: {}", cause(error));
        (Reached::Sent, origin.protocol(text))
    };
    Fault { reached, ..Fault::new(FaultClass::Transient, failure.with("host", &**host)) }
}

/// The innermost error: what the operating system, TLS or HTTP has to say. reqwest's own text repeats the URL.
pub(super) fn cause(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn malformed_own_key() -> Failure {
    Failure::invalid_field(
        "x-provider-api-key",
        "must hold an API key: one line of visible ASCII characters, no blanks",
    )
}

fn key_text(error: &KeyError, place: &str, origin: &Origin) -> String {
    let provider = &origin.provider;
    match error {
        KeyError::Missing => format!("no API key for {provider}: set {place}, or start the service with --offline"),
        KeyError::Unreadable(path, kind) => {
            format!("the API key file {} of {provider} can't be read: {kind}", path.display())
        }
        KeyError::Malformed => {
            format!(
                "the API key of {provider} ({place}) must be the key and nothing else: one line of visible ASCII characters, no \
                 blanks"
            )
        }
        KeyError::Command { program, error } => {
            format!("the key command of {provider} ({place}, which runs {program:?}) {error}")
        }
    }
}
