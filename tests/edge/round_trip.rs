//! What goes out comes back the same: entries as inputs, and everything as an export.

use causerie::{
    domain::{Entry, EntryDraft},
    grpc::convert::{
        entry, event,
        export::{self, Exported, Told},
        turn,
    },
    proto,
};
use proptest::{prelude::*, strategy::ValueTree};
use prost::Message;

use super::strategies;

fn drafted(entry: &Entry) -> EntryDraft {
    let Entry { id: _, created_at, completed_at, model, agent_id, body } = entry.clone();
    EntryDraft { created_at: Some(created_at), completed_at, model, agent_id, body }
}

/// Over the wire: what prost encodes and decodes is what a client gets.
fn wired<M: Message + Default>(message: &M) -> M {
    M::decode(message.encode_to_vec().as_slice()).expect("what was encoded can be decoded")
}

fn exported() -> impl Strategy<Value = Exported> {
    let turn = strategies::turn().prop_flat_map(|turn| (strategies::version(&turn), Just(turn)));
    let counts = (0..=100u64, 0..=100u64, 0..=100u64, 0..1000u64);
    (turn, counts, proptest::option::of(any::<[u8; 16]>())).prop_map(
        |((version, turn), counts, request_fingerprint)| {
            let (kept, inputs, outputs, event_count) = counts;
            let added = inputs + outputs;
            let mut exported = Exported {
                version,
                turn,
                kept_entry_count: kept,
                input_count: inputs,
                added_entry_count: added,
                event_count,
                request_fingerprint,
            };
            exported.version.entry_count = kept + added;
            exported.turn.conversation_id = Some(exported.version.id);
            exported.turn.outputs.clear();
            exported
        },
    )
}

proptest! {
    #[test]
    fn entries_that_go_out_can_be_put_in(entry in strategies::input()) {
        let back = entry::entry_draft("inputs[0]", wired(&entry::write(&entry)));
        prop_assert_eq!(back.expect("it keeps to the rules"), drafted(&entry));
    }

    #[test]
    fn entries_come_back_from_an_export(entry in strategies::entry()) {
        let back = entry::imported("entry", wired(&entry::write(&entry))).expect("it can be imported");
        prop_assert_eq!(back.id.kind, entry.id.kind);
        prop_assert_eq!(back, entry);
    }

    #[test]
    fn versions_come_back_from_an_export(exported in exported(), head: bool) {
        let back = export::read("version", wired(&export::write(&exported, head)));
        prop_assert_eq!(back.expect("it can be imported"), exported);
    }

    #[test]
    fn events_come_back_from_an_export(
        (turn, inputs, event) in strategies::turn_with_inputs().prop_flat_map(|(turn, inputs)| {
            (Just(turn.clone()), Just(inputs.clone()), strategies::event(turn, inputs))
        })
    ) {
        let told = Told { turn: &turn, inputs: &inputs };
        let out = wired(&export::write_event(&turn.id.to_string(), &event, told));
        prop_assert_eq!(export::read_event("event", out, told).expect("it can be imported"), event);
    }

    /// A failure of a turn, which has no reader of its own.
    #[test]
    fn failures_come_back(failure in strategies::failure(), mut turn in strategies::turn()) {
        turn.error = Some(failure);
        turn.outputs.clear();
        let event = causerie::domain::Event {
            sequence: 9,
            first_sequence: 9,
            created_at: turn.created_at,
            kind: causerie::domain::EventKind::ResponseDone { turn: turn.clone().into() },
        };
        let told = Told { turn: &turn, inputs: &[] };
        let out = wired(&event::write(&turn.id.to_string(), &event));
        prop_assert_eq!(export::read_event("event", out, told).expect("it can be imported"), event);
    }

    #[test]
    fn the_same_turn_has_the_same_bytes(turn in strategies::turn()) {
        prop_assert_eq!(turn::write(&turn).encode_to_vec(), turn::write(&turn.clone()).encode_to_vec());
    }
}

#[test]
fn an_export_says_everything_once() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = strategies::turn_with_inputs();
    for _ in 0..32 {
        let (turn, inputs) = strategy.new_tree(&mut runner).expect("a turn").current();
        let id = turn.id.to_string();
        let told = Told { turn: &turn, inputs: &inputs };
        let event =
            |kind| causerie::domain::Event { sequence: 1, first_sequence: 1, created_at: turn.created_at, kind };
        let done = event(causerie::domain::EventKind::ResponseDone { turn: turn.clone().into() });
        let kind = export::write_event(&id, &done, told).kind;
        assert_eq!(kind, Some(proto::event::Kind::ResponseDone(proto::ResponseDone { turn: None })));
        for output in &turn.outputs {
            let done = event(causerie::domain::EventKind::EntryDone { entry: output.clone() });
            let Some(proto::event::Kind::EntryDone(done)) = export::write_event(&id, &done, told).kind else {
                panic!("another kind")
            };
            let id = done.entry.as_ref().expect("its id").id.clone();
            assert_eq!(done.entry, Some(proto::Entry { id, ..Default::default() }));
        }
    }
}

#[test]
fn an_import_that_contradicts_itself_is_refused() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let exported = exported().new_tree(&mut runner).expect("a version").current();
    let refused = |change: fn(&mut proto::ExportedVersion)| {
        let mut message = export::write(&exported, true);
        change(&mut message);
        let failure = export::read("version", message).expect_err("it contradicts itself");
        failure.violations.into_iter().map(|violation| violation.field).collect::<Vec<_>>()
    };
    assert_eq!(refused(|m| *m = proto::ExportedVersion::default()), ["version.conversation", "version.turn"]);
    assert_eq!(refused(|m| m.kept_entry_count += 1), ["version.added_entry_count"]);
    assert_eq!(refused(|m| m.event_count = -1), ["version.event_count"]);
    assert_eq!(refused(|m| m.request_fingerprint = vec![1]), ["version.request_fingerprint"]);
    let turn = |m: &mut proto::ExportedVersion| m.turn.as_mut().expect("written").clone();
    let with = |change: fn(&mut proto::Turn)| {
        let mut message = export::write(&exported, true);
        let mut changed = turn(&mut message);
        change(&mut changed);
        message.turn = Some(changed);
        let failure = export::read("version", message).expect_err("it contradicts itself");
        failure.violations.into_iter().map(|violation| violation.field).collect::<Vec<_>>()
    };
    assert_eq!(with(|turn| turn.id = format!("turn_{}", "0".repeat(32))), ["version.turn.id"]);
    assert_eq!(with(|turn| turn.state = 0), ["version.turn.state"]);
    assert_eq!(with(|turn| turn.created_at = None), ["version.turn.created_at"]);
    assert_eq!(with(|turn| turn.conversation_id.clear()), ["version.turn.conversation_id"]);
    assert_eq!(with(|turn| turn.error = Some(Default::default())), ["version.turn.error.details"]);
}
