//! Writing turns: rows in a fixed order, the version's row last, then one shared sync.

use std::sync::{Arc, atomic::Ordering};

use uuid::Uuid;

use super::{
    Charge, Commit, Ended, Inner, JobEnd, Place, Store, Stored,
    batches::ItemEnd,
    error::Error,
    history::Row,
    keys::{self, Index},
    record::{
        row::{Part, pack},
        settings::encode_settings,
        version::{self, Ancestry},
    },
};
use crate::domain::{Change, ChangeKind, ConversationId, Settings, Time, Turn, TurnId, change::labels};

/// An ancestry row holds so many segments; the ones before are those of another branch. Else a chain of forks would cost the
/// square of its length.
const SEGMENTS_A_ROW: usize = 256;

/// As many heads are named when a parent is none.
const HEADS_NAMED: usize = 20;

impl Store {
    /// Writes a turn that made a version: all of it or nothing, durable when this returns. Gives the version back, for the next
    /// turn. If the caller goes away meanwhile it is written all the same.
    ///
    /// # Errors
    ///
    /// [`Error::ParentGone`], [`Error::HeadMoved`] (only with `require_head`), [`Error::Exists`], [`Error::Failed`]. Low space
    /// is none: [`Store::accepts_turns`] keeps room for turns that have begun.
    pub async fn commit(&self, commit: Commit) -> Result<Stored, Error> {
        let Commit {
            version,
            parent,
            kept,
            inputs,
            turn,
            events,
            request,
            require_head,
            charges,
            journaled,
            job,
            at,
            callback_url,
            expires_at,
        } = commit;
        debug_assert_eq!(version.id.0, turn.id.0, "a version is named after its turn");
        debug_assert_eq!(version.entry_count, kept + (inputs.len() + turn.outputs.len()) as u64);
        debug_assert!(request.as_ref().is_none_or(|(id, _)| turn.request_id.as_ref() == Some(id)));
        let inner = &*self.inner;
        debug_assert!(expires_at.is_none() || parent.is_none(), "a tree goes as a whole");
        inner.flusher.writable()?;
        let (root_id, labels) = (version.root_id, labels(&version.settings.metadata));
        let item = ItemEnd::of(job.as_ref(), &turn, at);
        let ending = Ending { at, root_id, labels, callback_url, job };
        let change = ending.change(ChangeKind::VersionCreated, &turn);
        let request_fingerprint = request.as_ref().map(|(_, fingerprint)| *fingerprint);
        let row = pack(&Ended { turn, inputs, events, request_fingerprint, kept });
        let own = Place { branch: version.id.0, seq: 0, depth: 0, settings: version.id.0 };
        let stored = Stored { version, place: own };
        let mut new = New { stored, parent, kept, row, request, charges, journaled, job, item, change, expires_at };
        let written = {
            let _no_delete = inner.locks.keep(new.stored.version.root_id.0).await;
            inner.write(&mut new, require_head)
        };
        match (written, new.parent) {
            (Ok(()), _) => {}
            (Err(Error::HeadMoved(_)), Some(parent)) => return Err(self.head_moved(parent).await),
            (Err(error), _) => return Err(error),
        }
        inner.commits.fetch_add(1, Ordering::Relaxed);
        inner.flusher.flushed().await?;
        Ok(new.stored)
    }

    /// Writes a turn that made no version, so that it can be asked for, and what it spent of budgets. All of it or nothing,
    /// durable when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::ParentGone`]: its conversation was deleted, and it counts as deleted with it; that it ended and what it spent
    /// is written. [`Error::Exists`]: the turn has ended before. [`Error::Failed`].
    pub async fn commit_failed(&self, ended: Ended, ending: Ending, charges: &[Charge]) -> Result<(), Error> {
        let inner = &*self.inner;
        inner.flusher.writable()?;
        inner.write_charges(charges).await?;
        let row = pack(&ended);
        let written = {
            let _no_delete = inner.locks.keep(ending.root_id.0).await;
            inner.write_failed(&ended, ending, &row)?
        };
        inner.flusher.flushed().await?;
        written
    }

    /// The error that names the heads there are. A tree may have many branches: not on an async thread.
    async fn head_moved(&self, parent: Stored) -> Error {
        let store = self.clone();
        let heads = tokio::task::spawn_blocking(move || store.heads_below(&parent, HEADS_NAMED)).await;
        heads.unwrap_or_else(|panic| Err(Error::failed(panic))).map_or_else(|error| error, Error::HeadMoved)
    }
}

/// What is told of a turn's end besides the turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// When it is written.
    pub at: Time,
    /// The tree: for a first turn the one that it would have begun.
    pub root_id: ConversationId,
    /// The [`labels`] of the tree's metadata.
    pub labels: Vec<u64>,
    /// Told of the turn's end.
    pub callback_url: Option<String>,
    /// The job that the turn was, if it outlived its call; its rows go.
    pub job: Option<JobEnd>,
}

impl Ending {
    fn change(self, kind: ChangeKind, turn: &Turn) -> Change {
        let Ending { at, root_id, labels, callback_url, job } = self;
        Change {
            revision: 0,
            at,
            kind,
            turn_id: turn.id,
            state: turn.state,
            root_id,
            parent_id: turn.parent_id,
            model: turn.model.clone(),
            agent_id: turn.agent_id.clone(),
            labels,
            attempt: job.map_or(0, |job| job.attempt),
            batch: job.and_then(|job| job.batch),
            callback_url,
        }
    }
}

/// A turn on its way in.
struct New {
    /// The version; its place is found under the lock.
    stored: Stored,
    parent: Option<Stored>,
    kept: u64,
    /// Its packed row.
    row: Vec<u8>,
    request: Option<(String, [u8; 16])>,
    charges: Vec<Charge>,
    journaled: bool,
    job: Option<JobEnd>,
    item: Option<ItemEnd>,
    change: Change,
    expires_at: Option<Time>,
}

impl Inner {
    /// The rows of a turn that made no version; inside, what the caller is told once they are durable.
    fn write_failed(&self, ended: &Ended, ending: Ending, row: &[u8]) -> Result<Result<(), Error>, Error> {
        let turn = &ended.turn;
        let fail = |error| self.flusher.fail(error);
        let job = ending.job.is_some();
        let parent_gone = match turn.parent_id {
            Some(parent) => !self.exists(parent.0)?,
            None => false,
        };
        let outcome = if parent_gone { Err(Error::ParentGone) } else { Ok(()) };
        let outcome = if self.has_ended(turn.id.0)? {
            // It is told once.
            outcome.and(Err(Error::Exists))
        } else {
            let item = ItemEnd::of(ending.job.as_ref(), turn, ending.at);
            let change = ending.change(ChangeKind::TurnEnded, turn);
            self.insert_failed(ended, change, item.as_ref(), row, parent_gone).map_err(fail)?;
            self.end_batch_of(item.as_ref()).map_err(fail)?;
            self.commits.fetch_add(1, Ordering::Relaxed);
            outcome
        };
        if job {
            self.erase_job(turn.id.0).map_err(fail)?;
        }
        Ok(outcome)
    }

    /// Finds the place of a new version and writes it there.
    fn write(&self, new: &mut New, require_head: bool) -> Result<(), Error> {
        let id = new.stored.version.id.0;
        // Whoever adds a child to a version holds the lock of that version's branch.
        let _branch = self.locks.branch(new.parent.as_ref().map_or(id, |parent| parent.place.branch));
        // It is the journal that may have a turn which has ended: its commit came just before a crash.
        if self.exists(id)? || (new.journaled && self.has_ended(id)?) {
            return Err(Error::Exists);
        }
        if let Some(parent) = &new.parent {
            if !self.exists(parent.version.id.0)? {
                return Err(Error::ParentGone);
            }
            if require_head && !self.is_head(parent)? {
                return Err(Error::HeadMoved(Vec::new()));
            }
            new.stored.place = self.place_of(&new.stored, parent, new.kept)?;
        }
        let ancestry = self.new_ancestry(new)?;
        self.insert(new, ancestry.as_ref()).map_err(|error| self.flusher.fail(error))
    }

    /// Behind its parent if that is the end of its branch and is kept whole; otherwise at the beginning of a new branch.
    fn place_of(&self, new: &Stored, parent: &Stored, kept: u64) -> Result<Place, Error> {
        let id = new.version.id.0;
        let same = same_settings(&new.version.settings, &parent.version.settings);
        let settings = if same { parent.place.settings } else { id };
        let Place { branch, seq, depth, .. } = parent.place;
        // Listing relies on ids that grow along a branch; a clock that was set back opens a new one.
        let extends = kept == parent.version.entry_count && new.version.id > parent.version.id;
        if extends && self.make_room(branch, seq + 1)? {
            return Ok(Place { branch, seq: seq + 1, depth, settings });
        }
        Ok(Place { branch: id, seq: 0, depth: depth + 1, settings })
    }

    /// Whether a place is free. What a crash left there is removed.
    fn make_room(&self, branch: Uuid, seq: u32) -> Result<bool, Error> {
        let Some(head) = self.head(branch, seq)? else { return Ok(true) };
        if self.exists(head.id)? {
            return Ok(false);
        }
        self.erase_turn(branch, seq, Some(head.id))?;
        Ok(true)
    }

    /// What a new branch grows out of: its parent's path, cut where the kept history ends.
    fn new_ancestry(&self, new: &New) -> Result<Option<Ancestry>, Error> {
        let (Some(parent), Place { seq: 0, depth, settings, .. }) = (&new.parent, new.stored.place) else {
            return Ok(None);
        };
        let mut segments = self.path(parent)?;
        let needed = segments.partition_point(|segment| segment.end < new.kept);
        segments.truncate(if new.kept == 0 { 0 } else { needed + 1 });
        if let Some(last) = segments.last_mut() {
            last.end = new.kept;
        }
        // What comes before a segment is the whole ancestry of that segment's branch.
        let first = segments.len().saturating_sub(1) / SEGMENTS_A_ROW * SEGMENTS_A_ROW;
        let segments = segments.split_off(first);
        Ok(Some(Ancestry {
            parent: parent.version.id.0,
            parent_branch: parent.place.branch,
            parent_seq: parent.place.seq,
            depth,
            settings,
            base: if first == 0 { None } else { Some(segments[0].branch) },
            segments,
        }))
    }

    /// The rows of a commit. A delete finds all that a crash leaves of them: by the branch's rows in its parent and its tree,
    /// which therefore come first, or by the turn's row. The version's row is the last.
    fn insert(&self, new: &New, ancestry: Option<&Ancestry>) -> Result<(), Error> {
        let Stored { version, place } = &new.stored;
        let (id, settings) = (version.id.0, &version.settings);
        if let Some(ancestry) = ancestry {
            self.disk.insert(keys::child(ancestry.parent, id), &[])?;
            self.disk.insert(keys::ancestry(id), &version::encode_ancestry(ancestry))?;
        }
        if place.seq == 0 {
            self.disk.insert(keys::branch(version.root_id.0, place.depth, id), &[])?;
        }
        if let Some(at) = new.expires_at {
            self.insert_expiry(id, at)?;
        }
        self.insert_row(Row::Turn(place.branch, place.seq), &new.row)?;
        if place.settings == id {
            let row = encode_settings(settings);
            self.disk.insert(keys::settings(id), &row)?;
            self.settings.insert(id, (Arc::clone(settings), row.len() as u32));
        }
        if place.seq == 0 || place.settings == id {
            self.insert_indexes(settings, place)?;
        }
        self.insert_request(
            new.request.as_ref().map(|(id, fingerprint)| (id.as_str(), *fingerprint)),
            version.id.turn(),
        )?;
        // Before the version: whoever sees it sees what it cost. A crash in between leaves what was spent all the same.
        self.insert_charges(&new.charges)?;
        let row = version::encode_version(&new.stored);
        let insert = || self.disk.insert(keys::version(id), &row);
        self.log.write(&self.disk, new.change.clone(), || self.end_item(new.item.as_ref(), insert))?;
        self.end_batch_of(new.item.as_ref())?;
        // After it: a crash in between leaves both, and the version counts.
        if new.journaled {
            self.erase_journaled(version.id.turn())?;
        }
        if new.job.is_some() { self.erase_job(id) } else { Ok(()) }
    }

    /// The pieces of a row, the first one last: without it the row does not exist.
    pub(super) fn insert_row(&self, row: Row, value: &[u8]) -> Result<(), Error> {
        self.insert_pieces(&row.pieces(value))
    }

    fn insert_pieces(&self, pieces: &[(Vec<u8>, &[u8])]) -> Result<(), Error> {
        pieces.iter().rev().try_for_each(|(key, piece)| self.disk.insert(key, piece))
    }

    /// The values that a version brings into its branch. Each belongs to the turn that brought it first.
    fn insert_indexes(&self, settings: &Settings, place: &Place) -> Result<(), Error> {
        for index in indexes(settings) {
            let key = keys::indexed_in(index, place.branch);
            if place.seq == 0 || !self.disk.contains(key)? {
                self.disk.insert(key, &place.seq.to_be_bytes())?;
            }
        }
        Ok(())
    }

    pub(super) fn insert_request(&self, request: Option<(&str, [u8; 16])>, turn: TurnId) -> Result<(), Error> {
        let Some((request_id, fingerprint)) = request else { return Ok(()) };
        self.disk.insert(keys::request(request_id), &version::encode_request(turn, fingerprint))
    }

    /// A turn whose parent is gone counts as deleted with it.
    fn insert_failed(
        &self,
        ended: &Ended,
        change: Change,
        item: Option<&ItemEnd>,
        row: &[u8],
        parent_gone: bool,
    ) -> Result<(), Error> {
        let Ended { turn, request_fingerprint, .. } = ended;
        if parent_gone {
            let insert = || self.disk.insert(keys::deleted(turn.id.0), &[]);
            return self.log.write(&self.disk, change, || self.end_item(item, insert));
        }
        if let Some(parent) = turn.parent_id {
            self.disk.insert(keys::failed_on(parent.0, turn.id.0), &[])?;
        }
        self.insert_request(turn.request_id.as_deref().zip(*request_fingerprint), turn.id)?;
        let row = Row::Failed(turn.id.0).pieces(row);
        let ((first, value), rest) = row.split_first().expect("a row has a head");
        self.insert_pieces(rest)?;
        self.log.write(&self.disk, change, || self.end_item(item, || self.disk.insert(first, value)))
    }

    /// The request id of a turn, if its row is whole.
    pub(super) fn request_of(&self, row: Row) -> Result<Option<String>, Error> {
        let row = self.row(row, Part::Log)?;
        let ended = row.map(|(head, row)| head.ended(&row)).transpose()?;
        Ok(ended.and_then(|ended| ended.turn.request_id))
    }
}

/// What a version is found by, besides its tree.
pub(super) fn indexes(settings: &Settings) -> impl Iterator<Item = Index<'_>> {
    let pairs = settings.metadata.iter().map(|(name, value)| Index::Pair(name, value));
    let model = (!settings.model.is_empty()).then_some(Index::Model(&settings.model));
    let agent = settings.agent_id.as_deref().map(Index::Agent);
    pairs.chain(model).chain(agent)
}

fn same_settings(one: &Arc<Settings>, other: &Arc<Settings>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}
