//! One call of a tool: sent, listened to, and cancelled if nobody waits for it any more.

use std::time::Duration;

use rmcp::{
    RoleClient,
    model::{CallToolRequest, CallToolRequestParams, CallToolResult, ClientRequest, JsonObject, ServerResult},
    service::{PeerRequestOptions, RequestHandle},
};
use tokio::{
    runtime,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{connection::Connection, fault::Fault};

/// A person reads no faster.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// For the word that a call is cancelled.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);
/// Between a connection's end and the word of how it ended.
const END_KNOWN: Duration = Duration::from_secs(1);

/// A call to be made.
pub(super) struct Call<'a> {
    pub(super) tool: &'a str,
    pub(super) arguments: JsonObject,
    pub(super) deadline: Instant,
}

impl Connection {
    /// Makes the call. Dropping the future cancels it.
    pub(super) async fn call(
        &self,
        call: Call<'_>,
        tasks: &TaskTracker,
        progress: &mut (impl FnMut(String) + Send),
    ) -> Result<CallToolResult, Fault> {
        let Call { tool, arguments, deadline } = call;
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let handle = match self.peer.send_request_with_option(request, PeerRequestOptions::no_options()).await {
            Ok(handle) => handle,
            Err(error) => return self.result(Err(error.into())).await,
        };
        let mut said = self.signals.progress_of(handle.progress_token.clone());
        let mut pending = Pending { handle: Some(handle), connection: self, tasks };
        let mut shown_at = None;
        let mut is_news = false;
        let answer = loop {
            let Some(handle) = pending.handle.as_mut() else { break Err(Fault::TimedOut) };
            let show_at = shown_at.map_or_else(Instant::now, |at: Instant| at + PROGRESS_EVERY);
            tokio::select! {
                biased;
                answer = &mut handle.rx => {
                    pending.handle = None;
                    break match answer {
                        Ok(answer) => answer.map_err(Fault::from),
                        Err(_) => Err(Fault::Lost("closed the connection".into())),
                    };
                }
                ended = self.end() => {
                    // There is nobody left to be told of a cancellation.
                    pending.handle = None;
                    break Err(Fault::Lost(ended.why));
                }
                () = sleep_until(deadline) => break Err(Fault::TimedOut),
                () = sleep_until(show_at), if is_news => {
                    (is_news, shown_at) = (false, Some(Instant::now()));
                    progress(said.said.borrow_and_update().clone());
                }
                Ok(()) = said.said.changed(), if !is_news => is_news = true,
            }
        };
        if is_news || said.said.has_changed().unwrap_or_default() {
            progress(said.said.borrow_and_update().clone());
        }
        self.result(answer).await
    }

    async fn result(&self, answer: Result<ServerResult, Fault>) -> Result<CallToolResult, Fault> {
        match answer {
            Ok(ServerResult::CallToolResult(result)) => Ok(result),
            Ok(ServerResult::InputRequiredResult(_)) => {
                Err(Fault::Failed("asks for input, which nobody here can give".into()))
            }
            Ok(_) => Err(Fault::Failed("answered something else than a tool's result".into())),
            // How it ended says more.
            Err(Fault::Lost(why)) if self.is_program => match timeout(END_KNOWN, self.end()).await {
                Ok(ended) => Err(Fault::Lost(ended.why)),
                Err(_) => Err(Fault::Lost(why)),
            },
            Err(fault) => Err(fault),
        }
    }
}

/// A call that the server may still work at. Dropping it tells the server to stop.
struct Pending<'a> {
    handle: Option<RequestHandle<RoleClient>>,
    connection: &'a Connection,
    tasks: &'a TaskTracker,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        // Without a runtime everything ends, the connection too.
        if let (Some(handle), Ok(runtime)) = (self.handle.take(), runtime::Handle::try_current()) {
            let cancel = handle.cancel(Some("nobody waits for it any more".into()));
            // A program that does not even take that has stopped reading, and all that it is sent would pile up.
            let close = self.connection.is_program.then(|| self.connection.open.clone());
            let cancel = async move {
                if timeout(CANCEL_TIMEOUT, cancel).await.is_err() {
                    close.iter().for_each(CancellationToken::cancel);
                }
            };
            self.tasks.spawn_on(cancel, &runtime);
        }
    }
}
