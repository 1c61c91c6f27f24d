//! Nothing that a client can send panics, whatever it is.

use causerie::{
    grpc::{
        convert::{
            change, entry,
            export::{self, Told},
            list, lookup, request,
        },
        status::{Spent, status},
    },
    proto::{self, stream_events_request::Request},
};
use proptest::{prelude::*, sample::Index};
use prost::Message;

use super::strategies;

/// Decodes the bytes as every message that comes in, and reads those that can be decoded.
fn read_everything(bytes: &[u8]) {
    fn try_read<M: Message + Default, T>(bytes: &[u8], read: impl FnOnce(M) -> Result<T, causerie::domain::Failure>) {
        let Ok(message) = M::decode(bytes) else { return };
        if let Err(failure) = read(message) {
            assert!(!failure.violations.is_empty(), "a refusal says what is wrong: {failure:?}");
            let _ = status(&failure, "request", Spent::Nothing);
        }
    }
    try_read(bytes, |message| request::start("start", message));
    try_read(bytes, |message| request::append("append", message));
    try_read(bytes, |message| request::restart("restart", message));
    try_read(bytes, request::stream_events);
    try_read(bytes, list::conversations);
    try_read(bytes, list::entries);
    try_read(bytes, list::versions);
    try_read(bytes, change::watch);
    try_read(bytes, |message| lookup::get_turn(&message));
    try_read(bytes, |message| lookup::cancel_turn(&message));
    try_read(bytes, |message| lookup::get_conversation(&message));
    try_read(bytes, |message| lookup::delete_conversation(&message));
    try_read(bytes, |message| lookup::export_conversations(&message));
    try_read(bytes, |message| entry::entry_draft("entry", message));
    try_read(bytes, |message| entry::imported("entry", message));
    try_read(bytes, |message| export::read("version", message));
}

/// A request that uses everything, from a version's settings and a turn's outputs.
fn start() -> impl Strategy<Value = proto::StartRequest> {
    let turn = strategies::turn().prop_flat_map(|turn| (strategies::version(&turn), Just(turn)));
    (turn, prop::collection::vec(strategies::entry(), 0..4), any::<i64>()).prop_map(
        |((version, turn), inputs, number)| {
            let settings = causerie::grpc::convert::version::write(&version, true, None);
            let mut inputs: Vec<_> = inputs.iter().map(entry::write).collect();
            for (i, input) in inputs.iter_mut().enumerate().filter(|(i, _)| i % 2 == 1) {
                input.created_at = Some(prost_types::Timestamp { seconds: number, nanos: i32::MAX - i as i32 });
            }
            proto::StartRequest {
                model: settings.model,
                agent_id: settings.agent_id,
                input: String::new(),
                inputs,
                instructions: settings.instructions,
                tools: settings.tools,
                completion_args: settings.completion_args,
                metadata: settings.metadata,
                store: (number % 2 == 0).then_some(number % 4 == 0),
                skip_completion: number % 3 == 0,
                request_id: turn.request_id.unwrap_or_default(),
                forwarding: Some(proto::Forwarding {
                    fallback_models: vec![String::from("other"); (number % 3).unsigned_abs() as usize],
                    no_fallback: number % 5 == 0,
                    continue_on_other_model: number % 2 == 0,
                    truncation: (number % 4) as i32,
                    budget: settings.tree_budget.clone(),
                }),
                tree_budget: settings.tree_budget,
                agent_version: settings.agent_version,
                handoff_execution: (number % 3) as i32,
                max_tool_rounds: (number % 100) as i32,
                background: number % 2 == 1,
                background_options: (number % 3 == 1).then(|| proto::BackgroundOptions {
                    not_before: Some(prost_types::Timestamp { seconds: number, nanos: 7 }),
                    priority: number as i32,
                    max_attempts: (number % 200) as i32,
                    fairness_key: "k".repeat((number % 300).unsigned_abs() as usize),
                }),
                callback_url: ["", "https://example.org/", "ftp://a", "https:"][(number % 4).unsigned_abs() as usize]
                    .into(),
                expiration: (number % 3 == 2).then_some(proto::start_request::Expiration::Ttl(prost_types::Duration {
                    seconds: number,
                    nanos: (number % 7) as i32 - 1,
                })),
            }
        },
    )
}

/// A request that decides of calls, with all else that a first one has.
fn append() -> impl Strategy<Value = proto::AppendRequest> {
    let decision = ("[a-c]{0,2}", 0..4i32, "[a-z]{0,5}", prop_oneof![Just(""), Just("{\"a\": 1}"), Just("[1]")]);
    let confirmation = decision.prop_map(|(tool_call_id, confirmation, reason, arguments)| proto::ToolConfirmation {
        tool_call_id,
        confirmation,
        decided_by: reason.clone(),
        reason,
        arguments: arguments.to_owned(),
    });
    (start(), prop::collection::vec(confirmation, 0..4), any::<[u8; 16]>(), 0..4i32).prop_map(
        |(start, tool_confirmations, id, pending_calls)| proto::AppendRequest {
            conversation_id: causerie::domain::ConversationId(uuid::Uuid::from_bytes(id)).to_string(),
            inputs: start.inputs,
            model: start.model,
            agent_id: start.agent_id,
            tools: start.tools,
            agent_version: start.agent_version,
            handoff_execution: start.handoff_execution,
            max_tool_rounds: start.max_tool_rounds,
            tool_confirmations,
            pending_calls,
            ..Default::default()
        },
    )
}

/// Bytes that are nearly a message.
fn damaged<M: Message>(message: impl Strategy<Value = M>) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<Index>(), any::<u8>(), 0..3u8), 1..12);
    (message, changes).prop_map(|(message, changes)| {
        let mut bytes = message.encode_to_vec();
        for (index, byte, how) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = index.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    })
}

/// Bytes with well-formed field keys, so that decoding gets far.
fn fields() -> impl Strategy<Value = Vec<u8>> {
    let field = (1u32..24, 0u32..3, prop::collection::vec(any::<u8>(), 0..24));
    prop::collection::vec(field, 0..24).prop_map(|fields| {
        let mut bytes = Vec::new();
        for (number, wire, value) in fields {
            prost::encoding::encode_varint(u64::from(number << 3 | wire), &mut bytes);
            match wire {
                0 => bytes.push(value.first().copied().unwrap_or(0) & 0x7f),
                1 => bytes.extend([0, 0, 0, 0, 0, 0, 0xf8, 0x7f]),
                _ => {
                    bytes.push(value.len() as u8);
                    bytes.extend(value);
                }
            }
        }
        bytes
    })
}

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        read_everything(&bytes);
    }

    #[test]
    fn any_fields(bytes in fields()) {
        read_everything(&bytes);
    }

    #[test]
    fn nearly_a_start(bytes in damaged(start())) {
        read_everything(&bytes);
    }

    #[test]
    fn nearly_an_append(bytes in damaged(append())) {
        read_everything(&bytes);
    }

    #[test]
    fn nearly_a_stream(bytes in damaged(start().prop_map(|start| proto::StreamEventsRequest {
        view: 1,
        request: Some(Request::Start(start)),
    }))) {
        read_everything(&bytes);
    }

    #[test]
    fn nearly_an_event(
        (turn, bytes) in strategies::turn_with_inputs().prop_flat_map(|(turn, inputs)| {
            let id = turn.id.to_string();
            let event = strategies::event(turn.clone(), inputs);
            (Just(turn), damaged(event.prop_map(move |event| causerie::grpc::convert::event::write(&id, &event))))
        })
    ) {
        if let Ok(event) = proto::Event::decode(bytes.as_slice()) {
            let _ = export::read_event("event", event, Told { turn: &turn, inputs: &[] });
        }
    }
}

/// The deepest schema that is taken, inside the message that wraps it most.
#[test]
fn the_deepest_schema_can_be_imported_again() {
    use prost_types::{Struct, Value, value::Kind};
    let mut schema =
        Struct { fields: [("type".to_owned(), Value { kind: Some(Kind::StringValue("object".into())) })].into() };
    let mut taken = 0;
    loop {
        let function = proto::Function { name: "f".into(), parameters: Some(schema.clone()), ..Default::default() };
        let tools = vec![proto::Tool { kind: Some(proto::tool::Kind::Function(function)) }];
        let start = proto::StartRequest { model: "m".into(), input: "x".into(), tools, ..Default::default() };
        if request::start("", start.clone()).is_err() {
            break;
        }
        taken += 1;
        let conversation = Some(proto::Conversation { tools: start.tools, ..Default::default() });
        let version = proto::ExportedVersion { conversation, ..Default::default() };
        let kind = Some(proto::export_record::Kind::Version(version));
        let import = proto::ImportConversationsRequest { record: Some(proto::ExportRecord { kind }) };
        let decoded = proto::ImportConversationsRequest::decode(import.encode_to_vec().as_slice());
        assert_eq!(decoded.as_ref(), Ok(&import), "at depth {taken}");
        let deeper = |schema| Value { kind: Some(Kind::StructValue(schema)) };
        let kind = Some(Kind::StringValue("object".to_owned()));
        schema = Struct { fields: [("type".to_owned(), Value { kind }), ("not".to_owned(), deeper(schema))].into() };
    }
    assert_eq!(taken, 28);
}

/// 4 MiB of the smallest mistakes.
#[test]
fn a_million_violations_cost_little_and_fit_a_status() {
    let content = vec![proto::Chunk::default(); 1_000_000];
    let message = proto::MessageInput { role: 2, content, prefix: false };
    let inputs = vec![proto::Entry { kind: Some(proto::entry::Kind::MessageInput(message)), ..Default::default() }];
    let request = proto::StartRequest { model: "m".to_owned(), inputs, ..Default::default() };
    let failure = request::start("", request).expect_err("it breaks rules");
    assert_eq!(failure.violations.len(), 1000);
    let status = status(&failure, "request", Spent::Nothing);
    let bad_request = tonic_types::StatusExt::get_details_bad_request(&status).expect("violations");
    let last = &bad_request.field_violations.last().expect("some").description;
    let told = bad_request.field_violations.len() - 1;
    assert_eq!(*last, format!("and {} more", 1_000_000 - told));
}
