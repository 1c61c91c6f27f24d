//! One server: connected when it is needed, left alone for a while when it fails.

use std::{sync::Arc, time::Duration};

use rmcp::model::JsonObject;
use tokio::{
    sync::{Mutex, Semaphore},
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Inspection, McpError, McpServerOptions, McpTransport, Rest,
    call::Call,
    connection::{Connection, NotOpened},
    fault::{Fault, Refusal},
    listing::McpTool,
    outcome,
};
use crate::domain::tool::ToolOutcome;

#[derive(Debug)]
pub(super) struct Server {
    options: McpServerOptions,
    /// Held while it is connected to, so that it is started once for all who need it.
    state: Mutex<State>,
    calls: Semaphore,
    tasks: TaskTracker,
    closing: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    connection: Option<Arc<Connection>>,
    /// Since it last worked for a while.
    failures: u32,
    resting: Option<Resting>,
}

/// It failed, and is left alone.
#[derive(Debug)]
struct Resting {
    why: String,
    until: Instant,
}

impl Server {
    pub(super) fn new(options: McpServerOptions, tasks: TaskTracker, closing: CancellationToken) -> Server {
        let calls = Semaphore::new(options.max_concurrent.clamp(1, Semaphore::MAX_PERMITS));
        Server { options, state: Mutex::default(), calls, tasks, closing }
    }

    pub(super) async fn tools(&self) -> Result<Arc<[McpTool]>, McpError> {
        Ok(self.listed().await?.1)
    }

    pub(super) async fn inspect(&self) -> Inspection {
        let found = self.listed().await.map(|(connection, tools)| (connection.info.clone(), tools));
        Inspection { name: self.options.name.clone(), transport: self.options.transport.shown(), found }
    }

    pub(super) async fn call(
        &self,
        tool: &str,
        arguments: &str,
        mut progress: impl FnMut(String) + Send,
    ) -> ToolOutcome {
        let name = &self.options.name;
        let Some(arguments) = object(arguments) else {
            return ToolOutcome::failed("the arguments are no JSON object; nothing was called");
        };
        if !self.options.allows(tool) {
            return ToolOutcome::failed(format!("the server `{name}` has no tool `{tool}` that may be used here"));
        }
        let deadline = Instant::now() + self.options.call_timeout;
        // One that began late would be cancelled half way, and nobody would know what it did.
        let begins_by = deadline - self.options.call_timeout / 2;
        let permit = timeout_at(begins_by, self.calls.acquire()).await;
        let (Ok(Ok(_permit)), true) = (permit, Instant::now() < begins_by) else {
            let most = self.options.max_concurrent;
            return ToolOutcome::failed(format!(
                "{most} other calls of the server `{name}` were under way all the time; nothing was called"
            ));
        };
        match self.make(tool, arguments, deadline, &mut progress).await {
            Ok(outcome) => outcome,
            Err(why) => ToolOutcome::failed(why),
        }
    }

    /// Makes a call, and makes it again if the server refused to look at it. Fails with what the model and the caller are told.
    async fn make(
        &self,
        tool: &str,
        arguments: JsonObject,
        deadline: Instant,
        progress: &mut (impl FnMut(String) + Send),
    ) -> Result<ToolOutcome, String> {
        let name = &self.options.name;
        let mut is_repeated = false;
        loop {
            let connection = self.connection().await.map_err(|error| format!("{error}; nothing was called"))?;
            let call = Call { tool, arguments: arguments.clone(), deadline };
            let fault = match connection.call(call, &self.tasks, progress).await {
                Ok(result) => return Ok(outcome::of(result, self.options.max_result_bytes)),
                Err(fault) => fault,
            };
            let is_renewed = self.settle(&connection, &fault).await;
            match fault {
                Fault::Refused(_) if is_renewed && !is_repeated => is_repeated = true,
                Fault::Refused(refusal) => {
                    return Err(format!("the server `{name}` {}; nothing was called", refusal.text()));
                }
                Fault::Answered(words) => return Err(words),
                Fault::Failed(text) => return Err(format!("the server `{name}` {text}")),
                Fault::Lost(text) => {
                    return Err(format!(
                        "the server `{name}` {text} while `{tool}` was called: what the call did is not known"
                    ));
                }
                Fault::TimedOut => {
                    let limit = self.options.call_timeout;
                    return Err(format!(
                        "the tool did not answer within {limit:?} and was cancelled: what it did is not known"
                    ));
                }
            }
        }
    }

    async fn listed(&self) -> Result<(Arc<Connection>, Arc<[McpTool]>), McpError> {
        let mut is_repeated = false;
        loop {
            let connection = self.connection().await?;
            let fault = match connection.tools(&self.options).await {
                Ok(tools) => return Ok((connection, tools)),
                Err(fault) => fault,
            };
            if self.settle(&connection, &fault).await && !is_repeated {
                is_repeated = true;
                continue;
            }
            let why = match &fault {
                Fault::TimedOut => format!("did not list its tools within {:?}", self.options.list_timeout),
                Fault::Answered(_) | Fault::Refused(_) | Fault::Failed(_) | Fault::Lost(_) => fault.text(),
            };
            return Err(self.unavailable(why, None));
        }
    }

    /// The connection that there is, or a new one.
    async fn connection(&self) -> Result<Arc<Connection>, McpError> {
        let mut state = self.state.lock().await;
        if self.closing.is_cancelled() {
            return Err(self.unavailable("is being ended, and so is the service".into(), None));
        }
        if let Some(connection) = &state.connection {
            let Some(ended) = connection.ended() else { return Ok(connection.clone()) };
            state.lost(ended.why, ended.at, self.options.rest);
        }
        if let Some(resting) = &state.resting {
            let left = resting.until.saturating_duration_since(Instant::now());
            if left > Duration::ZERO {
                return Err(self.unavailable(resting.why.clone(), Some(left)));
            }
        }
        let mut opened = Connection::open(&self.options, &self.tasks, &self.closing).await;
        if let Err(NotOpened { fault: Fault::Refused(Refusal::Token), token }) = &opened
            && self.has_another_token(token.as_ref()).await
        {
            opened = Connection::open(&self.options, &self.tasks, &self.closing).await;
        }
        match opened {
            Ok(connection) => {
                let connection = Arc::new(connection);
                state.resting = None;
                state.connection = Some(connection.clone());
                tracing::info!(server = self.options.name, "an MCP server is connected");
                Ok(connection)
            }
            Err(NotOpened { fault, token: _ }) => {
                let rest = state.failed(fault.text(), Instant::now(), self.options.rest);
                tracing::warn!(server = self.options.name, why = fault.text(), "an MCP server can't be used");
                Err(self.unavailable(fault.text(), Some(rest)))
            }
        }
    }

    /// Does what follows from a fault. Says whether a request that the server refused to look at may be made again.
    async fn settle(&self, connection: &Arc<Connection>, fault: &Fault) -> bool {
        match fault {
            Fault::Answered(_) | Fault::Failed(_) | Fault::TimedOut => false,
            Fault::Lost(why) => {
                let mut state = self.state.lock().await;
                if state.is(connection) {
                    let at = connection.ended().map_or_else(Instant::now, |ended| ended.at);
                    state.lost(why.clone(), at, self.options.rest);
                }
                false
            }
            Fault::Refused(refusal) => {
                let is_renewed = match refusal {
                    Refusal::Session => true,
                    Refusal::Token => self.has_another_token(connection.token.as_ref()).await,
                };
                let mut state = self.state.lock().await;
                if state.is(connection) {
                    state.connection = None;
                }
                is_renewed
            }
        }
    }

    async fn has_another_token(&self, refused: Option<&http::HeaderValue>) -> bool {
        let McpTransport::Http { bearer: Some(bearer), .. } = &self.options.transport else { return false };
        let Some(refused) = refused else { return false };
        bearer.refused(refused).await;
        bearer.token().await.is_ok_and(|token| token != refused)
    }

    fn unavailable(&self, why: String, retry_after: Option<Duration>) -> McpError {
        McpError::Unavailable { server: self.options.name.clone(), why, retry_after }
    }
}

impl State {
    fn is(&self, connection: &Arc<Connection>) -> bool {
        self.connection.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection))
    }

    /// The connection is gone.
    fn lost(&mut self, why: String, at: Instant, rest: Rest) {
        if let Some(connection) = self.connection.take()
            && at.saturating_duration_since(connection.opened_at) >= rest.longest
        {
            self.failures = 0;
        }
        self.failed(why, at, rest);
    }

    /// How long it rests from now on.
    fn failed(&mut self, why: String, at: Instant, rest: Rest) -> Duration {
        let wait = rest.after(self.failures);
        self.failures = self.failures.saturating_add(1);
        let until = at + wait;
        self.resting = Some(Resting { why, until });
        until.saturating_duration_since(Instant::now())
    }
}

impl Rest {
    /// After so many failures before this one.
    fn after(self, failures: u32) -> Duration {
        self.first.saturating_mul(2_u32.saturating_pow(failures)).min(self.longest)
    }
}

/// The arguments that a model wrote.
fn object(text: &str) -> Option<JsonObject> {
    if text.trim().is_empty() {
        return Some(JsonObject::new());
    }
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_doubles_up_to_its_longest() {
        let seconds = |failures| Rest::default().after(failures).as_secs_f32();
        assert_eq!([0, 1, 2, 6, 7, 100].map(seconds), [0.5, 1.0, 2.0, 32.0, 60.0, 60.0]);
        assert_eq!(Rest::default().after(u32::MAX), Duration::from_secs(60));
    }

    #[test]
    fn arguments_are_an_object_or_nothing() {
        assert_eq!(object(" "), Some(JsonObject::new()));
        assert_eq!(object(r#"{"a":1}"#).map(|object| object.len()), Some(1));
        for text in ["[]", "1", "{", "null", "{}{}"] {
            assert_eq!(object(text), None, "{text}");
        }
    }
}
