//! The requests of AgentService.

use std::collections::BTreeSet;

use prost_types::FieldMask;

use super::{
    agent, agent_spec, fingerprint,
    fingerprint::Method,
    path::Path,
    rules,
    violations::{self, Rules, Violations},
};
use crate::{
    domain::{
        AgentId, AgentSpec, Failure,
        agent::{AgentPin, AgentSource},
        request::RequestKey,
    },
    engine::{AgentChanges, AgentQuery, AgentTarget},
    grpc::page_token::Page,
    proto,
};

const MAX_VERSION_MESSAGE: usize = 500;

/// What CreateAgent makes.
#[derive(Debug, Clone)]
pub struct CreateAgent {
    /// What it is.
    pub spec: AgentSpec,
    /// Why; may be empty.
    pub version_message: String,
    /// Makes it repeatable.
    pub request: Option<RequestKey>,
}

/// What UpdateAgent changes.
#[derive(Debug, Clone)]
pub struct UpdateAgent {
    /// Which agent.
    pub target: AgentTarget,
    /// What of it.
    pub changes: AgentChanges,
    /// Why; may be empty.
    pub version_message: String,
}

/// Reads what CreateAgent is asked.
pub fn create(mut request: proto::CreateAgentRequest) -> Result<CreateAgent, Failure> {
    let request_id = std::mem::take(&mut request.request_id);
    let fingerprint = (!request_id.is_empty()).then(|| fingerprint::of(Method::CreateAgent, &request));
    let proto::CreateAgentRequest { agent, version_message, request_id: _ } = request;
    violations::read(Rules::All, |violations| {
        let at = Path::root("");
        let changes = agent_spec::read(&at.field("agent"), agent.unwrap_or_default(), |_| true, violations);
        check_message(&at, &version_message, violations);
        if !request_id.is_empty() {
            rules::request_id(&at.field("request_id"), &request_id, violations);
        }
        let request = fingerprint.map(|fingerprint| RequestKey { id: request_id, fingerprint });
        Some(CreateAgent { spec: changes.of(AgentSpec::default()), version_message, request })
    })
}

/// Reads what GetAgent is asked.
pub fn get(request: proto::GetAgentRequest) -> Result<(AgentId, Option<AgentPin>), Failure> {
    let proto::GetAgentRequest { agent_id, version } = request;
    violations::read(Rules::All, |violations| {
        let id = rules::own_agent_id(&Path::root("agent_id"), &agent_id, violations);
        let pin = agent::read_pin(&Path::root("version"), &version, violations);
        Some((id?, pin))
    })
}

/// Reads what ListAgents is asked.
pub fn list(mut request: proto::ListAgentsRequest) -> Result<(AgentQuery, Page), Failure> {
    let page = (std::mem::take(&mut request.page_size), std::mem::take(&mut request.page_token));
    violations::read(Rules::All, |violations| {
        let at = Path::root("");
        let page = Page::read(&at, "ListAgents", &request, (page.0, &page.1), violations);
        let proto::ListAgentsRequest { page_size: _, page_token: _, name, metadata, source } = request;
        rules::metadata(&at, &metadata, violations);
        let source = read_source(&at.field("source"), source, violations);
        Some((AgentQuery { name: rules::given(name), metadata, source: source? }, page?))
    })
}

/// Reads what UpdateAgent is asked.
pub fn update(request: proto::UpdateAgentRequest) -> Result<UpdateAgent, Failure> {
    let proto::UpdateAgentRequest { agent, update_mask, version_message } = request;
    violations::read(Rules::All, |violations| {
        let root = Path::root("");
        let at = root.field("agent");
        let agent = agent.unwrap_or_default();
        let target = read_target(&at, "id", &agent.id, &agent.etag, violations);
        let asked = read_mask(&root.field("update_mask"), update_mask, &agent, violations);
        let changes = agent_spec::read(&at, agent, |field| asked.contains(field), violations);
        check_message(&root, &version_message, violations);
        Some(UpdateAgent { target: target?, changes, version_message })
    })
}

/// Reads what DeleteAgent is asked.
pub fn delete(request: proto::DeleteAgentRequest) -> Result<AgentTarget, Failure> {
    let proto::DeleteAgentRequest { agent_id, etag } = request;
    violations::read(Rules::All, |violations| read_target(&Path::root(""), "agent_id", &agent_id, &etag, violations))
}

/// Reads what ListAgentVersions is asked.
pub fn versions(mut request: proto::ListAgentVersionsRequest) -> Result<(AgentId, Page), Failure> {
    let page = (std::mem::take(&mut request.page_size), std::mem::take(&mut request.page_token));
    violations::read(Rules::All, |violations| {
        let at = Path::root("");
        let page = Page::read(&at, "ListAgentVersions", &request, (page.0, &page.1), violations);
        let proto::ListAgentVersionsRequest { agent_id, page_size: _, page_token: _ } = request;
        let id = rules::own_agent_id(&at.field("agent_id"), &agent_id, violations);
        Some((id?, page?))
    })
}

/// Reads what SetCurrentAgentVersion is asked.
pub fn set_current(request: proto::SetCurrentAgentVersionRequest) -> Result<(AgentTarget, AgentPin), Failure> {
    let proto::SetCurrentAgentVersionRequest { agent_id, version, etag } = request;
    violations::read(Rules::All, |violations| {
        let at = Path::root("");
        let target = read_target(&at, "agent_id", &agent_id, &etag, violations);
        let version = read_version(&at.field("version"), &version, violations);
        Some((target?, version?))
    })
}

/// Reads what SetAgentAlias is asked.
pub fn set_alias(request: proto::SetAgentAliasRequest) -> Result<(AgentTarget, String, AgentPin), Failure> {
    let proto::SetAgentAliasRequest { agent_id, alias, version, etag } = request;
    violations::read(Rules::All, |violations| {
        let at = Path::root("");
        let target = read_target(&at, "agent_id", &agent_id, &etag, violations);
        agent::check_alias(&at.field("alias"), &alias, violations);
        let version = read_version(&at.field("version"), &version, violations);
        Some((target?, alias, version?))
    })
}

/// Reads what DeleteAgentAlias is asked.
pub fn delete_alias(request: proto::DeleteAgentAliasRequest) -> Result<(AgentTarget, String), Failure> {
    let proto::DeleteAgentAliasRequest { agent_id, alias, etag } = request;
    violations::read(Rules::All, |violations| {
        let at = Path::root("");
        let target = read_target(&at, "agent_id", &agent_id, &etag, violations);
        agent::check_alias(&at.field("alias"), &alias, violations);
        Some((target?, alias))
    })
}

fn read_target(
    at: &Path<'_>,
    id_field: &str,
    id: &str,
    etag: &str,
    violations: &mut Violations,
) -> Option<AgentTarget> {
    let id = rules::own_agent_id(&at.field(id_field), id, violations);
    let revision = agent::read_etag(&at.field("etag"), etag, violations);
    Some(AgentTarget { id: id?, revision: revision? })
}

fn read_version(at: &Path<'_>, version: &str, violations: &mut Violations) -> Option<AgentPin> {
    rules::required(at, version, violations);
    agent::read_pin(at, version, violations)
}

fn check_message(at: &Path<'_>, message: &str, violations: &mut Violations) {
    rules::at_most(&at.field("version_message"), message, MAX_VERSION_MESSAGE, violations);
}

fn read_source(at: &Path<'_>, number: i32, violations: &mut Violations) -> Option<Option<AgentSource>> {
    match proto::AgentSource::try_from(number) {
        Ok(proto::AgentSource::Unspecified) => Some(None),
        Ok(proto::AgentSource::Api) => Some(Some(AgentSource::Api)),
        Ok(proto::AgentSource::Configuration) => Some(Some(AgentSource::Configuration)),
        Err(_) => {
            rules::unknown_number(at, number, violations);
            None
        }
    }
}

/// The fields that an update changes.
fn read_mask(
    at: &Path<'_>,
    mask: Option<FieldMask>,
    agent: &proto::Agent,
    violations: &mut Violations,
) -> BTreeSet<&'static str> {
    let paths = mask.map(|mask| mask.paths).unwrap_or_default();
    if paths.is_empty() {
        return agent_spec::FIELDS.into_iter().filter(|field| is_given(agent, field)).collect();
    }
    if paths == ["*"] {
        return agent_spec::FIELDS.into_iter().collect();
    }
    let mut asked = BTreeSet::new();
    for (i, path) in paths.iter().enumerate() {
        match agent_spec::FIELDS.into_iter().find(|field| field == path) {
            Some(field) => drop(asked.insert(field)),
            None => violations.add(
                &at.item("paths", i),
                format_args!("must be one of {}, or `*` alone", agent_spec::FIELDS.join(", ")),
            ),
        }
    }
    asked
}

fn is_given(agent: &proto::Agent, field: &str) -> bool {
    match field {
        "name" => !agent.name.is_empty(),
        "description" => !agent.description.is_empty(),
        "model" => !agent.model.is_empty(),
        "fallback_models" => !agent.fallback_models.is_empty(),
        "instructions" => !agent.instructions.is_empty(),
        "tools" => !agent.tools.is_empty(),
        "completion_args" => agent.completion_args.is_some(),
        "handoffs" => !agent.handoffs.is_empty(),
        "metadata" => !agent.metadata.is_empty(),
        _ => false,
    }
}
