//! Jobs on disk: a small row that is rewritten with each step, and what was asked, which is written once.

use prost::Message;

use super::{
    Damaged, decode, encode, id, id_bytes, optional_id,
    request::TurnRequestRecord,
    required,
    row::{BlockRecord, COMPRESS_FROM_BYTES, block, decompress},
    turn::FailureRecord,
};
use crate::{
    domain::{BatchId, ConversationId, Failure, Job, JobState, Time, TurnId, request::TurnRequest},
    store::keys::CHUNK_BYTES,
};

#[derive(Clone, PartialEq, Message)]
struct JobRecord {
    /// None: the turn's own digits, as it begins a tree.
    #[prost(bytes = "vec", optional, tag = "1")]
    root: Option<Vec<u8>>,
    #[prost(sint64, tag = "2")]
    created_at_us: i64,
    #[prost(bytes = "vec", optional, tag = "3")]
    batch: Option<Vec<u8>>,
    #[prost(uint32, tag = "4")]
    batch_index: u32,
    /// What was asked, in rows of its own.
    #[prost(message, optional, tag = "5")]
    request: Option<BlockRecord>,
    #[prost(message, optional, tag = "6")]
    state: Option<StateRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct StateRecord {
    #[prost(uint32, tag = "1")]
    attempt: u32,
    #[prost(bool, tag = "2")]
    running: bool,
    #[prost(sint64, optional, tag = "3")]
    not_before_us: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "4")]
    after: Option<Vec<u8>>,
    #[prost(message, optional, tag = "5")]
    error: Option<FailureRecord>,
}

/// A job without what was asked.
#[derive(Debug, Clone)]
pub(in crate::store) struct Head {
    /// How far it has come.
    pub(in crate::store) state: JobState,
    turn: TurnId,
    /// The tree that it belongs to.
    pub(in crate::store) root: ConversationId,
    created_at: Time,
    /// The batch that it is of, and its place there.
    pub(in crate::store) batch: Option<(BatchId, u32)>,
    request: BlockRecord,
}

/// What was asked, not yet cut into pieces, and the head of the job.
pub(in crate::store) fn encode_request(job: &Job) -> (Vec<u8>, Head) {
    let Job { turn_id, request, root, created_at, batch, state } = job;
    let (row, request) = block(TurnRequestRecord::from(request).encode_to_vec(), COMPRESS_FROM_BYTES);
    let (turn, root, created_at, batch) = (*turn_id, *root, *created_at, *batch);
    (row, Head { state: state.clone(), turn, root, created_at, batch, request })
}

impl Head {
    /// The head of a job's row.
    pub(in crate::store) fn read(turn: TurnId, row: &[u8]) -> Result<Head, Damaged> {
        let JobRecord { root, created_at_us, batch, batch_index, request, state } = decode(row)?;
        Ok(Head {
            state: required(state)?.try_into()?,
            turn,
            root: ConversationId(optional_id(root)?.unwrap_or(turn.0)),
            created_at: Time { unix_us: created_at_us },
            batch: optional_id(batch)?.map(|id| (BatchId(id), batch_index)),
            request: required(request)?,
        })
    }

    /// The job's row.
    pub(in crate::store) fn encode(&self) -> Vec<u8> {
        let Head { state, turn, root, created_at, batch, request } = self;
        encode(&JobRecord {
            root: (root.0 != turn.0).then(|| id_bytes(root.0)),
            created_at_us: created_at.unix_us,
            batch: batch.map(|(id, _)| id_bytes(id.0)),
            batch_index: batch.map_or(0, |(_, index)| index),
            request: Some(*request),
            state: Some(state.into()),
        })
    }

    /// The number of pieces that hold what was asked.
    pub(in crate::store) fn pieces(&self) -> usize {
        (self.request.stored as usize).div_ceil(CHUNK_BYTES)
    }

    /// The whole job, given what was asked.
    pub(in crate::store) fn job(self, row: &[u8]) -> Result<Job, Damaged> {
        let Head { state, turn, root, created_at, batch, request: block } = self;
        let request: TurnRequestRecord = decompress(row, &block)?;
        let request = TurnRequest::try_from(request)?;
        Ok(Job { turn_id: turn, request, root, created_at, batch, state })
    }
}

impl From<&JobState> for StateRecord {
    fn from(state: &JobState) -> StateRecord {
        let JobState { attempt, running, not_before, after, error } = state;
        StateRecord {
            attempt: *attempt,
            running: *running,
            not_before_us: not_before.map(|time| time.unix_us),
            after: after.map(|turn| id_bytes(turn.0)),
            error: error.as_ref().map(FailureRecord::from),
        }
    }
}

impl TryFrom<StateRecord> for JobState {
    type Error = Damaged;

    fn try_from(record: StateRecord) -> Result<JobState, Damaged> {
        let StateRecord { attempt, running, not_before_us, after, error } = record;
        Ok(JobState {
            attempt,
            running,
            not_before: not_before_us.map(|unix_us| Time { unix_us }),
            after: after.map(|bytes| Ok::<_, Damaged>(TurnId(id(&bytes)?))).transpose()?,
            error: error.map(Failure::try_from).transpose()?,
        })
    }
}
