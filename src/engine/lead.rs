//! Who leads a turn: a model, an agent, or an agent that Mistral hosts; and with which settings.

use std::sync::Arc;

use super::{Shared, failures, models::Target, toolset::Toolset};
use crate::{
    domain::{
        Agent, Failure, Reason, Settings, Tool, Violation,
        request::{Fallback, Forwarding, Overrides},
        settings::{CompletionArgs, ResponseFormat, ToolChoice},
        tool::HttpRequest,
    },
    tools::schema::Schema,
    upstream::{Form, HostedAgent},
};

/// Who leads a turn at its beginning.
pub(super) struct Lead {
    /// What the new version keeps: what was overridden, not what an agent brings.
    pub(super) kept: Arc<Settings>,
    /// What holds for this turn.
    pub(super) settings: Arc<Settings>,
    /// The agent, unless Mistral hosts it.
    pub(super) agent: Option<Arc<Agent>>,
}

/// Who leads a turn at the moment: everything that a call of the model needs.
pub(super) struct Led {
    /// What holds, with the tools as the provider takes them.
    pub(super) settings: Arc<Settings>,
    pub(super) target: Arc<Target>,
    pub(super) agent: Option<Arc<Agent>>,
    /// Which models stand in.
    pub(super) fallback: Fallback,
    pub(super) tools: Arc<Toolset>,
    /// What the last message has to be, if that is checked.
    pub(super) format: Option<Schema>,
}

/// Mistral's prefix of the ids of the agents that it hosts, after the provider's name if there is one.
fn is_hosted(agent_id: &str) -> bool {
    agent_id.rsplit('/').next().is_some_and(|id| id.starts_with("ag_"))
}

impl Lead {
    /// The agent that Mistral is to run, and the version of it.
    pub(super) fn is_hosted(settings: &Settings) -> bool {
        settings.agent_id.as_deref().is_some_and(is_hosted)
    }

    /// What its provider is told of it.
    pub(super) fn hosted(settings: &Settings) -> Option<HostedAgent<'_>> {
        Lead::is_hosted(settings).then_some(HostedAgent { version: settings.agent_pin.as_ref() })
    }

    /// The form in which whoever leads is told a history.
    pub(super) fn form(settings: &Settings) -> Form {
        Form::of(&settings.tools, Lead::is_hosted(settings))
    }
}

impl Shared {
    /// Who leads a turn on these settings with these changes. `asks`: a model will be asked.
    pub(super) fn lead_of(
        &self,
        parent: Option<&Arc<Settings>>,
        overrides: Overrides,
        asks: bool,
    ) -> Result<Lead, Failure> {
        let names_model = overrides.model.is_some();
        let names_agent = overrides.agent_id.is_some();
        let clears =
            (overrides.tools.as_ref().is_some_and(Vec::is_empty), overrides.instructions.as_deref() == Some(""));
        let mut kept = settle(parent, overrides);
        if names_model && !names_agent && Lead::is_hosted(&kept) {
            // Mistral's agent brings its own model: who names another one leaves the agent.
            leave_agent(&mut kept);
        }
        if Lead::is_hosted(&kept) {
            check_hosted(&kept)?;
            let mut settings = (*kept).clone();
            settings.model = settings.agent_id.clone().unwrap_or_default();
            return Ok(Lead { kept, settings: Arc::new(settings), agent: None });
        }
        let agent = match &kept.agent_id {
            Some(id) if asks || names_agent => match self.lead(id, kept.agent_pin.as_ref()) {
                Ok(agent) => Some(agent),
                // The agent is gone, and the caller names who goes on in its place.
                Err(failure) if failure.reason == Reason::AgentNotFound && names_model && !names_agent => {
                    leave_agent(&mut kept);
                    None
                }
                Err(failure) => return Err(failure),
            },
            Some(_) | None => None,
        };
        if kept.agent_id.is_some() {
            check_cleared(clears)?;
        }
        let settings = match &agent {
            Some(agent) => Arc::new(with_agent(&kept, agent)),
            None => kept.clone(),
        };
        if asks {
            check_tool_choice(&settings)?;
        }
        Ok(Lead { kept, settings, agent })
    }

    /// What calls of the model need. The tools of a server may have to be asked for.
    pub(super) async fn equip(&self, lead: &Lead, forwarding: &Forwarding) -> Result<Led, Failure> {
        let Lead { kept: _, settings, agent } = lead;
        let tools = self.toolset(settings, agent.as_deref()).await?;
        let settings = match tools.offered() {
            // The provider takes them as they are.
            None => settings.clone(),
            Some(offered) => Arc::new(Settings { tools: offered.to_vec(), ..(**settings).clone() }),
        };
        let fallback = match (&forwarding.fallback, agent) {
            (Fallback::Configured, Some(agent)) if !agent.spec.fallback_models.is_empty() => {
                Fallback::Models(agent.spec.fallback_models.clone())
            }
            // An agent of Mistral's is nobody else's.
            (_, _) if Lead::is_hosted(&settings) => Fallback::Never,
            (asked, _) => asked.clone(),
        };
        let target = self.models.target(&settings.model);
        let format = self.checked_format(&settings).await?;
        Ok(Led { settings, target, agent: agent.clone(), fallback, tools: Arc::new(tools), format })
    }

    /// Who leads after a handoff: the next agent, with nothing of what was overridden for the one before.
    pub(super) async fn lead_after(&self, before: &Settings, agent: Arc<Agent>) -> Result<Lead, Failure> {
        let kept = Settings {
            agent_id: Some(agent.id.to_string()),
            metadata: before.metadata.clone(),
            tree_budget: before.tree_budget,
            ..Settings::default()
        };
        let settings = Arc::new(with_agent(&kept, &agent));
        check_tool_choice(&settings)?;
        self.check_tools(&settings.tools).await?;
        Ok(Lead { kept: Arc::new(kept), settings, agent: Some(agent) })
    }

    /// A schema that can't be checked is refused before the model is asked.
    async fn checked_format(&self, settings: &Settings) -> Result<Option<Schema>, Failure> {
        let Some(ResponseFormat::JsonSchema { schema, check: true, .. }) = &settings.completion_args.response_format
        else {
            return Ok(None);
        };
        let schema = schema.clone();
        let compiled = self.compiles.run(move || Schema::new(&schema)).await;
        let compiled = compiled.unwrap_or_else(|| Err("could not be compiled".to_owned()));
        let invalid = |why| Failure::invalid_field("completion_args.response_format.json_schema.schema", why);
        compiled.map(Some).map_err(invalid)
    }

    /// What can be said of tools before anything is asked. Fields are those of the settings.
    pub(super) async fn check_tools(&self, tools: &[Tool]) -> Result<(), Failure> {
        let violations = self.tool_faults(tools).await;
        if violations.is_empty() { Ok(()) } else { Err(Failure::invalid(violations)) }
    }

    /// The same, all that is wrong.
    pub(super) async fn tool_faults(&self, tools: &[Tool]) -> Vec<Violation> {
        let mut faults = Vec::new();
        for (i, tool) in tools.iter().enumerate() {
            let fault = match tool {
                Tool::HttpRequest(request) => {
                    self.http_fault(request).await.map(|why| (format!("tools[{i}].http_request"), why))
                }
                Tool::Mcp(tools) if !self.tools.mcp.names().contains(&tools.server.as_str()) => {
                    let why = failures::no_mcp_server(&tools.server, &self.tools.mcp.names());
                    Some((format!("tools[{i}].mcp.server"), why))
                }
                Tool::Function(_) | Tool::Mcp(_) | Tool::Connector(_) | Tool::HumanHandoff(_) => None,
            };
            faults.extend(fault.map(|(field, description)| Violation { field, description }));
        }
        faults
    }

    /// A schema that was not seen before is compiled, which may take long: where it holds nobody up.
    async fn http_fault(&self, request: &HttpRequest) -> Option<String> {
        if self.tools.http.knows(request) {
            return self.tools.http.check(request).err();
        }
        let (http, request) = (self.tools.http.clone(), request.clone());
        let checked = self.compiles.run(move || http.check(&request)).await;
        checked.unwrap_or_else(|| Err("could not be checked".to_owned())).err()
    }
}

/// The settings of the new version: the parent's, as one shared value, unless something changes.
fn settle(parent: Option<&Arc<Settings>>, overrides: Overrides) -> Arc<Settings> {
    let Overrides { model, agent_id, agent_pin, instructions, tools, completion_args, metadata, tree_budget } =
        overrides;
    let inherited = parent.cloned().unwrap_or_default();
    let changes = model.is_some()
        || agent_id.is_some()
        || agent_pin.is_some()
        || instructions.is_some()
        || tools.is_some()
        || completion_args.is_some()
        || metadata.is_some();
    if !changes {
        return inherited;
    }
    let mut settings = Arc::unwrap_or_clone(inherited);
    if let Some(agent_id) = agent_id {
        // What was said to the one who led before does not hold for the next.
        let Settings { metadata, tree_budget, .. } = settings;
        settings = Settings { agent_id: Some(agent_id), metadata, tree_budget, ..Settings::default() };
    }
    settings.agent_pin = agent_pin.or(settings.agent_pin);
    settings.model = model.unwrap_or(settings.model);
    settings.instructions = instructions.unwrap_or(settings.instructions);
    settings.tools = tools.unwrap_or(settings.tools);
    settings.completion_args = completion_args.unwrap_or(settings.completion_args);
    settings.metadata = metadata.unwrap_or(settings.metadata);
    settings.tree_budget = tree_budget.or(settings.tree_budget);
    Arc::new(settings)
}

/// From here on no agent leads.
fn leave_agent(kept: &mut Arc<Settings>) {
    let left = Arc::make_mut(kept);
    (left.agent_id, left.agent_pin) = (None, None);
}

/// What is taken away from an agent's conversation would come back as the agent's own, and a caller who takes tools away means it.
fn check_cleared((tools, instructions): (bool, bool)) -> Result<(), Failure> {
    let given = [("clear_tools", tools), ("instructions", instructions)].into_iter().filter(|(_, is_given)| *is_given);
    let violations: Vec<_> = given
        .map(|(field, _)| Violation {
            field: field.to_owned(),
            description:
                "can't take away what an agent has of its own: give others, change the agent, or give `agent_id` \
                          again to have the agent's own"
                    .to_owned(),
        })
        .collect();
    if violations.is_empty() { Ok(()) } else { Err(Failure::invalid(violations)) }
}

/// What is empty in the settings is the agent's.
fn with_agent(kept: &Settings, agent: &Agent) -> Settings {
    let spec = &agent.spec;
    let mut settings = kept.clone();
    if settings.model.is_empty() {
        settings.model = spec.model.clone();
    }
    if settings.instructions.is_empty() {
        settings.instructions = spec.instructions.clone();
    }
    if settings.tools.is_empty() {
        settings.tools = spec.tools.clone();
    }
    if settings.completion_args == CompletionArgs::default() {
        settings.completion_args = spec.completion_args.clone();
    }
    settings
}

/// Mistral runs such an agent as it is there.
fn check_hosted(kept: &Settings) -> Result<(), Failure> {
    let set = [
        ("model", !kept.model.is_empty()),
        ("instructions", !kept.instructions.is_empty()),
        ("tools", !kept.tools.is_empty()),
        ("completion_args", kept.completion_args != CompletionArgs::default()),
    ];
    let given = set.into_iter().filter(|(_, is_set)| *is_set).map(|(field, _)| Violation {
        field: field.to_owned(),
        description: "must be left out: an agent that Mistral hosts has its own".to_owned(),
    });
    let violations: Vec<_> = given.collect();
    if violations.is_empty() { Ok(()) } else { Err(Failure::invalid(violations)) }
}

/// A choice that names a function needs that function, wherever the two come from.
fn check_tool_choice(settings: &Settings) -> Result<(), Failure> {
    let Some(ToolChoice::Function(name)) = &settings.completion_args.tool_choice else { return Ok(()) };
    let known = settings.tools.iter().any(|tool| match tool {
        Tool::Function(function) => function.name == *name,
        Tool::HttpRequest(request) => request.name == *name,
        // Which tools a server has is known only when it is asked.
        Tool::Mcp(_) => true,
        Tool::Connector(_) | Tool::HumanHandoff(_) => false,
    });
    if known {
        return Ok(());
    }
    Err(Failure::invalid_field("completion_args.tool_choice.function_name", "must name one of the tools"))
}
