//! Entries: out as they are, in as drafts (a request's inputs) or with their ids (an import).

use prost_types::Duration;

use super::{
    chunk::{self, Place},
    decision, number,
    path::Path,
    rules, time,
    violations::{self, Rules, Violations},
};
use crate::{
    domain::{
        Body, Chunk, Entry, EntryDraft, EntryId, Failure, Time,
        entry::{
            AgentHandoff, Confirmation, FunctionCall, FunctionResult, HumanHandoff, MessageInput, MessageOutput,
            OutputStatus, Role, Segment, ToolExecution,
        },
        ids::EntryKind,
    },
    proto::{self, entry::Kind},
};

/// The `object` of every entry.
const OBJECT: &str = "entry";

/// An entry as the wire has it.
pub fn write(entry: &Entry) -> proto::Entry {
    let Entry { id, created_at, completed_at, model, agent_id, body } = entry;
    proto::Entry {
        id: id.to_string(),
        object: OBJECT.to_owned(),
        r#type: body.kind().type_name().to_owned(),
        created_at: Some(time::write(*created_at)),
        completed_at: completed_at.map(time::write),
        model: model.clone().unwrap_or_default(),
        agent_id: agent_id.clone().unwrap_or_default(),
        kind: Some(write_body(body, duration(*created_at, *completed_at))),
    }
}

/// One entry of a caller, which stands at `path`. Its id is ignored: an entry that is stored again is a new entry.
pub fn entry_draft(path: &str, entry: proto::Entry) -> Result<EntryDraft, Failure> {
    violations::read(Rules::All, |violations| read_draft(&Path::root(path), entry, violations))
}

/// One entry of an import, which stands at `path`, with its id and times.
pub fn imported(path: &str, entry: proto::Entry) -> Result<Entry, Failure> {
    violations::read(Rules::Shape, |violations| read(&Path::root(path), entry, violations))
}

/// What kind of entry it is, if it is one.
pub(super) fn kind(entry: &proto::Entry) -> Option<EntryKind> {
    entry.kind.as_ref().map(|kind| match kind {
        Kind::MessageInput(_) => EntryKind::MessageInput,
        Kind::MessageOutput(_) => EntryKind::MessageOutput,
        Kind::FunctionCall(_) => EntryKind::FunctionCall,
        Kind::FunctionResult(_) => EntryKind::FunctionResult,
        Kind::ToolExecution(_) => EntryKind::ToolExecution,
        Kind::AgentHandoff(_) => EntryKind::AgentHandoff,
        Kind::HumanHandoff(_) => EntryKind::HumanHandoff,
    })
}

/// An entry on its way in.
pub(super) fn read_draft(at: &Path<'_>, entry: proto::Entry, violations: &mut Violations) -> Option<EntryDraft> {
    check_names(at, &entry, violations);
    // `object` and `type` are checked above; `id` is the service's to give.
    let proto::Entry { id: _, object: _, r#type: _, created_at, completed_at, model, agent_id, kind } = entry;
    let created_at = time::read_optional(&at.field("created_at"), created_at, violations);
    let completed_at = time::read_optional(&at.field("completed_at"), completed_at, violations);
    if violations.checks_limits() && !model.is_empty() {
        rules::model(&at.field("model"), &model, violations);
    }
    if violations.checks_limits() && !agent_id.is_empty() {
        rules::agent_id(&at.field("agent_id"), &agent_id, violations);
    }
    let Some(kind) = kind else {
        violations.add(at, format_args!("must have exactly one kind that this release knows, such as `message_input`"));
        return None;
    };
    Some(EntryDraft {
        body: read_body(at, kind, violations)?,
        created_at: created_at?,
        completed_at: completed_at?,
        model: rules::given(model),
        agent_id: rules::given(agent_id),
    })
}

/// An entry that has its id and its time already.
pub(super) fn read(at: &Path<'_>, entry: proto::Entry, violations: &mut Violations) -> Option<Entry> {
    let id_at = at.field("id");
    let id = rules::entry_id(&id_at, &entry.id, violations);
    if entry.created_at.is_none() {
        violations.add(&at.field("created_at"), format_args!("is required"));
    }
    let EntryDraft { created_at, completed_at, model, agent_id, body } = read_draft(at, entry, violations)?;
    let kind = body.kind();
    let id = id?;
    if id.kind.prefix() != kind.prefix() {
        let (wanted, name) = (kind.prefix(), kind.type_name());
        violations.add(&id_at, format_args!("must begin with {wanted} for a {name}"));
    }
    // Two kinds share a prefix; the body says which it is.
    let id = EntryId { kind, uuid: id.uuid };
    Some(Entry { id, created_at: created_at?, completed_at, model, agent_id, body })
}

fn check_names(at: &Path<'_>, entry: &proto::Entry, violations: &mut Violations) {
    if !entry.object.is_empty() && entry.object != OBJECT {
        violations.add(&at.field("object"), format_args!("must be \"{OBJECT}\" or left out"));
    }
    let wanted = kind(entry).map(EntryKind::type_name);
    if let Some(wanted) = wanted.filter(|wanted| !entry.r#type.is_empty() && entry.r#type != *wanted) {
        violations.add(&at.field("type"), format_args!("must be \"{wanted}\" for the kind that is set, or left out"));
    }
}

fn write_body(body: &Body, duration: Option<Duration>) -> Kind {
    match body {
        Body::MessageInput(MessageInput { role, content, prefix }) => Kind::MessageInput(proto::MessageInput {
            role: write_role(*role).into(),
            content: chunk::write_all(content),
            prefix: *prefix,
        }),
        Body::MessageOutput(MessageOutput { content, status, segments }) => Kind::MessageOutput(proto::MessageOutput {
            content: chunk::write_all(content),
            status: write_status(*status).into(),
            segments: segments.iter().map(write_segment).collect(),
        }),
        Body::FunctionCall(FunctionCall { tool_call_id, name, arguments, confirmation, confirmation_expires_at }) => {
            Kind::FunctionCall(proto::FunctionCall {
                tool_call_id: tool_call_id.clone(),
                name: name.clone(),
                arguments: arguments.clone(),
                confirmation_status: write_confirmation(*confirmation).into(),
                confirmation_expires_at: confirmation_expires_at.map(time::write),
            })
        }
        Body::FunctionResult(FunctionResult { tool_call_id, content, is_error, decision }) => {
            Kind::FunctionResult(proto::FunctionResult {
                tool_call_id: tool_call_id.clone(),
                content: chunk::write_all(content),
                is_error: *is_error,
                decision: decision.as_ref().map(decision::write),
            })
        }
        Body::ToolExecution(run) => Kind::ToolExecution(write_run(run, duration)),
        Body::AgentHandoff(handoff) => {
            let AgentHandoff { previous_agent_id, previous_agent_name, next_agent_id, next_agent_name } =
                handoff.clone();
            Kind::AgentHandoff(proto::AgentHandoff {
                previous_agent_id,
                previous_agent_name,
                next_agent_id,
                next_agent_name,
            })
        }
        Body::HumanHandoff(HumanHandoff { message }) => {
            Kind::HumanHandoff(proto::HumanHandoff { message: message.clone() })
        }
    }
}

fn write_run(run: &ToolExecution, duration: Option<Duration>) -> proto::ToolExecution {
    let ToolExecution { name, arguments, info, result, status, error, tool_call_id, parallel, decision } = run;
    proto::ToolExecution {
        name: name.clone(),
        arguments: arguments.clone(),
        info: info.clone(),
        result: chunk::write_all(result),
        status: write_status(*status).into(),
        error: error.clone().unwrap_or_default(),
        duration,
        tool_call_id: tool_call_id.clone().unwrap_or_default(),
        parallel: *parallel,
        decision: decision.as_ref().map(decision::write),
    }
}

fn read_run(at: &Path<'_>, run: proto::ToolExecution, violations: &mut Violations) -> Option<ToolExecution> {
    let proto::ToolExecution {
        name,
        arguments,
        info,
        result,
        status,
        error,
        duration: _,
        tool_call_id,
        parallel,
        decision,
    } = run;
    if violations.checks_limits() {
        rules::required(&at.field("name"), &name, violations);
    }
    if !tool_call_id.is_empty() {
        check_call_id(at, &tool_call_id, violations);
    }
    let result = chunk::read_all(at, "result", Place::ToolExecution, result, violations);
    let status = read_status(&at.field("status"), status, violations);
    let decision = decision::read(at, decision, violations);
    Some(ToolExecution {
        name,
        arguments,
        info,
        result,
        status: status?,
        error: rules::given(error),
        tool_call_id: rules::given(tool_call_id),
        parallel,
        decision: decision?,
    })
}

/// How long an entry took to be made.
fn duration(created_at: Time, completed_at: Option<Time>) -> Option<Duration> {
    let micros = completed_at?.unix_us.checked_sub(created_at.unix_us).filter(|micros| *micros >= 0)?;
    let nanos = i32::try_from(micros % 1_000_000 * 1000).ok()?;
    Some(Duration { seconds: micros / 1_000_000, nanos })
}

fn write_segment(segment: &Segment) -> proto::Segment {
    let Segment { first_content_index, model } = segment;
    proto::Segment { first_content_index: number::write_small(*first_content_index), model: model.clone() }
}

fn read_segment(at: &Path<'_>, segment: proto::Segment, violations: &mut Violations) -> Option<Segment> {
    let proto::Segment { first_content_index, model } = segment;
    let at_index = at.field("first_content_index");
    let first_content_index = number::read_small(&at_index, first_content_index, 0, violations);
    rules::model(&at.field("model"), &model, violations);
    Some(Segment { first_content_index: first_content_index?, model })
}

fn read_body(at: &Path<'_>, kind: Kind, violations: &mut Violations) -> Option<Body> {
    match kind {
        Kind::MessageInput(message) => {
            read_message(&at.field("message_input"), message, violations).map(Body::MessageInput)
        }
        Kind::MessageOutput(proto::MessageOutput { content, status, segments }) => {
            let at = at.field("message_output");
            let content = chunk::read_all(&at, "content", Place::Output, content, violations);
            let status = read_status(&at.field("status"), status, violations)?;
            let segments = segments.into_iter().enumerate();
            let segments = segments.map(|(i, segment)| read_segment(&at.item("segments", i), segment, violations));
            let segments = segments.collect::<Vec<_>>().into_iter().collect::<Option<_>>();
            Some(Body::MessageOutput(MessageOutput { content, status, segments: segments? }))
        }
        Kind::FunctionCall(call) => read_call(&at.field("function_call"), call, violations).map(Body::FunctionCall),
        Kind::FunctionResult(proto::FunctionResult { tool_call_id, content, is_error, decision }) => {
            let at = at.field("function_result");
            check_call_id(&at, &tool_call_id, violations);
            let content = chunk::read_all(&at, "content", Place::FunctionResult, content, violations);
            let decision = decision::read(&at, decision, violations)?;
            Some(Body::FunctionResult(FunctionResult { tool_call_id, content, is_error, decision }))
        }
        Kind::ToolExecution(run) => read_run(&at.field("tool_execution"), run, violations).map(Body::ToolExecution),
        Kind::AgentHandoff(proto::AgentHandoff {
            previous_agent_id,
            previous_agent_name,
            next_agent_id,
            next_agent_name,
        }) => Some(Body::AgentHandoff(AgentHandoff {
            previous_agent_id,
            previous_agent_name,
            next_agent_id,
            next_agent_name,
        })),
        Kind::HumanHandoff(proto::HumanHandoff { message }) => Some(Body::HumanHandoff(HumanHandoff { message })),
    }
}

fn read_message(at: &Path<'_>, message: proto::MessageInput, violations: &mut Violations) -> Option<MessageInput> {
    let proto::MessageInput { role, content, prefix } = message;
    let given = content.len();
    let role = read_role(&at.field("role"), role, violations);
    let place = match role {
        Some(Role::System) => Place::System,
        Some(Role::User) => Place::User,
        Some(Role::Assistant) => Place::Assistant,
        // The role is refused already; the least strict place adds no more for it.
        None => Place::ToolExecution,
    };
    let content = chunk::read_all(at, "content", place, content, violations);
    if violations.checks_limits() {
        let empty = |chunk: &Chunk| matches!(chunk, Chunk::Text(text) if text.is_empty());
        if given == 0 || (content.len() == given && content.iter().all(empty)) {
            violations.add(&at.field("content"), format_args!("must hold at least one chunk that is not empty text"));
        }
        if prefix && matches!(role, Some(Role::System | Role::User)) {
            violations.add(&at.field("prefix"), format_args!("is for ROLE_ASSISTANT only: leave it out"));
        }
    }
    Some(MessageInput { role: role?, content, prefix })
}

fn read_call(at: &Path<'_>, call: proto::FunctionCall, violations: &mut Violations) -> Option<FunctionCall> {
    let proto::FunctionCall { tool_call_id, name, arguments, confirmation_status, confirmation_expires_at } = call;
    check_call_id(at, &tool_call_id, violations);
    if violations.checks_limits() {
        rules::name(&at.field("name"), &name, violations);
    }
    let confirmation = read_confirmation(&at.field("confirmation_status"), confirmation_status, violations);
    let expires_at = time::read_optional(&at.field("confirmation_expires_at"), confirmation_expires_at, violations);
    Some(FunctionCall { tool_call_id, name, arguments, confirmation, confirmation_expires_at: expires_at? })
}

fn check_call_id(at: &Path<'_>, id: &str, violations: &mut Violations) {
    if violations.checks_limits() {
        rules::tool_call_id(&at.field("tool_call_id"), id, violations);
    }
}

fn write_role(role: Role) -> proto::Role {
    match role {
        Role::System => proto::Role::System,
        Role::User => proto::Role::User,
        Role::Assistant => proto::Role::Assistant,
    }
}

fn read_role(at: &Path<'_>, number: i32, violations: &mut Violations) -> Option<Role> {
    match proto::Role::try_from(number) {
        Ok(proto::Role::System) => Some(Role::System),
        Ok(proto::Role::User) => Some(Role::User),
        Ok(proto::Role::Assistant) => Some(Role::Assistant),
        Ok(proto::Role::Unspecified) => {
            violations.add(at, format_args!("is required: ROLE_SYSTEM, ROLE_USER or ROLE_ASSISTANT"));
            None
        }
        Err(_) => {
            rules::unknown_number(at, number, violations);
            None
        }
    }
}

fn write_status(status: OutputStatus) -> proto::OutputStatus {
    match status {
        OutputStatus::Completed => proto::OutputStatus::Completed,
        OutputStatus::Incomplete => proto::OutputStatus::Incomplete,
    }
}

fn read_status(at: &Path<'_>, number: i32, violations: &mut Violations) -> Option<OutputStatus> {
    match proto::OutputStatus::try_from(number) {
        Ok(proto::OutputStatus::Unspecified | proto::OutputStatus::Completed) => Some(OutputStatus::Completed),
        Ok(proto::OutputStatus::Incomplete) => Some(OutputStatus::Incomplete),
        Err(_) => {
            rules::unknown_number(at, number, violations);
            None
        }
    }
}

pub(super) fn write_confirmation(confirmation: Option<Confirmation>) -> proto::ConfirmationStatus {
    match confirmation {
        None => proto::ConfirmationStatus::Unspecified,
        Some(Confirmation::Pending) => proto::ConfirmationStatus::Pending,
        Some(Confirmation::Allowed) => proto::ConfirmationStatus::Allowed,
        Some(Confirmation::Denied) => proto::ConfirmationStatus::Denied,
    }
}

pub(super) fn read_confirmation(at: &Path<'_>, number: i32, violations: &mut Violations) -> Option<Confirmation> {
    match proto::ConfirmationStatus::try_from(number) {
        Ok(proto::ConfirmationStatus::Unspecified) => None,
        Ok(proto::ConfirmationStatus::Pending) => Some(Confirmation::Pending),
        Ok(proto::ConfirmationStatus::Allowed) => Some(Confirmation::Allowed),
        Ok(proto::ConfirmationStatus::Denied) => Some(Confirmation::Denied),
        Err(_) => {
            rules::unknown_number(at, number, violations);
            None
        }
    }
}
