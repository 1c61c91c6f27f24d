//! Versions of conversations and what they fix.

use std::sync::Arc;

use super::{agent, completion, number, path::Path, rules, spend, time, tool, turn, violations::Violations};
use crate::{
    domain::{EntryId, Settings, Spend, Time, Version, settings::CompletionArgs},
    proto,
};

/// A version as the wire has it. Whether it is a head is not its own to know.
pub fn write(version: &Version, head: bool, expires_at: Option<Time>) -> proto::Conversation {
    let Version {
        id,
        parent_id,
        root_id,
        turn_state,
        created_at,
        settings,
        entry_count,
        turn_count,
        spend,
        pending_calls,
        last_entry,
    } = version;
    let Settings { model, agent_id, agent_pin, instructions, tools, completion_args, metadata, tree_budget } =
        settings.as_ref();
    let Spend { usage, cost, unpriced_turns } = spend;
    proto::Conversation {
        id: id.to_string(),
        parent_id: parent_id.map(|id| id.to_string()).unwrap_or_default(),
        root_id: root_id.to_string(),
        turn_id: id.turn().to_string(),
        turn_state: turn::write_state(*turn_state).into(),
        created_at: Some(time::write(*created_at)),
        model: model.clone(),
        agent_id: agent_id.clone().unwrap_or_default(),
        instructions: instructions.clone(),
        tools: tools.iter().map(tool::write).collect(),
        completion_args: (*completion_args != CompletionArgs::default()).then(|| completion::write(completion_args)),
        metadata: metadata.clone(),
        entry_count: number::write(*entry_count),
        turn_count: number::write(*turn_count),
        head,
        pending_tool_call_ids: pending_calls.clone(),
        last_entry_id: last_entry.map(|id| id.to_string()).unwrap_or_default(),
        usage: Some(spend::write_usage(usage)),
        cost: Some(spend::write_money(*cost)),
        unpriced_turn_count: number::write(*unpriced_turns),
        tree_budget: tree_budget.as_ref().map(spend::write_budget),
        agent_version: agent::write_pin(agent_pin.as_ref()),
        expire_time: expires_at.map(time::write),
    }
}

/// A version of an import. `head` is left to the store that it comes into.
///
/// Its settings are held to every limit of the contract: they are a caller's, and they go to providers.
pub(super) fn read(at: &Path<'_>, version: proto::Conversation, violations: &mut Violations) -> Option<Version> {
    let proto::Conversation {
        id,
        parent_id,
        root_id,
        turn_id,
        turn_state,
        created_at,
        model,
        agent_id,
        instructions,
        tools,
        completion_args,
        metadata,
        entry_count,
        turn_count,
        head: _,
        pending_tool_call_ids,
        last_entry_id,
        usage,
        cost,
        unpriced_turn_count,
        tree_budget,
        agent_version,
        // When a tree goes is for the store to say that it comes into.
        expire_time: _,
    } = version;
    let v = violations;
    let id = rules::conversation_id(&at.field("id"), &id, v);
    let parent_id = rules::optional_conversation_id(&at.field("parent_id"), &parent_id, v);
    let root_id = rules::conversation_id(&at.field("root_id"), &root_id, v);
    let turn_id = rules::turn_id(&at.field("turn_id"), &turn_id, v);
    if let (Some(id), Some(turn_id)) = (id, turn_id)
        && id.turn() != turn_id
    {
        v.add(
            &at.field("turn_id"),
            format_args!("must have the hex digits of `id`: a turn is named after its version"),
        );
    }
    if let (Some(id), Some(parent), Some(root)) = (id, parent_id, root_id)
        && parent.is_none() != (id == root)
    {
        v.add(&at.field("root_id"), format_args!("must be `id` in the first version of a tree, and only there"));
    }
    let turn_state = turn::read_state(&at.field("turn_state"), turn_state, v);
    let created_at = time::read_required(&at.field("created_at"), created_at, v);
    let entry_count = number::read(&at.field("entry_count"), entry_count, v);
    let turn_count = number::read(&at.field("turn_count"), turn_count, v);
    let last_entry = read_last_entry(&at.field("last_entry_id"), &last_entry_id, v);
    rules::instructions(&at.field("instructions"), &instructions, v);
    rules::metadata(at, &metadata, v);
    if !model.is_empty() {
        rules::model(&at.field("model"), &model, v);
    }
    let spend = spend::read_spend(at, usage, cost, unpriced_turn_count, v);
    let tree_budget = tree_budget.and_then(|budget| spend::read_budget(&at.field("tree_budget"), budget, v));
    let settings = Settings {
        model,
        agent_id: rules::given(agent_id),
        agent_pin: agent::read_pin(&at.field("agent_version"), &agent_version, v),
        instructions,
        tools: tool::read_all(at, tools, v),
        completion_args: completion_args
            .and_then(|args| completion::read(&at.field("completion_args"), args, v))
            .unwrap_or_default(),
        metadata,
        tree_budget,
    };
    Some(Version {
        id: id?,
        parent_id: parent_id?,
        root_id: root_id?,
        turn_state: turn_state?,
        created_at: created_at?,
        settings: Arc::new(settings),
        entry_count: entry_count?,
        turn_count: turn_count?,
        spend: spend?,
        pending_calls: pending_tool_call_ids,
        last_entry: last_entry?,
    })
}

/// The inner `None`: the history is empty.
fn read_last_entry(at: &Path<'_>, text: &str, violations: &mut Violations) -> Option<Option<EntryId>> {
    if text.is_empty() { Some(None) } else { rules::entry_id(at, text, violations).map(Some) }
}
