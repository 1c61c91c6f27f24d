//! The records on disk. They are types of their own: neither the domain's nor the public contract's may change them.
//!
//! Every row begins with a byte that names the version of its record; fields are prost's, written by hand, and are only added.

pub(super) mod agent;
pub(super) mod batch;
pub(super) mod change;
mod chunk;
pub(super) mod entry;
pub(super) mod job;
pub(super) mod log;
mod pieces;
mod request;
pub(super) mod row;
pub(super) mod settings;
pub(super) mod spend;
pub(super) mod tool;
pub(super) mod turn;
pub(super) mod version;
pub(super) mod webhook;

use prost::Message;
use uuid::Uuid;

use super::error::Error;
use crate::domain::{EntryId, ids::EntryKind};

/// The version of all records so far.
const VERSION: u8 = 1;

/// A row that can't be read: it is damaged, or a newer release wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damaged(pub(super) &'static str);

impl From<Damaged> for Error {
    fn from(damaged: Damaged) -> Error {
        Error::failed(format_args!("a row can't be read: {}", damaged.0))
    }
}

impl From<prost::DecodeError> for Damaged {
    fn from(_: prost::DecodeError) -> Damaged {
        Damaged("its fields are malformed")
    }
}

/// A row of one record.
pub(super) fn encode(record: &impl Message) -> Vec<u8> {
    let mut row = Vec::with_capacity(1 + record.encoded_len());
    row.push(VERSION);
    record.encode_raw(&mut row);
    row
}

/// The record of a row.
pub(super) fn decode<M: Message + Default>(row: &[u8]) -> Result<M, Damaged> {
    Ok(M::decode(unversioned(row)?)?)
}

fn unversioned(row: &[u8]) -> Result<&[u8], Damaged> {
    match row.split_first() {
        Some((&VERSION, record)) => Ok(record),
        Some(_) => Err(Damaged("its record has an unknown version")),
        None => Err(Damaged("it is empty")),
    }
}

fn id(bytes: &[u8]) -> Result<Uuid, Damaged> {
    Uuid::from_slice(bytes).map_err(|_| Damaged("an id has not 16 bytes"))
}

fn optional_id(bytes: Option<Vec<u8>>) -> Result<Option<Uuid>, Damaged> {
    bytes.map(|bytes| id(&bytes)).transpose()
}

fn id_bytes(id: Uuid) -> Vec<u8> {
    id.as_bytes().to_vec()
}

/// Bytes of an entry's id: its kind and its UUID.
const ENTRY_ID_BYTES: usize = 17;

fn entry_id_bytes(id: EntryId) -> [u8; ENTRY_ID_BYTES] {
    let mut bytes = [0; ENTRY_ID_BYTES];
    bytes[0] = id.kind as u8;
    bytes[1..].copy_from_slice(id.uuid.as_bytes());
    bytes
}

fn entry_id(bytes: &[u8]) -> Result<EntryId, Damaged> {
    let (&number, uuid) = bytes.split_first().ok_or(Damaged("an entry id is empty"))?;
    let kind = EntryKind::from_number(number).ok_or(Damaged("an entry id has an unknown kind"))?;
    Ok(EntryId { kind, uuid: id(uuid)? })
}

fn required<T>(value: Option<T>) -> Result<T, Damaged> {
    value.ok_or(Damaged("a field is missing"))
}

fn at<T: Clone>(values: &[T], index: u32) -> Result<T, Damaged> {
    values.get(index as usize).cloned().ok_or(Damaged("an index is out of range"))
}
