//! Who may write where: commits to one branch take turns, a delete has its tree for itself, and changes of agents take turns.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use uuid::Uuid;

/// Locks are shared by ids that fall on the same shard. Enough that two of a few hundred commits rarely meet.
const SHARDS: usize = 256;

/// The locks of a store.
#[derive(Debug)]
pub(super) struct Locks {
    trees: Vec<RwLock<()>>,
    branches: Vec<Mutex<()>>,
    agents: Mutex<()>,
}

fn shard(id: Uuid) -> usize {
    // The last byte of a UUIDv7 is random.
    usize::from(id.as_bytes()[15]) % SHARDS
}

impl Locks {
    pub(super) fn new() -> Locks {
        Locks {
            trees: (0..SHARDS).map(|_| RwLock::new(())).collect(),
            branches: (0..SHARDS).map(|_| Mutex::new(())).collect(),
            agents: Mutex::new(()),
        }
    }

    /// Keeps deletes out of a tree. Waits without blocking, for a delete may take seconds.
    pub(super) async fn keep(&self, root: Uuid) -> RwLockReadGuard<'_, ()> {
        self.trees[shard(root)].read().await
    }

    /// Keeps everybody else out of a tree. Blocks.
    pub(super) fn clear(&self, root: Uuid) -> RwLockWriteGuard<'_, ()> {
        self.trees[shard(root)].blocking_write()
    }

    /// Keeps other commits off a branch: for "read its end, write behind it", microseconds.
    pub(super) fn branch(&self, branch: Uuid) -> MutexGuard<'_, ()> {
        // What it guards is on disk and valid at every step, whoever panicked.
        self.branches[shard(branch)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps other writers off all agents: they are few and change seldom.
    pub(super) fn agents(&self) -> MutexGuard<'_, ()> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
