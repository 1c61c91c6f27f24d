//! The rules that several messages share. Descriptions tell sizes and numbers, never the text itself.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use super::{path::Path, violations::Violations};
use crate::domain::{AgentId, BatchId, ConversationId, DeliveryId, EntryId, TurnId, WebhookId};

const MIB: usize = 1 << 20;
/// An address or a data URI, and what InputAudio holds.
const MAX_URL: usize = MIB;
/// Instructions.
const MAX_INSTRUCTIONS: usize = MIB;
const MAX_PAIRS: usize = 64;
const MAX_KEY: usize = 64;
const MAX_VALUE: usize = 512;
const MAX_NAME: usize = 64;

/// 1 to `max` visible ASCII characters.
pub(super) fn visible_ascii(at: &Path<'_>, text: &str, max: usize, violations: &mut Violations) {
    let other = text.chars().filter(|c| !c.is_ascii_graphic()).count();
    if text.is_empty() {
        violations.add(at, format_args!("is required: 1 to {max} visible ASCII characters"));
    } else if text.len() > max {
        violations.add(at, format_args!("must be 1 to {max} visible ASCII characters, has {} bytes", text.len()));
    } else if other > 0 {
        violations
            .add(at, format_args!("must be 1 to {max} visible ASCII characters, {other} of its characters are not"));
    }
}

/// The name of a model: `name`, or `provider/name`.
pub(super) fn model(at: &Path<'_>, name: &str, violations: &mut Violations) {
    visible_ascii(at, name, 256, violations);
    if name.starts_with('/') || name.ends_with('/') {
        violations.add(at, format_args!("must be `name` or `provider/name`; it begins or ends with a slash"));
    }
}

/// The id of an agent.
pub(super) fn agent_id(at: &Path<'_>, id: &str, violations: &mut Violations) {
    visible_ascii(at, id, 256, violations);
}

/// The id of a function call.
pub(super) fn tool_call_id(at: &Path<'_>, id: &str, violations: &mut Violations) {
    visible_ascii(at, id, 256, violations);
}

/// The caller's id of a request.
pub(super) fn request_id(at: &Path<'_>, id: &str, violations: &mut Violations) {
    visible_ascii(at, id, 128, violations);
}

/// The name of a function or a schema.
pub(super) fn name(at: &Path<'_>, name: &str, violations: &mut Violations) {
    let other = name.chars().filter(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))).count();
    if name.is_empty() {
        violations.add(at, format_args!("is required: 1 to {MAX_NAME} letters, digits, `_` and `-`"));
    } else if name.len() > MAX_NAME {
        violations
            .add(at, format_args!("must be 1 to {MAX_NAME} letters, digits, `_` and `-`, has {} bytes", name.len()));
    } else if other > 0 {
        violations
            .add(at, format_args!("must be letters, digits, `_` and `-` only, {other} of its characters are others"));
    }
}

/// A text that may not be empty.
pub(super) fn required(at: &Path<'_>, text: &str, violations: &mut Violations) {
    if text.is_empty() {
        violations.add(at, format_args!("is required"));
    }
}

/// A text of at most `max` bytes.
pub(super) fn at_most(at: &Path<'_>, text: &str, max: usize, violations: &mut Violations) {
    if text.len() > max {
        violations.add(at, format_args!("must be at most {max} bytes, has {}: shorten it", text.len()));
    }
}

/// The system text.
pub(super) fn instructions(at: &Path<'_>, text: &str, violations: &mut Violations) {
    at_most(at, text, MAX_INSTRUCTIONS, violations);
}

/// An https address or a data URI. Providers fetch neither plain http nor anything else.
pub(super) fn url(at: &Path<'_>, url: &str, violations: &mut Violations) {
    let https = starts_with(url, "https://") && url.len() > "https://".len();
    let data = starts_with(url, "data:") && url.contains(',');
    if url.is_empty() {
        violations.add(at, format_args!("is required: an https address or a data URI"));
    } else if url.len() > MAX_URL {
        violations.add(at, format_args!("must be at most {MAX_URL} bytes, has {}: give a smaller file", url.len()));
    } else if !https && !data {
        violations.add(at, format_args!("must be an https address (https://…) or a data URI (data:…,…)"));
    } else if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        violations.add(at, format_args!("must not contain spaces or control characters: percent-encode them"));
    }
}

/// Base64 of an audio file, or an https address.
pub(super) fn audio(at: &Path<'_>, data: &str, violations: &mut Violations) {
    if starts_with(data, "https://") {
        return url(at, data, violations);
    }
    let body = data.trim_end_matches('=');
    let alphabet = body.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'));
    let whole = data.len() - body.len() <= 2 && body.len() % 4 != 1;
    if data.is_empty() {
        violations.add(at, format_args!("is required: base64 of an audio file, or an https address"));
    } else if data.len() > MAX_URL {
        violations
            .add(at, format_args!("must be at most {MAX_URL} bytes, has {}: give a shorter recording", data.len()));
    } else if !(alphabet && whole) {
        violations.add(at, format_args!("must be base64 of an audio file without line breaks, or an https address"));
    }
}

/// The caller's own pairs.
pub(super) fn metadata(at: &Path<'_>, pairs: &BTreeMap<String, String>, violations: &mut Violations) {
    if pairs.len() > MAX_PAIRS {
        violations.add(&at.field("metadata"), format_args!("must be at most {MAX_PAIRS} pairs, has {}", pairs.len()));
    }
    for (key, value) in pairs {
        if key.is_empty() || key.len() > MAX_KEY {
            // The key itself would make the path as long as it is.
            let at = at.field("metadata");
            violations.add(&at, format_args!("keys must be 1 to {MAX_KEY} bytes, one has {}", key.len()));
        } else if value.len() > MAX_VALUE {
            let at = at.pair("metadata", key);
            violations.add(&at, format_args!("must be at most {MAX_VALUE} bytes, has {}: shorten it", value.len()));
        }
    }
}

/// The id of a version.
pub(super) fn conversation_id(at: &Path<'_>, text: &str, violations: &mut Violations) -> Option<ConversationId> {
    id(at, text, violations)
}

/// The id of a version, or none. The outer `None` is a violation.
pub(super) fn optional_conversation_id(
    at: &Path<'_>,
    text: &str,
    violations: &mut Violations,
) -> Option<Option<ConversationId>> {
    if text.is_empty() { Some(None) } else { id(at, text, violations).map(Some) }
}

/// The id of a turn.
pub(super) fn turn_id(at: &Path<'_>, text: &str, violations: &mut Violations) -> Option<TurnId> {
    id(at, text, violations)
}

/// The id of a batch.
pub(super) fn batch_id(at: &Path<'_>, text: &str, violations: &mut Violations) -> Option<BatchId> {
    id(at, text, violations)
}

/// The id of an entry.
pub(super) fn entry_id(at: &Path<'_>, text: &str, violations: &mut Violations) -> Option<EntryId> {
    id(at, text, violations)
}

/// The id of an agent of this service.
pub(super) fn own_agent_id(at: &Path<'_>, text: &str, violations: &mut Violations) -> Option<AgentId> {
    id(at, text, violations)
}

/// The id of a webhook.
pub(super) fn webhook_id(at: &Path<'_>, text: &str, violations: &mut Violations) -> Option<WebhookId> {
    id(at, text, violations)
}

/// The id of a delivery.
pub(super) fn delivery_id(at: &Path<'_>, text: &str, violations: &mut Violations) -> Option<DeliveryId> {
    id(at, text, violations)
}

/// An empty text is the wire's way to say nothing.
pub(super) fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// An enum's number that this release does not know.
pub(super) fn unknown_number(at: &Path<'_>, number: i32, violations: &mut Violations) {
    violations.add(at, format_args!("has no value with the number {number} in this release"));
}

fn id<Id: FromStr<Err: Display>>(at: &Path<'_>, text: &str, violations: &mut Violations) -> Option<Id> {
    if text.is_empty() {
        violations.add(at, format_args!("is required"));
        return None;
    }
    match text.parse() {
        Ok(id) => Some(id),
        Err(error) => {
            violations.add(at, format_args!("{error}, has {} bytes", text.len()));
            None
        }
    }
}

fn starts_with(url: &str, scheme: &str) -> bool {
    url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}
