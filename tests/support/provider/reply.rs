//! What the scripted provider sends, and when.

use std::io;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;

use super::Captured;

/// One reply.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
    every_byte: bool,
    cut_after: Option<usize>,
    stall: bool,
    gate: Option<Gate>,
}

#[derive(Debug, Clone)]
enum Body {
    /// A chat completion of this text: whole, or in a stream when the request asks for one.
    Text(String),
    /// Sent as it is.
    Plain(String),
    /// Chunks of an event stream.
    Events(Vec<Vec<u8>>),
    /// The connection is closed without an answer.
    Nothing,
    /// Each request gets the reply that this makes of it.
    Of(fn(&Captured) -> Reply),
}

/// Decides when a reply goes on: its headers and then each chunk wait for one step.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<Semaphore>);

impl Gate {
    /// Lets the next part pass: the headers first, then one chunk each.
    pub(crate) fn step(&self) {
        self.0.add_permits(1);
    }

    /// Lets everything pass.
    pub(crate) fn open(&self) {
        self.0.close();
    }

    async fn pass(&self) {
        // A closed semaphore is an open gate.
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}

impl Reply {
    /// A JSON body.
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json", Body::Plain(body.to_string()))
    }

    /// A body of any other kind, as gateways send them.
    pub(crate) fn plain(status: u16, content_type: &str, body: &str) -> Self {
        Self::new(status, content_type, Body::Plain(body.to_owned()))
    }

    /// A finished chat completion with this text, in Mistral's shape; streamed word by word if the request says so.
    pub(crate) fn text(text: &str) -> Self {
        Self::new(200, "application/json", Body::Text(text.to_owned()))
    }

    /// An event stream of these chunks and `[DONE]`.
    pub(crate) fn sse(chunks: &[Value]) -> Self {
        Self::raw_sse(chunks.iter().map(event).chain([DONE.to_vec()]))
    }

    /// An event stream of these bytes, nothing added.
    pub(crate) fn raw_sse(chunks: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        Self::new(200, "text/event-stream", Body::Events(chunks.into_iter().map(Into::into).collect()))
    }

    /// Closes the connection without an answer.
    pub(crate) fn hang_up() -> Self {
        Self::new(0, "", Body::Nothing)
    }

    /// A reply that depends on the request. What is said of it besides does not count.
    pub(crate) fn of(choose: fn(&Captured) -> Reply) -> Self {
        Self::new(0, "", Body::Of(choose))
    }

    /// The reply to this request.
    pub(super) fn chosen(self, request: &Captured) -> Self {
        match self.body {
            Body::Of(choose) => choose(request).chosen(request),
            _ => self,
        }
    }

    fn new(status: u16, content_type: &str, body: Body) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Self { status, headers, body, every_byte: false, cut_after: None, stall: false, gate: None }
    }

    /// Adds a header.
    #[must_use]
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends the body in HTTP chunks of one byte, so that a decoder sees every split.
    #[must_use]
    pub(crate) fn split_at_every_byte(mut self) -> Self {
        self.every_byte = true;
        self
    }

    /// Drops the connection after so many chunks (a body that is no stream is one chunk).
    #[must_use]
    pub(crate) fn cut_after(mut self, chunks: usize) -> Self {
        self.cut_after = Some(chunks);
        self
    }

    /// Sends all chunks and then nothing, not even the end, until the client leaves.
    #[must_use]
    pub(crate) fn stall(mut self) -> Self {
        self.stall = true;
        self
    }

    /// Makes the headers and every chunk wait for the test.
    pub(crate) fn gate(&mut self) -> Gate {
        self.gate.get_or_insert_with(|| Gate(Arc::new(Semaphore::new(0)))).clone()
    }

    /// Sends the reply. False when the connection has to be dropped now.
    pub(super) async fn send(self, request: &Captured, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<bool> {
        let Some((content_type, chunks)) = self.body.chunks(request) else {
            return Ok(false);
        };
        self.pass().await;
        writer.write_all(self.head(content_type).as_bytes()).await?;
        let sent = self.cut_after.unwrap_or(usize::MAX);
        for chunk in chunks.iter().take(sent) {
            self.pass().await;
            for piece in self.pieces(chunk) {
                write_chunk(writer, piece).await?;
            }
        }
        if self.stall {
            std::future::pending::<()>().await;
        }
        if self.cut_after.is_some() {
            return Ok(false);
        }
        writer.write_all(b"0\r\n\r\n").await?;
        Ok(true)
    }

    async fn pass(&self) {
        if let Some(gate) = &self.gate {
            gate.pass().await;
        }
    }

    fn head(&self, content_type: Option<&str>) -> String {
        let mut head = format!("HTTP/1.1 {} Scripted\r\ntransfer-encoding: chunked\r\n", self.status);
        for (name, value) in &self.headers {
            let value = content_type.filter(|_| name == "content-type").unwrap_or(value);
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head
    }

    fn pieces<'a>(&self, chunk: &'a [u8]) -> std::slice::Chunks<'a, u8> {
        chunk.chunks(if self.every_byte { 1 } else { chunk.len().max(1) })
    }
}

const DONE: &[u8] = b"data: [DONE]\n\n";

impl Body {
    /// The content type, where the request decides it, and the chunks; none to hang up.
    fn chunks(&self, request: &Captured) -> Option<(Option<&'static str>, Vec<Vec<u8>>)> {
        let model = &request.json["model"];
        match self {
            Self::Nothing | Self::Of(_) => None,
            Self::Plain(text) => Some((None, vec![text.clone().into_bytes()])),
            Self::Events(chunks) => Some((None, chunks.clone())),
            Self::Text(text) if request.json["stream"] == true => {
                Some((Some("text/event-stream"), completion_chunks(model, text)))
            }
            Self::Text(text) => Some((None, vec![completion(model, text).to_string().into_bytes()])),
        }
    }
}

async fn write_chunk(writer: &mut (impl AsyncWrite + Unpin), piece: &[u8]) -> io::Result<()> {
    let mut frame = format!("{:x}\r\n", piece.len()).into_bytes();
    frame.extend_from_slice(piece);
    frame.extend_from_slice(b"\r\n");
    writer.write_all(&frame).await
}

fn event(chunk: &Value) -> Vec<u8> {
    format!("data: {chunk}\n\n").into_bytes()
}

fn usage(text: &str) -> Value {
    let words = text.split_whitespace().count();
    json!({"prompt_tokens": 10, "completion_tokens": words, "total_tokens": 10 + words})
}

fn completion(model: &Value, text: &str) -> Value {
    json!({
        "id": "scripted", "object": "chat.completion", "created": 1_767_225_600, "model": model, "usage": usage(text),
        "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "tool_calls": null, "content": text}}],
    })
}

fn completion_chunks(model: &Value, text: &str) -> Vec<Vec<u8>> {
    let chunk = |delta: Value, finish: Value| {
        json!({
            "id": "scripted", "object": "chat.completion.chunk", "created": 1_767_225_600, "model": model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        })
    };
    let mut chunks = vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null)];
    chunks.extend(text.split_inclusive(' ').map(|word| chunk(json!({"content": word}), Value::Null)));
    let mut last = chunk(json!({"content": ""}), json!("stop"));
    last["usage"] = usage(text);
    chunks.push(last);
    chunks.iter().map(event).chain([DONE.to_vec()]).collect()
}
