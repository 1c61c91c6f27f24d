//! Events of tools and handoffs.

use std::sync::Arc;

use super::{
    chunk::{self, Place},
    decision, failure, number,
    path::Path,
    rules,
    violations::Violations,
};
use crate::{
    domain::{
        EntryId, EventKind, Failure, Reason,
        event::{Author, ToolHead},
        ids::EntryKind,
    },
    proto::{self, event::Kind},
};

/// The only kind of handoff to a person.
const HUMAN: &str = "human";

/// The event as the wire has it. Only for events of tools and handoffs.
pub(super) fn write(kind: &EventKind) -> Kind {
    match kind {
        EventKind::ToolExecutionStarted { entry_id, output_index, run, author } => {
            let ToolHead { name, arguments, tool_call_id, parallel, decision } = &**run;
            Kind::ToolExecutionStarted(proto::ToolExecutionStarted {
                entry_id: entry_id.to_string(),
                output_index: number::write_small(*output_index),
                name: name.clone(),
                arguments: arguments.clone(),
                tool_call_id: tool_call_id.clone().unwrap_or_default(),
                parallel: *parallel,
                decision: decision.as_ref().map(decision::write),
                model: author.model.clone(),
                agent_id: author.agent_id.clone().unwrap_or_default(),
            })
        }
        EventKind::ToolExecutionDelta { entry_id, output_index, name, message, arguments } => {
            Kind::ToolExecutionDelta(proto::ToolExecutionDelta {
                entry_id: entry_id.to_string(),
                name: name.to_string(),
                message: message.clone(),
                arguments: arguments.clone(),
                output_index: number::write_small(*output_index),
            })
        }
        EventKind::ToolExecutionDone { entry_id, output_index, name, result, info, error } => {
            Kind::ToolExecutionDone(proto::ToolExecutionDone {
                entry_id: entry_id.to_string(),
                name: name.to_string(),
                result: chunk::write_all(result),
                error: error.as_ref().map(|error| failure::write(&of_tool(name, error))),
                info: info.clone(),
                output_index: number::write_small(*output_index),
            })
        }
        EventKind::AgentHandoffStarted { entry_id, output_index, previous_agent_id, previous_agent_name, author } => {
            Kind::AgentHandoffStarted(proto::AgentHandoffStarted {
                entry_id: entry_id.to_string(),
                previous_agent_id: previous_agent_id.clone(),
                previous_agent_name: previous_agent_name.clone(),
                output_index: number::write_small(*output_index),
                model: author.model.clone(),
            })
        }
        EventKind::AgentHandoffDone { entry_id, output_index, next_agent_id, next_agent_name } => {
            Kind::AgentHandoffDone(proto::AgentHandoffDone {
                entry_id: entry_id.to_string(),
                next_agent_id: next_agent_id.clone(),
                next_agent_name: next_agent_name.clone(),
                output_index: number::write_small(*output_index),
            })
        }
        EventKind::HumanHandoff { entry_id, output_index, message, author } => {
            Kind::HumanHandoff(proto::HumanHandoffRequested {
                entry_id: entry_id.to_string(),
                message: message.clone(),
                r#type: HUMAN.to_owned(),
                output_index: number::write_small(*output_index),
                model: author.model.clone(),
                agent_id: author.agent_id.clone().unwrap_or_default(),
            })
        }
        EventKind::ResponseStarted { .. }
        | EventKind::TurnQueued { .. }
        | EventKind::TurnResumed { .. }
        | EventKind::TurnRequeued { .. }
        | EventKind::TurnConflict { .. }
        | EventKind::MessageOutputDelta { .. }
        | EventKind::FunctionCallDelta { .. }
        | EventKind::UpstreamRetry { .. }
        | EventKind::UpstreamSwitched { .. }
        | EventKind::EntryDone { .. }
        | EventKind::ResponseDone { .. }
        | EventKind::ResponseError { .. } => Kind::Heartbeat(proto::Heartbeat {}),
    }
}

fn of_tool(name: &str, error: &str) -> Failure {
    Failure::new(Reason::ToolFailed, error).with("tool", name)
}

/// An event of an import. Only for events of tools and handoffs.
pub(super) fn read(at: &Path<'_>, kind: Kind, violations: &mut Violations) -> Option<EventKind> {
    match kind {
        Kind::ToolExecutionStarted(started) => {
            let at = at.field("tool_execution_started");
            let proto::ToolExecutionStarted {
                entry_id,
                output_index,
                name,
                arguments,
                tool_call_id,
                parallel,
                decision,
                model,
                agent_id,
            } = started;
            let entry_id = entry(&at, EntryKind::ToolExecution, &entry_id, violations);
            let output_index = index(&at, output_index, violations);
            let decision = decision::read(&at, decision, violations);
            let tool_call_id = rules::given(tool_call_id);
            Some(EventKind::ToolExecutionStarted {
                entry_id: entry_id?,
                output_index: output_index?,
                run: Arc::new(ToolHead { name, arguments, tool_call_id, parallel, decision: decision? }),
                author: Arc::new(Author { model, agent_id: rules::given(agent_id) }),
            })
        }
        Kind::ToolExecutionDelta(delta) => {
            let at = at.field("tool_execution_delta");
            let proto::ToolExecutionDelta { entry_id, name, message, arguments, output_index } = delta;
            let entry_id = entry(&at, EntryKind::ToolExecution, &entry_id, violations);
            let output_index = index(&at, output_index, violations)?;
            let name = name.into();
            Some(EventKind::ToolExecutionDelta { entry_id: entry_id?, output_index, name, message, arguments })
        }
        Kind::ToolExecutionDone(done) => {
            let at = at.field("tool_execution_done");
            let proto::ToolExecutionDone { entry_id, name, result, error, info, output_index } = done;
            let entry_id = entry(&at, EntryKind::ToolExecution, &entry_id, violations);
            let output_index = index(&at, output_index, violations);
            let result = chunk::read_all(&at, "result", Place::ToolExecution, result, violations);
            Some(EventKind::ToolExecutionDone {
                entry_id: entry_id?,
                output_index: output_index?,
                name: name.into(),
                result,
                info,
                error: error.map(|status| status.message),
            })
        }
        Kind::AgentHandoffStarted(started) => {
            let at = at.field("agent_handoff_started");
            let proto::AgentHandoffStarted { entry_id, previous_agent_id, previous_agent_name, output_index, model } =
                started;
            let entry_id = entry(&at, EntryKind::AgentHandoff, &entry_id, violations);
            let output_index = index(&at, output_index, violations)?;
            let author = Arc::new(Author { model, agent_id: rules::given(previous_agent_id.clone()) });
            Some(EventKind::AgentHandoffStarted {
                entry_id: entry_id?,
                output_index,
                previous_agent_id,
                previous_agent_name,
                author,
            })
        }
        Kind::AgentHandoffDone(done) => {
            let at = at.field("agent_handoff_done");
            let proto::AgentHandoffDone { entry_id, next_agent_id, next_agent_name, output_index } = done;
            let entry_id = entry(&at, EntryKind::AgentHandoff, &entry_id, violations);
            let output_index = index(&at, output_index, violations)?;
            Some(EventKind::AgentHandoffDone { entry_id: entry_id?, output_index, next_agent_id, next_agent_name })
        }
        Kind::HumanHandoff(asked) => {
            let at = at.field("human_handoff");
            let proto::HumanHandoffRequested { entry_id, message, r#type: _, output_index, model, agent_id } = asked;
            let entry_id = entry(&at, EntryKind::HumanHandoff, &entry_id, violations);
            let output_index = index(&at, output_index, violations)?;
            let author = Arc::new(Author { model, agent_id: rules::given(agent_id) });
            Some(EventKind::HumanHandoff { entry_id: entry_id?, output_index, message, author })
        }
        Kind::ResponseStarted(_)
        | Kind::TurnQueued(_)
        | Kind::TurnResumed(_)
        | Kind::TurnRequeued(_)
        | Kind::TurnConflict(_)
        | Kind::MessageOutputDelta(_)
        | Kind::FunctionCallDelta(_)
        | Kind::EntryDone(_)
        | Kind::UpstreamRetry(_)
        | Kind::UpstreamSwitched(_)
        | Kind::ResponseDone(_)
        | Kind::ResponseError(_)
        | Kind::Heartbeat(_) => None,
    }
}

fn entry(at: &Path<'_>, kind: EntryKind, id: &str, violations: &mut Violations) -> Option<EntryId> {
    let id = rules::entry_id(&at.field("entry_id"), id, violations)?;
    Some(EntryId { kind, uuid: id.uuid })
}

fn index(at: &Path<'_>, index: i32, violations: &mut Violations) -> Option<u32> {
    number::read_small(&at.field("output_index"), index, 0, violations)
}
