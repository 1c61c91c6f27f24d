//! The small requests: they name one thing.

use std::time::Duration;

use super::{
    background,
    path::Path,
    rules,
    violations::{self, Rules},
};
use crate::{
    domain::{ConversationId, EntryId, Failure, TurnId, request::Expiry},
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

/// Waiting longer than this is asking again.
const MAX_WAIT_SECONDS: i64 = 3600;

/// Which turn GetTurn reads, and how long it waits for its end.
pub fn get_turn(request: &proto::GetTurnRequest) -> Result<(TurnId, Duration), Failure> {
    let proto::GetTurnRequest { turn_id: id, wait } = request;
    violations::read(Rules::All, |violations| {
        let id = rules::turn_id(&Path::root("turn_id"), id, violations);
        let wait = background::read_wait(&Path::root("wait"), *wait, MAX_WAIT_SECONDS, violations);
        Some((id?, wait?))
    })
}

/// Which tree SetExpiration speaks of, and when it goes; `None`: never.
pub fn set_expiration(request: proto::SetExpirationRequest) -> Result<(ConversationId, Option<Expiry>), Failure> {
    let proto::SetExpirationRequest { conversation_id, expiration } = request;
    violations::read(Rules::All, |violations| {
        let id = rules::conversation_id(&Path::root("conversation_id"), &conversation_id, violations);
        let expiry = background::read_new_expiration(&Path::root(""), expiration, violations);
        Some((id?, expiry?))
    })
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
