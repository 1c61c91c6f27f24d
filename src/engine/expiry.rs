//! Trees that go by themselves: when, and who deletes them.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use tokio::sync::Notify;

use super::{Engine, Shared, failures, ids, plan::Plan, read::ConversationRow};
use crate::{
    domain::{
        ConversationId, Failure, Time,
        request::{Expiry, TurnRequest},
    },
    store,
};

/// Trees that are looked for at a time.
const AT_ONCE: usize = 256;
/// Trees that are deleted at a time: enough that they share their syncs.
const SIDE_BY_SIDE: usize = 16;
/// The sweeper looks again after so long, whatever it waits for: somebody may set the clock.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// And after so long, if a tree could not be deleted.
const AFTER_A_FAILURE: Duration = Duration::from_secs(5);

/// When the sweeper looks next, and what makes it look earlier.
#[derive(Debug)]
pub(super) struct Sweeper {
    earlier: Notify,
    /// µs since 1970. While it looks: the end of time, so that whatever is new then is not missed.
    looks_at: AtomicI64,
}

impl Sweeper {
    pub(super) fn new() -> Sweeper {
        Sweeper { earlier: Notify::new(), looks_at: AtomicI64::new(i64::MAX) }
    }

    /// A tree goes then; it is written already.
    pub(super) fn tell(&self, expires_at: Option<Time>) {
        if expires_at.is_some_and(|at| at.unix_us < self.looks_at.load(Ordering::SeqCst)) {
            self.earlier.notify_one();
        }
    }

    async fn rest(&self, rest: Duration) {
        let us = i64::try_from(rest.as_micros()).unwrap_or(i64::MAX);
        self.looks_at.store(ids::now().unix_us.saturating_add(us), Ordering::SeqCst);
        let _ = tokio::time::timeout(rest, self.earlier.notified()).await;
        self.looks_at.store(i64::MAX, Ordering::SeqCst);
    }
}

impl Engine {
    /// Says when the tree of a version goes by itself; `None`: never. Gives its first version.
    pub async fn set_expiry(&self, of: ConversationId, expiry: Option<Expiry>) -> Result<ConversationRow, Failure> {
        let root = self.root(of).await?;
        let first = self.conversation(root).await?;
        let expires_at = expiry.map(|expiry| expiry.from(ids::now()));
        self.shared.store.set_expiry(root, expires_at).await.map_err(|error| match error {
            store::Error::NotFound => failures::no_conversation(of),
            error => failures::store(error),
        })?;
        self.shared.sweeper.tell(expires_at);
        Ok(ConversationRow { expires_at, ..first })
    }

    /// Deletes the trees whose time has come, now and for ever. Never returns.
    pub async fn sweep(&self) {
        loop {
            let rest = match self.sweep_once().await {
                Ok(next) => next.map_or(LONGEST_REST, until),
                Err(failure) => {
                    tracing::warn!(reason = ?failure.reason, "a tree whose time has come could not be deleted");
                    AFTER_A_FAILURE
                }
            };
            self.shared.sweeper.rest(rest).await;
        }
    }

    /// Deletes what is due, and says when the next one is.
    async fn sweep_once(&self) -> Result<Option<Time>, Failure> {
        loop {
            let now = ids::now();
            let shared = self.shared.clone();
            let due = self.shared.blocking(move || shared.store.expired(now, AT_ONCE)).await?;
            let due = due.map_err(failures::store)?;
            let all = due.len() < AT_ONCE;
            let deleted = stream::iter(due).map(|root| self.shared.expire(root)).buffer_unordered(SIDE_BY_SIDE);
            deleted.fold(Ok(()), async |so_far: Result<(), Failure>, one| so_far.and(one)).await?;
            if all {
                break;
            }
        }
        let shared = self.shared.clone();
        self.shared.blocking(move || shared.store.next_expiry()).await?.map_err(failures::store)
    }
}

/// From now to a moment, or to the sweeper's next look.
fn until(next: Time) -> Duration {
    let us = next.unix_us.saturating_sub(ids::now().unix_us);
    // A timer counts milliseconds; one that is early would be set again and again.
    let left = Duration::from_micros(u64::try_from(us).unwrap_or(0)) + Duration::from_millis(1);
    left.min(LONGEST_REST)
}

impl Shared {
    async fn expire(&self, root: ConversationId) -> Result<(), Failure> {
        match self.store.delete_due(root, ids::now()).await {
            Ok(versions) => {
                self.histories.forget(root);
                self.budgets.forget(root);
                tracing::info!(conversation = %root, deleted = versions, "deleted, as its time had come");
                Ok(())
            }
            // Somebody else deleted it, or gave it more time.
            Err(store::Error::NotFound) => Ok(()),
            Err(error) => Err(failures::store(error)),
        }
    }

    /// When the tree goes that a turn begins. A turn of a tree that is there changes nothing.
    pub(super) fn expires_at(&self, plan: &Plan) -> Option<Time> {
        if plan.parent.is_some() {
            return None;
        }
        let ttl = self.options.conversation_ttl;
        let expiry = plan.expiry.or_else(|| Some(Expiry::After { ms: u64::try_from(ttl?.as_millis()).ok()? }));
        expiry.map(|expiry| expiry.from(Time::of_uuid(plan.id.0)))
    }
}

/// A tree can't begin after its end. Said when the turn is accepted, not when it is run.
pub(super) fn check(request: &TurnRequest) -> Result<(), Failure> {
    match request.expiry {
        Some(Expiry::At(time)) if time <= ids::now() => {
            let text = "must lie ahead: the conversation would be deleted as soon as it begins";
            Err(Failure::invalid_field("expire_time", text))
        }
        Some(Expiry::At(_) | Expiry::After { .. }) | None => Ok(()),
    }
}
