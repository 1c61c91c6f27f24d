use std::{path::PathBuf, time::Duration};

use http::HeaderMap;

use super::{api_key::KeySource, key::Key, provider, reader::Reader, rule::Rule, section::Section};

/// A server that offers tools over the Model Context Protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpServer {
    /// 1 to 32 of a-z, 0-9 and -. No two servers have the same. The first part of its tools' names.
    pub name: String,
    /// How it is reached.
    pub transport: McpTransport,
    /// Only these of its tools, by its own names; empty: all.
    pub include: Vec<String>,
    /// Not these.
    pub exclude: Vec<String>,
    /// The longest that it may take to start, or to be connected to, and to introduce itself; also to list its tools.
    pub connect_timeout: Duration,
    /// The longest that a call may take.
    pub timeout: Duration,
    /// How many calls may be under way at once.
    pub max_concurrent: usize,
    /// The most that is kept of a result, in bytes.
    pub max_result_bytes: usize,
}

/// How a server is reached.
#[derive(Clone, PartialEq, Eq)]
pub enum McpTransport {
    /// A program that is started when it is needed.
    Command {
        /// The program and its arguments; never empty.
        command: Vec<String>,
        /// Its environment, beside PATH, HOME and the like. The values may be secrets.
        env: Vec<(String, String)>,
        /// Where it runs; `None`: where the service does.
        directory: Option<PathBuf>,
    },
    /// An address that speaks streamable HTTP.
    Url {
        /// Where. Its query may be a secret.
        url: String,
        /// Sent with every request. The values are marked as sensitive.
        headers: HeaderMap,
        /// Where the bearer token comes from; [`KeySource::NotNeeded`]: none is sent.
        bearer: KeySource,
    },
}

/// Shows nothing that may be a secret.
impl std::fmt::Debug for McpTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            McpTransport::Command { command, .. } => {
                f.debug_struct("Command").field("program", &command.first()).finish_non_exhaustive()
            }
            McpTransport::Url { bearer, .. } => f.debug_struct("Url").field("bearer", bearer).finish_non_exhaustive(),
        }
    }
}

/// What only one of the two kinds has.
const OF_COMMANDS: [&str; 3] = ["env", "pass_env", "directory"];
const OF_URLS: [&str; 4] = ["headers", "bearer_token_env", "bearer_token_file", "bearer_token_command"];

/// The bearer token's, and those that the protocol sends by itself.
const OF_PROTOCOL: [&str; 4] = ["authorization", "mcp-session-id", "mcp-protocol-version", "last-event-id"];

impl McpServer {
    pub(super) fn read_all(from: &mut Reader<'_>) -> Vec<McpServer> {
        let all = Key::from("mcp");
        let names = from.sections_in(&all);
        let mut servers = Vec::new();
        for name in names {
            let key = all.name(&name);
            if let Err(why) = Rule::provider().parse(&name) {
                from.reject(&key, format!("is no name of a server; it {why}"));
            }
            servers.push(McpServer::read(&mut from.named(key), &name));
        }
        servers
    }

    fn read(section: &mut Section<'_, '_>, name: &str) -> McpServer {
        McpServer {
            name: name.to_owned(),
            transport: transport(section),
            include: tools(section, "include", "Only these of its tools, by its own names."),
            exclude: tools(section, "exclude", "Not these of its tools, by its own names."),
            connect_timeout: section.get(
                "connect_timeout",
                Rule::duration("100ms", "10m"),
                "10s",
                "The longest that it may take to start and to introduce itself, and then to list its tools.",
            ),
            timeout: section.get(
                "timeout",
                Rule::duration("100ms", "1h"),
                "60s",
                "The longest that a call may take. Progress does not make it longer.",
            ),
            max_concurrent: section.get(
                "max_concurrent",
                Rule::count(1..=1000),
                "16",
                "How many calls may be under way at once; more wait.",
            ),
            max_result_bytes: section.get(
                "max_result_mib",
                Rule::mib(1..=8),
                "1",
                "The most that is kept of a result; the rest is cut, and the model told so.",
            ),
        }
    }
}

fn tools(section: &mut Section<'_, '_>, name: &str, help: &'static str) -> Vec<String> {
    section.list(name, Rule::argument(), help).unwrap_or_default()
}

fn transport(section: &mut Section<'_, '_>) -> McpTransport {
    let command = section.list("command", Rule::argument(), "The program that is started, and its arguments.");
    let url = section.optional("url", Rule::url(), "The address that is asked over streamable HTTP.");
    let env = env(section);
    let directory = section.optional("directory", Rule::path(), "Where the program runs.");
    let headers = provider::headers(section, &OF_PROTOCOL, "bearer_token_env, _file or _command");
    let bearer = KeySource::read_bearer(section);
    let (has_command, has_url) = (section.names("command"), section.names("url"));
    match (has_command, has_url) {
        (true, true) => section.reject("url", "cannot be set beside command: a server is one or the other"),
        (true, false) => check_kind(section, &OF_URLS, "url"),
        (false, true) => check_kind(section, &OF_COMMANDS, "command"),
        (false, false) => {
            let key = section.key().clone();
            section.reader().reject(&key, "has neither command nor url");
        }
    }
    if command.as_ref().is_some_and(|command| command.first().is_none_or(String::is_empty)) {
        section.reject("command", "must begin with a program");
    }
    match url {
        Some(url) => McpTransport::Url { url, headers, bearer },
        // Left out: a fault, and nobody sees this.
        None => McpTransport::Command { command: command.unwrap_or_default(), env, directory },
    }
}

fn check_kind(section: &mut Section<'_, '_>, of_the_other: &[&str], other: &str) {
    for name in of_the_other.iter().filter(|name| section.names(name)).collect::<Vec<_>>() {
        section.reject(name, format!("is of no use without {other}"));
    }
}

/// The table, and then what is passed on of our own environment.
fn env(section: &mut Section<'_, '_>) -> Vec<(String, String)> {
    let key = section.key().name("env");
    let from = section.reader();
    let mut env = Vec::new();
    for name in from.values_in(&key) {
        let value =
            from.named(key.clone()).optional(&name, Rule::argument(), "A variable of the program's environment.");
        if let Err(why) = Rule::variable().parse(&name) {
            from.reject(&key.name(&name), format!("is no name of a variable; it {why}"));
        }
        env.extend(value.map(|value| (name, value)));
    }
    let passed = section.list("pass_env", Rule::variable(), "Variables of the service that the program gets, too.");
    for name in passed.unwrap_or_default() {
        match section.reader().variable(&name).map(str::to_owned) {
            Some(value) => env.push((name, value)),
            None => section.reject("pass_env", format!("names {name}, which is not set")),
        }
    }
    env
}
