//! After a crash: turns that it cut off while tools ran become versions that are INCOMPLETE, with all that had come out.

use std::sync::Arc;

use super::{Engine, Shared, failures, ids};
use crate::{
    domain::{Failure, Time, Turn, TurnId, Version, sequence},
    store::{self, Commit, Ended, Journaled, Stored},
};

impl Engine {
    /// Keeps the turns that a crash cut off; before any other is run. Returns how many there were.
    pub async fn recover(&self) -> Result<usize, Failure> {
        let shared = self.shared.clone();
        let journaled = self.shared.blocking(move || shared.store.journaled()).await?.map_err(failures::store)?;
        let mut kept = 0;
        for turn in journaled {
            let job = self.shared.store.job(turn.ended.turn.id).map_err(failures::store)?;
            // A background turn goes on where it was.
            if job.is_none() {
                kept += usize::from(self.shared.keep(turn).await?);
            }
        }
        Ok(kept)
    }
}

impl Shared {
    async fn keep(self: &Arc<Shared>, journaled: Journaled) -> Result<bool, Failure> {
        let id = journaled.ended.turn.id;
        let shared = self.clone();
        if self.ended(id).await?.is_some() {
            return self.forget(id).await.map(|()| false);
        }
        let commit = self.blocking(move || shared.commit_of(journaled)).await??;
        let Some(commit) = commit else { return self.forget(id).await.map(|()| false) };
        match self.store.commit(commit).await {
            Ok(_) => Ok(true),
            // Its conversation is gone, or it was kept before the crash.
            Err(store::Error::ParentGone | store::Error::Exists) => self.forget(id).await.map(|()| false),
            Err(error) => Err(failures::store(error)),
        }
    }

    async fn forget(&self, id: TurnId) -> Result<(), Failure> {
        self.store.forget_journaled(id).await.map_err(failures::store)
    }

    /// The commit of the turn; `None`: it was deleted, or what it ran on.
    fn commit_of(&self, journaled: Journaled) -> Result<Option<Commit>, Failure> {
        let Journaled { ended, settings, expires_at } = journaled;
        let Ended { turn, inputs, events, request_fingerprint, kept } = ended;
        if self.store.was_deleted(turn.id).map_err(failures::store)? {
            return Ok(None);
        }
        let parent = match turn.parent_id {
            Some(id) => match self.store.version(id).map_err(failures::store)? {
                Some(parent) => Some(parent),
                None => return Ok(None),
            },
            None => None,
        };
        let before = match &parent {
            Some(parent) => self.store.history(parent, kept).map_err(failures::store)?,
            None => Vec::new(),
        };
        let spend = match &parent {
            Some(parent) => self.store.spend_at(parent, kept).map_err(failures::store)?,
            None => Default::default(),
        };
        let history = || before.iter().chain(&inputs).chain(&turn.outputs);
        let version = Version {
            settings,
            entry_count: history().count() as u64,
            spend: spend.and(&turn.usage, turn.cost),
            pending_calls: sequence::pending_calls(history().map(AsRef::as_ref)),
            last_entry: history().last().map(|entry| entry.id),
            ..place(&turn, parent.as_ref())
        };
        let request = turn.request_id.clone().zip(request_fingerprint);
        // What was set aside for a call that nobody settled counts as spent.
        let charges = Vec::new();
        let require_head = false;
        Ok(Some(Commit {
            version,
            parent,
            kept,
            inputs,
            turn,
            events,
            request,
            require_head,
            charges,
            journaled: true,
            job: None,
            at: ids::now(),
            callback_url: None,
            expires_at,
        }))
    }
}

/// Where the version of a turn stands in its tree.
fn place(turn: &Turn, parent: Option<&Stored>) -> Version {
    let id = turn.id.conversation();
    let parent = parent.map(|parent| &parent.version);
    Version {
        id,
        parent_id: parent.map(|parent| parent.id),
        root_id: parent.map_or(id, |parent| parent.root_id),
        turn_state: turn.state,
        created_at: Time::of_uuid(id.0),
        settings: Arc::default(),
        entry_count: 0,
        turn_count: parent.map_or(0, |parent| parent.turn_count) + 1,
        spend: Default::default(),
        pending_calls: Vec::new(),
        last_entry: None,
    }
}
