//! Turns that wait, first come, first served.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::Notify;

/// The turns that wait. Only the first may go; it is woken when that may have become possible.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Waiter>,
    next: u64,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    tokens: u64,
    wake: Arc<Notify>,
}

/// What stands before a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ahead {
    pub(super) turns: usize,
    pub(super) tokens: u64,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// What stands before a turn that comes now.
    pub(super) fn all(&self) -> Ahead {
        self.before(self.waiting.len())
    }

    /// What stands before the turn of this number.
    pub(super) fn ahead(&self, number: u64) -> Ahead {
        self.before(self.waiting.partition_point(|waiter| waiter.number < number))
    }

    pub(super) fn push(&mut self, tokens: u64) -> (u64, Arc<Notify>) {
        let (number, wake) = (self.next, Arc::new(Notify::new()));
        self.next += 1;
        self.waiting.push_back(Waiter { number, tokens, wake: wake.clone() });
        (number, wake)
    }

    /// The turn goes, or gives up. Without effect if it is not there. Whoever is first then is woken.
    pub(super) fn remove(&mut self, number: u64) {
        if let Ok(at) = self.waiting.binary_search_by_key(&number, |waiter| waiter.number) {
            self.waiting.remove(at);
            if at == 0 {
                self.wake_first();
            }
        }
    }

    /// The first may go, perhaps.
    pub(super) fn wake_first(&self) {
        if let Some(first) = self.waiting.front() {
            first.wake.notify_one();
        }
    }

    /// What they wait for moved away: some may be sure now that they come too late.
    pub(super) fn wake_all(&self) {
        for waiter in &self.waiting {
            waiter.wake.notify_one();
        }
    }

    fn before(&self, turns: usize) -> Ahead {
        let tokens = self.waiting.iter().take(turns).fold(0u64, |sum, waiter| sum.saturating_add(waiter.tokens));
        Ahead { turns, tokens }
    }
}
