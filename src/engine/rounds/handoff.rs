//! Handing over: to another agent, who goes on in the same turn or in the caller's next one, or to a person.

use std::sync::Arc;

use serde_json::Value;

use super::Rounds;
use crate::{
    domain::{Agent, EntryId, EventKind, Failure, ids::EntryKind},
    engine::{assemble::Held, failures, ids, toolset::Runner},
};

/// Why a handoff is not done.
pub(super) const BESIDE_WAITING: &str =
    "not handed over: other calls of the same answer wait; ask for it again when they are answered";
const OTHER_KEY: &str = "not handed over: that agent's model is at a provider that the caller's key is not for";
const ONCE: &str = "not handed over: another handoff of the same answer came first";

/// A handoff that the model is told was not done.
pub(super) fn refused(held: Held, why: &str) -> Held {
    Held { runner: Runner::Nobody(why.into()), ..held }
}

/// What came of it.
pub(super) enum Handed {
    /// Nobody was asked for.
    None,
    /// Who was asked for can't take over, and the model was told so.
    Refused,
    /// Another agent goes on.
    ToAgent,
    /// It is the caller's turn: a person is asked, or the caller is to let the next agent go on.
    ToCaller,
}

impl Rounds<'_> {
    /// Does the first handoff that an answer asks for. The model is told that the others were not done.
    pub(super) async fn hand_over(&mut self, handoffs: Vec<Held>) -> Result<Handed, Failure> {
        let mut handoffs = handoffs.into_iter();
        let Some(first) = handoffs.next() else { return Ok(Handed::None) };
        if handoffs.len() > 0 {
            let refused = handoffs.map(|held| self::refused(held, ONCE)).collect();
            let jobs = self.jobs(refused, false);
            self.run(jobs).await?;
        }
        if matches!(first.runner, Runner::ToHuman) {
            self.ask_a_person(&first);
            return Ok(Handed::ToCaller);
        }
        match self.next_agent(&first) {
            Some(next) if self.is_at_others_expense(&next) => {
                let jobs = self.jobs(vec![refused(first, OTHER_KEY)], false);
                self.run(jobs).await?;
                Ok(Handed::Refused)
            }
            Some(next) => self.change_agents(next).await,
            None => {
                let there: Vec<&str> = self.led.tools.next_agents().collect();
                let why = format!("there is no such agent to hand over to; there are {}", there.join(", "));
                let jobs = self.jobs(vec![refused(first, &why)], false);
                self.run(jobs).await?;
                Ok(Handed::Refused)
            }
        }
    }

    /// Whether the turn may be handed over once more, if the first of these asks for it.
    pub(super) fn check_first(&self, handoffs: &[Held]) -> Result<(), Failure> {
        let first = handoffs.first().filter(|first| matches!(first.runner, Runner::ToAgent));
        let Some(next) = first.and_then(|first| self.next_agent(first)) else { return Ok(()) };
        let from = self.led.agent.as_ref().map_or_else(String::new, |agent| agent.id.to_string());
        self.check_handoff(&from, &next.id.to_string(), &next.spec.name)
    }

    /// A caller who pays is not moved to an account of the operator's.
    fn is_at_others_expense(&self, next: &Agent) -> bool {
        let (own, other) = (&self.question.target, self.shared.models.target(&next.spec.model));
        self.plan.key.is_some() && other.provider.name() != own.provider.name()
    }

    /// The agent that a call names, if it may take over and is there.
    fn next_agent(&self, call: &Held) -> Option<Arc<Agent>> {
        let name = argument(&call.arguments, "agent")?;
        let id = self.led.tools.next_agent(&name)?;
        self.shared.lead(id, None).ok()
    }

    async fn change_agents(&mut self, next: Arc<Agent>) -> Result<Handed, Failure> {
        let (previous_id, previous_name) = match &self.led.agent {
            Some(agent) => (agent.id.to_string(), agent.spec.name.clone()),
            None => (String::new(), String::new()),
        };
        let (next_id, next_name) = (next.id.to_string(), next.spec.name.clone());
        self.check_handoff(&previous_id, &next_id, &next_name)?;
        let lead = self.shared.lead_after(&self.progress.kept, next).await?;
        let entry_id = EntryId { kind: EntryKind::AgentHandoff, uuid: ids::entry_uuid() };
        let output_index = self.progress.assembler.next_output();
        self.push(EventKind::AgentHandoffStarted {
            entry_id,
            output_index,
            previous_agent_id: previous_id.clone(),
            previous_agent_name: previous_name,
            author: self.progress.assembler.author().clone(),
        });
        self.push(EventKind::AgentHandoffDone {
            entry_id,
            output_index,
            next_agent_id: next_id.clone(),
            next_agent_name: next_name,
        });
        self.progress.kept = lead.kept.clone();
        if self.plan.tool_use.handoff_to_caller {
            self.progress.hands_back = true;
            return Ok(Handed::ToCaller);
        }
        self.handoffs.push((previous_id, next_id));
        self.led = self.shared.equip(&lead, &self.plan.forwarding).await?;
        self.progress.assembler.offers(self.led.tools.clone());
        Ok(Handed::ToAgent)
    }

    /// A turn does not go from agent to agent for ever.
    fn check_handoff(&self, from: &str, to: &str, name: &str) -> Result<(), Failure> {
        let again = self.handoffs.iter().any(|(before, after)| before == from && after == to);
        if again {
            let text = format!(
                "the agents go round in a circle: the turn was handed over to {name} by the same agent before; a turn \
                 without input goes on"
            );
            return Err(failures::turn_limit("handoff_cycle", text));
        }
        let most = self.shared.options.max_handoffs;
        if self.handoffs.len() >= most as usize {
            let text = format!(
                "the turn was handed over {most} times, and is to be again (turns.max_handoffs): a turn without input goes on"
            );
            return Err(failures::turn_limit("max_handoffs", text));
        }
        Ok(())
    }

    fn ask_a_person(&mut self, call: &Held) {
        let entry_id = EntryId { kind: EntryKind::HumanHandoff, uuid: ids::entry_uuid() };
        // A model that asks for a person without words still means it.
        let message = argument(&call.arguments, "message").unwrap_or_else(|| call.arguments.clone());
        let author = self.progress.assembler.author().clone();
        let output_index = self.progress.assembler.next_output();
        self.push(EventKind::HumanHandoff { entry_id, output_index, message, author });
        self.progress.hands_back = true;
    }
}

/// A text among the arguments that a model wrote.
fn argument(arguments: &str, name: &str) -> Option<String> {
    let value: Value = serde_json::from_str(arguments).ok()?;
    value.get(name)?.as_str().map(str::to_owned)
}
