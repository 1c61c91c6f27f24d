use super::Shared;
use crate::domain::{Agent, Failure, Reason, agent::AgentPin};
use std::sync::Arc;
impl Shared {
    pub(super) fn lead(&self, agent_id: &str, _: Option<&AgentPin>) -> Result<Arc<Agent>, Failure> {
        Err(Failure::not_found(Reason::AgentNotFound, "agent", agent_id))
    }
}
