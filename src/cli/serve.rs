//! `causerie serve`: its settings, and what it says when it starts. The composition root does the rest.

use std::{
    collections::BTreeMap,
    future::Future,
    io::IsTerminal as _,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
};

use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches, value_parser};
use tracing_subscriber::EnvFilter;

use super::Failure;
use crate::config::{Config, KeySource, Log, LogFormat, Provider, Row, Sources};

pub(super) const AFTER_HELP: &str = "\
Settings come from flags, then CAUSERIE_… variables, then the configuration file; the first that names a value wins. The \
file is TOML with the same names:

  listen = \"127.0.0.1:50051\"
  [store]
  path = \"/var/lib/causerie\"
  [providers.mistral]
  key_file = \"/run/secrets/mistral\"
  [providers.openai]                        # other providers stand in the file only
  base_url = \"https://api.openai.com/v1\"
  key_env = \"OPENAI_API_KEY\"

Without a key the service runs all the same: what is stored can be read, and turns are refused with API_KEY_MISSING.

Exit codes: 0 stopped, 1 failed, 2 a setting is wrong.";

/// What `causerie serve` takes: where the file is, and a flag for every setting.
#[derive(Debug, Clone, Default)]
pub struct ServeArgs {
    config: Option<PathBuf>,
    flags: BTreeMap<String, String>,
}

impl ServeArgs {
    /// The configuration of this process, or everything that is wrong with it.
    pub fn config(&self) -> Result<Config, Failure> {
        let sources = Sources::from_flags(self.flags.clone()).with_surroundings(self.config.as_deref());
        Config::load(&sources).map_err(|error| {
            Failure::usage(error.to_string()).note("`causerie serve --help` shows all settings and what they may be.")
        })
    }

    /// Whether a flag sets this.
    pub(super) fn sets(&self, key: &str) -> bool {
        self.flags.contains_key(key)
    }
}

/// The flags are those that the settings name; there is no second list of them.
impl Args for ServeArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("The configuration file [env: CAUSERIE_CONFIG] [default: causerie.toml, if it exists]");
        command.arg(config).args(Config::describe().iter().map(flag))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

fn flag(row: &'static Row) -> Arg {
    let arg = Arg::new(row.key.as_str())
        .long(row.flag.trim_start_matches("--"))
        .value_name(row.value_name)
        .help(short_help(row))
        .long_help(long_help(row))
        .help_heading(heading(&row.key))
        .action(ArgAction::Set);
    if row.value_name == "BOOL" {
        // `--offline` is enough, `--store-sync=false` turns one off; a value after a space would be taken for a command.
        return arg.num_args(0..=1).require_equals(true).default_missing_value("true");
    }
    arg
}

fn short_help(row: &Row) -> String {
    let first = row.help.split_inclusive(". ").next().unwrap_or(row.help).trim_end().trim_end_matches('.');
    if row.default.is_empty() { first.to_owned() } else { format!("{first} [default: {}]", row.default) }
}

fn long_help(row: &Row) -> String {
    let default = if row.default.is_empty() { "none" } else { row.default };
    format!("{}\n[env: {}] [default: {default}] [allowed: {}]", row.help, row.variable, row.allowed)
}

fn heading(key: &str) -> &'static str {
    match key.split_once('.').map(|(section, _)| section) {
        Some("store") => "Store",
        Some("providers") => "Provider",
        Some("retry" | "breaker") => "When a provider fails",
        Some("turns") => "Turns",
        Some("tools") => "Tools",
        Some("limits") => "Limits",
        Some("http") => "Browsers",
        Some("log") => "Log",
        _ => "Service",
    }
}

impl FromArgMatches for ServeArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<ServeArgs, clap::Error> {
        let named = |row: &Row| Some((row.key.clone(), matches.get_one::<String>(&row.key)?.clone()));
        Ok(ServeArgs {
            config: matches.get_one::<PathBuf>("config").cloned(),
            flags: Config::describe().iter().filter_map(named).collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Takes the address, or says why it cannot be had. Ready for `tokio::net::TcpListener::from_std`.
pub fn bind(config: &Config) -> Result<TcpListener, Failure> {
    let listening = TcpListener::bind(config.listen).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listening.map_err(|error| {
        Failure::new(format!("cannot listen on {}: {error}", config.listen))
            .note("Is another causerie running there? --listen takes another address; port 0 takes any free port.")
    })
}

/// Starts the log, on stderr. To be called once.
pub fn start_log(log: &Log) -> Result<(), Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::new(format!("the log cannot be started: {error}"));
    let mut filter = EnvFilter::try_new(&log.level).map_err(|error| wrong(&error))?;
    if !log.content {
        // The MCP SDK logs whole messages, at any level: tools' arguments and results.
        filter = filter.add_directive("rmcp=off".parse().map_err(|error| wrong(&error))?);
    }
    let colours = std::io::stderr().is_terminal();
    let log_lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    let started = match log.format {
        LogFormat::Text => log_lines.try_init(),
        LogFormat::Json => log_lines.json().try_init(),
    };
    started.map_err(|error| wrong(error.as_ref()))
}

/// Ends when the process is told to stop: Ctrl-C or SIGTERM. To be called within the runtime, before the service is
/// announced: from then on these signals no longer kill the process.
pub fn stop_requested() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let wrong = |error| Failure::new(format!("signals cannot be received: {error}"));
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt()).map_err(wrong)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(wrong)?;
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    {
        let mut interrupt = tokio::signal::windows::ctrl_c().map_err(wrong)?;
        Ok(async move {
            interrupt.recv().await;
        })
    }
}

/// What is said on stderr when the service is ready. `address` is where it listens, `offline_…` are the stand-in's.
pub fn banner(config: &Config, address: SocketAddr, offline_models: &[&str], offline_tool: &str) -> String {
    let mut lines = vec![
        format!("causerie {} serves", env!("CARGO_PKG_VERSION")),
        format!("  listening  {address}{}", openness(config, address)),
    ];
    if config.http.page {
        lines.push(format!("  page       http://{}/", reachable(address)));
    }
    lines.extend([format!(
        "  store      {}{}",
        config.store.path.display(),
        if config.store.sync { "" } else { UNSYNCED }
    )]);
    lines.extend(provider_lines(config, offline_models, offline_tool));
    lines.push(String::new());
    lines.extend(first_steps(config, address, offline_models));
    lines.join("\n")
}

const UNSYNCED: &str = "  (SYNC OFF: a kill or crash may lose what was acknowledged last)";

fn openness(config: &Config, address: SocketAddr) -> &'static str {
    match (address.ip().is_loopback(), config.trusted_network) {
        (true, _) => "  (this machine only)",
        // The configuration refuses the other case.
        (false, _) => {
            "  (OPEN TO THE NETWORK without authentication: whoever reaches it reads everything and spends the key)"
        }
    }
}

fn provider_lines(config: &Config, offline_models: &[&str], offline_tool: &str) -> Vec<String> {
    if config.offline {
        return vec![
            "  provider   NONE: OFFLINE. A stand-in in this process makes up the answers; no model is asked.".into(),
            format!("  models     {}", offline_models.join(", ")),
            format!("  tools      {offline_tool}"),
        ];
    }
    let default = config.default_provider();
    let others = config.providers.iter().filter(|other| other.name != default.name && config.is_in_use(&other.name));
    let mut lines = vec![format!("  provider   {}", provider_line(default))];
    if let KeySource::Missing { variable } = &default.key
        && !default.caller_keys
    {
        let variable = variable.as_deref().map_or(String::new(), |name| format!("{name} or "));
        let file = format!("providers.{}.key_file", default.name);
        let file = if default.name == "mistral" { "--providers-mistral-key-file".to_owned() } else { file };
        lines.push(format!("             Turns are refused until {variable}{file} is set; or try it with"));
        lines.push("             --offline, which needs neither key nor internet.".into());
    }
    lines.extend(others.map(|other| format!("             {}/…  {}", other.name, provider_line(other))));
    lines
}

fn provider_line(provider: &Provider) -> String {
    let key = match &provider.key {
        KeySource::NotNeeded => "no key needed".into(),
        KeySource::Missing { .. } if provider.caller_keys => "callers bring keys".into(),
        KeySource::Missing { .. } => "NO KEY".into(),
        KeySource::Variable { name, key: _ } => format!("key from {name}"),
        KeySource::File(path) => format!("key from {}", path.display()),
        KeySource::Command(_) => "key from a command".into(),
    };
    format!("{}  ({key})", provider.base_url)
}

fn first_steps(config: &Config, address: SocketAddr, offline_models: &[&str]) -> Vec<String> {
    let model = match config.offline {
        true => offline_models.first().copied().unwrap_or("…"),
        false => some_model(config.default_provider()),
    };
    let target = reachable(address);
    let server = if target.to_string() == "127.0.0.1:50051" { String::new() } else { format!(" --server {target}") };
    let mut lines = vec!["First conversation:".to_owned(), format!("  causerie chat{server} --model {model}")];
    if config.reflection {
        let request = format!(r#"{{"model":"{model}","input":"Hello"}}"#);
        lines.push(format!("  grpcurl -plaintext -d '{request}' {target} causerie.v1.ConversationService/Start"));
    }
    lines
}

fn some_model(provider: &Provider) -> &str {
    match provider.models.keys().next() {
        Some(model) => model,
        None if provider.name == "mistral" => "mistral-small-latest",
        None => "…",
    }
}

/// An address that a client on this machine can connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => SocketAddr::from(([127, 0, 0, 1], v4.port())),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], v6.port())),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn banner_with(flags: &[(&str, &str)], variables: &[(&str, &str)]) -> String {
        let flags = flags.iter().map(|(key, text)| (key.to_string(), text.to_string())).collect();
        let variables = variables.iter().map(|(name, text)| (name.into(), text.into())).collect::<Vec<_>>();
        let config = Config::load(&Sources::from_flags(flags).with_variables(variables)).expect("the flags are right");
        banner(&config, config.listen, &["offline-small", "offline-large"], "offline_weather")
    }

    #[test]
    fn without_a_key_it_says_what_to_do() {
        let expected = format!(
            "causerie {} serves
  listening  127.0.0.1:50051  (this machine only)
  store      ./causerie-data
  provider   https://api.mistral.ai  (NO KEY)
             Turns are refused until MISTRAL_API_KEY or --providers-mistral-key-file is set; or try it with
             --offline, which needs neither key nor internet.

First conversation:
  causerie chat --model mistral-small-latest
  grpcurl -plaintext -d '{{\"model\":\"mistral-small-latest\",\"input\":\"Hello\"}}' 127.0.0.1:50051 \
             causerie.v1.ConversationService/Start",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(banner_with(&[], &[]), expected);
    }

    #[test]
    fn the_key_is_named_but_never_shown() {
        let banner = banner_with(&[], &[("MISTRAL_API_KEY", "not-a-real-key")]);
        assert!(banner.contains("(key from MISTRAL_API_KEY)") && !banner.contains("not-a-real-key"), "{banner}");
    }

    #[test]
    fn every_provider_that_can_be_asked_has_a_line() {
        let file = "default_provider = \"a\"\n[providers.a]\nbase_url = \"http://a/v1\"\nkey_header = \"none\"\n\
                    [providers.b]\nbase_url = \"http://b\"\nkey_env = \"B_KEY\"\n[providers.a.models.m]\n";
        let config = Config::load(&Sources::default().with_file(Path::new("c.toml"), file)).expect("it is right");
        let banner = banner(&config, config.listen, &[], "");
        assert!(banner.contains("  provider   http://a/v1  (no key needed)\n"), "{banner}");
        assert!(banner.contains("             b/…  http://b  (NO KEY)\n"), "{banner}");
        assert!(banner.contains("--model m\n") && !banner.contains("mistral"), "{banner}");
    }

    #[test]
    fn the_page_has_an_address_if_there_is_one() {
        assert!(!banner_with(&[], &[]).contains("  page "));
        let flags = [("listen", "0.0.0.0:7"), ("trusted_network", "true"), ("http.page", "true")];
        assert!(banner_with(&flags, &[]).contains("\n  page       http://127.0.0.1:7/\n"));
    }

    #[test]
    fn offline_is_loud_and_names_its_models() {
        let banner = banner_with(&[("offline", "true")], &[("MISTRAL_API_KEY", "not-a-real-key")]);
        assert!(banner.contains("NONE: OFFLINE") && banner.contains("offline-small, offline-large"), "{banner}");
        assert!(banner.contains("--model offline-small") && !banner.contains("api.mistral.ai"), "{banner}");
    }

    #[test]
    fn an_open_port_and_a_store_without_sync_are_loud() {
        let flags =
            [("listen", "0.0.0.0:7"), ("trusted_network", "true"), ("store.sync", "false"), ("reflection", "false")];
        let banner = banner_with(&flags, &[]);
        assert!(banner.contains("OPEN TO THE NETWORK") && banner.contains("SYNC OFF"), "{banner}");
        assert!(banner.contains("--server 127.0.0.1:7") && !banner.contains("grpcurl"), "{banner}");
    }
}
