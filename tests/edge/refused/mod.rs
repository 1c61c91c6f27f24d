//! Requests that break rules: every one of them is told, by its field.

mod decisions;
mod tools;

use std::collections::BTreeMap;

use causerie::{
    domain::{Failure, Reason},
    grpc::convert::{list, lookup, request},
    proto::{self, chunk::Kind as ChunkKind, entry::Kind, tool_choice},
};
use prost_types::{Struct, Timestamp, Value, value::Kind as ValueKind};

/// What is wrong, and the field that is told.
type Case<M> = (fn(&mut M), &'static str);

fn entry(kind: Kind) -> proto::Entry {
    proto::Entry { kind: Some(kind), ..proto::Entry::default() }
}

fn chunk(kind: ChunkKind) -> proto::Chunk {
    proto::Chunk { kind: Some(kind) }
}

fn text(text: &str) -> proto::Chunk {
    chunk(ChunkKind::Text(text.to_owned()))
}

fn message(role: proto::Role, content: Vec<proto::Chunk>) -> proto::Entry {
    entry(Kind::MessageInput(proto::MessageInput { role: role.into(), content, prefix: false }))
}

fn user(content: Vec<proto::Chunk>) -> proto::Entry {
    message(proto::Role::User, content)
}

fn prefix() -> proto::Entry {
    let role = proto::Role::Assistant.into();
    entry(Kind::MessageInput(proto::MessageInput { role, content: vec![text("So")], prefix: true }))
}

fn image(url: &str, detail: &str) -> proto::Chunk {
    chunk(ChunkKind::ImageUrl(proto::ImageUrl { url: url.to_owned(), detail: detail.to_owned() }))
}

fn function(name: &str) -> proto::Tool {
    let function = proto::Function { name: name.to_owned(), ..proto::Function::default() };
    proto::Tool { kind: Some(proto::tool::Kind::Function(function)) }
}

fn call(id: &str) -> proto::Entry {
    let (tool_call_id, name) = (id.to_owned(), "f".to_owned());
    entry(Kind::FunctionCall(proto::FunctionCall { tool_call_id, name, ..Default::default() }))
}

fn result(id: &str) -> proto::Entry {
    entry(Kind::FunctionResult(proto::FunctionResult { tool_call_id: id.to_owned(), ..Default::default() }))
}

fn object(key: &str, kind: ValueKind) -> Struct {
    Struct { fields: [(key.to_owned(), Value { kind: Some(kind) })].into() }
}

fn good() -> proto::StartRequest {
    proto::StartRequest { model: "small".to_owned(), input: "Hello".to_owned(), ..Default::default() }
}

fn with_inputs(inputs: Vec<proto::Entry>) -> proto::StartRequest {
    proto::StartRequest { input: String::new(), inputs, ..good() }
}

fn with_args(args: proto::CompletionArgs) -> proto::StartRequest {
    proto::StartRequest { completion_args: Some(args), ..good() }
}

fn with_tools(tools: Vec<proto::Tool>) -> proto::StartRequest {
    proto::StartRequest { tools, ..good() }
}

fn fields(failure: &Failure) -> Vec<&str> {
    assert_eq!(failure.reason, Reason::InvalidRequest);
    assert!(failure.violations.iter().all(|violation| violation.description.len() > 10), "{failure:?}");
    failure.violations.iter().map(|violation| violation.field.as_str()).collect()
}

#[track_caller]
fn refused(request: proto::StartRequest, expected: &[&str]) {
    let failure = request::start("", request).expect_err("the request breaks a rule");
    assert_eq!(fields(&failure), expected, "{failure:#?}");
}

#[test]
fn what_leads_a_conversation() {
    refused(proto::StartRequest { model: String::new(), ..good() }, &["model"]);
    refused(proto::StartRequest { agent_id: "agent_1".to_owned(), ..good() }, &["agent_id"]);
    refused(proto::StartRequest { model: "x".repeat(257), ..good() }, &["model"]);
    for model in ["two words", "/model", "provider/"] {
        refused(proto::StartRequest { model: model.to_owned(), ..good() }, &["model"]);
    }
    refused(proto::StartRequest { model: String::new(), agent_id: "ü".to_owned(), ..good() }, &["agent_id"]);
}

#[test]
fn what_goes_in() {
    refused(proto::StartRequest { inputs: vec![user(vec![text("Hi")])], ..good() }, &["input"]);
    refused(proto::StartRequest { input: String::new(), ..good() }, &["input"]);
    refused(proto::StartRequest { input: "x".repeat((3 << 20) + 1), ..good() }, &["input"]);
    refused(with_inputs(vec![user(vec![text("x")]); 4097]), &["inputs"]);
    refused(with_inputs(vec![user(vec![text(&"x".repeat(1 << 20))]); 3]), &["inputs"]);
    refused(with_inputs(vec![entry(Kind::HumanHandoff(proto::HumanHandoff::default()))]), &["inputs"]);
    refused(with_inputs(vec![message(proto::Role::System, vec![text("Be brief.")])]), &["inputs"]);
    refused(with_inputs(vec![proto::Entry::default()]), &["inputs[0]"]);
    refused(proto::StartRequest { instructions: "x".repeat((1 << 20) + 1), ..good() }, &["instructions"]);
}

#[test]
fn entries() {
    let with = |change: fn(&mut proto::Entry)| {
        let mut entry = user(vec![text("Hi")]);
        change(&mut entry);
        with_inputs(vec![entry])
    };
    refused(with(|entry| entry.object = "message".to_owned()), &["inputs[0].object"]);
    refused(with(|entry| entry.r#type = "message.output".to_owned()), &["inputs[0].type"]);
    let late = Timestamp { seconds: i64::MAX, nanos: 0 };
    refused(
        with(|entry| entry.created_at = Some(Timestamp { seconds: 0, nanos: -1 })),
        &["inputs[0].created_at.nanos"],
    );
    let mut entry = user(vec![text("Hi")]);
    entry.completed_at = Some(late);
    refused(with_inputs(vec![entry]), &["inputs[0].completed_at.seconds"]);
    refused(with(|entry| entry.model = "a b".to_owned()), &["inputs[0].model"]);
    refused(with_inputs(vec![message(proto::Role::Unspecified, vec![text("Hi")])]), &["inputs[0].message_input.role"]);
    let unknown = proto::MessageInput { role: 99, content: vec![text("Hi")], prefix: false };
    refused(with_inputs(vec![entry_of(unknown)]), &["inputs[0].message_input.role"]);
    let status = proto::MessageOutput { content: vec![], status: -1, segments: vec![] };
    let inputs = vec![self::entry(Kind::MessageOutput(status)), user(vec![text("Hi")])];
    refused(with_inputs(inputs), &["inputs[0].message_output.status"]);
    let tool = self::entry(Kind::ToolExecution(proto::ToolExecution::default()));
    refused(with_inputs(vec![tool, user(vec![text("Hi")])]), &["inputs[0].tool_execution.name"]);
}

fn entry_of(message: proto::MessageInput) -> proto::Entry {
    entry(Kind::MessageInput(message))
}

#[test]
fn content() {
    refused(with_inputs(vec![user(vec![])]), &["inputs[0].message_input.content"]);
    refused(with_inputs(vec![user(vec![text(""), text("")])]), &["inputs[0].message_input.content"]);
    refused(
        with_inputs(vec![user(vec![text("Hi"), proto::Chunk::default()])]),
        &["inputs[0].message_input.content[1]"],
    );
    for url in ["", "http://example.com/a.png", "ftp://x", "https://", "data:image/png;base64", "https://a b"] {
        let content = vec![text("Look"), image(url, "")];
        refused(with_inputs(vec![user(content)]), &["inputs[0].message_input.content[1].image_url.url"]);
    }
    let long = format!("data:,{}", "x".repeat(1 << 20));
    refused(with_inputs(vec![user(vec![image(&long, "")])]), &["inputs[0].message_input.content[0].image_url.url"]);
    let both = vec![user(vec![image("http://a", "huge")])];
    let at = "inputs[0].message_input.content[0].image_url";
    refused(with_inputs(both), &[&format!("{at}.url"), &format!("{at}.detail")]);
    let document = chunk(ChunkKind::DocumentUrl(proto::DocumentUrl::default()));
    refused(with_inputs(vec![user(vec![document])]), &["inputs[0].message_input.content[0].document_url.url"]);
    for data in ["", "not base64!", "abcde", "QQ===", "http://example.com/a.mp3"] {
        let audio = chunk(ChunkKind::InputAudio(proto::InputAudio { data: data.to_owned() }));
        refused(with_inputs(vec![user(vec![audio])]), &["inputs[0].message_input.content[0].input_audio.data"]);
    }
    let file = chunk(ChunkKind::File(proto::File::default()));
    refused(with_inputs(vec![user(vec![file])]), &["inputs[0].message_input.content[0].file.file_id"]);
}

#[test]
fn which_chunks_stand_where() {
    let image = || image("https://example.com/a.png", "low");
    let thinking = |content| chunk(ChunkKind::Thinking(proto::Thinking { content, ..proto::Thinking::default() }));
    let hi = || user(vec![text("Hi")]);
    let system = message(proto::Role::System, vec![image()]);
    refused(with_inputs(vec![system, hi()]), &["inputs[0].message_input.content[0]"]);
    refused(with_inputs(vec![user(vec![thinking(vec![])])]), &["inputs[0].message_input.content[0]"]);
    let assistant = message(proto::Role::Assistant, vec![text("A"), image()]);
    refused(with_inputs(vec![assistant, hi()]), &["inputs[0].message_input.content[1]"]);
    let nested = message(proto::Role::Assistant, vec![thinking(vec![text("Hm"), thinking(vec![])])]);
    refused(with_inputs(vec![nested, hi()]), &["inputs[0].message_input.content[0].thinking.content[1]"]);
    let output =
        entry(Kind::MessageOutput(proto::MessageOutput { content: vec![image()], status: 0, segments: vec![] }));
    refused(with_inputs(vec![output, hi()]), &["inputs[0].message_output.content[0]"]);
    let content = vec![image(), thinking(vec![])];
    let result = proto::FunctionResult { tool_call_id: "c".to_owned(), content, is_error: false, decision: None };
    refused(with_inputs(vec![entry(Kind::FunctionResult(result))]), &["inputs[0].function_result.content[1]"]);
}

#[test]
fn calls_and_results() {
    refused(with_inputs(vec![call("c"), call("c"), result("c")]), &["inputs[1].function_call.tool_call_id"]);
    refused(with_inputs(vec![call("c"), result("c"), result("c")]), &["inputs[2].function_result.tool_call_id"]);
    refused(with_inputs(vec![result("")]), &["inputs[0].function_result.tool_call_id"]);
    refused(with_inputs(vec![call(&"c".repeat(257)), result("c")]), &["inputs[0].function_call.tool_call_id"]);
    let unnamed = proto::FunctionCall { tool_call_id: "c".to_owned(), name: "a.b".to_owned(), ..Default::default() };
    refused(with_inputs(vec![entry(Kind::FunctionCall(unnamed)), result("c")]), &["inputs[0].function_call.name"]);
}

#[test]
fn prefixes() {
    refused(with_inputs(vec![prefix(), user(vec![text("Hi")])]), &["inputs[0].message_input.prefix"]);
    let of_user = proto::MessageInput { role: proto::Role::User.into(), content: vec![text("Hi")], prefix: true };
    refused(with_inputs(vec![entry_of(of_user)]), &["inputs[0].message_input.prefix"]);
}

#[test]
fn numbers_of_completion_args() {
    type Args = proto::CompletionArgs;
    let cases: [Case<Args>; 20] = [
        (|a| a.temperature = Some(1.6), "temperature"),
        (|a| a.temperature = Some(-0.1), "temperature"),
        (|a| a.temperature = Some(f64::NAN), "temperature"),
        (|a| a.top_p = Some(0.0), "top_p"),
        (|a| a.top_p = Some(1.01), "top_p"),
        (|a| a.max_tokens = Some(0), "max_tokens"),
        (|a| a.max_tokens = Some(-5), "max_tokens"),
        (|a| a.random_seed = Some(-1), "random_seed"),
        (|a| a.presence_penalty = Some(2.5), "presence_penalty"),
        (|a| a.frequency_penalty = Some(f64::NEG_INFINITY), "frequency_penalty"),
        (|a| a.repetition_penalty = Some(0.0), "repetition_penalty"),
        (|a| a.repetition_penalty = Some(f64::INFINITY), "repetition_penalty"),
        (|a| a.min_tokens = Some(-1), "min_tokens"),
        (|a| a.top_k = Some(-1), "top_k"),
        (|a| a.reasoning_effort = 99, "reasoning_effort"),
        (|a| a.prompt_cache_key = "k".repeat(257), "prompt_cache_key"),
        (|a| a.prompt_mode = "deep".to_owned(), "prompt_mode"),
        (|a| a.service_tier = "gold".to_owned(), "service_tier"),
        (|a| a.stop = vec!["x".to_owned(); 17], "stop"),
        (|a| a.guardrails = vec![Struct::default(); 17], "guardrails"),
    ];
    for (change, field) in cases {
        let mut args = Args::default();
        change(&mut args);
        refused(with_args(args), &[&format!("completion_args.{field}")]);
    }
    let stop = vec!["ok".to_owned(), String::new(), "x".repeat(257)];
    refused(with_args(Args { stop, ..Args::default() }), &["completion_args.stop[1]", "completion_args.stop[2]"]);
    let guardrails = vec![Struct::default(), object("x", ValueKind::NumberValue(f64::INFINITY))];
    refused(with_args(Args { guardrails, ..Args::default() }), &["completion_args.guardrails[1]"]);
}

#[test]
fn choices_of_completion_args() {
    type Args = proto::CompletionArgs;
    let choice = |kind| Args { tool_choice: Some(proto::ToolChoice { kind }), ..Args::default() };
    let named = |name: &str| choice(Some(tool_choice::Kind::FunctionName(name.to_owned())));
    refused(with_args(choice(None)), &["completion_args.tool_choice"]);
    refused(with_args(choice(Some(tool_choice::Kind::Mode(0)))), &["completion_args.tool_choice.mode"]);
    refused(with_args(choice(Some(tool_choice::Kind::Mode(9)))), &["completion_args.tool_choice.mode"]);
    refused(with_args(named("f")), &["completion_args.tool_choice.function_name"]);
    let other = proto::StartRequest { tools: vec![function("g")], ..with_args(named("f")) };
    refused(other, &["completion_args.tool_choice.function_name"]);
    let prediction = Some(proto::Prediction::default());
    refused(with_args(Args { prediction, ..Args::default() }), &["completion_args.prediction.content"]);

    let format = |r#type, json_schema| {
        let response_format = Some(proto::ResponseFormat { r#type, json_schema, check: false });
        with_args(Args { response_format, ..Args::default() })
    };
    let at = "completion_args.response_format";
    let unchecked = Some(proto::ResponseFormat { r#type: 2, json_schema: None, check: true });
    refused(with_args(Args { response_format: unchecked, ..Args::default() }), &[&format!("{at}.check")]);
    refused(format(0, None), &[&format!("{at}.type")]);
    refused(format(9, None), &[&format!("{at}.type")]);
    refused(format(3, None), &[&format!("{at}.json_schema")]);
    let schema = proto::JsonSchema { name: String::new(), schema: None, ..Default::default() };
    refused(format(1, Some(schema.clone())), &[&format!("{at}.json_schema")]);
    refused(format(3, Some(schema)), &[&format!("{at}.json_schema.name"), &format!("{at}.json_schema.schema")]);
}

#[test]
fn metadata_request_id_and_store() {
    let with = |pairs: BTreeMap<String, String>| proto::StartRequest { metadata: pairs, ..good() };
    refused(with((0..65).map(|i| (i.to_string(), String::new())).collect()), &["metadata"]);
    refused(with([(String::new(), "x".to_owned())].into()), &["metadata"]);
    refused(with([("k".repeat(65), "x".to_owned())].into()), &["metadata"]);
    refused(with([("key".to_owned(), "x".repeat(513))].into()), &["metadata[\"key\"]"]);
    refused(proto::StartRequest { request_id: "r".repeat(129), ..good() }, &["request_id"]);
    refused(proto::StartRequest { request_id: "a b".to_owned(), ..good() }, &["request_id"]);
    let nothing = proto::StartRequest { store: Some(false), skip_completion: true, ..good() };
    refused(nothing, &["skip_completion"]);
}

#[test]
fn all_violations_come_at_once() {
    let request = proto::StartRequest {
        model: String::new(),
        request_id: "ü".to_owned(),
        inputs: vec![user(vec![image("http://x", "")]), prefix()],
        input: String::new(),
        tools: vec![function("f f")],
        completion_args: Some(proto::CompletionArgs { top_p: Some(7.0), ..Default::default() }),
        ..good()
    };
    let expected = [
        "start.model",
        "start.inputs[0].message_input.content[0].image_url.url",
        "start.tools[0].function.name",
        "start.completion_args.top_p",
        "start.request_id",
    ];
    let failure = request::start("start", request.clone()).expect_err("it breaks rules");
    assert_eq!(fields(&failure), expected);
    let stream = proto::stream_events_request::Request::Start(request);
    let stream = proto::StreamEventsRequest { view: 77, request: Some(stream) };
    let failure = request::stream_events(stream).expect_err("it breaks rules");
    assert_eq!(fields(&failure), [&expected[..], &["view"]].concat());
}

#[test]
fn descriptions_tell_limits_and_sizes_but_no_content() {
    let secret = "s3cret ".repeat(60);
    let request = proto::StartRequest {
        model: secret.clone(),
        metadata: [("key".to_owned(), secret.repeat(3))].into(),
        tools: vec![function(&secret)],
        inputs: vec![user(vec![image(&secret, &secret)])],
        input: String::new(),
        ..good()
    };
    let failure = request::start("", request).expect_err("it breaks rules");
    assert!(!failure.message.contains("s3cret") && !format!("{:?}", failure.violations).contains("s3cret"));
    let model = failure.violations.iter().find(|violation| violation.field == "model").expect("it is too long");
    assert_eq!(model.description, "must be 1 to 256 visible ASCII characters, has 420 bytes");
}

#[test]
fn append_and_restart() {
    let conversation_id = format!("conv_{}", "0".repeat(32));
    let append = |change: fn(&mut proto::AppendRequest)| {
        let mut request = proto::AppendRequest { conversation_id: conversation_id.clone(), ..Default::default() };
        change(&mut request);
        request::append("append", request)
    };
    assert!(append(|_| ()).is_ok(), "no input: the model answers the history");
    let cases: [Case<proto::AppendRequest>; 5] = [
        (|r| r.conversation_id = String::new(), "append.conversation_id"),
        (|r| r.conversation_id.push('0'), "append.conversation_id"),
        (|r| (r.clear_tools, r.tools) = (true, vec![function("f")]), "append.clear_tools"),
        (|r| r.model = "a b".to_owned(), "append.model"),
        (|r| (r.store, r.skip_completion) = (Some(false), true), "append.skip_completion"),
    ];
    for (change, field) in cases {
        assert_eq!(fields(&append(change).expect_err("it breaks a rule")), [field]);
    }
    let named = |request: &mut proto::AppendRequest| {
        let kind = Some(tool_choice::Kind::FunctionName("f".to_owned()));
        let tool_choice = Some(proto::ToolChoice { kind });
        request.completion_args = Some(proto::CompletionArgs { tool_choice, ..Default::default() });
    };
    assert!(append(named).is_ok(), "the version's tools are the engine's to know");
    let restart = proto::RestartRequest { conversation_id, boundary: 9, ..Default::default() };
    let failure = request::restart("", restart).expect_err("it breaks rules");
    assert_eq!(fields(&failure), ["from_entry_id", "boundary"]);
}

#[test]
fn streams_lists_and_lookups() {
    let none = request::stream_events(proto::StreamEventsRequest::default()).expect_err("what to watch is missing");
    assert_eq!(fields(&none), ["request"]);
    let resume = proto::ResumeRequest { turn_id: "turn_1".to_owned(), after_sequence: -1 };
    let request = Some(proto::stream_events_request::Request::Resume(resume));
    let failure = request::stream_events(proto::StreamEventsRequest { view: 0, request }).expect_err("it breaks rules");
    assert_eq!(fields(&failure), ["resume.turn_id", "resume.after_sequence"]);

    let request = proto::ListConversationsRequest {
        page_size: -1,
        page_token: "garbage".to_owned(),
        tree_of: "msg_1".to_owned(),
        model: "a b".to_owned(),
        created_after: Some(Timestamp { seconds: 0, nanos: i32::MIN }),
        ..Default::default()
    };
    let failure = list::conversations(request).expect_err("it breaks rules");
    assert_eq!(fields(&failure), ["page_size", "page_token", "tree_of", "model", "created_after.nanos"]);
    let request = proto::ListEntriesRequest { kinds: vec![1, 0, 99], order: 5, ..Default::default() };
    let failure = list::entries(request).expect_err("it breaks rules");
    assert_eq!(fields(&failure), ["conversation_id", "kinds[1]", "kinds[2]", "order"]);
    assert!(list::versions(proto::ListVersionsRequest::default()).is_err());
    assert!(lookup::turn_id("turn_id", &format!("turn_{}", "F".repeat(32))).is_err(), "hex digits are lowercase");
    assert_eq!(fields(&lookup::entry_id("entry_id", "").expect_err("it is missing")), ["entry_id"]);
}
