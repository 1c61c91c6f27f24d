//! Small records: the store, versions, ancestries, requests, deletes.

use std::sync::Arc;

use prost::Message;
use uuid::Uuid;

use super::{Damaged, decode, encode, entry_id, entry_id_bytes, id, id_bytes, optional_id, spend::SpendRecord, turn};
use crate::{
    domain::{ConversationId, Settings, Spend, Time, TurnId, Version},
    store::{Place, Stored},
};

#[derive(Clone, PartialEq, Message)]
struct MetaRecord {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(bytes = "vec", tag = "2")]
    tag_key: Vec<u8>,
}

/// The row of the store itself: its format, and its secret.
pub(in crate::store) fn encode_meta(format: u32, tag_key: [u8; 16]) -> Vec<u8> {
    encode(&MetaRecord { format, tag_key: tag_key.to_vec() })
}

/// The store's format and its secret.
pub(in crate::store) fn decode_meta(row: &[u8]) -> Result<(u32, [u8; 16]), Damaged> {
    let MetaRecord { format, tag_key } = decode(row)?;
    Ok((format, tag_key.try_into().map_err(|_| Damaged("the secret has not 16 bytes"))?))
}

#[derive(Clone, PartialEq, Message)]
struct VersionRecord {
    /// None: the version's own id, as it is the first of its branch.
    #[prost(bytes = "vec", optional, tag = "1")]
    branch: Option<Vec<u8>>,
    #[prost(uint32, tag = "2")]
    seq: u32,
    #[prost(uint32, tag = "3")]
    depth: u32,
    #[prost(bytes = "vec", optional, tag = "4")]
    parent_id: Option<Vec<u8>>,
    /// None: the version itself.
    #[prost(bytes = "vec", optional, tag = "5")]
    root_id: Option<Vec<u8>>,
    /// None: the version itself introduced them.
    #[prost(bytes = "vec", optional, tag = "6")]
    settings: Option<Vec<u8>>,
    #[prost(uint32, tag = "7")]
    turn_state: u32,
    #[prost(sint64, tag = "8")]
    created_at_us: i64,
    #[prost(uint64, tag = "9")]
    entry_count: u64,
    #[prost(uint64, tag = "10")]
    turn_count: u64,
    #[prost(string, repeated, tag = "11")]
    pending_calls: Vec<String>,
    #[prost(bytes = "vec", optional, tag = "12")]
    last_entry: Option<Vec<u8>>,
    /// None: nothing.
    #[prost(message, optional, tag = "13")]
    spend: Option<SpendRecord>,
}

/// A version's row.
pub(in crate::store) fn encode_version(stored: &Stored) -> Vec<u8> {
    let Stored { version, place } = stored;
    let own = version.id.0;
    let unless_own = |id: Uuid| (id != own).then(|| id_bytes(id));
    encode(&VersionRecord {
        branch: unless_own(place.branch),
        seq: place.seq,
        depth: place.depth,
        parent_id: version.parent_id.map(|id| id_bytes(id.0)),
        root_id: unless_own(version.root_id.0),
        settings: unless_own(place.settings),
        turn_state: turn::state_number(version.turn_state),
        created_at_us: version.created_at.unix_us,
        entry_count: version.entry_count,
        turn_count: version.turn_count,
        pending_calls: version.pending_calls.clone(),
        last_entry: version.last_entry.map(|id| entry_id_bytes(id).to_vec()),
        spend: (version.spend != Spend::default()).then(|| (&version.spend).into()),
    })
}

/// The version of a row; `settings` fetches those that a version introduced.
pub(in crate::store) fn decode_version<E: From<Damaged>>(
    own: Uuid,
    row: &[u8],
    settings: impl FnOnce(Uuid) -> Result<Arc<Settings>, E>,
) -> Result<Stored, E> {
    let record: VersionRecord = decode(row)?;
    let or_own = |id| Ok::<_, Damaged>(optional_id(id)?.unwrap_or(own));
    let place = Place {
        branch: or_own(record.branch)?,
        seq: record.seq,
        depth: record.depth,
        settings: or_own(record.settings)?,
    };
    let version = Version {
        id: ConversationId(own),
        parent_id: optional_id(record.parent_id)?.map(ConversationId),
        root_id: ConversationId(or_own(record.root_id)?),
        turn_state: turn::state(record.turn_state)?,
        created_at: Time { unix_us: record.created_at_us },
        settings: settings(place.settings)?,
        entry_count: record.entry_count,
        turn_count: record.turn_count,
        spend: record.spend.map(Spend::from).unwrap_or_default(),
        pending_calls: record.pending_calls,
        last_entry: record.last_entry.map(|bytes| entry_id(&bytes)).transpose()?,
    };
    Ok(Stored { version, place })
}

/// A run of a branch's turns that a history goes through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Segment {
    /// The branch.
    pub(in crate::store) branch: Uuid,
    /// Its last turn of which the history has anything.
    pub(in crate::store) last_seq: u32,
    /// Where the history leaves it: may lie in the middle of that turn.
    pub(in crate::store) end: u64,
}

/// What a branch grew out of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Ancestry {
    /// The version that the branch was opened on.
    pub(in crate::store) parent: Uuid,
    /// The branch of that version.
    pub(in crate::store) parent_branch: Uuid,
    /// Its place there.
    pub(in crate::store) parent_seq: u32,
    /// The number of branches above.
    pub(in crate::store) depth: u32,
    /// The settings of the branch's first version.
    pub(in crate::store) settings: Uuid,
    /// The branch whose ancestry comes before `segments`, if they are not all.
    pub(in crate::store) base: Option<Uuid>,
    /// What the history goes through, oldest first.
    pub(in crate::store) segments: Vec<Segment>,
}

#[derive(Clone, PartialEq, Message)]
struct AncestryRecord {
    #[prost(bytes = "vec", tag = "1")]
    parent: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    parent_branch: Vec<u8>,
    #[prost(uint32, tag = "3")]
    parent_seq: u32,
    #[prost(uint32, tag = "4")]
    depth: u32,
    #[prost(bytes = "vec", tag = "5")]
    settings: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "6")]
    base: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "7")]
    segments: Vec<SegmentRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct SegmentRecord {
    #[prost(bytes = "vec", tag = "1")]
    branch: Vec<u8>,
    #[prost(uint32, tag = "2")]
    last_seq: u32,
    #[prost(uint64, tag = "3")]
    end: u64,
}

/// An ancestry's row.
pub(in crate::store) fn encode_ancestry(ancestry: &Ancestry) -> Vec<u8> {
    let Ancestry { parent, parent_branch, parent_seq, depth, settings, base, segments } = ancestry;
    let segment = |segment: &Segment| SegmentRecord {
        branch: id_bytes(segment.branch),
        last_seq: segment.last_seq,
        end: segment.end,
    };
    encode(&AncestryRecord {
        parent: id_bytes(*parent),
        parent_branch: id_bytes(*parent_branch),
        parent_seq: *parent_seq,
        depth: *depth,
        settings: id_bytes(*settings),
        base: base.map(id_bytes),
        segments: segments.iter().map(segment).collect(),
    })
}

/// The ancestry of a row.
pub(in crate::store) fn decode_ancestry(row: &[u8]) -> Result<Ancestry, Damaged> {
    let AncestryRecord { parent, parent_branch, parent_seq, depth, settings, base, segments } = decode(row)?;
    let segment =
        |record: SegmentRecord| Ok(Segment { branch: id(&record.branch)?, last_seq: record.last_seq, end: record.end });
    Ok(Ancestry {
        parent: id(&parent)?,
        parent_branch: id(&parent_branch)?,
        parent_seq,
        depth,
        settings: id(&settings)?,
        base: optional_id(base)?,
        segments: segments.into_iter().map(segment).collect::<Result<_, Damaged>>()?,
    })
}

#[derive(Clone, PartialEq, Message)]
struct RequestRecord {
    #[prost(bytes = "vec", tag = "1")]
    turn: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    fingerprint: Vec<u8>,
}

/// A request's row.
pub(in crate::store) fn encode_request(turn: TurnId, fingerprint: [u8; 16]) -> Vec<u8> {
    encode(&RequestRecord { turn: id_bytes(turn.0), fingerprint: fingerprint.to_vec() })
}

/// The turn that answered a request, and the request's fingerprint.
pub(in crate::store) fn decode_request(row: &[u8]) -> Result<(TurnId, [u8; 16]), Damaged> {
    let RequestRecord { turn, fingerprint } = decode(row)?;
    let fingerprint = fingerprint.try_into().map_err(|_| Damaged("a fingerprint has not 16 bytes"))?;
    Ok((TurnId(id(&turn)?), fingerprint))
}

/// A delete that has begun: the first turn that goes, and how it hangs on the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Intent {
    /// The tree.
    pub(in crate::store) root: Uuid,
    /// The version that is deleted with all below it.
    pub(in crate::store) version: Uuid,
    /// Its branch.
    pub(in crate::store) branch: Uuid,
    /// Its place there.
    pub(in crate::store) seq: u32,
    /// The version that it was made from.
    pub(in crate::store) parent: Option<Uuid>,
    /// When it began.
    pub(in crate::store) at: Time,
}

#[derive(Clone, PartialEq, Message)]
struct IntentRecord {
    #[prost(bytes = "vec", tag = "1")]
    root: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    version: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    branch: Vec<u8>,
    #[prost(uint32, tag = "4")]
    seq: u32,
    #[prost(bytes = "vec", optional, tag = "5")]
    parent: Option<Vec<u8>>,
    #[prost(sint64, tag = "6")]
    at_us: i64,
}

/// The row of a delete that has begun.
pub(in crate::store) fn encode_intent(intent: &Intent) -> Vec<u8> {
    let Intent { root, version, branch, seq, parent, at } = intent;
    encode(&IntentRecord {
        root: id_bytes(*root),
        version: id_bytes(*version),
        branch: id_bytes(*branch),
        seq: *seq,
        parent: parent.map(id_bytes),
        at_us: at.unix_us,
    })
}

/// The delete of a row.
pub(in crate::store) fn decode_intent(row: &[u8]) -> Result<Intent, Damaged> {
    let IntentRecord { root, version, branch, seq, parent, at_us } = decode(row)?;
    let (root, version, branch) = (id(&root)?, id(&version)?, id(&branch)?);
    Ok(Intent { root, version, branch, seq, parent: optional_id(parent)?, at: Time { unix_us: at_us } })
}

#[derive(Clone, Copy, PartialEq, Message)]
struct TimeRecord {
    #[prost(sint64, tag = "1")]
    unix_us: i64,
}

/// The row of a moment.
pub(in crate::store) fn encode_time(time: Time) -> Vec<u8> {
    encode(&TimeRecord { unix_us: time.unix_us })
}

/// The moment of a row.
pub(in crate::store) fn decode_time(row: &[u8]) -> Result<Time, Damaged> {
    let TimeRecord { unix_us } = decode(row)?;
    Ok(Time { unix_us })
}
