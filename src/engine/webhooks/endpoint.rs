//! One endpoint: reads the log of changes from its place on, sends what it wants, and keeps how far it has come.

use std::{future, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    super::{Engine, failures},
    backoff::{Backoff, Clock, after, since},
    send::{self, Outcome, Parcel},
    window::{Item, Window},
};
use crate::{
    domain::{
        Change, ChangeKind, Failure, Time, Turn,
        change::ChangeFilter,
        webhook::{Delivery, DeliveryId, DeliveryState, Payload, Progress, Webhook, WebhookState},
    },
    store::Error,
};

/// So many changes are read at a time.
const READ_AT_ONCE: usize = 256;
/// So many failures in a row, of whatever trees, say that the endpoint was down and not only a tree of its: then a success says
/// that it is back.
const DOWN: u32 = 3;
/// A place that moves without deliveries is written so often.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// Asks for a change to be sent again; the answer comes when it is noted.
pub(super) type Again = (Arc<Change>, tokio::sync::oneshot::Sender<()>);

/// What an endpoint hears from those who manage it.
pub(super) struct Orders {
    /// What its maker says of it.
    pub(super) webhook: watch::Receiver<Arc<Webhook>>,
    pub(super) again: mpsc::Receiver<Again>,
    /// Nothing more is sent; what is under way may end.
    pub(super) stop: CancellationToken,
}

/// A change on its way, or back with what came of it.
type Flight = BoxFuture<'static, (Item, Outcome)>;

/// An endpoint at work.
pub(super) struct Endpoint<'a> {
    engine: Engine,
    orders: &'a mut Orders,
    webhook: Arc<Webhook>,
    wanted: ChangeFilter,
    progress: Progress,
    window: Window,
    /// Something was sent of changes up to here, before this began.
    sent: u64,
    newest: watch::Receiver<u64>,
    backoff: Backoff,
    clock: Clock,
    flights: FuturesUnordered<Flight>,
    /// The receiver wants to be left alone until then.
    quiet_until: Time,
    /// Nothing more is sent.
    ending: bool,
    saved_at: Time,
    saved: u64,
}

impl<'a> Endpoint<'a> {
    /// The endpoint as the store has it.
    pub(super) fn open(engine: &Engine, orders: &'a mut Orders) -> Result<Endpoint<'a>, Error> {
        let store = &engine.shared.store;
        let webhook = orders.webhook.borrow_and_update().clone();
        let progress = store.webhook(webhook.id)?.map(|webhook| webhook.progress).unwrap_or_default();
        let options = &engine.shared.options.webhooks;
        let clock = Clock::new();
        Ok(Endpoint {
            engine: engine.clone(),
            wanted: webhook.spec.wanted(),
            window: Window::new(progress.delivered),
            sent: store.newest_delivery(webhook.id)?,
            newest: store.revision(),
            backoff: Backoff::new(options.backoff_base, options.backoff_max),
            flights: FuturesUnordered::new(),
            quiet_until: Time::default(),
            ending: progress.state == WebhookState::Disabled,
            saved_at: clock.now(),
            saved: progress.delivered,
            clock,
            webhook,
            progress,
            orders,
        })
    }

    /// Tells the endpoint until it is stopped or disabled.
    pub(super) async fn run(mut self) -> Result<(), Failure> {
        for revision in self.progress.again.clone() {
            match self.engine.change(revision).await? {
                Some(change) => self.push(change, true).map_err(failures::store)?,
                None => self.progress.again.retain(|other| *other != revision),
            }
        }
        loop {
            let more = self.read().await?;
            self.launch();
            if self.ending && self.flights.is_empty() {
                return self.save().map_err(failures::store);
            }
            self.step(more).await.map_err(failures::store)?;
        }
    }

    /// Waits for something to happen, and deals with it.
    async fn step(&mut self, more: bool) -> Result<(), Error> {
        let wake = self.wake();
        tokio::select! {
            Some((item, outcome)) = self.flights.next(), if !self.flights.is_empty() => {
                self.settle(item, outcome)?;
                while let Some(Some((item, outcome))) = self.flights.next().now_or_never() {
                    self.settle(item, outcome)?;
                }
                self.save()
            }
            () = future::ready(()), if more => Ok(()),
            changed = self.newest.changed(), if !self.ending && self.window.room() > 0 => {
                self.ending |= changed.is_err();
                Ok(())
            }
            changed = self.orders.webhook.changed(), if !self.ending => {
                self.ending |= changed.is_err();
                self.heed();
                Ok(())
            }
            Some((change, noted)) = self.orders.again.recv() => {
                self.again(change)?;
                // Who asked may have gone.
                let _ = noted.send(());
                Ok(())
            }
            () = self.orders.stop.cancelled(), if !self.ending => {
                self.ending = true;
                Ok(())
            }
            () = tokio::time::sleep_until(self.clock.instant(wake.unwrap_or_default())), if wake.is_some() => {
                if self.window.told() == self.saved { Ok(()) } else { self.save_seldom() }
            }
        }
    }

    /// When there is something to do though nothing happens.
    fn wake(&self) -> Option<Time> {
        let places = self.webhook_free() && !self.ending;
        let due = self.window.next_due().filter(|_| places).map(|due| due.max(self.quiet_until));
        let save = (self.window.told() != self.saved).then(|| after(self.saved_at, SAVE_EVERY));
        [due, save].into_iter().flatten().min()
    }

    fn webhook_free(&self) -> bool {
        self.flights.len() < self.engine.shared.options.webhooks.concurrency
    }

    /// What its maker says of it has changed: what could not be sent may go now.
    fn heed(&mut self) {
        let webhook = self.orders.webhook.borrow_and_update().clone();
        self.wanted = webhook.spec.wanted();
        let moved = webhook.spec.url != self.webhook.spec.url || webhook.spec.secrets != self.webhook.spec.secrets;
        self.webhook = webhook;
        if moved {
            self.quiet_until = Time::default();
            self.window.hasten(self.clock.now());
        }
    }

    /// Reads the next changes, if there is room for them. Whether there are more.
    async fn read(&mut self) -> Result<bool, Failure> {
        let (after, room) = (self.window.read(), self.window.room().min(READ_AT_ONCE));
        if self.ending || room == 0 || after >= *self.newest.borrow_and_update() {
            return Ok(false);
        }
        match self.engine.changes(after, room).await? {
            Ok(changes) => {
                for change in changes {
                    self.take_in(change).map_err(failures::store)?;
                }
            }
            Err(Error::RevisionGone { oldest }) => self.skip_to(oldest),
            Err(error) => return Err(failures::store(error)),
        }
        Ok(self.window.room() > 0 && self.window.read() < *self.newest.borrow())
    }

    /// The log has lost what comes next.
    fn skip_to(&mut self, oldest: u64) {
        let (first, last) = (self.window.read() + 1, oldest - 1);
        let text = format!("the changes {first} to {last} are not kept any more and were not told (watch.retention)");
        tracing::warn!(first, last, "an endpoint was away for longer than changes are kept: it is not told of these");
        self.progress.last_error = text;
        self.window.pass(last);
    }

    fn take_in(&mut self, change: Arc<Change>) -> Result<(), Error> {
        let revision = change.revision;
        if self.wanted.fits(&change) {
            self.push(change, false)?;
        }
        self.window.pass(revision);
        Ok(())
    }

    /// Takes a change in, unless it was delivered before and the last run ended before that was noted.
    fn push(&mut self, change: Arc<Change>, again: bool) -> Result<(), Error> {
        let known = again || change.revision <= self.sent;
        let before = if known { self.engine.shared.store.delivery(self.webhook.id, change.revision)? } else { None };
        let mut item = Item { change, again, failed: 0, attempts: 0, failing_since: None };
        if let Some(before) = before {
            let this_round = before.round == self.progress.round && !again;
            if this_round && before.state == DeliveryState::Delivered {
                return Ok(());
            }
            item.attempts = before.attempts;
            if this_round && before.attempted_at >= self.progress.enabled_at {
                item.failed = before.attempts;
                item.failing_since = before.failing_since.map(|since| since.max(self.progress.enabled_at));
            }
        }
        self.window.push(item, self.clock.now());
        Ok(())
    }

    /// A change that is behind its place is sent again; one that still waits goes at once.
    fn again(&mut self, change: Arc<Change>) -> Result<(), Error> {
        let revision = change.revision;
        let waits = self.window.holds(revision) || revision > self.window.read();
        if !waits && !self.progress.again.contains(&revision) {
            self.progress.again.push(revision);
            self.push(change, true)?;
        }
        self.window.hasten(self.clock.now());
        self.save()
    }

    /// Begins the attempts that are due.
    fn launch(&mut self) {
        let now = self.clock.now();
        if self.ending || now < self.quiet_until {
            return;
        }
        while self.webhook_free()
            && let Some(item) = self.window.take(now)
        {
            self.flights.push(deliver(self.engine.clone(), self.webhook.clone(), item).boxed());
        }
    }

    /// Notes what came of an attempt.
    fn settle(&mut self, mut item: Item, outcome: Outcome) -> Result<(), Error> {
        let now = self.clock.now();
        let give_up_after = self.engine.shared.options.webhooks.give_up_after;
        item.attempts += 1;
        let delivered = outcome.error.is_none();
        item.failing_since = if delivered { None } else { item.failing_since.or(Some(now)) };
        let given_up = item.failing_since.is_some_and(|first| since(now, first) >= give_up_after);
        let state = match (delivered, given_up && item.again) {
            (true, _) => DeliveryState::Delivered,
            (false, true) => DeliveryState::Failed,
            (false, false) => DeliveryState::Pending,
        };
        let row = self.row(&item, state, now, &outcome);
        self.engine.shared.store.save_delivery(self.webhook.id, &row)?;
        match outcome.error {
            None => self.delivered(&item, now),
            Some(error) => self.failed(item, error, outcome.retry_after, given_up, now),
        }
        Ok(())
    }

    fn row(&self, item: &Item, state: DeliveryState, now: Time, outcome: &Outcome) -> Delivery {
        let revision = item.change.revision;
        Delivery {
            id: DeliveryId { uuid: self.webhook.id.0, revision },
            place: revision,
            type_name: item.change.type_name().to_owned(),
            state,
            round: self.progress.round,
            attempts: item.attempts,
            http_status: outcome.http_status,
            error: outcome.error.clone().unwrap_or_default(),
            duration_ms: failures::ms(outcome.took),
            attempted_at: now,
            failing_since: item.failing_since,
        }
    }

    fn delivered(&mut self, item: &Item, now: Time) {
        if self.progress.failures >= DOWN {
            tracing::info!(failures = self.progress.failures, "an endpoint takes deliveries again");
            self.window.hasten(now);
        }
        self.progress.failures = 0;
        self.forget_again(item);
        self.window.done(item, now);
    }

    fn failed(&mut self, mut item: Item, error: String, told: Option<Duration>, given_up: bool, now: Time) {
        let revision = item.change.revision;
        self.progress.failures = self.progress.failures.saturating_add(1);
        item.failed = item.failed.saturating_add(1);
        tracing::debug!(revision, failed = item.failed, %error, "a delivery failed");
        let options = &self.engine.shared.options.webhooks;
        if let Some(told) = told {
            self.quiet_until = self.quiet_until.max(after(now, told.min(options.backoff_max)));
        }
        if given_up && item.again {
            self.forget_again(&item);
            self.window.done(&item, now);
        } else {
            let mut due = after(now, self.backoff.wait(item.failed, told));
            // The last attempt is made when its time is over, and not hours later.
            let end = after(item.failing_since.unwrap_or(now), options.give_up_after);
            if end > now {
                due = due.min(end);
            }
            let first = item.failing_since;
            self.window.failed(item, due);
            if given_up && self.window.is_oldest(revision) {
                self.disable(revision, first.unwrap_or(now), &error);
            }
        }
        self.progress.last_error = error;
    }

    fn disable(&mut self, revision: u64, first: Time, error: &str) {
        let reason = format!("the change {revision} could not be delivered since {}: {error}", send::rfc3339(first));
        tracing::warn!(%reason, "an endpoint is disabled");
        self.progress.state = WebhookState::Disabled;
        self.progress.disabled_reason = reason;
        self.ending = true;
    }

    fn forget_again(&mut self, item: &Item) {
        if item.again {
            self.progress.again.retain(|revision| *revision != item.change.revision);
        }
    }

    fn save_seldom(&mut self) -> Result<(), Error> {
        if since(self.clock.now(), self.saved_at) < SAVE_EVERY { Ok(()) } else { self.save() }
    }

    fn save(&mut self) -> Result<(), Error> {
        self.saved = self.window.told();
        self.saved_at = self.clock.now();
        self.progress.delivered = self.saved;
        let retry = if self.ending { None } else { self.window.next_retry() };
        self.progress.next_attempt_at = retry.map(|at| at.max(self.quiet_until));
        self.engine.shared.store.save_progress(Some(self.webhook.id), &self.progress)
    }
}

/// Sends a change to an endpoint once.
async fn deliver(engine: Engine, webhook: Arc<Webhook>, item: Item) -> (Item, Outcome) {
    let options = &engine.shared.options.webhooks;
    let change = &item.change;
    let turn = match webhook.spec.payload {
        Payload::Full => turn_of(&engine, change).await,
        Payload::Thin => None,
    };
    let parcel = Parcel {
        id: DeliveryId { uuid: webhook.id.0, revision: change.revision },
        url: webhook.spec.url.clone(),
        told_at: change.at,
        body: send::body(change.type_name(), change.at, &(options.render)(change, turn.as_ref())),
        secrets: webhook.spec.secrets.clone(),
    };
    let outcome = send::attempt(engine.shared.tools.http.client(), options.timeout, parcel).await;
    (item, outcome)
}

/// The turn of a change as it is now; `None`: there is none, or it was deleted.
async fn turn_of(engine: &Engine, change: &Change) -> Option<Turn> {
    match change.kind {
        // The store knows of its end a moment before those who run it do.
        ChangeKind::TurnEnded | ChangeKind::VersionCreated => {
            engine.shared.ended(change.turn_id).await.ok().flatten().map(|ended| ended.turn)
        }
        ChangeKind::TurnQueued | ChangeKind::TurnStarted | ChangeKind::TurnRequeued => {
            engine.turn(change.turn_id).await.ok()
        }
        ChangeKind::VersionDeleted | ChangeKind::BatchEnded => None,
    }
}
