//! Two turns on one conversation, and what the caller wants of them.

use std::hash::BuildHasher;

use tokio::sync::MutexGuard;

use super::*;
use crate::domain::request::TurnRequest;

/// What became of the turns that were in flight.
#[derive(Default)]
pub(in crate::engine) struct Conflict {
    /// The turn that the new one waits for, or whose place it takes.
    pub(in crate::engine) with: Option<TurnId>,
    /// The new one was told of in the logs of those that it stopped.
    _coming: Option<Coming>,
}

/// Until it is dropped, whoever asks for this turn waits.
struct Coming {
    shared: Arc<Shared>,
    id: TurnId,
}

impl Drop for Coming {
    fn drop(&mut self) {
        if let Some(coming) = self.shared.background.lock().coming.remove(&self.id) {
            coming.cancel();
        }
    }
}

impl Shared {
    /// Lets nobody else resolve a conflict in the same tree until it is dropped: of two turns that follow one, the second
    /// follows the first.
    pub(in crate::engine) async fn order_of(&self, request: &TurnRequest) -> Option<MutexGuard<'_, ()>> {
        let named = base_of(&request.base).filter(|_| request.concurrency != Concurrency::Fork)?;
        let root = self.root_of(named.turn(), Some(named))?;
        let orders = &self.background.orders;
        let shard = self.hasher.hash_one(root) as usize % orders.len();
        Some(orders[shard].lock().await)
    }

    /// Does what the request wants of turns that are in flight on its conversation, and names what it runs on then.
    pub(in crate::engine) async fn resolve_conflict(
        self: &Arc<Shared>,
        id: TurnId,
        request: &mut TurnRequest,
    ) -> Result<Conflict, Failure> {
        let policy = request.concurrency;
        let Some(named) = base_of(&request.base).filter(|_| policy != Concurrency::Fork) else {
            return Ok(Conflict::default());
        };
        let chain = self.in_flight_on(named);
        let (Some(oldest), Some(newest)) = (chain.first().copied(), chain.last().copied()) else {
            return Ok(Conflict::default());
        };
        if policy == Concurrency::Enqueue {
            return Ok(Conflict { with: Some(newest), _coming: None });
        }
        let ground = if oldest == named.turn() { self.parent_of(oldest).await? } else { Some(named) };
        if policy == Concurrency::Rollback {
            set_base(&mut request.base, ground);
            // What is stopped is not to be stopped for nothing.
            self.rehearse(id, request.clone()).await?;
        }
        let coming = self.announce(id);
        // The newest first: nobody comes forward that is stopped next.
        for turn in chain.iter().rev() {
            self.tell(*turn, id, policy).await?;
            self.stop_turn(*turn, Stop::Superseded).await?;
        }
        if policy == Concurrency::Interrupt {
            set_base(&mut request.base, self.newest_made(&chain)?.or(ground));
        }
        Ok(Conflict { with: Some(oldest), _coming: Some(coming) })
    }

    fn announce(self: &Arc<Shared>, id: TurnId) -> Coming {
        self.background.lock().coming.insert(id, CancellationToken::new());
        Coming { shared: self.clone(), id }
    }

    /// The turns in flight on a version, or on what comes of such a turn: each on the result of the one before. Of several
    /// siblings the newest. The version may be one that a turn in flight is to make: then that turn is the first.
    fn in_flight_on(&self, named: ConversationId) -> Vec<TurnId> {
        let mut running: HashMap<ConversationId, TurnId> = HashMap::new();
        for (base, id) in self.registry.bases() {
            let newest = running.entry(base).or_insert(id);
            *newest = (*newest).max(id);
        }
        let first = Some(named.turn()).filter(|id| self.is_in_flight(*id));
        let mut chain: Vec<TurnId> = first.into_iter().collect();
        let mut at = named;
        loop {
            let queued = self.background.lock().queue.newest_on(at);
            let Some(next) = queued.max(running.get(&at).copied()).filter(|next| !chain.contains(next)) else {
                return chain;
            };
            chain.push(next);
            at = next.conversation();
        }
    }

    async fn parent_of(self: &Arc<Shared>, id: TurnId) -> Result<Option<ConversationId>, Failure> {
        Ok(self.background_turn(id).await?.and_then(|live| live.parent_id()))
    }

    /// Notes in the log of a turn in flight what a newer one wants of it.
    pub(in crate::engine) async fn tell(
        self: &Arc<Shared>,
        id: TurnId,
        other: TurnId,
        policy: Concurrency,
    ) -> Result<(), Failure> {
        if let Some(live) = self.background_turn(id).await? {
            live.log.note(ids::now(), EventKind::TurnConflict { other, policy, newcomer: false });
            if live.is_held() {
                // A crash is not to take it back.
                self.show(&live);
            }
        }
        Ok(())
    }

    /// Stops a turn, whether it waits or runs, and waits for its end, or until the server goes down. `None`: it is not in flight.
    pub(in crate::engine) async fn stop_turn(
        self: &Arc<Shared>,
        id: TurnId,
        why: Stop,
    ) -> Result<Option<Arc<Live>>, Failure> {
        let Some(live) = self.background_turn(id).await? else { return Ok(None) };
        // First: if an attempt fails at this moment, no other one follows.
        live.stop(why);
        if !self.cancel_waiting(&live, why).await? {
            // Either way it has ended.
            let _ = live.log.finished().await;
        }
        Ok(Some(live))
    }

    /// The newest version that was made of these turns.
    fn newest_made(&self, chain: &[TurnId]) -> Result<Option<ConversationId>, Failure> {
        for turn in chain.iter().rev() {
            let made = turn.conversation();
            if self.store.version(made).map_err(failures::store)?.is_some() {
                return Ok(Some(made));
            }
        }
        Ok(None)
    }
}

/// Has a turn run on another version; `None`: on the one that it names.
fn set_base(base: &mut Base, version: Option<ConversationId>) {
    match (base, version) {
        (Base::Start, _) | (_, None) => {}
        (Base::Append { conversation_id, .. } | Base::Restart { conversation_id, .. }, Some(version)) => {
            *conversation_id = version;
        }
    }
}
