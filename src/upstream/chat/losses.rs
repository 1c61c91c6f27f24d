//! What a provider is not told of a history: what is left out and noted, and what is refused because an answer without it would
//! be a wrong one.

use std::sync::Arc;

use super::{
    content,
    dialect::{Place, Taken, Target},
};
use crate::domain::{
    Body, Chunk, Entry, Failure, Omission, OmissionKind,
    entry::{FunctionResult, MessageInput, MessageOutput, Role, Thinking, ToolExecution},
    failure::Violation,
};

/// What is left out of a history so far.
#[derive(Clone, Default)]
pub(super) struct Losses {
    omissions: Vec<Omission>,
}

impl Losses {
    /// One for each kind.
    pub(super) fn omissions(&self) -> &[Omission] {
        &self.omissions
    }

    /// Takes more entries of the history.
    pub(super) fn take(&mut self, entries: &[Arc<Entry>], target: Target<'_>) -> Result<(), Failure> {
        let mut refused = Vec::new();
        for entry in entries {
            let Some((place, chunks)) = content_of(&entry.body) else { continue };
            for (index, chunk) in chunks.iter().enumerate() {
                if let Some(kind) = omitted(chunk, place, target) {
                    Omission::note(&mut self.omissions, kind, entry.id);
                }
                if let Taken::Refused(instead) = target.takes(chunk, place) {
                    refused.push(violation(entry, index, chunk, instead, target));
                }
            }
        }
        if refused.is_empty() {
            return Ok(());
        }
        Err(Failure::invalid(refused).with("provider", target.provider))
    }
}

fn content_of(body: &Body) -> Option<(Place, &[Chunk])> {
    match body {
        Body::MessageInput(MessageInput { role, content, prefix: _ }) => {
            let place = match role {
                Role::System => Place::System,
                Role::User => Place::User,
                Role::Assistant => Place::Assistant,
            };
            Some((place, content))
        }
        Body::MessageOutput(MessageOutput { content, status: _, segments: _ }) => Some((Place::Assistant, content)),
        Body::FunctionResult(FunctionResult { content, .. }) => Some((Place::Result, content)),
        Body::ToolExecution(ToolExecution { result, .. }) => Some((Place::Execution, result)),
        Body::FunctionCall(_) | Body::AgentHandoff(_) | Body::HumanHandoff(_) => None,
    }
}

/// A provider's own thinking that its dialect never takes back is none: its models do not expect it.
fn omitted(chunk: &Chunk, place: Place, target: Target<'_>) -> Option<OmissionKind> {
    match chunk {
        Chunk::Thinking(thinking) => {
            let own = place == Place::Assistant && is_own(thinking, target);
            (!own && !content::is_replayed(thinking, place, target)).then_some(OmissionKind::Thinking)
        }
        Chunk::Reference { .. } => Some(OmissionKind::References),
        Chunk::Text(_)
        | Chunk::ImageUrl { .. }
        | Chunk::DocumentUrl { .. }
        | Chunk::ToolFile { .. }
        | Chunk::ToolReference { .. }
        | Chunk::InputAudio { .. }
        | Chunk::File { .. } => None,
    }
}

fn is_own(thinking: &Thinking, target: Target<'_>) -> bool {
    thinking.provider == target.provider
}

fn violation(entry: &Entry, index: usize, chunk: &Chunk, instead: &str, target: Target<'_>) -> Violation {
    Violation {
        field: format!("entries[{}].content[{index}]", entry.id),
        description: format!(
            "is a chunk of the kind {} that {} does not take: {instead}, restart from before this entry, or use another provider",
            kind(chunk),
            target.provider
        ),
    }
}

/// As the contract names it.
fn kind(chunk: &Chunk) -> &'static str {
    match chunk {
        Chunk::Text(_) => "text",
        Chunk::ImageUrl { .. } => "image_url",
        Chunk::DocumentUrl { .. } => "document_url",
        Chunk::Thinking(_) => "thinking",
        Chunk::ToolFile { .. } => "tool_file",
        Chunk::ToolReference { .. } => "tool_reference",
        Chunk::InputAudio { .. } => "input_audio",
        Chunk::File { .. } => "file",
        Chunk::Reference { .. } => "reference",
    }
}
