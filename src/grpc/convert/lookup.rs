//! The small requests: they name one thing.

use super::{
    path::Path,
    rules,
    violations::{self, Rules},
};
use crate::{
    domain::{ConversationId, EntryId, Failure, TurnId},
    proto,
};

/// The id of a version, in the field `field`.
pub fn conversation_id(field: &str, text: &str) -> Result<ConversationId, Failure> {
    violations::read(Rules::All, |violations| rules::conversation_id(&Path::root(field), text, violations))
}

/// The id of a turn, in the field `field`.
pub fn turn_id(field: &str, text: &str) -> Result<TurnId, Failure> {
    violations::read(Rules::All, |violations| rules::turn_id(&Path::root(field), text, violations))
}

/// The id of an entry, in the field `field`.
pub fn entry_id(field: &str, text: &str) -> Result<EntryId, Failure> {
    violations::read(Rules::All, |violations| rules::entry_id(&Path::root(field), text, violations))
}

/// Which turn GetTurn reads.
pub fn get_turn(request: &proto::GetTurnRequest) -> Result<TurnId, Failure> {
    let proto::GetTurnRequest { turn_id: id } = request;
    turn_id("turn_id", id)
}

/// Which turn CancelTurn stops.
pub fn cancel_turn(request: &proto::CancelTurnRequest) -> Result<TurnId, Failure> {
    let proto::CancelTurnRequest { turn_id: id } = request;
    turn_id("turn_id", id)
}

/// Which version GetConversation reads.
pub fn get_conversation(request: &proto::GetConversationRequest) -> Result<ConversationId, Failure> {
    let proto::GetConversationRequest { conversation_id: id } = request;
    conversation_id("conversation_id", id)
}

/// What DeleteConversation deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteConversation {
    /// The version.
    pub conversation_id: ConversationId,
    /// What descends from it too.
    pub force: bool,
}

/// What DeleteConversation deletes.
pub fn delete_conversation(request: &proto::DeleteConversationRequest) -> Result<DeleteConversation, Failure> {
    let proto::DeleteConversationRequest { conversation_id: id, force } = request;
    conversation_id("conversation_id", id).map(|conversation_id| DeleteConversation { conversation_id, force: *force })
}

/// Which tree ExportConversations reads; `None`: all of them.
pub fn export_conversations(request: &proto::ExportConversationsRequest) -> Result<Option<ConversationId>, Failure> {
    let proto::ExportConversationsRequest { conversation_id: id } = request;
    if id.is_empty() { Ok(None) } else { conversation_id("conversation_id", id).map(Some) }
}
