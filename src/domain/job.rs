//! A turn that outlives its call: what was asked, and how far it has come. It is on disk from the moment that it is accepted
//! until it has ended.

use super::{
    failure::Failure,
    ids::{BatchId, ConversationId, Time, TurnId},
    request::TurnRequest,
};

/// A turn that waits for a worker, or has one.
#[derive(Debug, Clone)]
pub struct Job {
    /// The turn.
    pub turn_id: TurnId,
    /// What was asked. `background` is given.
    pub request: TurnRequest,
    /// The tree that it belongs to: for Start the one that it begins.
    pub root: ConversationId,
    /// When it was accepted.
    pub created_at: Time,
    /// The batch that it is of, and its place there.
    pub batch: Option<(BatchId, u32)>,
    /// How far it has come.
    pub state: JobState,
}

/// How far a job has come: what changes while it is queued and run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JobState {
    /// How many attempts were begun.
    pub attempt: u32,
    /// One is under way, or was when the server went down.
    pub running: bool,
    /// Not earlier than this.
    pub not_before: Option<Time>,
    /// The turn that was in flight on its conversation: it waits for that one and goes on from its result (ENQUEUE), or took its
    /// place.
    pub after: Option<TurnId>,
    /// What the last attempt failed of.
    pub error: Option<Failure>,
}
