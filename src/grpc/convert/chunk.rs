//! Pieces of content, and which of them may stand where.

use super::{path::Path, rules, violations::Violations};
use crate::{
    domain::{Chunk, entry::Thinking},
    proto::{self, chunk::Kind},
};

/// Where chunks stand. Every place takes its own kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    System,
    User,
    Assistant,
    Output,
    FunctionResult,
    ToolExecution,
    Thinking,
}

impl Place {
    /// The kinds that are taken here, for a person.
    fn kinds(self) -> &'static str {
        match self {
            Place::System => "text",
            Place::User => "text, image_url, document_url, input_audio and file",
            Place::Assistant | Place::Output => "text, thinking, reference, tool_reference and tool_file",
            Place::FunctionResult => "text and image_url",
            Place::ToolExecution => "all",
            Place::Thinking => "text, reference and tool_reference",
        }
    }

    fn takes(self, chunk: &Chunk) -> bool {
        match (self, chunk) {
            (Place::ToolExecution, _) | (_, Chunk::Text(_)) => true,
            (Place::User | Place::FunctionResult, Chunk::ImageUrl { .. }) => true,
            (Place::User, Chunk::DocumentUrl { .. } | Chunk::InputAudio { .. } | Chunk::File { .. }) => true,
            (Place::Assistant | Place::Output, Chunk::Thinking(_) | Chunk::ToolFile { .. }) => true,
            (
                Place::Assistant | Place::Output | Place::Thinking,
                Chunk::Reference { .. } | Chunk::ToolReference { .. },
            ) => true,
            (
                Place::System
                | Place::User
                | Place::Assistant
                | Place::Output
                | Place::FunctionResult
                | Place::Thinking,
                _,
            ) => false,
        }
    }
}

/// A chunk as the wire has it.
pub fn write(chunk: &Chunk) -> proto::Chunk {
    let kind = match chunk {
        Chunk::Text(text) => Kind::Text(text.clone()),
        Chunk::ImageUrl { url, detail } => Kind::ImageUrl(proto::ImageUrl { url: url.clone(), detail: detail.clone() }),
        Chunk::DocumentUrl { url, name } => {
            Kind::DocumentUrl(proto::DocumentUrl { url: url.clone(), name: name.clone() })
        }
        Chunk::Thinking(Thinking { content, signature, closed, provider }) => Kind::Thinking(proto::Thinking {
            content: write_all(content),
            signature: signature.clone(),
            closed: Some(*closed),
            provider: provider.clone(),
        }),
        Chunk::ToolFile { tool, file_id, file_name, file_type } => Kind::ToolFile(proto::ToolFile {
            tool: tool.clone(),
            file_id: file_id.clone(),
            file_name: file_name.clone(),
            file_type: file_type.clone(),
        }),
        Chunk::ToolReference { tool, title, url, favicon, description } => Kind::ToolReference(proto::ToolReference {
            tool: tool.clone(),
            title: title.clone(),
            url: url.clone(),
            favicon: favicon.clone(),
            description: description.clone(),
        }),
        Chunk::InputAudio { data } => Kind::InputAudio(proto::InputAudio { data: data.clone() }),
        Chunk::File { file_id } => Kind::File(proto::File { file_id: file_id.clone() }),
        Chunk::Reference { reference_ids } => {
            Kind::Reference(proto::Reference { reference_ids: reference_ids.clone() })
        }
    };
    proto::Chunk { kind: Some(kind) }
}

/// Chunks as the wire has them.
pub(super) fn write_all(chunks: &[Chunk]) -> Vec<proto::Chunk> {
    chunks.iter().map(write).collect()
}

/// The chunks of the list `name` in the message at `at`.
pub(super) fn read_all(
    at: &Path<'_>,
    name: &str,
    place: Place,
    chunks: Vec<proto::Chunk>,
    violations: &mut Violations,
) -> Vec<Chunk> {
    let mut read_chunks = Vec::with_capacity(chunks.len());
    for (i, chunk) in chunks.into_iter().enumerate() {
        read_chunks.extend(read(&at.item(name, i), place, chunk, violations));
    }
    read_chunks
}

/// One chunk.
pub(super) fn read(at: &Path<'_>, place: Place, chunk: proto::Chunk, violations: &mut Violations) -> Option<Chunk> {
    let proto::Chunk { kind } = chunk;
    let Some(kind) = kind else {
        violations.add(at, format_args!("must have exactly one kind that this release knows; takes {}", place.kinds()));
        return None;
    };
    let chunk = read_kind(at, kind, violations);
    if violations.checks_limits() {
        if !place.takes(&chunk) {
            violations.add(at, format_args!("is {}; here are taken: {}", name(&chunk), place.kinds()));
        }
        check(at, &chunk, violations);
    }
    Some(chunk)
}

fn read_kind(at: &Path<'_>, kind: Kind, violations: &mut Violations) -> Chunk {
    match kind {
        Kind::Text(text) => Chunk::Text(text),
        Kind::ImageUrl(proto::ImageUrl { url, detail }) => Chunk::ImageUrl { url, detail },
        Kind::DocumentUrl(proto::DocumentUrl { url, name }) => Chunk::DocumentUrl { url, name },
        Kind::Thinking(proto::Thinking { content, signature, closed, provider }) => Chunk::Thinking(Thinking {
            content: read_all(&at.field("thinking"), "content", Place::Thinking, content, violations),
            signature,
            closed: closed.unwrap_or(true),
            provider,
        }),
        Kind::ToolFile(proto::ToolFile { tool, file_id, file_name, file_type }) => {
            Chunk::ToolFile { tool, file_id, file_name, file_type }
        }
        Kind::ToolReference(proto::ToolReference { tool, title, url, favicon, description }) => {
            Chunk::ToolReference { tool, title, url, favicon, description }
        }
        Kind::InputAudio(proto::InputAudio { data }) => Chunk::InputAudio { data },
        Kind::File(proto::File { file_id }) => Chunk::File { file_id },
        Kind::Reference(proto::Reference { reference_ids }) => Chunk::Reference { reference_ids },
    }
}

fn check(at: &Path<'_>, chunk: &Chunk, violations: &mut Violations) {
    let at = at.field(name(chunk));
    match chunk {
        Chunk::ImageUrl { url, detail } => {
            rules::url(&at.field("url"), url, violations);
            if !matches!(detail.as_str(), "" | "low" | "auto" | "high") {
                let at = at.field("detail");
                violations.add(&at, format_args!("must be \"low\", \"auto\", \"high\" or left out"));
            }
        }
        Chunk::DocumentUrl { url, name: _ } => rules::url(&at.field("url"), url, violations),
        Chunk::ToolFile { file_id, tool: _, file_name: _, file_type: _ } | Chunk::File { file_id } => {
            rules::required(&at.field("file_id"), file_id, violations);
        }
        Chunk::InputAudio { data } => rules::audio(&at.field("data"), data, violations),
        Chunk::Text(_) | Chunk::Thinking(_) | Chunk::ToolReference { .. } | Chunk::Reference { .. } => {}
    }
}

/// The name of the chunk's kind in the contract.
fn name(chunk: &Chunk) -> &'static str {
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
