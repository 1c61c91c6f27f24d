//! How a turn deals with tools and agents.

use std::collections::HashSet;

use super::{number, path::Path, rules, violations::Violations};
use crate::{
    domain::request::{ToolConfirmation, ToolUse},
    proto::{self, HandoffExecution, PendingCalls, tool_confirmation::Confirmation},
};

const MAX_CONFIRMATIONS: usize = 128;
const MAX_REASON: usize = 8192;
const MAX_DECIDED_BY: usize = 256;
const MAX_ARGUMENTS: usize = 1 << 20;

/// What the requests say of it.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) handoff_execution: i32,
    pub(super) max_tool_rounds: i32,
    pub(super) tool_confirmations: Vec<proto::ToolConfirmation>,
    pub(super) pending_calls: i32,
}

impl Fields {
    /// The fields of the message at `at`.
    pub(super) fn read(self, at: &Path<'_>, violations: &mut Violations) -> Option<ToolUse> {
        let Fields { handoff_execution, max_tool_rounds, tool_confirmations, pending_calls } = self;
        let handoff_to_caller = match HandoffExecution::try_from(handoff_execution) {
            Ok(HandoffExecution::Unspecified | HandoffExecution::Server) => Some(false),
            Ok(HandoffExecution::Client) => Some(true),
            Err(_) => {
                rules::unknown_number(&at.field("handoff_execution"), handoff_execution, violations);
                None
            }
        };
        let skip_pending = match PendingCalls::try_from(pending_calls) {
            Ok(PendingCalls::Unspecified | PendingCalls::Require) => Some(false),
            Ok(PendingCalls::Skip) => Some(true),
            Err(_) => {
                rules::unknown_number(&at.field("pending_calls"), pending_calls, violations);
                None
            }
        };
        let max_rounds = number::read_small(&at.field("max_tool_rounds"), max_tool_rounds, 0, violations);
        let confirmations = read_confirmations(at, tool_confirmations, violations);
        Some(ToolUse {
            handoff_to_caller: handoff_to_caller?,
            max_rounds: max_rounds.filter(|rounds| *rounds > 0),
            confirmations,
            skip_pending: skip_pending?,
        })
    }
}

fn read_confirmations(
    at: &Path<'_>,
    confirmations: Vec<proto::ToolConfirmation>,
    violations: &mut Violations,
) -> Vec<ToolConfirmation> {
    if confirmations.len() > MAX_CONFIRMATIONS {
        let (at, has) = (at.field("tool_confirmations"), confirmations.len());
        violations.add(&at, format_args!("must be at most {MAX_CONFIRMATIONS}, has {has}: send several turns"));
        return Vec::new();
    }
    let mut seen = HashSet::new();
    let mut read = Vec::with_capacity(confirmations.len());
    for (i, confirmation) in confirmations.into_iter().enumerate() {
        let at = at.item("tool_confirmations", i);
        if !seen.insert(confirmation.tool_call_id.clone()) {
            let at = at.field("tool_call_id");
            violations.add(&at, format_args!("is decided by an earlier confirmation too: leave one out"));
        }
        read.extend(read_confirmation(&at, confirmation, violations));
    }
    read
}

fn read_confirmation(
    at: &Path<'_>,
    confirmation: proto::ToolConfirmation,
    violations: &mut Violations,
) -> Option<ToolConfirmation> {
    let proto::ToolConfirmation { tool_call_id, confirmation, reason, arguments, decided_by } = confirmation;
    rules::tool_call_id(&at.field("tool_call_id"), &tool_call_id, violations);
    rules::at_most(&at.field("reason"), &reason, MAX_REASON, violations);
    rules::at_most(&at.field("decided_by"), &decided_by, MAX_DECIDED_BY, violations);
    rules::at_most(&at.field("arguments"), &arguments, MAX_ARGUMENTS, violations);
    let allowed = match Confirmation::try_from(confirmation) {
        Ok(Confirmation::Allow) => Some(true),
        Ok(Confirmation::Deny) => Some(false),
        Ok(Confirmation::Unspecified) => {
            let at = at.field("confirmation");
            violations.add(&at, format_args!("is required: CONFIRMATION_ALLOW or CONFIRMATION_DENY"));
            None
        }
        Err(_) => {
            rules::unknown_number(&at.field("confirmation"), confirmation, violations);
            None
        }
    };
    let arguments = rules::given(arguments);
    if let Some(text) = &arguments {
        let at = at.field("arguments");
        if allowed == Some(false) {
            violations.add(&at, format_args!("is for CONFIRMATION_ALLOW only: leave it out"));
        }
        if serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_err() {
            violations.add(&at, format_args!("must be the text of a JSON object"));
        }
    }
    Some(ToolConfirmation { tool_call_id, allowed: allowed?, reason, arguments, decided_by })
}
