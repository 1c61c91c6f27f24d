//! A plain model of the store: what it should hold, in maps, and what follows from that.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use causerie::{
    domain::{ConversationId, Entry, Event, Job, Spend, Time, TurnId, Version},
    store::{Ended, Query, Stored},
};

use super::{changes::Book, ledger::Ledger};

/// What the store should hold.
#[derive(Default)]
pub(super) struct Model {
    pub(super) versions: BTreeMap<ConversationId, Node>,
    pub(super) failed: BTreeMap<TurnId, Ended>,
    pub(super) ledger: Ledger,
    pub(super) gone: Vec<ConversationId>,
    /// With the events that were written of each.
    pub(super) jobs: BTreeMap<TurnId, (Job, Vec<Event>)>,
    pub(super) book: Book,
}

/// A version.
pub(super) struct Node {
    pub(super) stored: Stored,
    pub(super) ended: Ended,
    pub(super) history: Vec<Arc<Entry>>,
}

impl Model {
    pub(super) fn children(&self, id: ConversationId) -> Vec<ConversationId> {
        let children = self.versions.values().filter(|node| node.stored.version.parent_id == Some(id));
        children.map(|node| node.stored.version.id).collect()
    }

    /// The version and all below it.
    pub(super) fn closure(&self, id: ConversationId) -> BTreeSet<ConversationId> {
        let mut found = BTreeSet::from([id]);
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            for child in self.children(id) {
                found.insert(child);
                open.push(child);
            }
        }
        found
    }

    pub(super) fn heads(&self, id: ConversationId) -> BTreeSet<ConversationId> {
        self.closure(id).into_iter().filter(|id| self.children(*id).is_empty()).collect()
    }

    /// What the turns used that are whole in the first `keep` entries of a version's history.
    pub(super) fn spend_at(&self, id: ConversationId, keep: u64) -> Spend {
        let Node { stored, ended, .. } = &self.versions[&id];
        let brought_the_last = ended.kept < keep && keep == stored.version.entry_count;
        match stored.version.parent_id {
            _ if brought_the_last => stored.version.spend.clone(),
            Some(parent) if keep > 0 => self.spend_at(parent, keep.min(ended.kept)),
            Some(_) | None => Spend::default(),
        }
    }

    pub(super) fn roots(&self) -> Vec<ConversationId> {
        let roots = self.versions.values().filter(|node| node.stored.version.parent_id.is_none());
        roots.map(|node| node.stored.version.id).collect()
    }

    /// What a query should list.
    pub(super) fn list(&self, query: &Query) -> Vec<(ConversationId, bool)> {
        let fits = |version: &Version, head: bool| {
            let time = Time::of_uuid(version.id.0);
            let settings = &version.settings;
            (head || !query.heads_only)
                && query.root.is_none_or(|root| root == version.root_id)
                && query.model.as_ref().is_none_or(|model| *model == settings.model)
                && query.agent_id.as_ref().is_none_or(|agent| Some(agent) == settings.agent_id.as_ref())
                && query.metadata.iter().all(|(key, value)| settings.metadata.get(key) == Some(value))
                && query.created_after.is_none_or(|after| time >= after)
                && query.created_before.is_none_or(|before| time < before)
        };
        let rows = self.versions.values().rev().map(|node| {
            let version = &node.stored.version;
            (version, self.children(version.id).is_empty())
        });
        rows.filter(|(version, head)| fits(version, *head)).map(|(version, head)| (version.id, head)).collect()
    }
}
