use std::{collections::BTreeMap, time::Duration};

use http::HeaderName;
use serde_json::{Map, Value};

use super::{key::Key, reader::Reader, rule::Rule, secret::ToolSecret, section::Section};

/// Tools that the service runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Tools {
    /// HTTP requests.
    pub http: HttpTools,
    /// What their headers may name, by name.
    pub secrets: BTreeMap<String, ToolSecret>,
}

/// HTTP requests that the service makes for models.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpTools {
    /// What may be reached beside the internet.
    pub allow: Vec<String>,
    /// The longest that a call may take.
    pub timeout: Duration,
    /// The most that is read of an answer, in bytes.
    pub max_response_bytes: u32,
    /// Whether callers may declare tools of their own.
    pub callers_may_declare: bool,
    /// The tools that are declared here, by name.
    pub requests: BTreeMap<String, HttpRequest>,
}

/// A tool that is declared in the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpRequest {
    /// For the model.
    pub description: String,
    /// How it is asked.
    pub method: &'static str,
    /// Whom.
    pub url: String,
    /// Name and value.
    pub headers: Vec<(String, String)>,
    /// JSON Schema of the arguments; None: no arguments.
    pub parameters: Option<Map<String, Value>>,
    /// In place of what holds for all.
    pub timeout: Option<Duration>,
    /// In place of what holds for all, in bytes.
    pub max_response_bytes: Option<u32>,
}

const METHODS: [(&str, &str); 6] =
    [("GET", "GET"), ("HEAD", "HEAD"), ("POST", "POST"), ("PUT", "PUT"), ("PATCH", "PATCH"), ("DELETE", "DELETE")];

impl Tools {
    pub(super) fn read(from: &mut Reader<'_>) -> Tools {
        Tools { http: HttpTools::read(from), secrets: ToolSecret::read_all(from) }
    }
}

impl HttpTools {
    fn read(from: &mut Reader<'_>) -> HttpTools {
        HttpTools {
            allow: from.list(
                "tools.http.allow",
                Rule::network_place(),
                "What HTTP tools may reach beside the internet: loopback, private and other special addresses are refused \
                 unless they are listed here. A name that is listed may have any address.",
            ),
            timeout: from.get(
                "tools.http.timeout",
                timeout(),
                "30s",
                "The longest that a call of an HTTP tool may take.",
            ),
            max_response_bytes: from.get(
                "tools.http.max_response_size",
                response_size(),
                "256KiB",
                "The most that is read of an answer to an HTTP tool; the rest is cut off, and the model is told.",
            ),
            callers_may_declare: from.get(
                "tools.http.callers_may_declare",
                Rule::switch(),
                "true",
                "Let callers declare HTTP tools of their own. Otherwise they may use those that are declared here.",
            ),
            requests: HttpRequest::read_all(from),
        }
    }
}

fn timeout() -> Rule<Duration> {
    Rule::duration("100ms", "1h")
}

fn response_size() -> Rule<u32> {
    Rule::size("1KiB", "2MiB")
}

impl HttpRequest {
    fn read_all(from: &mut Reader<'_>) -> BTreeMap<String, HttpRequest> {
        let all = Key::from("tools.http.requests");
        let mut requests = BTreeMap::new();
        for name in from.sections_in(&all) {
            let key = all.name(&name);
            if let Err(why) = Rule::tool().parse(&name) {
                from.reject(&key, format!("is no name of a tool; it {why}"));
            }
            if let Some(request) = HttpRequest::read(&mut from.named(key)) {
                requests.insert(name, request);
            }
        }
        requests
    }

    /// None after a fault that leaves it without an address.
    fn read(section: &mut Section<'_, '_>) -> Option<HttpRequest> {
        let description = section.optional("description", Rule::text(8192), "What it does, for the model.");
        let method = section.optional("method", Rule::one_of(&METHODS), "How it is asked.");
        let url = section.required("url", Rule::url_template(), None, "Whom it asks.");
        let timeout = section.optional("timeout", timeout(), "The longest that a call may take.");
        let max_response_bytes =
            section.optional("max_response_size", response_size(), "The most that is read of an answer.");
        Some(HttpRequest {
            description: description.unwrap_or_default(),
            method: method.unwrap_or("GET"),
            headers: headers(section),
            parameters: parameters(section),
            timeout,
            max_response_bytes,
            url: url?,
        })
    }
}

fn headers(section: &mut Section<'_, '_>) -> Vec<(String, String)> {
    let key = section.key().name("headers");
    let from = section.reader();
    let names = from.values_in(&key);
    let read = names.into_iter().filter_map(|name| {
        let value =
            from.named(key.clone()).optional(&name, Rule::header(), "A header that is sent with every call.")?;
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            from.reject(&key.name(&name), "is no name of a header");
        }
        Some((name, value.to_str().unwrap_or_default().to_owned()))
    });
    read.collect()
}

/// The schema of the arguments, as a section or as JSON text.
fn parameters(section: &mut Section<'_, '_>) -> Option<Map<String, Value>> {
    const NAME: &str = "parameters";
    let key = section.key().name(NAME);
    let schema = match section.reader().json(&key)? {
        Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
        table => table.clone(),
    };
    match schema {
        Value::Object(schema) if schema.is_empty() || schema.get("type").is_some_and(|kind| kind == "object") => {
            Some(schema)
        }
        Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            section.reject(
                NAME,
                "must be the JSON Schema of an object, as a section or as JSON text, with type = \"object\"",
            );
            None
        }
    }
}
