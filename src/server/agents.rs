//! From the agents that the configuration declares to those that the engine has.

use super::Error;
use crate::{
    config::{self, Config},
    domain::{Tool, Violation, tool::McpTools},
    engine::{DeclaredAgent, Engine},
    grpc::convert::agent_spec::Declaration,
    tools::Tools,
};

/// The agents of the configuration. All that is wrong with them is told at once, tools that they could not use included.
pub(super) fn read(config: &Config, tools: &Tools) -> Result<Vec<DeclaredAgent>, Error> {
    let mut declared = Vec::with_capacity(config.agents.len());
    let mut faults = Vec::new();
    for agent in &config.agents {
        match declaration(agent).read() {
            Ok(spec) => {
                faults.extend(unusable(&agent.key, &spec.tools, tools));
                declared.push(DeclaredAgent { place: agent.key.clone(), spec });
            }
            Err(failure) => faults.extend(failure.violations),
        }
    }
    if faults.is_empty() { Ok(declared) } else { Err(wrong(faults)) }
}

/// Makes these agents the declared ones of the store.
pub(super) async fn declare(agents: Vec<DeclaredAgent>, engine: &Engine) -> Result<(), Error> {
    match engine.declare_agents(agents).await {
        Ok(()) => Ok(()),
        Err(failure) if failure.violations.is_empty() => Err(Error::DeclareAgents(failure.message)),
        Err(failure) => Err(wrong(failure.violations)),
    }
}

fn wrong(faults: Vec<Violation>) -> Error {
    let faults = faults.into_iter().map(|fault| format!("{} {}", fault.field, fault.description));
    Error::Agents(faults.collect())
}

/// What each turn of the agent would be refused for.
fn unusable(place: &str, of_agent: &[Tool], tools: &Tools) -> Vec<Violation> {
    let faults = of_agent.iter().enumerate().filter_map(|(i, tool)| {
        let (field, description) = match tool {
            Tool::HttpRequest(request) => ("http_request", tools.http.check(request).err()?),
            Tool::Mcp(McpTools { server, .. }) if !tools.mcp.names().contains(&server.as_str()) => {
                ("mcp.server", format!("must name a server of the configuration (mcp.NAME), and \"{server}\" is none"))
            }
            Tool::Mcp(_) | Tool::Function(_) | Tool::Connector(_) | Tool::HumanHandoff(_) => return None,
        };
        Some(Violation { field: format!("{place}.tools[{i}].{field}"), description })
    });
    faults.collect()
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
