//! Agents that break rules: all that is wrong is told at once, by its field, and nothing is stored.

use causerie::proto::{
    Agent, CompletionArgs, ConnectorTool, CreateAgentRequest, CustomConnectorTool, DeleteAgentAliasRequest,
    DocumentLibraryTool, ErrorReason, GetAgentRequest, ListAgentVersionsRequest, ListAgentsRequest,
    SetAgentAliasRequest, SetCurrentAgentVersionRequest, Tool, UpdateAgentRequest, tool, tool_choice,
};
use prost_types::FieldMask;
use tonic::Status;

use super::{Agents, client, create, function, list, update};
use crate::support::{
    server::TestServer,
    status::{assert_promised, fields_of, named},
};

fn good() -> Agent {
    Agent { name: "support".to_owned(), model: "scripted-model".to_owned(), ..Agent::default() }
}

fn connector(requires_confirmation: &[&str]) -> ConnectorTool {
    let requires_confirmation = requires_confirmation.iter().map(|name| (*name).to_owned()).collect();
    ConnectorTool { requires_confirmation, ..ConnectorTool::default() }
}

fn must_call(name: &str) -> Option<CompletionArgs> {
    let kind = Some(tool_choice::Kind::FunctionName(name.to_owned()));
    let tool_choice = Some(causerie::proto::ToolChoice { kind });
    Some(CompletionArgs { tool_choice, ..CompletionArgs::default() })
}

#[track_caller]
fn assert_fields(status: &Status, name: &str, expected: &[&str]) {
    assert_promised(status, ErrorReason::InvalidRequest, name);
    let mut told = fields_of(status);
    told.sort_unstable();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(told, expected, "{name}: {status:?}");
}

/// What an agent may not be, with the fields that are told.
fn agents_that_break_rules() -> Vec<(&'static str, Agent, Vec<&'static str>)> {
    let kind = |kind| Tool { kind: Some(kind) };
    let library = DocumentLibraryTool {
        library_ids: vec!["l".to_owned()],
        requires_confirmation: vec!["search".to_owned()],
        ..DocumentLibraryTool::default()
    };
    let custom = CustomConnectorTool {
        connector_id: "c".to_owned(),
        requires_confirmation: vec!["open".to_owned()],
        ..CustomConnectorTool::default()
    };
    let confirmed = vec![
        kind(tool::Kind::WebSearch(connector(&[]))),
        kind(tool::Kind::CodeInterpreter(connector(&["run"]))),
        kind(tool::Kind::DocumentLibrary(library)),
        kind(tool::Kind::Connector(custom)),
    ];
    let many = |count: usize| (0..count).map(|n| format!("agent_{n:032x}")).collect::<Vec<_>>();
    let all_at_once = Agent {
        name: "no/good".to_owned(),
        model: "two words".to_owned(),
        description: "d".repeat(8193),
        fallback_models: vec!["a".to_owned(), "a".to_owned()],
        instructions: "i".repeat((1 << 20) + 1),
        tools: vec![function("no good")],
        completion_args: Some(CompletionArgs { temperature: Some(9.0), ..CompletionArgs::default() }),
        handoffs: vec!["ag_0".to_owned(), "x".to_owned()],
        metadata: [("k".repeat(65), String::new())].into(),
        ..Agent::default()
    };
    let every_field = vec![
        "agent.name",
        "agent.model",
        "agent.description",
        "agent.fallback_models[1]",
        "agent.instructions",
        "agent.tools[0].function.name",
        "agent.completion_args.temperature",
        "agent.handoffs[0]",
        "agent.handoffs[1]",
        "agent.metadata",
    ];
    let twice = vec!["agent_019f0000000070008000000000000000".to_owned(); 2];
    vec![
        ("nothing", Agent::default(), vec!["agent.name", "agent.model"]),
        ("long-name", Agent { name: "n".repeat(65), ..good() }, vec!["agent.name"]),
        ("blank-end", Agent { name: "support ".to_owned(), ..good() }, vec!["agent.name"]),
        ("accents", Agent { name: "caf\u{e9}".to_owned(), ..good() }, vec!["agent.name"]),
        (
            "nine-fallbacks",
            Agent { fallback_models: (0..9).map(|n| format!("m{n}")).collect(), ..good() },
            vec!["agent.fallback_models"],
        ),
        (
            "many-tools",
            Agent { tools: (0..129).map(|n| function(&format!("f{n}"))).collect(), ..good() },
            vec!["agent.tools"],
        ),
        (
            "confirmed-connectors",
            Agent { tools: confirmed, ..good() },
            vec![
                "agent.tools[1].code_interpreter.requires_confirmation",
                "agent.tools[2].document_library.requires_confirmation",
                "agent.tools[3].connector.requires_confirmation",
            ],
        ),
        ("mistral's", Agent { handoffs: vec!["ag_1".to_owned()], ..good() }, vec!["agent.handoffs[0]"]),
        ("twice", Agent { handoffs: twice, ..good() }, vec!["agent.handoffs[1]"]),
        ("unknown", Agent { handoffs: many(2), ..good() }, vec!["agent.handoffs[0]", "agent.handoffs[1]"]),
        (
            "unknown-and-no-tool",
            Agent { handoffs: many(1), completion_args: must_call("f"), ..good() },
            vec!["agent.handoffs[0]", "agent.completion_args.tool_choice.function_name"],
        ),
        ("33-handoffs", Agent { handoffs: many(33), ..good() }, vec!["agent.handoffs"]),
        ("all-at-once", all_at_once, every_field),
    ]
}

#[tokio::test]
async fn everything_that_is_wrong_with_an_agent_is_told_at_once() {
    let server = TestServer::start().await;
    let mut agents = client(&server).await;
    for (name, agent, fields) in agents_that_break_rules() {
        let request = CreateAgentRequest { agent: Some(agent), ..CreateAgentRequest::default() };
        let status = agents.create_agent(named(name, request)).await.expect_err(name);
        assert_fields(&status, name, &fields);
    }
    let request =
        CreateAgentRequest { agent: None, version_message: "m".repeat(501), request_id: "two words".to_owned() };
    let status = agents.create_agent(named("around", request)).await.expect_err("wrong");
    assert_fields(&status, "around", &["agent.name", "agent.model", "version_message", "request_id"]);
    assert_eq!(list(&mut agents).await, []);
    server.stop().await;
}

#[tokio::test]
async fn an_update_is_held_to_the_same_rules_and_to_its_mask() {
    let server = TestServer::start().await;
    let mut agents = client(&server).await;
    let agent = create(&mut agents, "support").await;
    let first = create(&mut agents, "sales").await;
    let second = create(&mut agents, "Sales").await;
    let id = || agent.id.clone();
    let of = |agent: Agent| Agent { id: id(), ..agent };
    for (name, change, mask, fields) in [
        ("emptied", of(Agent::default()), vec!["name", "model"], vec!["agent.name", "agent.model"]),
        ("all", of(Agent::default()), vec!["*"], vec!["agent.name", "agent.model"]),
        (
            "unknown-field",
            of(good()),
            vec!["name", "version", "tools.function"],
            vec!["update_mask.paths[1]", "update_mask.paths[2]"],
        ),
        ("star-and-more", of(good()), vec!["*", "name"], vec!["update_mask.paths[0]"]),
        ("itself", of(Agent { handoffs: vec![id()], ..Agent::default() }), vec![], vec!["agent.handoffs[0]"]),
        (
            "same-names",
            of(Agent { handoffs: vec![first.id.clone(), second.id.clone()], ..Agent::default() }),
            vec![],
            vec!["agent.handoffs[1]"],
        ),
        (
            "no-such-tool",
            of(Agent { completion_args: must_call("f"), ..Agent::default() }),
            vec![],
            vec!["agent.completion_args.tool_choice.function_name"],
        ),
        ("no-id-no-etag", Agent { etag: "x".to_owned(), ..good() }, vec![], vec!["agent.id", "agent.etag"]),
    ] {
        let update_mask = Some(FieldMask { paths: mask.into_iter().map(str::to_owned).collect() });
        let request = UpdateAgentRequest { agent: Some(change), update_mask, version_message: String::new() };
        let status = agents.update_agent(named(name, request)).await.expect_err(name);
        assert_fields(&status, name, &fields);
    }
    assert_eq!(super::get(&mut agents, &agent.id, "").await.expect("there"), agent);
    // A tool that is chosen can't be taken away later.
    let chosen = of(Agent { tools: vec![function("f")], completion_args: must_call("f"), ..Agent::default() });
    update(&mut agents, chosen, &[]).await.expect("the tool is there");
    let status = update(&mut agents, of(Agent::default()), &["tools"]).await.expect_err("it is chosen");
    assert_fields(&status, "update", &["agent.completion_args.tool_choice.function_name"]);
    server.stop().await;
}

#[tokio::test]
async fn ids_versions_names_and_pages_are_checked() {
    let server = TestServer::start().await;
    let mut agents = client(&server).await;
    for (name, told, fields) in small_requests(&mut agents).await {
        assert_fields(&told, name, &fields);
    }
    server.stop().await;
}

async fn small_requests(agents: &mut Agents) -> Vec<(&'static str, Status, Vec<&'static str>)> {
    let bad = || "conv_1".to_owned();
    let get = GetAgentRequest { agent_id: bad(), version: "0".to_owned() };
    let page =
        ListAgentsRequest { page_size: -1, page_token: "x".to_owned(), source: 9, ..ListAgentsRequest::default() };
    let versions = ListAgentVersionsRequest { agent_id: bad(), page_size: -1, ..ListAgentVersionsRequest::default() };
    let current = SetCurrentAgentVersionRequest { agent_id: bad(), version: String::new(), etag: "-1".to_owned() };
    let alias = |alias: &str| SetAgentAliasRequest {
        agent_id: bad(),
        alias: alias.to_owned(),
        version: "No".to_owned(),
        etag: String::new(),
    };
    let remove = DeleteAgentAliasRequest { agent_id: bad(), alias: "1st".to_owned(), etag: String::new() };
    vec![
        ("get", agents.get_agent(named("get", get)).await.map(drop), vec!["agent_id", "version"]),
        ("list", agents.list_agents(named("list", page)).await.map(drop), vec!["page_size", "page_token", "source"]),
        (
            "versions",
            agents.list_agent_versions(named("versions", versions)).await.map(drop),
            vec!["page_size", "agent_id"],
        ),
        (
            "current",
            agents.set_current_agent_version(named("current", current)).await.map(drop),
            vec!["agent_id", "version", "etag"],
        ),
        (
            "alias",
            agents.set_agent_alias(named("alias", alias("Prod"))).await.map(drop),
            vec!["agent_id", "alias", "version"],
        ),
        (
            "alias-end",
            agents.set_agent_alias(named("alias-end", alias("prod-"))).await.map(drop),
            vec!["agent_id", "alias", "version"],
        ),
        ("unalias", agents.delete_agent_alias(named("unalias", remove)).await.map(drop), vec!["agent_id", "alias"]),
    ]
    .into_iter()
    .map(|(name, answer, fields)| (name, answer.expect_err(name), fields))
    .collect()
}
