//! Turns as callers look at them: waiting for the end of one, and listing them.
//!
//! A list goes by the id, which a turn keeps from the moment that it is accepted; where it stands may change from page to page,
//! its place does not. It is merged from the turns in flight, the jobs, the versions and the failed turns, read in this order:
//! a turn that ends meanwhile is found in a later one of them, and counts once.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Range,
};

use tokio::time::Instant;

use super::{Engine, Shared, failures, live::Tree};
pub use crate::store::TurnQuery;
use crate::{
    domain::{
        ConversationId, Failure, Turn, TurnId, TurnState,
        change::{label, labels},
    },
    store::{JobHead, Stretch},
};

/// A page of turns.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnPage {
    /// Newest first, without their outputs.
    pub turns: Vec<Turn>,
    /// Where the next page goes on: below this id; `None` on the last one. A page may be short, or empty, and not the last.
    pub next: Option<TurnId>,
}

/// A page looks at no more turns of each source than this, and may come back short.
const MOST_LOOKED_AT: usize = 20_000;
/// Rows read from the store at a time.
const READ_AT_ONCE: usize = 256;

impl Engine {
    /// Reads a turn when it has ended, or as it stands at `until`. Whoever waits does not keep the turn alive: it is not theirs.
    pub async fn wait(&self, id: TurnId, until: Instant) -> Result<Turn, Failure> {
        if until <= Instant::now() {
            return self.turn(id).await;
        }
        let Some(live) = self.shared.background_turn(id).await? else { return self.turn(id).await };
        let _ = tokio::time::timeout_at(until, live.log.finished()).await;
        Ok(live.snapshot())
    }

    /// Lists turns, newest first, below (older than) an id. Those that leave no trace are not among them.
    pub async fn turns(&self, query: TurnQuery, below: Option<TurnId>, limit: usize) -> Result<TurnPage, Failure> {
        let shared = self.shared.clone();
        self.shared.blocking(move || Lister::new(&shared, &query, limit).page(below)).await?
    }

    /// The first version of the tree that a version is in, or will be in when its turn has ended.
    pub async fn root_to_be(&self, of: ConversationId) -> Result<ConversationId, Failure> {
        let shared = self.shared.clone();
        self.shared.blocking(move || shared.root_to_be(of)).await?
    }
}

/// One page on its way.
struct Lister<'a> {
    shared: &'a Shared,
    query: &'a TurnQuery,
    limit: usize,
    /// Whether the trees that were met have the metadata.
    trees: BTreeMap<ConversationId, bool>,
}

impl<'a> Lister<'a> {
    fn new(shared: &'a Shared, query: &'a TurnQuery, limit: usize) -> Lister<'a> {
        Lister { shared, query, limit, trees: BTreeMap::new() }
    }

    fn page(mut self, below: Option<TurnId>) -> Result<TurnPage, Failure> {
        let mut found = Vec::new();
        if self.query.wants(&[TurnState::Queued, TurnState::Running]) {
            found.push(self.in_flight(below)?);
            found.push(self.jobs(below)?);
        }
        if self.query.batch.is_none() {
            let made = [TurnState::RequiresAction, TurnState::Completed, TurnState::Incomplete];
            if self.query.wants(&made) {
                let made = self.shared.store.made_turns(self.query, below, self.limit).map_err(failures::store)?;
                found.push(made);
            }
            if self.query.wants(&[TurnState::Failed, TurnState::Cancelled]) {
                found.push(self.failed(below)?);
            }
        }
        Ok(merged(found, self.limit))
    }

    /// The turns that run within a call, and background turns that somebody looks at: those are jobs, too.
    fn in_flight(&mut self, below: Option<TurnId>) -> Result<Stretch<Turn>, Failure> {
        let mut rows = Vec::new();
        if self.query.batch.is_some() {
            return Ok(Stretch { rows, down_to: None });
        }
        for live in self.shared.registry.newest(&self.query.ids(below)) {
            // What leaves no trace has none.
            let Some(tree) = &live.tree else { continue };
            let turn = live.snapshot();
            let id = turn.id;
            if self.query.wants(&[turn.state]) && self.fits(tree) {
                rows.push(turn);
            }
            if rows.len() == self.limit {
                return Ok(Stretch { rows, down_to: Some(id) });
            }
        }
        Ok(Stretch { rows, down_to: None })
    }

    /// The turns that outlive their calls.
    fn jobs(&mut self, below: Option<TurnId>) -> Result<Stretch<Turn>, Failure> {
        let shared = self.shared;
        let read = |ids| shared.store.job_heads(ids, READ_AT_ONCE).map_err(failures::store);
        self.looked_through(below, read, |head| head.turn_id, Lister::job)
    }

    fn job(&mut self, head: JobHead) -> Result<Option<Turn>, Failure> {
        let JobHead { turn_id, root, batch } = head;
        if self.query.batch.is_some_and(|wanted| batch != Some(wanted)) || !self.fits_tree(root)? {
            return Ok(None);
        }
        let turn = match self.shared.registry.get(turn_id) {
            Some(live) => Some(live.snapshot()),
            None => self.shared.store.job(turn_id).map_err(failures::store)?.map(|job| self.shared.opening_of(&job)),
        };
        Ok(turn.filter(|turn| self.query.wants(&[turn.state])))
    }

    /// The turns that made no version.
    fn failed(&mut self, below: Option<TurnId>) -> Result<Stretch<Turn>, Failure> {
        let shared = self.shared;
        let read = |ids| shared.store.failed_turns(ids, READ_AT_ONCE).map_err(failures::store);
        self.looked_through(below, read, |turn| turn.id, Lister::failed_turn)
    }

    /// One that failed as the first of its tree has none.
    fn failed_turn(&mut self, turn: Turn) -> Result<Option<Turn>, Failure> {
        let TurnQuery { root, metadata, .. } = self.query;
        let fits = self.query.wants(&[turn.state])
            && match turn.parent_id {
                _ if root.is_none() && metadata.is_empty() => true,
                Some(parent) => match self.shared.store.version(parent).map_err(failures::store)? {
                    Some(parent) => self.fits_tree(parent.version.root_id)?,
                    None => false,
                },
                None => false,
            };
        Ok(fits.then_some(turn))
    }

    /// Takes what fits of a source, which is read in parts.
    fn looked_through<T>(
        &mut self,
        below: Option<TurnId>,
        read: impl Fn(Range<TurnId>) -> Result<Vec<T>, Failure>,
        id_of: impl Fn(&T) -> TurnId,
        take: impl Fn(&mut Self, T) -> Result<Option<Turn>, Failure>,
    ) -> Result<Stretch<Turn>, Failure> {
        let mut ids = self.query.ids(below);
        let mut rows = Vec::new();
        let mut looked_at = 0;
        while !ids.is_empty() {
            let part = read(ids.clone())?;
            let whole = part.len() < READ_AT_ONCE;
            for row in part {
                ids.end = id_of(&row);
                rows.extend(take(self, row)?);
                looked_at += 1;
                if rows.len() == self.limit || looked_at == MOST_LOOKED_AT {
                    return Ok(Stretch { rows, down_to: Some(ids.end) });
                }
            }
            if whole {
                break;
            }
        }
        Ok(Stretch { rows, down_to: None })
    }

    fn fits(&self, tree: &Tree) -> bool {
        let TurnQuery { root: wanted, metadata, .. } = self.query;
        wanted.is_none_or(|wanted| wanted == tree.root_id) && has_all(&tree.labels, metadata)
    }

    fn fits_tree(&mut self, root: ConversationId) -> Result<bool, Failure> {
        let TurnQuery { root: wanted, metadata, .. } = self.query;
        if wanted.is_some_and(|wanted| wanted != root) {
            return Ok(false);
        }
        if metadata.is_empty() {
            return Ok(true);
        }
        match self.trees.entry(root) {
            Entry::Occupied(known) => Ok(*known.get()),
            Entry::Vacant(unknown) => {
                let own = self.shared.labels_of(root)?;
                Ok(*unknown.insert(has_all(&own, metadata)))
            }
        }
    }
}

/// What all stretches reach down to, newest first. Of a turn that stands in several of them the last one knows best.
fn merged(found: Vec<Stretch<Turn>>, limit: usize) -> TurnPage {
    let reached = found.iter().filter_map(|stretch| stretch.down_to).max();
    let rows = found.into_iter().flat_map(|stretch| stretch.rows);
    let rows = rows.filter(|turn| reached.is_none_or(|reached| turn.id >= reached));
    let mut rows: BTreeMap<TurnId, Turn> = rows.map(|turn| (turn.id, turn)).collect();
    let cut = rows.len() > limit;
    let turns: Vec<Turn> = std::iter::from_fn(|| rows.pop_last()).map(|(_, turn)| turn).take(limit).collect();
    let next = if cut { turns.last().map(|turn| turn.id) } else { reached };
    TurnPage { turns, next }
}

impl Shared {
    fn root_to_be(&self, of: ConversationId) -> Result<ConversationId, Failure> {
        if let Some(stored) = self.store.version(of).map_err(failures::store)? {
            return Ok(stored.version.root_id);
        }
        if let Some(tree) = self.registry.get(of.turn()).and_then(|live| live.tree.clone()) {
            return Ok(tree.root_id);
        }
        let job = self.store.job(of.turn()).map_err(failures::store)?;
        job.map(|job| job.root).ok_or_else(|| failures::no_conversation(of))
    }

    /// The metadata of a tree, which may be about to begin. One that is gone has none.
    fn labels_of(&self, root: ConversationId) -> Result<Vec<u64>, Failure> {
        if let Some(stored) = self.store.version(root).map_err(failures::store)? {
            return Ok(labels(&stored.version.settings.metadata));
        }
        if let Some(tree) = self.registry.get(root.turn()).and_then(|live| live.tree.clone()) {
            return Ok(tree.labels);
        }
        let job = self.store.job(root.turn()).map_err(failures::store)?;
        Ok(job.and_then(|job| job.request.overrides.metadata).map(|own| labels(&own)).unwrap_or_default())
    }
}

fn has_all(own: &[u64], metadata: &BTreeMap<String, String>) -> bool {
    metadata.iter().all(|(name, value)| own.contains(&label(name, value)))
}

#[cfg(test)]
mod tests;
