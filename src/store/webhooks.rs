//! Webhooks: endpoints, how far each has come, what was sent to them, and callbacks that are still to be delivered.
//!
//! What its maker says of an endpoint is durable when the call returns. How far it has come is not waited for: after a crash it is
//! told again what it was told in the last moments, which at least once allows.

use std::ops::RangeInclusive;

use uuid::Uuid;

use super::{Inner, Store, error::Error, keys, record::webhook as record};
use crate::domain::{
    Time,
    ids::WebhookId,
    webhook::{Callback, Delivery, DeliveryState, Progress, Webhook},
};

/// A page looks at no more deliveries than this and may come back short.
const MOST_LOOKED_AT: usize = 5000;

/// A page of endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookPage {
    /// Newest first.
    pub webhooks: Vec<Webhook>,
    /// Where the next page begins; `None`: this is the last.
    pub next: Option<WebhookId>,
}

/// Where a page of deliveries ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryCursor(u64, Uuid);

/// A page of deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryPage {
    /// Newest first.
    pub deliveries: Vec<Delivery>,
    /// Where the next page begins; `None`: this is the last. A page may be short, or empty, and not the last.
    pub next: Option<DeliveryCursor>,
}

impl DeliveryCursor {
    /// As page tokens hold it.
    pub fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.0.to_be_bytes());
        bytes[8..].copy_from_slice(self.1.as_bytes());
        bytes
    }

    /// The cursor of these bytes.
    pub fn from_bytes(bytes: [u8; 24]) -> DeliveryCursor {
        let (place, test) = bytes.split_at(8);
        let place = place.try_into().expect("8 bytes were cut");
        DeliveryCursor(u64::from_be_bytes(place), keys::last_id(test))
    }
}

impl Store {
    /// Writes what its maker says of an endpoint. A new one needs [`Store::save_progress`] before. Durable when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn put_webhook(&self, webhook: &Webhook) -> Result<(), Error> {
        self.inner.flusher.writable()?;
        self.written(self.inner.disk.insert(keys::webhook(webhook.id.0), &record::encode_spec(webhook)))?;
        self.inner.flusher.flushed().await
    }

    /// An endpoint.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn webhook(&self, id: WebhookId) -> Result<Option<Webhook>, Error> {
        let row = self.inner.disk.get(keys::webhook(id.0))?;
        row.map(|row| self.inner.webhook_of(id.0, &row)).transpose()
    }

    /// A page of the endpoints, newest first, after (older than) `after`. Blocks.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn webhooks(&self, after: Option<WebhookId>, limit: usize) -> Result<WebhookPage, Error> {
        let end = keys::webhook(after.map_or(Uuid::max(), |after| after.0));
        let mut page = WebhookPage { webhooks: Vec::new(), next: None };
        for row in self.inner.disk.range(keys::webhook(Uuid::nil())..end).rev() {
            let (key, row) = row?;
            if page.webhooks.len() == limit {
                page.next = page.webhooks.last().map(|webhook| webhook.id);
                break;
            }
            page.webhooks.push(self.inner.webhook_of(keys::last_id(&key), &row)?);
        }
        Ok(page)
    }

    /// Removes an endpoint with its deliveries; false: there is none. Nobody may write of it any more. Durable when this
    /// returns.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn delete_webhook(&self, id: WebhookId) -> Result<bool, Error> {
        self.inner.flusher.writable()?;
        let store = self.clone();
        let deleted = tokio::task::spawn_blocking(move || store.written(store.inner.erase_webhook(id.0)));
        let deleted = deleted.await.unwrap_or_else(|panic| Err(Error::failed(panic)))?;
        self.inner.flusher.flushed().await?;
        Ok(deleted)
    }

    /// Writes how far an endpoint has come, or `None`: how far callbacks have. Durable with the next commit, and not before
    /// what was written before it.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn save_progress(&self, id: Option<WebhookId>, progress: &Progress) -> Result<(), Error> {
        self.inner.flusher.writable()?;
        let key = keys::webhook_progress(id.map_or(Uuid::nil(), |id| id.0));
        self.written(self.inner.disk.insert(key, &record::encode_progress(progress)))
    }

    /// How far callbacks have come; `None`: there never were any.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn callback_progress(&self) -> Result<Option<Progress>, Error> {
        self.inner.progress_of(Uuid::nil())
    }

    /// Writes a delivery. Durable as [`Store::save_progress`].
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn save_delivery(&self, of: WebhookId, delivery: &Delivery) -> Result<(), Error> {
        self.inner.flusher.writable()?;
        let test = if delivery.id.revision == 0 { delivery.id.uuid } else { Uuid::nil() };
        let key = keys::delivery(of.0, delivery.place, test);
        self.written(self.inner.disk.insert(key, &record::encode_delivery(delivery)))
    }

    /// What was sent of a change to an endpoint.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn delivery(&self, of: WebhookId, revision: u64) -> Result<Option<Delivery>, Error> {
        let row = self.inner.disk.get(keys::delivery(of.0, revision, Uuid::nil()))?;
        Ok(row.map(|row| record::decode_delivery(&row)).transpose()?)
    }

    /// The newest revision that something was sent of to an endpoint; 0: nothing was.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn newest_delivery(&self, of: WebhookId) -> Result<u64, Error> {
        let newest = self.inner.disk.range(deliveries_of(of.0)).next_back().transpose()?;
        Ok(newest.map_or(0, |(key, _)| keys::delivery_place(&key).0))
    }

    /// A page of what was sent to an endpoint, newest first; of these states, or all. Blocks.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn deliveries(
        &self,
        of: WebhookId,
        states: &[DeliveryState],
        after: Option<DeliveryCursor>,
        limit: usize,
    ) -> Result<DeliveryPage, Error> {
        let DeliveryCursor(place, test) = after.unwrap_or(DeliveryCursor(u64::MAX, Uuid::max()));
        let rows = keys::delivery(of.0, 0, Uuid::nil())..keys::delivery(of.0, place, test);
        let mut page = DeliveryPage { deliveries: Vec::new(), next: None };
        for (looked_at, row) in self.inner.disk.range(rows).rev().enumerate() {
            if looked_at == MOST_LOOKED_AT || page.deliveries.len() == limit {
                return Ok(page);
            }
            let (key, row) = row?;
            let (place, test) = keys::delivery_place(&key);
            let delivery = record::decode_delivery(&row)?;
            if states.is_empty() || states.contains(&delivery.state) {
                page.deliveries.push(delivery);
            }
            page.next = Some(DeliveryCursor(place, test));
        }
        page.next = None;
        Ok(page)
    }

    /// Removes what was last sent before a moment. Returns how many deliveries. Blocks; durable with the next commit.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn expire_deliveries(&self, before: Time) -> Result<u64, Error> {
        self.inner.flusher.writable()?;
        let mut removed = 0;
        for key in self.inner.disk.keys_of(&keys::ALL_WEBHOOKS) {
            for row in self.inner.disk.range(deliveries_of(keys::last_id(&key?))) {
                let (key, row) = row?;
                // They lie in the order of their changes. What was sent again lately keeps what follows it for as long.
                if record::decode_delivery(&row)?.attempted_at >= before {
                    break;
                }
                self.written(self.inner.disk.remove(key))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Writes a callback that is to be delivered. Durable as [`Store::save_progress`].
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn save_callback(&self, callback: &Callback) -> Result<(), Error> {
        self.inner.flusher.writable()?;
        let key = keys::callback(callback.delivery.id.revision);
        self.written(self.inner.disk.insert(key, &record::encode_callback(callback)))
    }

    /// A callback that is to be delivered.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn callback(&self, revision: u64) -> Result<Option<Callback>, Error> {
        let row = self.inner.disk.get(keys::callback(revision))?;
        Ok(row.map(|row| record::decode_callback(&row)).transpose()?)
    }

    /// All callbacks that are to be delivered: revision, and when the next attempt is due. Blocks.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn callbacks(&self) -> Result<Vec<(u64, Time)>, Error> {
        let rows = self.inner.disk.range(keys::callback(0)..=keys::callback(u64::MAX));
        let due = rows.map(|row| {
            let callback = record::decode_callback(&row?.1)?;
            Ok((callback.delivery.id.revision, callback.next_attempt_at))
        });
        due.collect()
    }

    /// Removes a callback: it was delivered, or given up. Durable as [`Store::save_progress`].
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn remove_callback(&self, revision: u64) -> Result<(), Error> {
        self.inner.flusher.writable()?;
        self.written(self.inner.disk.remove(keys::callback(revision)))
    }

    fn written<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|error| self.inner.flusher.fail(error))
    }
}

impl Inner {
    fn webhook_of(&self, id: Uuid, spec: &[u8]) -> Result<Webhook, Error> {
        let progress = self.progress_of(id)?.unwrap_or_default();
        Ok(record::decode_webhook(id, spec, progress)?)
    }

    fn progress_of(&self, id: Uuid) -> Result<Option<Progress>, Error> {
        let row = self.disk.get(keys::webhook_progress(id))?;
        Ok(row.map(|row| record::decode_progress(&row)).transpose()?)
    }

    /// Its own row goes last: what a crash leaves is an endpoint that can be deleted again.
    fn erase_webhook(&self, id: Uuid) -> Result<bool, Error> {
        for row in self.disk.range(deliveries_of(id)) {
            self.disk.remove(row?.0)?;
        }
        let existed = self.disk.contains(keys::webhook(id))?;
        self.disk.remove(keys::webhook_progress(id))?;
        self.disk.remove(keys::webhook(id))?;
        Ok(existed)
    }
}

fn deliveries_of(webhook: Uuid) -> RangeInclusive<[u8; 41]> {
    keys::delivery(webhook, 0, Uuid::nil())..=keys::delivery(webhook, u64::MAX, Uuid::max())
}
