//! Reading back what is stored.

use causerie::proto;

use super::server::{Client, entry_text};

/// A turn, which must be there.
pub(crate) async fn turn(client: &Client, turn_id: &str) -> proto::Turn {
    let request = proto::GetTurnRequest { turn_id: turn_id.to_owned(), wait: None };
    client.clone().get_turn(request).await.expect("the turn").into_inner()
}

/// A version, which must be there.
pub(crate) async fn version(client: &Client, conversation_id: &str) -> proto::Conversation {
    let request = proto::GetConversationRequest { conversation_id: conversation_id.to_owned() };
    client.clone().get_conversation(request).await.expect("a version").into_inner()
}

/// The history of a version.
pub(crate) async fn history(client: &Client, conversation_id: &str) -> Vec<proto::Entry> {
    let conversation_id = conversation_id.to_owned();
    let request = proto::ListEntriesRequest { conversation_id, page_size: 1000, ..Default::default() };
    client.clone().list_entries(request).await.expect("a history").into_inner().entries
}

/// The texts of a history.
pub(crate) async fn texts(client: &Client, conversation_id: &str) -> Vec<String> {
    history(client, conversation_id).await.iter().map(entry_text).collect()
}
