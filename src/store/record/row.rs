//! A turn's row: a short head, the entries' ids, the entries, the turn with its event log. Each part is read without the ones
//! behind it: a history needs no event, and a search for an entry needs no text.
//!
//! Layout: version byte, length of the head in one byte, head, ids of 17 bytes, entries, log. The last two are compressed where
//! it pays.

use std::sync::Arc;

use prost::Message;
use uuid::Uuid;

use super::{
    Damaged, ENTRY_ID_BYTES, VERSION, entry::EntryRecord, entry_id, entry_id_bytes, id, id_bytes, log, required,
    unversioned,
};
use crate::{
    domain::{Entry, EntryId, Turn, TurnId},
    store::{Ended, keys::CHUNK_BYTES},
};

/// Below so many bytes a block is not worth compressing.
pub(super) const COMPRESS_FROM_BYTES: usize = 256;
/// The same for a row that is written anew with each tool: below this it costs more time than the bytes do.
const COMPRESS_JOURNALED_FROM_BYTES: usize = 16 << 10;

#[derive(Clone, PartialEq, Message)]
struct HeadRecord {
    #[prost(bytes = "vec", tag = "1")]
    turn: Vec<u8>,
    #[prost(uint64, tag = "2")]
    first_entry: u64,
    #[prost(uint32, tag = "3")]
    inputs: u32,
    #[prost(uint32, tag = "4")]
    outputs: u32,
    #[prost(message, optional, tag = "5")]
    entries: Option<BlockRecord>,
    #[prost(message, optional, tag = "6")]
    log: Option<BlockRecord>,
}

/// A part of a row that may be compressed.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct BlockRecord {
    /// Bytes in the row.
    #[prost(uint32, tag = "1")]
    pub(super) stored: u32,
    /// Bytes when it is decompressed; 0: it is not compressed.
    #[prost(uint32, tag = "2")]
    raw: u32,
}

#[derive(Clone, PartialEq, Message)]
struct EntriesRecord {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<EntryRecord>,
}

/// The row of a turn, not yet cut into pieces.
pub(in crate::store) fn pack(ended: &Ended) -> Vec<u8> {
    pack_compressed(ended, COMPRESS_FROM_BYTES)
}

/// The same for a turn in the middle of its work.
pub(in crate::store) fn pack_journaled(ended: &Ended) -> Vec<u8> {
    pack_compressed(ended, COMPRESS_JOURNALED_FROM_BYTES)
}

fn pack_compressed(ended: &Ended, from_bytes: usize) -> Vec<u8> {
    let Ended { turn, inputs, events, request_fingerprint, kept } = ended;
    let all = || inputs.iter().chain(&turn.outputs);
    let entries = EntriesRecord { entries: all().map(|entry| (&**entry).into()).collect() };
    let log = log::LogRecord::from(&log::Written { turn, inputs, events, fingerprint: *request_fingerprint });
    let (entries, entries_block) = block(entries.encode_to_vec(), from_bytes);
    let (log, log_block) = block(log.encode_to_vec(), from_bytes);
    let head = HeadRecord {
        turn: id_bytes(turn.id.0),
        first_entry: *kept,
        inputs: inputs.len() as u32,
        outputs: turn.outputs.len() as u32,
        entries: Some(entries_block),
        log: Some(log_block),
    };
    let head_bytes = head.encoded_len();
    let ids_bytes = all().count() * ENTRY_ID_BYTES;
    let mut row = Vec::with_capacity(2 + head_bytes + ids_bytes + entries.len() + log.len());
    row.push(VERSION);
    row.push(u8::try_from(head_bytes).expect("an id and six numbers have less than 100 bytes"));
    head.encode_raw(&mut row);
    row.extend(all().flat_map(|entry| entry_id_bytes(entry.id)));
    row.extend_from_slice(&entries);
    row.extend_from_slice(&log);
    row
}

/// A block, and how it is written.
pub(super) fn block(raw: Vec<u8>, compress_from_bytes: usize) -> (Vec<u8>, BlockRecord) {
    let raw_bytes = raw.len() as u32;
    if raw.len() >= compress_from_bytes {
        let compressed = lz4_flex::block::compress(&raw);
        if compressed.len() < raw.len() - raw.len() / 8 {
            let record = BlockRecord { stored: compressed.len() as u32, raw: raw_bytes };
            return (compressed, record);
        }
    }
    (raw, BlockRecord { stored: raw_bytes, raw: 0 })
}

/// The head of a turn's row: what is where.
#[derive(Debug, Clone)]
pub(in crate::store) struct Head {
    /// The turn, and its version if it made one.
    pub(in crate::store) id: Uuid,
    /// The first entry's place in the history.
    pub(in crate::store) first_entry: u64,
    inputs: usize,
    outputs: usize,
    ids_at: usize,
    entries: BlockRecord,
    log: BlockRecord,
}

/// How much of a row is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Part {
    /// The entries' ids.
    Ids,
    /// The entries, too.
    Entries,
    /// All.
    Log,
}

impl Head {
    /// The head of a row, from its first piece.
    pub(in crate::store) fn read(row: &[u8]) -> Result<Head, Damaged> {
        let (&head_bytes, rest) = unversioned(row)?.split_first().ok_or(Damaged("it has no head"))?;
        let head = rest.get(..head_bytes.into()).ok_or(Damaged("its head is cut"))?;
        let HeadRecord { turn, first_entry, inputs, outputs, entries, log } = HeadRecord::decode(head)?;
        Ok(Head {
            id: id(&turn)?,
            first_entry,
            inputs: inputs as usize,
            outputs: outputs as usize,
            ids_at: 2 + usize::from(head_bytes),
            entries: required(entries)?,
            log: required(log)?,
        })
    }

    /// The number of the row's entries.
    pub(in crate::store) fn entry_count(&self) -> usize {
        self.inputs + self.outputs
    }

    fn end(&self, part: Part) -> usize {
        let ids_end = self.ids_at + self.entry_count() * ENTRY_ID_BYTES;
        let entries_end = ids_end + self.entries.stored as usize;
        match part {
            Part::Ids => ids_end,
            Part::Entries => entries_end,
            Part::Log => entries_end + self.log.stored as usize,
        }
    }

    /// The number of pieces that hold this part and all before it.
    pub(in crate::store) fn pieces(&self, part: Part) -> usize {
        self.end(part).div_ceil(CHUNK_BYTES)
    }

    /// The ids of the row's entries.
    pub(in crate::store) fn ids(&self, row: &[u8]) -> Result<Vec<EntryId>, Damaged> {
        let ids = row.get(self.ids_at..self.end(Part::Ids)).ok_or(Damaged("its ids are cut"))?;
        ids.chunks(ENTRY_ID_BYTES).map(entry_id).collect()
    }

    /// The row's entries, each with its size in bytes: about what it takes in a message.
    pub(in crate::store) fn entries(&self, row: &[u8]) -> Result<Vec<(Arc<Entry>, usize)>, Damaged> {
        let stored = row.get(self.end(Part::Ids)..self.end(Part::Entries)).ok_or(Damaged("its entries are cut"))?;
        let EntriesRecord { entries } = decompress(stored, &self.entries)?;
        let ids = self.ids(row)?;
        if entries.len() != ids.len() {
            return Err(Damaged("it has not as many entries as ids"));
        }
        let sized = |(entry, id): (EntryRecord, EntryId)| {
            let bytes = entry.encoded_len() + ENTRY_ID_BYTES;
            Ok((Arc::new(entry.into_entry(id)?), bytes))
        };
        entries.into_iter().zip(ids).map(sized).collect()
    }

    /// All that the row holds.
    pub(in crate::store) fn ended(&self, row: &[u8]) -> Result<Ended, Damaged> {
        let mut inputs: Vec<_> = self.entries(row)?.into_iter().map(|(entry, _)| entry).collect();
        let outputs = inputs.split_off(self.inputs);
        let stored = row.get(self.end(Part::Entries)..self.end(Part::Log)).ok_or(Damaged("its log is cut"))?;
        let record: log::LogRecord = decompress(stored, &self.log)?;
        let log::Read { turn, events, fingerprint } = record.read(TurnId(self.id), &inputs, &outputs)?;
        Ok(Ended { turn, inputs, events, request_fingerprint: fingerprint, kept: self.first_entry })
    }

    /// The turn alone, without its outputs: most of the row is not unpacked.
    pub(in crate::store) fn turn(&self, row: &[u8]) -> Result<Turn, Damaged> {
        let stored = row.get(self.end(Part::Entries)..self.end(Part::Log)).ok_or(Damaged("its log is cut"))?;
        let record: log::TurnOfLog = decompress(stored, &self.log)?;
        required(record.turn)?.into_turn(TurnId(self.id), Vec::new())
    }
}

/// What a block holds.
pub(super) fn decompress<M: Message + Default>(stored: &[u8], block: &BlockRecord) -> Result<M, Damaged> {
    if block.raw == 0 {
        return Ok(M::decode(stored)?);
    }
    // LZ4 packs at most 255 to 1: a damaged length must not make us allocate gigabytes.
    if block.raw as usize > stored.len() * 256 {
        return Err(Damaged("the length of a block is impossible"));
    }
    let raw = lz4_flex::block::decompress(stored, block.raw as usize);
    Ok(M::decode(raw.map_err(|_| Damaged("a block can't be decompressed"))?.as_slice())?)
}
