//! Messages as protobuf's JSON. Export records as lines of it: the canonical protobuf JSON of `ExportRecord`, with the keys of every object in
//! alphabetical order, so that the same record is always the same line.

use std::{error::Error, fmt, sync::LazyLock};

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use prost_types::{FileDescriptorProto, FileDescriptorSet};

use crate::proto::{self, ExportRecord};

/// Built once: decoding the descriptors costs more than many records.
static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| pool().expect("both descriptor sets were made by compilers"));
static RECORD: LazyLock<MessageDescriptor> = LazyLock::new(|| descriptor("causerie.v1.ExportRecord"));

fn descriptor(name: &str) -> MessageDescriptor {
    POOL.get_message_by_name(name).expect("the contract has this message")
}

/// The contract, and the error details of google.rpc, which turns carry as `Any`.
fn pool() -> Result<DescriptorPool, Box<dyn Error>> {
    let mut pool = DescriptorPool::decode(proto::FILE_DESCRIPTOR_SET)?;
    let details = FileDescriptorSet::decode(tonic_types::pb::FILE_DESCRIPTOR_SET)?;
    // The two sets name google/rpc/status.proto differently, so it has to be known by what it defines.
    let is_known = |file: &FileDescriptorProto| {
        let name =
            file.message_type.first().map_or(String::new(), |first| format!("{}.{}", file.package(), first.name()));
        pool.get_message_by_name(&name).is_some()
    };
    let missing: Vec<_> = details.file.into_iter().filter(|file| !is_known(file)).collect();
    pool.add_file_descriptor_protos(missing)?;
    Ok(pool)
}

/// Why a line is no record, or a record no line.
#[derive(Debug)]
pub(super) struct JsonError {
    /// Where in the line, from 1; 0 if it is about the whole.
    pub(super) column: usize,
    text: String,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> JsonError {
        let position = format!(" at line {} column {}", error.line(), error.column());
        JsonError { column: error.column(), text: error.to_string().replace(&position, "") }
    }
}

/// A record as a line, without the line's end.
pub(super) fn to_line(record: &ExportRecord) -> Result<String, JsonError> {
    let mut message = DynamicMessage::new(RECORD.clone());
    message.transcode_from(record).expect("both are the same message");
    let mut value = message.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::default())?;
    // Protobuf maps have no order of their own.
    value.sort_all_objects();
    Ok(value.to_string())
}

/// The message of this name as a person reads it, with the end of its last line.
pub(super) fn to_text(name: &str, message: &impl Message) -> Result<String, JsonError> {
    let mut dynamic = DynamicMessage::new(descriptor(name));
    dynamic.transcode_from(message).expect("both are the same message");
    let mut value = dynamic.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::default())?;
    value.sort_all_objects();
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}

/// The message of this name that a text holds. Unknown fields are errors.
pub(super) fn from_text<M: Message + Default>(name: &str, text: &str) -> Result<M, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    let message = DynamicMessage::deserialize(descriptor(name), &mut json)?;
    json.end()?;
    Ok(message.transcode_to().expect("both are the same message"))
}

/// The record that a line holds. Unknown fields are errors: dropping them silently would lose data.
pub(super) fn from_line(line: &str) -> Result<ExportRecord, JsonError> {
    let mut json = serde_json::Deserializer::from_str(line);
    let message = DynamicMessage::deserialize(RECORD.clone(), &mut json)?;
    json.end()?;
    Ok(message.transcode_to().expect("both are the same message"))
}

#[cfg(test)]
mod tests;
