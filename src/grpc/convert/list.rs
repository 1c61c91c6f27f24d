//! What the listing methods are asked: which rows, and which page of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    path::Path,
    rules, time, turn,
    violations::{self, Rules, Violations},
};
use crate::{
    domain::{BatchId, ConversationId, Failure, Time, TurnState, ids::EntryKind},
    grpc::page_token::Page,
    proto::{self, list_entries_request::Order},
};

/// Which versions to list. All filters hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListConversations {
    /// Only versions without successors.
    pub heads_only: bool,
    /// Only versions of the tree that this one is in.
    pub tree_of: Option<ConversationId>,
    /// Only versions with this model.
    pub model: Option<String>,
    /// Only versions with this agent.
    pub agent_id: Option<String>,
    /// Only versions that have all of these pairs.
    pub metadata: BTreeMap<String, String>,
    /// Only versions made at this time or later.
    pub created_after: Option<Time>,
    /// Only versions made before this time.
    pub created_before: Option<Time>,
    /// Which page.
    pub page: Page,
}

/// Which entries of a history to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntries {
    /// The version.
    pub conversation_id: ConversationId,
    /// Only these kinds; empty: all.
    pub kinds: BTreeSet<EntryKind>,
    /// The last one comes first.
    pub newest_first: bool,
    /// Which page.
    pub page: Page,
}

/// Which tree to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListVersions {
    /// Any version of the tree.
    pub conversation_id: ConversationId,
    /// Which page.
    pub page: Page,
}

/// Which turns to list. All filters hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListTurns {
    /// Only turns that stand so; empty: however they stand.
    pub states: Vec<TurnState>,
    /// Only turns of the tree that this version is in.
    pub tree_of: Option<ConversationId>,
    /// Only turns of trees that have all of these pairs.
    pub metadata: BTreeMap<String, String>,
    /// Only turns accepted at this time or later.
    pub created_after: Option<Time>,
    /// Only turns accepted before this time.
    pub created_before: Option<Time>,
    /// Only turns of this batch that wait or run.
    pub batch_id: Option<BatchId>,
    /// Which page.
    pub page: Page,
}

/// Reads what ListConversations is asked.
pub fn conversations(mut request: proto::ListConversationsRequest) -> Result<ListConversations, Failure> {
    let page = (std::mem::take(&mut request.page_size), std::mem::take(&mut request.page_token));
    violations::read(Rules::All, |violations| {
        let at = Path::root("");
        let page = Page::read(&at, "ListConversations", &request, (page.0, &page.1), violations);
        let proto::ListConversationsRequest {
            page_size: _,
            page_token: _,
            heads_only,
            tree_of,
            model,
            agent_id,
            metadata,
            created_after,
            created_before,
        } = request;
        let tree_of = rules::given(tree_of);
        let tree_of = tree_of.and_then(|id| rules::conversation_id(&at.field("tree_of"), &id, violations));
        rules::metadata(&at, &metadata, violations);
        let (model, agent_id) = (rules::given(model), rules::given(agent_id));
        if let Some(model) = &model {
            rules::model(&at.field("model"), model, violations);
        }
        if let Some(agent_id) = &agent_id {
            rules::agent_id(&at.field("agent_id"), agent_id, violations);
        }
        let mut bound = |name, bound: Option<_>| bound.and_then(|b| time::read_bound(&at.field(name), b, violations));
        let created_after = bound("created_after", created_after);
        let created_before = bound("created_before", created_before);
        Some(ListConversations {
            heads_only,
            tree_of,
            model,
            agent_id,
            metadata,
            created_after,
            created_before,
            page: page?,
        })
    })
}

/// Reads what ListTurns is asked.
pub fn turns(mut request: proto::ListTurnsRequest) -> Result<ListTurns, Failure> {
    let page = (std::mem::take(&mut request.page_size), std::mem::take(&mut request.page_token));
    violations::read(Rules::All, |violations| {
        let at = Path::root("");
        let page = Page::read(&at, "ListTurns", &request, (page.0, &page.1), violations);
        let proto::ListTurnsRequest {
            page_size: _,
            page_token: _,
            states,
            tree_of,
            metadata,
            created_after,
            created_before,
            batch_id,
        } = request;
        let states = states.into_iter().enumerate();
        let states = states.filter_map(|(i, number)| turn::read_state(&at.item("states", i), number, violations));
        let states = states.collect();
        let tree_of = rules::given(tree_of);
        let tree_of = tree_of.and_then(|id| rules::conversation_id(&at.field("tree_of"), &id, violations));
        rules::metadata(&at, &metadata, violations);
        let batch_id = rules::given(batch_id);
        let batch_id = batch_id.and_then(|id| rules::batch_id(&at.field("batch_id"), &id, violations));
        let mut bound = |name, bound: Option<_>| bound.and_then(|b| time::read_bound(&at.field(name), b, violations));
        let created_after = bound("created_after", created_after);
        let created_before = bound("created_before", created_before);
        Some(ListTurns { states, tree_of, metadata, created_after, created_before, batch_id, page: page? })
    })
}

/// Reads what ListEntries is asked.
pub fn entries(mut request: proto::ListEntriesRequest) -> Result<ListEntries, Failure> {
    let page = (std::mem::take(&mut request.page_size), std::mem::take(&mut request.page_token));
    violations::read(Rules::All, |violations| {
        let at = Path::root("");
        let page = Page::read(&at, "ListEntries", &request, (page.0, &page.1), violations);
        let proto::ListEntriesRequest { conversation_id, page_size: _, page_token: _, kinds, order } = request;
        let conversation_id = rules::conversation_id(&at.field("conversation_id"), &conversation_id, violations);
        let kinds = kinds.into_iter().enumerate();
        let kinds = kinds.filter_map(|(i, number)| read_kind(&at.item("kinds", i), number, violations)).collect();
        let newest_first = read_order(&at.field("order"), order, violations);
        Some(ListEntries { conversation_id: conversation_id?, kinds, newest_first: newest_first?, page: page? })
    })
}

/// Reads what ListVersions is asked.
pub fn versions(mut request: proto::ListVersionsRequest) -> Result<ListVersions, Failure> {
    let page = (std::mem::take(&mut request.page_size), std::mem::take(&mut request.page_token));
    violations::read(Rules::All, |violations| {
        let at = Path::root("");
        let page = Page::read(&at, "ListVersions", &request, (page.0, &page.1), violations);
        let proto::ListVersionsRequest { conversation_id, page_size: _, page_token: _ } = request;
        let conversation_id = rules::conversation_id(&at.field("conversation_id"), &conversation_id, violations);
        Some(ListVersions { conversation_id: conversation_id?, page: page? })
    })
}

fn read_kind(at: &Path<'_>, number: i32, violations: &mut Violations) -> Option<EntryKind> {
    match proto::EntryKind::try_from(number) {
        Ok(proto::EntryKind::MessageInput) => Some(EntryKind::MessageInput),
        Ok(proto::EntryKind::MessageOutput) => Some(EntryKind::MessageOutput),
        Ok(proto::EntryKind::FunctionCall) => Some(EntryKind::FunctionCall),
        Ok(proto::EntryKind::FunctionResult) => Some(EntryKind::FunctionResult),
        Ok(proto::EntryKind::ToolExecution) => Some(EntryKind::ToolExecution),
        Ok(proto::EntryKind::AgentHandoff) => Some(EntryKind::AgentHandoff),
        Ok(proto::EntryKind::HumanHandoff) => Some(EntryKind::HumanHandoff),
        Ok(proto::EntryKind::Unspecified) => {
            violations.add(at, format_args!("must be stated; for all kinds leave `kinds` out"));
            None
        }
        Err(_) => {
            rules::unknown_number(at, number, violations);
            None
        }
    }
}

fn read_order(at: &Path<'_>, number: i32, violations: &mut Violations) -> Option<bool> {
    match Order::try_from(number) {
        Ok(Order::Unspecified | Order::OldestFirst) => Some(false),
        Ok(Order::NewestFirst) => Some(true),
        Err(_) => {
            rules::unknown_number(at, number, violations);
            None
        }
    }
}
