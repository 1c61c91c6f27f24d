//! Messages to the entries that they are here.

use super::wire;
use crate::upstream::chat::{content, wire as chat};

/// Writes the entries that a message makes, each with a comma before it.
pub(in crate::upstream) fn write(json: &mut Vec<u8>, message: &chat::Message<'_>) {
    match message {
        // There is no such role: who encodes for this endpoint tells it as a user message.
        chat::Message::System { content } | chat::Message::User { content } => {
            push(json, &wire::Entry::MessageInput { role: "user", content, prefix: false });
        }
        chat::Message::Assistant { content, tool_calls: _, prefix: true } => {
            push(json, &wire::Entry::MessageInput { role: "assistant", content, prefix: true });
        }
        chat::Message::Assistant { content, tool_calls, prefix: false } => {
            if !content::is_empty(content) {
                push(json, &wire::Entry::MessageOutput { content });
            }
            for chat::ToolCall { id, kind: _, function: chat::FunctionCall { name, arguments } } in tool_calls {
                push(json, &wire::Entry::FunctionCall { tool_call_id: id, name, arguments });
            }
        }
        chat::Message::Tool { tool_call_id, name: _, content } => {
            push(json, &wire::Entry::FunctionResult { tool_call_id, result: content::text_of(content) });
        }
    }
}

fn push(json: &mut Vec<u8>, entry: &wire::Entry<'_>) {
    json.push(b',');
    serde_json::to_writer(json, entry).expect("writing to memory can't fail, and all keys are strings");
}

/// Writes a user's message of plain text.
pub(super) fn write_user(json: &mut Vec<u8>, text: &'static str) {
    let content = chat::Content::Text(text.into());
    push(json, &wire::Entry::MessageInput { role: "user", content: &content, prefix: false });
}
