//! Cuts a failure to what every client can receive as trailers. Turns and events carry theirs uncut.

use prost::Message;
use tonic::Code;
use tonic_types::pb;

use crate::{
    domain::{Failure, Violation},
    grpc::convert::{failure, violations},
};

/// So many bytes a status may have as trailers, base64 included: gRPC's C core refuses more than 8 KiB of metadata by
/// default, and other trailers need room too.
pub(super) const MAX_TRAILERS: usize = 7600;
/// A percent-encoded `grpc-message`.
const MAX_MESSAGE: usize = 1000;
/// Thirty ids.
const MAX_VALUE: usize = 1200;
/// All of an ErrorInfo's metadata.
const MAX_METADATA: usize = 1500;
const MAX_VIOLATIONS: usize = 50;
const MAX_FIELD: usize = 256;
const MAX_DESCRIPTION: usize = 512;
/// What a BadRequest costs beside its violations: names, lengths and the count of those left out.
const BAD_REQUEST: usize = 128;
/// What a violation costs beside its texts.
const VIOLATION: usize = 12;

/// The status of a call that ends with this failure.
pub(super) fn status(code: Code, failure: &Failure, default_ms: Option<u64>, request_id: &str) -> pb::Status {
    let Failure { reason, message, metadata: _, violations: _, retry_after_ms, resource } = failure;
    let mut short = Failure {
        reason: *reason,
        message: cut_message(message),
        metadata: short_metadata(failure),
        violations: Vec::new(),
        retry_after_ms: retry_after_ms.or(default_ms),
        resource: resource.as_ref().map(|(kind, name)| (kind.clone(), cut(name, MAX_FIELD))),
    };
    let request_info = pb::RequestInfo { request_id: cut(request_id, MAX_FIELD), serving_data: String::new() };
    let build = |short: &Failure| {
        let mut details = failure::details(short);
        details.push(failure::any("google.rpc.RequestInfo", &request_info));
        pb::Status { code: code as i32, message: short.message.clone(), details }
    };
    let status = build(&short);
    if failure.violations.is_empty() {
        return status;
    }
    // Base64 makes four bytes of three.
    let room = (MAX_TRAILERS.saturating_sub(trailers(&status)) / 4 * 3).saturating_sub(BAD_REQUEST);
    short.violations = short_violations(failure, room);
    build(&short)
}

/// The size of a status as trailers.
pub(super) fn trailers(status: &pb::Status) -> usize {
    status.encoded_len().div_ceil(3) * 4 + status.message.chars().map(encoded).sum::<usize>()
}

fn short_metadata(failure: &Failure) -> Vec<(std::borrow::Cow<'static, str>, String)> {
    let mut room = MAX_METADATA;
    let pairs = failure.metadata.iter().map(|(key, value)| (key.clone(), cut(value, MAX_VALUE)));
    let fitting = pairs.take_while(|(key, value)| {
        let size = key.len() + value.len();
        let fits = size <= room;
        room = room.saturating_sub(size);
        fits
    });
    fitting.collect()
}

fn short_violations(failure: &Failure, mut room: usize) -> Vec<Violation> {
    let mut told = Vec::new();
    for Violation { field, description } in failure.violations.iter().take(MAX_VIOLATIONS) {
        let short = Violation { field: cut(field, MAX_FIELD), description: cut(description, MAX_DESCRIPTION) };
        let size = short.field.len() + short.description.len() + VIOLATION;
        if size > room {
            break;
        }
        room -= size;
        told.push(short);
    }
    let counted = failure.metadata.iter().find(|(key, _)| key == violations::COUNT);
    let total = counted.and_then(|(_, count)| count.parse().ok()).unwrap_or(failure.violations.len());
    if total > told.len() {
        told.push(Violation { field: String::new(), description: format!("and {} more", total - told.len()) });
    }
    told
}

/// The text, or its beginning with a mark.
fn cut(text: &str, max: usize) -> String {
    cut_by(text, max, char::len_utf8)
}

fn cut_message(message: &str) -> String {
    cut_by(message, MAX_MESSAGE, encoded)
}

fn cut_by(text: &str, max: usize, size: impl Fn(char) -> usize) -> String {
    const MARK: char = '…';
    if text.chars().map(&size).sum::<usize>() <= max {
        return text.to_owned();
    }
    let mut room = max - size(MARK);
    let fitting = text.chars().take_while(|c| {
        let fits = size(*c) <= room;
        room = room.saturating_sub(size(*c));
        fits
    });
    fitting.chain([MARK]).collect()
}

/// The size of a character in a `grpc-message`, which tonic percent-encodes byte by byte.
fn encoded(c: char) -> usize {
    let plain = c.is_ascii_graphic() && !matches!(c, '"' | '#' | '%' | '<' | '>' | '`' | '?' | '{' | '}');
    if plain { 1 } else { 3 * c.len_utf8() }
}
