//! A turn's event log as a text that a person reads, the same in every run: one event a line, ids by the order in which they
//! come up, no times.

use std::{collections::HashMap, sync::LazyLock};

use causerie::proto::{self, FILE_DESCRIPTOR_SET};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::{Map, Value};

static EVENT: LazyLock<MessageDescriptor> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("a compiler made it");
    pool.get_message_by_name("causerie.v1.Event").expect("the contract has this message")
});

/// Fields that differ from run to run or follow from the line before.
const LEFT_OUT: [&str; 9] = [
    "notBefore",
    "createdAt",
    "completedAt",
    "duration",
    "decidedAt",
    "confirmationExpiresAt",
    "turnId",
    "firstSequence",
    "details",
];

/// Several logs, each under its heading.
pub(crate) fn told(logs: &[(&str, &[proto::Event])]) -> String {
    let mut names = Names::default();
    let mut text = String::new();
    for (heading, events) in logs {
        text.push_str(&format!("# {heading}\n"));
        for event in *events {
            text.push_str(&line(event, &mut names));
            text.push('\n');
        }
    }
    text
}

fn line(event: &proto::Event, names: &mut Names) -> String {
    let mut message = DynamicMessage::new(EVENT.clone());
    let known = strip_any(event.clone());
    message.transcode_from(&known).expect("both are the same message");
    let value = message
        .serialize_with_options(serde_json::value::Serializer, &SerializeOptions::default())
        .expect("an event is JSON");
    let mut value = plain(value, names);
    value.sort_all_objects();
    value.to_string()
}

/// The details of errors are messages of other files; their code and text are told.
fn strip_any(mut event: proto::Event) -> proto::Event {
    use proto::event::Kind;
    let clear = |status: &mut Option<tonic_types::pb::Status>| {
        if let Some(status) = status {
            status.details.clear();
        }
    };
    match &mut event.kind {
        Some(Kind::ToolExecutionDone(done)) => clear(&mut done.error),
        Some(Kind::ResponseError(error)) => clear(&mut error.status),
        Some(Kind::TurnRequeued(requeued)) => clear(&mut requeued.error),
        Some(Kind::UpstreamRetry(retry)) => clear(&mut retry.error),
        Some(Kind::UpstreamSwitched(switched)) => clear(&mut switched.error),
        Some(Kind::ResponseDone(done)) => {
            if let Some(turn) = &mut done.turn {
                clear(&mut turn.error);
            }
        }
        Some(_) | None => {}
    }
    event
}

fn plain(value: Value, names: &mut Names) -> Value {
    match value {
        Value::String(text) => Value::String(names.rename(&text)),
        Value::Array(items) => items.into_iter().map(|item| plain(item, names)).collect(),
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(key, _)| !LEFT_OUT.contains(&key.as_str()));
            let kept: Map<String, Value> = kept.map(|(key, value)| (key, plain(value, names))).collect();
            Value::Object(kept)
        }
        other => other,
    }
}

/// Short names of ids, and of the port that a test's server has.
#[derive(Default)]
struct Names {
    known: HashMap<String, String>,
    counts: HashMap<String, usize>,
}

impl Names {
    fn rename(&mut self, text: &str) -> String {
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, id, after)) = next_id(rest) {
            plain.push_str(before);
            plain.push_str(&self.name(id));
            rest = after;
        }
        plain.push_str(rest);
        plain
    }

    fn name(&mut self, id: &str) -> String {
        if let Some(name) = self.known.get(id) {
            return name.clone();
        }
        let kind = id[..id.len() - 32].to_owned();
        let count = self.counts.entry(kind.clone()).or_default();
        *count += 1;
        let name = format!("{kind}{count}");
        self.known.insert(id.to_owned(), name.clone());
        name
    }
}

/// The first id of a text (a prefix of letters, `_`, 32 hex digits), with what is before and after it.
fn next_id(text: &str) -> Option<(&str, &str, &str)> {
    let bytes = text.as_bytes();
    let is_hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    for (at, _) in text.match_indices('_') {
        let digits = bytes.get(at + 1..at + 33);
        if !digits.is_some_and(|digits| digits.iter().all(is_hex)) {
            continue;
        }
        let start = bytes[..at].iter().rposition(|byte| !byte.is_ascii_lowercase()).map_or(0, |before| before + 1);
        return Some((&text[..start], &text[start..at + 33], &text[at + 33..]));
    }
    None
}
