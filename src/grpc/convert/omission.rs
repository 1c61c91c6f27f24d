//! What a model was not told.

use super::{number, path::Path, rules, violations::Violations};
use crate::{
    domain::{Omission, OmissionKind},
    proto::{self, omission::Kind},
};

/// An omission as the wire has it.
pub(super) fn write(omission: &Omission) -> proto::Omission {
    let Omission { kind, entry_count, first_entry_id, last_entry_id } = omission;
    let kind = match kind {
        OmissionKind::Thinking => Kind::Thinking,
        OmissionKind::References => Kind::References,
        OmissionKind::OldEntries => Kind::OldEntries,
    };
    proto::Omission {
        kind: kind.into(),
        entry_count: number::write(*entry_count),
        first_entry_id: first_entry_id.to_string(),
        last_entry_id: last_entry_id.to_string(),
    }
}

/// An omission of an import.
pub(super) fn read(at: &Path<'_>, omission: proto::Omission, violations: &mut Violations) -> Option<Omission> {
    let proto::Omission { kind, entry_count, first_entry_id, last_entry_id } = omission;
    let kind = match Kind::try_from(kind) {
        Ok(Kind::Thinking) => Some(OmissionKind::Thinking),
        Ok(Kind::References) => Some(OmissionKind::References),
        Ok(Kind::OldEntries) => Some(OmissionKind::OldEntries),
        Ok(Kind::Unspecified) | Err(_) => {
            rules::unknown_number(&at.field("kind"), kind, violations);
            None
        }
    };
    let entry_count = number::read(&at.field("entry_count"), entry_count, violations);
    let first_entry_id = rules::entry_id(&at.field("first_entry_id"), &first_entry_id, violations);
    let last_entry_id = rules::entry_id(&at.field("last_entry_id"), &last_entry_id, violations);
    Some(Omission {
        kind: kind?,
        entry_count: entry_count?,
        first_entry_id: first_entry_id?,
        last_entry_id: last_entry_id?,
    })
}
