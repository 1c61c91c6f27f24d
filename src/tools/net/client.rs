//! An HTTP client that goes nowhere without the guard.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method};
use reqwest::{Response, Url, redirect::Policy};
use tokio::{sync::OnceCell, task};

use super::{
    allow::{self, AllowList},
    error::Error,
    host,
    lookup::{CheckedLookup, Lookup},
    redirect,
};

/// How many redirects of one request are followed.
pub const MAX_REDIRECTS: usize = 5;
/// For the TCP and TLS handshakes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Servers close idle connections after 60 s and more; sending into a closing one fails.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(55);
/// A model that calls tools in parallel rarely has more calls at once; others make connections of their own.
const POOL_MAX_IDLE: usize = 32;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// How.
    pub method: Method,
    /// Whom.
    pub url: Url,
    /// Those whose values are marked as sensitive never reach another origin.
    pub headers: HeaderMap,
    /// What is sent.
    pub body: Option<Bytes>,
}

impl Request {
    /// The host, for errors.
    pub(super) fn host(&self) -> &str {
        host::of(&self.url).unwrap_or_default()
    }
}

/// A client behind the guard. Cheap to clone; clones share connections. Answers are not decompressed.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    allow: Arc<AllowList>,
    lookup: Arc<dyn Lookup>,
    /// A resolver is not told the port, and the allow list may depend on it: each port that the list names has a client of its
    /// own, and all others share one. Made when first needed: reading the system's certificates takes milliseconds, and
    /// minimal containers have none.
    clients: BTreeMap<ClientKey, OnceCell<reqwest::Client>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ClientKey {
    tls: bool,
    port: Option<u16>,
}

impl Client {
    /// A client that reaches the internet and what the list adds to it.
    pub fn new(allow: AllowList, lookup: Arc<dyn Lookup>) -> Client {
        let ports = allow.ports().map(Some).chain([None]);
        let keys = ports.flat_map(|port| [true, false].map(|tls| ClientKey { tls, port }));
        let clients = keys.map(|key| (key, OnceCell::new())).collect();
        Client { inner: Arc::new(Inner { allow: Arc::new(allow), lookup, clients }) }
    }

    /// Sends a request and follows redirects, each under the same guard.
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        let mut request = request;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send_once(&request).await?;
            match redirect::next(&request, &response)? {
                Some(next) => request = next,
                None => return Ok(response),
            }
        }
        Err(Error::TooManyRedirects)
    }

    /// Sends a request and follows no redirect.
    pub async fn send_once(&self, request: &Request) -> Result<Response, Error> {
        let Request { method, url, headers, body } = request;
        let key = self.check(url)?;
        let client = self.client(key).await.map_err(|why| Error::Unreachable { host: request.host().into(), why })?;
        let mut builder = client.request(method.clone(), url.clone()).headers(headers.clone());
        if let Some(body) = body {
            builder = builder.body(body.clone());
        }
        builder.send().await.map_err(|error| Error::of(&error, request.host()))
    }

    /// Why the URL can't be asked, whatever its name means: it is no http address, or an address that may not be reached. A name
    /// is judged when it is asked.
    pub fn refuses(&self, url: &Url) -> Option<Error> {
        self.check(url).err()
    }

    /// Judges what the URL says by itself: connectors ask no resolver about an address.
    fn check(&self, url: &Url) -> Result<ClientKey, Error> {
        let tls = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(Error::Unusable("must begin with http:// or https://")),
        };
        // They would be sent as a header that no rule above this has seen.
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::Unusable("must have no user name"));
        }
        let host = host::of(url).ok_or(Error::Unusable("has no host"))?;
        let port = self.inner.allow.port_of(url);
        match allow::ip_of(host) {
            Some(address) if !self.inner.allow.permits(host, address, port) => {
                Err(Error::Refused { host: host.to_owned() })
            }
            Some(_) | None => Ok(ClientKey { tls, port }),
        }
    }

    async fn client(&self, key: ClientKey) -> Result<&reqwest::Client, String> {
        let cell = self.inner.clients.get(&key).expect("every port that the list names has its clients");
        let lookup =
            CheckedLookup { lookup: self.inner.lookup.clone(), allow: self.inner.allow.clone(), port: key.port };
        let made = cell.get_or_try_init(|| async move {
            let made = task::spawn_blocking(move || build(key.tls, lookup)).await;
            made.unwrap_or_else(|_| Err("the HTTP client cannot start".to_owned()))
        });
        made.await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("allow", &self.inner.allow).finish_non_exhaustive()
    }
}

fn build(tls: bool, lookup: CheckedLookup) -> Result<reqwest::Client, String> {
    // rustls asks the process for its cryptography. An error says that it has one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("causerie/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(lookup)
        // A proxy would look names up by itself.
        .no_proxy()
        .redirect(Policy::none())
        .referer(false)
        // A write that breaks is not sent again behind our back.
        .retry(reqwest::retry::never())
        .http1_only()
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(POOL_MAX_IDLE)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT);
    if !tls {
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| format!("the HTTP client cannot start: {error}"))
}
