//! Requests that break rules, over the wire: all that is wrong is named at once, nothing is stored, and the server lives.

use bytes::Bytes;
use causerie::proto::{
    self, ErrorReason, chunk::Kind as ChunkKind, entry::Kind as EntryKind, stream_events_request::Request,
};
use prost::Message;
use prost_types::{Struct, Value, value};
use tonic::transport::Channel;

use crate::support::{
    calls,
    provider::Reply,
    raw,
    server::{TestServer, append, start},
    status::{assert_promised, fields_of, named},
};

/// A request that breaks rules, and the fields that are told.
struct Case {
    name: &'static str,
    method: &'static str,
    message: Bytes,
    fields: Vec<String>,
}

fn case(name: &'static str, method: &'static str, message: &impl Message, fields: &[&str]) -> Case {
    let fields = fields.iter().map(|field| (*field).to_owned()).collect();
    Case { name, method, message: message.encode_to_vec().into(), fields }
}

/// A Start, and the same within StreamEvents.
fn starts(name: &'static str, start: proto::StartRequest, fields: &[&str]) -> [Case; 2] {
    let unary = case(name, "Start", &start, fields);
    let streamed = proto::StreamEventsRequest { request: Some(Request::Start(start)), ..Default::default() };
    let fields: Vec<String> = fields.iter().map(|field| format!("start.{field}")).collect();
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    [unary, case(name, "StreamEvents", &streamed, &fields)]
}

fn chunk(kind: ChunkKind) -> proto::Chunk {
    proto::Chunk { kind: Some(kind) }
}

fn entry(kind: EntryKind) -> proto::Entry {
    proto::Entry { kind: Some(kind), ..Default::default() }
}

fn message(role: i32, content: Vec<proto::Chunk>) -> proto::Entry {
    entry(EntryKind::MessageInput(proto::MessageInput { role, content, prefix: false }))
}

fn hello() -> proto::Chunk {
    chunk(ChunkKind::Text("Hello".to_owned()))
}

fn result_of(tool_call_id: &str) -> proto::Entry {
    let tool_call_id = tool_call_id.to_owned();
    entry(EntryKind::FunctionResult(proto::FunctionResult { tool_call_id, ..Default::default() }))
}

fn function(name: &str, parameters: Option<Struct>) -> proto::Tool {
    let function = proto::Function { name: name.to_owned(), parameters, ..Default::default() };
    proto::Tool { kind: Some(proto::tool::Kind::Function(function)) }
}

fn with_inputs(inputs: Vec<proto::Entry>) -> proto::StartRequest {
    proto::StartRequest { inputs, ..start("") }
}

fn turns() -> Vec<Case> {
    let image = || chunk(ChunkKind::ImageUrl(proto::ImageUrl { url: "https://a/b".to_owned(), detail: String::new() }));
    let (user, system, many) = (2, 1, 10_000);
    let tools = (0..many).map(|i| function(&format!("f{i}"), None)).collect();
    let kind = Some(value::Kind::StringValue("no such type".to_owned()));
    let schema = Struct { fields: [("type".to_owned(), Value { kind })].into() };
    let all_at_once = proto::StartRequest {
        model: "two words".to_owned(),
        inputs: vec![message(99, vec![proto::Chunk::default()]), message(user, vec![])],
        tools: vec![function("no good", None), function("f", None), function("f", None)],
        completion_args: Some(proto::CompletionArgs {
            temperature: Some(9.0),
            reasoning_effort: 77,
            ..Default::default()
        }),
        metadata: [("k".repeat(65), String::new())].into(),
        request_id: "r".repeat(129),
        ..start("")
    };
    let all_fields = [
        "metadata",
        "inputs[0].message_input.role",
        "inputs[0].message_input.content[0]",
        "inputs[1].message_input.content",
        "model",
        "tools[0].function.name",
        "tools[2].function.name",
        "completion_args.temperature",
        "completion_args.reasoning_effort",
        "request_id",
    ];
    [
        starts("nothing", proto::StartRequest::default(), &["model", "input"]),
        starts("no-input", start(""), &["input"]),
        starts(
            "both-inputs",
            proto::StartRequest { input: "Hi".to_owned(), ..with_inputs(vec![message(user, vec![hello()])]) },
            &["input"],
        ),
        starts(
            "image-of-the-system",
            with_inputs(vec![message(system, vec![image()]), message(user, vec![hello()])]),
            &["inputs[0].message_input.content[0]"],
        ),
        starts("unknown-role", with_inputs(vec![message(99, vec![hello()])]), &["inputs[0].message_input.role"]),
        starts("ten-thousand-tools", proto::StartRequest { tools, ..start("Hi") }, &["tools"]),
        starts("ten-thousand-inputs", with_inputs(vec![message(user, vec![hello()]); many]), &["inputs"]),
        starts(
            "no-schema",
            proto::StartRequest { tools: vec![function("f", Some(schema))], ..start("Hi") },
            &["tools[0].function.parameters"],
        ),
        starts("three-mebibytes", start(&"x".repeat((3 << 20) + 1)), &["input"]),
        starts("all-at-once", all_at_once, &all_fields),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What only the history can tell. A result names the field of its entry; streamed or not, the turn is the same.
fn results() -> Vec<Case> {
    let never_made = with_inputs(vec![result_of("call_never_made")]);
    let field = "inputs[0].function_result.tool_call_id";
    let streamed =
        proto::StreamEventsRequest { request: Some(Request::Start(never_made.clone())), ..Default::default() };
    vec![
        case("never-called", "Start", &never_made, &[field]),
        case("never-called", "StreamEvents", &streamed, &[field]),
    ]
}

fn ids_and_pages() -> Vec<Case> {
    let bad = || "conv_XYZ".to_owned();
    let list = proto::ListConversationsRequest {
        page_size: i32::MIN,
        page_token: "garbage".to_owned(),
        tree_of: bad(),
        ..Default::default()
    };
    let entries = proto::ListEntriesRequest {
        conversation_id: bad(),
        page_size: -1,
        page_token: "00".repeat(4000),
        kinds: vec![1, 99],
        order: 9,
    };
    let restart = proto::RestartRequest { conversation_id: bad(), boundary: -3, ..Default::default() };
    let resume = calls::resume("turn_0", -1);
    let resume = proto::StreamEventsRequest { request: Some(resume), view: 99 };
    vec![
        case("append", "Append", &append("", "Hi"), &["conversation_id"]),
        case("restart", "Restart", &restart, &["conversation_id", "from_entry_id", "boundary"]),
        case("stream", "StreamEvents", &proto::StreamEventsRequest::default(), &["request"]),
        case("resume", "StreamEvents", &resume, &["resume.turn_id", "resume.after_sequence", "view"]),
        case("get-turn", "GetTurn", &proto::GetTurnRequest { turn_id: bad(), ..Default::default() }, &["turn_id"]),
        case("cancel-turn", "CancelTurn", &proto::CancelTurnRequest::default(), &["turn_id"]),
        case("get", "GetConversation", &proto::GetConversationRequest { conversation_id: bad() }, &["conversation_id"]),
        case("delete", "DeleteConversation", &proto::DeleteConversationRequest::default(), &["conversation_id"]),
        case("list", "ListConversations", &list, &["page_size", "page_token", "tree_of"]),
        case("entries", "ListEntries", &entries, &["page_size", "page_token", "conversation_id", "kinds[1]", "order"]),
        case(
            "versions",
            "ListVersions",
            &proto::ListVersionsRequest { page_size: -7, ..Default::default() },
            &["page_size", "conversation_id"],
        ),
        case(
            "export",
            "ExportConversations",
            &proto::ExportConversationsRequest { conversation_id: bad() },
            &["conversation_id"],
        ),
        case("import", "ImportConversations", &proto::ImportConversationsRequest::default(), &["record"]),
    ]
}

async fn refused(channel: &Channel, case: &Case) -> tonic::Status {
    let answer = raw::call(channel, (case.method, case.name), vec![case.message.clone()], usize::MAX).await;
    answer.expect_err(case.name)
}

#[tokio::test]
async fn every_field_that_breaks_a_rule_is_named_and_nothing_is_stored() {
    let server = TestServer::start().await;
    let channel = server.channel().await;
    for case in [turns(), results(), ids_and_pages()].into_iter().flatten() {
        let status = refused(&channel, &case).await;
        assert_promised(&status, ErrorReason::InvalidRequest, case.name);
        let mut told = fields_of(&status);
        let mut expected = case.fields.clone();
        told.sort();
        expected.sort();
        assert_eq!(told, expected, "{} of {}: {status:?}", case.name, case.method);
    }
    assert_unharmed(&server).await;
    server.stop().await;
}

/// Nothing was asked, nothing is stored, and a good request is served.
async fn assert_unharmed(server: &TestServer) {
    let mut client = server.client().await;
    assert!(server.provider.requests().is_empty(), "no model was asked");
    assert_eq!(calls::list_all(&mut client).await, []);
    server.provider.reply(Reply::text("ok"));
    client.start(start("Hello")).await.expect("the server lives");
}

#[tokio::test]
async fn bytes_that_are_no_message_are_refused() {
    let server = TestServer::start().await;
    let channel = server.channel().await;
    let mut not_utf8 = start("Hello").encode_to_vec();
    let at = not_utf8.windows(5).position(|bytes| bytes == b"Hello").expect("the input");
    not_utf8[at] = 0xff;
    let cut = &start("Hello").encode_to_vec()[..8];
    for (name, bytes) in [("not-utf8", not_utf8), ("cut", cut.to_vec()), ("group", vec![0x0b; 100])] {
        for method in ["Start", "StreamEvents", "ImportConversations"] {
            let status = raw::call(&channel, (method, name), vec![bytes.clone().into()], 1).await.expect_err(name);
            assert_promised(&status, ErrorReason::InvalidRequest, name);
        }
    }
    let status = raw::call(&channel, ("Start", "none"), Vec::new(), 1).await.expect_err("no message");
    assert_promised(&status, ErrorReason::InvalidRequest, "none");
    assert_unharmed(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_and_the_connection_lives() {
    let server = TestServer::start().await;
    let channel = server.channel().await;
    let large = Bytes::from(start(&"x".repeat(5 << 20)).encode_to_vec());
    for method in ["Start", "Append", "StreamEvents", "ListEntries", "ImportConversations"] {
        let status = raw::call(&channel, (method, "large"), vec![large.clone()], 1).await.expect_err(method);
        assert_promised(&status, ErrorReason::MessageTooLarge, "large");
    }
    assert_unharmed(&server).await;
    server.stop().await;
}

/// A caller who goes on with a token learns at once that it does not fit, and not by a wrong page.
#[tokio::test]
async fn page_tokens_of_another_query_are_refused() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    server.provider.on_every(Reply::text("ok"));
    let first = client.start(start("one")).await.expect("an answer").into_inner().conversation_id;
    let second = client.append(append(&first, "two")).await.expect("an answer").into_inner().conversation_id;
    let page = proto::ListConversationsRequest { page_size: 1, ..Default::default() };
    let token = client.list_conversations(page.clone()).await.expect("a page").into_inner().next_page_token;
    assert!(!token.is_empty());
    let mut stale = token.clone();
    stale.replace_range(0..2, "00");

    let heads = proto::ListConversationsRequest { heads_only: true, page_token: token.clone(), ..page.clone() };
    let model = proto::ListConversationsRequest { model: "m".to_owned(), page_token: token.clone(), ..page.clone() };
    let old = proto::ListConversationsRequest { page_token: stale, ..page.clone() };
    for query in [heads, model, old] {
        let status = client.list_conversations(named("token", query)).await.expect_err("another query");
        assert_promised(&status, ErrorReason::InvalidRequest, "token");
        assert_eq!(fields_of(&status), ["page_token"]);
    }
    let entries =
        proto::ListEntriesRequest { conversation_id: second.clone(), page_token: token.clone(), ..Default::default() };
    let status = client.list_entries(named("token", entries)).await.expect_err("another method");
    assert_eq!(fields_of(&status), ["page_token"]);
    let versions =
        proto::ListVersionsRequest { conversation_id: second.clone(), page_token: token.clone(), ..Default::default() };
    let status = client.list_versions(named("token", versions)).await.expect_err("another method");
    assert_eq!(fields_of(&status), ["page_token"]);

    calls::delete(&mut client, &second, false).await.expect("a head");
    let rest = proto::ListConversationsRequest { page_token: token, page_size: i32::MAX, ..page };
    let rest = client.list_conversations(rest).await.expect("a token outlives what it points at").into_inner();
    assert_eq!(rest.conversations.iter().map(|version| &version.id).collect::<Vec<_>>(), [&first]);
    server.stop().await;
}
