//! Two turns on one conversation, and what the caller wants of them.

use super::*;
use crate::domain::request::{Concurrency, TurnRequest};

/// What became of the turns that were in flight.
#[derive(Debug, Default)]
pub(in crate::engine) struct Conflict {
    /// The turn that the new one waits for, or whose place it takes.
    pub(in crate::engine) with: Option<TurnId>,
}

impl Shared {
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
        let Some(newest) = chain.last().copied() else { return Ok(Conflict::default()) };
        match policy {
            Concurrency::Fork => {}
            Concurrency::Enqueue => self.tell(newest, id, policy).await?,
            Concurrency::Interrupt | Concurrency::Rollback => {
                // The newest first: nobody comes forward that is stopped next.
                for turn in chain.iter().rev() {
                    self.tell(*turn, id, policy).await?;
                    self.supersede(*turn).await?;
                }
                if policy == Concurrency::Interrupt {
                    self.rebase(&mut request.base, &chain)?;
                }
            }
        }
        Ok(Conflict { with: Some(newest) })
    }

    /// The turns in flight on a version, or on what comes of such a turn: each on the result of the one before. Of several
    /// siblings the newest. The version may be one that a turn in flight is to make: then that turn is the first.
    fn in_flight_on(&self, named: ConversationId) -> Vec<TurnId> {
        let mut bases: HashMap<ConversationId, TurnId> = HashMap::new();
        let queued: Vec<_> =
            self.background.lock().queue.turns().filter_map(|turn| Some((turn.base?, turn.id))).collect();
        let running = self.registry.bases();
        for (base, id) in queued.into_iter().chain(running) {
            let newest = bases.entry(base).or_insert(id);
            *newest = (*newest).max(id);
        }
        let first = Some(named.turn()).filter(|id| self.is_in_flight(*id));
        let mut chain: Vec<TurnId> = first.into_iter().collect();
        let mut at = named;
        while let Some(next) = bases.get(&at).copied().filter(|next| !chain.contains(next)) {
            chain.push(next);
            at = next.conversation();
        }
        chain
    }

    /// Notes in the log of a turn in flight what a newer one wants of it.
    async fn tell(self: &Arc<Shared>, id: TurnId, other: TurnId, policy: Concurrency) -> Result<(), Failure> {
        let live = match self.registry.get(id) {
            Some(live) => Some(live),
            None => self.background_turn(id).await?,
        };
        if let Some(live) = live {
            live.log.note(ids::now(), EventKind::TurnConflict { other, policy, newcomer: false });
        }
        Ok(())
    }

    /// Stops a turn in flight and waits for its end.
    async fn supersede(self: &Arc<Shared>, id: TurnId) -> Result<(), Failure> {
        if self.background.contains(id) && self.cancel_waiting(id, Stop::Superseded).await? {
            return Ok(());
        }
        if let Some(live) = self.registry.get(id) {
            live.stop(Stop::Superseded);
            // Either way it has ended.
            let _ = live.log.finished().await;
        }
        Ok(())
    }

    /// From the newest version that was made on: the one named, if none was.
    fn rebase(&self, base: &mut Base, chain: &[TurnId]) -> Result<(), Failure> {
        for turn in chain.iter().rev() {
            let made = turn.conversation();
            if self.store.version(made).map_err(failures::store)?.is_some() {
                match base {
                    Base::Start => {}
                    Base::Append { conversation_id, .. } | Base::Restart { conversation_id, .. } => {
                        *conversation_id = made;
                    }
                }
                return Ok(());
            }
        }
        Ok(())
    }
}
