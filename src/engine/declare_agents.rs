//! The agents that the configuration declares, before they go to the store: their ids, and whom their handoffs name.

use std::collections::{BTreeSet, HashMap};

use super::{Engine, Shared, agents::handoff_faults, failures, ids};
use crate::domain::{
    Failure, Reason,
    agent::{AgentId, AgentSource, AgentSpec},
};

/// An agent that the configuration declares.
#[derive(Debug, Clone)]
pub struct DeclaredAgent {
    /// Where, as faults tell it.
    pub place: String,
    /// What it is. Its handoffs are names of declared agents, or ids.
    pub spec: AgentSpec,
}

impl Engine {
    /// Makes the agents that the configuration declares all that there are of their kind.
    ///
    /// # Errors
    ///
    /// All handoffs that lead nowhere, each with its place; or the store's.
    pub async fn declare_agents(&self, declared: Vec<DeclaredAgent>) -> Result<(), Failure> {
        let shared = self.shared.clone();
        let declared = self.shared.blocking(move || shared.resolve(declared)).await??;
        let changed = self.shared.store.declare_agents(declared, ids::now()).await.map_err(failures::store)?;
        if changed > 0 {
            tracing::info!(changed, "agents of the configuration changed");
        }
        Ok(())
    }
}

impl Shared {
    /// Gives the declared agents their ids, and their handoffs those that they name.
    fn resolve(&self, declared: Vec<DeclaredAgent>) -> Result<Vec<(AgentId, AgentSpec)>, Failure> {
        let names: BTreeSet<String> = declared.iter().map(|agent| agent.spec.name.clone()).collect();
        let by_id: HashMap<String, &String> =
            names.iter().map(|name| (AgentId::declared(name).to_string(), name)).collect();
        let mut faults = Vec::new();
        let mut resolved = Vec::with_capacity(declared.len());
        for DeclaredAgent { place, mut spec } in declared {
            let id = AgentId::declared(&spec.name);
            for handoff in spec.handoffs.iter_mut().filter(|handoff| names.contains(*handoff)) {
                *handoff = AgentId::declared(handoff).to_string();
            }
            let find = |id: &str| {
                if let Some(name) = by_id.get(id) {
                    return Ok((*name).clone());
                }
                let agent = self.lead(id, None)?;
                // One that was declared before, and is no longer.
                let is_leaving = agent.source == AgentSource::Configuration;
                let gone = || Failure::not_found(Reason::AgentNotFound, "agent", id);
                if is_leaving { Err(gone()) } else { Ok(agent.spec.name.clone()) }
            };
            faults.extend(handoff_faults(&place, id, &spec.handoffs, find)?);
            resolved.push((id, spec));
        }
        if faults.is_empty() { Ok(resolved) } else { Err(Failure::invalid(faults)) }
    }
}
