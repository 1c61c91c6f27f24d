//! Callers that ask the provider without the service between: reqwest, as the service does, on kept connections.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use super::{Caller, Meter};
use crate::{Result, roles::Mode, text};

/// A client that all callers share, and where it asks.
#[derive(Debug, Clone)]
pub(crate) struct Direct {
    client: reqwest::Client,
    url: String,
}

/// Asks for whole answers, with one body after the other.
#[derive(Debug)]
pub(crate) struct Unary {
    direct: Direct,
    bodies: Arc<[Bytes]>,
    asked: usize,
}

/// Asks for streams and counts their events.
#[derive(Debug)]
pub(crate) struct Stream {
    direct: Direct,
    body: Bytes,
}

/// The messages of a conversation as the provider is sent them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Body {
    messages: String,
}

impl Direct {
    /// Asks there, in this mode.
    pub(crate) fn new(address: SocketAddr, mode: Mode) -> Result<Direct> {
        // Nothing here speaks TLS: the system's certificates need not be read.
        let client = reqwest::Client::builder().tls_certs_only([]).build()?;
        Ok(Direct { client, url: format!("http://{address}/{mode}/v1/chat/completions") })
    }

    /// Asks a tool's server there.
    pub(crate) fn tool(address: SocketAddr) -> Result<Direct> {
        let client = reqwest::Client::builder().tls_certs_only([]).build()?;
        Ok(Direct { client, url: format!("http://{address}/") })
    }

    /// So many callers that ask what the turns of conversations of this length ask.
    pub(crate) fn unary(&self, callers: usize, turns: usize) -> Vec<Unary> {
        let bodies: Arc<[Bytes]> = conversation(turns).into();
        let caller = |index| Unary { direct: self.clone(), bodies: bodies.clone(), asked: index };
        (0..callers).map(caller).collect()
    }

    /// So many callers that ask for a stream.
    pub(crate) fn streams(&self, callers: usize) -> Vec<Stream> {
        let mut body = Body::default();
        body.push("user", &text::words(2, text::QUESTION_BYTES));
        let body = body.finish(true);
        (0..callers).map(|_| Stream { direct: self.clone(), body: body.clone() }).collect()
    }

    /// Asks once and reads the whole answer.
    pub(crate) async fn ask(&self, body: Bytes) -> Result<Bytes> {
        Ok(self.send(body).await?.bytes().await?)
    }

    /// Asks a tool, with what stands behind its address.
    pub(crate) async fn get(&self, query: &str) -> Result<Bytes> {
        let response = self.client.get(format!("{}?{query}", self.url)).send().await?;
        Ok(response.error_for_status()?.bytes().await?)
    }

    async fn send(&self, body: Bytes) -> Result<reqwest::Response> {
        let request = self.client.post(&self.url).header("content-type", "application/json");
        Ok(request.header("authorization", "Bearer none").body(body).send().await?.error_for_status()?)
    }
}

impl Caller for Unary {
    async fn call(&mut self, meter: &Meter) -> Result<Option<Duration>> {
        let body = self.bodies[self.asked % self.bodies.len()].clone();
        self.asked += 1;
        self.direct.ask(body).await?;
        meter.add(1);
        Ok(None)
    }
}

impl Caller for Stream {
    async fn call(&mut self, meter: &Meter) -> Result<Option<Duration>> {
        let begun = Instant::now();
        let mut response = self.direct.send(self.body.clone()).await?;
        let mut first = None;
        while let Some(bytes) = response.chunk().await? {
            first.get_or_insert_with(|| begun.elapsed());
            // Every event ends in two line feeds, and JSON escapes its own.
            meter.add(bytes.iter().filter(|byte| **byte == b'\n').count() as u64 / 2);
        }
        Ok(first)
    }
}

impl Body {
    /// Adds a message. The text must need no escapes.
    pub(crate) fn push(&mut self, role: &str, text: &str) {
        let comma = if self.messages.is_empty() { "" } else { "," };
        self.messages.push_str(&format!("{comma}{{\"role\":\"{role}\",\"content\":\"{text}\"}}"));
    }

    /// The whole body.
    pub(crate) fn finish(&self, stream: bool) -> Bytes {
        let messages = &self.messages;
        format!("{{\"model\":\"{MODEL}\",\"messages\":[{messages}],\"stream\":{stream}}}").into()
    }
}

/// The model that everybody asks.
pub(crate) const MODEL: &str = "mistral-small-latest";

/// What the provider is asked in the turns of one conversation.
fn conversation(turns: usize) -> Vec<Bytes> {
    let (question, answer) = (text::words(2, text::QUESTION_BYTES), text::words(1, text::ANSWER_BYTES));
    let mut body = Body::default();
    (0..turns)
        .map(|_| {
            body.push("user", &question);
            let asked = body.finish(false);
            body.push("assistant", &answer);
            asked
        })
        .collect()
}
