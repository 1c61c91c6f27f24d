//! Tools on disk.

use prost::{Message, Oneof};

use super::{
    Damaged, required,
    settings::{json, json_text},
};
use crate::domain::tool::{
    CallTerms, Connector, ConnectorAuthorization, ConnectorKind, Function, HttpRequest, HttpRequestSpec,
    HumanHandoffTool, McpTools, Tool,
};

/// A tool.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ToolRecord {
    #[prost(oneof = "ToolKind", tags = "1, 2, 3, 4, 5")]
    kind: Option<ToolKind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum ToolKind {
    #[prost(message, tag = "1")]
    Function(FunctionRecord),
    #[prost(message, tag = "2")]
    Mcp(McpRecord),
    #[prost(message, tag = "3")]
    HttpRequest(HttpRecord),
    #[prost(message, tag = "4")]
    Connector(ConnectorRecord),
    /// Its description.
    #[prost(string, tag = "5")]
    HumanHandoff(String),
}

#[derive(Clone, PartialEq, Message)]
struct FunctionRecord {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    description: String,
    #[prost(string, optional, tag = "3")]
    parameters: Option<String>,
    #[prost(bool, tag = "4")]
    strict: bool,
}

#[derive(Clone, PartialEq, Message)]
struct TermsRecord {
    #[prost(uint32, tag = "1")]
    confirmation_ttl_s: u32,
    #[prost(bool, tag = "2")]
    required: bool,
}

#[derive(Clone, PartialEq, Message)]
struct McpRecord {
    #[prost(string, tag = "1")]
    server: String,
    #[prost(string, repeated, tag = "2")]
    include: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    exclude: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    requires_confirmation: Vec<String>,
    #[prost(message, optional, tag = "5")]
    terms: Option<TermsRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct HttpRecord {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    declared: Option<HttpSpecRecord>,
    #[prost(bool, tag = "3")]
    requires_confirmation: bool,
    #[prost(message, optional, tag = "4")]
    terms: Option<TermsRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct HttpSpecRecord {
    #[prost(string, tag = "1")]
    description: String,
    #[prost(string, tag = "2")]
    method: String,
    #[prost(string, tag = "3")]
    url: String,
    #[prost(message, repeated, tag = "4")]
    headers: Vec<HeaderRecord>,
    #[prost(string, optional, tag = "5")]
    parameters: Option<String>,
    #[prost(uint32, tag = "6")]
    timeout_ms: u32,
    #[prost(uint32, tag = "7")]
    max_response_bytes: u32,
}

#[derive(Clone, PartialEq, Message)]
struct HeaderRecord {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct ConnectorRecord {
    /// 1 web_search, 2 web_search_premium, 3 code_interpreter, 4 image_generation, 5 document_library, 6 connector.
    #[prost(uint32, tag = "1")]
    kind: u32,
    /// Of a document library.
    #[prost(string, repeated, tag = "2")]
    library_ids: Vec<String>,
    /// Of a connector.
    #[prost(string, tag = "3")]
    connector_id: String,
    #[prost(message, optional, tag = "4")]
    authorization: Option<AuthorizationRecord>,
    #[prost(string, repeated, tag = "5")]
    include: Vec<String>,
    #[prost(string, repeated, tag = "6")]
    exclude: Vec<String>,
    #[prost(string, repeated, tag = "7")]
    requires_confirmation: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct AuthorizationRecord {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    secret: String,
}

/// A tool as it is written.
pub(super) fn tool_record(tool: &Tool) -> ToolRecord {
    let kind = match tool {
        Tool::Function(Function { name, description, parameters, strict }) => ToolKind::Function(FunctionRecord {
            name: name.clone(),
            description: description.clone(),
            parameters: parameters.as_ref().map(json_text),
            strict: *strict,
        }),
        Tool::Mcp(McpTools { server, include, exclude, requires_confirmation, terms }) => ToolKind::Mcp(McpRecord {
            server: server.clone(),
            include: include.clone(),
            exclude: exclude.clone(),
            requires_confirmation: requires_confirmation.clone(),
            terms: Some(terms_record(*terms)),
        }),
        Tool::HttpRequest(HttpRequest { name, declared, requires_confirmation, terms }) => {
            ToolKind::HttpRequest(HttpRecord {
                name: name.clone(),
                declared: declared.as_ref().map(spec_record),
                requires_confirmation: *requires_confirmation,
                terms: Some(terms_record(*terms)),
            })
        }
        Tool::Connector(connector) => ToolKind::Connector(connector_record(connector)),
        Tool::HumanHandoff(HumanHandoffTool { description }) => ToolKind::HumanHandoff(description.clone()),
    };
    ToolRecord { kind: Some(kind) }
}

/// A tool as it was read.
pub(super) fn tool(record: ToolRecord) -> Result<Tool, Damaged> {
    Ok(match required(record.kind)? {
        ToolKind::Function(FunctionRecord { name, description, parameters, strict }) => {
            let parameters = parameters.map(|text| json(&text)).transpose()?;
            Tool::Function(Function { name, description, parameters, strict })
        }
        ToolKind::Mcp(McpRecord { server, include, exclude, requires_confirmation, terms: record }) => {
            Tool::Mcp(McpTools { server, include, exclude, requires_confirmation, terms: terms(record) })
        }
        ToolKind::HttpRequest(HttpRecord { name, declared, requires_confirmation, terms: record }) => {
            let declared = declared.map(spec).transpose()?;
            Tool::HttpRequest(HttpRequest { name, declared, requires_confirmation, terms: terms(record) })
        }
        ToolKind::Connector(record) => Tool::Connector(connector(record)?),
        ToolKind::HumanHandoff(description) => Tool::HumanHandoff(HumanHandoffTool { description }),
    })
}

fn terms_record(terms: CallTerms) -> TermsRecord {
    let CallTerms { confirmation_ttl_s, required } = terms;
    TermsRecord { confirmation_ttl_s, required }
}

fn terms(record: Option<TermsRecord>) -> CallTerms {
    let TermsRecord { confirmation_ttl_s, required } = record.unwrap_or_default();
    CallTerms { confirmation_ttl_s, required }
}

fn spec_record(spec: &HttpRequestSpec) -> HttpSpecRecord {
    let HttpRequestSpec { description, method, url, headers, parameters, timeout_ms, max_response_bytes } = spec;
    let headers = headers.iter().map(|(name, value)| HeaderRecord { name: name.clone(), value: value.clone() });
    HttpSpecRecord {
        description: description.clone(),
        method: method.clone(),
        url: url.clone(),
        headers: headers.collect(),
        parameters: parameters.as_ref().map(json_text),
        timeout_ms: *timeout_ms,
        max_response_bytes: *max_response_bytes,
    }
}

fn spec(record: HttpSpecRecord) -> Result<HttpRequestSpec, Damaged> {
    let HttpSpecRecord { description, method, url, headers, parameters, timeout_ms, max_response_bytes } = record;
    let headers = headers.into_iter().map(|HeaderRecord { name, value }| (name, value)).collect();
    let parameters = parameters.map(|text| json(&text)).transpose()?;
    Ok(HttpRequestSpec { description, method, url, headers, parameters, timeout_ms, max_response_bytes })
}

fn connector_record(connector: &Connector) -> ConnectorRecord {
    let Connector { kind, include, exclude, requires_confirmation } = connector;
    let mut record = ConnectorRecord {
        include: include.clone(),
        exclude: exclude.clone(),
        requires_confirmation: requires_confirmation.clone(),
        ..ConnectorRecord::default()
    };
    record.kind = match kind {
        ConnectorKind::WebSearch => 1,
        ConnectorKind::WebSearchPremium => 2,
        ConnectorKind::CodeInterpreter => 3,
        ConnectorKind::ImageGeneration => 4,
        ConnectorKind::DocumentLibrary { library_ids } => {
            record.library_ids = library_ids.clone();
            5
        }
        ConnectorKind::Custom { connector_id, authorization } => {
            record.connector_id = connector_id.clone();
            record.authorization = authorization.as_ref().map(|ConnectorAuthorization { kind, secret }| {
                AuthorizationRecord { kind: kind.clone(), secret: secret.clone() }
            });
            6
        }
    };
    record
}

fn connector(record: ConnectorRecord) -> Result<Connector, Damaged> {
    let ConnectorRecord { kind, library_ids, connector_id, authorization, include, exclude, requires_confirmation } =
        record;
    let authorization =
        authorization.map(|AuthorizationRecord { kind, secret }| ConnectorAuthorization { kind, secret });
    let kind = match kind {
        1 => ConnectorKind::WebSearch,
        2 => ConnectorKind::WebSearchPremium,
        3 => ConnectorKind::CodeInterpreter,
        4 => ConnectorKind::ImageGeneration,
        5 => ConnectorKind::DocumentLibrary { library_ids },
        6 => ConnectorKind::Custom { connector_id, authorization },
        _ => return Err(Damaged("a connector is unknown")),
    };
    Ok(Connector { kind, include, exclude, requires_confirmation })
}
