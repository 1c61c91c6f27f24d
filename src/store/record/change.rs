//! Changes on disk. The revision is the key's.

use prost::Message;

use super::{Damaged, decode, encode, id, id_bytes, optional_id, turn};
use crate::domain::{BatchId, Change, ChangeKind, ConversationId, Time, TurnId};

#[derive(Clone, PartialEq, Message)]
struct ChangeRecord {
    #[prost(sint64, tag = "1")]
    at_us: i64,
    #[prost(uint32, tag = "2")]
    kind: u32,
    #[prost(bytes = "vec", tag = "3")]
    turn: Vec<u8>,
    #[prost(uint32, tag = "4")]
    state: u32,
    /// None: the turn's own digits, as it begins a tree.
    #[prost(bytes = "vec", optional, tag = "5")]
    root: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "6")]
    parent: Option<Vec<u8>>,
    #[prost(string, tag = "7")]
    model: String,
    #[prost(string, optional, tag = "8")]
    agent_id: Option<String>,
    #[prost(fixed64, repeated, tag = "9")]
    labels: Vec<u64>,
    #[prost(uint32, tag = "10")]
    attempt: u32,
    #[prost(bytes = "vec", optional, tag = "11")]
    batch: Option<Vec<u8>>,
    #[prost(uint32, tag = "12")]
    batch_index: u32,
    #[prost(string, optional, tag = "13")]
    callback_url: Option<String>,
}

/// A change's row.
pub(in crate::store) fn encode_change(change: &Change) -> Vec<u8> {
    let Change {
        revision: _,
        at,
        kind,
        turn_id,
        state,
        root_id,
        parent_id,
        model,
        agent_id,
        labels,
        attempt,
        batch,
        callback_url,
    } = change;
    encode(&ChangeRecord {
        at_us: at.unix_us,
        kind: *kind as u32,
        turn: id_bytes(turn_id.0),
        state: turn::state_number(*state),
        root: (root_id.0 != turn_id.0).then(|| id_bytes(root_id.0)),
        parent: parent_id.map(|id| id_bytes(id.0)),
        model: model.clone(),
        agent_id: agent_id.clone(),
        labels: labels.clone(),
        attempt: *attempt,
        batch: batch.map(|(id, _)| id_bytes(id.0)),
        batch_index: batch.map_or(0, |(_, index)| index),
        callback_url: callback_url.clone(),
    })
}

/// The change of a row.
pub(in crate::store) fn decode_change(revision: u64, row: &[u8]) -> Result<Change, Damaged> {
    let record: ChangeRecord = decode(row)?;
    let turn_id = TurnId(id(&record.turn)?);
    let kind = u8::try_from(record.kind).ok().and_then(ChangeKind::from_number);
    Ok(Change {
        revision,
        at: Time { unix_us: record.at_us },
        kind: kind.ok_or(Damaged("a change is of an unknown kind"))?,
        turn_id,
        state: turn::state(record.state)?,
        root_id: ConversationId(optional_id(record.root)?.unwrap_or(turn_id.0)),
        parent_id: optional_id(record.parent)?.map(ConversationId),
        model: record.model,
        agent_id: record.agent_id,
        labels: record.labels,
        attempt: record.attempt,
        batch: optional_id(record.batch)?.map(|id| (BatchId(id), record.batch_index)),
        callback_url: record.callback_url,
    })
}
