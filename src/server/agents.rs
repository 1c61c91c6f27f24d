//! From the agents that the configuration declares to those that the engine has.

use super::Error;
use crate::{
    config::{self, Config},
    engine::{DeclaredAgent, Engine},
    grpc::convert::agent_spec::Declaration,
};

/// Makes the agents of the configuration those of the store. All that is wrong with them is told at once.
pub(super) async fn declare(config: &Config, engine: &Engine) -> Result<(), Error> {
    let mut declared = Vec::with_capacity(config.agents.len());
    let mut faults = Vec::new();
    for agent in &config.agents {
        match declaration(agent).read() {
            Ok(spec) => declared.push(DeclaredAgent { place: agent.key.clone(), spec }),
            Err(failure) => faults.extend(failure.violations),
        }
    }
    if faults.is_empty() {
        match engine.declare_agents(declared).await {
            Ok(()) => return Ok(()),
            Err(failure) if failure.violations.is_empty() => return Err(Error::DeclareAgents(failure.message)),
            Err(failure) => faults = failure.violations,
        }
    }
    let faults = faults.into_iter().map(|fault| format!("{} {}", fault.field, fault.description));
    Err(Error::Agents(faults.collect()))
}

fn declaration(agent: &config::Agent) -> Declaration {
    let config::Agent {
        key,
        name,
        description,
        model,
        fallback_models,
        instructions,
        tools,
        completion_args,
        handoffs,
        metadata,
    } = agent.clone();
    Declaration {
        place: key,
        name,
        description,
        model,
        fallback_models,
        instructions,
        tools,
        completion_args,
        handoffs,
        metadata,
    }
}
