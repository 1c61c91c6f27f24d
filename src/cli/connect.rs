//! The client's side of the connection.

use std::time::Duration;

use clap::Args;
use tonic::{
    Request,
    transport::{Channel, Endpoint, Uri},
};

use super::failure::{Failure, deepest, unreachable};
use crate::proto::{
    agent_service_client::AgentServiceClient, batch_service_client::BatchServiceClient,
    conversation_service_client::ConversationServiceClient, model_service_client::ModelServiceClient,
    watch_service_client::WatchServiceClient, webhook_service_client::WebhookServiceClient,
};

pub(super) type Client = ConversationServiceClient<Channel>;
pub(super) type Batches = BatchServiceClient<Channel>;
pub(super) type Agents = AgentServiceClient<Channel>;
pub(super) type Webhooks = WebhookServiceClient<Channel>;
pub(super) type Models = ModelServiceClient<Channel>;
pub(super) type Watch = WatchServiceClient<Channel>;

/// How long a call that runs no model may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A server may be set to send up to 16 MiB; more than that is no message of ours.
const LARGEST_MESSAGE_BYTES: usize = 64 << 20;
/// HTTP/2 receivers count small frames that wait to be read and cut the connection when they pass a share of its window: a
/// terminal that is scrolled back while an answer streams must not lose it. (RUSTSEC-2026-0258's remedy in h2.)
const WINDOW_BYTES: u32 = 64 << 20;

/// Which service to talk to.
#[derive(Debug, Clone, Args)]
pub struct Server {
    /// The service to talk to.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "CAUSERIE_SERVER",
        hide_env_values = true,
        default_value = "http://127.0.0.1:50051"
    )]
    server: String,
}

impl Server {
    /// Connects, and says at once if nobody answers there.
    pub(super) async fn connect(&self) -> Result<Client, Failure> {
        Ok(client(self.channel().await?))
    }

    /// The same for agents.
    pub(super) async fn connect_agents(&self) -> Result<Agents, Failure> {
        Ok(AgentServiceClient::new(self.channel().await?).max_decoding_message_size(LARGEST_MESSAGE_BYTES))
    }

    /// The same for webhooks.
    pub(super) async fn connect_webhooks(&self) -> Result<Webhooks, Failure> {
        Ok(WebhookServiceClient::new(self.channel().await?).max_decoding_message_size(LARGEST_MESSAGE_BYTES))
    }

    /// The same for all services, on one connection.
    pub(super) async fn connect_all(&self) -> Result<(Client, Models, Agents), Failure> {
        let channel = self.channel().await?;
        let models = ModelServiceClient::new(channel.clone()).max_decoding_message_size(LARGEST_MESSAGE_BYTES);
        let agents = AgentServiceClient::new(channel.clone()).max_decoding_message_size(LARGEST_MESSAGE_BYTES);
        Ok((client(channel), models, agents))
    }

    /// The same for changes, and for what their filters name.
    pub(super) async fn connect_watch(&self) -> Result<(Watch, Client, Agents), Failure> {
        let channel = self.channel().await?;
        let watch = WatchServiceClient::new(channel.clone()).max_decoding_message_size(LARGEST_MESSAGE_BYTES);
        let agents = AgentServiceClient::new(channel.clone()).max_decoding_message_size(LARGEST_MESSAGE_BYTES);
        Ok((watch, client(channel), agents))
    }

    /// The same for batches.
    pub(super) async fn connect_batches(&self) -> Result<Batches, Failure> {
        Ok(BatchServiceClient::new(self.channel().await?).max_decoding_message_size(LARGEST_MESSAGE_BYTES))
    }

    async fn channel(&self) -> Result<Channel, Failure> {
        let endpoint = Endpoint::from(address(&self.server)?)
            .connect_timeout(Duration::from_secs(10))
            .tcp_nodelay(true)
            .initial_connection_window_size(WINDOW_BYTES)
            .initial_stream_window_size(WINDOW_BYTES)
            // A connection that died silently is noticed, also while a model thinks for minutes.
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10));
        endpoint.connect().await.map_err(|error| {
            let cause = deepest(&error);
            unreachable(&format!("{} ({cause})", self.server))
        })
    }
}

fn client(channel: Channel) -> Client {
    ConversationServiceClient::new(channel).max_decoding_message_size(LARGEST_MESSAGE_BYTES)
}

/// `host:port`, with or without `http://`.
fn address(text: &str) -> Result<Uri, Failure> {
    let wrong = || {
        Failure::usage(format!("--server is \"{text}\"; it must be a host and a port, such as http://127.0.0.1:50051"))
    };
    if text.starts_with("https://") {
        return Err(Failure::usage("TLS is not supported: --server must begin with http://")
            .note("To reach a server behind a TLS proxy, use a tunnel (ssh -L) to its plain port."));
    }
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let uri: Uri = full.parse().map_err(|_| wrong())?;
    let plain = uri.scheme_str() == Some("http") && uri.path() == "/" && uri.query().is_none();
    if plain && uri.host().is_some_and(|host| !host.is_empty()) { Ok(uri) } else { Err(wrong()) }
}

/// A call that runs no model: it may not hang.
pub(super) fn quick<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_and_without_a_scheme() {
        for (text, expected) in [
            ("127.0.0.1:50051", Some("http://127.0.0.1:50051/")),
            ("http://[::1]:1", Some("http://[::1]:1/")),
            ("localhost:50051/", Some("http://localhost:50051/")),
            ("https://example.org", None),
            ("ftp://x", None),
            ("http://x/path", None),
            ("", None),
        ] {
            let found = address(text).ok().map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }
}
