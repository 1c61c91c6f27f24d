//! Who answers: a model, or an agent.

use super::{Session, text};
use crate::{
    cli::{Failure, agents, connect::quick},
    proto::{Conversation, GetAgentRequest, Turn, entry},
};

impl Session {
    pub(super) fn choose_model(&mut self, name: Option<String>) -> Result<(), Failure> {
        match name {
            Some(name) => {
                self.hint(&format!("{name} answers from the next turn on"))?;
                if self.version.is_none() {
                    // A conversation begins with a model or an agent.
                    (self.settings.agent_id, self.settings.agent_version) = (None, None);
                }
                self.settings.model = Some(name);
                Ok(())
            }
            None => match (&self.settings.model, self.model.as_str()) {
                (Some(model), _) => Ok(self.screen.print(model)?),
                (None, "") => {
                    let text = format!("the model of {}", self.who());
                    Ok(self.screen.print(&text)?)
                }
                (None, model) => Ok(self.screen.print(model)?),
            },
        }
    }

    pub(super) async fn choose_agent(&mut self, given: Option<String>) -> Result<(), Failure> {
        let Some(given) = given else {
            let text = match (&self.settings.agent_id, self.agent_id.as_str()) {
                (Some(id), _) => self.agent(id),
                (None, "") => "no agent leads".into(),
                (None, id) => self.agent(id),
            };
            return Ok(self.screen.print(&text)?);
        };
        let id = self.agent_named(&given).await?;
        self.hint(&format!("{given} answers from the next turn on"))?;
        // It brings its own model.
        (self.settings.model, self.settings.agent_version) = (None, None);
        self.settings.agent_id = Some(id);
        Ok(())
    }

    /// The id of the agent that is meant, by its id or a name that only one has.
    pub(super) async fn agent_named(&mut self, given: &str) -> Result<String, Failure> {
        if is_hosted(given) {
            return Ok(given.to_owned());
        }
        let id = agents::find(&mut self.agents, given).await?;
        self.learn_name(&id).await;
        Ok(id)
    }

    /// Who answers the next message.
    pub(super) fn who(&self) -> String {
        match (self.agent_id.as_str(), self.model.as_str()) {
            ("", model) => model.to_owned(),
            (id, _) => self.names.get(id).cloned().unwrap_or_else(|| id.to_owned()),
        }
    }

    pub(super) async fn led_by_version(&mut self, version: &Conversation) {
        self.model.clone_from(&version.model);
        self.agent_id.clone_from(&version.agent_id);
        self.learn_name(&self.agent_id.clone()).await;
    }

    /// Who leads after a turn: the last one that was handed over to, else who led it.
    pub(super) async fn led_by_turn(&mut self, turn: &Turn) {
        self.model.clone_from(&turn.model);
        self.agent_id.clone_from(&turn.agent_id);
        for entry in &turn.outputs {
            text::learn(&mut self.names, entry);
            if let Some(entry::Kind::AgentHandoff(handoff)) = &entry.kind {
                self.agent_id.clone_from(&handoff.next_agent_id);
                self.model.clear();
            }
        }
        self.learn_name(&self.agent_id.clone()).await;
    }

    /// Asks for the name of an agent. Without one, it is called by its id.
    async fn learn_name(&mut self, id: &str) {
        if id.is_empty() || is_hosted(id) || self.names.contains_key(id) {
            return;
        }
        let request = GetAgentRequest { agent_id: id.to_owned(), ..GetAgentRequest::default() };
        if let Ok(agent) = self.agents.get_agent(quick(request)).await {
            self.names.insert(id.to_owned(), agent.into_inner().name);
        }
    }

    fn agent(&self, id: &str) -> String {
        self.names.get(id).map_or_else(|| id.to_owned(), |name| format!("{name} ({id})"))
    }
}

/// Agents that Mistral hosts are known to Mistral alone. They may stand behind a provider's name.
fn is_hosted(agent_id: &str) -> bool {
    agent_id.rsplit('/').next().is_some_and(|id| id.starts_with("ag_"))
}
