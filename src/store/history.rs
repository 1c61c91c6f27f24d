//! Reading versions, histories and turns.

use std::{
    ops::{Range, RangeInclusive},
    sync::Arc,
};

use uuid::Uuid;

use super::{
    Ended, Inner, Place, Store, Stored,
    disk::Value,
    error::Error,
    keys::{self, CHUNK_BYTES},
    record::{
        row::{Head, Part},
        settings::decode_settings,
        version::{self, Ancestry, Segment},
    },
};
use crate::domain::{ConversationId, Entry, EntryId, Settings, Spend, Turn, TurnId};

impl Store {
    /// A version by its id.
    pub fn version(&self, id: ConversationId) -> Result<Option<Stored>, Error> {
        self.inner.version(id.0)
    }

    /// The entries of a part of a version's history, by their place in it. At least one if the part is not empty; stops early
    /// once they are about `max_bytes`.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if the version was deleted meanwhile.
    pub fn entries(&self, of: &Stored, range: Range<u64>, max_bytes: usize) -> Result<Vec<Arc<Entry>>, Error> {
        self.inner.entries(of, range, max_bytes)
    }

    /// The first `keep` entries of a version's history.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if the version was deleted meanwhile.
    pub fn history(&self, of: &Stored, keep: u64) -> Result<Vec<Arc<Entry>>, Error> {
        self.inner.entries(of, 0..keep, usize::MAX)
    }

    /// The place of an entry in a version's history. Looks from its end, at ids only.
    pub fn find_entry(&self, of: &Stored, id: EntryId) -> Result<Option<u64>, Error> {
        self.inner.find_entry(of, id)
    }

    /// What the turns used whose outputs are among the first `keep` entries of a version's history, all of them; of a part of
    /// a turn nothing is counted. Nothing for versions that were written before spending was. Reads heads of rows, no entries.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if the version was deleted meanwhile.
    pub fn spend_at(&self, of: &Stored, keep: u64) -> Result<Spend, Error> {
        self.inner.spend_at(of, keep)
    }

    /// A turn that has ended, with or without a version, as it was committed.
    pub fn turn(&self, id: TurnId) -> Result<Option<Ended>, Error> {
        let row = match self.inner.place(id.0)? {
            Some(place) => Row::Turn(place.branch, place.seq),
            None => Row::Failed(id.0),
        };
        let row = self.inner.row(row, Part::Log)?;
        Ok(row.map(|(head, row)| head.ended(&row)).transpose()?)
    }

    /// Whether the end of a turn is stored, on disk or on its way there.
    pub fn has_ended(&self, id: TurnId) -> Result<bool, Error> {
        Ok(self.inner.place(id.0)?.is_some() || self.inner.disk.contains(keys::failed(id.0, 0))?)
    }

    /// Turns that made no version, newest first, of a range of ids, at most so many; without their outputs.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn failed_turns(&self, ids: Range<TurnId>, limit: usize) -> Result<Vec<Turn>, Error> {
        let keys = keys::failed(ids.start.0, 0)..keys::failed(ids.end.0, 0);
        let mut turns = Vec::new();
        for row in self.inner.disk.range(keys).rev() {
            if turns.len() == limit {
                break;
            }
            let (key, first) = row?;
            if !keys::is_first_of_failed(&key) {
                continue;
            }
            let whole = self.inner.completed(Row::Failed(keys::failed_turn(&key)), first, Part::Log)?;
            turns.extend(whole.map(|(head, row)| head.turn(&row)).transpose()?);
        }
        Ok(turns)
    }

    /// The turn that answered a request or is to answer it, and the request's fingerprint.
    pub fn request(&self, request_id: &str) -> Result<Option<(TurnId, [u8; 16])>, Error> {
        let Some(row) = self.inner.disk.get(keys::request(request_id))? else { return Ok(None) };
        let found = version::decode_request(&row)?;
        // A crash may have left the row without its turn.
        let turn = found.0.0;
        let disk = &self.inner.disk;
        let exists =
            self.inner.exists(turn)? || disk.contains(keys::failed(turn, 0))? || disk.contains(keys::job(turn))?;
        Ok(exists.then_some(found))
    }
}

/// A row that is cut into pieces.
#[derive(Debug, Clone, Copy)]
pub(super) enum Row {
    /// The turn at a place of a branch.
    Turn(Uuid, u32),
    /// A turn that made no version.
    Failed(Uuid),
    /// A turn in the middle of its work, in one of two places.
    Journaled(Uuid, u8),
    /// What a version of an agent fixes.
    Agent(Uuid, u32),
    /// What was asked of a turn that outlives its call.
    Job(Uuid),
    /// Events of such a turn, from a sequence on.
    Seen(Uuid, u64),
}

impl Row {
    /// The key of a piece.
    pub(super) fn key(self, chunk: usize) -> Vec<u8> {
        let chunk = u16::try_from(chunk).expect("a row has less than 4 GiB");
        match self {
            Row::Turn(branch, seq) => keys::turn(branch, seq, chunk).to_vec(),
            Row::Failed(turn) => keys::failed(turn, chunk).to_vec(),
            Row::Journaled(turn, place) => keys::journaled_piece(turn, place, chunk).to_vec(),
            Row::Agent(agent, version) => keys::agent_version(agent, version, chunk).to_vec(),
            Row::Job(turn) => keys::job_piece(turn, chunk).to_vec(),
            Row::Seen(turn, first) => keys::seen_events_from(turn, first, chunk).to_vec(),
        }
    }
}

impl Row {
    /// The rows that a value is cut into.
    pub(super) fn pieces(self, value: &[u8]) -> Vec<(Vec<u8>, &[u8])> {
        value.chunks(CHUNK_BYTES).enumerate().map(|(chunk, piece)| (self.key(chunk), piece)).collect()
    }
}

impl Inner {
    /// Whether a version exists.
    pub(super) fn exists(&self, id: Uuid) -> Result<bool, Error> {
        self.disk.contains(keys::version(id))
    }

    pub(super) fn version(&self, id: Uuid) -> Result<Option<Stored>, Error> {
        let row = self.disk.get(keys::version(id))?;
        row.map(|row| version::decode_version(id, &row, |settings| self.settings(settings))).transpose()
    }

    /// A version without its settings.
    fn bare(&self, id: Uuid) -> Result<Option<Stored>, Error> {
        let row = self.disk.get(keys::version(id))?;
        row.map(|row| version::decode_version(id, &row, |_| Ok::<_, Error>(Arc::default()))).transpose()
    }

    /// Where a version lies, without the rest of it.
    pub(super) fn place(&self, id: Uuid) -> Result<Option<Place>, Error> {
        Ok(self.bare(id)?.map(|stored| stored.place))
    }

    /// The settings that a version introduced.
    pub(super) fn settings(&self, id: Uuid) -> Result<Arc<Settings>, Error> {
        if let Some((settings, _)) = self.settings.get(&id) {
            return Ok(settings);
        }
        // Gone only if a delete took them while their version was read.
        let row = self.disk.get(keys::settings(id))?.ok_or(Error::NotFound)?;
        let settings = Arc::new(decode_settings(&row)?);
        self.settings.insert(id, (Arc::clone(&settings), row.len() as u32));
        Ok(settings)
    }

    /// A row up to a part of it. `None` if it does not exist, or is not whole (a crash, or a delete at this moment).
    pub(super) fn row(&self, row: Row, part: Part) -> Result<Option<(Head, Value)>, Error> {
        match self.disk.get(row.key(0))? {
            Some(first) => self.completed(row, first, part),
            None => Ok(None),
        }
    }

    fn completed(&self, row: Row, first: Value, part: Part) -> Result<Option<(Head, Value)>, Error> {
        let head = Head::read(&first)?;
        let pieces = head.pieces(part);
        if pieces <= 1 {
            return Ok(Some((head, first)));
        }
        let mut whole = Vec::with_capacity(pieces * CHUNK_BYTES);
        whole.extend_from_slice(&first);
        for chunk in 1..pieces {
            let Some(piece) = self.disk.get(row.key(chunk))? else { return Ok(None) };
            whole.extend_from_slice(&piece);
        }
        Ok(Some((head, whole.into())))
    }

    /// The head of a turn's row.
    pub(super) fn head(&self, branch: Uuid, seq: u32) -> Result<Option<Head>, Error> {
        let row = self.disk.get(keys::turn(branch, seq, 0))?;
        Ok(row.map(|row| Head::read(&row)).transpose()?)
    }

    /// The rows of a run of turns; may be read from both ends.
    pub(super) fn rows(
        &self,
        branch: Uuid,
        seqs: RangeInclusive<u32>,
        part: Part,
    ) -> impl DoubleEndedIterator<Item = Result<(u32, Head, Value), Error>> {
        let keys = keys::turn(branch, *seqs.start(), 0)..=keys::turn(branch, *seqs.end(), u16::MAX);
        self.disk.range(keys).filter_map(move |row| {
            let (key, value) = match row {
                Ok(row) => row,
                Err(error) => return Some(Err(error)),
            };
            let (seq, chunk) = keys::turn_place(&key);
            let whole = (chunk == 0).then(|| self.completed(Row::Turn(branch, seq), value, part))?;
            whole.map(|found| found.map(|(head, value)| (seq, head, value))).transpose()
        })
    }

    /// What a branch grew out of; `None` for the first branch of a tree.
    pub(super) fn ancestry(&self, branch: Uuid) -> Result<Option<Ancestry>, Error> {
        let row = self.disk.get(keys::ancestry(branch))?;
        Ok(row.map(|row| version::decode_ancestry(&row)).transpose()?)
    }

    /// The runs of turns that a version's history goes through, oldest first, its own branch last.
    pub(super) fn path(&self, of: &Stored) -> Result<Vec<Segment>, Error> {
        let Place { branch, seq, depth, .. } = of.place;
        let mut pages = vec![vec![Segment { branch, last_seq: seq, end: of.version.entry_count }]];
        let mut next = (depth > 0).then_some(branch);
        while let Some(branch) = next {
            let ancestry = self.ancestry(branch)?.ok_or(Error::NotFound)?;
            next = ancestry.base;
            pages.push(ancestry.segments);
        }
        Ok(pages.into_iter().rev().flatten().collect())
    }

    fn entries(&self, of: &Stored, range: Range<u64>, max_bytes: usize) -> Result<Vec<Arc<Entry>>, Error> {
        let end = range.end.min(of.version.entry_count);
        let mut taken = Taken { next: range.start, bytes: 0, max_bytes, entries: Vec::new() };
        for segment in self.path(of)? {
            let end = end.min(segment.end);
            if taken.next >= end {
                continue;
            }
            let from = self.row_of(&segment, taken.next)?;
            for row in self.rows(segment.branch, from..=segment.last_seq, Part::Entries) {
                let (_, head, row) = row?;
                if !taken.take(&head, head.entries(&row)?, end) {
                    return Ok(taken.entries);
                }
                if taken.next >= end {
                    break;
                }
            }
            if taken.next < end {
                return Err(Error::NotFound);
            }
        }
        Ok(taken.entries)
    }

    /// The last turn of a segment that begins at or before a place of the history: the one that holds it.
    fn row_of(&self, segment: &Segment, index: u64) -> Result<u32, Error> {
        let (mut low, mut high) = (0, segment.last_seq);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            let head = self.head(segment.branch, middle)?.ok_or(Error::NotFound)?;
            if head.first_entry <= index {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Ok(low)
    }

    fn spend_at(&self, of: &Stored, keep: u64) -> Result<Spend, Error> {
        if keep >= of.version.entry_count {
            return Ok(of.version.spend.clone());
        }
        let path = self.path(of)?;
        let mut keep = keep;
        while let Some(last) = keep.checked_sub(1) {
            // The turn that holds the last entry. If it is cut, so is all of it, and the one before counts.
            let segment = &path[path.partition_point(|segment| segment.end <= last)];
            let head = self.head(segment.branch, self.row_of(segment, last)?)?.ok_or(Error::NotFound)?;
            if head.first_entry + head.entry_count() as u64 == keep {
                return Ok(self.bare(head.id)?.ok_or(Error::NotFound)?.version.spend);
            }
            keep = head.first_entry;
        }
        Ok(Spend::default())
    }

    fn find_entry(&self, of: &Stored, id: EntryId) -> Result<Option<u64>, Error> {
        for segment in self.path(of)?.iter().rev() {
            for row in self.rows(segment.branch, 0..=segment.last_seq, Part::Ids).rev() {
                let (_, head, row) = row?;
                let found = head.ids(&row)?.iter().position(|other| *other == id);
                if let Some(index) = found.map(|index| head.first_entry + index as u64) {
                    // An entry is in the store once: behind the segment's end it is in nobody else's part either.
                    return Ok((index < segment.end).then_some(index));
                }
            }
        }
        Ok(None)
    }
}

/// Entries on their way out.
struct Taken {
    next: u64,
    bytes: usize,
    max_bytes: usize,
    entries: Vec<Arc<Entry>>,
}

impl Taken {
    /// Takes what is wanted of a row, up to `end`. False: it is enough.
    fn take(&mut self, head: &Head, entries: Vec<(Arc<Entry>, usize)>, end: u64) -> bool {
        for (index, (entry, bytes)) in (head.first_entry..end).zip(entries) {
            if index < self.next {
                continue;
            }
            self.bytes = self.bytes.saturating_add(bytes);
            if self.bytes > self.max_bytes && !self.entries.is_empty() {
                return false;
            }
            self.entries.push(entry);
            self.next = index + 1;
        }
        true
    }
}
