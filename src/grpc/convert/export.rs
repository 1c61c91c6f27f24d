//! Versions, their turns and their events as an export carries them, and back.
//!
//! An export says everything once: outputs and inputs are the entries that follow a version, so its turn and its events
//! leave them out, and what is left out is put in again on the way back.

use std::sync::Arc;

use super::{
    entry, event, number,
    path::Path,
    turn, version,
    violations::{self, Rules, Violations},
};
use crate::{
    domain::{Entry, Event, EventKind, Failure, Turn, Version},
    proto::{self, event::Kind},
};

/// A version with its turn, without its entries and events, which stand beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct Exported {
    /// The version.
    pub version: Version,
    /// The turn that made it. On the way in its outputs are empty, until they have come as entries.
    pub turn: Turn,
    /// Entries of the parent's history that it keeps.
    pub kept_entry_count: u64,
    /// How many of the entries that follow were put in; the rest came out.
    pub input_count: u64,
    /// How many entries follow.
    pub added_entry_count: u64,
    /// How many events follow.
    pub event_count: u64,
    /// The hash of its request, if that had an id.
    pub request_fingerprint: Option<[u8; 16]>,
}

/// What an event can leave out, because the export has said it already.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// The turn, outputs included.
    pub turn: &'a Turn,
    /// The turn's inputs.
    pub inputs: &'a [Arc<Entry>],
}

/// A version as an export has it. `head` is for readers of the export; an import finds out by itself.
pub fn write(exported: &Exported, head: bool) -> proto::ExportedVersion {
    let Exported { version, turn, kept_entry_count, input_count, added_entry_count, event_count, request_fingerprint } =
        exported;
    proto::ExportedVersion {
        conversation: Some(version::write(version, head, None)),
        turn: Some(proto::Turn { outputs: Vec::new(), ..turn::write(turn) }),
        kept_entry_count: number::write(*kept_entry_count),
        input_count: number::write(*input_count),
        added_entry_count: number::write(*added_entry_count),
        event_count: number::write(*event_count),
        request_fingerprint: request_fingerprint.map(Vec::from).unwrap_or_default(),
    }
}

/// A version of an import, which stands at `path`.
pub fn read(path: &str, exported: proto::ExportedVersion) -> Result<Exported, Failure> {
    violations::read(Rules::Shape, |violations| read_version(&Path::root(path), exported, violations))
}

/// An event as an export has it.
pub fn write_event(turn_id: &str, event: &Event, told: Told<'_>) -> proto::Event {
    let mut written = event::write(turn_id, event);
    if let (Some(Kind::ResponseStarted(started)), EventKind::ResponseStarted { inputs, .. }) =
        (&mut written.kind, &event.kind)
        && **inputs == *told.inputs
    {
        started.inputs.clear();
    }
    if let (Some(Kind::EntryDone(done)), EventKind::EntryDone { entry }) = (&mut written.kind, &event.kind)
        && told.turn.outputs.contains(entry)
    {
        done.entry = Some(proto::Entry { id: entry.id.to_string(), ..proto::Entry::default() });
    }
    if let (Some(Kind::ResponseDone(done)), EventKind::ResponseDone { turn }) = (&mut written.kind, &event.kind)
        && **turn == *told.turn
    {
        done.turn = None;
    }
    written
}

/// An event of an import, which stands at `path`.
pub fn read_event(path: &str, mut event: proto::Event, told: Told<'_>) -> Result<Event, Failure> {
    tell_again(&mut event, told);
    violations::read(Rules::Shape, |violations| event::read(&Path::root(path), told.turn.id, event, violations))
}

/// Puts in again what [`write_event`] has left out.
fn tell_again(event: &mut proto::Event, told: Told<'_>) {
    match &mut event.kind {
        Some(Kind::ResponseStarted(started)) if started.inputs.is_empty() => {
            started.inputs = told.inputs.iter().map(|input| entry::write(input)).collect();
        }
        Some(Kind::EntryDone(proto::EntryDone { entry: Some(entry) })) if entry.kind.is_none() => {
            // An entry that is not found stays without its kind, which the reader refuses.
            if let Some(output) = told.turn.outputs.iter().find(|output| output.id.to_string() == entry.id) {
                *entry = entry::write(output);
            }
        }
        Some(Kind::ResponseDone(done)) if done.turn.is_none() => done.turn = Some(turn::write(told.turn)),
        Some(_) | None => {}
    }
}

fn read_version(at: &Path<'_>, exported: proto::ExportedVersion, violations: &mut Violations) -> Option<Exported> {
    let proto::ExportedVersion {
        conversation,
        turn,
        kept_entry_count,
        input_count,
        added_entry_count,
        event_count,
        request_fingerprint,
    } = exported;
    let v = violations;
    if conversation.is_none() {
        v.add(&at.field("conversation"), format_args!("is required"));
    }
    if turn.is_none() {
        v.add(&at.field("turn"), format_args!("is required"));
    }
    let version = conversation.and_then(|version| version::read(&at.field("conversation"), version, v));
    let turn = turn.and_then(|turn| turn::read(&at.field("turn"), turn, v));
    let kept_entry_count = number::read(&at.field("kept_entry_count"), kept_entry_count, v);
    let input_count = number::read(&at.field("input_count"), input_count, v);
    let added_entry_count = number::read(&at.field("added_entry_count"), added_entry_count, v);
    let event_count = number::read(&at.field("event_count"), event_count, v);
    let request_fingerprint = read_fingerprint(&at.field("request_fingerprint"), &request_fingerprint, v);
    let exported = Exported {
        version: version?,
        turn: turn?,
        kept_entry_count: kept_entry_count?,
        input_count: input_count?,
        added_entry_count: added_entry_count?,
        event_count: event_count?,
        request_fingerprint: request_fingerprint?,
    };
    check_agreement(at, &exported, v);
    Some(exported)
}

/// What the parts of an export say about each other.
fn check_agreement(at: &Path<'_>, exported: &Exported, violations: &mut Violations) {
    let Exported { version, turn, kept_entry_count, input_count, added_entry_count, .. } = exported;
    let turn_at = at.field("turn");
    if turn.id != version.id.turn() {
        violations.add(&turn_at.field("id"), format_args!("must be the turn of the version"));
    }
    if turn.conversation_id != Some(version.id) {
        violations.add(&turn_at.field("conversation_id"), format_args!("must be the version"));
    }
    if turn.parent_id != version.parent_id {
        violations.add(&turn_at.field("parent_conversation_id"), format_args!("must be the version's parent"));
    }
    if turn.state != version.turn_state {
        violations.add(&turn_at.field("state"), format_args!("must be the version's turn_state"));
    }
    if !turn.outputs.is_empty() {
        violations.add(&turn_at.field("outputs"), format_args!("must be left out: outputs follow as entries"));
    }
    if input_count > added_entry_count {
        let at = at.field("input_count");
        violations.add(&at, format_args!("must be at most added_entry_count {added_entry_count}, is {input_count}"));
    }
    if kept_entry_count.checked_add(*added_entry_count) != Some(version.entry_count) {
        violations.add(
            &at.field("added_entry_count"),
            format_args!(
                "must make entry_count {} together with kept_entry_count {kept_entry_count}, is {added_entry_count}",
                version.entry_count
            ),
        );
    }
}

/// The inner `None`: its request had no id.
fn read_fingerprint(at: &Path<'_>, bytes: &[u8], violations: &mut Violations) -> Option<Option<[u8; 16]>> {
    if bytes.is_empty() {
        return Some(None);
    }
    let fingerprint = bytes.try_into().ok();
    if fingerprint.is_none() {
        violations.add(at, format_args!("must be 16 bytes or left out, has {}", bytes.len()));
    }
    fingerprint.map(Some)
}
