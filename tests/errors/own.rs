//! What the service itself refuses: one scene for each reason.

use causerie::proto::{self, ErrorReason, entry, restart_request::Boundary, stream_events_request::Request};
use futures_util::future::BoxFuture;
use prost::Message;
use tonic::Status;

use super::{PROMPT, tools};
use crate::support::{
    calls::{self, get_turn},
    events::name,
    provider::Reply,
    raw,
    server::{Client, TestServer, append, start},
    status::{assert_promised, fields_of, named, told},
};
use crate::transport::caller::{Caller, frame_of, messages};
use crate::{agents, webhooks};

/// A call that was refused.
pub(crate) struct Refused {
    /// Its request id.
    pub(crate) id: &'static str,
    pub(crate) status: Status,
}

/// The calls that a reason refuses. Each scene has a server of its own, and proves what is particular to the reason.
type Scene = fn() -> BoxFuture<'static, Vec<Refused>>;

/// The table.
pub(crate) const ROWS: [(ErrorReason, Scene); 25] = [
    (ErrorReason::ConversationNotFound, || Box::pin(conversation_not_found())),
    (ErrorReason::EntryNotFound, || Box::pin(entry_not_found())),
    (ErrorReason::TurnNotFound, || Box::pin(turn_not_found())),
    (ErrorReason::AgentNotFound, || Box::pin(agent_not_found())),
    (ErrorReason::AgentVersionNotFound, || Box::pin(agent_version_not_found())),
    (ErrorReason::AgentChanged, || Box::pin(agent_changed())),
    (ErrorReason::AgentReadOnly, || Box::pin(agent_read_only())),
    (ErrorReason::WebhookNotFound, || Box::pin(webhook_not_found())),
    (ErrorReason::HeadMoved, || Box::pin(head_moved())),
    (ErrorReason::RequestIdReused, || Box::pin(request_id_reused())),
    (ErrorReason::ToolResultsMissing, || Box::pin(tool_results_missing())),
    (ErrorReason::NothingToAnswer, || Box::pin(nothing_to_answer())),
    (ErrorReason::HasSuccessors, || Box::pin(has_successors())),
    (ErrorReason::BudgetExceeded, || Box::pin(budget_exceeded())),
    (ErrorReason::Overloaded, || Box::pin(overloaded())),
    (ErrorReason::ApiKeyMissing, || Box::pin(api_key_missing())),
    (ErrorReason::MessageTooLarge, || Box::pin(message_too_large())),
    (ErrorReason::UnknownMethod, || Box::pin(unknown_method())),
    (ErrorReason::InvalidRequest, || Box::pin(invalid_request())),
    (ErrorReason::ShuttingDown, || Box::pin(shutting_down())),
    (ErrorReason::TurnCancelled, || Box::pin(turn_cancelled())),
    (ErrorReason::Timeout, || Box::pin(timeout())),
    (ErrorReason::ToolsUnavailable, || Box::pin(tools::tools_unavailable())),
    (ErrorReason::TurnLimitExceeded, || Box::pin(tools::turn_limit_exceeded())),
    (ErrorReason::ConfirmationExpired, || Box::pin(tools::confirmation_expired())),
];

#[tokio::test]
async fn what_the_service_refuses_is_told() {
    for (reason, scene) in ROWS {
        let refused = scene().await;
        assert!(!refused.is_empty(), "{reason:?}");
        for Refused { id, status } in refused {
            assert_promised(&status, reason, id);
            assert!(!format!("{status:?}").contains(PROMPT), "{id}: {status:?}");
        }
    }
}

async fn webhook_not_found() -> Vec<Refused> {
    let refused = webhooks::refused::webhook_not_found().await;
    refused.into_iter().map(|(id, status)| Refused { id, status }).collect()
}

const NO_CONVERSATION: &str = "conv_019f0000000070008000000000000000";

/// A conversation of one answered question.
async fn answered(server: &TestServer) -> (Client, proto::Turn) {
    let mut client = server.client().await;
    server.provider.reply(Reply::text("ok"));
    let turn = client.start(start(PROMPT)).await.expect("an answer").into_inner();
    (client, turn)
}

/// The same request, unary and as a stream, which both refuse before there is a turn.
pub(super) async fn both(client: &mut Client, ids: [&'static str; 2], request: Request) -> Vec<Refused> {
    let unary = calls::run(client, ids[0], request.clone()).await.expect_err(ids[0]);
    let (events, end) = calls::watch(client, ids[1], request).await;
    assert_eq!(events, [], "{}: a request that is refused has no events", ids[1]);
    vec![Refused { id: ids[0], status: unary }, Refused { id: ids[1], status: end.expect_err(ids[1]) }]
}

fn restart(conversation_id: &str, from_entry_id: &str) -> proto::RestartRequest {
    proto::RestartRequest {
        conversation_id: conversation_id.to_owned(),
        from_entry_id: from_entry_id.to_owned(),
        boundary: Boundary::AfterEntry.into(),
        input: PROMPT.to_owned(),
        ..Default::default()
    }
}

async fn conversation_not_found() -> Vec<Refused> {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let id = || NO_CONVERSATION.to_owned();
    let append = Request::Append(append(NO_CONVERSATION, PROMPT));
    let mut refused = both(&mut client, ["append-unknown", "append-unknown-stream"], append).await;
    let entry = "msg_019f0000000070008000000000000000";
    let restart = Request::Restart(restart(NO_CONVERSATION, entry));
    refused.extend(both(&mut client, ["restart-unknown", "restart-unknown-stream"], restart).await);
    let mut read = |id, status| refused.push(Refused { id, status });
    read("get-conversation", calls::get_conversation(&mut client, &id()).await.expect_err("get"));
    read("history", calls::history(&mut client, &id()).await.expect_err("list entries"));
    read("delete", calls::delete(&mut client, &id(), true).await.expect_err("delete"));
    let versions = proto::ListVersionsRequest { conversation_id: id(), ..Default::default() };
    read("versions", client.list_versions(named("versions", versions)).await.expect_err("list versions"));
    let tree = proto::ListConversationsRequest { tree_of: id(), ..Default::default() };
    read("tree", client.list_conversations(named("tree", tree)).await.expect_err("list a tree"));
    let export = proto::ExportConversationsRequest { conversation_id: id() };
    read("export", client.export_conversations(named("export", export)).await.map(drop).expect_err("export"));
    server.stop().await;
    refused
}

async fn entry_not_found() -> Vec<Refused> {
    let server = TestServer::start().await;
    let (mut client, turn) = answered(&server).await;
    let (mut other, elsewhere) = answered(&server).await;
    let entry = &calls::history(&mut other, &elsewhere.conversation_id).await.expect("a history")[0].id;
    let request = Request::Restart(restart(&turn.conversation_id, entry));
    let refused = both(&mut client, ["restart-foreign-entry", "restart-foreign-entry-stream"], request).await;
    server.stop().await;
    refused
}

async fn turn_not_found() -> Vec<Refused> {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let id = "turn_019f0000000070008000000000000000";
    let get = get_turn(&mut client, id).await.expect_err("get");
    let cancel = proto::CancelTurnRequest { turn_id: id.to_owned() };
    let cancel = client.cancel_turn(named("cancel", cancel)).await.expect_err("cancel");
    let (events, resume) = calls::watch(&mut client, "resume", calls::resume(id, 0)).await;
    assert_eq!(events, []);
    server.stop().await;
    vec![
        Refused { id: "get-turn", status: get },
        Refused { id: "cancel", status: cancel },
        Refused { id: "resume", status: resume.expect_err("resume") },
    ]
}

async fn agent_not_found() -> Vec<Refused> {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let agent_id = "agent_019f0000000070008000000000000000".to_owned();
    let request = proto::StartRequest { agent_id, model: String::new(), ..start(PROMPT) };
    let refused = both(&mut client, ["agent", "agent-stream"], Request::Start(request)).await;
    server.stop().await;
    refused
}

async fn agent_version_not_found() -> Vec<Refused> {
    let server = TestServer::start().await;
    let mut agents = agents::client(&server).await;
    let agent_id = agents::create(&mut agents, "support").await.id;
    let mut refused = Vec::new();
    for (id, version) in [("version-unknown", "2"), ("alias-unknown", "prod")] {
        let get = proto::GetAgentRequest { agent_id: agent_id.clone(), version: version.to_owned() };
        let status = agents.get_agent(named(id, get)).await.expect_err(id);
        assert_eq!(told(&status, "agent_version"), version);
        refused.push(Refused { id, status });
    }
    let back = proto::SetCurrentAgentVersionRequest { agent_id, version: "7".to_owned(), etag: String::new() };
    let status = agents.set_current_agent_version(named("current-unknown", back)).await.expect_err("unknown");
    refused.push(Refused { id: "current-unknown", status });
    server.stop().await;
    refused
}

async fn agent_changed() -> Vec<Refused> {
    let server = TestServer::start().await;
    let mut agents = agents::client(&server).await;
    let before = agents::create(&mut agents, "support").await;
    let alias = |etag: &str| proto::SetAgentAliasRequest {
        agent_id: before.id.clone(),
        alias: "prod".to_owned(),
        version: "1".to_owned(),
        etag: etag.to_owned(),
    };
    let now = agents.set_agent_alias(alias("")).await.expect("it is changed").into_inner().etag;
    let update = proto::UpdateAgentRequest {
        agent: Some(proto::Agent { instructions: PROMPT.to_owned(), ..before.clone() }),
        ..Default::default()
    };
    let delete = proto::DeleteAgentRequest { agent_id: before.id.clone(), etag: before.etag.clone() };
    let mut refused = Vec::new();
    let mut take = |id, status| refused.push(Refused { id, status });
    take("stale-update", agents.update_agent(named("stale-update", update)).await.expect_err("stale"));
    take("stale-delete", agents.delete_agent(named("stale-delete", delete)).await.expect_err("stale"));
    let alias = agents.set_agent_alias(named("stale-alias", alias(&before.etag))).await.expect_err("stale");
    take("stale-alias", alias);
    for Refused { id, status } in &refused {
        assert_eq!(told(status, "etag"), now, "{id}");
    }
    server.stop().await;
    refused
}

async fn agent_read_only() -> Vec<Refused> {
    let server = TestServer::configured("[agents.support]\nmodel = \"scripted-model\"", &[]).await;
    let mut agents = agents::client(&server).await;
    let agent = agents::list(&mut agents).await.remove(0);
    let agent_id = || agent.id.clone();
    let update = proto::Agent { instructions: PROMPT.to_owned(), ..agent.clone() };
    let update = proto::UpdateAgentRequest { agent: Some(update), ..Default::default() };
    let delete = proto::DeleteAgentRequest { agent_id: agent_id(), etag: String::new() };
    let (version, etag) = ("1".to_owned(), String::new());
    let back = proto::SetCurrentAgentVersionRequest { agent_id: agent_id(), version, etag };
    let alias = proto::DeleteAgentAliasRequest { agent_id: agent_id(), alias: "prod".to_owned(), etag: String::new() };
    let refused = vec![
        ("read-only", agents.update_agent(named("read-only", update)).await.map(drop)),
        ("read-only-delete", agents.delete_agent(named("read-only-delete", delete)).await.map(drop)),
        ("read-only-version", agents.set_current_agent_version(named("read-only-version", back)).await.map(drop)),
        ("read-only-alias", agents.delete_agent_alias(named("read-only-alias", alias)).await.map(drop)),
    ];
    assert_eq!(agents::list(&mut agents).await, [agent]);
    server.stop().await;
    refused.into_iter().map(|(id, refused)| Refused { id, status: refused.expect_err(id) }).collect()
}

async fn head_moved() -> Vec<Refused> {
    let server = TestServer::start().await;
    let (mut client, first) = answered(&server).await;
    server.provider.on_every(Reply::text("ok"));
    let faster = |text| append(&first.conversation_id, text);
    let one = client.append(faster("one")).await.expect("a successor").into_inner().conversation_id;
    let two = client.append(faster("two")).await.expect("another").into_inner().conversation_id;
    let request = Request::Append(proto::AppendRequest { require_head: true, ..faster(PROMPT) });
    let refused = both(&mut client, ["head-moved", "head-moved-stream"], request).await;
    for Refused { status, .. } in &refused {
        let heads = told(status, "heads");
        let mut heads: Vec<&str> = heads.split(',').collect();
        heads.sort_unstable();
        assert_eq!(heads, [&one, &two], "the metadata names the heads");
    }
    server.stop().await;
    refused
}

async fn request_id_reused() -> Vec<Refused> {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let mut slow = Reply::text("ok");
    let gate = slow.gate();
    server.provider.reply(slow);
    let with_id = |text: &str| proto::StartRequest { request_id: "mine".to_owned(), ..start(text) };
    let mut second = client.clone();
    let running = tokio::spawn(async move { second.start(with_id("first")).await });
    server.provider.next_request().await;
    let other = || Request::Start(with_id(PROMPT));
    let mut refused = both(&mut client, ["reused-running", "reused-running-stream"], other()).await;
    gate.open();
    let turn = running.await.expect("no panic").expect("an answer").into_inner();
    refused.extend(both(&mut client, ["reused-stored", "reused-stored-stream"], other()).await);
    for Refused { id, status } in &refused {
        assert_eq!(told(status, "turn_id"), turn.id, "{id}");
    }
    server.stop().await;
    refused
}

async fn tool_results_missing() -> Vec<Refused> {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let call = |id: &str| {
        let (tool_call_id, name) = (id.to_owned(), "weather".to_owned());
        let kind = entry::Kind::FunctionCall(proto::FunctionCall { tool_call_id, name, ..Default::default() });
        proto::Entry { kind: Some(kind), ..Default::default() }
    };
    let waiting = proto::StartRequest {
        model: "scripted-model".to_owned(),
        inputs: vec![call("call_one"), call("call_two")],
        skip_completion: true,
        ..Default::default()
    };
    let waiting = client.start(waiting).await.expect("an import").into_inner();
    let request = Request::Append(append(&waiting.conversation_id, PROMPT));
    let refused = both(&mut client, ["results-missing", "results-missing-stream"], request).await;
    for Refused { status, .. } in &refused {
        assert_eq!(told(status, "tool_call_ids"), "call_one,call_two");
    }
    server.stop().await;
    refused
}

async fn nothing_to_answer() -> Vec<Refused> {
    let server = TestServer::start().await;
    let (mut client, turn) = answered(&server).await;
    let request = Request::Append(append(&turn.conversation_id, ""));
    let refused = both(&mut client, ["nothing", "nothing-stream"], request).await;
    server.stop().await;
    refused
}

async fn has_successors() -> Vec<Refused> {
    let server = TestServer::start().await;
    let (mut client, first) = answered(&server).await;
    server.provider.reply(Reply::text("ok"));
    client.append(append(&first.conversation_id, "more")).await.expect("a successor");
    let status = calls::delete(&mut client, &first.conversation_id, false).await.expect_err("it has a successor");
    assert_eq!(told(&status, "successors"), "1");
    server.stop().await;
    vec![Refused { id: "delete", status }]
}

async fn overloaded() -> Vec<Refused> {
    let server = TestServer::with(&[("turns.max_in_flight", "1")]).await;
    let mut client = server.client().await;
    let mut slow = Reply::text("ok");
    let gate = slow.gate();
    server.provider.reply(slow);
    let mut second = client.clone();
    let running = tokio::spawn(async move { second.start(start("first")).await });
    server.provider.next_request().await;
    let refused = both(&mut client, ["overloaded", "overloaded-stream"], Request::Start(start(PROMPT))).await;
    gate.open();
    running.await.expect("no panic").expect("the turn that was in flight ends well");
    server.stop().await;
    refused
}

async fn budget_exceeded() -> Vec<Refused> {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let budget = proto::Budget { max_tokens: Some(5000), ..Default::default() };
    let tight = proto::StartRequest { tree_budget: Some(budget), ..start(&"word ".repeat(5000)) };
    let unary = calls::run(&mut client, "budget", Request::Start(tight.clone())).await.expect_err("no room");
    let (events, end) = calls::watch(&mut client, "budget-stream", Request::Start(tight)).await;
    assert_eq!(events.iter().map(name).collect::<Vec<_>>(), ["response_started", "response_error"]);
    assert_eq!(server.provider.requests().len(), 0, "nothing was spent");
    server.stop().await;
    let streamed = end.expect_err("no room");
    vec![Refused { id: "budget", status: unary }, Refused { id: "budget-stream", status: streamed }]
}

async fn api_key_missing() -> Vec<Refused> {
    let server = TestServer::with(&[("providers.mistral.key_file", "")]).await;
    let mut client = server.client().await;
    let unary = calls::run(&mut client, "no-key", Request::Start(start(PROMPT))).await.expect_err("no key");
    assert!(unary.message().contains("MISTRAL_API_KEY"), "it says how to set one: {}", unary.message());
    let (events, end) = calls::watch(&mut client, "no-key-stream", Request::Start(start(PROMPT))).await;
    assert_eq!(events.iter().map(name).collect::<Vec<_>>(), ["response_started", "response_error"]);
    let import = proto::StartRequest { skip_completion: true, ..start("no model is asked") };
    client.start(import).await.expect("what needs no model needs no key");
    server.stop().await;
    vec![Refused { id: "no-key", status: unary }, Refused { id: "no-key-stream", status: end.expect_err("no key") }]
}

async fn message_too_large() -> Vec<Refused> {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let large = start(&PROMPT.repeat((5 << 20) / PROMPT.len()));
    let refused = both(&mut client, ["large", "large-stream"], Request::Start(large)).await;
    server.stop().await;
    refused
}

async fn unknown_method() -> Vec<Refused> {
    let server = TestServer::start().await;
    let channel = server.channel().await;
    let status = raw::call(&channel, ("Improvise", "improvise"), vec![PROMPT.into()], 1).await.expect_err("unknown");
    assert!(status.message().contains("Improvise"), "{}", status.message());
    server.stop().await;
    vec![Refused { id: "improvise", status }]
}

async fn invalid_request() -> Vec<Refused> {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let request = proto::StartRequest { model: String::new(), request_id: PROMPT.repeat(9), ..start(PROMPT) };
    let refused = both(&mut client, ["invalid", "invalid-stream"], Request::Start(request)).await;
    assert_eq!(fields_of(&refused[0].status), ["model", "request_id"]);
    assert_eq!(fields_of(&refused[1].status), ["start.model", "start.request_id"]);
    server.stop().await;
    refused
}

async fn shutting_down() -> Vec<Refused> {
    let mut server = TestServer::with(&[("shutdown.grace", "1s")]).await;
    let mut client = server.client().await;
    server.provider.reply(Reply::text("too late").stall().cut_after(0));
    let running =
        tokio::spawn(async move { calls::run(&mut client, "shut-down", Request::Start(start(PROMPT))).await });
    server.provider.next_request().await;
    let ended = server.begin_stop();
    let status = running.await.expect("no panic").expect_err("the server ends first");
    assert!(told(&status, "turn_id").starts_with("turn_"), "{status:?}");
    ended.await.expect("no panic").expect("it ends well");
    vec![Refused { id: "shut-down", status }]
}

async fn turn_cancelled() -> Vec<Refused> {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    server.provider.reply(Reply::text("too late").stall().cut_after(0));
    let stream = proto::StreamEventsRequest { request: Some(Request::Start(start(PROMPT))), ..Default::default() };
    let mut stream = client.stream_events(named("cancelled", stream)).await.expect("a stream").into_inner();
    let first = stream.message().await.expect("no error yet").expect("the turn is announced");
    server.provider.next_request().await;
    let cancel = proto::CancelTurnRequest { turn_id: first.turn_id.clone() };
    let turn = client.cancel_turn(cancel).await.expect("it is stopped").into_inner();
    assert_eq!(turn.state(), proto::turn::State::Cancelled);
    let (events, end) = calls::rest(stream).await;
    assert_eq!(events.iter().map(name).collect::<Vec<_>>(), ["response_error"]);
    server.stop().await;
    vec![Refused { id: "cancelled", status: end.expect_err("it was cancelled") }]
}

/// On bare HTTP/2: tonic's client has a timer of its own, which answers CANCELLED.
async fn timeout() -> Vec<Refused> {
    const SERVICE: &str = "/causerie.v1.ConversationService";
    let server = TestServer::start().await;
    server.provider.on_every(Reply::text("too late").stall().cut_after(0));
    let caller = Caller::connect(server.address()).await;
    let deadline = |id| [("x-request-id", id), ("grpc-timeout", "50m")];
    let request = frame_of(&start(PROMPT).encode_to_vec());
    let unary = caller.call_with(&format!("{SERVICE}/Start"), &deadline("deadline"), request).await.status;
    let request = proto::StreamEventsRequest { request: Some(Request::Start(start(PROMPT))), ..Default::default() };
    let request = frame_of(&request.encode_to_vec());
    let stream = caller.call_with(&format!("{SERVICE}/StreamEvents"), &deadline("deadline-stream"), request).await;
    let kinds: Vec<_> = messages::<proto::Event>(&stream.data).iter().map(name).collect();
    assert_eq!(kinds, ["response_started", "response_error"]);
    let turn_id = told(&stream.status, "turn_id");
    let turn = get_turn(&mut server.client().await, &turn_id).await.expect("it is kept");
    assert_eq!(turn.state(), proto::turn::State::Failed);
    server.stop().await;
    vec![Refused { id: "deadline", status: unary }, Refused { id: "deadline-stream", status: stream.status }]
}
