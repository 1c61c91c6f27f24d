//! Messages of the contract as protobuf's JSON, with the keys of every object in alphabetical order.

use std::{error::Error, sync::LazyLock};

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use serde::Deserializer;
use serde_json::Value;

/// Built once: decoding the descriptors costs more than many messages.
static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| pool().expect("both descriptor sets were made by compilers"));

/// The contract, and the error details of google.rpc, which turns carry as `Any`.
fn pool() -> Result<DescriptorPool, Box<dyn Error>> {
    let mut pool = DescriptorPool::decode(super::FILE_DESCRIPTOR_SET)?;
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

fn descriptor(name: &str) -> MessageDescriptor {
    POOL.get_message_by_name(name).expect("the contract has this message")
}

/// The message of this name as JSON.
pub(crate) fn to_json(name: &str, message: &impl Message) -> Result<Value, serde_json::Error> {
    let mut dynamic = DynamicMessage::new(descriptor(name));
    dynamic.transcode_from(message).expect("both are the same message");
    let mut value = dynamic.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::default())?;
    // Protobuf maps have no order of their own.
    value.sort_all_objects();
    Ok(value)
}

/// The message of this name that JSON holds. Unknown fields are errors: dropping them silently would lose data.
pub(crate) fn from_json<'de, M: Message + Default, D: Deserializer<'de>>(name: &str, json: D) -> Result<M, D::Error> {
    let message = DynamicMessage::deserialize(descriptor(name), json)?;
    Ok(message.transcode_to().expect("both are the same message"))
}
