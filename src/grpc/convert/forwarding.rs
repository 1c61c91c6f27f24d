//! How a turn's request reaches a model.

use super::{path::Path, rules, spend, violations::Violations};
use crate::{
    domain::request::{Fallback, Forwarding, Truncation},
    proto,
};

/// So many models are tried at most after the turn's own.
const FALLBACKS_MAX: usize = 8;

/// What a request says of it; without a word, the configuration decides.
pub(super) fn read(
    at: &Path<'_>,
    forwarding: Option<proto::Forwarding>,
    violations: &mut Violations,
) -> Option<Forwarding> {
    let Some(forwarding) = forwarding else { return Some(Forwarding::default()) };
    let at = at.field("forwarding");
    let proto::Forwarding { fallback_models, no_fallback, continue_on_other_model, truncation, budget } = forwarding;
    let fallback = read_fallback(&at, fallback_models, no_fallback, violations);
    let truncation = match proto::Truncation::try_from(truncation) {
        Ok(proto::Truncation::Unspecified | proto::Truncation::Off) => Some(Truncation::Off),
        Ok(proto::Truncation::DropOldest) => Some(Truncation::DropOldest),
        Err(_) => {
            rules::unknown_number(&at.field("truncation"), truncation, violations);
            None
        }
    };
    let budget = match budget {
        Some(budget) => spend::read_budget(&at.field("budget"), budget, violations).map(Some),
        None => Some(None),
    };
    Some(Forwarding { fallback, continue_on_other_model, truncation: truncation?, budget: budget? })
}

fn read_fallback(at: &Path<'_>, models: Vec<String>, none: bool, violations: &mut Violations) -> Fallback {
    if none && !models.is_empty() {
        let at = at.field("no_fallback");
        violations
            .add(&at, format_args!("must be left out when `fallback_models` is given, which has {}", models.len()));
    }
    if models.len() > FALLBACKS_MAX {
        let at = at.field("fallback_models");
        violations.add(&at, format_args!("must be at most {FALLBACKS_MAX} models, are {}", models.len()));
    }
    // No more are looked at than may be named.
    for (i, model) in models.iter().enumerate().take(FALLBACKS_MAX) {
        let at = at.item("fallback_models", i);
        rules::model(&at, model, violations);
        if models[..i].contains(model) {
            violations.add(&at, format_args!("must not be named twice"));
        }
    }
    match (none, models.is_empty()) {
        (true, _) => Fallback::Never,
        (false, true) => Fallback::Configured,
        (false, false) => Fallback::Models(models),
    }
}
