//! Changes: what happened in the whole store, one after the other. A change says what, when and to which ids; what was said
//! in a conversation is never part of it.

use std::{collections::BTreeMap, hash::Hasher};

use siphasher::sip::SipHasher13;

use super::{
    ids::{BatchId, ConversationId, Time, TurnId},
    turn::TurnState,
};

/// One change of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// 1, 2, 3 … in the whole store, without gaps.
    pub revision: u64,
    /// When it happened.
    pub at: Time,
    /// What happened.
    pub kind: ChangeKind,
    /// The turn; its digits are those of the version that it makes. Of a batch that has ended: nil.
    pub turn_id: TurnId,
    /// Where the turn stands.
    pub state: TurnState,
    /// The tree.
    pub root_id: ConversationId,
    /// The version that the turn ran on.
    pub parent_id: Option<ConversationId>,
    /// The turn's model.
    pub model: String,
    /// The agent that led it.
    pub agent_id: Option<String>,
    /// The metadata of the tree, each pair by its [`label`].
    pub labels: Vec<u64>,
    /// Which attempt of a background turn, from 1; otherwise 0.
    pub attempt: u32,
    /// The batch that the turn is of, and its place there.
    pub batch: Option<(BatchId, u32)>,
    /// Told of the turn's end.
    pub callback_url: Option<String>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ChangeKind {
    /// A background turn was accepted.
    TurnQueued = 1,
    /// An attempt at a background turn began.
    TurnStarted = 2,
    /// An attempt failed, or the server was shut down in it, and another one follows.
    TurnRequeued = 3,
    /// A turn ended and made no version.
    TurnEnded = 4,
    /// A turn ended and made a version, or a version was imported.
    VersionCreated = 5,
    /// A version was deleted.
    VersionDeleted = 6,
    /// All turns of a batch have ended.
    BatchEnded = 7,
}

/// What filters ask of a turn, whatever becomes of it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The tree.
    pub root_id: ConversationId,
    /// The model.
    pub model: &'a str,
    /// The agent that leads it.
    pub agent_id: Option<&'a str>,
    /// The metadata of the tree, each pair by its [`label`].
    pub labels: &'a [u64],
    /// The batch that it is of.
    pub batch: Option<BatchId>,
}

impl Change {
    /// What it is about.
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            root_id: self.root_id,
            model: &self.model,
            agent_id: self.agent_id.as_deref(),
            labels: &self.labels,
            batch: self.batch.map(|(batch, _)| batch),
        }
    }

    /// Whether the turn has ended with it.
    pub fn ends_turn(&self) -> bool {
        matches!(self.kind, ChangeKind::TurnEnded | ChangeKind::VersionCreated)
    }
}

impl ChangeKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [ChangeKind; 7] = [
        ChangeKind::TurnQueued,
        ChangeKind::TurnStarted,
        ChangeKind::TurnRequeued,
        ChangeKind::TurnEnded,
        ChangeKind::VersionCreated,
        ChangeKind::VersionDeleted,
        ChangeKind::BatchEnded,
    ];

    /// The kind with this number.
    pub fn from_number(number: u8) -> Option<ChangeKind> {
        ChangeKind::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

impl Change {
    /// What happened and how the turn stands, in two words: what readers of changes and receivers of webhooks know it by.
    pub fn type_name(&self) -> &'static str {
        match self.kind {
            ChangeKind::TurnQueued => "turn.queued",
            ChangeKind::TurnStarted => "turn.started",
            ChangeKind::TurnRequeued => "turn.requeued",
            ChangeKind::VersionDeleted => "conversation.deleted",
            ChangeKind::BatchEnded => "batch.ended",
            ChangeKind::TurnEnded | ChangeKind::VersionCreated => match self.state {
                TurnState::Queued => "turn.queued",
                TurnState::Running => "turn.started",
                TurnState::RequiresAction => "turn.requires_action",
                TurnState::Completed => "turn.completed",
                TurnState::Incomplete => "turn.incomplete",
                TurnState::Failed => "turn.failed",
                TurnState::Cancelled => "turn.cancelled",
            },
        }
    }
}

/// What a pair of the metadata is found by: 64 bits of it, part of the store's format.
pub fn label(name: &str, value: &str) -> u64 {
    let mut hash = SipHasher13::new_with_keys(0x6361_7573_6572_6965, 1);
    hash.write_u64(name.len() as u64);
    hash.write(name.as_bytes());
    hash.write(value.as_bytes());
    hash.finish()
}

/// The labels of a tree's metadata.
pub fn labels(metadata: &BTreeMap<String, String>) -> Vec<u64> {
    metadata.iter().map(|(name, value)| label(name, value)).collect()
}

/// Which changes a reader wants. The default is all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChangeFilter {
    /// Only of this tree.
    pub root_id: Option<ConversationId>,
    /// Only with this model.
    pub model: Option<String>,
    /// Only with this agent.
    pub agent_id: Option<String>,
    /// Only with all of these pairs, by their [`label`]s.
    pub labels: Vec<u64>,
    /// Only of this batch.
    pub batch_id: Option<BatchId>,
    /// Only these kinds; empty: all.
    pub kinds: Vec<ChangeKind>,
    /// Only if the turn stands so; empty: however it stands. Says nothing of deletes and batches.
    pub states: Vec<TurnState>,
}

impl ChangeFilter {
    /// Whether a change is wanted.
    pub fn fits(&self, change: &Change) -> bool {
        let of_a_turn = !matches!(change.kind, ChangeKind::VersionDeleted | ChangeKind::BatchEnded);
        self.concerns(change.subject())
            && (self.kinds.is_empty() || self.kinds.contains(&change.kind))
            && (self.states.is_empty() || (of_a_turn && self.states.contains(&change.state)))
    }

    /// Whether a turn is one of those that are wanted, whatever happens to it.
    pub fn concerns(&self, of: Subject<'_>) -> bool {
        let ChangeFilter { root_id, model, agent_id, labels, batch_id, kinds: _, states: _ } = self;
        root_id.is_none_or(|root| root == of.root_id)
            && model.as_ref().is_none_or(|model| model == of.model)
            && agent_id.as_ref().is_none_or(|agent| Some(agent.as_str()) == of.agent_id)
            && batch_id.is_none_or(|batch| of.batch == Some(batch))
            && labels.iter().all(|label| of.labels.contains(label))
    }
}
