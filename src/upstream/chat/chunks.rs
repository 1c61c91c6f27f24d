//! Chunks of an answer. Read by hand from their JSON: a kind, or a field, that is not known must not break the answer.

use serde_json::{Map, Value};

use crate::domain::{Chunk, entry::Thinking};

/// The chunk; `None` for a kind that is not known, and for one that says nothing. `provider`: who thought what it thinks.
pub(super) fn decode(mut object: Map<String, Value>, provider: &str) -> Option<Chunk> {
    let kind = text(&mut object, "type");
    match kind.as_str() {
        "text" => Some(Chunk::Text(text(&mut object, "text"))),
        "thinking" => thinking(object, provider).map(Chunk::Thinking),
        "image_url" => image(object),
        "document_url" => Some(Chunk::DocumentUrl {
            url: text(&mut object, "document_url"),
            name: text(&mut object, "document_name"),
        }),
        "tool_file" => Some(Chunk::ToolFile {
            tool: text(&mut object, "tool"),
            file_id: text(&mut object, "file_id"),
            file_name: text(&mut object, "file_name"),
            file_type: text(&mut object, "file_type"),
        }),
        "tool_reference" => Some(Chunk::ToolReference {
            tool: text(&mut object, "tool"),
            title: text(&mut object, "title"),
            url: text(&mut object, "url"),
            favicon: text(&mut object, "favicon"),
            description: text(&mut object, "description"),
        }),
        "reference" => Some(Chunk::Reference { reference_ids: reference_ids(object.remove("reference_ids")) }),
        "input_audio" => Some(Chunk::InputAudio { data: text(&mut object, "input_audio") }),
        "file" => Some(Chunk::File { file_id: text(&mut object, "file_id") }),
        _ => None,
    }
}

/// About how much a chunk holds: its texts, however deep.
pub(super) fn size_bytes(object: &Map<String, Value>) -> usize {
    object.values().map(value_size).sum::<usize>() + 1
}

fn value_size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(value_size).sum::<usize>() + 1,
        Value::Object(object) => size_bytes(object),
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    }
}

/// The text of a field; empty if there is none.
fn text(object: &mut Map<String, Value>, field: &str) -> String {
    match object.get_mut(field) {
        Some(Value::String(text)) => std::mem::take(text),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) | None => {
            String::new()
        }
    }
}

fn image(mut object: Map<String, Value>) -> Option<Chunk> {
    match object.remove("image_url")? {
        Value::String(url) => Some(Chunk::ImageUrl { url, detail: String::new() }),
        Value::Object(mut image) => {
            Some(Chunk::ImageUrl { url: text(&mut image, "url"), detail: text(&mut image, "detail") })
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
    }
}

/// A thought, or a piece of one. In a stream a piece may only end it (`closed`), or only sign it.
fn thinking(mut object: Map<String, Value>, provider: &str) -> Option<Thinking> {
    let signature = text(&mut object, "signature");
    let closed = object.get("closed").and_then(Value::as_bool);
    let content = match object.remove("thinking") {
        Some(Value::Array(parts)) => parts.into_iter().filter_map(thought).collect(),
        Some(Value::String(text)) if !text.is_empty() => vec![Chunk::Text(text)],
        Some(_) | None => Vec::new(),
    };
    let says_something = !content.is_empty() || !signature.is_empty() || closed.is_some();
    says_something.then(|| Thinking {
        content,
        signature,
        closed: closed.unwrap_or(true),
        provider: provider.to_owned(),
    })
}

fn thought(part: Value) -> Option<Chunk> {
    let Value::Object(part) = part else { return None };
    let chunk = decode(part, "")?;
    let known = match &chunk {
        Chunk::Text(text) => !text.is_empty(),
        Chunk::Reference { .. } | Chunk::ToolReference { .. } => true,
        Chunk::ImageUrl { .. }
        | Chunk::DocumentUrl { .. }
        | Chunk::Thinking(_)
        | Chunk::ToolFile { .. }
        | Chunk::InputAudio { .. }
        | Chunk::File { .. } => false,
    };
    known.then_some(chunk)
}

fn reference_ids(ids: Option<Value>) -> Vec<String> {
    let Some(Value::Array(ids)) = ids else { return Vec::new() };
    let texts = ids.into_iter().filter_map(|id| match id {
        Value::String(name) => Some(name),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    });
    texts.collect()
}
