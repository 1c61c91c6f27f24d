//! Callbacks: the URLs that came with requests for turns are told of their ends.
//!
//! They are an endpoint with a place in the log of their own, but for one thing: a URL that fails holds up nobody else's. So what is
//! read is put aside, row by row, and the place moves on.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{FutureExt, StreamExt, future, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    super::{Engine, failures},
    CallbackSecret,
    backoff::{Backoff, Clock, after, since},
    send::{self, Outcome, Parcel},
};
use crate::{
    domain::{
        Change, Failure, Time,
        webhook::{Callback, Delivery, DeliveryId, DeliveryState, Progress, WebhookSecret},
    },
    store::Error,
};

/// So many may wait, or no further changes are read: some MB in memory, some 100 MB on disk.
const ROOM: usize = 100_000;
const READ_AT_ONCE: usize = 256;
const SAVE_EVERY: Duration = Duration::from_secs(1);

type Flight = BoxFuture<'static, (Callback, Outcome)>;

/// The callbacks of all turns.
pub(super) struct Callbacks {
    engine: Engine,
    stop: CancellationToken,
    /// All changes up to here were read, and what is to be told of them is in rows.
    read: u64,
    newest: watch::Receiver<u64>,
    /// What waits, by when it may be sent.
    due: BTreeSet<(Time, u64)>,
    backoff: Backoff,
    clock: Clock,
    flights: FuturesUnordered<Flight>,
    saved: u64,
    saved_at: Time,
}

impl Callbacks {
    /// What is to be told, as the store has it. Blocks.
    pub(super) fn open(engine: &Engine, stop: CancellationToken) -> Result<Callbacks, Error> {
        let store = &engine.shared.store;
        let options = &engine.shared.options.webhooks;
        let read = store.callback_progress()?.map_or(0, |progress| progress.delivered);
        let read = read.max(store.oldest_revision().saturating_sub(1));
        let clock = Clock::new();
        Ok(Callbacks {
            engine: engine.clone(),
            stop,
            read,
            newest: store.revision(),
            due: store.callbacks()?.into_iter().map(|(revision, due)| (due, revision)).collect(),
            backoff: Backoff::new(options.backoff_base, options.backoff_max),
            flights: FuturesUnordered::new(),
            saved: read,
            saved_at: clock.now(),
            clock,
        })
    }

    /// Tells until it is stopped.
    pub(super) async fn run(mut self) -> Result<(), Failure> {
        loop {
            let stopped = self.stop.is_cancelled();
            let more = !stopped && self.read().await?;
            if !stopped {
                self.launch().map_err(failures::store)?;
            } else if self.flights.is_empty() {
                return self.save().map_err(failures::store);
            }
            self.step(more, stopped).await.map_err(failures::store)?;
        }
    }

    async fn step(&mut self, more: bool, stopped: bool) -> Result<(), Error> {
        let wake = self.wake();
        tokio::select! {
            Some((callback, outcome)) = self.flights.next(), if !self.flights.is_empty() => {
                self.settle(callback, outcome)
            }
            () = future::ready(()), if more => Ok(()),
            changed = self.newest.changed(), if !stopped && self.room() > 0 => {
                if changed.is_err() {
                    self.stop.cancel();
                }
                Ok(())
            }
            () = self.stop.cancelled(), if !stopped => Ok(()),
            () = tokio::time::sleep_until(self.clock.instant(wake.unwrap_or_default())), if wake.is_some() && !stopped => {
                let old = since(self.clock.now(), self.saved_at) >= SAVE_EVERY;
                if old && self.saved != self.read { self.save() } else { Ok(()) }
            }
        }
    }

    fn room(&self) -> usize {
        ROOM.saturating_sub(self.due.len() + self.flights.len())
    }

    fn wake(&self) -> Option<Time> {
        let free = self.flights.len() < self.engine.shared.options.webhooks.concurrency;
        let due = self.due.first().filter(|_| free).map(|(due, _)| *due);
        let save = (self.saved != self.read).then(|| after(self.saved_at, SAVE_EVERY));
        [due, save].into_iter().flatten().min()
    }

    /// Reads the next changes, if there is room for what they may bring. Whether there are more.
    async fn read(&mut self) -> Result<bool, Failure> {
        let (after, room) = (self.read, self.room().min(READ_AT_ONCE));
        if room == 0 || after >= *self.newest.borrow_and_update() {
            return Ok(false);
        }
        match self.engine.changes(after, room).await? {
            Ok(changes) => {
                let mut found = false;
                for change in changes {
                    self.read = change.revision;
                    found |= self.take_in(&change).map_err(failures::store)?;
                }
                if found {
                    self.save().map_err(failures::store)?;
                }
            }
            Err(Error::RevisionGone { oldest }) => {
                tracing::warn!(
                    first = self.read + 1,
                    last = oldest - 1,
                    "callbacks of changes that are not kept any more are lost"
                );
                self.read = oldest - 1;
            }
            Err(error) => return Err(failures::store(error)),
        }
        Ok(self.room() > 0 && self.read < *self.newest.borrow())
    }

    fn take_in(&mut self, change: &Change) -> Result<bool, Error> {
        let Some(url) = change.callback_url.as_ref().filter(|_| change.ends_turn()) else { return Ok(false) };
        let (revision, now) = (change.revision, self.clock.now());
        let delivery = Delivery {
            id: DeliveryId { uuid: change.turn_id.0, revision },
            place: revision,
            type_name: change.type_name().to_owned(),
            state: DeliveryState::Pending,
            round: 0,
            attempts: 0,
            http_status: None,
            error: String::new(),
            duration_ms: 0,
            attempted_at: change.at,
            failing_since: None,
        };
        let data = (self.engine.shared.options.webhooks.render)(change, None);
        let body = send::body(change.type_name(), change.at, &data);
        let callback = Callback { delivery, url: url.clone(), body, told_at: change.at, next_attempt_at: now };
        self.engine.shared.store.save_callback(&callback)?;
        self.due.insert((now, revision));
        Ok(true)
    }

    fn launch(&mut self) -> Result<(), Error> {
        let now = self.clock.now();
        while self.flights.len() < self.engine.shared.options.webhooks.concurrency
            && let Some((due, revision)) = self.due.first().copied()
            && due <= now
        {
            self.due.remove(&(due, revision));
            if let Some(callback) = self.engine.shared.store.callback(revision)? {
                self.flights.push(deliver(self.engine.clone(), callback).boxed());
            }
        }
        Ok(())
    }

    fn settle(&mut self, mut callback: Callback, outcome: Outcome) -> Result<(), Error> {
        let options = &self.engine.shared.options.webhooks;
        let store = &self.engine.shared.store;
        let (now, delivery) = (self.clock.now(), &mut callback.delivery);
        let (turn, revision) = (crate::domain::TurnId(delivery.id.uuid), delivery.id.revision);
        let Outcome { http_status, error, retry_after, took } = outcome;
        let Some(error) = error else {
            tracing::debug!(%turn, "a callback was delivered");
            return store.remove_callback(revision);
        };
        let first = *delivery.failing_since.get_or_insert(now);
        delivery.attempts += 1;
        if since(now, first) >= options.give_up_after {
            tracing::warn!(%turn, attempts = delivery.attempts, %error, "a callback is given up");
            return store.remove_callback(revision);
        }
        tracing::debug!(%turn, attempts = delivery.attempts, %error, "a callback failed");
        (delivery.http_status, delivery.error) = (http_status, error);
        (delivery.duration_ms, delivery.attempted_at) = (failures::ms(took), now);
        let due = after(now, self.backoff.wait(delivery.attempts, retry_after));
        callback.next_attempt_at = due.min(after(first, options.give_up_after));
        self.due.insert((callback.next_attempt_at, revision));
        store.save_callback(&callback)
    }

    fn save(&mut self) -> Result<(), Error> {
        (self.saved, self.saved_at) = (self.read, self.clock.now());
        let progress = Progress { delivered: self.read, ..Progress::default() };
        self.engine.shared.store.save_progress(None, &progress)
    }
}

async fn deliver(engine: Engine, callback: Callback) -> (Callback, Outcome) {
    let options = &engine.shared.options.webhooks;
    let parcel = Parcel {
        id: callback.delivery.id,
        url: callback.url.clone(),
        told_at: callback.told_at,
        body: callback.body.clone(),
        secrets: secret(options.callback_secret.as_ref()).await.into_iter().collect(),
    };
    let outcome = send::attempt(engine.shared.tools.http.client(), options.timeout, parcel).await;
    (callback, outcome)
}

/// What callbacks are signed with now.
async fn secret(source: Option<&CallbackSecret>) -> Option<WebhookSecret> {
    match source? {
        CallbackSecret::Value(secret) => Some(secret.clone()),
        CallbackSecret::File(path) => {
            let text = tokio::fs::read_to_string(path).await.ok()?;
            WebhookSecret::parse(text.trim())
        }
        CallbackSecret::Missing(_) => None,
    }
}
