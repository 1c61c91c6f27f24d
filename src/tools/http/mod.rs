//! HTTP requests that the service makes for a model.
//!
//! A tool is a URL, headers and a schema of arguments, declared in the configuration or by a caller. A call checks its arguments,
//! fills them in, goes through the guard ([`net`](super::net)) and comes back as text or a picture. Secrets stand in headers only,
//! go only to the hosts that they are for, and are hidden in all that comes back.

mod answer;
mod request;
mod secret;
mod template;

use std::{collections::BTreeMap, error, fmt, sync::Arc, time::Duration};

use moka::sync::Cache;
use serde_json::{Map, Value, json};
use tokio::{task, time};

pub use self::secret::{HttpSecret, Secret, SecretSource};
use self::{
    request::{Declared, Limits, Prepared},
    secret::{Hidden, Secrets},
};
use super::net::{AllowList, Client, Lookup, Request, SystemLookup};
use crate::domain::tool::{HttpRequest, HttpRequestSpec, ToolOutcome, ToolSpec};

/// What there is, and what is allowed.
pub struct HttpOptions {
    /// The tools that the configuration declares, by name.
    pub tools: BTreeMap<String, HttpRequestSpec>,
    /// The secrets that headers may name, by name.
    pub secrets: BTreeMap<String, HttpSecret>,
    /// What may be reached beside the internet.
    pub allow: AllowList,
    /// The longest that a call may take, from its arguments to the last byte of its answer. Declared tools may have more.
    pub timeout: Duration,
    /// The most that is read of an answer. Declared tools may have more.
    pub max_response_bytes: usize,
    /// Whether callers may declare tools of their own.
    pub callers_may_declare: bool,
    /// Who knows the addresses of names.
    pub lookup: Arc<dyn Lookup>,
}

impl Default for HttpOptions {
    fn default() -> HttpOptions {
        HttpOptions {
            tools: BTreeMap::new(),
            secrets: BTreeMap::new(),
            allow: AllowList::default(),
            timeout: Duration::from_secs(30),
            max_response_bytes: 256 << 10,
            callers_may_declare: true,
            lookup: Arc::new(SystemLookup),
        }
    }
}

/// An option that can't work, in a sentence for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionsError(String);

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl error::Error for OptionsError {}

/// The HTTP tools. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct HttpTools {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    declared: Declared,
    /// Tools that callers declared: a conversation declares the same ones in turn after turn.
    prepared: Cache<HttpRequestSpec, Arc<Prepared>>,
    secrets: Secrets,
    client: Client,
    limits: Limits,
    callers_may_declare: bool,
}

/// For the tools that callers declared, as they are compiled.
const PREPARED_BYTES: u64 = 32 << 20;

/// A call that is ready to be sent.
struct Call {
    request: Request,
    hidden: Hidden,
}

impl HttpTools {
    /// The tools; nothing is sent yet. Fails if one that is declared can't work, or a secret can't.
    pub fn new(options: HttpOptions) -> Result<HttpTools, OptionsError> {
        let HttpOptions { tools, secrets, allow, timeout, max_response_bytes, callers_may_declare, lookup } = options;
        let secrets = Secrets::new(secrets).map_err(OptionsError)?;
        let declared = tools.into_iter().map(|(name, spec)| {
            let prepared = Prepared::new(&spec, &secrets);
            let prepared = prepared.map_err(|why| OptionsError(format!("tools.http.requests.{name} {why}")))?;
            Ok((name, (spec, Arc::new(prepared))))
        });
        let declared = declared.collect::<Result<_, _>>()?;
        let weigh =
            |_: &HttpRequestSpec, prepared: &Arc<Prepared>| u32::try_from(prepared.size_bytes()).unwrap_or(u32::MAX);
        let prepared = Cache::builder().max_capacity(PREPARED_BYTES).weigher(weigh).build();
        let client = Client::new(allow, lookup);
        let limits = Limits { timeout, response_bytes: max_response_bytes };
        let inner = Inner { declared, prepared, secrets, client, limits, callers_may_declare };
        Ok(HttpTools { inner: Arc::new(inner) })
    }

    /// What their requests go through, for others that are under the same rules.
    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    /// Whether a tool can be called. What is wrong continues a sentence about the tool. It may take some milliseconds: a
    /// schema that no caller has declared of late is compiled.
    pub fn check(&self, request: &HttpRequest) -> Result<(), String> {
        self.inner.prepared(request).map(drop)
    }

    /// Whether [`HttpTools::check`] answers at once.
    pub fn knows(&self, request: &HttpRequest) -> bool {
        request.declared.as_ref().is_none_or(|spec| self.inner.prepared.contains_key(spec))
    }

    /// The tool as a model is told of it; `None` if there is none of its name.
    pub fn spec(&self, request: &HttpRequest) -> Option<ToolSpec> {
        let spec = self.inner.spec(request)?;
        let parameters = spec.parameters.clone().filter(|parameters| !parameters.is_empty());
        Some(ToolSpec {
            name: request.name.clone(),
            description: spec.description.clone(),
            parameters: parameters.unwrap_or_else(no_arguments),
        })
    }

    /// Calls a tool. Whatever goes wrong is told in the outcome; nothing is sent unless the arguments fit. Dropping the future
    /// closes the connection.
    pub async fn call(&self, request: &HttpRequest, arguments: &str) -> ToolOutcome {
        let Some(spec) = self.inner.spec(request) else { return ToolOutcome::failed("the tool is not configured") };
        let limits = self.inner.limits.of(spec, request.declared.is_none());
        let outcome = time::timeout(limits.timeout, self.run(request, arguments, limits.response_bytes));
        outcome.await.unwrap_or_else(|_| {
            ToolOutcome::failed(format!("there was no whole answer within {} ms", limits.timeout.as_millis()))
        })
    }

    async fn run(&self, request: &HttpRequest, arguments: &str, response_bytes: usize) -> ToolOutcome {
        let call = match self.inner.at_hand(request, arguments) {
            Some(prepared) => self.inner.begin(&prepared, arguments),
            None => self.begin_elsewhere(request, arguments).await,
        };
        let Call { request, hidden } = match call {
            Ok(call) => call,
            Err(why) => return ToolOutcome::failed(why),
        };
        match self.inner.client.send(request).await {
            Ok(response) => answer::read(response, response_bytes, &hidden).await,
            Err(error) => ToolOutcome::failed(hidden.hide_all(&error.to_string())),
        }
    }

    /// Where schemas may be compiled, large arguments checked and files read.
    async fn begin_elsewhere(&self, request: &HttpRequest, arguments: &str) -> Result<Call, String> {
        let (inner, request, arguments) = (self.inner.clone(), request.clone(), arguments.to_owned());
        let begin = move || {
            let prepared = inner.prepared(&request).map_err(|why| format!("the tool {why}"))?;
            inner.begin(&prepared, &arguments)
        };
        task::spawn_blocking(begin).await.unwrap_or_else(|_| Err("the call could not be prepared".to_owned()))
    }
}

impl Default for HttpTools {
    /// No declared tools and no secrets; only the internet can be reached.
    fn default() -> HttpTools {
        HttpTools::new(HttpOptions::default()).expect("nothing is declared that could be wrong")
    }
}

impl Inner {
    fn spec<'a>(&'a self, request: &'a HttpRequest) -> Option<&'a HttpRequestSpec> {
        request.declared.as_ref().or_else(|| self.declared.get(&request.name).map(|(spec, _)| spec))
    }

    fn prepared(&self, request: &HttpRequest) -> Result<Arc<Prepared>, String> {
        match &request.declared {
            Some(_) if !self.callers_may_declare => {
                Err("must be a tool of the configuration: this service lets no caller declare one (tools.http.callers_may_declare)"
                    .to_owned())
            }
            Some(spec) => {
                if let Some(prepared) = self.prepared.get(spec) {
                    return Ok(prepared);
                }
                let prepared = Arc::new(Prepared::new(spec, &self.secrets)?);
                self.prepared.insert(spec.clone(), prepared.clone());
                Ok(prepared)
            }
            None => match self.declared.get(&request.name) {
                Some((_, prepared)) => Ok(prepared.clone()),
                None => Err("is no tool of the configuration (tools.http.requests): give it a url, or another name".to_owned()),
            },
        }
    }

    /// A tool whose call holds nobody up: it is prepared, its arguments are checked in no time, and no file is read. Changing
    /// threads costs more than such a call.
    fn at_hand(&self, request: &HttpRequest, arguments: &str) -> Option<Arc<Prepared>> {
        let prepared = match &request.declared {
            Some(spec) => self.prepared.get(spec).filter(|_| self.callers_may_declare)?,
            None => self.declared.get(&request.name)?.1.clone(),
        };
        (prepared.checks_at_once(arguments) && !self.secrets.read_files()).then_some(prepared)
    }

    fn begin(&self, prepared: &Prepared, arguments: &str) -> Result<Call, String> {
        let values = self.secrets.read();
        Ok(Call { request: prepared.request(arguments, &values)?, hidden: values.hidden() })
    }
}

fn no_arguments() -> Map<String, Value> {
    [("type".to_owned(), json!("object")), ("properties".to_owned(), json!({}))].into_iter().collect()
}
