//! Agents.

use super::{path::Path, violations::Violations};
use crate::domain::agent::AgentPin;

const MAX_ALIAS: usize = 64;

/// The version of an agent that is kept to, as the wire has it.
pub(super) fn write_pin(pin: Option<&AgentPin>) -> String {
    match pin {
        None => String::new(),
        Some(AgentPin::Version(version)) => version.to_string(),
        Some(AgentPin::Alias(alias)) => alias.clone(),
    }
}

/// The version of an agent to keep to: a number or an alias. `None`: none is named, or a violation was added.
pub(super) fn read_pin(at: &Path<'_>, text: &str, violations: &mut Violations) -> Option<AgentPin> {
    if text.is_empty() {
        return None;
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let version = text.parse().ok().filter(|version| *version > 0);
        if version.is_none() {
            violations.add(at, format_args!("must be a version's number from 1, or an alias"));
        }
        return version.map(AgentPin::Version);
    }
    if !is_alias(text) {
        violations.add(at, format_args!("must be a version's number, or an alias: {ALIAS_RULE}"));
        return None;
    }
    Some(AgentPin::Alias(text.to_owned()))
}

/// What an alias is made of, as a caller is told.
const ALIAS_RULE: &str = "1 to 64 lowercase letters, digits, `_` and `-`, from a letter to a letter or digit";

/// Mistral's rule: `^[a-z]([a-z0-9_-]*[a-z0-9])?$`.
fn is_alias(text: &str) -> bool {
    let within = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    let ends = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= MAX_ALIAS
        && text.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
        && text.as_bytes().last().is_some_and(ends)
        && text.bytes().all(within)
}
