use std::collections::{BTreeMap, HashMap};

use prost_types::{Struct, Timestamp, Value, value};
use tonic::Code;
use tonic_types::{ErrorDetails, StatusExt};

use super::*;
use crate::proto::{
    AgentHandoff, Chunk, CompletionArgs, Conversation, Entry, Event, ExportHeader, ExportSummary, ExportedVersion,
    Function, FunctionCall, FunctionResult, HumanHandoff, MessageInput, MessageOutput, OutputStatus, Role, Thinking,
    Tool, ToolExecution, Turn, UpstreamRetry, Usage, chunk, entry, event, export_record::Kind, tool, turn,
};

fn time(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 123_456_000 })
}

fn text(text: &str) -> Chunk {
    Chunk { kind: Some(chunk::Kind::Text(text.into())) }
}

fn status() -> tonic_types::pb::Status {
    let metadata: HashMap<String, String> = (0..20).map(|i| (format!("key{i}"), i.to_string())).collect();
    let mut details = ErrorDetails::with_error_info("TIMEOUT", "causerie", metadata);
    details.set_retry_info(Some(std::time::Duration::from_millis(2500)));
    details.add_bad_request_violation("inputs[0]", "must be given");
    let status = tonic::Status::with_error_details(Code::DeadlineExceeded, "it took too long", details);
    let decoded: Result<tonic_types::pb::Status, _> = prost::Message::decode(status.details());
    decoded.expect("tonic-types encodes google.rpc.Status")
}

fn entry(kind: entry::Kind) -> Kind {
    let object = "entry".into();
    Kind::Entry(Entry {
        id: "msg_1".into(),
        object,
        created_at: time(1_700_000_000),
        kind: Some(kind),
        ..Entry::default()
    })
}

fn entries() -> Vec<Kind> {
    let thinking =
        Thinking { content: vec![text("hm")], signature: "s".into(), closed: Some(false), provider: "p".into() };
    let chunks = vec![
        text("Grüße \u{1F44B} \"quoted\"\n\u{0}\u{2028}"),
        text(""),
        Chunk { kind: Some(chunk::Kind::Thinking(thinking)) },
        Chunk { kind: None },
    ];
    vec![
        entry(entry::Kind::MessageInput(MessageInput {
            role: Role::User.into(),
            content: chunks.clone(),
            prefix: true,
        })),
        entry(entry::Kind::MessageOutput(MessageOutput {
            content: chunks.clone(),
            status: OutputStatus::Incomplete.into(),
            segments: vec![],
        })),
        entry(entry::Kind::FunctionCall(FunctionCall { arguments: "{\"a\": 1.0}".into(), ..FunctionCall::default() })),
        entry(entry::Kind::FunctionResult(FunctionResult {
            tool_call_id: "c".into(),
            content: chunks,
            is_error: true,
            ..FunctionResult::default()
        })),
        entry(entry::Kind::ToolExecution(ToolExecution { name: "t".into(), ..ToolExecution::default() })),
        entry(entry::Kind::AgentHandoff(AgentHandoff { next_agent_id: "a".into(), ..AgentHandoff::default() })),
        entry(entry::Kind::HumanHandoff(HumanHandoff { message: "help".into() })),
    ]
}

fn version() -> Kind {
    let number = |number| Value { kind: Some(value::Kind::NumberValue(number)) };
    // Numbers that a careless parser does not bring back, and more keys than a hash map keeps in order.
    let mut fields: BTreeMap<String, Value> = (0..20).map(|i| (format!("p{i}"), number(f64::from(i) / 7.0))).collect();
    fields.insert("precise".into(), number(0.122_016_500_000_000_02));
    fields.insert("null".into(), Value { kind: Some(value::Kind::NullValue(0)) });
    let function = Function { name: "f".into(), parameters: Some(Struct { fields }), ..Function::default() };
    let conversation = Conversation {
        id: "conv_1".into(),
        tools: vec![Tool { kind: Some(tool::Kind::Function(function)) }],
        completion_args: Some(CompletionArgs {
            temperature: Some(0.0),
            top_p: Some(0.1 + 0.2),
            random_seed: Some(i64::MAX),
            parallel_tool_calls: Some(false),
            ..CompletionArgs::default()
        }),
        metadata: (0..64).map(|i| (format!("k{i}"), format!("v{i}"))).collect(),
        turn_state: turn::State::Incomplete.into(),
        ..Conversation::default()
    };
    let connector_calls = (0..20).map(|i| (format!("tool{i}"), i)).collect();
    let usage = Usage { prompt_tokens: 7, connector_calls, ..Usage::default() };
    Kind::Version(ExportedVersion {
        conversation: Some(conversation),
        turn: Some(Turn { usage: Some(usage), error: Some(status()), ..Turn::default() }),
        kept_entry_count: 3,
        request_fingerprint: vec![0, 255, 128, 62, 63],
        ..ExportedVersion::default()
    })
}

fn records() -> Vec<Kind> {
    let retry = UpstreamRetry { attempt: 1, error: Some(status()), delay_ms: 250, model: "small".into() };
    let kind = Some(event::Kind::UpstreamRetry(retry));
    let mut records = vec![
        Kind::Header(ExportHeader { format: 1, created_at: time(0), version_count: 9 }),
        version(),
        Kind::Event(Event { sequence: i64::MAX, created_at: time(-1), kind, ..Event::default() }),
        Kind::Summary(ExportSummary { version_count: 0 }),
    ];
    records.extend(entries());
    records
}

#[test]
fn every_kind_of_record_comes_back_as_it_was_and_gives_the_same_line_again() {
    for kind in records() {
        let record = ExportRecord { kind: Some(kind) };
        let line = to_line(&record).expect("it can be written");
        assert!(!line.contains('\n'), "{line}");
        let back = from_line(&line).expect("it can be read");
        assert_eq!(to_line(&back).expect("it can be written again"), line);
        // `Any` holds encoded maps, whose bytes may come in another order; their lines have just been compared.
        if !line.contains("@type") {
            assert_eq!(back, record);
        }
    }
}

#[test]
fn a_line_is_canonical_protobuf_json() {
    let header = ExportHeader { format: 1, created_at: time(0), version_count: 9 };
    let line = to_line(&ExportRecord { kind: Some(Kind::Header(header)) }).expect("it can be written");
    assert_eq!(line, r#"{"header":{"createdAt":"1970-01-01T00:00:00.123456Z","format":1,"versionCount":"9"}}"#);
}

#[test]
fn details_of_errors_are_readable() {
    let line = to_line(&ExportRecord { kind: Some(version()) }).expect("it can be written");
    assert!(line.contains(r#""@type":"type.googleapis.com/google.rpc.ErrorInfo""#), "{line}");
    assert!(line.contains(r#""retryDelay":"2.500s""#), "{line}");
}
