//! MCP servers: programs and addresses that offer tools over the Model Context Protocol.
//!
//! [`McpServers`] is the door. Behind it `server` keeps one server's connection, starts it when it is needed and lets it rest
//! when it fails; `connection` is one life of it, over the pipes of a `process` or over HTTP; `call` is one call. `guard` and
//! `lines` stand between a server and the SDK and bound what it can make us do.
//!
//! A call is sent once. It is sent again only if the server refused to look at it: a token or a session that is no longer good.

mod call;
mod connection;
mod fault;
mod guard;
mod lines;
mod listing;
mod outcome;
mod over_http;
mod process;
mod server;
mod signals;

use std::{collections::BTreeMap, fmt, future::Future, path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use self::server::Server;
pub use self::{connection::McpServerInfo, listing::McpTool};
use crate::domain::tool::ToolOutcome;

/// A server as the operator describes it.
#[derive(Debug, Clone)]
pub struct McpServerOptions {
    /// What it is called: the first part of its tools' names.
    pub name: String,
    /// How it is reached.
    pub transport: McpTransport,
    /// Only these of its tools, by its own names; empty: all.
    pub include: Vec<String>,
    /// Not these.
    pub exclude: Vec<String>,
    /// The longest that it may take to start, or to be connected to, and to introduce itself.
    pub connect_timeout: Duration,
    /// The longest that it may take to list its tools, all pages together.
    pub list_timeout: Duration,
    /// The longest that a call may take, the wait for its turn included. Progress does not make it longer.
    pub call_timeout: Duration,
    /// How many calls may be under way at once; more wait, half of the time of a call at most.
    pub max_concurrent: usize,
    /// The most that is kept of a result, in bytes.
    pub max_result_bytes: usize,
    /// How long it rests after it has failed.
    pub rest: Rest,
}

/// How long a server that failed rests before it is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest {
    /// After the first failure. Each further one doubles it.
    pub first: Duration,
    /// At most; also, how long a connection must have lasted for failures before it to be forgotten.
    pub longest: Duration,
}

impl Default for Rest {
    fn default() -> Rest {
        Rest { first: Duration::from_millis(500), longest: Duration::from_secs(60) }
    }
}

/// How a server is reached.
#[derive(Clone)]
pub enum McpTransport {
    /// A program that is started, and spoken to over its standard input and output.
    Stdio {
        /// The program: a path, or a name to be found in PATH.
        program: String,
        /// Its arguments.
        arguments: Vec<String>,
        /// Its environment, beside the few variables that any program needs. May hold secrets.
        env: Vec<(String, String)>,
        /// Where it runs; `None`: where we do.
        directory: Option<PathBuf>,
    },
    /// An address that speaks streamable HTTP.
    Http {
        /// Where.
        url: String,
        /// Sent with every request. The values may be secrets.
        headers: HeaderMap,
        /// The OAuth bearer token, if one is wanted.
        bearer: Option<Arc<dyn TokenSource>>,
    },
}

/// Where the bearer token of a server comes from.
pub trait TokenSource: fmt::Debug + Send + Sync {
    /// The whole value of the header `authorization`, or why there is none, without showing it.
    fn token(&self) -> Pin<Box<dyn Future<Output = Result<HeaderValue, String>> + Send + '_>>;

    /// The server has refused this value: the next one should be another, if there is one.
    fn refused<'a>(&'a self, value: &'a HeaderValue) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

/// Why the tools of a server can't be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum McpError {
    /// There is no such server.
    Unknown {
        /// What was asked for.
        server: String,
        /// What is there.
        configured: Vec<String>,
    },
    /// It can't be used now.
    Unavailable {
        /// Which.
        server: String,
        /// Why, in a sentence's second half: "can't be reached: …".
        why: String,
        /// When it is tried again at the earliest, if it rests.
        retry_after: Option<Duration>,
    },
}

impl fmt::Display for McpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            McpError::Unknown { server, configured } if configured.is_empty() => {
                write!(f, "there is no MCP server `{server}`: none is configured")
            }
            McpError::Unknown { server, configured } => {
                write!(f, "there is no MCP server `{server}`; there are: {}", configured.join(", "))
            }
            McpError::Unavailable { server, why, retry_after: None } => write!(f, "the server `{server}` {why}"),
            McpError::Unavailable { server, why, retry_after: Some(wait) } => {
                write!(f, "the server `{server}` {why}; it is tried again in {} s at the earliest", seconds_up(*wait))
            }
        }
    }
}

impl std::error::Error for McpError {}

/// Told to people, who would try too early if it were rounded down.
fn seconds_up(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// What a server says of itself, for the operator.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    /// Its name in the configuration.
    pub name: String,
    /// The command line, or the address without its query.
    pub transport: String,
    /// What it said, or why it can't be asked.
    pub found: Result<(McpServerInfo, Arc<[McpTool]>), McpError>,
}

/// The configured servers. Cheap to clone; clones share them. When the last one is dropped, all servers are ended.
#[derive(Debug, Clone)]
pub struct McpServers {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    servers: BTreeMap<String, Server>,
    tasks: TaskTracker,
    closing: CancellationToken,
    _close: DropGuard,
}

impl McpServers {
    /// Starts nothing: a server is started when it is first needed.
    pub fn new(options: Vec<McpServerOptions>) -> McpServers {
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        let server = |options: McpServerOptions| {
            (options.name.clone(), Server::new(options, tasks.clone(), closing.child_token()))
        };
        let servers = options.into_iter().map(server).collect();
        let inner = Inner { servers, tasks, _close: closing.clone().drop_guard(), closing };
        McpServers { inner: Arc::new(inner) }
    }

    /// Their names, sorted.
    pub fn names(&self) -> Vec<&str> {
        self.inner.servers.keys().map(String::as_str).collect()
    }

    /// The tools of a server, as far as the operator allows them. Starts it if need be. They are asked for once, and again when
    /// the server says that they changed, or has been started anew.
    pub async fn tools(&self, server: &str) -> Result<Arc<[McpTool]>, McpError> {
        self.server(server)?.tools().await
    }

    /// Calls a tool, by the server's own name for it. `arguments` is the text of a JSON object; empty stands for `{}`. `progress`
    /// is told what the server says of its progress, at most ten times a second. Whatever goes wrong is in the outcome. Dropping
    /// the future cancels the call.
    pub async fn call(
        &self,
        server: &str,
        tool: &str,
        arguments: &str,
        progress: impl FnMut(String) + Send,
    ) -> ToolOutcome {
        match self.server(server) {
            Ok(server) => server.call(tool, arguments, progress).await,
            Err(error) => ToolOutcome::failed(error.to_string()),
        }
    }

    /// What a server says of itself. Starts it if need be.
    pub async fn inspect(&self, server: &str) -> Result<Inspection, McpError> {
        Ok(self.server(server)?.inspect().await)
    }

    /// Ends all servers and waits for it, some seconds at most. Calls that are under way fail, and all later ones do.
    pub async fn close(&self) {
        self.inner.closing.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    fn server(&self, name: &str) -> Result<&Server, McpError> {
        self.inner.servers.get(name).ok_or_else(|| McpError::Unknown {
            server: name.to_owned(),
            configured: self.names().into_iter().map(str::to_owned).collect(),
        })
    }
}

impl McpTransport {
    /// For the operator. Nothing that may be a secret: the query of an address may hold a key.
    fn shown(&self) -> String {
        match self {
            McpTransport::Stdio { program, arguments, env: _, directory: _ } => {
                [program].into_iter().chain(arguments).map(String::as_str).collect::<Vec<_>>().join(" ")
            }
            McpTransport::Http { url, headers: _, bearer: _ } => {
                url.split(['?', '#']).next().unwrap_or_default().to_owned()
            }
        }
    }
}

impl fmt::Debug for McpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            McpTransport::Stdio { program, .. } => {
                f.debug_struct("Stdio").field("program", program).finish_non_exhaustive()
            }
            McpTransport::Http { .. } => f.debug_struct("Http").field("url", &self.shown()).finish_non_exhaustive(),
        }
    }
}
