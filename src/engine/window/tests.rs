use proptest::{collection::vec, prelude::*, sample::Index};
use uuid::Uuid;

use super::*;
use crate::domain::{
    Chunk, EntryDraft, Time,
    entry::{FunctionCall, FunctionResult, MessageInput, MessageOutput, OutputStatus, ToolExecution},
};

/// `s`ystem, `u`ser, `a`ssistant, `t`ool execution; a digit is the call of that id, `!` and a digit its result.
fn history(text: &str) -> Vec<Arc<Entry>> {
    let mut letters = text.chars();
    let bodies = std::iter::from_fn(|| {
        Some(match letters.next()? {
            's' => message(Role::System),
            'u' => message(Role::User),
            'a' => Body::MessageOutput(MessageOutput {
                content: Vec::new(),
                status: OutputStatus::Completed,
                segments: Vec::new(),
            }),
            't' => tool(),
            '!' => result(letters.next().expect("an id after !")),
            id => call(id),
        })
    });
    let numbered = bodies.zip(1..);
    numbered.map(|(body, n)| Arc::new(EntryDraft::new(body).into_entry(Uuid::from_u128(n), Time::default()))).collect()
}

fn message(role: Role) -> Body {
    Body::MessageInput(MessageInput { role, content: vec![Chunk::Text("words".into())], prefix: false })
}

fn tool() -> Body {
    Body::ToolExecution(ToolExecution { name: "web_search".into(), arguments: "{}".into(), ..ToolExecution::default() })
}

fn call(id: char) -> Body {
    Body::FunctionCall(FunctionCall {
        tool_call_id: id.to_string(),
        name: "f".into(),
        arguments: "{}".into(),
        ..FunctionCall::default()
    })
}

fn result(id: char) -> Body {
    Body::FunctionResult(FunctionResult { tool_call_id: id.to_string(), ..FunctionResult::default() })
}

/// How many entries after the head are left out when every entry weighs one token; `None`: it does not fit.
fn dropped(text: &str, available: u64) -> Option<u64> {
    let entries = history(text);
    let window = cut(&entries, &vec![1; entries.len()], available)?;
    Some(window.omission.map_or(0, |omission| omission.entry_count))
}

#[test]
fn the_oldest_questions_go_first_with_all_that_belongs_to_them() {
    let rows = [
        ("", 0, Some(0)),
        ("u", 1, Some(0)),
        ("u", 0, None),
        ("uaua", 4, Some(0)),
        ("uaua", 3, Some(2)),
        ("uaua", 2, Some(2)),
        ("uaua", 1, None),
        // The head stays.
        ("suau", 3, Some(2)),
        ("suau", 2, Some(2)),
        ("suau", 1, None),
        ("sss", 2, None),
        // A call, its result and the answer go together.
        ("u1!1au", 5, Some(0)),
        ("u1!1au", 4, Some(4)),
        ("u12!1!2au", 3, Some(6)),
        // What follows the last question stays, however much it is.
        ("uau12!1!2", 7, Some(0)),
        ("uau12!1!2", 5, Some(2)),
        ("uau12!1!2", 4, None),
        // A system message within begins something too, and the history's first entries need no question.
        ("uasau", 3, Some(2)),
        ("aau", 1, Some(2)),
        // Nothing after the last question stands for it.
        ("uasu", 1, Some(3)),
        ("uaus", 1, None),
        // The question came while a call waited: the call stays, and so does the question before it.
        ("uau1u!1", 3, None),
        ("uau1u!1", 4, Some(2)),
    ];
    for (text, available, expected) in rows {
        assert_eq!(dropped(text, available), expected, "{text:?} in {available}");
    }
}

#[test]
fn the_omission_names_what_was_left_out() {
    let entries = history("su1!1au");
    let window = cut(&entries, &[10, 1, 1, 1, 1, 1], 11).expect("the head and the question fit");
    assert_eq!(window.kept, [entries[0].clone(), entries[5].clone()]);
    let expected = Omission {
        kind: OmissionKind::OldEntries,
        entry_count: 4,
        first_entry_id: entries[1].id,
        last_entry_id: entries[4].id,
    };
    assert_eq!(window.omission, Some(expected));
}

#[test]
fn absurd_weights_do_not_overflow() {
    let entries = history("uau");
    assert_eq!(cut(&entries, &[u64::MAX; 3], u64::MAX - 1), None);
    let window = cut(&entries, &[u64::MAX, u64::MAX, 1], u64::MAX - 1).expect("the question fits");
    assert_eq!(window.kept, entries[2..]);
}

/// Histories with entries in any order, some of them as turns make them, and a weight for each entry.
fn weighed() -> impl Strategy<Value = (Vec<Arc<Entry>>, Vec<u64>)> {
    let turn = prop::sample::select(vec!["u", "ua", "u1!1a", "u12!2!1a", "uta", "su1!12!2a", "u1u!1a"]);
    let any = prop::sample::select(vec!["s", "u", "a", "t", "1", "2", "!1", "!2"]);
    let head = prop::sample::select(vec!["", "s", "ss"]);
    (head, vec(prop_oneof![3 => turn, 2 => any], 0..12)).prop_flat_map(|(head, rest)| {
        let entries = history(&(head.to_owned() + &rest.concat()));
        let weights = vec(0u64..40, entries.len());
        (Just(entries), weights)
    })
}

/// What a window must be, said of one that keeps the head and all from `start` on.
fn may_start(entries: &[Arc<Entry>], head: usize, start: usize) -> bool {
    let roles = [Role::User, Role::System];
    let begins_well = start == head || roles.iter().any(|role| is_message(&entries[start], *role));
    let keeps_question = (start..entries.len()).any(|at| is_message(&entries[at], Role::User))
        || !(head..start).any(|at| is_message(&entries[at], Role::User));
    let keeps_calls = (start..entries.len()).all(|at| {
        let Body::FunctionResult(result) = &entries[at].body else { return true };
        let answers = |entry: &Arc<Entry>| matches!(&entry.body, Body::FunctionCall(call) if call.tool_call_id == result.tool_call_id);
        entries[..at].iter().rposition(answers).is_none_or(|call| call >= start)
    });
    begins_well && keeps_question && keeps_calls
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn a_window_is_whole_and_the_largest_that_fits((entries, weights) in weighed(), place in any::<Index>(), off in 0u64..3) {
        let head = entries.iter().take_while(|entry| is_message(entry, Role::System)).count();
        let weight_from = |start: usize| weights[..head].iter().chain(&weights[start..]).sum::<u64>();
        // Just what some end of the history takes, or one token more or less.
        let available = (weight_from(head + place.index(entries.len() - head + 1)) + off).saturating_sub(1);
        let fitting = |start: &usize| may_start(&entries, head, *start) && weight_from(*start) <= available;
        // The whole rest, or a stretch that begins with one of its entries.
        let best = (head..entries.len().max(head + 1)).find(fitting);

        let window = cut(&entries, &weights, available);
        prop_assert_eq!(window.is_some(), best.is_some());
        if let (Some(Window { kept, omission }), Some(start)) = (window, best) {
            prop_assert_eq!(&kept, &[&entries[..head], &entries[start..]].concat());
            prop_assert_eq!(omission.as_ref().map_or(0, |omission| omission.entry_count), (start - head) as u64);
            let ends = omission.map(|omission| (omission.first_entry_id, omission.last_entry_id));
            prop_assert_eq!(ends, (start > head).then(|| (entries[head].id, entries[start - 1].id)));
        }
    }
}
