//! What a turn runs on: a version's history in the provider's words, kept in a bounded cache. The store is the truth; the
//! cache may be dropped at any time.

use std::sync::Arc;

use moka::sync::Cache;
use tokio::sync::Semaphore;

use super::{Shared, decide, failures, lead::Lead, models::Target};
use crate::{
    domain::{
        Body, ConversationId, Entry, EntryId, Failure, Reason, Spend,
        entry::FunctionCall,
        request::{Base, TurnRequest},
        sequence::{self, Ending},
    },
    store::Stored,
    upstream::{Form, Provider, Transcript, estimate::weigh},
};

/// A history, ready to be sent.
#[derive(Clone)]
pub(super) struct History {
    pub(super) transcript: Transcript,
    pub(super) ending: Ending,
    /// Of text, as tokens are estimated from it.
    pub(super) bytes: u64,
}

/// A version or a part of its history, on which a turn runs.
pub(super) struct Ground {
    /// The version; `None` for Start.
    pub(super) parent: Option<Stored>,
    /// How many of its entries are kept.
    pub(super) kept: u64,
    /// The calls that wait for results or consent.
    pub(super) pending: Vec<String>,
    /// They themselves, if the request does not answer all of them.
    pub(super) waiting: Vec<FunctionCall>,
    /// The history; `None` if no model will be asked.
    pub(super) history: Option<History>,
    /// The last entry of the history.
    pub(super) last_entry: Option<EntryId>,
    /// What the turns of the history used.
    pub(super) spend: Spend,
}

/// Histories by version, and the threads that load those that are not here.
pub(super) struct Histories {
    cache: Cache<ConversationId, History>,
    loads: Semaphore,
}

/// Loads block on the disk. More at once would not make it faster and would take the threads that others wait for.
const LOADS_AT_ONCE: usize = 8;

/// Entries looked at together for calls that wait.
const READ_AT_ONCE: u64 = 64;

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
    /// Finds what a request runs on, who leads it, and the model that it asks, if it asks one.
    pub(super) async fn ground(
        self: &Arc<Shared>,
        request: &TurnRequest,
    ) -> Result<(Ground, Lead, Option<Arc<Target>>), Failure> {
        let parent = match &request.base {
            Base::Start => None,
            Base::Append { conversation_id, .. } | Base::Restart { conversation_id, .. } => {
                Some(self.find(*conversation_id)?)
            }
        };
        let asks = !request.skip_completion;
        let inherited = parent.as_ref().map(|parent| &parent.version.settings);
        let lead = self.lead_of(inherited, request.overrides.clone(), asks)?;
        if asks {
            self.check_tools(&lead.settings.tools).await?;
        }
        let target = asks.then(|| self.models.target(&lead.settings.model));
        let form = Lead::form(&lead.settings);
        let mut ground = match (&request.base, parent) {
            (Base::Append { require_head, .. }, Some(parent)) => {
                if *require_head && !self.store.is_head(&parent).map_err(failures::store)? {
                    let heads = self.store.heads_below(&parent, 16).map_err(failures::store)?;
                    return Err(failures::head_moved(&heads));
                }
                self.whole(parent, target.as_deref(), form).await?
            }
            (Base::Restart { from_entry_id, keep_entry, .. }, Some(parent)) => {
                let (id, keep) = (*from_entry_id, *keep_entry);
                let (shared, target) = (self.clone(), target.clone());
                let part =
                    move || shared.part(parent, (id, keep), target.as_ref().map(|target| &target.provider), form);
                self.blocking(part).await??
            }
            (Base::Start | Base::Append { .. } | Base::Restart { .. }, _) => self.nothing(target.as_deref(), form)?,
        };
        let answered = decide::results(&request.inputs);
        if ground.pending.iter().any(|id| !answered.contains(id.as_str())) {
            ground.waiting = self.waiting(&ground).await?;
        }
        Ok((ground, lead, target))
    }

    /// The calls that wait, as they stand in the history: as a rule at its end.
    async fn waiting(self: &Arc<Shared>, ground: &Ground) -> Result<Vec<FunctionCall>, Failure> {
        let Some(parent) = ground.parent.clone() else { return Ok(Vec::new()) };
        let (shared, mut end, pending) = (self.clone(), ground.kept, ground.pending.clone());
        let find = move || {
            let mut found: Vec<FunctionCall> = Vec::new();
            while end > 0 && found.len() < pending.len() {
                let begin = end.saturating_sub(READ_AT_ONCE);
                let entries = shared.store.entries(&parent, begin..end, usize::MAX).map_err(failures::store)?;
                for entry in entries.iter().rev() {
                    let Body::FunctionCall(call) = &entry.body else { continue };
                    // A caller's id may come again after its call was answered: the newest is the one that waits.
                    let is_found = found.iter().any(|newer| newer.tool_call_id == call.tool_call_id);
                    if !is_found && pending.contains(&call.tool_call_id) {
                        found.push(call.clone());
                    }
                }
                end = begin;
            }
            found.reverse();
            Ok(found)
        };
        self.blocking(find).await?
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

    fn nothing(&self, asked: Option<&Target>, form: Form) -> Result<Ground, Failure> {
        let encode = |target: &Target| {
            Ok(History { transcript: target.provider.encode_for(form, &[])?, ending: Ending::Answered, bytes: 0 })
        };
        let history = asked.map(encode).transpose()?;
        Ok(Ground {
            parent: None,
            kept: 0,
            pending: Vec::new(),
            waiting: Vec::new(),
            history,
            last_entry: None,
            spend: Spend::default(),
        })
    }

    async fn whole(self: &Arc<Shared>, parent: Stored, asked: Option<&Target>, form: Form) -> Result<Ground, Failure> {
        let history = match asked {
            Some(target) => Some(self.history(&parent, target, form).await?),
            None => None,
        };
        let version = &parent.version;
        Ok(Ground {
            kept: version.entry_count,
            pending: version.pending_calls.clone(),
            waiting: Vec::new(),
            history,
            last_entry: version.last_entry,
            spend: version.spend.clone(),
            parent: Some(parent),
        })
    }

    async fn history(self: &Arc<Shared>, of: &Stored, target: &Target, form: Form) -> Result<History, Failure> {
        let id = of.version.id;
        let known = self.histories.cache.get(&id);
        if let Some(history) = known.filter(|known| known.transcript.is_for(&target.provider, form)) {
            return Ok(history);
        }
        let (shared, of, provider) = (self.clone(), of.clone(), target.provider.clone());
        let load = move || {
            let entries = shared.store.history(&of, of.version.entry_count).map_err(failures::store)?;
            encode(&provider, form, &entries)
        };
        let history = self.blocking(load).await??;
        self.histories.keep(id, history.clone());
        Ok(history)
    }

    /// The history of a version up to an entry.
    fn part(
        &self,
        parent: Stored,
        (id, keep_entry): (EntryId, bool),
        provider: Option<&Provider>,
        form: Form,
    ) -> Result<Ground, Failure> {
        let found = self.store.find_entry(&parent, id).map_err(failures::store)?;
        let index = found.ok_or_else(|| failures::no_entry(id, parent.version.id))?;
        let kept = index + u64::from(keep_entry);
        let entries = self.store.history(&parent, kept).map_err(failures::store)?;
        Ok(Ground {
            kept,
            pending: sequence::pending_calls(entries.iter().map(AsRef::as_ref)),
            waiting: Vec::new(),
            history: provider.map(|provider| encode(provider, form, &entries)).transpose()?,
            last_entry: entries.last().map(|entry| entry.id),
            spend: self.store.spend_at(&parent, kept).map_err(failures::store)?,
            parent: Some(parent),
        })
    }
}

fn encode(provider: &Provider, form: Form, entries: &[Arc<Entry>]) -> Result<History, Failure> {
    let ending = sequence::ending(last_body(entries));
    Ok(History { transcript: provider.encode_for(form, entries)?, ending, bytes: weigh(entries).iter().sum() })
}

fn last_body(entries: &[Arc<Entry>]) -> Option<&Body> {
    entries.last().map(|entry| &entry.body)
}
