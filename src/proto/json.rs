//! Messages of the contract as protobuf's JSON, with the keys of every object in alphabetical order.

use std::{error::Error, sync::LazyLock};

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, SerializeOptions};
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use serde::Deserializer;
use serde_json::{Map, Value};

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

/// The message of this name whose fields stand in the parameters of a query, as `google.api.http` has it: each under its name,
/// several times for a list, as `field.key` for an entry of a map.
///
/// # Errors
///
/// The parameter that is wrong, and what it must be.
pub(crate) fn from_query<'q, M: Message + Default>(
    name: &str,
    parameters: impl IntoIterator<Item = (&'q str, &'q str)>,
) -> Result<M, (String, String)> {
    let descriptor = descriptor(name);
    let mut json = Map::new();
    for (parameter, text) in parameters {
        let wrong = |why: String| (parameter.to_owned(), why);
        let (field, key) = parameter.split_once('.').map_or((parameter, None), |(field, key)| (field, Some(key)));
        let field = descriptor.get_field_by_name(field).ok_or_else(|| wrong(unknown(&descriptor)))?;
        set(&mut json, &field, key, text).map_err(|why| wrong(why.to_owned()))?;
        // One after the other, so that it is known which one is wrong.
        let alone = Map::from_iter([(field.name().to_owned(), json[field.name()].clone())]);
        DynamicMessage::deserialize(descriptor.clone(), Value::Object(alone))
            .map_err(|error| wrong(error.to_string()))?;
    }
    from_json(name, Value::Object(json)).map_err(|error: serde_json::Error| ("query".to_owned(), error.to_string()))
}

fn unknown(descriptor: &MessageDescriptor) -> String {
    let names: Vec<_> = descriptor.fields().map(|field| field.name().to_owned()).collect();
    format!("is no parameter here; these are: {}", names.join(", "))
}

fn set(
    json: &mut Map<String, Value>,
    field: &FieldDescriptor,
    key: Option<&str>,
    text: &str,
) -> Result<(), &'static str> {
    let name = field.name().to_owned();
    let value = match (field.kind(), text) {
        (Kind::Bool, "true") => Value::Bool(true),
        (Kind::Bool, "false") => Value::Bool(false),
        (Kind::Bool, _) => return Err("must be true or false"),
        _ => Value::from(text),
    };
    match (field.is_map(), key) {
        (true, None) => return Err("must have a key, as in metadata.user=ada"),
        (false, Some(_)) => return Err("has no fields of its own"),
        (true, Some(key)) => {
            let pairs = json.entry(name).or_insert_with(|| Value::Object(Map::new()));
            let before = pairs.as_object_mut().and_then(|pairs| pairs.insert(key.to_owned(), text.into()));
            before.map_or(Ok(()), |_| Err("must be given once"))
        }
        (false, None) if field.is_list() => {
            let items = json.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            items.as_array_mut().into_iter().for_each(|items| items.push(value.clone()));
            Ok(())
        }
        (false, None) => json.insert(name, value).map_or(Ok(()), |_| Err("must be given once")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ListConversationsRequest;

    fn read(query: &[(&str, &str)]) -> Result<ListConversationsRequest, (String, String)> {
        from_query("causerie.v1.ListConversationsRequest", query.iter().copied())
    }

    #[test]
    fn parameters_are_the_fields_of_the_request() {
        let query = [("page_size", "7"), ("heads_only", "true"), ("metadata.a.b", "1"), ("metadata.c", "x=y")];
        let request = read(&query).expect("all are fields");
        assert_eq!((request.page_size, request.heads_only), (7, true));
        let metadata: Vec<_> = request.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(metadata, [("a.b", "1"), ("c", "x=y")]);
        let kinds = [("kinds", "ENTRY_KIND_MESSAGE_INPUT"), ("kinds", "ENTRY_KIND_MESSAGE_OUTPUT")];
        let request: crate::proto::ListEntriesRequest =
            from_query("causerie.v1.ListEntriesRequest", kinds).expect("both are kinds");
        assert_eq!(request.kinds, [1, 2]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases: [(&[(&str, &str)], &str, &str); 6] = [
            (&[("pagesize", "7")], "pagesize", "is no parameter here; these are: page_size, "),
            (&[("page_size", "many")], "page_size", "invalid"),
            (&[("heads_only", "yes")], "heads_only", "must be true or false"),
            (&[("model", "a"), ("model", "b")], "model", "must be given once"),
            (&[("metadata", "b")], "metadata", "must have a key"),
            (&[("model.name", "b")], "model.name", "has no fields"),
        ];
        for (query, parameter, why) in cases {
            let (of, text) = read(query).expect_err("it is wrong");
            assert_eq!(of, parameter);
            assert!(text.starts_with(why), "{parameter}: {text}");
        }
    }
}
