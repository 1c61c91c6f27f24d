//! The real server, on a free port, with a real client.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use causerie::{
    config::{Config, Sources},
    proto::{self, conversation_service_client::ConversationServiceClient},
    server,
};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tonic::transport::{Channel, Endpoint};

use super::provider::ScriptedProvider;

pub(crate) type Client = ConversationServiceClient<Channel>;

/// A running server. End it with [`TestServer::stop`]: that fails if a turn, a task or a stream is left behind.
pub(crate) struct TestServer {
    address: SocketAddr,
    pub(crate) provider: ScriptedProvider,
    flags: BTreeMap<String, String>,
    /// What the configuration file says.
    file: String,
    /// Holds the store; removed with the server.
    dir: TempDir,
    running: Option<Running>,
}

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), server::Error>>,
}

impl TestServer {
    /// A server whose provider does what the test says.
    pub(crate) async fn start() -> TestServer {
        TestServer::with(&[]).await
    }

    /// The same, with settings: configuration keys and their text.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> TestServer {
        TestServer::configured("", settings).await
    }

    /// The same, with a configuration file.
    pub(crate) async fn configured(file: &str, settings: &[(&str, &str)]) -> TestServer {
        let provider = ScriptedProvider::start().await;
        let dir = TempDir::new().expect("a temporary folder");
        let key = dir.path().join("key");
        std::fs::write(&key, "test-key").expect("a writable folder");
        let mut flags = BTreeMap::from([
            ("providers.mistral.base_url".to_owned(), provider.base_url()),
            ("providers.mistral.key_file".to_owned(), key.display().to_string()),
            ("store.path".to_owned(), dir.path().join("store").display().to_string()),
            ("store.cache_mib".to_owned(), "16".to_owned()),
            ("shutdown.grace".to_owned(), "5s".to_owned()),
            // The machine's disk is not what these tests are about.
            ("store.min_free_mib".to_owned(), "0".to_owned()),
            // A reply that a test scripts is the one that its turn gets, unless retries and breakers are what it is about.
            ("retry.max_attempts".to_owned(), "1".to_owned()),
            ("breaker.enabled".to_owned(), "false".to_owned()),
        ]);
        for (key, value) in settings {
            if value.is_empty() {
                flags.remove(*key);
            } else {
                flags.insert((*key).to_owned(), (*value).to_owned());
            }
        }
        let address = ([127, 0, 0, 1], 0).into();
        let mut server = TestServer { address, provider, flags, file: file.to_owned(), dir, running: None };
        server.run().await;
        server
    }

    /// A server with the offline stand-in as its provider.
    pub(crate) async fn offline() -> TestServer {
        TestServer::with(&[("offline", "true"), ("providers.mistral.key_file", "")]).await
    }

    /// Stops the server and starts it again on the same store and provider.
    pub(crate) async fn restart(&mut self) {
        self.halt().await;
        self.run().await;
    }

    /// The same, with something done to the store in between.
    pub(crate) async fn restart_around(&mut self, between: impl AsyncFnOnce(PathBuf)) {
        self.halt().await;
        between(self.store_path()).await;
        self.run().await;
    }

    /// The same with another configuration file.
    pub(crate) async fn restart_with(&mut self, file: &str) {
        self.halt().await;
        self.file = file.to_owned();
        self.run().await;
    }

    /// Starts a server again that was stopped with [`TestServer::begin_stop`].
    pub(crate) async fn start_again(&mut self) {
        assert!(self.running.is_none(), "it runs");
        self.run().await;
    }

    /// Stops the server; it must end well.
    pub(crate) async fn stop(mut self) {
        self.halt().await;
    }

    /// Asks the server to stop, without waiting for it.
    pub(crate) fn begin_stop(&mut self) -> JoinHandle<Result<(), server::Error>> {
        let running = self.running.take().expect("the server runs");
        let _ = running.stop.send(());
        running.task
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the store is.
    pub(crate) fn store_path(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// A client on a connection of its own.
    pub(crate) async fn client(&self) -> Client {
        ConversationServiceClient::new(self.channel().await)
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).expect("an address");
        endpoint.connect().await.expect("the server listens")
    }

    async fn run(&mut self) {
        let sources = Sources::from_flags(self.flags.clone()).with_file(Path::new("causerie.toml"), &self.file);
        let config = Config::load(&sources).expect("a configuration that holds");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        self.address = listener.local_addr().expect("a bound socket");
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server::run(listener, config, async {
            let _ = stopped.await;
        }));
        self.running = Some(Running { stop, task });
    }

    async fn halt(&mut self) {
        let task = self.begin_stop();
        task.await.expect("the server does not panic").expect("the server ends well");
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.task.abort();
            assert!(std::thread::panicking(), "end the server with stop()");
        }
    }
}

/// A Start of one user message.
pub(crate) fn start(input: &str) -> proto::StartRequest {
    proto::StartRequest { model: "scripted-model".to_owned(), input: input.to_owned(), ..Default::default() }
}

/// An Append of one user message.
pub(crate) fn append(conversation_id: &str, input: &str) -> proto::AppendRequest {
    proto::AppendRequest { conversation_id: conversation_id.to_owned(), input: input.to_owned(), ..Default::default() }
}

/// The text of a turn's messages.
pub(crate) fn text_of(turn: &proto::Turn) -> String {
    turn.outputs.iter().map(entry_text).collect()
}

/// The text of an entry's chunks.
pub(crate) fn entry_text(entry: &proto::Entry) -> String {
    use proto::entry::Kind;
    let content = match &entry.kind {
        Some(Kind::MessageInput(message)) => &message.content,
        Some(Kind::MessageOutput(message)) => &message.content,
        Some(Kind::FunctionResult(result)) => &result.content,
        _ => return String::new(),
    };
    let texts = content.iter().filter_map(|chunk| match &chunk.kind {
        Some(proto::chunk::Kind::Text(text)) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}
