//! A turn: one run of the model over a version.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    entry::Entry,
    failure::Failure,
    ids::{BatchId, ConversationId, Time, TurnId},
    job::JobState,
    money::Money,
    omission::Omission,
    spend::ModelUsage,
};

/// One run of the model over a version, as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Its id.
    pub id: TurnId,
    /// Where it stands.
    pub state: TurnState,
    /// Why the model stopped, if it did.
    pub finish_reason: Option<FinishReason>,
    /// The version that it made, if it did.
    pub conversation_id: Option<ConversationId>,
    /// The version that it ran on; `None` for Start.
    pub parent_id: Option<ConversationId>,
    /// The model that was asked; empty if none was.
    pub model: String,
    /// The agent that led it.
    pub agent_id: Option<String>,
    /// The version of the agent that led it at its beginning; from 1.
    pub agent_version: Option<u32>,
    /// What came out.
    pub outputs: Vec<Arc<Entry>>,
    /// What it used.
    pub usage: Usage,
    /// What that costs; `None`: the price of a model is not known, or none was asked.
    pub cost: Option<Money>,
    /// What each model used and how often it was asked, in the order in which they were; empty if one model was asked once.
    pub models: Vec<ModelUsage>,
    /// What the model was not told of the history.
    pub omissions: Vec<Omission>,
    /// Why it failed, was cancelled or is incomplete.
    pub error: Option<Failure>,
    /// When it was accepted.
    pub created_at: Time,
    /// When it ended.
    pub completed_at: Option<Time>,
    /// The sequence of its newest event.
    pub last_sequence: u64,
    /// The caller's request id.
    pub request_id: Option<String>,
    /// How far it has come as a background turn, while it is one.
    pub background: Option<Box<BackgroundState>>,
}

/// How far a background turn has come.
#[derive(Debug, Clone, PartialEq)]
pub struct BackgroundState {
    /// How far its job has come.
    pub job: JobState,
    /// How many attempts there may be.
    pub max_attempts: u32,
    /// The batch that it is of, and its place there.
    pub batch: Option<(BatchId, u32)>,
}

/// Where a turn stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum TurnState {
    /// Waits for its place.
    Queued = 1,
    /// The model is at work.
    Running = 2,
    /// Ended: functions are to be run.
    RequiresAction = 3,
    /// Ended well.
    Completed = 4,
    /// Ended: cut off after output began; a version was made.
    Incomplete = 5,
    /// Ended without a version.
    Failed = 6,
    /// Cancelled before output began.
    Cancelled = 7,
}

impl TurnState {
    /// All states, in the order of their numbers.
    pub const ALL: [TurnState; 7] = [
        TurnState::Queued,
        TurnState::Running,
        TurnState::RequiresAction,
        TurnState::Completed,
        TurnState::Incomplete,
        TurnState::Failed,
        TurnState::Cancelled,
    ];

    /// Nothing more comes of the turn.
    pub fn has_ended(self) -> bool {
        !matches!(self, TurnState::Queued | TurnState::Running)
    }
}

/// Why the model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FinishReason {
    /// It was done.
    Stop = 1,
    /// max_tokens was reached.
    Length = 2,
    /// It asks for functions.
    ToolCalls = 3,
    /// The provider's filter stopped it.
    ContentFilter = 4,
    /// The context window was full.
    ModelLength = 5,
    /// The provider failed in the middle.
    Error = 6,
}

/// What a turn used, as the provider counts. All are tokens but the calls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// Read.
    pub prompt_tokens: u64,
    /// Written.
    pub completion_tokens: u64,
    /// Both, and connectors.
    pub total_tokens: u64,
    /// Part of the prompt that was cached.
    pub cached_tokens: u64,
    /// Part of the completion spent on thinking.
    pub reasoning_tokens: u64,
    /// Fed to the model by the provider's tools.
    pub connector_tokens: u64,
    /// Calls of the provider's tools.
    pub connector_calls: BTreeMap<String, u64>,
    /// Some of it is our estimate: an answer was cut off before the provider told what it used.
    pub estimated: bool,
}

impl Usage {
    /// Adds what was used besides.
    pub fn add(&mut self, other: &Usage) {
        // In full, so that a new field can't be forgotten here.
        let Usage {
            prompt_tokens,
            completion_tokens,
            total_tokens,
            cached_tokens,
            reasoning_tokens,
            connector_tokens,
            connector_calls,
            estimated,
        } = other;
        let sum = |to: &mut u64, more: u64| *to = to.saturating_add(more);
        sum(&mut self.prompt_tokens, *prompt_tokens);
        sum(&mut self.completion_tokens, *completion_tokens);
        sum(&mut self.total_tokens, *total_tokens);
        sum(&mut self.cached_tokens, *cached_tokens);
        sum(&mut self.reasoning_tokens, *reasoning_tokens);
        sum(&mut self.connector_tokens, *connector_tokens);
        for (tool, calls) in connector_calls {
            sum(self.connector_calls.entry(tool.clone()).or_default(), *calls);
        }
        self.estimated |= estimated;
    }
}
