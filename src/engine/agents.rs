//! Agents, for those who make and change them and for turns that one leads. The store is the truth, and keeps those that are used
//! decoded.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jiff::Timestamp;

use super::{Engine, Shared, failures, ids};
pub use crate::store::{AgentCursor, AgentPage, AgentQuery};
use crate::{
    domain::{
        Failure, Reason, Time, Violation,
        agent::{Agent, AgentId, AgentPin, AgentSource, AgentSpec},
        request::RequestKey,
        settings::CompletionArgs,
        tool::Tool,
    },
    store::{AgentChange, AgentError, NewAgent, Room},
};

/// A page stays below the 4 MiB that clients take in one message.
const PAGE_BYTES: usize = 2 << 20;
/// More names are more than anybody keeps apart, and all of them are in each answer.
const MAX_ALIASES: usize = 64;

/// What a call changes of an agent; `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "as in AgentSpec")]
pub struct AgentChanges {
    pub name: Option<String>,
    pub description: Option<String>,
    pub model: Option<String>,
    pub fallback_models: Option<Vec<String>>,
    pub instructions: Option<String>,
    pub tools: Option<Vec<Tool>>,
    pub completion_args: Option<CompletionArgs>,
    pub handoffs: Option<Vec<String>>,
    pub metadata: Option<BTreeMap<String, String>>,
}

impl AgentChanges {
    /// What an agent is after them.
    #[must_use]
    pub fn of(self, spec: AgentSpec) -> AgentSpec {
        let AgentChanges {
            name,
            description,
            model,
            fallback_models,
            instructions,
            tools,
            completion_args,
            handoffs,
            metadata,
        } = self;
        AgentSpec {
            name: name.unwrap_or(spec.name),
            description: description.unwrap_or(spec.description),
            model: model.unwrap_or(spec.model),
            fallback_models: fallback_models.unwrap_or(spec.fallback_models),
            instructions: instructions.unwrap_or(spec.instructions),
            tools: tools.unwrap_or(spec.tools),
            completion_args: completion_args.unwrap_or(spec.completion_args),
            handoffs: handoffs.unwrap_or(spec.handoffs),
            metadata: metadata.unwrap_or(spec.metadata),
        }
    }
}

/// An agent that a call changes.
#[derive(Debug, Clone, Copy)]
pub struct AgentTarget {
    /// The agent.
    pub id: AgentId,
    /// Only at this revision.
    pub revision: Option<u64>,
}

impl Engine {
    /// Makes an agent, or finds the one that the same request made.
    pub async fn create_agent(
        &self,
        spec: AgentSpec,
        version_message: String,
        request: Option<RequestKey>,
    ) -> Result<Arc<Agent>, Failure> {
        let store = &self.shared.store;
        if let Some(key) = &request
            && let Some(made) = store.agent_request(&key.id).map_err(failures::store)?
        {
            return self.shared.made_before(key, made);
        }
        store.accepts_turns().map_err(failures::store)?;
        let id = AgentId(ids::entry_uuid());
        let mut faults = self.handoff_faults(id, &spec.handoffs).await?;
        faults.extend(tool_choice_fault(&spec));
        faults.extend(self.agent_tool_faults(&spec.tools).await);
        if !faults.is_empty() {
            return Err(Failure::invalid(faults));
        }
        let key = request.clone().map(|RequestKey { id, fingerprint }| (id, fingerprint));
        let new = NewAgent { id, spec, version_message, created_at: ids::now(), request: key };
        match (store.create_agent(new).await, request) {
            (Ok(agent), _) => Ok(agent),
            // The other one was a moment faster.
            (Err(AgentError::Exists(agent, fingerprint)), Some(key)) => {
                self.shared.made_before(&key, (agent, fingerprint))
            }
            (Err(error), _) => Err(refused(id, None, error)),
        }
    }

    /// Reads an agent at a version, the current one without a pin.
    pub async fn agent(&self, id: AgentId, pin: Option<AgentPin>) -> Result<Arc<Agent>, Failure> {
        let shared = self.shared.clone();
        self.shared.blocking(move || shared.agent(id, pin.as_ref())).await?
    }

    /// Lists agents, newest first.
    pub async fn agents(
        &self,
        query: AgentQuery,
        after: Option<AgentCursor>,
        limit: usize,
    ) -> Result<AgentPage<AgentCursor>, Failure> {
        let shared = self.shared.clone();
        let page = self.shared.blocking(move || shared.store.agents(&query, after, room(limit))).await?;
        // A list names no agent that could be missing.
        page.map_err(|error| refused(AgentId(uuid::Uuid::nil()), None, error))
    }

    /// Lists the versions of an agent before one, newest first.
    pub async fn agent_versions(
        &self,
        id: AgentId,
        before: Option<u32>,
        limit: usize,
    ) -> Result<AgentPage<u32>, Failure> {
        let shared = self.shared.clone();
        let page = self.shared.blocking(move || shared.store.agent_versions(id, before, room(limit))).await?;
        page.map_err(|error| refused(id, None, error))
    }

    /// Changes what is given; makes a version only if something is another then.
    pub async fn update_agent(
        &self,
        target: AgentTarget,
        changes: AgentChanges,
        version_message: String,
    ) -> Result<Arc<Agent>, Failure> {
        // Before the agents that it names are looked at: it may not exist.
        self.shared.changeable(target)?;
        self.shared.store.accepts_turns().map_err(failures::store)?;
        let mut faults = self.handoff_faults(target.id, changes.handoffs.as_deref().unwrap_or_default()).await?;
        faults.extend(self.agent_tool_faults(changes.tools.as_deref().unwrap_or_default()).await);
        let change = |agent: &Agent| {
            let spec = Box::new(changes.clone().of(agent.spec.clone()));
            let faults: Vec<_> = faults.iter().cloned().chain(tool_choice_fault(&spec)).collect();
            if !faults.is_empty() {
                return Err(Failure::invalid(faults));
            }
            let message = version_message.clone();
            Ok((*spec != agent.spec).then(|| AgentChange::Version { spec, message, at: ids::now() }))
        };
        self.change_agent(target, change).await
    }

    /// What is wrong with the tools of an agent that calls give.
    async fn agent_tool_faults(&self, tools: &[Tool]) -> impl Iterator<Item = Violation> {
        let faults = self.shared.tool_faults(tools).await;
        faults.into_iter().map(|fault| Violation { field: format!("agent.{}", fault.field), ..fault })
    }

    /// Makes another version the current one.
    pub async fn set_current_agent_version(&self, target: AgentTarget, to: AgentPin) -> Result<Arc<Agent>, Failure> {
        let change = |agent: &Agent| {
            let version = version_of(agent, &to)?;
            Ok((version != agent.current_version).then_some(AgentChange::Current(version)))
        };
        self.change_agent(target, change).await
    }

    /// Gives a version a name, which it takes from the version that had it.
    pub async fn set_agent_alias(
        &self,
        target: AgentTarget,
        alias: String,
        to: AgentPin,
    ) -> Result<Arc<Agent>, Failure> {
        let change = |agent: &Agent| {
            let version = version_of(agent, &to)?;
            let mut aliases = agent.aliases.clone();
            if aliases.insert(alias.clone(), version) == Some(version) {
                return Ok(None);
            }
            if aliases.len() > MAX_ALIASES {
                let text = format!("is one too many: an agent has at most {MAX_ALIASES}; delete one first");
                return Err(Failure::invalid_field("alias", text));
            }
            Ok(Some(AgentChange::Aliases(aliases)))
        };
        self.change_agent(target, change).await
    }

    /// Takes a name away, if it is there.
    pub async fn delete_agent_alias(&self, target: AgentTarget, alias: &str) -> Result<Arc<Agent>, Failure> {
        let change = |agent: &Agent| {
            let mut aliases = agent.aliases.clone();
            Ok(aliases.remove(alias).map(|_| AgentChange::Aliases(aliases)))
        };
        self.change_agent(target, change).await
    }

    /// Deletes an agent with all its versions.
    pub async fn delete_agent(&self, target: AgentTarget) -> Result<(), Failure> {
        loop {
            let agent = self.shared.changeable(target)?;
            match self.shared.store.delete_agent(target.id, agent.revision, ids::now()).await {
                // Who gave no revision deletes whatever it is.
                Err(AgentError::Changed) => {}
                Err(error) => return Err(refused(target.id, None, error)),
                Ok(()) => {
                    tracing::info!(agent = %target.id, "deleted");
                    return Ok(());
                }
            }
        }
    }

    /// Changes an agent as it is at that moment. Somebody else's change in between is no fault, unless the caller gave a revision.
    async fn change_agent(
        &self,
        target: AgentTarget,
        change: impl Fn(&Agent) -> Result<Option<AgentChange>, Failure>,
    ) -> Result<Arc<Agent>, Failure> {
        let store = &self.shared.store;
        loop {
            let agent = self.shared.changeable(target)?;
            let Some(change) = change(&agent)? else { return Ok(agent) };
            match store.change_agent(target.id, agent.revision, change).await {
                Err(AgentError::Changed) => {}
                changed => return changed.map_err(|error| refused(target.id, None, error)),
            }
        }
    }

    async fn handoff_faults(&self, own: AgentId, handoffs: &[String]) -> Result<Vec<Violation>, Failure> {
        if handoffs.is_empty() {
            return Ok(Vec::new());
        }
        let (shared, handoffs) = (self.shared.clone(), handoffs.to_vec());
        let look = move || {
            let find = |id: &str| shared.lead(id, None).map(|agent| agent.spec.name.clone());
            handoff_faults("agent", own, &handoffs, find)
        };
        self.shared.blocking(look).await?
    }
}

/// Often it is a name, which need not be unique.
fn no_id(text: &str) -> Failure {
    let failure = Failure::not_found(Reason::AgentNotFound, "agent", text);
    let message = format!("{}: an agent is named by its id, such as agent_… of ListAgents", failure.message);
    Failure { message, ..failure }
}

impl Shared {
    /// The agent that leads a turn, at the version that it keeps to or the current one. Takes microseconds when it is warm.
    ///
    /// # Errors
    ///
    /// AGENT_NOT_FOUND, which tells one that was deleted from one that never was; AGENT_VERSION_NOT_FOUND; STORE_FAILED.
    pub(super) fn lead(&self, agent_id: &str, pin: Option<&AgentPin>) -> Result<Arc<Agent>, Failure> {
        let id = agent_id.parse().map_err(|_| no_id(agent_id))?;
        self.agent(id, pin)
    }

    fn agent(&self, id: AgentId, pin: Option<&AgentPin>) -> Result<Arc<Agent>, Failure> {
        self.store.agent(id, pin).map_err(|error| refused(id, pin, error))
    }

    /// The agent as it is now, if a call may change it.
    fn changeable(&self, target: AgentTarget) -> Result<Arc<Agent>, Failure> {
        let agent = self.agent(target.id, None)?;
        if agent.source == AgentSource::Configuration {
            let name = &agent.spec.name;
            let text = format!("{} is declared in the configuration (agents.{name}): change it there", target.id);
            return Err(Failure::new(Reason::AgentReadOnly, text).with("agent_id", target.id.to_string()));
        }
        if target.revision.is_some_and(|revision| revision != agent.revision) {
            let text = format!("{} was changed meanwhile: read it again, and change what it is now", target.id);
            let failure = Failure::new(Reason::AgentChanged, text).with("agent_id", target.id.to_string());
            return Err(failure.with("etag", agent.etag()));
        }
        Ok(agent)
    }

    /// The agent that a request made before, if it was this request.
    fn made_before(&self, key: &RequestKey, made: (AgentId, [u8; 16])) -> Result<Arc<Agent>, Failure> {
        let (id, fingerprint) = made;
        if fingerprint == key.fingerprint {
            return self.agent(id, None);
        }
        let text = format!("the request_id was used with another request, for {id}: choose a new one");
        Err(Failure::new(Reason::RequestIdReused, text).with("agent_id", id.to_string()))
    }
}

fn room(rows: usize) -> Room {
    Room { rows, bytes: PAGE_BYTES }
}

fn tool_choice_fault(spec: &AgentSpec) -> Option<Violation> {
    (!spec.has_chosen_tool()).then(|| Violation {
        field: "agent.completion_args.tool_choice.function_name".to_owned(),
        description: "must name one of the agent's tools".to_owned(),
    })
}

/// What is wrong with handoffs: `find` gives the name of an agent.
pub(super) fn handoff_faults(
    place: &str,
    own: AgentId,
    handoffs: &[String],
    find: impl Fn(&str) -> Result<String, Failure>,
) -> Result<Vec<Violation>, Failure> {
    let own = own.to_string();
    let mut faults = Vec::new();
    let mut names: HashMap<String, usize> = HashMap::new();
    for (i, id) in handoffs.iter().enumerate() {
        let description = match find(id) {
            Ok(_) if *id == own => "is the agent itself: leave it out".to_owned(),
            Ok(name) => match names.insert(name.to_lowercase(), i) {
                None => continue,
                Some(earlier) => {
                    format!(
                        "has the same name as handoffs[{earlier}], and a model could not tell them apart: leave one out"
                    )
                }
            },
            Err(failure) if failure.reason == Reason::AgentNotFound => {
                format!("must be an agent that exists: {}", failure.message)
            }
            Err(failure) => return Err(failure),
        };
        faults.push(Violation { field: format!("{place}.handoffs[{i}]"), description });
    }
    Ok(faults)
}

fn version_of(agent: &Agent, pin: &AgentPin) -> Result<u32, Failure> {
    match pin {
        AgentPin::Version(version) if (1..=agent.version_count).contains(version) => Ok(*version),
        AgentPin::Version(_) => Err(refused(agent.id, Some(pin), AgentError::NoVersion)),
        AgentPin::Alias(alias) => {
            let version = agent.aliases.get(alias).copied();
            version.ok_or_else(|| refused(agent.id, Some(pin), AgentError::NoVersion))
        }
    }
}

fn refused(id: AgentId, pin: Option<&AgentPin>, error: AgentError) -> Failure {
    let not_found = || Failure::not_found(Reason::AgentNotFound, "agent", id.to_string());
    match error {
        AgentError::Unknown => not_found(),
        AgentError::Gone { name, at, source } => {
            let at = moment(at);
            let what = match source {
                AgentSource::Api => format!("{id} (\"{name}\") was deleted at {at}"),
                AgentSource::Configuration => {
                    format!("{id} (\"{name}\") is not declared in the configuration any more, since {at}")
                }
            };
            let message = format!("{what}: name another agent_id, or a model");
            Failure { message, ..not_found() }.with("agent_name", name).with("deleted_at", at)
        }
        AgentError::NoVersion => {
            let pin = pin.map(ToString::to_string).unwrap_or_default();
            let message = format!("{id} has no version or alias {pin}: ListAgentVersions has those that there are");
            let failure = Failure::not_found(Reason::AgentVersionNotFound, "agent version", format!("{id}@{pin}"));
            Failure { message, ..failure }.with("agent_id", id.to_string()).with("agent_version", pin)
        }
        // Whoever gets these from the store tries again or looks at what is there.
        AgentError::Changed | AgentError::Exists(..) => {
            Failure::new(Reason::Internal, "an agent was written without regard to others")
        }
        AgentError::Store(error) => failures::store(error),
    }
}

fn moment(time: Time) -> String {
    Timestamp::from_microsecond(time.unix_us).map_or_else(|_| "an unknown time".to_owned(), |time| time.to_string())
}
