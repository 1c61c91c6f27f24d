//! The configuration: one struct a file, parsed and checked whole before anything is opened.
//!
//! A setting is named once, where its struct is read: key, rule, default, help. The flag, the environment variable, the
//! command line's help and the README's table follow from it. Flags win over the environment, the environment over the
//! file, the file over the default. All faults are reported at once, each with where its value came from.
//!
//! Sections with names that the operator chooses (providers, their models, budgets, agents, MCP servers, tools, secrets) stand in
//! the file. The built-in provider is read like any other; only its settings have flags and rows.
//!
//! This module knows nothing of the rest of the house.

mod agent;
mod api_key;
mod background;
mod breaker;
mod budget;
mod conversations;
mod events;
mod file;
mod http;
mod key;
mod limits;
mod log;
mod mcp;
mod model;
mod problem;
mod provider;
mod reader;
mod retry;
mod rule;
mod secret;
mod section;
mod shutdown;
mod source;
mod store;
mod tools;
mod turns;
mod unknown;
mod watch;
mod webhooks;

use std::{net::SocketAddr, sync::LazyLock};

pub use self::{
    agent::Agent,
    api_key::{ApiKey, KeySource},
    background::Background,
    breaker::Breaker,
    budget::{Budget, Covers},
    conversations::Conversations,
    events::Events,
    http::Http,
    limits::Limits,
    log::{Log, LogFormat},
    mcp::{McpServer, McpTransport},
    model::{Model, Price},
    problem::{ConfigError, Problem},
    provider::{Dialect, KeyHeader, MaxTokensField, Provider},
    reader::Row,
    retry::Retry,
    secret::{SecretSource, ToolSecret},
    shutdown::Shutdown,
    source::{Origin, Sources},
    store::Store,
    tools::{HttpRequest, HttpTools, Tools},
    turns::Turns,
    watch::Watch,
    webhooks::Webhooks,
};
use self::{key::Key, reader::Reader, rule::Rule};

/// Everything that can be set, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The address that the service listens on. Port 0 takes any free port.
    pub listen: SocketAddr,
    /// The operator says that everybody who can reach `listen` may use it. Always true if `listen` is not loopback.
    pub trusted_network: bool,
    /// Whether clients may ask the service for its protos.
    pub reflection: bool,
    /// Whether the stand-in answers in place of the provider.
    pub offline: bool,
    /// Where conversations are kept.
    pub store: Store,
    /// Who answers: `mistral` first, then all others by their names.
    pub providers: Vec<Provider>,
    /// The provider of the models that are named without one. It is one of `providers`.
    pub default_provider: String,
    /// The models that take over, in this order, from one that has no list of its own.
    pub fallback_models: Vec<String>,
    /// When a turn asks its provider again.
    pub retry: Retry,
    /// When a model that keeps failing is left alone.
    pub breaker: Breaker,
    /// What may be spent.
    pub budgets: Vec<Budget>,
    /// Agents that are there whoever calls.
    pub agents: Vec<Agent>,
    /// The servers whose tools models may use, by their names.
    pub mcp: Vec<McpServer>,
    /// How long conversations are kept.
    pub conversations: Conversations,
    /// How turns run.
    pub turns: Turns,
    /// How background turns run.
    pub background: Background,
    /// The tools that the service runs.
    pub tools: Tools,
    /// How endpoints are told of changes.
    pub webhooks: Webhooks,
    /// What a client may take.
    pub limits: Limits,
    /// What a reader of events gets.
    pub events: Events,
    /// The door for browsers and plain HTTP readers.
    pub http: Http,
    /// How long it is kept what happened.
    pub watch: Watch,
    /// How the service ends.
    pub shutdown: Shutdown,
    /// What the log says.
    pub log: Log,
}

impl Config {
    /// Reads all settings, or says everything that is wrong with them. Opens nothing but the files of keys and instructions.
    pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
        let mut from = Reader::new(sources);
        let config = Config::read(&mut from);
        from.finish()?;
        Ok(config)
    }

    /// All settings, in the order of the README's table.
    pub fn describe() -> &'static [Row] {
        static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
            let sources = Sources::default();
            let mut from = Reader::new(&sources);
            Config::read(&mut from);
            from.into_rows()
        });
        &ROWS
    }

    /// The provider of the models that are named without one.
    pub fn default_provider(&self) -> &Provider {
        let named = self.providers.iter().find(|provider| provider.name == self.default_provider);
        named.expect("a configuration whose default provider does not exist is not given out")
    }

    /// Whether this provider is meant to be used. The built-in one is always there, and only then more than a name if it is the
    /// default one, has a key, or takes the callers' own.
    pub fn is_in_use(&self, name: &str) -> bool {
        let provider = self.providers.iter().find(|provider| provider.name == name);
        provider.is_some_and(|provider| {
            let has_key = !matches!(provider.key, KeySource::Missing { .. }) || provider.caller_keys;
            name != provider::BUILT_IN || name == self.default_provider || has_key
        })
    }

    fn read(from: &mut Reader<'_>) -> Config {
        let mut config = Config {
            listen: from.get("listen", Rule::address(), "127.0.0.1:50051", "The address to listen on."),
            trusted_network: from.get(
                "trusted_network",
                Rule::switch(),
                "false",
                "Allow an address that other machines can reach. There is no authentication yet: whoever reaches the port \
                 can read every conversation and spend the provider key.",
            ),
            reflection: from.get(
                "reflection",
                Rule::switch(),
                "true",
                "Let clients such as grpcurl ask the service for its protos.",
            ),
            offline: from.get(
                "offline",
                Rule::switch(),
                "false",
                "Answer with a built-in stand-in: no provider, no key, no internet. Its models are named offline-*; their \
                 answers are made up.",
            ),
            store: Store::read(from),
            default_provider: from.get(
                "default_provider",
                Rule::provider(),
                provider::BUILT_IN,
                "The provider of models that are named without one. Those of the others are named provider/model.",
            ),
            fallback_models: from.list(
                "fallback_models",
                Rule::model(),
                "The models that take over, in this order, when one fails that has no list of its own. Separated by commas in \
                 flags and variables.",
            ),
            providers: Provider::read_all(from),
            retry: Retry::read(from),
            breaker: Breaker::read(from),
            budgets: Vec::new(),
            agents: Agent::read_all(from),
            mcp: McpServer::read_all(from),
            conversations: Conversations::read(from),
            turns: Turns::read(from),
            background: Background::read(from),
            tools: Tools::read(from),
            webhooks: Webhooks::read(from),
            limits: Limits::read(from),
            events: Events::read(from),
            http: Http::read(from),
            watch: Watch::read(from),
            shutdown: Shutdown::read(from),
            log: Log::read(from),
        };
        config.budgets = Budget::read_all(from, &config.providers);
        config.check_network(from);
        config.check_default_provider(from);
        config
    }

    /// Without authentication, an open port gives everything to everybody: that has to be asked for.
    fn check_network(&self, from: &mut Reader<'_>) {
        if !self.listen.ip().is_loopback() && !self.trusted_network {
            let text = format!(
                "({}) is an address that other machines can reach, and there is no authentication yet: whoever reaches the port \
                 can read every conversation and spend the provider key. Listen on 127.0.0.1 and put a proxy that checks \
                 callers in front of it; or, if everybody who can reach the port may do that, add --trusted-network \
                 (CAUSERIE_TRUSTED_NETWORK=true)",
                self.listen
            );
            from.reject(&Key::from("listen"), text);
        }
    }

    fn check_default_provider(&self, from: &mut Reader<'_>) {
        if !self.providers.iter().any(|provider| provider.name == self.default_provider) {
            let text = Provider::unknown(&self.default_provider, &self.providers);
            from.reject(&Key::from("default_provider"), text);
        }
    }
}

impl Default for Config {
    /// The defaults, without a key.
    fn default() -> Config {
        Config::load(&Sources::default()).expect("a test holds that every default keeps its own rule")
    }
}

#[cfg(test)]
mod tests;
