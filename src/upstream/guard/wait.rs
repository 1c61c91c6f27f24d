//! A turn in the queue.

use std::{pin::pin, sync::Arc};

use tokio::{
    select,
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{
    Ask, Limit, Permit, Refused, Shared,
    slots::Slot,
    state::{Look, State},
};

/// A turn's place in the queue; left when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) shared: Arc<Shared>,
    pub(super) ask: Ask,
    pub(super) number: u64,
    pub(super) wake: Arc<Notify>,
}

impl Place {
    /// Until it goes, or can't.
    pub(super) async fn wait(self) -> Result<Permit, Refused> {
        loop {
            let limit = match self.look() {
                Look::Refused(refused) => return Err(refused),
                Look::Wait { limit, until } => {
                    self.rest(until.unwrap_or(self.ask.deadline)).await;
                    // A turn whose time came together with its deadline still goes.
                    if !self.is_late() || !matches!(self.look(), Look::Wait { .. }) {
                        continue;
                    }
                    limit
                }
                Look::Fits => {
                    if let Some(slot) = self.slot().await
                        && let Some(permit) = self.go(slot)
                    {
                        return Ok(permit);
                    }
                    if !self.is_late() {
                        continue;
                    }
                    Limit::Concurrency
                }
            };
            return Err(self.too_late(limit));
        }
    }

    /// Until then, the deadline, or until it is woken.
    async fn rest(&self, until: Instant) {
        select! {
            () = self.wake.notified() => {}
            () = sleep_until(until.min(self.ask.deadline)) => {}
        }
    }

    fn look(&self) -> Look {
        let mut state = self.shared.lock();
        self.look_at(&mut state, Instant::now())
    }

    fn look_at(&self, state: &mut State, now: Instant) -> Look {
        let ahead = state.queue(self.ask.metered).ahead(self.number);
        match state.look(&self.ask, ahead, now) {
            Look::Fits if ahead.turns > 0 => Look::Wait { limit: Limit::Concurrency, until: None },
            look => look,
        }
    }

    /// A slot; `None` if the deadline passes or something else stands in the way meanwhile.
    async fn slot(&self) -> Option<Slot> {
        let mut slot = pin!(self.shared.slots.clone().take());
        loop {
            select! {
                biased;
                slot = &mut slot => return Some(slot),
                () = self.wake.notified() => if !matches!(self.look(), Look::Fits) { return None },
                () = sleep_until(self.ask.deadline) => return None,
            }
        }
    }

    /// Goes, unless things have changed while it waited for the slot.
    fn go(&self, slot: Slot) -> Option<Permit> {
        let mut state = self.shared.lock();
        let now = Instant::now();
        if !matches!(self.look_at(&mut state, now), Look::Fits) {
            return None;
        }
        let went = state.go(&self.ask, now);
        state.queue(self.ask.metered).remove(self.number);
        Some(Permit::new(self.shared.clone(), went, slot))
    }

    fn is_late(&self) -> bool {
        Instant::now() >= self.ask.deadline
    }

    fn too_late(&self, limit: Limit) -> Refused {
        let mut state = self.shared.lock();
        let ahead = state.queue(self.ask.metered).ahead(self.number);
        let (limit, retry_in) = self.shared.when(&mut state, &self.ask, ahead, limit, Instant::now());
        Refused::TooLate { limit, retry_in }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.lock().queue(self.ask.metered).remove(self.number);
    }
}
