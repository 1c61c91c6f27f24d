//! Jobs: turns that outlive their calls, from the moment that they are accepted until they have ended. What was asked is
//! written once; a small row that is rewritten says how far the turn has come, and while it is there the turn exists.

use uuid::Uuid;

use super::{
    Ended, Inner, Store, Taken,
    error::Error,
    history::Row,
    keys::{self, CHUNK_BYTES},
    record::{
        job::{self, Head},
        row::{Part, pack},
    },
};
use crate::domain::{
    BatchId, Change, ChangeKind, Event, Job, Time, Turn, TurnId, TurnState, change::labels, request::Base,
};

/// So many jobs are written before other tasks get their turn.
const AT_ONCE: usize = 32;

/// What the end of a job says of it. Its rows go with the turn's commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JobEnd {
    /// How many attempts were begun.
    pub attempt: u32,
    /// The batch that it is of, and its place there.
    pub batch: Option<(BatchId, u32)>,
}

impl From<&Job> for JobEnd {
    fn from(job: &Job) -> JobEnd {
        JobEnd { attempt: job.state.attempt, batch: job.batch }
    }
}

impl Store {
    /// Accepts turns that outlive their calls. Durable when this returns, all with one sync. If the caller goes away, or a
    /// crash comes, some of them may have been accepted, from the first on.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub async fn add_jobs(&self, jobs: &[Job]) -> Result<(), Error> {
        let inner = &*self.inner;
        inner.flusher.writable()?;
        for jobs in jobs.chunks(AT_ONCE) {
            for job in jobs {
                inner.add_job(job).map_err(|error| inner.flusher.fail(error))?;
            }
            tokio::task::yield_now().await;
        }
        inner.flusher.flushed().await
    }

    /// Notes how far a job has come: `change` is that an attempt began, or that it failed and another one follows. Durable
    /// soon: nobody is told of it before, and after a crash the job is where it was.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]: it has ended. [`Error::Failed`].
    pub fn update_job(&self, job: &Job, change: ChangeKind, at: Time) -> Result<(), Error> {
        debug_assert!(matches!(change, ChangeKind::TurnStarted | ChangeKind::TurnRequeued));
        let inner = &*self.inner;
        inner.flusher.writable()?;
        let updated = inner.update_job(job, change, at).map_err(|error| inner.flusher.fail(error))?;
        inner.flusher.poke();
        if updated { Ok(()) } else { Err(Error::NotFound) }
    }

    /// All jobs, oldest first. What a crash left of those that have ended goes. Blocks.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn jobs(&self) -> Result<Vec<Job>, Error> {
        let inner = &*self.inner;
        let mut jobs = Vec::new();
        for key in inner.disk.keys_of(&keys::ALL_JOBS) {
            let turn = keys::job_turn(&key?);
            match inner.job(TurnId(turn))? {
                Some(job) => jobs.push(job),
                None if inner.flusher.writable().is_ok() => {
                    inner.erase_job(turn).map_err(|error| inner.flusher.fail(error))?;
                }
                None => {}
            }
        }
        Ok(jobs)
    }

    /// A job; `None` if there is none, or it has ended.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn job(&self, id: TurnId) -> Result<Option<Job>, Error> {
        self.inner.job(id)
    }

    /// Writes events of a job's turn before readers see them, so that they are the same after a crash. Durable when this
    /// returns. `opening`: the turn as it was when it was accepted. Not none, and not any twice.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]: the job has ended. [`Error::Failed`].
    pub async fn append_job_events(&self, id: TurnId, opening: &Turn, events: &[Event]) -> Result<(), Error> {
        let inner = &*self.inner;
        inner.flusher.writable()?;
        let Some(first) = events.first() else { return Ok(()) };
        if !inner.disk.contains(keys::job(id.0))? {
            return Err(Error::NotFound);
        }
        let turn = Turn { outputs: Vec::new(), ..opening.clone() };
        let row =
            pack(&Ended { turn, inputs: Vec::new(), events: events.to_vec(), request_fingerprint: None, kept: 0 });
        let written = inner.insert_row(Row::Seen(id.0, first.first_sequence), &row);
        written.map_err(|error| inner.flusher.fail(error))?;
        inner.flusher.flushed().await
    }

    /// The events of a job's turn that were written, in their order.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`].
    pub fn job_events(&self, id: TurnId) -> Result<Vec<Event>, Error> {
        let inner = &*self.inner;
        let mut events = Vec::new();
        for key in inner.disk.keys_of(&keys::seen_events(id.0)) {
            let (first, chunk) = keys::seen_place(&key?);
            if chunk == 0
                && let Some((head, row)) = inner.row(Row::Seen(id.0, first), Part::Log)?
            {
                events.extend(head.ended(&row)?.events);
            }
        }
        Ok(events)
    }
}

impl Inner {
    /// The row that says how far the job has come is the last: without it the others do not exist.
    fn add_job(&self, job: &Job) -> Result<(), Error> {
        let (request, head) = job::encode_request(job);
        self.insert_row(Row::Job(job.turn_id.0), &request)?;
        let key = job.request.request.as_ref();
        self.insert_request(key.map(|key| (key.id.as_str(), key.fingerprint)), job.turn_id)?;
        let change = self.job_change(job, ChangeKind::TurnQueued, job.created_at)?;
        let row = head.encode();
        self.log.write(&self.disk, change, || self.disk.insert(keys::job(job.turn_id.0), &row))
    }

    /// The same for a turn of a batch, unless the batch takes it no more, or has it.
    pub(super) fn add_job_of_batch(&self, job: &Job) -> Result<Taken, Error> {
        let Some((batch, index)) = job.batch else { return self.add_job(job).map(|()| Taken::New) };
        match self.may_take(batch, index)? {
            Taken::New => {}
            refused @ (Taken::Known | Taken::Closed) => return Ok(refused),
        }
        let (request, head) = job::encode_request(job);
        self.insert_row(Row::Job(job.turn_id.0), &request)?;
        let change = self.job_change(job, ChangeKind::TurnQueued, job.created_at)?;
        let (key, row) = (keys::job(job.turn_id.0), head.encode());
        let mut taken = Taken::Closed;
        let may_take = || {
            taken = self.may_take(batch, index)?;
            Ok(taken == Taken::New)
        };
        let accept = || self.take_item((batch, index), job.turn_id, || self.disk.insert(key, &row));
        if !self.log.write_if(&self.disk, change, may_take, accept)? && !self.disk.contains(key)? {
            self.erase_job(job.turn_id.0)?;
        }
        Ok(taken)
    }

    /// False: the job is no more.
    fn update_job(&self, job: &Job, kind: ChangeKind, at: Time) -> Result<bool, Error> {
        let key = keys::job(job.turn_id.0);
        let Some(row) = self.disk.get(key)? else { return Ok(false) };
        let mut head = Head::read(job.turn_id, &row)?;
        head.state = job.state.clone();
        let row = head.encode();
        let change = self.job_change(job, kind, at)?;
        // No row may be written of a turn that has ended meanwhile.
        let runs = || Ok(!self.has_ended(job.turn_id.0)? && self.disk.contains(key)?);
        self.log.write_if(&self.disk, change, runs, || self.disk.insert(key, &row))
    }

    fn job_change(&self, job: &Job, kind: ChangeKind, at: Time) -> Result<Change, Error> {
        let Job { turn_id, request, root, created_at: _, batch, state } = job;
        let parent_id = match &request.base {
            Base::Start => None,
            Base::Append { conversation_id, .. } | Base::Restart { conversation_id, .. } => Some(*conversation_id),
        };
        // If it is gone the turn will fail of that.
        let parent = parent_id.map(|id| self.version(id.0)).transpose()?.flatten();
        let settings = parent.map(|parent| parent.version.settings);
        let own = &request.overrides;
        let metadata = settings.as_ref().map(|settings| &settings.metadata).or(own.metadata.as_ref());
        let model = own.model.as_ref().or(settings.as_ref().map(|settings| &settings.model));
        let agent_id = own.agent_id.as_ref().or(settings.as_ref().and_then(|settings| settings.agent_id.as_ref()));
        Ok(Change {
            revision: 0,
            at,
            kind,
            turn_id: *turn_id,
            state: if state.running { TurnState::Running } else { TurnState::Queued },
            root_id: *root,
            parent_id,
            model: model.cloned().unwrap_or_default(),
            agent_id: agent_id.cloned(),
            labels: metadata.map(labels).unwrap_or_default(),
            attempt: state.attempt,
            batch: *batch,
            callback_url: request.callback_url.clone(),
        })
    }

    fn job(&self, id: TurnId) -> Result<Option<Job>, Error> {
        let Some(row) = self.disk.get(keys::job(id.0))? else { return Ok(None) };
        if self.has_ended(id.0)? {
            return Ok(None);
        }
        let head = Head::read(id, &row)?;
        let mut request = Vec::with_capacity(head.pieces() * CHUNK_BYTES);
        for chunk in 0..head.pieces() {
            let piece = self.disk.get(Row::Job(id.0).key(chunk))?;
            match piece {
                Some(piece) => request.extend_from_slice(&piece),
                // It ended at this moment.
                None if !self.disk.contains(keys::job(id.0))? || self.has_ended(id.0)? => return Ok(None),
                None => return Err(Error::failed(format_args!("what was asked of {id} is missing"))),
            }
        }
        Ok(Some(head.job(&request)?))
    }

    /// Whether a turn has made a version, has failed, or was deleted.
    pub(super) fn has_ended(&self, turn: Uuid) -> Result<bool, Error> {
        Ok(self.exists(turn)?
            || self.disk.contains(keys::failed(turn, 0))?
            || self.disk.contains(keys::deleted(turn))?)
    }

    /// The row that the others hang on goes last, so that whoever begins anew finds all that is left.
    pub(super) fn erase_job(&self, turn: Uuid) -> Result<(), Error> {
        self.erase_all(self.disk.keys_of(&keys::seen_events(turn)))?;
        self.erase_all(self.disk.keys_of(&keys::job_pieces(turn)))?;
        self.disk.remove(keys::job(turn))
    }

    /// Removes what a crash left of jobs that were not yet accepted.
    pub(super) fn heal_jobs(&self) -> Result<(), Error> {
        for prefix in keys::ALL_PARTS_OF_JOBS {
            for key in self.disk.keys_of(&prefix) {
                let key = key?;
                if !self.disk.contains(keys::job(keys::job_turn(&key)))? {
                    self.disk.remove(key)?;
                }
            }
        }
        Ok(())
    }
}
