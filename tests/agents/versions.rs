//! Versions of agents: when one is made, which is current, and what they are called.

use std::collections::BTreeMap;

use causerie::proto::{
    Agent, CompletionArgs, DeleteAgentAliasRequest, ListAgentVersionsRequest, SetAgentAliasRequest,
    SetCurrentAgentVersionRequest,
};

use super::{Agents, client, create, function, get, update};
use crate::support::{
    server::TestServer,
    status::{named, reason_of},
};

async fn versions(agents: &mut Agents, agent_id: &str) -> Vec<Agent> {
    let request = ListAgentVersionsRequest { agent_id: agent_id.to_owned(), ..ListAgentVersionsRequest::default() };
    agents.list_agent_versions(request).await.expect("a list").into_inner().versions
}

async fn set_current(agents: &mut Agents, agent_id: &str, version: &str) -> Agent {
    let (agent_id, version) = (agent_id.to_owned(), version.to_owned());
    let request = SetCurrentAgentVersionRequest { agent_id, version, etag: String::new() };
    agents.set_current_agent_version(request).await.expect("set").into_inner()
}

async fn alias(agents: &mut Agents, agent_id: &str, alias: &str, version: &str) -> Agent {
    let (agent_id, alias, version) = (agent_id.to_owned(), alias.to_owned(), version.to_owned());
    let request = SetAgentAliasRequest { agent_id, alias, version, etag: String::new() };
    agents.set_agent_alias(request).await.expect("set").into_inner()
}

#[tokio::test]
async fn only_a_change_makes_a_version() {
    let server = TestServer::start().await;
    let mut agents = client(&server).await;
    let first = create(&mut agents, "support").await;
    let same = Agent { id: first.id.clone(), name: "support".to_owned(), ..Agent::default() };
    assert_eq!(update(&mut agents, same, &[]).await.expect("nothing changes"), first);
    // As it was read, etag and all.
    assert_eq!(update(&mut agents, first.clone(), &["*"]).await.expect("nothing changes"), first);

    let change = Agent {
        id: first.id.clone(),
        instructions: "Be kind".to_owned(),
        tools: vec![function("f")],
        metadata: [("a".to_owned(), "b".to_owned())].into(),
        completion_args: Some(CompletionArgs { temperature: Some(0.5), ..CompletionArgs::default() }),
        ..Agent::default()
    };
    let second = update(&mut agents, change.clone(), &[]).await.expect("changed");
    assert_eq!((second.version, second.current_version, second.version_count), (2, 2, 2));
    assert_eq!((&second.name, &second.model, &second.tools), (&first.name, &first.model, &change.tools));
    assert_eq!((&second.metadata, second.created_at), (&change.metadata, first.created_at));
    assert_ne!(second.etag, first.etag);
    assert_eq!(update(&mut agents, change, &[]).await.expect("nothing changes"), second);

    // What the mask names and is empty is emptied; what it does not name stays.
    let emptied = Agent { id: first.id.clone(), name: "other".to_owned(), ..Agent::default() };
    let third = update(&mut agents, emptied, &["tools", "completion_args", "metadata"]).await.expect("changed");
    assert_eq!((third.version, third.name.as_str(), third.instructions.as_str()), (3, "support", "Be kind"));
    assert_eq!((third.tools.len(), third.completion_args.is_none(), third.metadata.len()), (0, true, 0));

    // Each version stays as it was made; what is of the agent is of now.
    let now = |agent: Agent| Agent { current_version: 3, version_count: 3, etag: third.etag.clone(), ..agent };
    assert_eq!(versions(&mut agents, &first.id).await, [third.clone(), now(second.clone()), now(first.clone())]);
    assert_eq!(get(&mut agents, &first.id, "2").await.expect("there"), now(second));
    server.stop().await;
}

#[tokio::test]
async fn of_two_writers_with_one_etag_one_wins_and_without_none_is_lost() {
    let server = TestServer::start().await;
    let mut agents = client(&server).await;
    let agent = create(&mut agents, "support").await;
    let race = |etag: String| {
        let calls = (0..12).map(|n: usize| {
            let mut agents = agents.clone();
            // Each writer changes a field of its own as far as there are any, so that all changes can stay.
            let pairs = BTreeMap::from([(format!("writer{n}"), "was here".to_owned())]);
            let mut change = Agent { id: agent.id.clone(), etag: etag.clone(), ..Agent::default() };
            match n % 3 {
                0 => change.instructions = format!("of {n}"),
                1 => change.description = format!("of {n}"),
                _ => change.metadata = pairs,
            }
            tokio::spawn(async move { update(&mut agents, change, &[]).await })
        });
        calls.collect::<Vec<_>>()
    };
    let mut won = Vec::new();
    for call in race(agent.etag.clone()) {
        match call.await.expect("no panic") {
            Ok(agent) => won.push(agent),
            Err(status) => assert_eq!(reason_of(&status), "AGENT_CHANGED"),
        }
    }
    assert_eq!(won.iter().map(|agent| agent.version).collect::<Vec<_>>(), [2]);
    let mut made: Vec<i32> = Vec::new();
    for call in race(String::new()) {
        made.push(call.await.expect("no panic").expect("without an etag nobody is refused").version);
    }
    made.sort_unstable();
    made.dedup();
    let last = super::get(&mut agents.clone(), &agent.id, "").await.expect("there");
    // The winner's change, made again by its writer, may have found itself done.
    assert!(made.len() >= 11 && last.version_count >= 12, "{made:?} of {}", last.version_count);
    assert!(last.instructions.starts_with("of ") && last.description.starts_with("of ") && !last.metadata.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn another_version_becomes_current_and_names_follow_them() {
    let mut server = TestServer::start().await;
    let mut agents = client(&server).await;
    let id = create(&mut agents, "support").await.id;
    for text in ["two", "three"] {
        let change = Agent { id: id.clone(), instructions: text.to_owned(), ..Agent::default() };
        update(&mut agents, change, &[]).await.expect("changed");
    }
    let before = alias(&mut agents, &id, "prod", "2").await;
    assert_eq!((before.aliases["prod"], before.version), (2, 3));
    assert_eq!(alias(&mut agents, &id, "prod", "2").await, before, "it is so already");
    let back = set_current(&mut agents, &id, "prod").await;
    assert_eq!((back.version, back.current_version, back.version_count), (2, 2, 3));
    assert_eq!(set_current(&mut agents, &id, "2").await, back, "it is so already");
    assert_eq!(back.instructions, "two");

    server.restart().await;
    let mut agents = client(&server).await;
    assert_eq!(get(&mut agents, &id, "").await.expect("there"), back);
    // A change goes out from the current version, and is the newest.
    let change = Agent { id: id.clone(), description: "rolled back".to_owned(), ..Agent::default() };
    let fourth = update(&mut agents, change, &[]).await.expect("changed");
    assert_eq!((fourth.version, fourth.instructions.as_str(), fourth.current_version), (4, "two", 4));
    assert_eq!(get(&mut agents, &id, "prod").await.expect("there").version, 2);
    alias(&mut agents, &id, "prod", "4").await;
    assert_eq!(get(&mut agents, &id, "prod").await.expect("there").version, 4);

    let delete = DeleteAgentAliasRequest { agent_id: id.clone(), alias: "prod".to_owned(), etag: String::new() };
    let without = agents.delete_agent_alias(delete.clone()).await.expect("deleted").into_inner();
    assert_eq!(without.aliases.len(), 0);
    assert_eq!(agents.delete_agent_alias(delete).await.expect("idempotent").into_inner(), without);
    assert_eq!(reason_of(&get(&mut agents, &id, "prod").await.expect_err("gone")), "AGENT_VERSION_NOT_FOUND");
    server.stop().await;
}

#[tokio::test]
async fn an_agent_has_at_most_64_names() {
    let server = TestServer::start().await;
    let mut agents = client(&server).await;
    let id = create(&mut agents, "support").await.id;
    for n in 0..64 {
        alias(&mut agents, &id, &format!("n{n}"), "1").await;
    }
    let request = SetAgentAliasRequest {
        agent_id: id.clone(),
        alias: "one-more".to_owned(),
        version: "1".to_owned(),
        etag: String::new(),
    };
    let status = agents.set_agent_alias(named("alias", request)).await.expect_err("too many");
    assert_eq!(reason_of(&status), "INVALID_REQUEST");
    assert_eq!(alias(&mut agents, &id, "n7", "1").await.aliases.len(), 64, "one that is there can be moved");
    server.stop().await;
}
