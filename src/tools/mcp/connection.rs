//! One life of a server: from its start, or from the first request to it, until it ends or is closed.

use std::{
    collections::HashSet,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::HeaderValue;
use rmcp::{
    ClientHandler, RoleClient, ServiceExt,
    model::{
        ClientCapabilities, ClientConfig, ErrorData, Implementation, ListRootsRequestMethod, PaginatedRequestParams,
        ProtocolVersion, Tool,
    },
    service::{Peer, RequestContext, RunningService},
    transport::{Transport, async_rw::AsyncRwTransport},
};
use tokio::{
    sync::{Mutex, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{
    McpServerOptions, McpTransport,
    fault::{Fault, Refusal},
    guard::Guarded,
    lines::{Lines, MESSAGE_BYTES},
    listing::{self, McpTool},
    over_http,
    process::{self, Process},
    signals::Signals,
};

/// Between the end of a program and the end of its output, and the other way round: what it last wrote counts, and so does how
/// it ended.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// For the farewells of the SDK.
const FAREWELL: Duration = Duration::from_secs(10);
/// A server with more pages, tools or text for them is not meant for a model.
const PAGES: usize = 100;
const TOOLS: usize = 1000;
const LISTING_BYTES: usize = 4 << 20;

/// What a server said when it was connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpServerInfo {
    /// What it calls itself; may be empty.
    pub name: String,
    /// Of the server; may be empty.
    pub version: String,
    /// Of the protocol, as agreed on.
    pub protocol_version: String,
}

/// A server that has introduced itself. Dropping it closes it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) peer: Peer<RoleClient>,
    pub(super) info: McpServerInfo,
    pub(super) signals: Arc<Signals>,
    pub(super) opened_at: Instant,
    /// The value of the header that it was opened with.
    pub(super) token: Option<HeaderValue>,
    ended: watch::Receiver<Option<Ended>>,
    /// Held while the tools are listed, so that they are asked for once for all who want them. With the number of the listing.
    listed: Mutex<Option<(u64, Arc<[McpTool]>)>>,
    has_tools: bool,
    /// It is a program, of which how it ended is known soon.
    pub(super) is_program: bool,
    /// Cancelled, it closes.
    pub(super) open: CancellationToken,
    _open: DropGuard,
}

/// How a connection ended.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    /// Continues "the server `name` …".
    pub(super) why: String,
    pub(super) at: Instant,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) struct NotOpened {
    pub(super) fault: Fault,
    /// What was refused, if that is the fault.
    pub(super) token: Option<HeaderValue>,
}

type Running = RunningService<RoleClient, Handler>;

impl Connection {
    /// Starts the server, or connects to it, and lets it introduce itself.
    pub(super) async fn open(
        options: &McpServerOptions,
        tasks: &TaskTracker,
        closing: &CancellationToken,
    ) -> Result<Connection, NotOpened> {
        let signals = Arc::new(Signals::default());
        let opening = Opening { options, tasks, closing, signals: signals.clone() };
        match &options.transport {
            McpTransport::Stdio { .. } => opening.start().await.map_err(|fault| NotOpened { fault, token: None }),
            McpTransport::Http { url, headers, bearer } => {
                let token = match bearer {
                    Some(bearer) => Some(bearer.token().await.map_err(|why| NotOpened {
                        fault: Fault::Failed(format!("can't be asked: {why}")),
                        token: None,
                    })?),
                    None => None,
                };
                let transport =
                    over_http::transport(url, headers, token.as_ref(), options.connect_timeout, options.max_concurrent);
                let introduced = match transport {
                    Ok(transport) => opening.introduce(transport).await,
                    Err(why) => Err(Fault::Failed(why)),
                };
                match introduced {
                    Ok(running) => Ok(opening.keep(running, None, token)),
                    Err(fault) => Err(NotOpened { fault, token }),
                }
            }
        }
    }

    /// How it ended, if it has.
    pub(super) fn ended(&self) -> Option<Ended> {
        self.ended.borrow().clone()
    }

    /// Waits for its end.
    pub(super) async fn end(&self) -> Ended {
        let mut ended = self.ended.clone();
        let lost = || Ended { why: "closed the connection".into(), at: Instant::now() };
        match ended.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone().unwrap_or_else(lost),
            Err(_) => lost(),
        }
    }

    /// Its tools: the known ones, unless it said that they changed.
    pub(super) async fn tools(&self, options: &McpServerOptions) -> Result<Arc<[McpTool]>, Fault> {
        let mut listed = self.listed.lock().await;
        let listing = self.signals.listing();
        if let Some((of, tools)) = &*listed
            && *of == listing
        {
            return Ok(tools.clone());
        }
        let found = tokio::select! {
            biased;
            found = timeout(options.list_timeout, self.list()) => found.unwrap_or(Err(Fault::TimedOut))?,
            ended = self.end() => return Err(Fault::Lost(ended.why)),
        };
        let tools: Arc<[McpTool]> = listing::tools(options, found).into();
        *listed = Some((listing, tools.clone()));
        Ok(tools)
    }

    async fn list(&self) -> Result<Vec<Tool>, Fault> {
        let (mut tools, mut cursor, mut seen, mut bytes) = (Vec::new(), None, HashSet::new(), 0);
        if !self.has_tools {
            return Ok(tools);
        }
        for _ in 0..PAGES {
            let page = self.peer.list_tools(Some(PaginatedRequestParams::default().with_cursor(cursor))).await?;
            bytes += page.tools.iter().map(listing::size_bytes).sum::<usize>();
            tools.extend(page.tools);
            if tools.len() > TOOLS || bytes > LISTING_BYTES {
                return Err(Fault::Failed(format!("lists more than {TOOLS} tools, or {LISTING_BYTES} bytes of them")));
            }
            cursor = match page.next_cursor.filter(|next| !next.is_empty()) {
                Some(next) if seen.insert(next.clone()) => Some(next),
                Some(_) => return Err(Fault::Failed("lists its tools in a circle".into())),
                None => return Ok(tools),
            };
        }
        Err(Fault::Failed(format!("lists its tools on more than {PAGES} pages")))
    }
}

struct Opening<'a> {
    options: &'a McpServerOptions,
    tasks: &'a TaskTracker,
    closing: &'a CancellationToken,
    signals: Arc<Signals>,
}

impl Opening<'_> {
    async fn start(&self) -> Result<Connection, Fault> {
        let McpTransport::Stdio { program, arguments, env, directory } = &self.options.transport else {
            return Err(Fault::Failed("is no program".into()));
        };
        let (mut process, pipes) = Process::start(program, arguments, env, directory.as_deref())
            .map_err(|error| Fault::Lost(format!("can't be started: {error}")))?;
        let complaints = process::log_complaints(self.options.name.clone(), pipes.stderr);
        let closing = self.closing.clone();
        // It may have children that outlive it and hold its end of the pipe.
        self.tasks.spawn(async move { closing.run_until_cancelled(complaints).await });
        let output = Lines::new(pipes.stdout, MESSAGE_BYTES);
        let was_too_long = output.was_too_long();
        let transport = AsyncRwTransport::new(output, pipes.stdin).with_max_line_length(MESSAGE_BYTES);
        let introduced = tokio::select! {
            biased;
            introduced = self.introduce(transport) => introduced,
            status = process.ended() => Err(ended_early(&status)),
        };
        match introduced {
            Ok(running) => Ok(self.keep(running, Some(Program { process, was_too_long }), None)),
            Err(fault @ Fault::Lost(_)) => match timeout(LAST_WORDS, process.ended()).await {
                Ok(status) => Err(ended_early(&status)),
                Err(_) => Err(fault),
            },
            Err(fault) => Err(fault),
        }
    }

    async fn introduce<T>(&self, transport: T) -> Result<Running, Fault>
    where
        T: Transport<RoleClient> + Send + 'static,
    {
        let guarded = Guarded::new(transport, self.signals.clone());
        tokio::select! {
            biased;
            running = Handler.serve(guarded) => Ok(running?),
            () = self.closing.cancelled() => Err(Fault::Failed("is being ended".into())),
            () = sleep(self.options.connect_timeout) => {
                Err(Fault::Failed(format!("did not introduce itself within {:?}", self.options.connect_timeout)))
            }
        }
    }

    fn keep(&self, running: Running, program: Option<Program>, token: Option<HeaderValue>) -> Connection {
        let peer = running.peer().clone();
        let open = self.closing.child_token();
        let (say_ended, ended) = watch::channel(None);
        let info = peer.peer_info();
        let name_of = |server: &Implementation| (server.name.clone(), server.version.clone());
        let (name, version) = info.as_ref().and_then(|info| info.server_info.as_ref()).map(name_of).unwrap_or_default();
        let connection = Connection {
            info: McpServerInfo {
                name,
                version,
                protocol_version: info.as_ref().map(|info| info.protocol_version.to_string()).unwrap_or_default(),
            },
            peer,
            signals: self.signals.clone(),
            opened_at: Instant::now(),
            token,
            ended,
            listed: Mutex::new(None),
            has_tools: info.is_some_and(|info| info.capabilities.tools.is_some()),
            is_program: program.is_some(),
            open: open.clone(),
            _open: open.clone().drop_guard(),
        };
        self.tasks.spawn(keep(running, program, self.signals.clone(), say_ended, open));
        connection
    }
}

fn ended_early(status: &str) -> Fault {
    Fault::Lost(format!(
        "ended ({status}) before it introduced itself; what it wrote to stderr is in the log at level debug"
    ))
}

/// The program of a connection.
struct Program {
    process: Process,
    was_too_long: Arc<std::sync::atomic::AtomicBool>,
}

/// Waits for the end of a connection, says how it ended, and leaves nothing behind.
async fn keep(
    running: Running,
    mut program: Option<Program>,
    signals: Arc<Signals>,
    say_ended: watch::Sender<Option<Ended>>,
    open: CancellationToken,
) {
    let cancel = running.cancellation_token();
    let mut served = pin!(running.waiting());
    let mut is_served = false;
    let why = tokio::select! {
        _ = &mut served => {
            is_served = true;
            silence_text(program.as_mut()).await
        }
        status = status(program.as_mut()) => {
            is_served = timeout(LAST_WORDS, &mut served).await.is_ok();
            format!("ended ({status})")
        }
        () = open.cancelled() => "was ended".to_owned(),
    };
    let why = broken_off(program.as_ref(), &signals).unwrap_or(why);
    say_ended.send_replace(Some(Ended { why, at: Instant::now() }));
    cancel.cancel();
    if !is_served {
        // What the SDK does not end in time ends with its transport, which hangs on this task.
        let _ = timeout(FAREWELL, served).await;
    }
    if let Some(Program { process, was_too_long: _ }) = program {
        process.end().await;
    }
}

async fn status(program: Option<&mut Program>) -> String {
    match program {
        Some(program) => program.process.ended().await,
        None => std::future::pending().await,
    }
}

/// Why there is no more output.
async fn silence_text(program: Option<&mut Program>) -> String {
    let Some(program) = program else { return "closed the connection".into() };
    match timeout(LAST_WORDS, program.process.ended()).await {
        Ok(status) => format!("ended ({status})"),
        Err(_) => "closed its output".into(),
    }
}

/// Why it was us who ended it, though nobody asked for that.
fn broken_off(program: Option<&Program>, signals: &Signals) -> Option<String> {
    if program.is_some_and(|program| program.was_too_long.load(Ordering::Relaxed)) {
        return Some(format!("wrote a line of more than {MESSAGE_BYTES} bytes"));
    }
    signals.is_pestered().then(|| "asked and asked without reading the answers".into())
}

/// What a server may ask of us: nothing but whether we are there. We offer neither a model nor a person nor files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handler;

impl ClientHandler for Handler {
    fn get_info(&self) -> ClientConfig {
        let own = Implementation::new("causerie", env!("CARGO_PKG_VERSION"));
        // The last version that begins with a handshake, which the servers of today know.
        ClientConfig::new(ClientCapabilities::default(), own)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
    }

    #[expect(deprecated, reason = "servers of today still ask, and are told that there are none")]
    async fn list_roots(&self, _: RequestContext<RoleClient>) -> Result<rmcp::model::ListRootsResult, ErrorData> {
        Err(ErrorData::method_not_found::<ListRootsRequestMethod>())
    }
}

impl Fault {
    /// Continues "the server `name` …".
    pub(super) fn text(&self) -> String {
        match self {
            Fault::Answered(words) => format!("answers with an error: {words}"),
            Fault::Refused(refusal @ (Refusal::Token | Refusal::Session)) => refusal.text().to_owned(),
            Fault::Failed(text) | Fault::Lost(text) => text.clone(),
            Fault::TimedOut => "did not answer in time".to_owned(),
        }
    }
}
