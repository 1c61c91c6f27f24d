//! From the configuration to the tools that the service runs.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;

use super::Error;
use crate::{
    config::{self, Config},
    domain::tool::HttpRequestSpec,
    offline::{self, Offline},
    tools::{
        http::{HttpOptions, HttpSecret, HttpTools, Secret, SecretSource},
        net::{AllowList, SystemLookup},
    },
};

/// The HTTP tools, that of the stand-in among them. Fails if one that is declared can't work.
pub(super) fn http(config: &Config, offline: Option<&Offline>) -> Result<HttpTools, Error> {
    let config::Tools { http, secrets } = &config.tools;
    let config::HttpTools { allow, timeout, max_response_bytes, callers_may_declare, requests } = http;
    let mut tools: BTreeMap<_, _> = requests.iter().map(|(name, request)| (name.clone(), spec(request))).collect();
    let mut allow = allow_list(allow)?;
    if let Some(offline) = offline {
        allow.add(&offline.address().to_string()).expect("the address of a socket is one");
        tools.entry(offline::TOOL.to_owned()).or_insert_with(|| stand_in(offline));
    }
    let options = HttpOptions {
        tools,
        secrets: http_secrets(secrets),
        allow,
        timeout: *timeout,
        max_response_bytes: usize::try_from(*max_response_bytes).unwrap_or(usize::MAX),
        callers_may_declare: *callers_may_declare,
        lookup: Arc::new(SystemLookup),
    };
    HttpTools::new(options).map_err(|error| Error::Tools(error.to_string()))
}

fn allow_list(entries: &[String]) -> Result<AllowList, Error> {
    let mut list = AllowList::default();
    for entry in entries {
        list.add(entry).map_err(|error| Error::Tools(format!("tools.http.allow: \"{entry}\" {error}")))?;
    }
    Ok(list)
}

/// A tool that needs nothing but this process.
fn stand_in(offline: &Offline) -> HttpRequestSpec {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    HttpRequestSpec {
        description: "The weather in a city, made up.".to_owned(),
        method: "GET".to_owned(),
        url: offline.tool_url(),
        headers: Vec::new(),
        parameters: parameters.as_object().cloned(),
        timeout_ms: 0,
        max_response_bytes: 0,
    }
}

fn spec(request: &config::HttpRequest) -> HttpRequestSpec {
    let config::HttpRequest { description, method, url, headers, parameters, timeout, max_response_bytes } = request;
    HttpRequestSpec {
        description: description.clone(),
        method: (*method).to_owned(),
        url: url.clone(),
        headers: headers.clone(),
        parameters: parameters.clone(),
        timeout_ms: timeout.map_or(0, |timeout| u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX)),
        max_response_bytes: max_response_bytes.unwrap_or(0),
    }
}

fn http_secrets(secrets: &BTreeMap<String, config::ToolSecret>) -> BTreeMap<String, HttpSecret> {
    let secret = |(name, secret): (&String, &config::ToolSecret)| {
        let config::ToolSecret { value, hosts } = secret;
        let value = match value {
            config::SecretSource::Missing(_) => SecretSource::Missing,
            config::SecretSource::Value(value) => SecretSource::Value(Secret::new(value.expose())),
            config::SecretSource::File(path) => SecretSource::File(path.clone()),
        };
        (name.clone(), HttpSecret { value, hosts: hosts.clone() })
    };
    secrets.iter().map(secret).collect()
}
