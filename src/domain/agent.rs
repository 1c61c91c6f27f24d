//! Agents: a model with instructions, tools and other agents that it may hand over to. Each change makes a new version.

use std::{collections::BTreeMap, fmt, str::FromStr};

use uuid::Uuid;

use super::{
    ids::{ParseIdError, Time},
    settings::{CompletionArgs, ToolChoice},
    tool::Tool,
};

/// Names an agent: `agent_` and 32 hex digits, of a UUIDv7 or, for one that is declared, of a UUIDv5.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId(pub Uuid);

/// What a version of an agent fixes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AgentSpec {
    /// For people and other agents: 1 to 64 letters, digits, spaces, `_`, `-` and `.`. Need not be unique.
    pub name: String,
    /// What it is for: other agents decide by it whom to hand over to. May be empty.
    pub description: String,
    /// The model that it asks.
    pub model: String,
    /// Asked in this order when the model fails; empty: those of the configuration.
    pub fallback_models: Vec<String>,
    /// The system text; may be empty.
    pub instructions: String,
    /// What the model may use.
    pub tools: Vec<Tool>,
    /// How the model answers.
    pub completion_args: CompletionArgs,
    /// The ids of the agents that it may hand over to.
    pub handoffs: Vec<String>,
    /// The caller's own pairs.
    pub metadata: BTreeMap<String, String>,
}

/// An agent at one of its versions.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    /// Its name for ever.
    pub id: AgentId,
    /// The version that this is, from 1.
    pub version: u32,
    /// The version that unpinned conversations follow.
    pub current_version: u32,
    /// How many versions there are.
    pub version_count: u32,
    /// What the version fixes.
    pub spec: AgentSpec,
    /// Why the version was made, in its maker's words; may be empty.
    pub version_message: String,
    /// Names of versions.
    pub aliases: BTreeMap<String, u32>,
    /// Where it was declared.
    pub source: AgentSource,
    /// When the agent was made.
    pub created_at: Time,
    /// When this version was made.
    pub version_created_at: Time,
    /// Counts every change of the agent, its aliases too.
    pub revision: u64,
}

/// Where an agent was declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentSource {
    /// By a call.
    Api,
    /// In the configuration: calls can't change it.
    Configuration,
}

/// Which version of an agent a conversation keeps to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentPin {
    /// This one.
    Version(u32),
    /// The one that the alias names at each turn.
    Alias(String),
}

impl AgentId {
    const PREFIX: &'static str = "agent_";

    /// The id of the agent that a configuration declares under this name: the same on every machine.
    pub fn declared(name: &str) -> AgentId {
        /// A UUIDv5 of its own in the namespace of URLs; changing it gives all declared agents new ids.
        const NAMESPACE: &[u8] = b"causerie:agents";
        let namespace = Uuid::new_v5(&Uuid::NAMESPACE_URL, NAMESPACE);
        AgentId(Uuid::new_v5(&namespace, name.as_bytes()))
    }
}

impl Agent {
    /// What callers know a revision by.
    pub fn etag(&self) -> String {
        self.revision.to_string()
    }
}

impl AgentSpec {
    /// Whether the tool that must be called, if one must, is among the tools. Which tools a server has is known only when it is
    /// asked.
    pub fn has_chosen_tool(&self) -> bool {
        let Some(ToolChoice::Function(name)) = &self.completion_args.tool_choice else { return true };
        self.tools.iter().any(|tool| match tool {
            Tool::Function(function) => function.name == *name,
            Tool::HttpRequest(request) => request.name == *name,
            Tool::Mcp(_) => true,
            Tool::Connector(_) | Tool::HumanHandoff(_) => false,
        })
    }
}

impl fmt::Display for AgentPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AgentPin::Version(version) => write!(f, "{version}"),
            AgentPin::Alias(alias) => f.write_str(alias),
        }
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, self.0.simple())
    }
}

impl fmt::Debug for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for AgentId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<AgentId, ParseIdError> {
        super::ids::parse(text, Self::PREFIX).map(AgentId).ok_or(ParseIdError::new(Self::PREFIX))
    }
}
