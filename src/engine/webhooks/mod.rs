//! Webhooks: endpoints that are told of changes, and the callbacks of turns.
//!
//! Each endpoint is a task with a place in the log of changes, which the store keeps: it sends what the endpoint wants until the
//! endpoint takes it. Whatever is under way when the process ends is sent again with the same id.

mod backoff;
mod callbacks;
mod endpoint;
mod manage;
mod send;
mod sign;
mod window;

use std::{collections::HashMap, future::Future, panic::AssertUnwindSafe, path::PathBuf, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::{
    sync::{Mutex, mpsc, watch},
    time::Instant,
};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};
use tracing::Instrument;

pub use self::manage::{RedeliverWhat, WebhookChanges};
use self::{
    callbacks::Callbacks,
    endpoint::{Again, Endpoint, Orders},
};
use super::{Engine, failures};
use crate::{
    domain::{
        Change, Failure, Turn,
        ids::WebhookId,
        webhook::{Webhook, WebhookSecret, WebhookState},
    },
    store,
};

/// After a panic a task is begun again so much later.
const AFTER_PANIC: Duration = Duration::from_secs(60);

/// How endpoints are told.
#[derive(Debug, Clone)]
pub struct WebhookOptions {
    /// What callbacks are signed with; `None`: nothing was named, and requests with a callback are refused.
    pub callback_secret: Option<CallbackSecret>,
    /// The longest that an endpoint may take to answer.
    pub timeout: Duration,
    /// How many deliveries of one endpoint may be under way at once.
    pub concurrency: usize,
    /// The longest first wait; each further one may be twice as long.
    pub backoff_base: Duration,
    /// The longest wait of all.
    pub backoff_max: Duration,
    /// An endpoint that has failed for so long with its oldest change is disabled, and a callback given up.
    pub give_up_after: Duration,
    /// Writes the `data` of a delivery.
    pub render: Render,
}

/// Writes what is told of a change, and of its turn if that is to be told.
pub type Render = fn(&Change, Option<&Turn>) -> serde_json::Value;

/// Where the secret of callbacks comes from.
#[derive(Debug, Clone)]
pub enum CallbackSecret {
    /// The secret.
    Value(WebhookSecret),
    /// A file that holds it. It is read for each callback.
    File(PathBuf),
    /// This environment variable should hold it, and does not.
    Missing(String),
}

/// The endpoints at work.
pub(super) struct Webhooks {
    /// Held by whoever changes an endpoint, from the store to the task.
    running: Mutex<HashMap<WebhookId, Running>>,
    tasks: TaskTracker,
    /// Nothing more is sent; what is under way may end.
    stop: CancellationToken,
    /// What is under way is dropped.
    cut: CancellationToken,
}

struct Running {
    webhook: watch::Sender<Arc<Webhook>>,
    again: mpsc::Sender<Again>,
    cut: CancellationToken,
    /// Closed when the task has ended.
    ended: mpsc::Sender<()>,
}

impl Webhooks {
    pub(super) fn new() -> Webhooks {
        Webhooks {
            running: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
        }
    }

    /// Sends nothing more, and waits for what is under way until the deadline. What is dropped then is sent again by the next
    /// process.
    pub(super) async fn drain(&self, deadline: Instant) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout_at(deadline, self.tasks.wait()).await.is_err() {
            self.cut.cancel();
            self.tasks.wait().await;
        }
    }
}

impl Running {
    /// Ends the task; what is under way is sent again.
    async fn end(self) {
        self.cut.cancel();
        self.ended.closed().await;
    }
}

impl Engine {
    /// Begins to tell all endpoints that are enabled, and callbacks.
    ///
    /// # Errors
    ///
    /// STORE_FAILED.
    pub async fn start_webhooks(&self) -> Result<(), Failure> {
        let mut running = self.shared.webhooks.running.lock().await;
        let mut after = None;
        loop {
            let store = self.shared.store.clone();
            let page = self.shared.blocking(move || store.webhooks(after, 1000)).await?.map_err(failures::store)?;
            for webhook in page.webhooks {
                self.begin(&mut running, webhook);
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        self.begin_callbacks();
        Ok(())
    }

    /// The changes after a revision, at most so many. The newest ones cost no thread.
    async fn changes(&self, after: u64, limit: usize) -> Result<Result<Vec<Arc<Change>>, store::Error>, Failure> {
        let store = self.shared.store.clone();
        match store.recent_changes(after, limit) {
            Ok(Some(changes)) => Ok(Ok(changes)),
            Ok(None) => self.shared.blocking(move || store.changes(after, limit)).await,
            Err(error) => Ok(Err(error)),
        }
    }

    /// Gives an endpoint that is enabled its task, unless the process is about to end.
    fn begin(&self, running: &mut HashMap<WebhookId, Running>, webhook: Webhook) {
        let webhooks = &self.shared.webhooks;
        if webhook.progress.state == WebhookState::Disabled || webhooks.stop.is_cancelled() {
            return;
        }
        let (id, cut) = (webhook.id, webhooks.cut.child_token());
        let (webhook, of_webhook) = watch::channel(Arc::new(webhook));
        // Callers wait for an answer, so few of them are here at a time.
        let (again, of_again) = mpsc::channel(16);
        let (ended, lives) = mpsc::channel(1);
        let orders = Orders { webhook: of_webhook, again: of_again, stop: webhooks.stop.child_token() };
        let (engine, token) = (self.clone(), webhooks.tasks.token());
        let told = {
            let cut = cut.clone();
            async move {
                let _lives = (lives, token);
                cut.run_until_cancelled(tell(engine, orders)).await;
            }
        };
        spawn(told.instrument(tracing::info_span!("webhook", %id)));
        running.insert(id, Running { webhook, again, cut, ended });
    }

    fn begin_callbacks(&self) {
        let webhooks = &self.shared.webhooks;
        let (engine, stop, token) = (self.clone(), webhooks.stop.child_token(), webhooks.tasks.token());
        let cut = webhooks.cut.clone();
        let told = async move {
            let _token: TaskTrackerToken = token;
            cut.run_until_cancelled(tell_callbacks(engine, stop)).await;
        };
        spawn(told.instrument(tracing::info_span!("callbacks")));
    }
}

/// The tasks are counted by their tokens, and waited for at the end of the process.
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(task));
}

/// Tells an endpoint for as long as it is enabled.
async fn tell(engine: Engine, mut orders: Orders) {
    let stop = orders.stop.clone();
    loop {
        let run = async {
            let endpoint = Endpoint::open(&engine, &mut orders).map_err(failures::store)?;
            endpoint.run().await
        };
        if watched(run, &stop).await {
            return;
        }
    }
}

async fn tell_callbacks(engine: Engine, stop: CancellationToken) {
    loop {
        let run = async {
            let (of, stop) = (engine.clone(), stop.clone());
            let callbacks = engine.shared.blocking(move || Callbacks::open(&of, stop)).await?;
            callbacks.map_err(failures::store)?.run().await
        };
        if watched(run, &stop).await {
            return;
        }
    }
}

/// Whether it has ended for good: it did what it had to, or the store has failed. After a panic, which the log has, it is to be
/// begun again.
async fn watched(run: impl Future<Output = Result<(), Failure>>, stop: &CancellationToken) -> bool {
    match AssertUnwindSafe(run).catch_unwind().await {
        Ok(Ok(())) => true,
        Ok(Err(failure)) => {
            tracing::error!(%failure, "nothing is delivered any more");
            true
        }
        Err(_) => {
            tracing::error!(again_in = ?AFTER_PANIC, "a task that delivers has panicked");
            stop.run_until_cancelled(tokio::time::sleep(AFTER_PANIC)).await.is_none()
        }
    }
}
