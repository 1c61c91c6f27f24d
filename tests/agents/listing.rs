//! Pages of agents and of their versions.

use causerie::proto::{Agent, AgentSource, ListAgentVersionsRequest, ListAgentsRequest};

use super::{Agents, client, create, update};
use crate::support::{
    server::TestServer,
    status::{fields_of, named},
};

/// The ids that all pages of a query hold; `between` is done after each page.
async fn ids(agents: &mut Agents, mut query: ListAgentsRequest, mut between: impl AsyncFnMut()) -> Vec<String> {
    let mut ids = Vec::new();
    loop {
        let page = agents.list_agents(query.clone()).await.expect("a page").into_inner();
        assert!(query.page_size == 0 || page.agents.len() <= query.page_size as usize);
        ids.extend(page.agents.into_iter().map(|agent| agent.id));
        if page.next_page_token.is_empty() {
            return ids;
        }
        query.page_token = page.next_page_token;
        between().await;
    }
}

#[tokio::test]
async fn pages_are_stable_while_others_write() {
    let server = TestServer::start().await;
    let mut agents = client(&server).await;
    let mut made = Vec::new();
    for n in 0..7 {
        made.insert(0, create(&mut agents, &format!("agent {n}")).await.id);
    }
    let query = ListAgentsRequest { page_size: 2, ..ListAgentsRequest::default() };
    let mut writer = agents.clone();
    let changed = made[6].clone();
    let listed = ids(&mut agents, query, async || {
        create(&mut writer, "newer").await;
        let change = Agent { id: changed.clone(), description: "changed".to_owned(), ..Agent::default() };
        update(&mut writer, change, &[]).await.expect("changed");
    });
    assert_eq!(listed.await, made);
    server.stop().await;
}

#[tokio::test]
async fn filters_hold_together_and_tokens_are_of_their_query() {
    let server = TestServer::configured("[agents.support]\nmodel = \"scripted-model\"", &[]).await;
    let mut agents = client(&server).await;
    let with_team = |agent: &Agent| Agent {
        id: agent.id.clone(),
        metadata: [("team".to_owned(), "one".to_owned())].into(),
        ..Agent::default()
    };
    let first = create(&mut agents, "support").await;
    update(&mut agents, with_team(&first), &[]).await.expect("changed");
    let second = create(&mut agents, "sales").await;
    update(&mut agents, with_team(&second), &[]).await.expect("changed");
    let all = ids(&mut agents, ListAgentsRequest::default(), async || {}).await;
    let declared = all[2].clone();
    assert_eq!(all, [second.id.clone(), first.id.clone(), declared.clone()]);

    let named_support = ListAgentsRequest { name: "support".to_owned(), ..ListAgentsRequest::default() };
    let of_team =
        ListAgentsRequest { metadata: [("team".to_owned(), "one".to_owned())].into(), ..ListAgentsRequest::default() };
    let by_source = |source: AgentSource| ListAgentsRequest { source: source.into(), ..ListAgentsRequest::default() };
    let both = ListAgentsRequest { metadata: of_team.metadata.clone(), ..named_support.clone() };
    let none = ListAgentsRequest { name: "suppor".to_owned(), ..ListAgentsRequest::default() };
    for (query, expected) in [
        (named_support.clone(), vec![first.id.clone(), declared.clone()]),
        (of_team.clone(), vec![second.id.clone(), first.id.clone()]),
        (by_source(AgentSource::Configuration), vec![declared]),
        (by_source(AgentSource::Api), vec![second.id.clone(), first.id.clone()]),
        (both, vec![first.id.clone()]),
        (none, vec![]),
    ] {
        for page_size in [0, 1] {
            let query = ListAgentsRequest { page_size, ..query.clone() };
            assert_eq!(ids(&mut agents, query.clone(), async || {}).await, expected, "{query:?}");
        }
    }

    let page = ListAgentsRequest { page_size: 1, ..of_team };
    let token = agents.list_agents(page).await.expect("a page").into_inner().next_page_token;
    let other = ListAgentsRequest { page_token: token.clone(), ..named_support };
    let status = agents.list_agents(named("token", other)).await.expect_err("another query");
    assert_eq!(fields_of(&status), ["page_token"]);
    let versions = ListAgentVersionsRequest { agent_id: first.id, page_token: token, page_size: 0 };
    let status = agents.list_agent_versions(named("token", versions)).await.expect_err("another method");
    assert_eq!(fields_of(&status), ["page_token"]);
    server.stop().await;
}

#[tokio::test]
async fn pages_of_versions_stay_below_the_size_of_a_message() {
    let server = TestServer::start().await;
    let mut agents = client(&server).await;
    let id = create(&mut agents, "support").await.id;
    for n in 0..6 {
        let instructions = format!("{n}").repeat(1 << 20);
        let change = Agent { id: id.clone(), instructions, ..Agent::default() };
        update(&mut agents, change, &[]).await.expect("changed");
    }
    let mut request = ListAgentVersionsRequest { agent_id: id, ..ListAgentVersionsRequest::default() };
    let (mut versions, mut pages) = (Vec::new(), 0);
    loop {
        // The client takes 4 MiB.
        let page = agents.list_agent_versions(request.clone()).await.expect("a page").into_inner();
        versions.extend(page.versions.into_iter().map(|agent| agent.version));
        pages += 1;
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(versions, [7, 6, 5, 4, 3, 2, 1]);
    assert!(pages > 2, "{pages}");
    server.stop().await;
}
