//! Agents as the wire has them, and what names their versions.

use super::{completion, number, path::Path, time, tool, violations::Violations};
use crate::{
    domain::agent::{Agent, AgentPin, AgentSource, AgentSpec},
    proto,
};

const MAX_ALIAS: usize = 64;

/// An agent as the wire has it.
pub fn write(agent: &Agent) -> proto::Agent {
    let Agent {
        id,
        version,
        current_version,
        version_count,
        spec,
        version_message,
        aliases,
        source,
        created_at,
        version_created_at,
        revision: _,
    } = agent;
    let AgentSpec {
        name,
        description,
        model,
        fallback_models,
        instructions,
        tools,
        completion_args,
        handoffs,
        metadata,
    } = spec;
    proto::Agent {
        id: id.to_string(),
        name: name.clone(),
        description: description.clone(),
        model: model.clone(),
        fallback_models: fallback_models.clone(),
        instructions: instructions.clone(),
        tools: tools.iter().map(tool::write).collect(),
        completion_args: (*completion_args != Default::default()).then(|| completion::write(completion_args)),
        handoffs: handoffs.clone(),
        metadata: metadata.clone(),
        version: number::write_small(*version),
        current_version: number::write_small(*current_version),
        version_count: number::write_small(*version_count),
        version_message: version_message.clone(),
        aliases: aliases.iter().map(|(alias, version)| (alias.clone(), number::write_small(*version))).collect(),
        etag: agent.etag(),
        source: write_source(*source).into(),
        created_at: Some(time::write(*created_at)),
        version_created_at: Some(time::write(*version_created_at)),
    }
}

fn write_source(source: AgentSource) -> proto::AgentSource {
    match source {
        AgentSource::Api => proto::AgentSource::Api,
        AgentSource::Configuration => proto::AgentSource::Configuration,
    }
}

/// The revision that an etag stands for. The inner `None`: none is given; the outer one is a violation.
pub(super) fn read_etag(at: &Path<'_>, etag: &str, violations: &mut Violations) -> Option<Option<u64>> {
    if etag.is_empty() {
        return Some(None);
    }
    let revision = etag.parse().ok();
    if revision.is_none() {
        violations.add(at, format_args!("is no etag of an agent: give the one that it was read with, or leave it out"));
    }
    revision.map(Some)
}

/// A name of a version.
pub(super) fn check_alias(at: &Path<'_>, alias: &str, violations: &mut Violations) {
    if !is_alias(alias) {
        violations.add(at, format_args!("must be {ALIAS_RULE}, has {} bytes", alias.len()));
    }
}

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
