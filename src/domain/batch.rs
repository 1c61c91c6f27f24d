//! Batches: many turns that are run as one.

use super::{
    failure::Failure,
    ids::{BatchId, Time, TurnId},
    money::Money,
    spend::Spend,
    turn::{TurnState, Usage},
};

/// Many turns that are run as one, as they stand.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Its name.
    pub id: BatchId,
    /// Where it stands.
    pub state: BatchState,
    /// What was asked.
    pub options: BatchOptions,
    /// When it was made.
    pub created_at: Time,
    /// When its last item ended.
    pub ended_at: Option<Time>,
    /// Items that were taken.
    pub items: u32,
    /// What came of those that have ended.
    pub tally: BatchTally,
}

impl Batch {
    /// A batch without items.
    pub fn new(id: BatchId, options: BatchOptions, created_at: Time) -> Batch {
        let (state, tally) = (BatchState::Open, BatchTally::default());
        Batch { id, state, options, created_at, ended_at: None, items: 0, tally }
    }

    /// Whether all its items have ended, and there will be no others.
    pub fn is_over(&self) -> bool {
        self.state != BatchState::Open && self.tally.ended() == self.items
    }
}

/// Items of a batch at most.
pub const MAX_ITEMS: u32 = 100_000;

/// Where a batch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum BatchState {
    /// Items are still taken.
    Open = 1,
    /// All items are there.
    Running = 2,
    /// All items have ended.
    Ended = 3,
    /// Somebody stopped it; it stays so when all its items have ended.
    Cancelled = 4,
}

impl BatchState {
    /// All states, in the order of their numbers.
    pub const ALL: [BatchState; 4] = [BatchState::Open, BatchState::Running, BatchState::Ended, BatchState::Cancelled];
}

/// How a batch is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchOptions {
    /// Makes it repeatable.
    pub request_id: Option<String>,
    /// How many items may run at once; at least 1.
    pub max_concurrency: u32,
    /// For items that have none.
    pub priority: i32,
    /// For people; may be empty.
    pub description: String,
}

/// What came of the items of a batch that have ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchTally {
    /// Those that ended well; also those whose functions are to be run.
    pub completed: u32,
    /// Those that were cut off.
    pub incomplete: u32,
    /// Those that failed or were refused.
    pub failed: u32,
    /// Those that were cancelled.
    pub cancelled: u32,
    /// What all of them used.
    pub spend: Spend,
}

impl BatchTally {
    /// How many items have ended: also the sequence of the newest result.
    pub fn ended(&self) -> u32 {
        self.completed + self.incomplete + self.failed + self.cancelled
    }

    /// With one more item.
    #[must_use]
    pub fn and(mut self, state: TurnState, usage: &Usage, cost: Option<Money>) -> BatchTally {
        match state {
            TurnState::Completed | TurnState::RequiresAction => self.completed += 1,
            TurnState::Incomplete => self.incomplete += 1,
            // An item that has ended neither waits nor runs.
            TurnState::Failed | TurnState::Queued | TurnState::Running => self.failed += 1,
            TurnState::Cancelled => self.cancelled += 1,
        }
        self.spend = self.spend.and(usage, cost);
        self
    }
}

/// What came of an item.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemResult {
    /// 1, 2, 3 … in the batch, without gaps.
    pub sequence: u32,
    /// The item's place in the batch.
    pub index: u32,
    /// The turn that it became, or why it was refused.
    pub turn: Result<TurnId, Failure>,
    /// How the turn ended.
    pub state: TurnState,
    /// When the item ended.
    pub at: Time,
    /// What came of this item and all before it.
    pub tally: BatchTally,
}
