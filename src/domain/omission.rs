//! What a model was not told of a history, said in the turn.

use super::ids::EntryId;

/// What a model was not told of a history: of one kind, in one stretch of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Omission {
    /// What was left out.
    pub kind: OmissionKind,
    /// How many entries it concerns.
    pub entry_count: u64,
    /// The oldest of them.
    pub first_entry_id: EntryId,
    /// The newest of them.
    pub last_entry_id: EntryId,
}

/// What was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum OmissionKind {
    /// The thinking of another provider's model, which nobody else may be shown.
    Thinking = 1,
    /// Citations, which mean something only to the request that they came from.
    References = 2,
    /// Whole entries, the oldest ones, so that the rest fits the context window.
    OldEntries = 3,
}

impl Omission {
    /// Something left out of one entry.
    pub fn of(kind: OmissionKind, entry_id: EntryId) -> Omission {
        Omission { kind, entry_count: 1, first_entry_id: entry_id, last_entry_id: entry_id }
    }

    /// Adds to a list that has one omission a kind. Entries come in the order of the history; the same one may come again.
    pub fn note(list: &mut Vec<Omission>, kind: OmissionKind, entry_id: EntryId) {
        match list.iter_mut().find(|known| known.kind == kind) {
            Some(known) if known.last_entry_id == entry_id => {}
            Some(known) => {
                known.entry_count += 1;
                known.last_entry_id = entry_id;
            }
            None => list.push(Omission::of(kind, entry_id)),
        }
    }
}
