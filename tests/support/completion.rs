//! The chunks of a streamed chat completion, in Mistral's shape.

use serde_json::{Value, json};

use super::provider::Reply;

/// A chunk that carries this delta.
pub(crate) fn delta(delta: Value) -> Value {
    chunk(delta, Value::Null)
}

/// A piece of text.
pub(crate) fn says(text: &str) -> Value {
    delta(json!({"content": text}))
}

/// A piece of a thought.
pub(crate) fn thinks(text: &str) -> Value {
    delta(json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]}))
}

/// A piece of a function call; the first one of each call names it.
pub(crate) fn calls(index: u32, name: Option<&str>, arguments: &str) -> Value {
    let id = format!("wire{index:05}");
    let call = match name {
        Some(name) => json!({"index": index, "id": id, "function": {"name": name, "arguments": arguments}}),
        None => json!({"index": index, "id": "null", "function": {"name": "", "arguments": arguments}}),
    };
    delta(json!({"tool_calls": [call]}))
}

/// The last chunk.
pub(crate) fn finish(reason: &str) -> Value {
    let mut last = chunk(json!({"content": ""}), json!(reason));
    last["usage"] = json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7});
    last
}

/// A streamed answer that says this and stops for this reason.
pub(crate) fn stream_of(texts: &[&str], reason: &str) -> Reply {
    let chunks: Vec<Value> = texts.iter().map(|text| says(text)).chain([finish(reason)]).collect();
    Reply::sse(&chunks)
}

/// A streamed answer that calls these functions, each in one piece.
pub(crate) fn stream_of_calls(functions: &[(&str, &str)]) -> Reply {
    let chunks = (0..).zip(functions).map(|(index, (name, arguments))| calls(index, Some(name), arguments));
    Reply::sse(&chunks.chain([finish("tool_calls")]).collect::<Vec<_>>())
}

/// Nothing at all, not even headers, until the client leaves.
pub(crate) fn silence() -> Reply {
    let mut reply = Reply::text("never");
    // Nobody holds the gate, so nobody opens it.
    reply.gate();
    reply
}

/// An answer that is not streamed.
pub(crate) fn whole(message: Value, reason: &str) -> Reply {
    Reply::json(
        200,
        &json!({
            "id": "scripted", "object": "chat.completion", "created": 1_767_225_600, "model": "scripted-model",
            "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
            "choices": [{"index": 0, "finish_reason": reason, "message": message}],
        }),
    )
}

/// The bytes of a chunk's event.
pub(crate) fn event(chunk: &Value) -> String {
    format!("data: {chunk}\n\n")
}

fn chunk(delta: Value, finish: Value) -> Value {
    json!({
        "id": "scripted", "object": "chat.completion.chunk", "created": 1_767_225_600, "model": "scripted-model",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    })
}
