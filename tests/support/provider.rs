//! A provider at the socket that does what a test tells it, byte by byte.
//!
//! It is an HTTP/1.1 server over plain TCP, so that a test can say what no HTTP library would send: a body in single
//! bytes, a connection dropped between two chunks, headers that wait for the test. Replies are used in the order in which
//! they were queued. Nothing here sleeps.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

mod reply;

pub(crate) use reply::Reply;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Captured {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body's bytes.
    pub(crate) raw: Vec<u8>,
    /// The body, null when it is no JSON.
    pub(crate) json: Value,
}

impl Captured {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The provider. It ends when it is dropped.
pub(crate) struct ScriptedProvider {
    address: SocketAddr,
    stage: Arc<Stage>,
    _task: AbortOnDropHandle<()>,
}

/// What the provider shares with its connections.
struct Stage {
    script: Mutex<Script>,
    requests: Mutex<Vec<Captured>>,
    /// One permit for each request that arrived and was not yet taken by `next_request`.
    arrived: Semaphore,
    taken: AtomicUsize,
    /// One permit for each connection that the client closed before its answer was whole.
    dropped: Semaphore,
    /// One permit for each connection accepted.
    accepted: AtomicUsize,
    /// Requests that are being answered now, and the most there ever were at once.
    answering: AtomicUsize,
    most_at_once: AtomicUsize,
}

#[derive(Default)]
struct Script {
    queue: VecDeque<Reply>,
    /// In turns.
    otherwise: VecDeque<Reply>,
    /// What requests for one model get, before all others. The last reply stays.
    models: HashMap<String, VecDeque<Reply>>,
    /// What every request for a path gets, where it is no provider that is played; the query does not count.
    paths: HashMap<String, Reply>,
}

impl Script {
    fn next_of_all(&mut self) -> Option<Reply> {
        self.otherwise.rotate_left(1.min(self.otherwise.len()));
        self.otherwise.back().cloned()
    }
}

impl ScriptedProvider {
    /// Starts on a free port of 127.0.0.1.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback can be bound");
        let address = listener.local_addr().expect("a bound socket has an address");
        let stage = Arc::new(Stage {
            script: Mutex::default(),
            requests: Mutex::default(),
            arrived: Semaphore::new(0),
            taken: AtomicUsize::new(0),
            dropped: Semaphore::new(0),
            accepted: AtomicUsize::new(0),
            answering: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
        });
        let task = AbortOnDropHandle::new(tokio::spawn(accept(listener, Arc::clone(&stage))));
        Self { address, stage, _task: task }
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Queues the reply to one request.
    pub(crate) fn reply(&self, reply: Reply) {
        lock(&self.stage.script).queue.push_back(reply);
    }

    /// The reply to every request for which none is queued. Without it such a request gets a 500 that says so.
    pub(crate) fn on_every(&self, reply: Reply) {
        self.on_every_in_turn([reply]);
    }

    /// The same with several replies, over and over again in this order.
    pub(crate) fn on_every_in_turn(&self, replies: impl IntoIterator<Item = Reply>) {
        lock(&self.stage.script).otherwise = replies.into_iter().collect();
    }

    /// The replies to the requests for this model, in this order; the last one to all further requests too. So turns of
    /// different models can run at once.
    pub(crate) fn on_model(&self, model: &str, replies: impl IntoIterator<Item = Reply>) {
        lock(&self.stage.script).models.insert(model.to_owned(), replies.into_iter().collect());
    }

    /// The reply to every request for this path, whatever its query: for a server that is no provider.
    pub(crate) fn on_path(&self, path: &str, reply: Reply) {
        lock(&self.stage.script).paths.insert(path.to_owned(), reply);
    }

    /// The requests for this model so far.
    pub(crate) fn requests_for(&self, model: &str) -> Vec<Captured> {
        let mut requests = self.requests();
        requests.retain(|request| request.json["model"] == model);
        requests
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Captured> {
        lock(&self.stage.requests).clone()
    }

    /// Waits for the next request that no earlier call of this has given.
    pub(crate) async fn next_request(&self) -> Captured {
        take(&self.stage.arrived).await;
        let index = self.stage.taken.fetch_add(1, Ordering::Relaxed);
        lock(&self.stage.requests)[index].clone()
    }

    /// Waits until a client has closed its connection before its answer was whole; once for each such connection.
    pub(crate) async fn connection_dropped(&self) {
        take(&self.stage.dropped).await;
    }

    /// How many requests were answered at the same time, at most.
    pub(crate) fn most_at_once(&self) -> usize {
        self.stage.most_at_once.load(Ordering::Relaxed)
    }

    /// How many connections were ever accepted: tells whether a client kept its connection.
    pub(crate) fn connections(&self) -> usize {
        self.stage.accepted.load(Ordering::Relaxed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread panics while it holds the script")
}

async fn take(permits: &Semaphore) {
    permits.acquire().await.expect("the semaphore is never closed").forget();
}

async fn accept(listener: TcpListener, stage: Arc<Stage>) {
    let mut connections = JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.expect("the listener lives as long as its task");
        stage.accepted.fetch_add(1, Ordering::Relaxed);
        connections.spawn(serve(socket, Arc::clone(&stage)));
    }
}

async fn serve(socket: TcpStream, stage: Arc<Stage>) {
    socket.set_nodelay(true).expect("the socket was just accepted");
    let (reader, mut writer) = socket.into_split();
    let mut reader = BufReader::new(reader);
    while let Ok(Some(request)) = read_request(&mut reader).await {
        let reply = stage.capture(&request).chosen(&request);
        let _answering = stage.answer();
        tokio::select! {
            biased;
            sent = reply.send(&request, &mut writer) => match sent {
                Ok(true) => {}
                // The script says to drop the connection.
                Ok(false) => return,
                Err(_) => return stage.dropped.add_permits(1),
            },
            () = client_left(&mut reader) => return stage.dropped.add_permits(1),
        }
    }
}

/// A request is answered as long as this lives.
struct Answering<'a>(&'a Stage);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Stage {
    fn answer(&self) -> Answering<'_> {
        let now = self.answering.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_at_once.fetch_max(now, Ordering::Relaxed);
        Answering(self)
    }

    fn capture(&self, request: &Captured) -> Reply {
        lock(&self.requests).push(request.clone());
        self.arrived.add_permits(1);
        let mut script = lock(&self.script);
        let model = request.json["model"].as_str().unwrap_or_default();
        let path = request.path.split('?').next().unwrap_or_default();
        if let Some(reply) = script.paths.get(path) {
            return reply.clone();
        }
        let queued = match script.models.get_mut(model) {
            Some(replies) if replies.len() > 1 => replies.pop_front(),
            Some(replies) => replies.front().cloned(),
            None => script.queue.pop_front().or_else(|| script.next_of_all()),
        };
        queued.unwrap_or_else(|| Reply::json(500, &serde_json::json!({"message": "the test scripted no reply"})))
    }
}

/// Ends when the client closes; not when it already sends its next request.
async fn client_left(reader: &mut BufReader<OwnedReadHalf>) {
    match reader.fill_buf().await {
        Ok([]) | Err(_) => {}
        Ok(_) => std::future::pending().await,
    }
}

/// The next request, none when the client closed between two of them.
async fn read_request(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<Captured>> {
    let mut line = String::new();
    if reader.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut start = line.split_whitespace().map(str::to_owned);
    let (method, path) = (start.next().unwrap_or_default(), start.next().unwrap_or_default());
    let headers = read_headers(reader).await?;
    let mut request = Captured { method, path, headers, raw: Vec::new(), json: Value::Null };
    // Our client always sends a length; a chunked request would be an empty body here and fail its test.
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    request.raw = vec![0; length];
    reader.read_exact(&mut request.raw).await?;
    request.json = serde_json::from_slice(&request.raw).unwrap_or_default();
    Ok(Some(request))
}

async fn read_headers(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).await?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => return Ok(headers),
        }
    }
}
