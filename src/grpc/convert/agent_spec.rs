//! What an agent is made of, held to the rules of the contract; and the same from a configuration.

use std::collections::BTreeMap;

use prost::Message;
use serde_json::Value;

use super::{
    completion,
    path::Path,
    rules, tool,
    violations::{self, Rules, Violations},
};
use crate::{
    domain::{AgentId, Failure, Tool, Violation, agent::AgentSpec},
    engine::AgentChanges,
    proto::{self, json::from_json, tool::Kind},
};

/// All that can be changed, as masks name it.
pub(super) const FIELDS: [&str; 9] = [
    "name",
    "description",
    "model",
    "fallback_models",
    "instructions",
    "tools",
    "completion_args",
    "handoffs",
    "metadata",
];

/// It comes back in one message, with room for what is output only.
const MAX_BYTES: usize = 3 << 20;
const MAX_NAME: usize = 64;
const MAX_DESCRIPTION: usize = 8192;
const MAX_FALLBACKS: usize = 8;
const MAX_HANDOFFS: usize = 32;

/// The fields of an agent that are asked for, checked. What is output only does not matter.
pub(super) fn read(
    at: &Path<'_>,
    agent: proto::Agent,
    is_asked: impl Fn(&str) -> bool,
    violations: &mut Violations,
) -> AgentChanges {
    let size = agent.encoded_len();
    if size > MAX_BYTES {
        violations
            .add(at, format_args!("must be at most {MAX_BYTES} bytes, has {size}: shorten instructions or schemas"));
        return AgentChanges::default();
    }
    let proto::Agent {
        id: _,
        name,
        description,
        model,
        fallback_models,
        instructions,
        tools,
        completion_args,
        handoffs,
        metadata,
        version: _,
        current_version: _,
        version_count: _,
        version_message: _,
        aliases: _,
        etag: _,
        source: _,
        created_at: _,
        version_created_at: _,
    } = agent;
    let v = violations;
    AgentChanges {
        name: is_asked("name").then(|| read_name(at, name, v)),
        description: is_asked("description").then(|| read_description(at, description, v)),
        model: is_asked("model").then(|| read_model(at, model, v)),
        fallback_models: is_asked("fallback_models").then(|| read_fallbacks(at, fallback_models, v)),
        instructions: is_asked("instructions").then(|| read_instructions(at, instructions, v)),
        tools: is_asked("tools").then(|| read_tools(at, tools, v)),
        completion_args: is_asked("completion_args")
            .then(|| completion::read(&at.field("completion_args"), completion_args.unwrap_or_default(), v))
            .flatten(),
        handoffs: is_asked("handoffs").then(|| read_handoffs(at, handoffs, v)),
        metadata: is_asked("metadata").then(|| read_metadata(at, metadata, v)),
    }
}

fn read_name(at: &Path<'_>, name: String, violations: &mut Violations) -> String {
    let within = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'_' | b'-' | b'.');
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    let holds =
        bytes.len() <= MAX_NAME && ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(|byte| within(*byte));
    if !holds {
        violations.add(
            &at.field("name"),
            format_args!(
                "must be 1 to {MAX_NAME} letters, digits, spaces, `_`, `-` and `.`, from a letter or digit to a letter or digit; \
                 has {} bytes",
                name.len()
            ),
        );
    }
    name
}

fn read_description(at: &Path<'_>, text: String, violations: &mut Violations) -> String {
    rules::at_most(&at.field("description"), &text, MAX_DESCRIPTION, violations);
    text
}

fn read_model(at: &Path<'_>, model: String, violations: &mut Violations) -> String {
    rules::model(&at.field("model"), &model, violations);
    model
}

fn read_instructions(at: &Path<'_>, text: String, violations: &mut Violations) -> String {
    rules::instructions(&at.field("instructions"), &text, violations);
    text
}

fn read_metadata(
    at: &Path<'_>,
    pairs: BTreeMap<String, String>,
    violations: &mut Violations,
) -> BTreeMap<String, String> {
    rules::metadata(at, &pairs, violations);
    pairs
}

fn read_tools(at: &Path<'_>, tools: Vec<proto::Tool>, violations: &mut Violations) -> Vec<Tool> {
    check_connectors(at, &tools, violations);
    tool::read_all(at, tools, violations)
}

fn read_fallbacks(at: &Path<'_>, models: Vec<String>, violations: &mut Violations) -> Vec<String> {
    if models.len() > MAX_FALLBACKS {
        let at = at.field("fallback_models");
        violations.add(&at, format_args!("must be at most {MAX_FALLBACKS} models, has {}", models.len()));
    }
    for (i, model) in models.iter().enumerate().take(MAX_FALLBACKS) {
        let at = at.item("fallback_models", i);
        rules::model(&at, model, violations);
        if models[..i].contains(model) {
            violations.add(&at, format_args!("must not be named twice"));
        }
    }
    models
}

fn read_handoffs(at: &Path<'_>, handoffs: Vec<String>, violations: &mut Violations) -> Vec<String> {
    check_handoff_count(at, handoffs.len(), violations);
    for (i, id) in handoffs.iter().enumerate().take(MAX_HANDOFFS) {
        let at = at.item("handoffs", i);
        if id.starts_with("ag_") {
            violations.add(&at, format_args!("is an agent that Mistral hosts, which can't take over: make one here"));
        } else if id.parse::<AgentId>().is_err() {
            violations.add(&at, format_args!("must be an agent's id: agent_ followed by 32 hex digits"));
        } else if handoffs[..i].contains(id) {
            violations.add(&at, format_args!("must not be named twice"));
        }
    }
    handoffs
}

fn check_handoff_count(at: &Path<'_>, count: usize, violations: &mut Violations) {
    if count > MAX_HANDOFFS {
        violations.add(&at.field("handoffs"), format_args!("must be at most {MAX_HANDOFFS} agents, has {count}"));
    }
}

/// Mistral takes confirmations only in conversations that it stores, and it is given none to store.
fn check_connectors(at: &Path<'_>, tools: &[proto::Tool], violations: &mut Violations) {
    for (i, tool) in tools.iter().enumerate() {
        let (field, confirmed) = match &tool.kind {
            Some(Kind::WebSearch(tool)) => ("web_search", &tool.requires_confirmation),
            Some(Kind::WebSearchPremium(tool)) => ("web_search_premium", &tool.requires_confirmation),
            Some(Kind::CodeInterpreter(tool)) => ("code_interpreter", &tool.requires_confirmation),
            Some(Kind::ImageGeneration(tool)) => ("image_generation", &tool.requires_confirmation),
            Some(Kind::DocumentLibrary(tool)) => ("document_library", &tool.requires_confirmation),
            Some(Kind::Connector(tool)) => ("connector", &tool.requires_confirmation),
            Some(Kind::Function(_) | Kind::Mcp(_) | Kind::HttpRequest(_) | Kind::HumanHandoff(_)) | None => continue,
        };
        if !confirmed.is_empty() {
            let at = at.item("tools", i);
            let at = at.field(field);
            violations.add(
                &at.field("requires_confirmation"),
                format_args!("must be left out: Mistral asks for consent only in conversations that it stores itself"),
            );
        }
    }
}

/// An agent as a configuration declares it.
#[derive(Debug, Clone, Default)]
pub struct Declaration {
    /// Where it stands, as faults tell it.
    pub place: String,
    /// As in Agent.
    pub name: String,
    /// As in Agent.
    pub description: String,
    /// As in Agent.
    pub model: String,
    /// As in Agent.
    pub fallback_models: Vec<String>,
    /// As in Agent.
    pub instructions: String,
    /// Tools in protobuf's JSON.
    pub tools: Vec<Value>,
    /// CompletionArgs in protobuf's JSON.
    pub completion_args: Option<Value>,
    /// Names of declared agents, or ids: whether they lead somewhere is not checked here.
    pub handoffs: Vec<String>,
    /// As in Agent.
    pub metadata: BTreeMap<String, String>,
}

impl Declaration {
    /// What it is, held to the rules of the contract; or everything that is wrong, by its place.
    pub fn read(self) -> Result<AgentSpec, Failure> {
        let Declaration {
            place,
            name,
            description,
            model,
            fallback_models,
            instructions,
            tools,
            completion_args,
            handoffs,
            metadata,
        } = self;
        let mut faults = Vec::new();
        let mut agent =
            proto::Agent { name, description, model, fallback_models, instructions, metadata, ..Default::default() };
        for (i, tool) in tools.into_iter().enumerate() {
            match from_json("causerie.v1.Tool", tool) {
                Ok(tool) => agent.tools.push(tool),
                Err(error) => faults.push(unreadable(format!("{place}.tools[{i}]"), &error)),
            }
        }
        if let Some(args) = completion_args {
            match from_json("causerie.v1.CompletionArgs", args) {
                Ok(args) => agent.completion_args = Some(args),
                Err(error) => faults.push(unreadable(format!("{place}.completion_args"), &error)),
            }
        }
        if !faults.is_empty() {
            return Err(Failure::invalid(faults));
        }
        let spec = violations::read(Rules::All, |violations| {
            let at = Path::root(&place);
            check_handoff_count(&at, handoffs.len(), violations);
            let spec = read(&at, agent, |field| field != "handoffs", violations).of(AgentSpec::default());
            if !spec.has_chosen_tool() {
                let (at, name) = (at.field("completion_args"), "tool_choice.function_name");
                violations.add(&at.field(name), format_args!("must name one of the agent's tools"));
            }
            Some(spec)
        })?;
        Ok(AgentSpec { handoffs, ..spec })
    }
}

fn unreadable(field: String, error: &serde_json::Error) -> Violation {
    Violation { field, description: format!("cannot be read: {error}") }
}
