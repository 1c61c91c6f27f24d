//! Tools: what a model may use, and who runs it.

use serde_json::{Map, Value};

use super::entry::Chunk;

/// Something that the model may use.
#[derive(Debug, Clone, PartialEq)]
pub enum Tool {
    /// A function that the caller runs.
    Function(Function),
    /// The tools of an MCP server that the configuration names. The service runs them.
    Mcp(McpTools),
    /// An HTTP request that the service makes.
    HttpRequest(HttpRequest),
    /// A tool of Mistral's own, which Mistral runs.
    Connector(Connector),
    /// The model may hand over to a person.
    HumanHandoff(HumanHandoffTool),
}

/// A function that the caller runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// `[A-Za-z0-9_-]{1,64}`, distinct among the tools.
    pub name: String,
    /// For the model; may be empty.
    pub description: String,
    /// JSON Schema of the arguments; `None`: no arguments.
    pub parameters: Option<Map<String, Value>>,
    /// Keep to the schema exactly.
    pub strict: bool,
}

/// The tools of an MCP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpTools {
    /// The server's name in the configuration.
    pub server: String,
    /// Only these of its tools; empty: all.
    pub include: Vec<String>,
    /// Not these.
    pub exclude: Vec<String>,
    /// Which of them a person has to agree to; `["*"]`: all.
    pub requires_confirmation: Vec<String>,
    /// What holds for each call.
    pub terms: CallTerms,
}

/// An HTTP request that the service makes for the model.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpRequest {
    /// `[A-Za-z0-9_-]{1,64}`, distinct among the tools.
    pub name: String,
    /// What is sent; `None`: the tool that the configuration declares under this name.
    pub declared: Option<HttpRequestSpec>,
    /// A person has to agree to each call.
    pub requires_confirmation: bool,
    /// What holds for each call.
    pub terms: CallTerms,
}

/// What an HTTP request is made of. Arguments that neither the URL nor a header names go into the query of GET, HEAD and DELETE,
/// and into a JSON object as the body of all others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpRequestSpec {
    /// For the model; may be empty.
    pub description: String,
    /// GET, HEAD, POST, PUT, PATCH or DELETE.
    pub method: String,
    /// http or https. `{argument}` stands for the argument's value, percent-encoded; never in the host.
    pub url: String,
    /// Name and value. In a value `{argument}` stands for an argument, `${secret:NAME}` for a secret of the configuration.
    pub headers: Vec<(String, String)>,
    /// JSON Schema of the arguments; `None`: no arguments.
    pub parameters: Option<Map<String, Value>>,
    /// The longest that a call may take, in milliseconds; 0: as configured.
    pub timeout_ms: u32,
    /// The most that is read of an answer, in bytes; 0: as configured.
    pub max_response_bytes: u32,
}

/// What holds for each call of a tool that the service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallTerms {
    /// How long a confirmation is waited for, in seconds; 0: for ever.
    pub confirmation_ttl_s: u32,
    /// A failure ends the turn. Otherwise the model is told of it.
    pub required: bool,
}

/// A tool of Mistral's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connector {
    /// Which.
    pub kind: ConnectorKind,
    /// Only these of its tools; empty: all.
    pub include: Vec<String>,
    /// Not these.
    pub exclude: Vec<String>,
    /// Which of its tools a person has to agree to.
    pub requires_confirmation: Vec<String>,
}

/// Which of Mistral's own tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectorKind {
    /// `web_search`.
    WebSearch,
    /// `web_search_premium`: news agencies too.
    WebSearchPremium,
    /// `code_interpreter`.
    CodeInterpreter,
    /// `image_generation`.
    ImageGeneration,
    /// `document_library`.
    DocumentLibrary {
        /// At least one.
        library_ids: Vec<String>,
    },
    /// `connector`: a custom one, or a remote MCP server that Mistral knows.
    Custom {
        /// Its name or UUID.
        connector_id: String,
        /// How it is authorized, if it is.
        authorization: Option<ConnectorAuthorization>,
    },
}

/// What a connector is sent to let Mistral in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectorAuthorization {
    /// `oauth2-token` or `api-key`.
    pub kind: String,
    /// The secret of the configuration that holds it.
    pub secret: String,
}

/// The model may hand over to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HumanHandoffTool {
    /// When to do so, for the model; may be empty.
    pub description: String,
}

/// A tool as a model is told of it: what chat completions call a function.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    /// Its name as the model writes it: `[A-Za-z0-9_-]{1,64}`.
    pub name: String,
    /// For the model; may be empty.
    pub description: String,
    /// JSON Schema of the arguments.
    pub parameters: Map<String, Value>,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolOutcome {
    /// What the model is told.
    pub content: Vec<Chunk>,
    /// What is kept beside it, as JSON text; empty: nothing.
    pub info: String,
    /// Why the call failed, for the model and the caller; `None`: it did not.
    pub error: Option<String>,
}

impl ToolOutcome {
    /// A call that brought this text.
    pub fn text(text: impl Into<String>) -> ToolOutcome {
        ToolOutcome { content: vec![Chunk::Text(text.into())], info: String::new(), error: None }
    }

    /// A call that failed.
    pub fn failed(why: impl Into<String>) -> ToolOutcome {
        ToolOutcome { content: Vec::new(), info: String::new(), error: Some(why.into()) }
    }
}

impl Connector {
    /// Its `type` in Mistral's requests.
    pub fn type_name(&self) -> &'static str {
        match &self.kind {
            ConnectorKind::WebSearch => "web_search",
            ConnectorKind::WebSearchPremium => "web_search_premium",
            ConnectorKind::CodeInterpreter => "code_interpreter",
            ConnectorKind::ImageGeneration => "image_generation",
            ConnectorKind::DocumentLibrary { .. } => "document_library",
            ConnectorKind::Custom { .. } => "connector",
        }
    }
}
