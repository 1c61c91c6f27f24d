//! What callers do with endpoints.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use rustls::crypto::ring;
use serde_json::json;
use tokio::sync::{MutexGuard, oneshot};

use super::{
    super::{Engine, Revisions, Shared, WatchStart, failures, ids},
    CallbackSecret, Running,
    send::{self, Outcome, Parcel},
};
use crate::store::{DeliveryCursor, DeliveryPage, WebhookPage};
use crate::{
    domain::{
        Change, Failure, Reason, Violation,
        ids::WebhookId,
        webhook::{
            Delivery, DeliveryId, DeliveryState, Payload, Progress, Webhook, WebhookFilter, WebhookSecret, WebhookSpec,
            WebhookState,
        },
    },
    store::{self, Error},
};

/// Each one is a task that reads all changes.
const MAX_WEBHOOKS: usize = 1000;
/// So many changes may wait to be sent again beside the others.
const MAX_AGAIN: usize = 1000;
/// Bytes of a secret that is made up.
const SECRET_BYTES: usize = 32;
/// What its maker gave as the reason of an endpoint that he disabled.
const BY_CALL: &str = "UpdateWebhook disabled it";

/// What a call changes of an endpoint; `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "as in WebhookSpec and Progress")]
pub struct WebhookChanges {
    pub url: Option<String>,
    pub description: Option<String>,
    pub filter: Option<Option<WebhookFilter>>,
    pub payload: Option<Payload>,
    pub secrets: Option<Vec<WebhookSecret>>,
    pub state: Option<WebhookState>,
}

/// What is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedeliverWhat {
    /// One delivery.
    Delivery(DeliveryId),
    /// All changes after this revision.
    After(u64),
}

impl WebhookChanges {
    fn of(self, spec: WebhookSpec) -> WebhookSpec {
        let WebhookChanges { url, description, filter, payload, secrets, state: _ } = self;
        WebhookSpec {
            url: url.unwrap_or(spec.url),
            description: description.unwrap_or(spec.description),
            filter: filter.unwrap_or(spec.filter),
            payload: payload.unwrap_or(spec.payload),
            secrets: secrets.unwrap_or(spec.secrets),
        }
    }
}

impl Engine {
    /// Makes an endpoint. Without secrets it gets one that is made up.
    ///
    /// # Errors
    ///
    /// INVALID_REQUEST, REVISION_GONE, STORE_FAILED.
    pub async fn create_webhook(&self, spec: WebhookSpec, start: WatchStart) -> Result<Webhook, Failure> {
        self.shared.check_url("webhook.url", &spec.url)?;
        let mut spec = spec;
        if spec.secrets.is_empty() {
            spec.secrets.push(made_up()?);
        }
        let mut running = self.shared.webhooks.running.lock().await;
        self.shared.store.accepts_turns().map_err(failures::store)?;
        if self.webhooks(None, MAX_WEBHOOKS).await?.webhooks.len() >= MAX_WEBHOOKS {
            let text = format!("cannot be made: there are {MAX_WEBHOOKS} webhooks, and no more are taken; delete one");
            return Err(Failure::invalid_field("webhook", text));
        }
        let now = ids::now();
        let progress = Progress { delivered: self.place(start)?, enabled_at: now, ..Progress::default() };
        let webhook = Webhook { id: WebhookId(ids::entry_uuid()), created_at: now, spec, progress };
        self.shared.store.save_progress(Some(webhook.id), &webhook.progress).map_err(failures::store)?;
        self.shared.store.put_webhook(&webhook).await.map_err(failures::store)?;
        tracing::info!(webhook = %webhook.id, "made");
        self.begin(&mut running, webhook.clone());
        Ok(webhook)
    }

    /// Reads an endpoint.
    ///
    /// # Errors
    ///
    /// WEBHOOK_NOT_FOUND, STORE_FAILED.
    pub async fn webhook(&self, id: WebhookId) -> Result<Webhook, Failure> {
        let store = self.shared.store.clone();
        let found = self.shared.blocking(move || store.webhook(id)).await?.map_err(failures::store)?;
        found.ok_or_else(|| Failure::not_found(Reason::WebhookNotFound, "webhook", id.to_string()))
    }

    /// Lists endpoints, newest first.
    pub async fn webhooks(&self, after: Option<WebhookId>, limit: usize) -> Result<WebhookPage, Failure> {
        let store = self.shared.store.clone();
        self.shared.blocking(move || store.webhooks(after, limit)).await?.map_err(failures::store)
    }

    /// Changes an endpoint.
    ///
    /// # Errors
    ///
    /// INVALID_REQUEST, WEBHOOK_NOT_FOUND, STORE_FAILED.
    pub async fn update_webhook(&self, id: WebhookId, changes: WebhookChanges) -> Result<Webhook, Failure> {
        if let Some(url) = &changes.url {
            self.shared.check_url("webhook.url", url)?;
        }
        let mut running = self.shared.webhooks.running.lock().await;
        let webhook = self.webhook(id).await?;
        let state = changes.state;
        let webhook = Webhook { spec: changes.of(webhook.spec.clone()), ..webhook };
        self.shared.store.put_webhook(&webhook).await.map_err(failures::store)?;
        if let Some(at_work) = running.get(&id) {
            at_work.webhook.send_replace(Arc::new(webhook));
        }
        match state {
            None => self.webhook(id).await,
            Some(state) => self.set_state(&mut running, id, state).await,
        }
    }

    async fn set_state(
        &self,
        running: &mut MutexGuard<'_, HashMap<WebhookId, Running>>,
        id: WebhookId,
        state: WebhookState,
    ) -> Result<Webhook, Failure> {
        if self.webhook(id).await?.progress.state == state {
            return self.webhook(id).await;
        }
        let change = |progress: &mut Progress| {
            progress.state = state;
            match state {
                WebhookState::Enabled => {
                    progress.disabled_reason.clear();
                    progress.enabled_at = ids::now();
                    progress.failures = 0;
                }
                WebhookState::Disabled => {
                    BY_CALL.clone_into(&mut progress.disabled_reason);
                    progress.next_attempt_at = None;
                }
            }
        };
        self.rearrange(running, id, change).await
    }

    /// Deletes an endpoint with its deliveries.
    ///
    /// # Errors
    ///
    /// WEBHOOK_NOT_FOUND, STORE_FAILED.
    pub async fn delete_webhook(&self, id: WebhookId) -> Result<(), Failure> {
        let mut running = self.shared.webhooks.running.lock().await;
        self.webhook(id).await?;
        if let Some(at_work) = running.remove(&id) {
            at_work.end().await;
        }
        self.shared.store.delete_webhook(id).await.map_err(failures::store)?;
        tracing::info!(webhook = %id, "deleted");
        Ok(())
    }

    /// Sends a test to an endpoint now, once, and says what came of it.
    ///
    /// # Errors
    ///
    /// WEBHOOK_NOT_FOUND, STORE_FAILED.
    pub async fn test_webhook(&self, id: WebhookId) -> Result<Delivery, Failure> {
        let webhook = self.webhook(id).await?;
        let (delivery_id, now) = (DeliveryId { uuid: ids::entry_uuid(), revision: 0 }, ids::now());
        let data = json!({"webhookId": id.to_string()});
        let parcel = Parcel {
            id: delivery_id,
            url: webhook.spec.url,
            told_at: now,
            body: send::body(TEST, now, &data),
            secrets: webhook.spec.secrets,
        };
        let options = &self.shared.options.webhooks;
        let outcome = send::attempt(self.shared.tools.http.client(), options.timeout, parcel).await;
        let Outcome { http_status, error, retry_after: _, took } = outcome;
        let delivery = Delivery {
            id: delivery_id,
            place: *self.shared.store.revision().borrow(),
            type_name: TEST.to_owned(),
            state: if error.is_none() { DeliveryState::Delivered } else { DeliveryState::Failed },
            round: webhook.progress.round,
            attempts: 1,
            http_status,
            error: error.unwrap_or_default(),
            duration_ms: failures::ms(took),
            attempted_at: now,
            failing_since: None,
        };
        // It may have been deleted meanwhile, and must stay so.
        let _kept = self.shared.webhooks.running.lock().await;
        self.webhook(id).await?;
        self.shared.store.save_delivery(id, &delivery).map_err(failures::store)?;
        Ok(delivery)
    }

    /// Lists what was sent to an endpoint, newest first.
    ///
    /// # Errors
    ///
    /// WEBHOOK_NOT_FOUND, STORE_FAILED.
    pub async fn deliveries(
        &self,
        id: WebhookId,
        states: Vec<DeliveryState>,
        after: Option<DeliveryCursor>,
        limit: usize,
    ) -> Result<DeliveryPage, Failure> {
        self.webhook(id).await?;
        let store = self.shared.store.clone();
        let page = self.shared.blocking(move || store.deliveries(id, &states, after, limit)).await?;
        page.map_err(failures::store)
    }

    /// Sends changes to an endpoint again.
    ///
    /// # Errors
    ///
    /// INVALID_REQUEST, REVISION_GONE, WEBHOOK_NOT_FOUND, STORE_FAILED.
    pub async fn redeliver(&self, id: WebhookId, what: RedeliverWhat) -> Result<Webhook, Failure> {
        let mut running = self.shared.webhooks.running.lock().await;
        self.webhook(id).await?;
        match what {
            RedeliverWhat::After(revision) => {
                let place = self.place(WatchStart::After(revision))?;
                let back = |progress: &mut Progress| {
                    progress.delivered = progress.delivered.min(place);
                    progress.round = progress.round.wrapping_add(1);
                    progress.again.clear();
                };
                self.rearrange(&mut running, id, back).await
            }
            RedeliverWhat::Delivery(delivery) => {
                let change = self.delivered_before(id, delivery).await?;
                self.again(&mut running, id, change).await
            }
        }
    }

    async fn again(
        &self,
        running: &mut MutexGuard<'_, HashMap<WebhookId, Running>>,
        id: WebhookId,
        change: Arc<Change>,
    ) -> Result<Webhook, Failure> {
        if self.webhook(id).await?.progress.again.len() >= MAX_AGAIN {
            let text = format!("cannot be sent again yet: {MAX_AGAIN} others wait for that");
            return Err(Failure::invalid_field("delivery_id", text));
        }
        let (noted, is_noted) = oneshot::channel();
        if let Entry::Occupied(at_work) = running.entry(id)
            && at_work.get().again.send((change.clone(), noted)).await.is_ok()
            && is_noted.await.is_ok()
        {
            let webhook = self.webhook(id).await?;
            // What the task has noted is durable with it.
            self.shared.store.put_webhook(&webhook).await.map_err(failures::store)?;
            return Ok(webhook);
        }
        let revision = change.revision;
        let note = |progress: &mut Progress| {
            if revision <= progress.delivered && !progress.again.contains(&revision) {
                progress.again.push(revision);
            }
        };
        self.rearrange(running, id, note).await
    }

    /// Changes how far an endpoint has come: its task ends, and a new one goes on from there.
    async fn rearrange(
        &self,
        running: &mut MutexGuard<'_, HashMap<WebhookId, Running>>,
        id: WebhookId,
        change: impl FnOnce(&mut Progress),
    ) -> Result<Webhook, Failure> {
        if let Some(at_work) = running.remove(&id) {
            at_work.end().await;
        }
        let mut webhook = self.webhook(id).await?;
        change(&mut webhook.progress);
        self.shared.store.save_progress(Some(id), &webhook.progress).map_err(failures::store)?;
        self.shared.store.put_webhook(&webhook).await.map_err(failures::store)?;
        self.begin(running, webhook.clone());
        Ok(webhook)
    }

    /// The change of a delivery of this endpoint.
    async fn delivered_before(&self, id: WebhookId, delivery: DeliveryId) -> Result<Arc<Change>, Failure> {
        if delivery.uuid != id.0 || delivery.revision == 0 {
            let text = "is no delivery of a change to this webhook: ListDeliveries has those that there are";
            return Err(Failure::invalid_field("delivery_id", text));
        }
        let change = self.change(delivery.revision).await?;
        let oldest = self.shared.store.oldest_revision();
        change.ok_or_else(|| failures::store(Error::RevisionGone { oldest }))
    }

    /// The change of a revision, if it is kept.
    pub(super) async fn change(&self, revision: u64) -> Result<Option<Arc<Change>>, Failure> {
        match self.changes(revision.saturating_sub(1), 1).await? {
            Ok(changes) => Ok(changes.into_iter().next()),
            Err(Error::RevisionGone { .. }) => Ok(None),
            Err(error) => Err(failures::store(error)),
        }
    }

    /// The revision that a start names.
    fn place(&self, start: WatchStart) -> Result<u64, Failure> {
        let Revisions { newest, oldest } = self.revisions();
        match start {
            WatchStart::Now => Ok(newest),
            WatchStart::Oldest => Ok(oldest.saturating_sub(1)),
            WatchStart::After(revision) if revision > newest => Err(failures::no_revision(revision, newest)),
            WatchStart::After(revision) if revision.saturating_add(1) < oldest => {
                Err(failures::store(Error::RevisionGone { oldest }))
            }
            WatchStart::After(revision) => Ok(revision),
        }
    }

    /// Removes deliveries that were made before a moment; returns how many. Blocks.
    pub fn expire_deliveries(&self, before: crate::domain::Time) -> Result<u64, store::Error> {
        self.shared.store.expire_deliveries(before)
    }
}

impl Shared {
    /// Whether a turn's end can be told to this URL; INVALID_REQUEST says what is to be configured.
    pub(in crate::engine) fn check_callback(&self, url: &str) -> Result<(), Failure> {
        let missing = match &self.options.webhooks.callback_secret {
            Some(CallbackSecret::Value(_) | CallbackSecret::File(_)) => return self.check_url("callback_url", url),
            None => "set webhooks.callback_secret_env or webhooks.callback_secret_file".to_owned(),
            Some(CallbackSecret::Missing(name)) => {
                format!("set the environment variable {name}, which webhooks.callback_secret_env names")
            }
        };
        let text = format!(
            "cannot be told: this service has no secret to sign callbacks with; {missing}, or leave callback_url out and make a \
             webhook"
        );
        Err(Failure::invalid_field("callback_url", text))
    }

    fn check_url(&self, field: &'static str, url: &str) -> Result<(), Failure> {
        let refused = match url.parse() {
            Ok(url) => self.tools.http.client().refuses(&url).map(|error| error.to_string()),
            Err(_) => Some("it is no URL".to_owned()),
        };
        match refused {
            None => Ok(()),
            Some(why) => {
                let description = format!("must be an address that may be reached: {why}");
                Err(Failure::invalid(vec![Violation { field: field.to_owned(), description }]))
            }
        }
    }
}

/// The type of a test.
const TEST: &str = "webhook.test";

/// A secret out of the operating system's randomness.
fn made_up() -> Result<WebhookSecret, Failure> {
    let mut key = [0; SECRET_BYTES];
    let filled = ring::default_provider().secure_random.fill(&mut key);
    filled.map_err(|_| Failure::new(Reason::Internal, "the operating system gives no random bytes"))?;
    Ok(WebhookSecret::of_key(&key))
}
