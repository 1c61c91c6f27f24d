//! Agents that the configuration declares: the same ids everywhere, versions by content, and faults by their keys.

use std::path::Path;

use causerie::{
    config::{Config, Sources},
    proto::{Agent, AgentSource, tool},
    server::{Error, Server},
};

use super::{client, create, get, list};
use crate::support::{server::TestServer, status::reason_of};

const FIRST: &str = r#"
[agents.support]
model = "scripted-model"
description = "Helps"
instructions = "Be kind"
fallback_models = ["other-model"]
handoffs = ["Front desk"]
completion_args = { temperature = 0.5, stop = ["END"] }
metadata = { team = "one" }

[[agents.support.tools]]
mcp = { server = "files", include = ["read"], confirmationTtl = "60s" }

[[agents.support.tools]]
[agents.support.tools.function]
name = "look_up"
parameters = { type = "object", properties = { n = { enum = [1, 2.5, "x"] } }, required = [] }

[agents."Front desk"]
model = "scripted-model"
handoffs = ["support"]

# Never started: no turn uses it.
[mcp.files]
command = ["files"]
"#;

fn by_name(agents: &[Agent], name: &str) -> Agent {
    agents.iter().find(|agent| agent.name == name).unwrap_or_else(|| panic!("no {name} in {agents:?}")).clone()
}

#[tokio::test]
async fn what_is_declared_is_there_and_can_be_read_like_any_other() {
    let server = TestServer::configured(FIRST, &[]).await;
    let mut agents = client(&server).await;
    let all = list(&mut agents).await;
    assert_eq!(all.len(), 2, "{all:?}");
    let (support, desk) = (by_name(&all, "support"), by_name(&all, "Front desk"));
    assert_eq!((&support.handoffs, &desk.handoffs), (&vec![desk.id.clone()], &vec![support.id.clone()]));
    assert_eq!(
        (support.source(), support.version, support.description.as_str()),
        (AgentSource::Configuration, 1, "Helps")
    );
    assert_eq!(
        (support.metadata["team"].as_str(), support.fallback_models.as_slice()),
        ("one", ["other-model".to_owned()].as_slice())
    );
    let args = support.completion_args.clone().expect("they are declared");
    assert_eq!((args.temperature, args.stop.as_slice()), (Some(0.5), ["END".to_owned()].as_slice()));
    let Some(tool::Kind::Mcp(mcp)) = &support.tools[0].kind else { panic!("{support:?}") };
    assert_eq!((mcp.server.as_str(), mcp.confirmation_ttl.map(|ttl| ttl.seconds)), ("files", Some(60)));
    let Some(tool::Kind::Function(function)) = &support.tools[1].kind else { panic!("{support:?}") };
    assert!(function.parameters.as_ref().is_some_and(|schema| schema.fields.contains_key("properties")));

    // Whoever declares the same gets the same ids: what names them can be deployed anywhere.
    let elsewhere = TestServer::configured(FIRST, &[]).await;
    let mut others = client(&elsewhere).await;
    assert_eq!(get(&mut others, &support.id, "1").await.expect("there").name, "support");
    elsewhere.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn versions_follow_the_content_over_several_starts() {
    let changed = FIRST.replace("Be kind", "Be short");
    let without = "[agents.other]\nmodel = \"scripted-model\"";
    let mut server = TestServer::configured(FIRST, &[]).await;
    let first = by_name(&list(&mut client(&server).await).await, "support");

    server.restart().await;
    assert_eq!(get(&mut client(&server).await, &first.id, "").await.expect("there"), first, "nothing changed");

    server.restart_with(&changed).await;
    let second = get(&mut client(&server).await, &first.id, "").await.expect("there");
    assert_eq!((second.version, second.instructions.as_str(), second.created_at), (2, "Be short", first.created_at));

    server.restart_with(FIRST).await;
    let back = get(&mut client(&server).await, &first.id, "").await.expect("there");
    assert_eq!(
        (back.version, back.current_version, back.version_count),
        (1, 1, 2),
        "the old content is no new version"
    );
    assert_eq!(back.instructions, "Be kind");

    server.restart_with(without).await;
    let mut agents = client(&server).await;
    let status = get(&mut agents, &first.id, "").await.expect_err("it is not declared");
    assert_eq!(reason_of(&status), "AGENT_NOT_FOUND");
    assert!(status.message().contains("not declared in the configuration any more"), "{}", status.message());
    assert_eq!(list(&mut agents).await.len(), 1);

    server.restart_with(&changed).await;
    let again = get(&mut client(&server).await, &first.id, "").await.expect("there");
    assert_eq!((again.version, again.version_count, again.instructions.as_str()), (2, 2, "Be short"));
    assert_eq!(get(&mut client(&server).await, &first.id, "1").await.expect("its history").instructions, "Be kind");
    server.stop().await;
}

#[tokio::test]
async fn a_declared_agent_can_hand_over_to_one_that_was_made_by_a_call() {
    let mut server = TestServer::start().await;
    let made = create(&mut client(&server).await, "sales").await;
    let file = format!("[agents.support]\nmodel = \"scripted-model\"\nhandoffs = [\"{}\"]", made.id);
    server.restart_with(&file).await;
    let support = by_name(&list(&mut client(&server).await).await, "support");
    assert_eq!(support.handoffs, [made.id]);
    server.stop().await;
}

/// What stops a start, as a person reads it.
async fn refused(file: &str) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let store = dir.path().join("store").display().to_string();
    let flags = [("store.path".to_owned(), store), ("store.min_free_mib".to_owned(), "0".to_owned())];
    let sources = Sources::from_flags(flags.into()).with_file(Path::new("causerie.toml"), file);
    let config = Config::load(&sources).expect("its form is right");
    match Server::open(config).await {
        Ok(_) => panic!("it starts with:\n{file}"),
        Err(error) => {
            assert!(matches!(error, Error::Agents(_)), "{error:?}");
            error.to_string()
        }
    }
}

#[tokio::test]
async fn faults_name_their_keys_all_at_once() {
    let agent = |lines: &str| format!("[agents.support]\nmodel = \"m\"\n{lines}");
    for (file, told) in [
        (
            agent("tools = [{ mcp = { sever = \"x\" } }]"),
            "agents.support.tools[0] cannot be read: unrecognized field name 'sever'",
        ),
        (agent("tools = [{ mcp = { server = \"\" } }]"), "agents.support.tools[0].mcp.server is required"),
        (
            agent("completion_args = { temperature = 7 }"),
            "agents.support.completion_args.temperature must be 0 to 1.5, is 7",
        ),
        (
            agent("completion_args = { toolChoice = { functionName = \"f\" } }"),
            "agents.support.completion_args.tool_choice.function_name must name one of the agent's tools",
        ),
        (
            agent("tools = [{ mcp = { server = \"x\" } }]"),
            "agents.support.tools[0].mcp.server must name a server of the configuration (mcp.NAME), and \"x\" is none",
        ),
        (
            agent("tools = [{ httpRequest = { name = \"x\" } }]"),
            "agents.support.tools[0].http_request is no tool of the configuration (tools.http.requests)",
        ),
        (agent("handoffs = [\"sales\"]"), "agents.support.handoffs[0] must be an agent that exists: no agent sales"),
        (agent("handoffs = [\"support\"]"), "agents.support.handoffs[0] is the agent itself"),
        ("[agents.\"a/b\"]\nmodel = \"m\"".to_owned(), "agents.\"a/b\".name must be 1 to 64 letters"),
    ] {
        let found = refused(&file).await;
        assert!(found.starts_with(told), "{told}: {found}");
    }
    let both = agent("tools = [{ webSearch = { requiresConfirmation = [\"x\"] } }]") + "\n[agents.b]\nmodel = \"/\"";
    let found = refused(&both).await;
    assert!(found.starts_with("the agents of the configuration have 2 faults:\n  "), "{found}");
    assert!(found.contains("agents.support.tools[0].web_search.requires_confirmation must be left out"), "{found}");
    assert!(found.contains("agents.b.model must be"), "{found}");
}
