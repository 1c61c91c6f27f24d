//! Chunks on disk.

use prost::{Message, Oneof};

use super::{Damaged, required};
use crate::domain::{Chunk, entry::Thinking};

/// A chunk.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ChunkRecord {
    #[prost(oneof = "ChunkKind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9")]
    kind: Option<ChunkKind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum ChunkKind {
    #[prost(string, tag = "1")]
    Text(String),
    /// url, detail.
    #[prost(message, tag = "2")]
    ImageUrl(Texts),
    /// url, name.
    #[prost(message, tag = "3")]
    DocumentUrl(Texts),
    #[prost(message, tag = "4")]
    Thinking(ThinkingRecord),
    /// tool, file id, file name, file type.
    #[prost(message, tag = "5")]
    ToolFile(Texts),
    /// tool, title, url, favicon, description.
    #[prost(message, tag = "6")]
    ToolReference(Texts),
    #[prost(string, tag = "7")]
    InputAudio(String),
    #[prost(string, tag = "8")]
    File(String),
    #[prost(message, tag = "9")]
    Reference(Texts),
}

/// Strings in a fixed order.
#[derive(Clone, PartialEq, Message)]
struct Texts {
    #[prost(string, repeated, tag = "1")]
    texts: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct ThinkingRecord {
    #[prost(message, repeated, tag = "1")]
    content: Vec<ChunkRecord>,
    #[prost(string, tag = "2")]
    signature: String,
    #[prost(bool, tag = "3")]
    closed: bool,
    #[prost(string, tag = "4")]
    provider: String,
}

/// Chunks as they are written.
pub(super) fn chunk_records(chunks: &[Chunk]) -> Vec<ChunkRecord> {
    chunks.iter().map(ChunkRecord::from).collect()
}

/// Chunks as they were read.
pub(super) fn chunks(records: Vec<ChunkRecord>) -> Result<Vec<Chunk>, Damaged> {
    records.into_iter().map(Chunk::try_from).collect()
}

fn texts<const N: usize>(texts: [&String; N]) -> Texts {
    Texts { texts: texts.map(String::clone).to_vec() }
}

fn fields<const N: usize>(texts: Texts) -> Result<[String; N], Damaged> {
    texts.texts.try_into().map_err(|_| Damaged("a chunk has the wrong number of fields"))
}

impl From<&Chunk> for ChunkRecord {
    fn from(chunk: &Chunk) -> ChunkRecord {
        let kind = match chunk {
            Chunk::Text(text) => ChunkKind::Text(text.clone()),
            Chunk::ImageUrl { url, detail } => ChunkKind::ImageUrl(texts([url, detail])),
            Chunk::DocumentUrl { url, name } => ChunkKind::DocumentUrl(texts([url, name])),
            Chunk::Thinking(Thinking { content, signature, closed, provider }) => ChunkKind::Thinking(ThinkingRecord {
                content: chunk_records(content),
                signature: signature.clone(),
                closed: *closed,
                provider: provider.clone(),
            }),
            Chunk::ToolFile { tool, file_id, file_name, file_type } => {
                ChunkKind::ToolFile(texts([tool, file_id, file_name, file_type]))
            }
            Chunk::ToolReference { tool, title, url, favicon, description } => {
                ChunkKind::ToolReference(texts([tool, title, url, favicon, description]))
            }
            Chunk::InputAudio { data } => ChunkKind::InputAudio(data.clone()),
            Chunk::File { file_id } => ChunkKind::File(file_id.clone()),
            Chunk::Reference { reference_ids } => ChunkKind::Reference(Texts { texts: reference_ids.clone() }),
        };
        ChunkRecord { kind: Some(kind) }
    }
}

impl TryFrom<ChunkRecord> for Chunk {
    type Error = Damaged;

    fn try_from(record: ChunkRecord) -> Result<Chunk, Damaged> {
        Ok(match required(record.kind)? {
            ChunkKind::Text(text) => Chunk::Text(text),
            ChunkKind::ImageUrl(texts) => {
                let [url, detail] = fields(texts)?;
                Chunk::ImageUrl { url, detail }
            }
            ChunkKind::DocumentUrl(texts) => {
                let [url, name] = fields(texts)?;
                Chunk::DocumentUrl { url, name }
            }
            ChunkKind::Thinking(ThinkingRecord { content, signature, closed, provider }) => {
                Chunk::Thinking(Thinking { content: chunks(content)?, signature, closed, provider })
            }
            ChunkKind::ToolFile(texts) => {
                let [tool, file_id, file_name, file_type] = fields(texts)?;
                Chunk::ToolFile { tool, file_id, file_name, file_type }
            }
            ChunkKind::ToolReference(texts) => {
                let [tool, title, url, favicon, description] = fields(texts)?;
                Chunk::ToolReference { tool, title, url, favicon, description }
            }
            ChunkKind::InputAudio(data) => Chunk::InputAudio { data },
            ChunkKind::File(file_id) => Chunk::File { file_id },
            ChunkKind::Reference(Texts { texts }) => Chunk::Reference { reference_ids: texts },
        })
    }
}
