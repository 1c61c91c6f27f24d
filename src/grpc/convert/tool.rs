//! Tools.

use std::collections::{BTreeMap, HashSet};

use prost_types::Duration;

use super::{connector, json, number, path::Path, rules, schema, violations::Violations};
use crate::{
    domain::tool::{
        CallTerms, ConnectorKind, Function, HttpRequest, HttpRequestSpec, HumanHandoffTool, McpTools, Tool,
    },
    proto::{self, tool::Kind},
};

const MAX_TOOLS: usize = 128;
const MAX_DESCRIPTION: usize = 8192;
const MAX_URL: usize = 8192;
const MAX_HEADERS: usize = 64;
const MAX_HEADER_NAME: usize = 256;
const MAX_HEADER: usize = 8192;
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
/// A year: what waits longer is forgotten.
const MAX_TTL_S: i64 = 366 * 24 * 3600;

/// A tool as the wire has it.
pub fn write(tool: &Tool) -> proto::Tool {
    let kind = match tool {
        Tool::Function(Function { name, description, parameters, strict }) => Kind::Function(proto::Function {
            name: name.clone(),
            description: description.clone(),
            parameters: parameters.as_ref().map(json::write),
            strict: *strict,
        }),
        Tool::Mcp(McpTools { server, include, exclude, requires_confirmation, terms }) => Kind::Mcp(proto::McpTools {
            server: server.clone(),
            include: include.clone(),
            exclude: exclude.clone(),
            requires_confirmation: requires_confirmation.clone(),
            confirmation_ttl: write_ttl(terms),
            required: terms.required,
        }),
        Tool::HttpRequest(request) => Kind::HttpRequest(write_http(request)),
        Tool::Connector(connector) => connector::write(connector),
        Tool::HumanHandoff(HumanHandoffTool { description }) => {
            Kind::HumanHandoff(proto::HumanHandoffTool { description: description.clone() })
        }
    };
    proto::Tool { kind: Some(kind) }
}

fn write_http(request: &HttpRequest) -> proto::HttpRequestTool {
    let HttpRequest { name, declared, requires_confirmation, terms } = request;
    let mut written = proto::HttpRequestTool {
        name: name.clone(),
        requires_confirmation: *requires_confirmation,
        confirmation_ttl: write_ttl(terms),
        required: terms.required,
        ..proto::HttpRequestTool::default()
    };
    if let Some(spec) = declared {
        let HttpRequestSpec { description, method, url, headers, parameters, timeout_ms, max_response_bytes } = spec;
        written.description = description.clone();
        written.method = method.clone();
        written.url = url.clone();
        written.headers = headers.iter().cloned().collect();
        written.parameters = parameters.as_ref().map(json::write);
        written.timeout = (*timeout_ms > 0).then(|| duration(*timeout_ms));
        written.max_response_bytes = number::write_small(*max_response_bytes);
    }
    written
}

fn write_ttl(terms: &CallTerms) -> Option<Duration> {
    let seconds = terms.confirmation_ttl_s;
    (seconds > 0).then(|| Duration { seconds: seconds.into(), nanos: 0 })
}

fn duration(ms: u32) -> Duration {
    let nanos = i32::try_from(ms % 1000 * 1_000_000).unwrap_or_default();
    Duration { seconds: (ms / 1000).into(), nanos }
}

/// The tools of a message, which stand in its field `tools`.
pub(super) fn read_all(at: &Path<'_>, tools: Vec<proto::Tool>, violations: &mut Violations) -> Vec<Tool> {
    if tools.len() > MAX_TOOLS {
        let at = at.field("tools");
        violations.add(&at, format_args!("must be at most {MAX_TOOLS} tools, has {}: offer fewer", tools.len()));
        return Vec::new();
    }
    let mut names = HashSet::new();
    let mut read = Vec::with_capacity(tools.len());
    for (i, tool) in tools.into_iter().enumerate() {
        let at = at.item("tools", i);
        let Some(tool) = read_one(&at, tool, violations) else { continue };
        let (kind, name, what) = name_of(&tool);
        if !names.insert((kind == "mcp", name.to_owned())) {
            let kind = at.field(kind);
            let at = what.map(|what| kind.field(what));
            let text = format_args!("is the name of an earlier tool too: rename it, or leave it out");
            violations.add(at.as_ref().unwrap_or(&kind), text);
        }
        read.push(tool);
    }
    read
}

/// The field of a tool's kind, what distinguishes the tool from others, and the field that says it, if one does.
fn name_of(tool: &Tool) -> (&'static str, &str, Option<&'static str>) {
    match tool {
        Tool::Function(function) => ("function", &function.name, Some("name")),
        Tool::HttpRequest(request) => ("http_request", &request.name, Some("name")),
        Tool::Mcp(tools) => ("mcp", &tools.server, Some("server")),
        Tool::Connector(connector) => {
            let named = matches!(connector.kind, ConnectorKind::Custom { .. });
            (connector.type_name(), connector::name(connector), named.then_some("connector_id"))
        }
        Tool::HumanHandoff(_) => ("human_handoff", "transfer_to_human", None),
    }
}

fn read_one(at: &Path<'_>, tool: proto::Tool, violations: &mut Violations) -> Option<Tool> {
    let proto::Tool { kind } = tool;
    match kind {
        Some(Kind::Function(function)) => {
            read_function(&at.field("function"), function, violations).map(Tool::Function)
        }
        Some(Kind::Mcp(tools)) => read_mcp(&at.field("mcp"), tools, violations).map(Tool::Mcp),
        Some(Kind::HttpRequest(request)) => {
            read_http(&at.field("http_request"), request, violations).map(Tool::HttpRequest)
        }
        Some(Kind::HumanHandoff(proto::HumanHandoffTool { description })) => {
            let at = at.field("human_handoff");
            rules::at_most(&at.field("description"), &description, MAX_DESCRIPTION, violations);
            Some(Tool::HumanHandoff(HumanHandoffTool { description }))
        }
        Some(
            kind @ (Kind::WebSearch(_)
            | Kind::WebSearchPremium(_)
            | Kind::CodeInterpreter(_)
            | Kind::ImageGeneration(_)
            | Kind::DocumentLibrary(_)
            | Kind::Connector(_)),
        ) => connector::read(at, kind, violations).map(Tool::Connector),
        None => {
            violations.add(
                at,
                format_args!(
                    "must be exactly one kind of tool that this release knows: set `function`, `mcp` or another"
                ),
            );
            None
        }
    }
}

fn read_function(at: &Path<'_>, function: proto::Function, violations: &mut Violations) -> Option<Function> {
    let proto::Function { name, description, parameters, strict } = function;
    rules::name(&at.field("name"), &name, violations);
    reject_reserved(&at.field("name"), &name, violations);
    rules::at_most(&at.field("description"), &description, MAX_DESCRIPTION, violations);
    let parameters = match parameters {
        Some(parameters) => Some(schema::read_arguments(&at.field("parameters"), parameters, violations)?),
        None => None,
    };
    Some(Function { name, description, parameters, strict })
}

/// Names that handoffs have in a history.
fn reject_reserved(at: &Path<'_>, name: &str, violations: &mut Violations) {
    if matches!(name, "transfer_to_agent" | "transfer_to_human") {
        violations.add(at, format_args!("is the name of a handoff: rename it"));
    }
}

fn read_mcp(at: &Path<'_>, tools: proto::McpTools, violations: &mut Violations) -> Option<McpTools> {
    let proto::McpTools { server, include, exclude, requires_confirmation, confirmation_ttl, required } = tools;
    rules::name(&at.field("server"), &server, violations);
    check_choice(at, &include, &exclude, violations);
    check_names(at, "requires_confirmation", &requires_confirmation, violations);
    let terms = read_terms(at, confirmation_ttl, required, violations)?;
    Some(McpTools { server, include, exclude, requires_confirmation, terms })
}

/// Mistral refuses both together, and so do we: what is in neither list would be anybody's guess.
pub(super) fn check_choice(at: &Path<'_>, include: &[String], exclude: &[String], violations: &mut Violations) {
    if !include.is_empty() && !exclude.is_empty() {
        let at = at.field("exclude");
        violations.add(&at, format_args!("must be left out when `include` is given: all else is left out already"));
    }
    check_names(at, "include", include, violations);
    check_names(at, "exclude", exclude, violations);
}

/// The names of a server's tools, which are the server's to choose.
pub(super) fn check_names(at: &Path<'_>, field: &str, names: &[String], violations: &mut Violations) {
    if names.len() > MAX_TOOLS {
        violations.add(&at.field(field), format_args!("must be at most {MAX_TOOLS} names, has {}", names.len()));
        return;
    }
    for (i, name) in names.iter().enumerate() {
        rules::visible_ascii(&at.item(field, i), name, 256, violations);
    }
}

fn read_terms(at: &Path<'_>, ttl: Option<Duration>, required: bool, violations: &mut Violations) -> Option<CallTerms> {
    let confirmation_ttl_s = match ttl {
        None => Some(0),
        Some(Duration { seconds, nanos: 0 }) if (1..=MAX_TTL_S).contains(&seconds) => u32::try_from(seconds).ok(),
        Some(_) => {
            let at = at.field("confirmation_ttl");
            violations.add(&at, format_args!("must be whole seconds, 1 to {MAX_TTL_S}, or left out"));
            None
        }
    };
    Some(CallTerms { confirmation_ttl_s: confirmation_ttl_s?, required })
}

fn read_http(at: &Path<'_>, request: proto::HttpRequestTool, violations: &mut Violations) -> Option<HttpRequest> {
    let proto::HttpRequestTool {
        name,
        description,
        method,
        url,
        headers,
        parameters,
        timeout,
        max_response_bytes,
        requires_confirmation,
        confirmation_ttl,
        required,
    } = request;
    rules::name(&at.field("name"), &name, violations);
    reject_reserved(&at.field("name"), &name, violations);
    let terms = read_terms(at, confirmation_ttl, required, violations);
    if url.is_empty() {
        let set = [
            ("description", !description.is_empty()),
            ("method", !method.is_empty()),
            ("headers", !headers.is_empty()),
            ("parameters", parameters.is_some()),
            ("timeout", timeout.is_some()),
            ("max_response_bytes", max_response_bytes != 0),
        ];
        for (field, _) in set.into_iter().filter(|(_, is_set)| *is_set) {
            violations.add(&at.field(field), format_args!("needs `url`; without it the configuration's tool is meant"));
        }
        return Some(HttpRequest { name, declared: None, requires_confirmation, terms: terms? });
    }
    rules::at_most(&at.field("description"), &description, MAX_DESCRIPTION, violations);
    check_url(&at.field("url"), &url, violations);
    check_headers(at, &headers, violations);
    let method = if method.is_empty() { "GET".to_owned() } else { method };
    if !METHODS.contains(&method.as_str()) {
        violations.add(&at.field("method"), format_args!("must be one of {}", METHODS.join(", ")));
    }
    let parameters = match parameters {
        Some(parameters) => schema::read_arguments(&at.field("parameters"), parameters, violations).map(Some),
        None => Some(None),
    };
    let timeout_ms = read_timeout(&at.field("timeout"), timeout, violations);
    let max_response_bytes = number::read_small(&at.field("max_response_bytes"), max_response_bytes, 0, violations);
    let declared = HttpRequestSpec {
        description,
        method,
        url,
        headers: headers.into_iter().collect(),
        parameters: parameters?,
        timeout_ms: timeout_ms?,
        max_response_bytes: max_response_bytes?,
    };
    Some(HttpRequest { name, declared: Some(declared), requires_confirmation, terms: terms? })
}

/// A template in the host would let the model choose whom to ask.
fn check_url(at: &Path<'_>, url: &str, violations: &mut Violations) {
    rules::at_most(at, url, MAX_URL, violations);
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    match host {
        None => violations.add(at, format_args!("must begin with https:// or http://")),
        Some(host) if host.is_empty() || host.contains(['{', '}', '@']) => {
            violations.add(at, format_args!("must have a fixed host, without arguments and without a user's name"));
        }
        Some(_) => {}
    }
}

fn check_headers(at: &Path<'_>, headers: &BTreeMap<String, String>, violations: &mut Violations) {
    if headers.len() > MAX_HEADERS {
        violations
            .add(&at.field("headers"), format_args!("must be at most {MAX_HEADERS} headers, has {}", headers.len()));
    }
    for (name, value) in headers {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_name = !name.is_empty() && name.len() <= MAX_HEADER_NAME && name.bytes().all(fits);
        if !is_name {
            // The name itself would make the path as long as it is.
            let at = at.field("headers");
            violations.add(&at, format_args!("has a name of {} bytes that is no header's (RFC 9110)", name.len()));
        } else if value.len() > MAX_HEADER || value.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            let at = at.pair("headers", name);
            violations.add(&at, format_args!("must be at most {MAX_HEADER} bytes without control characters"));
        }
    }
}

fn read_timeout(at: &Path<'_>, timeout: Option<Duration>, violations: &mut Violations) -> Option<u32> {
    let Some(Duration { seconds, nanos }) = timeout else { return Some(0) };
    let ms = i128::from(seconds) * 1000 + i128::from(nanos) / 1_000_000;
    let ms = u32::try_from(ms).ok().filter(|ms| (1..=3_600_000).contains(ms));
    if ms.is_none() {
        violations.add(at, format_args!("must be 1 ms to 1 h"));
    }
    ms
}
