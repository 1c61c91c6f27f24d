//! Changes of the store, and which of them a reader wants.

use super::{
    number,
    path::Path,
    rules, time, turn,
    violations::{self, Rules, Violations},
};
use crate::{
    domain::{
        Change, ChangeKind, Failure,
        change::{ChangeFilter, labels},
    },
    engine::{Revisions, WatchStart},
    proto::{self, watch_request::Start},
};

/// What Watch is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// Where to begin.
    pub start: WatchStart,
    /// Which changes.
    pub filter: ChangeFilter,
    /// The events of turns, too.
    pub events: bool,
}

/// Reads what Watch is asked.
pub fn watch(request: proto::WatchRequest) -> Result<Watch, Failure> {
    let proto::WatchRequest { start, filter, include_events } = request;
    violations::read(Rules::All, |violations| {
        let at = Path::root("");
        let start = match start {
            None => Some(WatchStart::Now),
            Some(Start::AfterRevision(revision)) => {
                number::read(&at.field("after_revision"), revision, violations).map(WatchStart::After)
            }
            Some(Start::FromOldest(true)) => Some(WatchStart::Oldest),
            Some(Start::FromOldest(false)) => {
                let text = "must be true if it is given: to begin now, leave it out";
                violations.add(&at.field("from_oldest"), format_args!("{text}"));
                None
            }
        };
        let filter = read_filter(&at.field("filter"), filter.unwrap_or_default(), violations);
        Some(Watch { start: start?, filter: filter?, events: include_events })
    })
}

/// Which changes a reader wants.
pub(super) fn read_filter(
    at: &Path<'_>,
    filter: proto::ChangeFilter,
    violations: &mut Violations,
) -> Option<ChangeFilter> {
    let proto::ChangeFilter { root_id, model, agent_id, metadata, kinds, states, batch_id } = filter;
    let root_id = rules::optional_conversation_id(&at.field("root_id"), &root_id, violations);
    let batch_id = match rules::given(batch_id) {
        Some(id) => rules::batch_id(&at.field("batch_id"), &id, violations).map(Some),
        None => Some(None),
    };
    let (model, agent_id) = (rules::given(model), rules::given(agent_id));
    if let Some(model) = &model {
        rules::model(&at.field("model"), model, violations);
    }
    if let Some(agent_id) = &agent_id {
        rules::agent_id(&at.field("agent_id"), agent_id, violations);
    }
    rules::metadata(at, &metadata, violations);
    let kinds = distinct(kinds, |i, number| read_kind(&at.item("kinds", i), number, violations));
    let states = distinct(states, |i, number| turn::read_state(&at.item("states", i), number, violations));
    Some(ChangeFilter {
        root_id: root_id?,
        model,
        agent_id,
        labels: labels(&metadata),
        batch_id: batch_id?,
        kinds: kinds?,
        states: states?,
    })
}

/// Each value once: a list of them may be as long as a message.
fn distinct<T: PartialEq>(numbers: Vec<i32>, mut read: impl FnMut(usize, i32) -> Option<T>) -> Option<Vec<T>> {
    let (mut found, mut all) = (Vec::new(), true);
    for (i, number) in numbers.into_iter().enumerate() {
        match read(i, number) {
            Some(value) if !found.contains(&value) => found.push(value),
            Some(_) => {}
            None => all = false,
        }
    }
    all.then_some(found)
}

fn read_kind(at: &Path<'_>, number: i32, violations: &mut Violations) -> Option<ChangeKind> {
    match proto::ChangeKind::try_from(number) {
        Ok(proto::ChangeKind::TurnQueued) => Some(ChangeKind::TurnQueued),
        Ok(proto::ChangeKind::TurnStarted) => Some(ChangeKind::TurnStarted),
        Ok(proto::ChangeKind::TurnRequeued) => Some(ChangeKind::TurnRequeued),
        Ok(proto::ChangeKind::TurnEnded) => Some(ChangeKind::TurnEnded),
        Ok(proto::ChangeKind::VersionCreated) => Some(ChangeKind::VersionCreated),
        Ok(proto::ChangeKind::VersionDeleted) => Some(ChangeKind::VersionDeleted),
        Ok(proto::ChangeKind::BatchEnded) => Some(ChangeKind::BatchEnded),
        Ok(proto::ChangeKind::Unspecified) => {
            violations.add(at, format_args!("must be stated; for all kinds leave `kinds` out"));
            None
        }
        Err(_) => {
            rules::unknown_number(at, number, violations);
            None
        }
    }
}

/// A kind as the wire has it.
pub(super) fn write_kind(kind: ChangeKind) -> proto::ChangeKind {
    match kind {
        ChangeKind::TurnQueued => proto::ChangeKind::TurnQueued,
        ChangeKind::TurnStarted => proto::ChangeKind::TurnStarted,
        ChangeKind::TurnRequeued => proto::ChangeKind::TurnRequeued,
        ChangeKind::TurnEnded => proto::ChangeKind::TurnEnded,
        ChangeKind::VersionCreated => proto::ChangeKind::VersionCreated,
        ChangeKind::VersionDeleted => proto::ChangeKind::VersionDeleted,
        ChangeKind::BatchEnded => proto::ChangeKind::BatchEnded,
    }
}

/// A change as the wire has it.
pub fn write(change: &Change) -> proto::Change {
    let Change {
        revision,
        at,
        kind,
        turn_id,
        state,
        root_id,
        parent_id,
        model,
        agent_id,
        labels: _,
        attempt,
        batch,
        callback_url: _,
    } = change;
    let of_a_turn = *kind != ChangeKind::BatchEnded;
    let of_a_version = matches!(kind, ChangeKind::VersionCreated | ChangeKind::VersionDeleted);
    let told = |is_told: bool, id: &dyn std::fmt::Display| if is_told { id.to_string() } else { String::new() };
    proto::Change {
        revision: number::write(*revision),
        created_at: Some(time::write(*at)),
        kind: write_kind(*kind).into(),
        r#type: change.type_name().to_owned(),
        turn_id: told(of_a_turn, turn_id),
        state: if of_a_turn { turn::write_state(*state).into() } else { 0 },
        conversation_id: told(of_a_version, &turn_id.conversation()),
        root_id: told(of_a_turn, root_id),
        parent_conversation_id: parent_id.map(|id| id.to_string()).unwrap_or_default(),
        model: model.clone(),
        agent_id: agent_id.clone().unwrap_or_default(),
        attempt: number::write_small(*attempt),
        batch_id: batch.map(|(id, _)| id.to_string()).unwrap_or_default(),
        batch_index: batch.map(|(_, index)| number::write_small(index)).unwrap_or_default(),
    }
}

/// Which revisions there are, as the wire has it.
pub fn write_revisions(revisions: Revisions) -> proto::Revisions {
    let Revisions { newest, oldest } = revisions;
    proto::Revisions { newest: number::write(newest), oldest: number::write(oldest) }
}
