//! From the configuration to the MCP servers that models may use, and what they say of themselves.

use std::{future::Future, pin::Pin, sync::Arc};

use futures_util::future::join_all;
use http::HeaderValue;

use super::{Error, upstream::key_source};
use crate::{
    config::{self, Config, KeySource},
    tools::mcp::{
        Inspection, McpError, McpServerInfo, McpServerOptions, McpServers, McpTool, McpTransport, Rest, TokenSource,
    },
    upstream::Bearer,
};

/// All configured servers. Nothing is started.
pub(super) fn servers(config: &Config) -> Result<Vec<McpServerOptions>, Error> {
    config.mcp.iter().map(options).collect()
}

/// What a source of tools offers, or why it can't be asked.
#[derive(Debug, Clone)]
pub struct ToolsCheck {
    /// Its name in the configuration.
    pub name: String,
    /// The command line, or the address without its query.
    pub place: String,
    /// What it says of itself; may be empty.
    pub info: String,
    /// What is wrong, for a person.
    pub problem: Option<String>,
    /// What it offers.
    pub tools: Vec<ToolCheck>,
}

/// A tool.
#[derive(Debug, Clone)]
pub struct ToolCheck {
    /// As models see it.
    pub name: String,
    /// As its own server calls it.
    pub own_name: String,
    /// For models.
    pub description: String,
    /// The schema of its arguments, as JSON over several lines.
    pub parameters: String,
}

/// Starts the configured servers, or this one alone, and lets them say what they offer; then ends them.
///
/// # Errors
///
/// If one is configured so that it can't be used, or there is none of this name. What a server that was asked did wrong is in
/// the list.
pub async fn check_tools(config: &Config, only: Option<&str>) -> Result<Vec<ToolsCheck>, Error> {
    let servers = McpServers::new(servers(config)?);
    let names = match only {
        Some(name) => vec![name],
        None => servers.names(),
    };
    let found = join_all(names.into_iter().map(|name| servers.inspect(name))).await;
    servers.close().await;
    found
        .into_iter()
        .map(|seen| seen.map(check))
        .collect::<Result<_, _>>()
        .map_err(|error| Error::Tools(error.to_string()))
}

fn check(seen: Inspection) -> ToolsCheck {
    let Inspection { name, transport: place, found } = seen;
    match found {
        Ok((info, tools)) => {
            let McpServerInfo { name: own, version, protocol_version } = info;
            let info = format!("{own} {version}, protocol {protocol_version}");
            ToolsCheck { name, place, info, problem: None, tools: tools.iter().map(tool).collect() }
        }
        Err(error) => {
            // It is not tried again here.
            let problem = match error {
                McpError::Unavailable { server, why, retry_after: _ } => format!("the server `{server}` {why}"),
                error @ McpError::Unknown { .. } => error.to_string(),
            };
            ToolsCheck { name, place, info: String::new(), problem: Some(problem), tools: Vec::new() }
        }
    }
}

fn tool(tool: &McpTool) -> ToolCheck {
    let McpTool { name, title: _, spec } = tool;
    ToolCheck {
        name: spec.name.clone(),
        own_name: name.clone(),
        description: spec.description.clone(),
        parameters: serde_json::to_string_pretty(&spec.parameters).expect("an object of JSON can be written"),
    }
}

fn options(server: &config::McpServer) -> Result<McpServerOptions, Error> {
    let config::McpServer {
        name,
        transport,
        include,
        exclude,
        connect_timeout,
        timeout,
        max_concurrent,
        max_result_bytes,
    } = server;
    Ok(McpServerOptions {
        name: name.clone(),
        transport: self::transport(name, transport)?,
        include: include.clone(),
        exclude: exclude.clone(),
        connect_timeout: *connect_timeout,
        list_timeout: *connect_timeout,
        call_timeout: *timeout,
        max_concurrent: *max_concurrent,
        max_result_bytes: *max_result_bytes,
        rest: Rest::default(),
    })
}

fn transport(name: &str, transport: &config::McpTransport) -> Result<McpTransport, Error> {
    match transport {
        config::McpTransport::Command { command, env, directory } => {
            let (program, arguments) =
                command.split_first().expect("the configuration takes no command without a program");
            Ok(McpTransport::Stdio {
                program: program.clone(),
                arguments: arguments.to_vec(),
                env: env.clone(),
                directory: directory.clone(),
            })
        }
        config::McpTransport::Url { url, headers, bearer } => {
            let bearer: Option<Arc<dyn TokenSource>> = match bearer {
                KeySource::NotNeeded => None,
                source => {
                    let bearer = Bearer::new(key_source(source), place(name, source));
                    Some(Arc::new(Token(bearer.map_err(|error| Error::Tools(format!("{name}: {error}")))?)))
                }
            };
            Ok(McpTransport::Http { url: url.clone(), headers: headers.clone(), bearer })
        }
    }
}

/// Where the operator puts a token.
fn place(name: &str, source: &KeySource) -> String {
    match source {
        KeySource::Variable { name: variable, key: _ } | KeySource::Missing { variable: Some(variable) } => {
            variable.clone()
        }
        KeySource::File(_) => format!("mcp.{name}.bearer_token_file"),
        KeySource::Command(_) => format!("mcp.{name}.bearer_token_command"),
        KeySource::NotNeeded | KeySource::Missing { variable: None } => format!("mcp.{name}.bearer_token_env"),
    }
}

/// A token as the tools want one.
#[derive(Debug)]
struct Token(Bearer);

impl TokenSource for Token {
    fn token(&self) -> Pin<Box<dyn Future<Output = Result<HeaderValue, String>> + Send + '_>> {
        Box::pin(self.0.token())
    }

    fn refused<'a>(&'a self, value: &'a HeaderValue) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(self.0.refused(value))
    }
}
