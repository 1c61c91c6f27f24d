//! The configuration: one struct a file, parsed and checked whole before anything is opened.
//!
//! A setting is named once, where its struct is read: key, rule, default, help. The flag, the environment variable, the
//! command line's help and the README's table follow from it. Flags win over the environment, the environment over the
//! file, the file over the default. All faults are reported at once, each with where its value came from.
//!
//! This module knows nothing of the rest of the house.

mod events;
mod limits;
mod log;
mod problem;
mod provider;
mod reader;
mod rule;
mod shutdown;
mod source;
mod store;
mod turns;

use std::{net::SocketAddr, sync::LazyLock};

pub use self::{
    events::Events,
    limits::Limits,
    log::{Log, LogFormat},
    problem::{ConfigError, Problem},
    provider::{ApiKey, KeySource, Provider},
    reader::Row,
    shutdown::Shutdown,
    source::{Origin, Sources},
    store::Store,
    turns::Turns,
};
use self::{reader::Reader, rule::Rule};

/// Everything that can be set, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Who answers.
    pub provider: Provider,
    /// How turns run.
    pub turns: Turns,
    /// What a client may take.
    pub limits: Limits,
    /// What a reader of events gets.
    pub events: Events,
    /// How the service ends.
    pub shutdown: Shutdown,
    /// What the log says.
    pub log: Log,
}

impl Config {
    /// Reads all settings, or says everything that is wrong with them. Opens nothing but the key file.
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

    fn read(from: &mut Reader<'_>) -> Config {
        let config = Config {
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
            provider: Provider::read(from),
            turns: Turns::read(from),
            limits: Limits::read(from),
            events: Events::read(from),
            shutdown: Shutdown::read(from),
            log: Log::read(from),
        };
        config.check_network(from);
        config
    }

    /// Without authentication, an open port gives everything to everybody: that has to be asked for.
    fn check_network(&self, from: &mut Reader<'_>) {
        if !self.listen.ip().is_loopback() && !self.trusted_network {
            from.reject(
                "listen",
                &self.listen.to_string(),
                "is an address that other machines can reach, and there is no authentication yet: whoever reaches the port \
                 can read every conversation and spend the provider key. Listen on 127.0.0.1 and put a proxy that checks \
                 callers in front of it; or, if everybody who can reach the port may do that, add --trusted-network \
                 (CAUSERIE_TRUSTED_NETWORK=true)",
            );
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
