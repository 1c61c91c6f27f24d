//! Agents: how they are made, changed, listed, declared and deleted.

mod configuration;
mod listing;
mod refused;
mod versions;

use causerie::proto::{
    Agent, AgentSource, CreateAgentRequest, DeleteAgentRequest, Function, GetAgentRequest, ListAgentsRequest, Tool,
    UpdateAgentRequest, agent_service_client::AgentServiceClient, tool,
};
use prost_types::FieldMask;
use tonic::{Status, transport::Channel};

use crate::support::{
    server::TestServer,
    status::{named, reason_of, told},
};

pub(crate) type Agents = AgentServiceClient<Channel>;

pub(crate) async fn client(server: &TestServer) -> Agents {
    AgentServiceClient::new(server.channel().await)
}

/// An agent of this name with nothing but a model.
pub(crate) async fn create(agents: &mut Agents, name: &str) -> Agent {
    let agent = Agent { name: name.to_owned(), model: "scripted-model".to_owned(), ..Agent::default() };
    let request = CreateAgentRequest { agent: Some(agent), ..CreateAgentRequest::default() };
    agents.create_agent(request).await.expect("an agent").into_inner()
}

/// An agent at its current version (empty), another one or what an alias names.
async fn get(agents: &mut Agents, agent_id: &str, version: &str) -> Result<Agent, Status> {
    let request = GetAgentRequest { agent_id: agent_id.to_owned(), version: version.to_owned() };
    agents.get_agent(named("get", request)).await.map(tonic::Response::into_inner)
}

/// All agents, newest first.
pub(crate) async fn list(agents: &mut Agents) -> Vec<Agent> {
    agents.list_agents(ListAgentsRequest::default()).await.expect("a list").into_inner().agents
}

/// Changes the fields that the mask names; without one, those that are not empty.
async fn update(agents: &mut Agents, agent: Agent, mask: &[&str]) -> Result<Agent, Status> {
    let paths = mask.iter().map(|path| (*path).to_owned()).collect();
    let update_mask = (!mask.is_empty()).then_some(FieldMask { paths });
    let request = UpdateAgentRequest { agent: Some(agent), update_mask, version_message: String::new() };
    agents.update_agent(named("update", request)).await.map(tonic::Response::into_inner)
}

fn function(name: &str) -> Tool {
    let function = Function { name: name.to_owned(), ..Function::default() };
    Tool { kind: Some(tool::Kind::Function(function)) }
}

#[tokio::test]
async fn an_agent_is_made_read_and_still_there_after_a_restart() {
    let mut server = TestServer::start().await;
    let mut agents = client(&server).await;
    let other = create(&mut agents, "sales").await;
    let asked = Agent {
        name: "Front desk".to_owned(),
        description: "Knows where things are".to_owned(),
        model: "scripted-model".to_owned(),
        fallback_models: vec!["other-model".to_owned()],
        instructions: "Be kind. ".repeat(20_000),
        tools: vec![function("look_up")],
        handoffs: vec![other.id.clone()],
        metadata: [("team".to_owned(), "one".to_owned())].into(),
        // Output only: it does not matter what stands there.
        id: "agent_0".to_owned(),
        version: 7,
        source: AgentSource::Configuration.into(),
        ..Agent::default()
    };
    let request = CreateAgentRequest {
        agent: Some(asked.clone()),
        version_message: "the first".to_owned(),
        request_id: String::new(),
    };
    let made = agents.create_agent(request).await.expect("an agent").into_inner();
    assert!(made.id.starts_with("agent_") && made.id.len() == 38, "{}", made.id);
    assert!(made.created_at.is_some() && made.created_at == made.version_created_at && !made.etag.is_empty());
    let expected = Agent {
        id: made.id.clone(),
        version: 1,
        current_version: 1,
        version_count: 1,
        version_message: "the first".to_owned(),
        etag: made.etag.clone(),
        source: AgentSource::Api.into(),
        created_at: made.created_at,
        version_created_at: made.version_created_at,
        ..asked
    };
    assert_eq!(made, expected);
    assert_eq!(get(&mut agents, &made.id, "").await.expect("it is there"), made);

    server.restart().await;
    let mut agents = client(&server).await;
    assert_eq!(get(&mut agents, &made.id, "1").await.expect("it is there"), made);
    assert_eq!(list(&mut agents).await, [made, other]);
    server.stop().await;
}

#[tokio::test]
async fn the_same_request_makes_one_agent() {
    let server = TestServer::start().await;
    let mut agents = client(&server).await;
    let request = |name: &str| {
        let agent = Agent { name: name.to_owned(), model: "scripted-model".to_owned(), ..Agent::default() };
        CreateAgentRequest { agent: Some(agent), request_id: "mine".to_owned(), ..CreateAgentRequest::default() }
    };
    let calls = (0..8).map(|_| {
        let mut agents = agents.clone();
        let request = request("support");
        tokio::spawn(async move { agents.create_agent(request).await.expect("an agent").into_inner() })
    });
    let mut made = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        made.push(call.await.expect("no panic"));
    }
    assert!(made.iter().all(|agent| *agent == made[0]), "{made:?}");
    assert_eq!(list(&mut agents).await, [made[0].clone()]);

    let status = agents.create_agent(named("other", request("sales"))).await.expect_err("another request");
    assert_eq!((reason_of(&status).as_str(), told(&status, "agent_id")), ("REQUEST_ID_REUSED", made[0].id.clone()));

    let delete = DeleteAgentRequest { agent_id: made[0].id.clone(), etag: String::new() };
    agents.delete_agent(delete).await.expect("deleted");
    let again = agents.create_agent(request("sales")).await.expect("its request id is free").into_inner();
    assert_ne!(again.id, made[0].id);
    server.stop().await;
}

#[tokio::test]
async fn a_deleted_agent_is_gone_and_says_so() {
    let mut server = TestServer::start().await;
    let mut agents = client(&server).await;
    let agent = create(&mut agents, "support").await;
    let other = create(&mut agents, "sales").await;
    let with_handoff = Agent { handoffs: vec![agent.id.clone()], ..other.clone() };
    update(&mut agents, with_handoff, &["handoffs"]).await.expect("changed");
    let delete = DeleteAgentRequest { agent_id: agent.id.clone(), etag: agent.etag.clone() };
    agents.delete_agent(delete.clone()).await.expect("deleted");
    for restarted in [false, true] {
        if restarted {
            server.restart().await;
            agents = client(&server).await;
        }
        let status = get(&mut agents, &agent.id, "").await.expect_err("it is gone");
        assert_eq!((reason_of(&status).as_str(), told(&status, "agent_name").as_str()), ("AGENT_NOT_FOUND", "support"));
        let told = status.message();
        assert!(told.contains("\"support\") was deleted at 20") && told.contains("name another agent_id"), "{told}");
        let status = agents.delete_agent(named("again", delete.clone())).await.expect_err("it is gone");
        assert_eq!(reason_of(&status), "AGENT_NOT_FOUND");
        assert_eq!(list(&mut agents).await.len(), 1);
    }
    // Whoever hands over to it can still be changed, but not be given it anew.
    let changed = Agent { id: other.id.clone(), description: "sells".to_owned(), ..Agent::default() };
    assert_eq!(update(&mut agents, changed, &[]).await.expect("changed").handoffs, std::slice::from_ref(&agent.id));
    let anew = Agent { id: other.id.clone(), handoffs: vec![agent.id.clone()], ..Agent::default() };
    let status = update(&mut agents, anew, &[]).await.expect_err("it is gone");
    assert_eq!(reason_of(&status), "INVALID_REQUEST");
    server.stop().await;
}
