//! Whole trees out and in: what export reads and import stores, with ids, times, usage and events as they were.

use tokio::sync::mpsc;

use super::{Engine, Shared, failures, ids};
use crate::{
    domain::{ConversationId, Failure, Turn, Version, Violation, sequence},
    store::{Account, Charge, Commit, Ended, Spent, Stored},
};

/// A version with the turn that made it.
#[derive(Debug, Clone)]
pub struct ExportedVersion {
    /// The version.
    pub version: Version,
    /// Nothing descends from it, at the time of the export.
    pub head: bool,
    /// Its turn, with inputs, outputs and events.
    pub ended: Ended,
}

/// What came of importing a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Import {
    /// It was stored.
    Stored,
    /// It was there already, the same.
    Skipped,
}

/// Versions read ahead of a slow reader of an export: enough to keep the disk busy, a few MB at most.
const READ_AHEAD: usize = 16;
/// Rows read from the store at a time.
const PAGE: usize = 200;

impl Engine {
    /// How many versions an export will hold: of this tree, or of all.
    pub async fn count(&self, tree: Option<ConversationId>) -> Result<u64, Failure> {
        let shared = self.shared.clone();
        self.shared.blocking(move || shared.count(tree)).await?
    }

    /// Reads a tree, or all of them, parents before children.
    pub fn export(&self, tree: Option<ConversationId>) -> mpsc::Receiver<Result<ExportedVersion, Failure>> {
        let (send, receive) = mpsc::channel(READ_AHEAD);
        let shared = self.shared.clone();
        self.shared.tasks.spawn_blocking(move || {
            if let Err(failure) = shared.export(tree, &send) {
                // A reader that left does not want to know.
                let _ = send.blocking_send(Err(failure));
            }
        });
        receive
    }

    /// Stores a version as it was exported. Its parent must be there.
    pub async fn import(&self, exported: ExportedVersion) -> Result<Import, Failure> {
        let shared = self.shared.clone();
        let again = exported.clone();
        let decided = self.shared.blocking(move || shared.receive(exported)).await??;
        let Some(commit) = decided else { return Ok(Import::Skipped) };
        let charge = commit.charges.first().cloned();
        let stored = self.shared.budgets.importing(charge, self.shared.store.commit(commit)).await;
        match stored {
            Ok(_) => Ok(Import::Stored),
            // Another import of the same version was faster: what it stored is compared as any other.
            Err(crate::store::Error::Exists) => {
                let shared = self.shared.clone();
                self.shared.blocking(move || shared.receive(again)).await??;
                Ok(Import::Skipped)
            }
            Err(error) => Err(failures::store(error)),
        }
    }
}

impl Shared {
    fn count(&self, tree: Option<ConversationId>) -> Result<u64, Failure> {
        let Some(root) = tree else { return self.store.count_versions().map_err(failures::store) };
        let (mut count, mut after) = (0, None);
        loop {
            let page = self.store.tree(root, after, PAGE).map_err(failures::store)?;
            count += page.rows.len() as u64;
            after = page.next;
            if after.is_none() {
                return Ok(count);
            }
        }
    }

    fn export(
        &self,
        tree: Option<ConversationId>,
        send: &mpsc::Sender<Result<ExportedVersion, Failure>>,
    ) -> Result<(), Failure> {
        if let Some(root) = tree {
            return self.export_tree(root, send);
        }
        let mut after = None;
        loop {
            let roots = self.store.roots(after, PAGE).map_err(failures::store)?;
            for root in &roots {
                self.export_tree(*root, send)?;
            }
            after = roots.last().copied();
            if after.is_none() || send.is_closed() {
                return Ok(());
            }
        }
    }

    fn export_tree(
        &self,
        root: ConversationId,
        send: &mpsc::Sender<Result<ExportedVersion, Failure>>,
    ) -> Result<(), Failure> {
        let mut after = None;
        loop {
            let page = self.store.tree(root, after, PAGE).map_err(failures::store)?;
            for (stored, head) in page.rows {
                // A version that was deleted meanwhile is left out, and so will be all that descends from it.
                let Some(ended) = self.store.turn(stored.version.id.turn()).map_err(failures::store)? else { continue };
                let exported = ExportedVersion { version: stored.version, head, ended };
                if send.blocking_send(Ok(exported)).is_err() {
                    return Ok(());
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// What to commit for an exported version; `None` if it is there already.
    fn receive(&self, exported: ExportedVersion) -> Result<Option<Commit>, Failure> {
        let ExportedVersion { version, head: _, ended } = exported;
        if let Some(found) = self.store.version(version.id).map_err(failures::store)? {
            let turn = self.store.turn(version.id.turn()).map_err(failures::store)?;
            let same = found.version == version && turn.as_ref() == Some(&ended);
            return if same { Ok(None) } else { Err(failures::version_exists(version.id)) };
        }
        let parent = match version.parent_id {
            Some(id) => Some(self.find(id)?),
            None => None,
        };
        self.check(&version, parent.as_ref(), &ended)?;
        let Ended { turn, inputs, events, request_fingerprint, kept } = ended;
        let request = turn.request_id.clone().zip(request_fingerprint);
        let charges = charge(&version, &turn).into_iter().collect();
        Ok(Some(Commit {
            version,
            parent,
            kept,
            inputs,
            turn,
            events,
            request,
            require_head: false,
            charges,
            journaled: false,
            job: None,
            at: ids::now(),
            callback_url: None,
            expires_at: None,
        }))
    }

    /// Refuses a version that does not follow from its parent and its turn.
    fn check(&self, version: &Version, parent: Option<&Stored>, ended: &Ended) -> Result<(), Failure> {
        let Ended { turn, inputs, events, kept, .. } = ended;
        let above = parent.map(|parent| &parent.version);
        let pending = self.pending(version, parent, ended)?;
        let last = turn.outputs.last().or(inputs.last()).map(|entry| entry.id);
        let rules = [
            ("conversation.root_id", version.root_id == above.map_or(version.id, |above| above.root_id)),
            ("conversation.turn_count", version.turn_count == above.map_or(0, |above| above.turn_count) + 1),
            ("conversation.turn_state", version.turn_state == turn.state),
            ("conversation.entry_count", version.entry_count == kept + (inputs.len() + turn.outputs.len()) as u64),
            ("conversation.pending_tool_call_ids", version.pending_calls == pending),
            ("conversation.last_entry_id", last.is_none() || version.last_entry == last),
            ("conversation.metadata", above.is_none_or(|above| above.settings.metadata == version.settings.metadata)),
            ("turn.id", turn.id.conversation() == version.id),
            ("turn.conversation_id", turn.conversation_id == Some(version.id)),
            ("turn.parent_conversation_id", turn.parent_id == version.parent_id),
            ("turn.last_sequence", turn.last_sequence == events.len() as u64),
            ("kept_entry_count", *kept <= above.map_or(0, |above| above.entry_count)),
        ];
        let broken = rules.iter().filter(|(_, holds)| !holds).map(|(field, _)| Violation {
            field: format!("record.version.{field}"),
            description: String::from("does not follow from the version's parent, turn and entries"),
        });
        let violations: Vec<Violation> = broken.collect();
        if violations.is_empty() { Ok(()) } else { Err(Failure::invalid(violations)) }
    }

    fn pending(&self, version: &Version, parent: Option<&Stored>, ended: &Ended) -> Result<Vec<String>, Failure> {
        let mut pending = match parent {
            None => Vec::new(),
            Some(parent) if ended.kept == parent.version.entry_count => parent.version.pending_calls.clone(),
            Some(parent) => {
                let kept = self.store.history(parent, ended.kept.min(version.entry_count)).map_err(failures::store)?;
                sequence::pending_calls(kept.iter().map(AsRef::as_ref))
            }
        };
        for entry in ended.inputs.iter().chain(&ended.turn.outputs) {
            sequence::advance(&mut pending, &entry.body);
        }
        Ok(pending)
    }
}

/// What an imported turn has spent of its tree's budget. Turns that are not exported, those that failed and those of deleted
/// branches, count no more.
fn charge(version: &Version, turn: &Turn) -> Option<Charge> {
    version.settings.tree_budget?;
    let spent = Spent { tokens: turn.usage.total_tokens, cost: turn.cost.unwrap_or_default() };
    let account = Account::Tree(version.root_id);
    (spent != Spent::default()).then_some(Charge { account, turn: turn.id, spent, reserved: false })
}
