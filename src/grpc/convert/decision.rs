//! What was decided of a call.

use super::{path::Path, rules, time, violations::Violations};
use crate::{
    domain::entry::{Decision, Verdict},
    proto::{self, decision::Verdict as ProtoVerdict},
};

/// It as the wire has it.
pub(super) fn write(decision: &Decision) -> proto::Decision {
    let Decision { verdict, reason, decided_by, decided_at } = decision;
    let verdict = match verdict {
        Verdict::Allowed => ProtoVerdict::Allowed,
        Verdict::Denied => ProtoVerdict::Denied,
        Verdict::Expired => ProtoVerdict::Expired,
        Verdict::Skipped => ProtoVerdict::Skipped,
    };
    proto::Decision {
        verdict: verdict.into(),
        reason: reason.clone(),
        decided_by: decided_by.clone(),
        decided_at: Some(time::write(*decided_at)),
    }
}

/// A decision in the message at `at`, if there is one. The outer `None` is a violation.
pub(super) fn read(
    at: &Path<'_>,
    decision: Option<proto::Decision>,
    violations: &mut Violations,
) -> Option<Option<Decision>> {
    let at = at.field("decision");
    let Some(proto::Decision { verdict, reason, decided_by, decided_at }) = decision else { return Some(None) };
    let verdict = match ProtoVerdict::try_from(verdict) {
        Ok(ProtoVerdict::Allowed) => Some(Verdict::Allowed),
        Ok(ProtoVerdict::Denied) => Some(Verdict::Denied),
        Ok(ProtoVerdict::Expired) => Some(Verdict::Expired),
        Ok(ProtoVerdict::Skipped) => Some(Verdict::Skipped),
        Ok(ProtoVerdict::Unspecified) => {
            violations.add(&at.field("verdict"), format_args!("is required: what was decided"));
            None
        }
        Err(_) => {
            rules::unknown_number(&at.field("verdict"), verdict, violations);
            None
        }
    };
    let decided_at = time::read_required(&at.field("decided_at"), decided_at, violations);
    Some(Some(Decision { verdict: verdict?, reason, decided_by, decided_at: decided_at? }))
}
