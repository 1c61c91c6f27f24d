//! Stands between a server and the SDK: what a server sends unasked costs neither a task nor a line of the log.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use rmcp::{
    RoleClient,
    model::{JsonRpcMessage, ServerNotification},
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};

use super::signals::Signals;

/// Requests of a server (pings, mostly) that it has not yet taken the answers to. One that asks without reading would have us
/// keep them all.
const UNANSWERED: usize = 64;

/// A transport that passes on what the SDK has to answer or to route.
pub(super) struct Guarded<T> {
    inner: T,
    signals: Arc<Signals>,
    unanswered: Arc<AtomicUsize>,
}

impl<T> Guarded<T> {
    pub(super) fn new(inner: T, signals: Arc<Signals>) -> Guarded<T> {
        Guarded { inner, signals, unanswered: Arc::default() }
    }
}

impl<T: Transport<RoleClient>> Transport<RoleClient> for Guarded<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let is_answer = matches!(item, JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_));
        let unanswered = self.unanswered.clone();
        let sent = self.inner.send(item);
        async move {
            let sent = sent.await;
            if is_answer {
                // A protocol error of the SDK's own answers no request.
                let _ = unanswered.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
            }
            sent
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            match self.inner.receive().await? {
                JsonRpcMessage::Notification(notification) => match notification.notification {
                    ServerNotification::ProgressNotification(said) => self.signals.progressed(said.params),
                    ServerNotification::ToolListChangedNotification(_) => self.signals.tools_changed(),
                    // Its requests are answered at once, so there is nothing to cancel; the rest is of no use here.
                    ServerNotification::CancelledNotification(_)
                    | ServerNotification::LoggingMessageNotification(_)
                    | ServerNotification::ResourceUpdatedNotification(_)
                    | ServerNotification::ResourceListChangedNotification(_)
                    | ServerNotification::PromptListChangedNotification(_)
                    | ServerNotification::SubscriptionsAcknowledgedNotification(_)
                    | ServerNotification::TaskStatusNotification(_)
                    | ServerNotification::CustomNotification(_)
                    | _ => {}
                },
                request @ JsonRpcMessage::Request(_) => {
                    if self.unanswered.fetch_add(1, Ordering::Relaxed) >= UNANSWERED {
                        self.signals.pester();
                        return None;
                    }
                    return Some(request);
                }
                answer @ (JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_)) => return Some(answer),
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.inner.close().await
    }
}
