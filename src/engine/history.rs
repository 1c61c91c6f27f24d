//! What a turn runs on: a version's history in the provider's words, kept in a bounded cache. The store is the truth; the
//! cache may be dropped at any time.

use std::sync::Arc;

use moka::sync::Cache;
use tokio::sync::Semaphore;

use super::{
    Shared, failures,
    request::{Base, TurnRequest},
};
use crate::{
    domain::{
        Body, ConversationId, Entry, EntryId, Failure, Reason,
        sequence::{self, Ending},
    },
    store::Stored,
    upstream::Transcript,
};

/// A history, ready to be sent.
#[derive(Clone)]
pub(super) struct History {
    pub(super) transcript: Transcript,
    pub(super) ending: Ending,
}

/// A version or a part of its history, on which a turn runs.
pub(super) struct Ground {
    /// The version; `None` for Start.
    pub(super) parent: Option<Stored>,
    /// How many of its entries are kept.
    pub(super) kept: u64,
    /// The calls that wait for results.
    pub(super) pending: Vec<String>,
    /// The history; `None` if no model will be asked.
    pub(super) history: Option<History>,
    /// The last entry of the history.
    pub(super) last_entry: Option<EntryId>,
}

/// Histories by version, and the threads that load those that are not here.
pub(super) struct Histories {
    cache: Cache<ConversationId, History>,
    loads: Semaphore,
}

/// Loads block on the disk. More at once would not make it faster and would take the threads that others wait for.
const LOADS_AT_ONCE: usize = 8;

impl Histories {
    pub(super) fn new(max_bytes: u64) -> Histories {
        let weigh = |_: &ConversationId, history: &History| {
            // 256 bytes for the key and the bookkeeping.
            u32::try_from(history.transcript.size_bytes() + 256).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder().max_capacity(max_bytes).weigher(weigh).build();
        Histories { cache, loads: Semaphore::new(LOADS_AT_ONCE) }
    }

    /// Keeps the history of a version that was just made.
    pub(super) fn keep(&self, id: ConversationId, history: History) {
        self.cache.insert(id, history);
    }

    /// Forgets a version.
    pub(super) fn forget(&self, id: ConversationId) {
        self.cache.invalidate(&id);
    }
}

impl Shared {
    /// Finds what a request runs on.
    pub(super) async fn ground(self: &Arc<Shared>, request: &TurnRequest) -> Result<Ground, Failure> {
        match &request.base {
            Base::Start => self.nothing(request.skip_completion),
            Base::Append { conversation_id, require_head } => {
                let parent = self.find(*conversation_id)?;
                if *require_head && !self.store.is_head(&parent).map_err(failures::store)? {
                    let heads = self.store.heads_below(&parent, 16).map_err(failures::store)?;
                    return Err(failures::head_moved(&heads));
                }
                self.whole(parent, request.skip_completion).await
            }
            Base::Restart { conversation_id, from_entry_id, keep_entry } => {
                let parent = self.find(*conversation_id)?;
                let (id, keep) = (*from_entry_id, *keep_entry);
                let skip = request.skip_completion;
                let shared = self.clone();
                self.blocking(move || shared.part(parent, id, keep, skip)).await?
            }
        }
    }

    /// Runs something that may wait for the disk where it holds up nobody else.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        // The semaphore is never closed.
        let _permit = self.histories.loads.acquire().await;
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|_| Failure::new(Reason::Internal, "a read of the store panicked; the log says where"))
    }

    pub(super) fn find(&self, id: ConversationId) -> Result<Stored, Failure> {
        let found = self.store.version(id).map_err(failures::store)?;
        found.ok_or_else(|| failures::no_conversation(id))
    }

    fn nothing(&self, skip: bool) -> Result<Ground, Failure> {
        let history = match skip {
            true => None,
            false => Some(History { transcript: self.provider.encode(&[])?, ending: Ending::Answered }),
        };
        Ok(Ground { parent: None, kept: 0, pending: Vec::new(), history, last_entry: None })
    }

    async fn whole(self: &Arc<Shared>, parent: Stored, skip: bool) -> Result<Ground, Failure> {
        let history = if skip { None } else { Some(self.history(&parent).await?) };
        let version = &parent.version;
        Ok(Ground {
            kept: version.entry_count,
            pending: version.pending_calls.clone(),
            history,
            last_entry: version.last_entry,
            parent: Some(parent),
        })
    }

    async fn history(self: &Arc<Shared>, of: &Stored) -> Result<History, Failure> {
        let id = of.version.id;
        if let Some(history) = self.histories.cache.get(&id) {
            return Ok(history);
        }
        let (shared, of) = (self.clone(), of.clone());
        let history = self.blocking(move || shared.load(&of, of.version.entry_count)).await??.1;
        self.histories.keep(id, history.clone());
        Ok(history)
    }

    fn load(&self, of: &Stored, keep: u64) -> Result<(Vec<Arc<Entry>>, History), Failure> {
        let entries = self.store.history(of, keep).map_err(failures::store)?;
        let ending = sequence::ending(last_body(&entries));
        let history = History { transcript: self.provider.encode(&entries)?, ending };
        Ok((entries, history))
    }

    /// The history of a version up to an entry.
    fn part(&self, parent: Stored, id: EntryId, keep_entry: bool, skip: bool) -> Result<Ground, Failure> {
        let found = self.store.find_entry(&parent, id).map_err(failures::store)?;
        let index = found.ok_or_else(|| failures::no_entry(id, parent.version.id))?;
        let kept = index + u64::from(keep_entry);
        let (entries, history) = self.load(&parent, kept)?;
        Ok(Ground {
            kept,
            pending: sequence::pending_calls(entries.iter().map(AsRef::as_ref)),
            history: (!skip).then_some(history),
            last_entry: entries.last().map(|entry| entry.id),
            parent: Some(parent),
        })
    }
}

fn last_body(entries: &[Arc<Entry>]) -> Option<&Body> {
    entries.last().map(|entry| &entry.body)
}
