//! Which of a provider's endpoints a turn goes to.

use crate::domain::{agent::AgentPin, tool::Tool};

/// An endpoint, and with it the form that a history has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Chat completions.
    Chat,
    /// Mistral's conversations: its own tools and its own agents are there only.
    Conversations,
}

/// An agent that Mistral made and keeps (`ag_…`). The request's model is its id.
#[derive(Debug, Clone, Copy)]
pub struct HostedAgent<'a> {
    /// The version to keep to; `None`: its current one.
    pub version: Option<&'a AgentPin>,
}

impl Form {
    /// The form of a turn with these tools. `hosted`: an agent of Mistral's leads it.
    pub fn of(tools: &[Tool], hosted: bool) -> Form {
        let needs_conversations = tools.iter().any(|tool| match tool {
            Tool::Connector(_) => true,
            Tool::Function(_) | Tool::Mcp(_) | Tool::HttpRequest(_) | Tool::HumanHandoff(_) => false,
        });
        if hosted || needs_conversations { Form::Conversations } else { Form::Chat }
    }

    /// Its name in failures.
    pub(super) fn name(self) -> &'static str {
        match self {
            Form::Chat => "chat completions",
            Form::Conversations => "conversations",
        }
    }
}
