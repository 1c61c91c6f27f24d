//! Where ids and times come from: the only clock and the only dice of the engine.

use std::{
    hash::Hasher,
    time::{SystemTime, UNIX_EPOCH},
};

use siphasher::sip::SipHasher24;
use uuid::Uuid;

use crate::domain::{Time, TurnId};

/// Now.
pub(super) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { unix_us: i64::try_from(since.as_micros()).unwrap_or(i64::MAX) }
}

/// A new id for an entry.
pub(super) fn entry_uuid() -> Uuid {
    Uuid::now_v7()
}

/// Makes turn ids that only this store can have made.
///
/// A turn's id reaches the caller before anything of the turn is on disk: the first token waits for no write. If the process
/// dies then, the id is found nowhere, and yet the caller must get a terminal state for it. So the id itself proves that it
/// was issued here: its last 32 bits are a keyed hash of the rest, the key being the store's own.
#[derive(Debug, Clone)]
pub(super) struct TurnIds {
    key: [u8; 16],
}

const TAG_BITS: u32 = 32;
const TAG_MASK: u128 = (1 << TAG_BITS) - 1;

impl TurnIds {
    /// Ids for the store with this key.
    pub(super) fn new(key: [u8; 16]) -> TurnIds {
        TurnIds { key }
    }

    /// A new id. The 42 bits of UUIDv7's counter stay, so ids are unique and sort by the order in which they were made.
    pub(super) fn next(&self) -> TurnId {
        let bits = Uuid::now_v7().as_u128() & !TAG_MASK;
        TurnId(Uuid::from_u128(bits | self.tag(bits)))
    }

    /// An id for a turn that leaves no trace: once it has ended, it never was.
    pub(super) fn untraceable(&self) -> TurnId {
        let bits = Uuid::now_v7().as_u128() & !TAG_MASK;
        TurnId(Uuid::from_u128(bits | (self.tag(bits) ^ 1)))
    }

    /// Whether this store issued the id.
    pub(super) fn issued(&self, id: TurnId) -> bool {
        let bits = id.0.as_u128();
        bits & TAG_MASK == self.tag(bits & !TAG_MASK)
    }

    fn tag(&self, bits: u128) -> u128 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(&bits.to_be_bytes());
        u128::from(hasher.finish()) & TAG_MASK
    }
}
