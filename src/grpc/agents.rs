//! `AgentService`: decode, ask the engine, encode.

use tonic::{Request, Response, Status};

use super::{
    convert::{self, agent_request::UpdateAgent},
    service::{Call, cursor},
};
use crate::{
    domain::Agent,
    engine::{AgentCursor, Engine},
    proto::{self, agent_service_server::AgentService},
};

/// The service on an engine.
#[derive(Clone)]
pub(super) struct Agents {
    engine: Engine,
}

impl Agents {
    /// Serves this engine's agents.
    pub(super) fn new(engine: Engine) -> Agents {
        Agents { engine }
    }
}

type Answer = Result<Response<proto::Agent>, Status>;

fn answer(agent: &Agent) -> Response<proto::Agent> {
    Response::new(convert::agent::write(agent))
}

#[tonic::async_trait]
impl AgentService for Agents {
    async fn create_agent(&self, request: Request<proto::CreateAgentRequest>) -> Answer {
        let call = Call::of(&request);
        let asked = convert::agent_request::create(request.into_inner()).map_err(call.refused())?;
        let convert::agent_request::CreateAgent { spec, version_message, request } = asked;
        let agent = self.engine.create_agent(spec, version_message, request).await.map_err(call.refused())?;
        Ok(answer(&agent))
    }

    async fn get_agent(&self, request: Request<proto::GetAgentRequest>) -> Answer {
        let call = Call::of(&request);
        let (id, pin) = convert::agent_request::get(request.into_inner()).map_err(call.refused())?;
        let agent = self.engine.agent(id, pin).await.map_err(call.refused())?;
        Ok(answer(&agent))
    }

    async fn list_agents(
        &self,
        request: Request<proto::ListAgentsRequest>,
    ) -> Result<Response<proto::ListAgentsResponse>, Status> {
        let call = Call::of(&request);
        let (query, page) = convert::agent_request::list(request.into_inner()).map_err(call.refused())?;
        let after = cursor(page.cursor.as_deref(), |bytes| bytes.try_into().ok().map(AgentCursor));
        let after = after.map_err(call.refused())?;
        let found = self.engine.agents(query, after, page.size).await.map_err(call.refused())?;
        Ok(Response::new(proto::ListAgentsResponse {
            agents: found.agents.iter().map(|agent| convert::agent::write(agent)).collect(),
            next_page_token: found.next.map(|at| page.next_token(&at.0)).unwrap_or_default(),
        }))
    }

    async fn update_agent(&self, request: Request<proto::UpdateAgentRequest>) -> Answer {
        let call = Call::of(&request);
        let asked = convert::agent_request::update(request.into_inner()).map_err(call.refused())?;
        let UpdateAgent { target, changes, version_message } = asked;
        let agent = self.engine.update_agent(target, changes, version_message).await.map_err(call.refused())?;
        Ok(answer(&agent))
    }

    async fn delete_agent(&self, request: Request<proto::DeleteAgentRequest>) -> Result<Response<()>, Status> {
        let call = Call::of(&request);
        let target = convert::agent_request::delete(request.into_inner()).map_err(call.refused())?;
        self.engine.delete_agent(target).await.map_err(call.refused())?;
        Ok(Response::new(()))
    }

    async fn list_agent_versions(
        &self,
        request: Request<proto::ListAgentVersionsRequest>,
    ) -> Result<Response<proto::ListAgentVersionsResponse>, Status> {
        let call = Call::of(&request);
        let (id, page) = convert::agent_request::versions(request.into_inner()).map_err(call.refused())?;
        let before = cursor(page.cursor.as_deref(), |bytes| bytes.try_into().ok().map(u32::from_be_bytes));
        let before = before.map_err(call.refused())?;
        let found = self.engine.agent_versions(id, before, page.size).await.map_err(call.refused())?;
        Ok(Response::new(proto::ListAgentVersionsResponse {
            versions: found.agents.iter().map(|agent| convert::agent::write(agent)).collect(),
            next_page_token: found.next.map(|at| page.next_token(&at.to_be_bytes())).unwrap_or_default(),
        }))
    }

    async fn set_current_agent_version(&self, request: Request<proto::SetCurrentAgentVersionRequest>) -> Answer {
        let call = Call::of(&request);
        let (target, to) = convert::agent_request::set_current(request.into_inner()).map_err(call.refused())?;
        let agent = self.engine.set_current_agent_version(target, to).await.map_err(call.refused())?;
        Ok(answer(&agent))
    }

    async fn set_agent_alias(&self, request: Request<proto::SetAgentAliasRequest>) -> Answer {
        let call = Call::of(&request);
        let (target, alias, to) = convert::agent_request::set_alias(request.into_inner()).map_err(call.refused())?;
        let agent = self.engine.set_agent_alias(target, alias, to).await.map_err(call.refused())?;
        Ok(answer(&agent))
    }

    async fn delete_agent_alias(&self, request: Request<proto::DeleteAgentAliasRequest>) -> Answer {
        let call = Call::of(&request);
        let (target, alias) = convert::agent_request::delete_alias(request.into_inner()).map_err(call.refused())?;
        let agent = self.engine.delete_agent_alias(target, &alias).await.map_err(call.refused())?;
        Ok(answer(&agent))
    }
}
