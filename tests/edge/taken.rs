//! Requests that keep to the rules: what the engine gets of them.

use causerie::{
    domain::request::{Base, ToolConfirmation, ToolUse, TurnRequest},
    domain::{Body, Chunk, agent::AgentPin, entry::Role, ids::EntryKind, settings::ToolChoice, tool::Tool},
    grpc::convert::{
        list, request,
        request::{View, Watched},
    },
    proto::{self, chunk::Kind as ChunkKind, entry::Kind, stream_events_request::Request},
};

fn start() -> proto::StartRequest {
    proto::StartRequest { model: "small".to_owned(), input: "Hello".to_owned(), ..Default::default() }
}

fn taken(request: proto::StartRequest) -> TurnRequest {
    request::start("", request).expect("it keeps to the rules")
}

#[test]
fn the_shortest_start() {
    let turn = taken(start());
    assert_eq!((turn.base, turn.store, turn.skip_completion, turn.request), (Base::Start, true, false, None));
    assert_eq!(turn.overrides.model.as_deref(), Some("small"));
    let Body::MessageInput(message) = &turn.inputs[0].body else { panic!("{:?}", turn.inputs) };
    assert_eq!((message.role, &message.content[..]), (Role::User, &[Chunk::Text("Hello".to_owned())][..]));
}

#[test]
fn an_agent_leads_instead_of_a_model() {
    let tool_choice = Some(proto::tool_choice::Kind::FunctionName("of_the_agent".to_owned()));
    let tool_choice = Some(proto::ToolChoice { kind: tool_choice });
    let completion_args = Some(proto::CompletionArgs { tool_choice, ..Default::default() });
    let agent_id = "agent_1".to_owned();
    let turn = taken(proto::StartRequest { model: String::new(), agent_id, completion_args, ..start() });
    assert_eq!((turn.overrides.model, turn.overrides.agent_id.as_deref()), (None, Some("agent_1")));
    let args = turn.overrides.completion_args.expect("given");
    assert_eq!(args.tool_choice, Some(ToolChoice::Function("of_the_agent".to_owned())));
}

#[test]
fn a_version_without_entries_can_be_made() {
    let turn = taken(proto::StartRequest { input: String::new(), skip_completion: true, ..start() });
    assert!(turn.inputs.is_empty() && turn.skip_completion);
}

/// What ListEntries returns of a conversation in which a prefix was continued.
#[test]
fn a_prefix_stays_in_a_history_that_is_put_in_again() {
    let text = |text: &str| vec![proto::Chunk { kind: Some(ChunkKind::Text(text.to_owned())) }];
    let entry = |kind| proto::Entry { kind: Some(kind), ..Default::default() };
    let role = proto::Role::Assistant.into();
    let prefix = proto::MessageInput { role, content: text("So"), prefix: true };
    let output = proto::MessageOutput { content: text(" it is."), status: 0, segments: vec![] };
    let user = proto::MessageInput { role: proto::Role::User.into(), content: text("Hm"), prefix: false };
    let inputs = vec![
        entry(Kind::MessageInput(prefix.clone())),
        entry(Kind::MessageOutput(output)),
        entry(Kind::MessageInput(user)),
        entry(Kind::MessageInput(prefix)),
    ];
    assert_eq!(taken(proto::StartRequest { input: String::new(), inputs, ..start() }).inputs.len(), 4);
}

#[test]
fn urls_and_audio_of_every_allowed_form() {
    let chunk = |kind| proto::Chunk { kind: Some(kind) };
    let image = |url: &str| chunk(ChunkKind::ImageUrl(proto::ImageUrl { url: url.to_owned(), detail: String::new() }));
    let audio = |data: &str| chunk(ChunkKind::InputAudio(proto::InputAudio { data: data.to_owned() }));
    let content = vec![
        image("HTTPS://example.com/ü.png?a=b"),
        image("data:image/png;base64,iVBORw0KGgo="),
        audio("UklGRg=="),
        audio("UklGRiQA"),
        audio("https://example.com/a.mp3"),
    ];
    let message = proto::MessageInput { role: proto::Role::User.into(), content, prefix: false };
    let inputs = vec![proto::Entry { kind: Some(Kind::MessageInput(message)), ..Default::default() }];
    taken(proto::StartRequest { input: String::new(), inputs, ..start() });
}

#[test]
fn what_append_keeps_changes_and_removes() {
    let append = proto::AppendRequest { conversation_id: format!("conv_{}", "a".repeat(32)), ..Default::default() };
    let read = |request| request::append("", request).expect("it keeps to the rules");
    let kept = read(append.clone()).overrides;
    assert!(kept.instructions.is_none() && kept.tools.is_none() && kept.completion_args.is_none());
    let cleared = proto::AppendRequest {
        instructions: Some(String::new()),
        clear_tools: true,
        completion_args: Some(proto::CompletionArgs::default()),
        require_head: true,
        ..append
    };
    let turn = read(cleared);
    assert!(matches!(turn.base, Base::Append { require_head: true, .. }));
    assert_eq!(turn.overrides.instructions.as_deref(), Some(""));
    assert_eq!(turn.overrides.tools, Some(Vec::<Tool>::new()));
    assert!(turn.overrides.completion_args.is_some());
}

#[test]
fn a_version_of_an_agent_by_number_or_alias() {
    let pin = |agent_version: &str| {
        let (model, agent_id) = (String::new(), "agent_1".to_owned());
        let request = proto::StartRequest { model, agent_id, agent_version: agent_version.to_owned(), ..start() };
        taken(request).overrides.agent_pin
    };
    assert_eq!(pin(""), None);
    assert_eq!(pin("12"), Some(AgentPin::Version(12)));
    assert_eq!(pin("4294967295"), Some(AgentPin::Version(u32::MAX)));
    for alias in ["p", "production", "next-1", "a_b"] {
        assert_eq!(pin(alias), Some(AgentPin::Alias(alias.to_owned())));
    }
}

#[test]
fn what_a_turn_does_with_tools_and_agents() {
    use proto::{HandoffExecution, PendingCalls, tool_confirmation::Confirmation};
    let append = proto::AppendRequest { conversation_id: format!("conv_{}", "a".repeat(32)), ..Default::default() };
    let read = |request| request::append("", request).expect("it keeps to the rules").tool_use;
    let usual = ToolUse { handoff_to_caller: false, max_rounds: None, confirmations: vec![], skip_pending: false };
    assert_eq!(read(append.clone()), usual);
    let said = proto::AppendRequest {
        handoff_execution: HandoffExecution::Server.into(),
        pending_calls: PendingCalls::Require.into(),
        ..append.clone()
    };
    assert_eq!(read(said), usual);
    let confirmation = |id: &str, confirmation: Confirmation, arguments: &str| proto::ToolConfirmation {
        tool_call_id: id.to_owned(),
        confirmation: confirmation.into(),
        reason: "because".to_owned(),
        arguments: arguments.to_owned(),
        decided_by: "anna".to_owned(),
    };
    let all = proto::AppendRequest {
        handoff_execution: HandoffExecution::Client.into(),
        max_tool_rounds: 3,
        tool_confirmations: vec![
            confirmation("c1", Confirmation::Allow, "{\"a\": 1.0}"),
            confirmation("c2", Confirmation::Deny, ""),
        ],
        pending_calls: PendingCalls::Skip.into(),
        ..append
    };
    let decided = |id: &str, allowed, arguments: Option<&str>| ToolConfirmation {
        tool_call_id: id.to_owned(),
        allowed,
        reason: "because".to_owned(),
        arguments: arguments.map(str::to_owned),
        decided_by: "anna".to_owned(),
    };
    let confirmations = vec![decided("c1", true, Some("{\"a\": 1.0}")), decided("c2", false, None)];
    let expected = ToolUse { handoff_to_caller: true, max_rounds: Some(3), confirmations, skip_pending: true };
    assert_eq!(read(all), expected);
}

#[test]
fn a_request_without_a_method_is_a_get() {
    let (name, url) = ("weather".to_owned(), "https://example.com/{city}".to_owned());
    let timeout = Some(prost_types::Duration { seconds: 1, nanos: 500_999_999 });
    let request = proto::HttpRequestTool { name, url, timeout, ..Default::default() };
    let tools = vec![proto::Tool { kind: Some(proto::tool::Kind::HttpRequest(request)) }];
    let turn = taken(proto::StartRequest { tools, ..start() });
    let Some([Tool::HttpRequest(request)]) = turn.overrides.tools.as_deref() else { panic!("{turn:?}") };
    let spec = request.declared.as_ref().expect("it has an address");
    assert_eq!((spec.method.as_str(), spec.timeout_ms), ("GET", 1500));
}

#[test]
fn boundaries_of_a_restart() {
    let keeps = |boundary: proto::restart_request::Boundary| {
        let request = proto::RestartRequest {
            conversation_id: format!("conv_{}", "a".repeat(32)),
            from_entry_id: format!("msg_{}", "b".repeat(32)),
            boundary: boundary.into(),
            ..Default::default()
        };
        match request::restart("", request).expect("it keeps to the rules").base {
            Base::Restart { keep_entry, .. } => keep_entry,
            other => panic!("{other:?}"),
        }
    };
    assert!(keeps(proto::restart_request::Boundary::Unspecified));
    assert!(keeps(proto::restart_request::Boundary::AfterEntry));
    assert!(!keeps(proto::restart_request::Boundary::BeforeEntry));
}

fn streamed(request: Request) -> TurnRequest {
    let request = proto::StreamEventsRequest { view: proto::EventView::Lifecycle.into(), request: Some(request) };
    let stream = request::stream_events(request).expect("it keeps to the rules");
    assert_eq!(stream.view, View::Lifecycle);
    match stream.watched {
        Watched::Run(turn) => *turn,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_repeated_request_is_known_however_it_comes() {
    let request_id = "r1".to_owned();
    let metadata = [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())].into();
    let request = proto::StartRequest { request_id, metadata, ..start() };
    let key = |turn: TurnRequest| turn.request.expect("it has an id");
    let first = key(taken(request.clone()));
    assert_eq!(first.id, "r1");
    assert_eq!(key(streamed(Request::Start(request.clone()))), first);
    let renamed = key(taken(proto::StartRequest { request_id: "r2".to_owned(), ..request.clone() }));
    assert_eq!(renamed.fingerprint, first.fingerprint);
    let other = key(taken(proto::StartRequest { input: "Hello!".to_owned(), ..request }));
    assert_ne!(other.fingerprint, first.fingerprint);
}

/// Stores keep fingerprints: another release must come to the same ones.
#[test]
fn fingerprints_stay_the_same_over_releases() {
    let request = proto::StartRequest { request_id: "r".to_owned(), ..start() };
    let fingerprint = taken(request).request.expect("it has an id").fingerprint;
    let hex: String = fingerprint.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "09f70c3eafa9baa377f7c885e9c4e93c");
}

#[test]
fn the_same_fields_in_another_method_are_another_request() {
    let (conversation_id, request_id) = (format!("conv_{}", "a".repeat(32)), "r".to_owned());
    let append = proto::AppendRequest { conversation_id, request_id, ..Default::default() };
    let restart = proto::RestartRequest {
        conversation_id: append.conversation_id.clone(),
        from_entry_id: format!("msg_{}", "b".repeat(32)),
        request_id: append.request_id.clone(),
        ..Default::default()
    };
    let append = request::append("", append).expect("valid").request.expect("it has an id");
    let restart = request::restart("", restart).expect("valid").request.expect("it has an id");
    assert_ne!(append.fingerprint, restart.fingerprint);
}

#[test]
fn resuming_a_turn() {
    let turn_id = format!("turn_{}", "c".repeat(32));
    let resume = proto::ResumeRequest { turn_id: turn_id.clone(), after_sequence: 7 };
    let request = proto::StreamEventsRequest { view: 0, request: Some(Request::Resume(resume)) };
    let stream = request::stream_events(request).expect("it keeps to the rules");
    assert_eq!(stream.view, View::Full);
    match stream.watched {
        Watched::Resume { turn_id: id, after_sequence } => assert_eq!((id.to_string(), after_sequence), (turn_id, 7)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn lists_and_their_pages() {
    let request = proto::ListEntriesRequest {
        conversation_id: format!("conv_{}", "a".repeat(32)),
        kinds: vec![2, 1, 2],
        order: proto::list_entries_request::Order::NewestFirst.into(),
        ..Default::default()
    };
    let first = list::entries(request.clone()).expect("it keeps to the rules");
    assert!(first.newest_first && first.page.cursor.is_none() && first.page.size == 50);
    assert!(first.kinds.iter().eq([&EntryKind::MessageInput, &EntryKind::MessageOutput]));
    let page_token = first.page.next_token(b"x");
    let next = proto::ListEntriesRequest { page_token, page_size: 5000, ..request };
    let page = list::entries(next.clone()).expect("it keeps to the rules").page;
    assert_eq!((page.size, page.cursor), (1000, Some(b"x".to_vec())));
    let failure = list::entries(proto::ListEntriesRequest { order: 0, ..next }).expect_err("another query");
    assert_eq!(failure.violations[0].field, "page_token");
}
