//! Answers in Mistral's shape, made once and sent again and again.

use std::{
    io::Write,
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::{text, tooling};

/// How many chunks of text a stream at full speed has.
pub(crate) const STREAM_CHUNKS: usize = 200;

/// Written over with [`Stamp`] before each answer; as long as one.
const STAMP: &str = "[first=0000000000000000000 last=0000000000000000000 bytes=0000000000] ";

const MODEL: &str = "mistral-small-latest";

/// An answer that is ready to be sent, headers and body, one write after the other: a stream is flushed event by event.
#[derive(Debug)]
pub(super) struct Canned {
    writes: Rc<[Bytes]>,
    /// Which write holds it, and where.
    stamp: Option<(usize, usize)>,
}

/// What the stand-in tells about a request, in its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    /// When the first bytes of the request arrived, by the wall clock: `Instant` can't cross over to another process.
    pub(crate) first: SystemTime,
    /// How long its body was.
    pub(crate) body_bytes: usize,
}

impl Canned {
    /// A whole answer of this text.
    pub(super) fn completion(text: &str) -> Canned {
        let message = json!({"role": "assistant", "content": text, "tool_calls": null, "prefix": false});
        Canned::whole(&message, "stop")
    }

    fn whole(message: &Value, finish_reason: &str) -> Canned {
        let body = json!({
            "id": "cmpl-5f0c1d2e3b4a59687766554433221100",
            "object": "chat.completion",
            "created": 1_764_000_000,
            "model": MODEL,
            "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
            "usage": usage(),
        });
        let body = body.to_string();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        Canned::new(vec![head + &body])
    }

    /// A whole answer that asks for so many tools.
    pub(super) fn calls(calls: usize, round: usize) -> Canned {
        let call = |index| {
            let function = json!({"name": tooling::TOOL, "arguments": tooling::arguments(index, round)});
            json!({"id": format!("call{round:02}{index:03}"), "type": "function", "function": function, "index": index})
        };
        let calls: Vec<Value> = (0..calls).map(call).collect();
        let message = json!({"role": "assistant", "content": "", "tool_calls": calls, "prefix": false});
        Canned::whole(&message, "tool_calls")
    }

    /// A whole answer that begins with a stamp.
    pub(super) fn stamped_completion(text: &str) -> Canned {
        Canned::completion(&stamped(text))
    }

    /// A stream of these pieces at full speed.
    pub(super) fn stream<'a>(pieces: impl IntoIterator<Item = &'a str>) -> Canned {
        let mut events = vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null).to_string()];
        events.extend(pieces.into_iter().map(|piece| chunk(json!({"content": piece}), Value::Null).to_string()));
        let mut last = chunk(json!({"content": ""}), json!("stop"));
        last["usage"] = usage();
        events.extend([last.to_string(), "[DONE]".to_owned()]);
        let mut writes = writes(&events);
        if let Some(last) = writes.last_mut() {
            last.push_str("0\r\n\r\n");
        }
        Canned::new(writes)
    }

    /// A stream whose first piece is a stamp.
    pub(super) fn stamped_stream(text: &str) -> Canned {
        let text = stamped(text);
        let (stamp, rest) = text.split_at(STAMP.len());
        Canned::stream([stamp].into_iter().chain(pieces(rest)))
    }

    /// The first piece of a stream, and then nothing.
    pub(super) fn stalled_stream() -> Canned {
        let event = chunk(json!({"role": "assistant", "content": "Well"}), Value::Null);
        Canned::new(writes(&[event.to_string()]))
    }

    fn new(writes: Vec<String>) -> Canned {
        let stamp = writes.iter().enumerate().find_map(|(index, write)| Some((index, write.find(STAMP)?)));
        Canned { writes: writes.into_iter().map(Bytes::from).collect(), stamp }
    }

    /// What is to be sent in answer to a request.
    pub(super) fn writes(&self, stamp: Stamp) -> Rc<[Bytes]> {
        let Some((index, at)) = self.stamp else { return self.writes.clone() };
        let mut writes = self.writes.to_vec();
        let mut stamped = writes[index].to_vec();
        stamp.write(&mut &mut stamped[at..at + STAMP.len()]).expect("a stamp is as long as the place for it");
        writes[index] = stamped.into();
        writes.into()
    }
}

impl Stamp {
    /// What the stand-in said in this answer.
    pub(crate) fn read(answer: &str) -> Option<Stamp> {
        let (_, rest) = answer.split_once("[first=")?;
        let (first, rest) = rest.split_once(' ')?;
        let (_, rest) = rest.split_once("bytes=")?;
        let (body_bytes, _) = rest.split_once(']')?;
        let first = UNIX_EPOCH + Duration::from_nanos(first.parse().ok()?);
        Some(Stamp { first, body_bytes: body_bytes.parse().ok()? })
    }

    fn write(self, to: &mut impl Write) -> std::io::Result<()> {
        let (first, last) = (nanoseconds(self.first), nanoseconds(SystemTime::now()));
        write!(to, "[first={first:019} last={last:019} bytes={:010}]", self.body_bytes)
    }
}

/// A text in pieces of about a token.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(' ')
}

fn stamped(text: &str) -> String {
    let rest = text.len().saturating_sub(STAMP.len());
    format!("{STAMP}{}", &text[..rest])
}

fn nanoseconds(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

/// Each event in an HTTP chunk of its own, the first one together with the headers.
fn writes(events: &[String]) -> Vec<String> {
    let event = |data: &String| {
        let event = format!("data: {data}\n\n");
        format!("{:x}\r\n{event}\r\n", event.len())
    };
    let mut writes: Vec<String> = events.iter().map(event).collect();
    if let Some(first) = writes.first_mut() {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        first.insert_str(0, head);
    }
    writes
}

fn chunk(delta: Value, finish_reason: Value) -> Value {
    json!({
        "id": "cmpl-5f0c1d2e3b4a59687766554433221100",
        "object": "chat.completion.chunk",
        "created": 1_764_000_000,
        "model": MODEL,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
        "p": "abcdefghijkl",
    })
}

fn usage() -> Value {
    json!({
        "prompt_tokens": 150,
        "completion_tokens": 350,
        "total_tokens": 500,
        "prompt_tokens_details": {"cached_tokens": 0},
    })
}

/// Text of as many pieces as a stream at full speed has.
pub(super) fn stream_text() -> String {
    let words = text::words(7, 64 * STREAM_CHUNKS);
    words.split_inclusive(' ').take(STREAM_CHUNKS).collect()
}
