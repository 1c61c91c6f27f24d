//! What is read from the service, page by page to the end.

use std::collections::HashMap;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{
    text::{self, Names},
    tree::Node,
};
use crate::{
    cli::{
        Failure,
        connect::{Client, Models, quick},
    },
    proto::{
        Conversation, Entry, EntryKind, FunctionCall, GetConversationRequest, ListEntriesRequest, ListModelsRequest,
        ListModelsResponse, ListVersionsRequest, entry, list_entries_request::Order, turn,
    },
};

/// The largest page that the service gives.
const PAGE_SIZE: i32 = 1000;
/// Each version's question is a call of its own: so many at once, and for so many versions.
const QUESTIONS_AT_ONCE: usize = 16;
const MOST_QUESTIONS: usize = 500;

pub(super) async fn conversation(client: &mut Client, id: &str) -> Result<Conversation, Failure> {
    let request = GetConversationRequest { conversation_id: id.to_owned() };
    Ok(client.get_conversation(quick(request)).await?.into_inner())
}

/// The models of all providers.
pub(super) async fn models(models: &mut Models) -> Result<ListModelsResponse, Failure> {
    Ok(models.list_models(quick(ListModelsRequest::default())).await?.into_inner())
}

/// The whole history, oldest first.
pub(super) async fn entries(client: &mut Client, id: &str) -> Result<Vec<Entry>, Failure> {
    let mut entries = Vec::new();
    let mut request =
        ListEntriesRequest { conversation_id: id.to_owned(), page_size: PAGE_SIZE, ..ListEntriesRequest::default() };
    loop {
        let page = client.list_entries(quick(request.clone())).await?.into_inner();
        entries.extend(page.entries);
        if page.next_page_token.is_empty() {
            return Ok(entries);
        }
        request.page_token = page.next_page_token;
    }
}

/// The calls with these ids, in the order of the history. They are its newest.
pub(super) async fn calls(client: &mut Client, id: &str, ids: &[String]) -> Result<Vec<FunctionCall>, Failure> {
    let request = ListEntriesRequest {
        conversation_id: id.to_owned(),
        page_size: PAGE_SIZE,
        kinds: vec![EntryKind::FunctionCall.into()],
        order: Order::NewestFirst.into(),
        ..ListEntriesRequest::default()
    };
    let page = client.list_entries(quick(request)).await?.into_inner();
    let calls = page.entries.into_iter().rev().filter_map(|entry| match entry.kind {
        Some(entry::Kind::FunctionCall(call)) if ids.contains(&call.tool_call_id) => Some(call),
        _ => None,
    });
    Ok(calls.collect())
}

/// All versions of the tree, parents before children.
pub(super) async fn versions(client: &mut Client, id: &str) -> Result<Vec<Conversation>, Failure> {
    let mut versions = Vec::new();
    let mut request =
        ListVersionsRequest { conversation_id: id.to_owned(), page_size: PAGE_SIZE, ..ListVersionsRequest::default() };
    loop {
        let page = client.list_versions(quick(request.clone())).await?.into_inner();
        versions.extend(page.versions);
        if page.next_page_token.is_empty() {
            return Ok(versions);
        }
        request.page_token = page.next_page_token;
    }
}

/// The tree, ready to be drawn.
pub(super) async fn tree(client: &Client, versions: &[Conversation], current: &str) -> Result<Vec<Node>, Failure> {
    let asked = versions.iter().take(MOST_QUESTIONS).map(|version| last_question(client.clone(), version.id.clone()));
    let mut labels: Vec<String> = stream::iter(asked).buffered(QUESTIONS_AT_ONCE).try_collect().await?;
    labels.resize(versions.len(), "…".to_owned());
    let entry_counts: HashMap<&str, i64> =
        versions.iter().map(|version| (version.id.as_str(), version.entry_count)).collect();
    let node = |(version, label): (&Conversation, String)| Node {
        id: version.id.clone(),
        parent_id: version.parent_id.clone(),
        label,
        marks: marks(version, entry_counts.get(version.parent_id.as_str()).copied(), current),
        current: version.id == current,
    };
    Ok(versions.iter().zip(labels).map(node).collect())
}

fn marks(version: &Conversation, parent_entry_count: Option<i64>, current: &str) -> Vec<&'static str> {
    let mut marks = Vec::new();
    // An append only adds: what has no more entries than its parent went back first. Without this mark an edited question
    // would look like one more question.
    if parent_entry_count.is_some_and(|count| version.entry_count <= count) {
        marks.push("restarted");
    }
    match version.turn_state() {
        turn::State::Incomplete => marks.push("unfinished"),
        turn::State::RequiresAction => marks.push(waits_for(version)),
        _ => {}
    }
    if version.head {
        marks.push("head");
    }
    if version.id == current {
        marks.push("you are here");
    }
    marks
}

fn waits_for(version: &Conversation) -> &'static str {
    match version.last_entry_id.split_once('_') {
        _ if !version.pending_tool_call_ids.is_empty() => "waits for calls",
        Some(("human", _)) => "waits for a person",
        _ => "handed over",
    }
}

/// The newest entry.
pub(super) async fn last_entry(client: &mut Client, id: &str) -> Result<Option<Entry>, Failure> {
    newest(client, id, Vec::new()).await
}

async fn newest(client: &mut Client, id: &str, kinds: Vec<i32>) -> Result<Option<Entry>, Failure> {
    let request = ListEntriesRequest {
        conversation_id: id.to_owned(),
        page_size: 1,
        kinds,
        order: Order::NewestFirst.into(),
        ..ListEntriesRequest::default()
    };
    Ok(client.list_entries(quick(request)).await?.into_inner().entries.into_iter().next())
}

/// The first words of the newest question of a version.
async fn last_question(mut client: Client, id: String) -> Result<String, Failure> {
    let entry = newest(&mut client, &id, vec![EntryKind::MessageInput.into()]).await?;
    let label = entry.map_or_else(String::new, |entry| text::spoken(&entry, &Names::new()).1);
    Ok(if label.is_empty() { "(no question)".into() } else { text::shortened(&label, 48) })
}
