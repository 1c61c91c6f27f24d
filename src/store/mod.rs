//! The store: versions, their entries, turns and event logs, turns that are still to be run, agents, the log of changes, who is told of
//! them, and the indexes to find them by. Each operation is typed and narrow, and each write is atomic and durable when it returns.
//!
//! A tree of versions is kept as **branches**: append-only runs of turns. A version is a place in a branch; its history is what
//! its branch grew out of, then the branch up to it. Appending to a branch's end extends it, appending anywhere else opens a
//! new branch that shares what came before. An ordinary append is two rows, its turn and its version; see `keys`.
//!
//! Reads block for as long as the disk takes: the caller chooses the thread. Writes wait without blocking for a sync that they
//! share. A row without its version's row does not exist: that is what a crash in the middle of a commit leaves behind.
//!
//! Knows the domain and nothing else of ours. Invents neither ids nor times. Only `disk` knows which engine is below.

mod agents;
mod batches;
mod changes;
mod commit;
#[cfg(test)]
mod crash_tests;
mod declare_agents;
mod delete;
mod delete_agents;
mod disk;
mod error;
mod expire;
mod flush;
mod history;
mod jobs;
mod journal;
mod keys;
mod ledger;
mod list;
mod list_agents;
mod list_turns;
mod locks;
mod open;
mod record;
mod tree;
mod webhooks;
mod witness;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::watch;
use uuid::Uuid;

pub use self::{
    agents::{AgentChange, AgentError, NewAgent},
    batches::{Begun, NewItem, Taken},
    commit::Ending,
    error::{Error, OpenError},
    flush::Health,
    jobs::JobEnd,
    journal::Journaled,
    ledger::{Account, Charge, Spent},
    list::{Page, Query},
    list_agents::{AgentCursor, AgentPage, AgentQuery, Room},
    list_turns::{JobHead, Stretch, TurnQuery},
    tree::{TreeCursor, TreePage},
    webhooks::{DeliveryCursor, DeliveryPage, WebhookPage},
};
use self::{batches::Batches, changes::Log, disk::Disk, flush::Flusher, locks::Locks};
use crate::domain::{Agent, ConversationId, Entry, Event, Settings, Time, Turn, Version};

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its directory; made if it is missing.
    pub path: PathBuf,
    /// Memory for rows that were read, in bytes. The process takes up to half as much again.
    pub cache_bytes: u64,
    /// Acknowledge a write only when it is on disk. False is for measurements: a killed process may lose the last half second,
    /// a machine that crashes more.
    pub sync: bool,
    /// Below so many bytes of free space new turns are refused, so that running ones can be finished.
    pub min_free_bytes: u64,
}

impl Options {
    /// A durable store in this directory with a cache of 256 MiB and a floor of 256 MiB.
    pub fn new(path: impl Into<PathBuf>) -> Options {
        Options { path: path.into(), cache_bytes: 256 << 20, sync: true, min_free_bytes: 256 << 20 }
    }
}

/// An open store. Clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    disk: Arc<Disk>,
    flusher: Flusher,
    log: Arc<Log>,
    batches: Arc<Batches>,
    locks: Locks,
    /// By the version that introduced them, with their size in bytes.
    settings: moka::sync::Cache<Uuid, (Arc<Settings>, u32)>,
    /// By agent and version, with their size in bytes. One whose revision is not its head's is stale.
    agents: moka::sync::Cache<(Uuid, u32), (Arc<Agent>, u32)>,
    tag_key: [u8; 16],
    commits: AtomicU64,
}

/// A version as it is stored. Knows its place, so that what is asked about it needs no search.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// The version.
    pub version: Version,
    place: Place,
}

/// Where a version lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// Its branch.
    branch: Uuid,
    /// Its turn within the branch, from 0.
    seq: u32,
    /// The number of branches that its branch grew out of.
    depth: u32,
    /// The version that introduced its settings.
    settings: Uuid,
}

/// A turn that made a version.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The new version: its id is the turn's, `entry_count` is `kept` and the new entries.
    pub version: Version,
    /// The version that it was made from, as the store gave it; `None` for a new tree.
    pub parent: Option<Stored>,
    /// How many entries of the parent's history it keeps. A restart keeps fewer than all.
    pub kept: u64,
    /// What was put in.
    pub inputs: Vec<Arc<Entry>>,
    /// The turn with its outputs, in its last state.
    pub turn: Turn,
    /// The whole event log.
    pub events: Vec<Event>,
    /// The request that asked for it (`Turn::request_id`) and its fingerprint, if it can be repeated.
    pub request: Option<(String, [u8; 16])>,
    /// Only if the parent has no successor.
    pub require_head: bool,
    /// What it spends of budgets, settled with it.
    pub charges: Vec<Charge>,
    /// It was journaled; what was written of it then goes.
    pub journaled: bool,
    /// The job that the turn was, if it outlived its call; its rows go.
    pub job: Option<JobEnd>,
    /// When it is written, which the log of changes says.
    pub at: Time,
    /// Told of the turn's end.
    pub callback_url: Option<String>,
    /// When the tree goes by itself. Only of a first turn.
    pub expires_at: Option<Time>,
}

/// A turn that has ended, as it was committed.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// The turn with its outputs.
    pub turn: Turn,
    /// What was put in.
    pub inputs: Vec<Arc<Entry>>,
    /// The whole event log.
    pub events: Vec<Event>,
    /// Of the request that asked for it (`Turn::request_id`), if it can be repeated.
    pub request_fingerprint: Option<[u8; 16]>,
    /// How many entries of its parent's history it ran on.
    pub kept: u64,
}

/// What the store has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Turns written.
    pub commits: u64,
    /// Syncs of the disk.
    pub syncs: u64,
    /// Bytes of its files.
    pub disk_bytes: u64,
}

impl Store {
    /// Opens the store of a directory, or makes one. Blocks: recovery takes about 2 s per GB that was written since the last
    /// open.
    ///
    /// # Errors
    ///
    /// [`OpenError::InUse`] while another process has it, [`OpenError::Damaged`] if it can't be read,
    /// [`OpenError::Format`] if another release wrote it.
    pub fn open(options: &Options) -> Result<Store, OpenError> {
        Ok(Store { inner: Arc::new(open::open(options)?) })
    }

    /// A secret that was made with the store and stays the same.
    pub fn tag_key(&self) -> [u8; 16] {
        self.inner.tag_key
    }

    /// Whether a new turn may start.
    ///
    /// # Errors
    ///
    /// [`Error::LowSpace`] and [`Error::Failed`].
    pub fn accepts_turns(&self) -> Result<(), Error> {
        self.inner.flusher.writable()?;
        match *self.inner.flusher.health().borrow() {
            Health::LowSpace { free_bytes, floor_bytes } => Err(Error::LowSpace { free_bytes, floor_bytes }),
            Health::Healthy | Health::Failed => Ok(()),
        }
    }

    /// How the store is, and every change of it.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.inner.flusher.health()
    }

    /// What it has done since it was opened. Reads the directory.
    pub fn stats(&self) -> Stats {
        Stats {
            commits: self.inner.commits.load(Ordering::Relaxed),
            syncs: self.inner.flusher.flushes(),
            disk_bytes: self.inner.disk.disk_bytes().unwrap_or(0),
        }
    }

    /// Makes everything durable and refuses further writes. Blocks. The directory is free for another process when the last
    /// clone is gone, too.
    pub fn close(self) {
        self.inner.close();
    }
}

impl Inner {
    /// Does nothing more the second time.
    fn close(&self) {
        // The thread has a part in the disk, whose lock must be free when the last clone is gone.
        self.flusher.stop();
        if let Err(error) = self.flusher.flush(&self.disk) {
            tracing::error!(%error, "the store was left without a last flush; what was acknowledged is safe");
            self.disk.abandon();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl Stored {
    /// Its id.
    pub fn id(&self) -> ConversationId {
        self.version.id
    }
}
