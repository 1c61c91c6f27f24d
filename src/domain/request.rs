//! What is asked for: a turn, decoded and checked, whoever asked for it.

use std::collections::BTreeMap;

use super::{
    agent::AgentPin,
    entry::EntryDraft,
    ids::{ConversationId, EntryId, Time},
    settings::CompletionArgs,
    spend::Budget,
    tool::Tool,
};

/// A turn to run. Its fields are checked; whether they fit the history is the engine's to find out.
#[derive(Debug, Clone)]
pub struct TurnRequest {
    /// What it runs on.
    pub base: Base,
    /// What is put in.
    pub inputs: Vec<EntryDraft>,
    /// What changes from here on.
    pub overrides: Overrides,
    /// Keep it.
    pub store: bool,
    /// Don't ask the model.
    pub skip_completion: bool,
    /// Makes it repeatable.
    pub request: Option<RequestKey>,
    /// How the request reaches a model.
    pub forwarding: Forwarding,
    /// How tools and agents are dealt with.
    pub tool_use: ToolUse,
    /// What becomes of a turn that is in flight on the same conversation.
    pub concurrency: Concurrency,
    /// It outlives the call: it is queued, durably, and run by the workers.
    pub background: Option<Background>,
    /// Told of its end: an http or https URL.
    pub callback_url: Option<String>,
    /// When its tree goes; only Start has any. `None`: as the configuration says.
    pub expiry: Option<Expiry>,
}

impl TurnRequest {
    /// Whether its caller is answered as soon as the turn is queued.
    pub fn leaves_at_once(&self) -> bool {
        self.background.as_ref().is_some_and(|background| !background.waits)
    }
}

/// What becomes of the turn in flight on the same conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Concurrency {
    /// Nothing: the new one makes a sibling.
    #[default]
    Fork = 1,
    /// The new one waits for it, and goes on from its result.
    Enqueue = 2,
    /// It is stopped, and the new one goes on from what it has.
    Interrupt = 3,
    /// It is stopped, and the new one goes on from its parent.
    Rollback = 4,
}

impl Concurrency {
    /// All of them, in the order of their numbers.
    pub const ALL: [Concurrency; 4] =
        [Concurrency::Fork, Concurrency::Enqueue, Concurrency::Interrupt, Concurrency::Rollback];
}

/// How a turn is run that outlives its call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Background {
    /// Not earlier than this.
    pub not_before: Option<Time>,
    /// -100 to 100; the higher one is run first.
    pub priority: i32,
    /// How often it may be tried; `None`: as often as the configuration says.
    pub max_attempts: Option<u32>,
    /// The caller waits for its end all the same. No part of the turn: it is not stored.
    pub waits: bool,
    /// Turns of one key wait in one line, and the lines take turns. At most 128 bytes; may be empty.
    pub fairness_key: String,
}

/// When a tree goes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// At a moment.
    At(Time),
    /// So many milliseconds after its beginning.
    After {
        /// At least 1.
        ms: u64,
    },
}

impl Expiry {
    /// The moment, of a tree that begins now.
    pub fn from(self, now: Time) -> Time {
        match self {
            Expiry::At(time) => time,
            Expiry::After { ms } => {
                let us = i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1000);
                Time { unix_us: now.unix_us.saturating_add(us) }
            }
        }
    }
}

/// How a turn deals with tools and agents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToolUse {
    /// A handoff ends the turn, and the caller lets the next agent go on.
    pub handoff_to_caller: bool,
    /// How often the model may ask for tools that the service runs; `None`: as often as the configuration says.
    pub max_rounds: Option<u32>,
    /// What was decided of calls that wait for consent.
    pub confirmations: Vec<ToolConfirmation>,
    /// Calls that the request does not answer are skipped. Otherwise they have to be answered.
    pub skip_pending: bool,
}

/// What a person decided of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolConfirmation {
    /// The call.
    pub tool_call_id: String,
    /// The tool may be run.
    pub allowed: bool,
    /// Why; may be empty.
    pub reason: String,
    /// In place of the model's: the text of a JSON object.
    pub arguments: Option<String>,
    /// Who; may be empty.
    pub decided_by: String,
}

/// What a turn runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// Nothing: a new tree.
    Start,
    /// A version.
    Append {
        /// The version.
        conversation_id: ConversationId,
        /// Only if it has no successors.
        require_head: bool,
    },
    /// A part of a version's history.
    Restart {
        /// The version.
        conversation_id: ConversationId,
        /// Up to this entry of it.
        from_entry_id: EntryId,
        /// The entry is kept.
        keep_entry: bool,
    },
}

/// What changes with this turn and from there on; `None` keeps what the version has.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Another model.
    pub model: Option<String>,
    /// Another agent.
    pub agent_id: Option<String>,
    /// The version of the agent to keep to.
    pub agent_pin: Option<AgentPin>,
    /// Other instructions; empty removes them.
    pub instructions: Option<String>,
    /// Other tools; empty removes them.
    pub tools: Option<Vec<Tool>>,
    /// Other arguments, in place of all.
    pub completion_args: Option<CompletionArgs>,
    /// Metadata; only Start has any.
    pub metadata: Option<BTreeMap<String, String>>,
    /// What the tree may spend; only Start has any.
    pub tree_budget: Option<Budget>,
}

/// How a turn's request reaches a model.
#[derive(Debug, Clone, Default)]
pub struct Forwarding {
    /// Which models are asked when the turn's own fails.
    pub fallback: Fallback,
    /// Another model continues what one has begun and failed to finish.
    pub continue_on_other_model: bool,
    /// What happens to a history that does not fit.
    pub truncation: Truncation,
    /// What the turn may spend.
    pub budget: Option<Budget>,
}

/// Which models are asked when the turn's own fails.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Fallback {
    /// Those of the configuration.
    #[default]
    Configured,
    /// None.
    Never,
    /// These, in this order.
    Models(Vec<String>),
}

/// What happens to a history that does not fit the context window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Truncation {
    /// The turn fails.
    #[default]
    Off,
    /// The oldest messages are not sent.
    DropOldest,
}

/// A caller's request id (AIP-155), with what tells a repeated request from another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    /// 1 to 128 visible ASCII characters.
    pub id: String,
    /// A hash of the request without its id.
    pub fingerprint: [u8; 16],
}
