//! The models that the configuration says nothing of, as they were asked for.
//!
//! Callers name models as they like, and a guard must not be forgotten for that: its limits would be, too. So many targets are
//! kept. Beyond that those go that nobody uses and whose guard loses least: first where it is at rest, then of models that
//! never answered, as made-up ones don't; and of these the longest unused. A quarter goes at a time, so that a flood of names
//! costs each of them little.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::models::Target;

/// A few MB, more than any provider has models.
const KEPT: usize = 4096;

#[derive(Default)]
pub(super) struct Targets {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    by_name: HashMap<String, Row>,
    /// How often a target was asked for.
    clock: u64,
    /// When there are as many, some go.
    sweep_at: usize,
}

struct Row {
    target: Arc<Target>,
    /// When it was last asked for.
    used: u64,
}

impl Targets {
    /// The target of this name, the same for all who use it at a time. `build` makes it and must not ask for another.
    pub(super) fn get(&self, name: &str, build: impl FnOnce() -> Target) -> Arc<Target> {
        // Each change is whole before anything can panic.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clock += 1;
        let used = kept.clock;
        if let Some(row) = kept.by_name.get_mut(name) {
            row.used = used;
            return row.target.clone();
        }
        if kept.by_name.len() >= kept.sweep_at.max(KEPT) {
            kept.sweep();
        }
        let target = Arc::new(build());
        kept.by_name.insert(name.to_owned(), Row { target: target.clone(), used });
        target
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).by_name.len()
    }
}

impl Kept {
    fn sweep(&mut self) {
        // Whoever has a target got it under the lock that is held: one that only the map has stays unused.
        let unused = self.by_name.iter().filter(|(_, row)| Arc::strong_count(&row.target) == 1);
        let mut unused: Vec<_> = unused.map(|(name, row)| (row.target.guard.holds(), row.used, name.clone())).collect();
        unused.sort_unstable();
        for (_, _, name) in unused.iter().take(KEPT / 4) {
            self.by_name.remove(name);
        }
        self.sweep_at = self.by_name.len() + KEPT / 4;
    }
}
