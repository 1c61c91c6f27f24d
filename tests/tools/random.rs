//! Conversations with tools as they come: whatever was asked, allowed, denied, skipped or handed over, each request keeps the order
//! that Mistral wants, each history goes on from each of its entries, and an import gives what was exported.

use causerie::{
    offline::{MODELS, Offline, Options},
    proto::{
        self, agent_service_client::AgentServiceClient, entry::Kind, stream_events_request::Request,
        tool_confirmation::Confirmation, turn::State,
    },
};
use serde_json::json;

use super::{
    function,
    hosted::{begins, conversation, ended, ends, says, web_search},
    http_tool, tool, with_tools,
};
use crate::{
    support::{
        calls,
        completion::{self, calls as call_piece, finish, stream_of},
        events::{assert_whole, events_of, full},
        http::post,
        provider::{Captured, Reply, ScriptedProvider},
        random::{Dice, rounds},
        server::{Client, TestServer, append},
    },
    transfer,
};

/// The service with two agents that hand over to each other, and a second provider.
struct Stage {
    server: TestServer,
    client: Client,
    other: ScriptedProvider,
    /// What the HTTP tools ask.
    _peer: ScriptedProvider,
    first_agent: String,
}

impl Stage {
    async fn new() -> Stage {
        let (peer, other) = (ScriptedProvider::start().await, ScriptedProvider::start().await);
        peer.on_path("/clock", Reply::plain(200, "text/plain", "noon"));
        peer.on_path("/empty", Reply::plain(200, "text/plain", ""));
        peer.on_path("/broken", Reply::plain(500, "text/plain", "no"));
        other.on_every(stream_of(&["I see."], "stop"));
        let file = format!(
            "[tools.http]\nallow = [\"127.0.0.1\"]\n\
             [providers.other]\ndialect = \"openai\"\nbase_url = \"{}\"\nkey_header = \"none\"\n",
            other.base_url()
        );
        let server = TestServer::configured(&file, &[("turns.max_tool_rounds", "4")]).await;
        server.provider.on_every(stream_of(&["Well."], "stop"));
        let found = [
            begins("run_a", "web_search", "{}"),
            ends("run_a", "web_search", json!({})),
            says("msg_a", json!("Found.")),
            ended(),
        ];
        server.provider.on_path("/v1/conversations", conversation(&found));
        let first_agent = agents(&server, &peer).await;
        let client = server.client().await;
        Stage { server, client, other, _peer: peer, first_agent }
    }

    /// A whole conversation: the version that it ends with.
    async fn converse(&self, dice: &mut Dice) -> String {
        let start = proto::StartRequest {
            model: String::new(),
            agent_id: self.first_agent.clone(),
            ..with_tools("Go", vec![])
        };
        let mut turn = self.turn(dice, Request::Start(start)).await;
        for _ in 0..2 + dice.below(5) {
            let next = self.next(dice, &turn).await;
            turn = self.turn(dice, Request::Append(next)).await;
        }
        turn.conversation_id
    }

    async fn turn(&self, dice: &mut Dice, request: Request) -> proto::Turn {
        for _ in 0..dice.below(4) {
            self.server.provider.reply(answer(dice));
        }
        let seen = events_of(&self.client, full(request)).await;
        assert_whole(&seen.events);
        seen.turn().clone()
    }

    /// What may follow a turn: results, decisions, a message, or nothing if it stopped in the middle.
    async fn next(&self, dice: &mut Dice, turn: &proto::Turn) -> proto::AppendRequest {
        let id = &turn.conversation_id;
        let waiting = calls::get_conversation(&mut self.client.clone(), id).await.expect("a version");
        let waiting = waiting.pending_tool_call_ids;
        if waiting.is_empty() {
            let open = matches!(turn.state(), State::Incomplete);
            return append(id, if open && dice.one_in(2) { "" } else { "And now?" });
        }
        if dice.one_in(4) {
            return proto::AppendRequest {
                pending_calls: proto::PendingCalls::Skip.into(),
                ..append(id, "Never mind")
            };
        }
        let history = calls::history(&mut self.client.clone(), id).await.expect("a history");
        let mut request = append(id, "");
        for entry in history {
            let Some(Kind::FunctionCall(call)) = entry.kind else { continue };
            if !waiting.contains(&call.tool_call_id) {
                continue;
            }
            if call.confirmation_status() == proto::ConfirmationStatus::Pending {
                let confirmation = if dice.one_in(2) { Confirmation::Allow } else { Confirmation::Deny }.into();
                let tool_call_id = call.tool_call_id;
                request.tool_confirmations.push(proto::ToolConfirmation {
                    tool_call_id,
                    confirmation,
                    ..Default::default()
                });
            } else {
                let (tool_call_id, is_error) = (call.tool_call_id, dice.one_in(3));
                let result = proto::FunctionResult { tool_call_id, is_error, ..Default::default() };
                request.inputs.push(proto::Entry { kind: Some(Kind::FunctionResult(result)), ..Default::default() });
            }
        }
        if request.tool_confirmations.len() > 1 && dice.one_in(3) {
            request.tool_confirmations.pop();
        }
        request
    }

    /// Goes on from each of the entries: as it stands, with another provider's model, with a search of Mistral's.
    async fn restart_everywhere(&self, id: &str) {
        let entries = calls::history(&mut self.client.clone(), id).await.expect("a history");
        for entry in &entries {
            for variant in 0..3 {
                let mut request = proto::RestartRequest {
                    conversation_id: id.to_owned(),
                    from_entry_id: entry.id.clone(),
                    input: "Go on".to_owned(),
                    pending_calls: proto::PendingCalls::Skip.into(),
                    ..Default::default()
                };
                match variant {
                    0 => {}
                    1 => request.model = "other/model".to_owned(),
                    _ => request.tools = vec![web_search()],
                }
                let turn = calls::run(&mut self.client.clone(), "restart", Request::Restart(request)).await;
                let turn = turn.unwrap_or_else(|status| panic!("{variant} from {entry:?}: {status:?}"));
                assert_eq!(turn.state(), State::Completed, "{variant} from {entry:?}: {turn:?}");
            }
        }
    }
}

/// Creates two agents; the id of the first.
async fn agents(server: &TestServer, peer: &ScriptedProvider) -> String {
    let mut agents = AgentServiceClient::new(server.channel().await);
    let mut create = async |name: &str, tools: Vec<proto::Tool>, handoffs: Vec<String>| {
        let (name, model) = (name.to_owned(), "scripted-model".to_owned());
        let agent = proto::Agent { name, model, tools, handoffs, ..Default::default() };
        let request = proto::CreateAgentRequest { agent: Some(agent), ..Default::default() };
        agents.create_agent(request).await.expect("an agent").into_inner()
    };
    let human = proto::Tool { kind: Some(proto::tool::Kind::HumanHandoff(proto::HumanHandoffTool::default())) };
    let second = create("second", vec![tool(http_tool("clock", peer, "/clock")), human], Vec::new()).await;
    let guarded = proto::HttpRequestTool { requires_confirmation: true, ..http_tool("guarded", peer, "/clock") };
    let tools = vec![
        tool(http_tool("clock", peer, "/clock")),
        tool(http_tool("empty", peer, "/empty")),
        tool(http_tool("broken", peer, "/broken")),
        tool(guarded),
        function("mine"),
    ];
    let first = create("first", tools, vec![second.id.clone()]).await;
    let back = proto::Agent { handoffs: vec![first.id.clone()], ..second };
    let mask = prost_types::FieldMask { paths: vec!["handoffs".to_owned()] };
    let request = proto::UpdateAgentRequest { agent: Some(back), update_mask: Some(mask), ..Default::default() };
    agents.update_agent(request).await.expect("they hand over to each other");
    first.id
}

/// What a model may answer: words, calls of tools that are there or not, handoffs, with arguments that are good or torn.
fn answer(dice: &mut Dice) -> Reply {
    const TOOLS: [&str; 7] = ["clock", "clock", "empty", "broken", "guarded", "mine", "made up"];
    const ARGUMENTS: [&str; 5] = [r#"{"q":"a"}"#, r#"{"q":"b"}"#, "", r#"{"q":"#, "[1]"];
    let mut chunks = Vec::new();
    if dice.one_in(2) {
        chunks.push(completion::says("Let me see."));
    }
    if dice.one_in(4) {
        chunks.push(completion::thinks("Hm."));
    }
    for index in 0..dice.below(4) as u32 {
        chunks.push(match dice.below(8) {
            0 => call_piece(
                index,
                Some("transfer_to_agent"),
                &format!(r#"{{"agent":"{}"}}"#, dice.pick(&["first", "second"])),
            ),
            1 => call_piece(index, Some("transfer_to_human"), r#"{"message":"Please"}"#),
            _ => call_piece(index, Some(TOOLS[dice.below(TOOLS.len())]), ARGUMENTS[dice.below(ARGUMENTS.len())]),
        });
    }
    let cut = dice.one_in(10);
    chunks.push(finish(if cut { "length" } else { "stop" }));
    Reply::sse(&chunks)
}

/// The stand-in has rules of its own.
async fn assert_taken(offline: &Offline, request: &Captured) {
    let mut body = request.json.clone();
    body["model"] = json!(MODELS[0]);
    let answer = post(&format!("{}{}", offline.base_url(), request.path), &body).await;
    assert_eq!(answer.status, 200, "{} for {body:#}", answer.text);
}

#[tokio::test]
async fn conversations_with_tools_are_always_in_order() {
    let mut dice = Dice::seeded_by("CAUSERIE_TOOLS_SEED");
    let offline = Offline::start_with(Options { pace: std::time::Duration::ZERO }).await.expect("loopback");
    let (stage, copy) = (Stage::new().await, TestServer::start().await);
    let mut ids = Vec::new();
    for _ in 0..rounds("CAUSERIE_TOOLS_ROUNDS", 4) {
        ids.push(stage.converse(&mut dice).await);
    }
    // From here on the model has nothing to ask for.
    stage.server.provider.on_model("scripted-model", [stream_of(&["Well."], "stop")]);
    for id in ids {
        let exported = transfer::export(&mut stage.client.clone(), &id).await;
        let mut there = copy.client().await;
        transfer::import(&mut there, &exported).await.expect("it is taken");
        assert_eq!(transfer::timeless(transfer::export(&mut there, &id).await), transfer::timeless(exported));
        stage.restart_everywhere(&id).await;
    }
    let requests = stage.server.provider.requests();
    assert!(requests.iter().any(|request| request.path.ends_with("/conversations")));
    for request in &requests {
        assert_taken(&offline, request).await;
    }
    assert!(!stage.other.requests().is_empty());
    offline.stop().await.expect("it ends in order");
    stage.server.stop().await;
    copy.stop().await;
}
