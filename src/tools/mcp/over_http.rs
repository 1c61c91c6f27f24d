//! The HTTP client of a server. It is made anew with each connection, because the token of a connection does not change.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::stream::BoxStream;
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use reqwest::{Client, Url, redirect};
use rmcp::{
    model::{ClientJsonRpcMessage, JsonRpcMessage},
    transport::{
        StreamableHttpClientTransport,
        common::client_side_sse::ExponentialBackoff,
        streamable_http_client::{
            SseError, StreamableHttpClient, StreamableHttpClientTransportConfig, StreamableHttpError,
            StreamableHttpPostResponse,
        },
    },
};
use sse_stream::Sse;

use super::lines::MESSAGE_BYTES;

/// Between two tries to get the stream of what the server says unasked.
const LISTEN_AGAIN_AT_MOST: Duration = Duration::from_secs(60);

/// A transport to this address; nothing is sent yet. Fails with the second half of a sentence.
pub(super) fn transport(
    url: &str,
    headers: &HeaderMap,
    token: Option<&HeaderValue>,
    connect_timeout: Duration,
    max_concurrent: usize,
) -> Result<StreamableHttpClientTransport<Http>, String> {
    let parsed = Url::parse(url).map_err(|_| "has an address that is no URL".to_owned())?;
    let client = client(&parsed, headers, token, connect_timeout)?;
    let mut config = StreamableHttpClientTransportConfig::with_uri(url)
        .max_concurrent_requests(max_concurrent)
        .max_sse_event_size(MESSAGE_BYTES)
        // A new session is a new connection here: its tools are asked for anew.
        .reinit_on_expired_session(false);
    let mut again = ExponentialBackoff::default();
    again.max_delay = Some(LISTEN_AGAIN_AT_MOST);
    config.retry_config = Arc::new(again);
    Ok(StreamableHttpClientTransport::with_client(Http(client), config))
}

fn client(
    url: &Url,
    headers: &HeaderMap,
    token: Option<&HeaderValue>,
    connect_timeout: Duration,
) -> Result<Client, String> {
    // rustls asks the process for its cryptography. An error says that it has one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut headers = headers.clone();
    headers.extend(token.map(|token| (AUTHORIZATION, token.clone())));
    let mut builder = Client::builder()
        .user_agent(concat!("causerie/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .http1_only()
        .tcp_nodelay(true)
        .connect_timeout(connect_timeout)
        // The token must not travel to where the answer points.
        .redirect(redirect::Policy::none())
        .referer(false);
    // A proxy would read the token, and certificates are not needed.
    if url.scheme() == "http" {
        builder = builder.no_proxy().tls_certs_only([]);
    }
    builder.build().map_err(|error| format!("can't be asked, the HTTP client can't start: {error}"))
}

/// The SDK's client, but that it gives a request its answer where the server does not say which request it answers. Many say
/// so that a session is gone, which ought to be a 404, and the SDK would wait for another answer.
#[derive(Debug, Clone)]
pub(super) struct Http(Client);

type Failed = StreamableHttpError<reqwest::Error>;
type Extra = HashMap<HeaderName, HeaderValue>;

impl StreamableHttpClient for Http {
    type Error = reqwest::Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: Extra,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let most = MESSAGE_BYTES;
        self.post_message_with_max_sse_event_size(uri, message, session_id, auth_header, custom_headers, most).await
    }

    async fn post_message_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: Extra,
        most: usize,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let (is_request, has_session) = (matches!(message, JsonRpcMessage::Request(_)), session_id.is_some());
        let posted =
            self.0.post_message_with_max_sse_event_size(uri, message, session_id, auth_header, custom_headers, most);
        match posted.await? {
            StreamableHttpPostResponse::Json(JsonRpcMessage::Error(error), _) if is_request && error.id.is_none() => {
                Err(match has_session {
                    true => StreamableHttpError::SessionExpired,
                    false => StreamableHttpError::UnexpectedServerResponse("an error of no request".into()),
                })
            }
            posted => Ok(posted),
        }
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        auth_header: Option<String>,
        custom_headers: Extra,
    ) -> Result<(), Failed> {
        self.0.delete_session(uri, session_id, auth_header, custom_headers).await
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        auth_header: Option<String>,
        custom_headers: Extra,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Failed> {
        self.0.get_stream(uri, session_id, last_event_id, auth_header, custom_headers).await
    }
}
