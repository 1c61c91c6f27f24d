//! A reader of server-sent events that knows nothing of what it reads.

use serde_json::Value;

use super::get;
use crate::support::{events::soon, http::client, server::TestServer};

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: Value,
}

/// What a connection has brought so far.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    response: Option<reqwest::Response>,
    pub(crate) status: u16,
    text: String,
    /// The events.
    pub(crate) messages: Vec<Message>,
    /// The comments.
    pub(crate) comments: Vec<String>,
    /// What a browser would send when it comes back.
    pub(crate) last_id: String,
}

impl Reader {
    /// Connects, after an event if there is one.
    pub(crate) async fn open(server: &TestServer, path: &str, last_id: &str) -> Reader {
        let request = client().get(format!("http://{}{path}", server.address()));
        let request = if last_id.is_empty() { request } else { request.header("last-event-id", last_id) };
        let response = soon(request.send()).await.expect("the server answers");
        let status = response.status().as_u16();
        Reader { status, response: Some(response), last_id: last_id.to_owned(), ..Reader::default() }
    }

    /// Waits for more events, until there are so many; false if the answer ends before.
    pub(crate) async fn until(&mut self, count: usize) -> bool {
        while self.messages.len() < count {
            if !self.more().await {
                return false;
            }
        }
        true
    }

    /// Reads to the end.
    pub(crate) async fn rest(mut self) -> Reader {
        while self.more().await {}
        assert_eq!(self.text, "", "the answer ends within an event");
        self
    }

    /// Takes what comes next; false at the end.
    pub(crate) async fn more(&mut self) -> bool {
        let response = self.response.as_mut().expect("it is open");
        let Some(bytes) = soon(response.chunk()).await.expect("no cut") else { return false };
        self.text.push_str(std::str::from_utf8(&bytes).expect("pieces end at characters"));
        while let Some((block, rest)) = self.text.split_once("\n\n") {
            let (block, rest) = (block.to_owned(), rest.to_owned());
            self.take(&block);
            self.text = rest;
        }
        true
    }

    fn take(&mut self, block: &str) {
        let (mut name, mut data) = (String::new(), None);
        for line in block.lines() {
            match line.split_once(": ").expect("a field") {
                ("", comment) => self.comments.push(comment.to_owned()),
                ("id", id) => self.last_id = id.to_owned(),
                ("event", event) => name = event.to_owned(),
                ("data", text) => assert!(data.replace(serde_json::from_str(text).expect("JSON")).is_none()),
                ("retry", ms) => assert_eq!(ms, "1000"),
                (other, _) => panic!("{other} is no field of a message"),
            }
        }
        if let Some(data) = data {
            self.messages.push(Message { id: self.last_id.clone(), name, data });
        }
    }
}

/// The whole of a stream whose end is known.
pub(crate) async fn all(server: &TestServer, path: &str) -> Vec<Message> {
    let reader = Reader::open(server, path, "").await;
    assert_eq!(reader.status, 200);
    reader.rest().await.messages
}

/// What a reader has seen in all who loses its connection after every `each` events, and comes back until it is told to stop.
pub(crate) async fn with_losses(server: &TestServer, path: &str, each: usize) -> Vec<Message> {
    let (mut seen, mut last_id) = (Vec::new(), String::new());
    loop {
        let mut reader = Reader::open(server, path, &last_id).await;
        if reader.status == 204 {
            return seen;
        }
        reader.until(each).await;
        // What came beyond it in the same piece was lost with the connection.
        reader.messages.truncate(each);
        last_id = reader.messages.last().map_or(last_id, |last| last.id.clone());
        seen.extend(reader.messages);
    }
}

/// Where a turn's events are.
pub(crate) fn path(turn_id: &str) -> String {
    format!("/v1/turns/{turn_id}/events")
}

/// The error that a path gives.
pub(crate) async fn refused(server: &TestServer, path: &str, headers: &[(&str, &str)]) -> (u16, String, Value) {
    let answer = get(server, path, headers).await;
    assert_eq!(answer.headers["content-type"], "application/json", "{}", answer.text);
    let error = answer.json()["error"].clone();
    let info = error["details"].as_array().expect("details").iter().find(|detail| detail["reason"].is_string());
    let reason = info.unwrap_or_else(|| panic!("no ErrorInfo in {error}"))["reason"].as_str().unwrap_or_default();
    (answer.status, reason.to_owned(), error)
}
