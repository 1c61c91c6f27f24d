//! Batches on disk. What came of their items is in the rows of the results: each has the sums up to it.

use prost::Message;

use super::{
    Damaged, decode, encode, id, id_bytes, optional_id, required,
    spend::SpendRecord,
    turn::{self, FailureRecord},
};
use crate::domain::{Batch, BatchId, BatchOptions, BatchState, BatchTally, Failure, ItemResult, Spend, Time, TurnId};

#[derive(Clone, PartialEq, Message)]
struct BatchRecord {
    #[prost(uint32, tag = "1")]
    state: u32,
    #[prost(sint64, tag = "2")]
    created_at_us: i64,
    #[prost(sint64, optional, tag = "3")]
    ended_at_us: Option<i64>,
    #[prost(string, optional, tag = "4")]
    request_id: Option<String>,
    #[prost(uint32, tag = "5")]
    max_concurrency: u32,
    #[prost(sint32, tag = "6")]
    priority: i32,
    #[prost(string, tag = "7")]
    description: String,
}

#[derive(Clone, PartialEq, Message)]
struct ResultRecord {
    #[prost(uint32, tag = "1")]
    index: u32,
    #[prost(bytes = "vec", optional, tag = "2")]
    turn: Option<Vec<u8>>,
    /// In place of the turn: why the item was refused.
    #[prost(message, optional, tag = "3")]
    refused: Option<FailureRecord>,
    #[prost(uint32, tag = "4")]
    state: u32,
    #[prost(sint64, tag = "5")]
    at_us: i64,
    #[prost(message, optional, tag = "6")]
    tally: Option<TallyRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct TallyRecord {
    #[prost(uint32, tag = "1")]
    completed: u32,
    #[prost(uint32, tag = "2")]
    incomplete: u32,
    #[prost(uint32, tag = "3")]
    failed: u32,
    #[prost(uint32, tag = "4")]
    cancelled: u32,
    #[prost(message, optional, tag = "5")]
    spend: Option<SpendRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct RequestRecord {
    #[prost(bytes = "vec", tag = "1")]
    batch: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    fingerprint: Vec<u8>,
}

/// A batch's row. Neither its items nor what came of them are in it.
pub(in crate::store) fn encode_batch(batch: &Batch) -> Vec<u8> {
    let Batch { id: _, state, options, created_at, ended_at, items: _, tally: _ } = batch;
    let BatchOptions { request_id, max_concurrency, priority, description } = options;
    encode(&BatchRecord {
        state: *state as u32,
        created_at_us: created_at.unix_us,
        ended_at_us: ended_at.map(|time| time.unix_us),
        request_id: request_id.clone(),
        max_concurrency: *max_concurrency,
        priority: *priority,
        description: description.clone(),
    })
}

/// The batch of a row, as if it had no items.
pub(in crate::store) fn decode_batch(id: BatchId, row: &[u8]) -> Result<Batch, Damaged> {
    let BatchRecord { state, created_at_us, ended_at_us, request_id, max_concurrency, priority, description } =
        decode(row)?;
    let state = BatchState::ALL.into_iter().find(|known| *known as u32 == state);
    Ok(Batch {
        id,
        state: state.ok_or(Damaged("a batch is in an unknown state"))?,
        options: BatchOptions { request_id, max_concurrency, priority, description },
        created_at: Time { unix_us: created_at_us },
        ended_at: ended_at_us.map(|unix_us| Time { unix_us }),
        items: 0,
        tally: BatchTally::default(),
    })
}

/// A result's row. The sequence is the key's.
pub(in crate::store) fn encode_result(result: &ItemResult) -> Vec<u8> {
    let ItemResult { sequence: _, index, turn, state, at, tally } = result;
    encode(&ResultRecord {
        index: *index,
        turn: turn.as_ref().ok().map(|turn| id_bytes(turn.0)),
        refused: turn.as_ref().err().map(FailureRecord::from),
        state: turn::state_number(*state),
        at_us: at.unix_us,
        tally: Some(tally.into()),
    })
}

/// The result of a row.
pub(in crate::store) fn decode_result(sequence: u32, row: &[u8]) -> Result<ItemResult, Damaged> {
    let ResultRecord { index, turn, refused, state, at_us, tally } = decode(row)?;
    let turn = match optional_id(turn)? {
        Some(turn) => Ok(TurnId(turn)),
        None => Err(Failure::try_from(required(refused)?)?),
    };
    let at = Time { unix_us: at_us };
    Ok(ItemResult { sequence, index, turn, state: turn::state(state)?, at, tally: required(tally)?.into() })
}

/// The row of a request that made a batch.
pub(in crate::store) fn encode_batch_request(batch: BatchId, fingerprint: [u8; 16]) -> Vec<u8> {
    encode(&RequestRecord { batch: id_bytes(batch.0), fingerprint: fingerprint.to_vec() })
}

/// The batch that a request made, and the request's fingerprint.
pub(in crate::store) fn decode_batch_request(row: &[u8]) -> Result<(BatchId, [u8; 16]), Damaged> {
    let RequestRecord { batch, fingerprint } = decode(row)?;
    let fingerprint = fingerprint.try_into().map_err(|_| Damaged("a fingerprint has not 16 bytes"))?;
    Ok((BatchId(id(&batch)?), fingerprint))
}

impl From<&BatchTally> for TallyRecord {
    fn from(tally: &BatchTally) -> TallyRecord {
        let BatchTally { completed, incomplete, failed, cancelled, spend } = tally;
        TallyRecord {
            completed: *completed,
            incomplete: *incomplete,
            failed: *failed,
            cancelled: *cancelled,
            spend: Some(spend.into()),
        }
    }
}

impl From<TallyRecord> for BatchTally {
    fn from(record: TallyRecord) -> BatchTally {
        let TallyRecord { completed, incomplete, failed, cancelled, spend } = record;
        let spend = spend.map(Spend::from).unwrap_or_default();
        BatchTally { completed, incomplete, failed, cancelled, spend }
    }
}
