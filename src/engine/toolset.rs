//! The tools of a turn: what the model is told of them, and who runs each.

use std::{collections::HashMap, sync::Arc};

use serde_json::{Map, Value, json};

use super::{Shared, failures};
use crate::domain::{
    Agent, Failure, Settings, Tool, ToolSpec,
    tool::{CallTerms, Function, HttpRequest, McpTools},
};

/// The name under which a model hands over to another agent.
pub(super) const TO_AGENT: &str = "transfer_to_agent";
/// The name under which a model hands over to a person.
pub(super) const TO_HUMAN: &str = "transfer_to_human";

/// The tools of a turn.
#[derive(Default)]
pub(super) struct Toolset {
    /// As the provider takes them; `None`: as they stand in the settings.
    offered: Option<Vec<Tool>>,
    runners: HashMap<String, Runner>,
    /// The agents that may take over: name and id.
    next_agents: Vec<(String, String)>,
}

/// Who runs a tool.
#[derive(Clone)]
pub(super) enum Runner {
    /// The caller.
    Caller,
    /// The service, at an MCP server.
    Mcp {
        server: Arc<str>,
        /// By the server's name of it.
        tool: Arc<str>,
        consent: Option<Consent>,
        required: bool,
    },
    /// The service, by an HTTP request.
    Http { request: Arc<HttpRequest>, consent: Option<Consent>, required: bool },
    /// The service: another agent takes over.
    ToAgent,
    /// The service: a person is asked.
    ToHuman,
    /// Nobody, for this reason.
    Nobody(Arc<str>),
}

/// A person has to agree first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Consent {
    /// How long that is waited for, in seconds; 0: for ever.
    pub(super) ttl_s: u32,
}

impl Runner {
    /// Whether a person has to agree to each call.
    pub(super) fn consent(&self) -> Option<Consent> {
        match self {
            Runner::Mcp { consent, .. } | Runner::Http { consent, .. } => *consent,
            Runner::Caller | Runner::ToAgent | Runner::ToHuman | Runner::Nobody(_) => None,
        }
    }

    /// Whether the turn ends if it fails.
    pub(super) fn is_required(&self) -> bool {
        match self {
            Runner::Mcp { required, .. } | Runner::Http { required, .. } => *required,
            Runner::Caller | Runner::ToAgent | Runner::ToHuman | Runner::Nobody(_) => false,
        }
    }
}

impl Toolset {
    /// The tools as the provider takes them; `None`: as they stand in the settings.
    pub(super) fn offered(&self) -> Option<&[Tool]> {
        self.offered.as_deref()
    }

    /// Who runs the tool of this name. Where callers run all of them, they run those too that the model made up.
    pub(super) fn runner(&self, name: &str) -> Runner {
        match self.runners.get(name) {
            Some(runner) => runner.clone(),
            None if self.offered.is_none() => Runner::Caller,
            None => self.no_tool(name),
        }
    }

    /// For a model that made a name up.
    pub(super) fn no_tool(&self, name: &str) -> Runner {
        let mut names: Vec<&str> = self.runners.keys().map(String::as_str).collect();
        names.sort_unstable();
        Runner::Nobody(format!("there is no tool {name}; there are {}", names.join(", ")).into())
    }

    /// The id of the agent of this name that may take over.
    pub(super) fn next_agent(&self, name: &str) -> Option<&str> {
        self.next_agents.iter().find(|(known, _)| known == name).map(|(_, id)| id.as_str())
    }

    /// The names of the agents that may take over.
    pub(super) fn next_agents(&self) -> impl Iterator<Item = &str> {
        self.next_agents.iter().map(|(name, _)| name.as_str())
    }

    fn add(&mut self, spec: ToolSpec, runner: Runner) -> Result<(), Failure> {
        let ToolSpec { name, description, parameters } = spec;
        self.claim(&name, runner)?;
        let function = Function { name, description, parameters: Some(parameters), strict: false };
        self.offered.get_or_insert_default().push(Tool::Function(function));
        Ok(())
    }

    fn claim(&mut self, name: &str, runner: Runner) -> Result<(), Failure> {
        match self.runners.insert(name.to_owned(), runner) {
            None => Ok(()),
            Some(_) => Err(Failure::invalid_field("tools", format!("has two tools of the name {name}: rename one"))),
        }
    }
}

impl Shared {
    /// The tools of these settings and, with an agent, those to hand over with.
    pub(super) async fn toolset(&self, settings: &Settings, agent: Option<&Agent>) -> Result<Toolset, Failure> {
        let mut set = Toolset::default();
        let handoffs = agent.map_or(&[][..], |agent| &agent.spec.handoffs);
        let runs_some = |tool: &Tool| !matches!(tool, Tool::Function(_) | Tool::Connector(_));
        if handoffs.is_empty() && !settings.tools.iter().any(runs_some) {
            return Ok(set);
        }
        set.offered = Some(Vec::with_capacity(settings.tools.len()));
        for (i, tool) in settings.tools.iter().enumerate() {
            match tool {
                Tool::Function(function) => {
                    set.claim(&function.name, Runner::Caller)?;
                    set.offered.get_or_insert_default().push(tool.clone());
                }
                Tool::Connector(_) => set.offered.get_or_insert_default().push(tool.clone()),
                Tool::Mcp(tools) => self.add_mcp(&mut set, i, tools).await?,
                Tool::HttpRequest(request) => self.add_http(&mut set, request)?,
                Tool::HumanHandoff(tool) => set.add(to_human(&tool.description), Runner::ToHuman)?,
            }
        }
        self.add_handoffs(&mut set, handoffs)?;
        Ok(set)
    }

    async fn add_mcp(&self, set: &mut Toolset, i: usize, tools: &McpTools) -> Result<(), Failure> {
        let McpTools { server, include, exclude, requires_confirmation, terms } = tools;
        let listed = self.tools.mcp.tools(server).await.map_err(|error| failures::tools_unavailable(server, &error))?;
        if let Some(missing) = include.iter().find(|name| listed.iter().all(|tool| tool.name != **name)) {
            let there: Vec<&str> = listed.iter().map(|tool| tool.name.as_str()).collect();
            let text = format!("the MCP server {server} has no tool {missing}; it has {}", there.join(", "));
            return Err(Failure::invalid_field(format!("tools[{i}].mcp.include"), text));
        }
        let server: Arc<str> = server.as_str().into();
        for tool in listed.iter() {
            let wanted = include.is_empty() || include.contains(&tool.name);
            if !wanted || exclude.contains(&tool.name) {
                continue;
            }
            let asks = requires_confirmation.iter().any(|name| *name == "*" || *name == tool.name);
            let runner = Runner::Mcp {
                server: server.clone(),
                tool: tool.name.as_str().into(),
                consent: asks.then_some(consent(terms)),
                required: terms.required,
            };
            set.add(tool.spec.clone(), runner)?;
        }
        Ok(())
    }

    fn add_http(&self, set: &mut Toolset, request: &HttpRequest) -> Result<(), Failure> {
        // Checked with the settings; a configuration does not change while the server runs.
        let Some(spec) = self.tools.http.spec(request) else { return Ok(()) };
        let runner = Runner::Http {
            request: Arc::new(request.clone()),
            consent: request.requires_confirmation.then_some(consent(&request.terms)),
            required: request.terms.required,
        };
        set.add(spec, runner)
    }

    /// Agents that are gone are not offered.
    fn add_handoffs(&self, set: &mut Toolset, handoffs: &[String]) -> Result<(), Failure> {
        let agents: Vec<_> = handoffs.iter().filter_map(|id| self.lead(id, None).ok()).collect();
        if agents.is_empty() {
            return Ok(());
        }
        let mut told = String::from("Hands the conversation over to another agent, who goes on in your place:");
        for agent in &agents {
            let name = &agent.spec.name;
            // Names need not be unique, ids are.
            let twins = agents.iter().filter(|other| other.spec.name == *name).count();
            let id = agent.id.to_string();
            let name = if twins > 1 { id.clone() } else { name.clone() };
            told.push_str(&format!("\n- {name}: {}", agent.spec.description));
            set.next_agents.push((name, id));
        }
        let names: Vec<&str> = set.next_agents().collect();
        let parameters = object(json!({ "agent": { "type": "string", "enum": names } }), &["agent"]);
        let spec = ToolSpec { name: TO_AGENT.to_owned(), description: told, parameters };
        set.add(spec, Runner::ToAgent)
    }
}

fn consent(terms: &CallTerms) -> Consent {
    Consent { ttl_s: terms.confirmation_ttl_s }
}

fn to_human(description: &str) -> ToolSpec {
    let usual = "Hands the conversation over to a person, who answers in your place. Say in `message` what is asked of \
                 them.";
    let description = if description.is_empty() { usual } else { description };
    let parameters = object(json!({ "message": { "type": "string" } }), &["message"]);
    ToolSpec { name: TO_HUMAN.to_owned(), description: description.to_owned(), parameters }
}

fn object(properties: Value, required: &[&str]) -> Map<String, Value> {
    let pairs = [("type", json!("object")), ("properties", properties), ("required", json!(required))];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
