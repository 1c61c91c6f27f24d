//! What an entry weighs: how many bytes of text it is to a model, whatever the dialect.
//!
//! Content is counted as a model reads it, without JSON's escapes, and what no dialect sends is not counted. Where dialects
//! differ (whose thinking is replayed), it is counted: an estimate had better be too high.

use std::{io, sync::Arc};

use crate::domain::{
    Body, Chunk, Entry, Settings,
    entry::{FunctionCall, FunctionResult, MessageInput, MessageOutput, Role, ToolExecution},
    settings::ResponseFormat,
    tool::{Function, Tool},
};

/// What an image, a document, a recording or a file counts for, wherever it is: its bytes say nothing about its tokens. It is
/// about what Mistral's and OpenAI's models make of a picture of 1,024 pixels square, of a page, and of two minutes of speech;
/// a long document is far more, and the provider's usage then says so.
pub const ATTACHMENT_TOKENS: u64 = 1_500;

/// At [`super::BYTES_PER_TOKEN`].
const ATTACHMENT_BYTES: u64 = ATTACHMENT_TOKENS * 4;

/// The role and the marks around a message, some four tokens.
const MESSAGE_BYTES: u64 = 16;

/// The marks around a call or a result, with the id of nine characters that ties them together.
const CALL_BYTES: u64 = 32;

/// The bytes that the model reads, entry by entry.
pub fn weigh(entries: &[Arc<Entry>]) -> Vec<u64> {
    entries.iter().map(|entry| entry_bytes(entry)).collect()
}

/// The bytes of an entry that the model reads: its content and arguments, and the marks around them.
pub fn entry_bytes(entry: &Entry) -> u64 {
    match &entry.body {
        Body::MessageInput(MessageInput { role, content, prefix: _ }) => {
            MESSAGE_BYTES + chunks_bytes(content, *role == Role::User)
        }
        Body::MessageOutput(MessageOutput { content, status: _, segments: _ }) => {
            MESSAGE_BYTES + chunks_bytes(content, false)
        }
        Body::FunctionCall(FunctionCall { name, arguments, .. }) => CALL_BYTES + len(name) + len(arguments),
        Body::FunctionResult(FunctionResult { content, .. }) => {
            CALL_BYTES + MESSAGE_BYTES + chunks_bytes(content, true)
        }
        Body::ToolExecution(ToolExecution { name, arguments, info, result, error, .. }) => {
            // Told as a call and its result; the info only if there is no other result.
            let result_bytes = match (error, result.is_empty()) {
                (Some(error), _) => len(error) + chunks_bytes(result, true),
                (None, true) => len(info),
                (None, false) => chunks_bytes(result, true),
            };
            2 * CALL_BYTES + MESSAGE_BYTES + len(name) + len(arguments) + result_bytes
        }
        Body::AgentHandoff(handoff) => 2 * CALL_BYTES + MESSAGE_BYTES + len(&handoff.next_agent_name),
        Body::HumanHandoff(handoff) => 2 * CALL_BYTES + MESSAGE_BYTES + len(&handoff.message),
    }
}

/// The bytes that stand before a history: instructions, tools, and the schema of the answer.
pub fn settings_bytes(settings: &Settings) -> u64 {
    let instructions = if settings.instructions.is_empty() { 0 } else { MESSAGE_BYTES + len(&settings.instructions) };
    let tools: u64 = settings.tools.iter().map(tool_bytes).sum();
    let format = match &settings.completion_args.response_format {
        Some(ResponseFormat::JsonSchema { name, description, schema, strict: _, check: _ }) => {
            MESSAGE_BYTES + len(name) + len(description) + json_bytes(schema)
        }
        Some(ResponseFormat::Text | ResponseFormat::JsonObject) | None => 0,
    };
    instructions + tools + format
}

fn tool_bytes(tool: &Tool) -> u64 {
    match tool {
        Tool::Function(Function { name, description, parameters, strict: _ }) => {
            CALL_BYTES + len(name) + len(description) + parameters.as_ref().map_or(0, json_bytes)
        }
        // What the service runs is told as functions; what the provider knows itself is told by name.
        Tool::Mcp(_) | Tool::HttpRequest(_) | Tool::Connector(_) | Tool::HumanHandoff(_) => CALL_BYTES,
    }
}

fn json_bytes(object: &serde_json::Map<String, serde_json::Value>) -> u64 {
    let mut counted = Counted(0);
    // Nothing fails: all keys are strings, and nothing is written.
    let _ = serde_json::to_writer(&mut counted, object);
    counted.0
}

/// Counts what is written to it.
struct Counted(u64);

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `attached`: here images and the like are sent; elsewhere they are only named.
fn chunks_bytes(chunks: &[Chunk], attached: bool) -> u64 {
    chunks.iter().map(|chunk| chunk_bytes(chunk, attached)).sum()
}

fn chunk_bytes(chunk: &Chunk, attached: bool) -> u64 {
    match chunk {
        Chunk::Text(text) => len(text),
        Chunk::ImageUrl { .. } | Chunk::DocumentUrl { .. } | Chunk::InputAudio { .. } | Chunk::File { .. }
            if attached =>
        {
            ATTACHMENT_BYTES
        }
        Chunk::ImageUrl { url, detail: _ } => MESSAGE_BYTES + address_bytes(url),
        Chunk::DocumentUrl { url, name } => MESSAGE_BYTES + len(name) + address_bytes(url),
        Chunk::InputAudio { data: _ } => MESSAGE_BYTES,
        Chunk::File { file_id } => MESSAGE_BYTES + len(file_id),
        // The signature is a proof for the provider; the model does not read it.
        Chunk::Thinking(thinking) => chunks_bytes(&thinking.content, false),
        Chunk::ToolFile { tool: _, file_id, file_name, file_type: _ } => {
            MESSAGE_BYTES + if file_name.is_empty() { len(file_id) } else { len(file_name) }
        }
        Chunk::ToolReference { tool: _, title, url, favicon: _, description: _ } => len(title) + len(url),
        Chunk::Reference { .. } => 0,
    }
}

/// A data URI is never told as text.
fn address_bytes(url: &str) -> u64 {
    if url.starts_with("data:") { 0 } else { len(url) }
}

fn len(text: &str) -> u64 {
    text.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        EntryDraft, Time,
        entry::{OutputStatus, Thinking},
        settings::CompletionArgs,
    };

    fn entry(body: Body) -> Entry {
        EntryDraft::new(body).into_entry(uuid::Uuid::nil(), Time::default())
    }

    fn message(role: Role, content: Vec<Chunk>) -> Entry {
        entry(Body::MessageInput(MessageInput { role, content, prefix: false }))
    }

    fn image(url: &str) -> Chunk {
        Chunk::ImageUrl { url: url.to_owned(), detail: String::new() }
    }

    #[test]
    fn text_counts_by_its_bytes_and_attachments_by_a_flat_figure() {
        let text = "x".repeat(1000);
        let picture = format!("data:image/png;base64,{}", "A".repeat(1_000_000));
        let document = Chunk::DocumentUrl { url: "https://example.com/a.pdf".into(), name: "a".into() };
        let thought = Thinking {
            content: vec![Chunk::Text(text.clone())],
            signature: "s".repeat(5000),
            closed: true,
            provider: "mistral".into(),
        };
        let output = |chunk| {
            entry(Body::MessageOutput(MessageOutput {
                content: vec![chunk],
                status: OutputStatus::Completed,
                segments: Vec::new(),
            }))
        };
        let rows = [
            (message(Role::User, vec![Chunk::Text(text.clone())]), 1016),
            (message(Role::User, vec![Chunk::Text(text.clone()), image(&picture)]), 7016),
            (message(Role::User, vec![image("https://example.com/a.png")]), 6016),
            (message(Role::User, vec![document.clone()]), 6016),
            (message(Role::User, vec![Chunk::InputAudio { data: picture.clone() }]), 6016),
            // There it is only named.
            (message(Role::System, vec![image(&picture)]), 32),
            (output(document), 16 + 16 + 26),
            (output(Chunk::Text(text.clone())), 1016),
            (output(Chunk::Thinking(thought)), 1016),
            (output(Chunk::Reference { reference_ids: vec!["1".into()] }), 16),
        ];
        for (entry, bytes) in rows {
            assert_eq!(entry_bytes(&entry), bytes, "{:.200}", format!("{entry:?}"));
        }
    }

    #[test]
    fn calls_results_and_tools_count_with_their_arguments() {
        let call = entry(Body::FunctionCall(FunctionCall {
            tool_call_id: "call00001".into(),
            name: "weather".into(),
            arguments: r#"{"city":"Paris"}"#.into(),
            ..FunctionCall::default()
        }));
        let result = entry(Body::FunctionResult(FunctionResult {
            tool_call_id: "call00001".into(),
            content: vec![Chunk::Text("rain".into())],
            ..FunctionResult::default()
        }));
        let run = |info: &str, result| {
            entry(Body::ToolExecution(ToolExecution {
                name: "web_search".into(),
                arguments: "{}".into(),
                info: info.into(),
                result,
                ..ToolExecution::default()
            }))
        };
        let informed = run("1234", Vec::new());
        let answered = run("1234", vec![Chunk::Text("12".into())]);
        let entries = [call, result, informed, answered].map(Arc::new);
        assert_eq!(weigh(&entries), [32 + 7 + 16, 48 + 4, 80 + 12 + 4, 80 + 12 + 2]);
    }

    #[test]
    fn instructions_tools_and_the_answers_schema_stand_before_the_history() {
        assert_eq!(settings_bytes(&Settings::default()), 0);
        let schema: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(r#"{"type":"object"}"#).expect("an object");
        let function = Function {
            name: "weather".into(),
            description: "Rain?".into(),
            parameters: Some(schema.clone()),
            strict: false,
        };
        let format = ResponseFormat::JsonSchema {
            name: "answer".into(),
            description: String::new(),
            schema,
            strict: true,
            check: false,
        };
        let settings = Settings {
            instructions: "Be brief.".into(),
            tools: vec![Tool::Function(function)],
            completion_args: CompletionArgs { response_format: Some(format), ..CompletionArgs::default() },
            ..Settings::default()
        };
        assert_eq!(settings_bytes(&settings), (16 + 9) + (32 + 7 + 5 + 17) + (16 + 6 + 17));
    }
}
