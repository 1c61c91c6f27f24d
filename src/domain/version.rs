//! A version of a conversation: an immutable snapshot of a history, and its place in the tree.

use std::sync::Arc;

use super::{
    ids::{ConversationId, EntryId, Time},
    settings::Settings,
    spend::Spend,
    turn::TurnState,
};

/// An immutable snapshot of a history. Whether it is a head changes and is therefore not part of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// Its name.
    pub id: ConversationId,
    /// The version that it was made from.
    pub parent_id: Option<ConversationId>,
    /// The first version of the tree.
    pub root_id: ConversationId,
    /// How the turn that made it ended.
    pub turn_state: TurnState,
    /// When it was made.
    pub created_at: Time,
    /// What it fixes for the turns that run on it.
    pub settings: Arc<Settings>,
    /// Entries in its history.
    pub entry_count: u64,
    /// Turns that led to it, itself included.
    pub turn_count: u64,
    /// What the turns of its history used, itself included. A turn whose outputs a restart dropped is none of them.
    pub spend: Spend,
    /// Function calls that wait for results, in the order of the history.
    pub pending_calls: Vec<String>,
    /// What the history ends with; `None` if it is empty.
    pub last_entry: Option<EntryId>,
}
