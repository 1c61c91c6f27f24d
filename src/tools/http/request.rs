//! From a call's arguments to a request.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use reqwest::Url;
use serde_json::{Map, Value};

use super::{
    secret::{Secrets, Values},
    template::{Gap, Template, UrlTemplate, text},
};
use crate::{
    domain::tool::HttpRequestSpec,
    tools::{
        net::{HostPort, Request},
        schema::Schema,
    },
};

/// For the arguments of one call. What a check costs grows with them.
const MAX_ARGUMENTS: usize = 128 << 10;

/// Those that frame a request are the program's, and an answer that is compressed would not be read.
const NOT_SETTABLE: [HeaderName; 11] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
    header::ACCEPT_ENCODING,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
];

/// A tool that has been checked and can be called.
#[derive(Debug)]
pub(super) struct Prepared {
    method: Method,
    url: UrlTemplate,
    headers: Vec<(HeaderName, Template)>,
    /// `None`: no arguments.
    schema: Option<Schema>,
}

/// What a call may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) timeout: Duration,
    pub(super) response_bytes: usize,
}

impl Limits {
    /// Those of a tool that says nothing itself are these, and a caller's may not be more.
    pub(super) fn of(self, spec: &HttpRequestSpec, may_exceed: bool) -> Limits {
        let timeout = Some(spec.timeout_ms).filter(|ms| *ms > 0).map(|ms| Duration::from_millis(ms.into()));
        let bytes = usize::try_from(spec.max_response_bytes).ok().filter(|bytes| *bytes > 0);
        let (timeout, bytes) = (timeout.unwrap_or(self.timeout), bytes.unwrap_or(self.response_bytes));
        if may_exceed {
            return Limits { timeout, response_bytes: bytes };
        }
        Limits { timeout: timeout.min(self.timeout), response_bytes: bytes.min(self.response_bytes) }
    }
}

impl Prepared {
    /// Checks all that can be checked before a call. Faults continue a sentence about the tool.
    pub(super) fn new(spec: &HttpRequestSpec, secrets: &Secrets) -> Result<Prepared, String> {
        let HttpRequestSpec { description: _, method, url, headers, parameters, timeout_ms: _, max_response_bytes: _ } =
            spec;
        let method = match method.as_str() {
            "GET" => Method::GET,
            "HEAD" => Method::HEAD,
            "POST" => Method::POST,
            "PUT" => Method::PUT,
            "PATCH" => Method::PATCH,
            "DELETE" => Method::DELETE,
            _ => return Err("has a method that is none of GET, HEAD, POST, PUT, PATCH and DELETE".to_owned()),
        };
        let url = UrlTemplate::parse(url).map_err(|why| format!("has a url that {why}"))?;
        let start = Url::parse(url.start()).map_err(|_| "has a url that cannot be read")?;
        let headers = headers.iter().map(|(name, value)| {
            let (name, value) = header_template(name, value)?;
            check_secrets(&value, &start, secrets).map_err(|why| format!("has a header {name} that {why}"))?;
            Ok((name, value))
        });
        let headers = headers.collect::<Result<Vec<_>, String>>()?;
        let schema =
            parameters.as_ref().map(Schema::new).transpose().map_err(|why| format!("has a schema that {why}"))?;
        let prepared = Prepared { method, url, headers, schema };
        let unknown = prepared.named().into_iter().find(|name| !prepared.schema.as_ref().is_some_and(|s| s.has(name)));
        match unknown {
            Some(name) => Err(format!("has a place for {{{name}}}, which its parameters do not have")),
            None => Ok(prepared),
        }
    }

    /// About what it takes of memory.
    pub(super) fn size_bytes(&self) -> usize {
        // The URL, the headers and what is kept beside them are a few hundred bytes each.
        let headers: usize = self.headers.len() * 512;
        4096 + headers + self.schema.as_ref().map_or(0, Schema::size_bytes)
    }

    /// Whether checking these arguments takes no longer than other work between two waits.
    pub(super) fn checks_at_once(&self, arguments: &str) -> bool {
        self.schema.as_ref().is_none_or(|schema| schema.checks_at_once(arguments.len()))
    }

    /// The request of a call. Faults are for the model, and quote no argument.
    pub(super) fn request(&self, arguments: &str, secrets: &Values) -> Result<Request, String> {
        let arguments = self.read(arguments)?;
        let named = self.named();
        let unnamed = || arguments.iter().filter(|(name, _)| !named.contains(name.as_str()));
        let has_body = matches!(self.method, Method::POST | Method::PUT | Method::PATCH);
        let in_query = if has_body { BTreeSet::new() } else { unnamed().map(|(name, _)| name.as_str()).collect() };
        let url = Url::parse(&self.url.fill(&arguments, &in_query)?).map_err(|_| "the address cannot be read")?;
        // It can't be another by construction; should it ever be, nothing is sent there.
        if Url::parse(self.url.start()).ok().map(|start| start.origin()) != Some(url.origin()) {
            return Err("an argument must not change the host".to_owned());
        }
        let mut headers = self.headers(&arguments, secrets)?;
        let body = has_body.then(|| {
            let object: Map<String, Value> = unnamed().map(|(name, value)| (name.clone(), value.clone())).collect();
            Bytes::from(Value::Object(object).to_string())
        });
        if has_body && !headers.contains_key(header::CONTENT_TYPE) {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Ok(Request { method: self.method.clone(), url, headers, body })
    }

    fn read(&self, arguments: &str) -> Result<Map<String, Value>, String> {
        if arguments.len() > MAX_ARGUMENTS {
            return Err(format!("the arguments must be at most {MAX_ARGUMENTS} bytes"));
        }
        let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
        let arguments: Value = serde_json::from_str(arguments).map_err(|_| "the arguments must be JSON")?;
        if let Some(schema) = &self.schema {
            schema.check(&arguments).map_err(|why| format!("the arguments do not fit: {why}"))?;
        }
        match arguments {
            Value::Object(map) if self.schema.is_none() && !map.is_empty() => Err("takes no arguments".to_owned()),
            Value::Object(map) => Ok(map),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err("the arguments must be a JSON object".to_owned())
            }
        }
    }

    /// A header that lacks an argument is left out.
    fn headers(&self, arguments: &Map<String, Value>, secrets: &Values) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
        for (name, template) in &self.headers {
            let argument = |name: &str| arguments.get(name).and_then(text);
            let value = match template.fill(argument, |name| secrets.get(name).map(str::to_owned)) {
                Ok(value) => value,
                Err(Gap::Argument(_)) => continue,
                Err(Gap::Secret(secret)) => {
                    return Err(format!(
                        "the secret {secret} is not set, or is not 8 to 4096 visible ASCII characters"
                    ));
                }
            };
            let mut value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
                format!("an argument in the header {name} must have no line breaks or control characters")
            })?;
            value.set_sensitive(template.secrets().next().is_some());
            headers.append(name.clone(), value);
        }
        Ok(headers)
    }

    /// The arguments that have a place of their own.
    fn named(&self) -> BTreeSet<&str> {
        self.url.arguments().chain(self.headers.iter().flat_map(|(_, value)| value.arguments())).collect()
    }
}

fn header_template(name: &str, value: &str) -> Result<(HeaderName, Template), String> {
    let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "has a header whose name is none (RFC 9110)")?;
    if NOT_SETTABLE.contains(&header) {
        return Err(format!("has a header {header}, which frames the request and cannot be set"));
    }
    if HeaderValue::from_bytes(value.as_bytes()).is_err() {
        return Err(format!("has a header {header} with control characters"));
    }
    Ok((header, Template::in_header(value)))
}

fn check_secrets(value: &Template, url: &Url, secrets: &Secrets) -> Result<(), String> {
    let host = url.host_str().and_then(HostPort::parse).map(|host| host.host).unwrap_or_default();
    value.secrets().try_for_each(|name| secrets.check(name, &host, url.port_or_known_default()))
}

/// The tools that the configuration declares, checked.
pub(super) type Declared = BTreeMap<String, (HttpRequestSpec, std::sync::Arc<Prepared>)>;
