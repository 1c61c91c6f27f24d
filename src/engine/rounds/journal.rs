//! A turn as it would be kept if the server died now, and what is made of it after such a death.

use std::sync::Arc;

use super::Rounds;
use crate::{
    domain::{Event, EventKind, Failure, Reason, Time, Turn, TurnState},
    engine::failures,
    store::{Ended, Journaled},
};

impl Rounds<'_> {
    /// Writes what there is so far. A turn that leaves no trace leaves none here. `next`: what will be told then, as of
    /// `now`.
    pub(super) async fn journal(&mut self, now: Time, next: &[EventKind]) -> Result<(), Failure> {
        if !self.plan.store {
            return Ok(());
        }
        let generation = self.progress.journaled;
        if generation == 0 {
            self.check_head()?;
        }
        let journaled = Journaled {
            ended: self.draft(now, next),
            settings: self.progress.kept.clone(),
            expires_at: self.shared.expires_at(self.plan),
        };
        // Before it is written: a turn that is stopped meanwhile has to remove what may be there.
        self.progress.journaled += 1;
        self.shared.store.journal(&journaled, generation).await.map_err(failures::store)
    }

    /// Before a tool runs, whether anybody was faster: after it the turn is kept in any case.
    fn check_head(&self) -> Result<(), Failure> {
        let Some(parent) = self.plan.parent.as_ref().filter(|_| self.plan.require_head) else { return Ok(()) };
        if self.shared.store.is_head(parent).map_err(failures::store)? {
            return Ok(());
        }
        let heads = self.shared.store.heads_below(parent, 16).map_err(failures::store)?;
        Err(failures::head_moved(&heads))
    }

    fn draft(&self, now: Time, next: &[EventKind]) -> Ended {
        let live = &self.live;
        let total = self.progress.tally.so_far(&self.question.target.name);
        let outputs: Vec<_> = self.progress.outputs.so_far().collect();
        let mut events = live.log.snapshot();
        let cut = outputs.iter().filter(|entry| entry.completed_at.is_none());
        let cut = cut.map(|entry| EventKind::EntryDone { entry: entry.clone() });
        let next: Vec<_> = next.iter().cloned().chain(cut).collect();
        let turn = Turn {
            state: TurnState::Incomplete,
            conversation_id: Some(self.plan.id.conversation()),
            outputs,
            usage: total.usage,
            cost: total.cost,
            models: total.models,
            omissions: self.progress.omissions.clone(),
            error: Some(interrupted()),
            completed_at: Some(now),
            last_sequence: (events.len() + next.len()) as u64 + 1,
            ..live.closing()
        };
        let last = EventKind::ResponseDone { turn: Arc::new(turn.clone()) };
        for kind in next.into_iter().chain([last]) {
            let sequence = events.len() as u64 + 1;
            events.push(Event { sequence, first_sequence: sequence, created_at: now, kind });
        }
        Ended {
            turn,
            inputs: self.plan.inputs.to_vec(),
            events,
            request_fingerprint: live.request.as_ref().map(|request| request.fingerprint),
            kept: self.plan.kept,
        }
    }
}

/// The events of a journaled turn that were told or about to be: without those that only a turn cut off there would have had.
pub(in crate::engine) fn told(journaled: &Journaled) -> &[Event] {
    let Ended { turn, events, .. } = &journaled.ended;
    let cut = turn.outputs.iter().filter(|entry| entry.completed_at.is_none()).count();
    &events[..events.len().saturating_sub(cut + 1)]
}

/// Why a turn that a crash cut off is not whole.
pub(in crate::engine) fn interrupted() -> Failure {
    let text = "the server stopped in the middle of the turn; what had come out, and every tool that had run, is kept: a \
                turn without input goes on";
    Failure::new(Reason::TurnLost, text)
}
