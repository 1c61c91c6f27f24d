use std::sync::Arc;

use uuid::Uuid;

use super::*;
use crate::domain::{
    entry::{Chunk, Confirmation, Decision, Verdict},
    event::{Author, CallHead},
    ids::EntryKind,
};

fn id(kind: EntryKind, number: u128) -> EntryId {
    EntryId { kind, uuid: Uuid::from_u128(number) }
}

fn run_id(number: u128) -> EntryId {
    id(EntryKind::ToolExecution, number)
}

fn at(unix_us: i64) -> Time {
    Time { unix_us }
}

fn author() -> Arc<Author> {
    Arc::new(Author { model: "small".into(), agent_id: Some("agent_a".into()) })
}

fn head() -> ToolHead {
    let (reason, decided_by) = ("it is fine".into(), "anna".into());
    ToolHead {
        name: "search".into(),
        arguments: "{}".into(),
        tool_call_id: Some("call-a".into()),
        parallel: true,
        decision: Some(Decision { verdict: Verdict::Allowed, reason, decided_by, decided_at: at(1) }),
    }
}

fn started(number: u128) -> EventKind {
    EventKind::ToolExecutionStarted {
        entry_id: run_id(number),
        output_index: 0,
        run: Arc::new(head()),
        author: author(),
    }
}

fn done(number: u128, result: &str, error: Option<&str>) -> EventKind {
    EventKind::ToolExecutionDone {
        entry_id: run_id(number),
        output_index: 0,
        name: "search".into(),
        result: vec![Chunk::Text(result.into())],
        info: "{\"pages\":1}".into(),
        error: error.map(Into::into),
    }
}

fn progress(number: u128, message: &str, arguments: &str) -> EventKind {
    let (message, arguments) = (message.to_owned(), arguments.to_owned());
    EventKind::ToolExecutionDelta {
        entry_id: run_id(number),
        output_index: 0,
        name: "search".into(),
        message,
        arguments,
    }
}

fn text(number: u128, text: &str) -> EventKind {
    EventKind::MessageOutputDelta {
        entry_id: id(EntryKind::MessageOutput, number),
        output_index: 0,
        content_index: 0,
        author: author(),
        chunk: Chunk::Text(text.into()),
    }
}

fn call(number: u128, arguments: &str) -> EventKind {
    let call = CallHead {
        tool_call_id: "call-a".into(),
        name: "pay".into(),
        confirmation: Some(Confirmation::Pending),
        confirmation_expires_at: Some(at(99)),
    };
    EventKind::FunctionCallDelta {
        entry_id: id(EntryKind::FunctionCall, number),
        output_index: 0,
        call: Arc::new(call),
        author: author(),
        arguments: arguments.into(),
    }
}

fn handoff_started(number: u128) -> EventKind {
    EventKind::AgentHandoffStarted {
        entry_id: id(EntryKind::AgentHandoff, number),
        output_index: 0,
        previous_agent_id: "agent_a".into(),
        previous_agent_name: "A".into(),
        author: author(),
    }
}

fn handoff_done(number: u128) -> EventKind {
    let entry_id = id(EntryKind::AgentHandoff, number);
    EventKind::AgentHandoffDone {
        entry_id,
        output_index: 0,
        next_agent_id: "agent_b".into(),
        next_agent_name: "B".into(),
    }
}

/// The outputs after these events, which happen at 10, 20, 30 …
fn after(kinds: &[EventKind]) -> Outputs {
    let mut outputs = Outputs::default();
    for (kind, time) in kinds.iter().zip(1..) {
        outputs.apply(kind, at(time * 10));
    }
    outputs
}

fn entry(id: EntryId, created_at: i64, completed_at: Option<i64>, body: Body) -> Entry {
    let (model, agent_id) = (Some("small".into()), Some("agent_a".into()));
    Entry { id, created_at: at(created_at), completed_at: completed_at.map(at), model, agent_id, body }
}

fn run_of(status: OutputStatus) -> ToolExecution {
    let ToolHead { name, arguments, tool_call_id, parallel, decision } = head();
    ToolExecution { name, arguments, tool_call_id, parallel, decision, status, ..ToolExecution::default() }
}

#[test]
fn a_run_of_a_tool_is_open_until_it_is_done() {
    let mut outputs = after(&[started(1), progress(1, "halfway", "")]);
    assert!(outputs.has_open() && outputs.get(run_id(1)).is_none());
    let so_far: Vec<_> = outputs.so_far().collect();
    let begun = entry(run_id(1), 10, None, Body::ToolExecution(run_of(OutputStatus::Incomplete)));
    assert_eq!(so_far, [Arc::new(begun)], "a report is for people, the entry does not keep it");
    outputs.apply(&done(1, "found", None), at(30));
    let run = ToolExecution {
        result: vec![Chunk::Text("found".into())],
        info: "{\"pages\":1}".into(),
        ..run_of(OutputStatus::Completed)
    };
    let expected = Arc::new(entry(run_id(1), 10, Some(30), Body::ToolExecution(run)));
    assert_eq!(outputs.get(run_id(1)), Some(&expected));
    assert!(!outputs.has_open());
    assert_eq!((outputs.finish(at(99)), outputs.cut()), (vec![], vec![]), "it has ended already");
    assert_eq!(outputs.so_far().collect::<Vec<_>>(), [expected]);
}

#[test]
fn a_run_that_failed_has_ended_all_the_same() {
    let outputs = after(&[started(1), done(1, "", Some("no network"))]);
    let Body::ToolExecution(run) = &outputs.get(run_id(1)).expect("it has ended").body else { panic!("a run") };
    assert_eq!((run.status, run.error.as_deref()), (OutputStatus::Completed, Some("no network")));
}

#[test]
fn arguments_that_come_in_pieces_are_put_together() {
    let outputs = after(&[started(1), progress(1, "", "{\"q\""), progress(1, "", ":1}"), done(1, "found", None)]);
    let Body::ToolExecution(run) = &outputs.get(run_id(1)).expect("it has ended").body else { panic!("a run") };
    assert_eq!(run.arguments, "{}{\"q\":1}", "after those that were told at its beginning");
}

#[test]
fn runs_at_the_same_time_keep_to_themselves() {
    let outputs =
        after(&[started(1), started(2), done(2, "second", None), progress(1, "", "x"), done(1, "first", None)]);
    let told: Vec<_> = outputs
        .so_far()
        .map(|entry| match &entry.body {
            Body::ToolExecution(run) => (entry.id, entry.completed_at, run.arguments.clone(), run.result.clone()),
            other => panic!("{other:?}"),
        })
        .collect();
    let result = |text: &str| vec![Chunk::Text(text.into())];
    let first = (run_id(1), Some(at(50)), "{}x".to_owned(), result("first"));
    assert_eq!(told, [first, (run_id(2), Some(at(30)), "{}".to_owned(), result("second"))]);
}

#[test]
fn what_has_ended_or_never_began_is_not_changed() {
    let outputs = after(&[started(1), done(1, "found", None), progress(1, "", "late"), done(1, "late", Some("late"))]);
    let before = after(&[started(1), done(1, "found", None)]);
    assert_eq!(outputs.so_far().collect::<Vec<_>>(), before.so_far().collect::<Vec<_>>());
    assert!(after(&[progress(1, "", "x"), done(1, "found", None), handoff_done(2)]).is_empty());
}

#[test]
fn a_handoff_has_ended_when_another_agent_takes_over() {
    let handoff = id(EntryKind::AgentHandoff, 1);
    let mut outputs = after(&[handoff_started(1)]);
    assert!(outputs.has_open() && outputs.get(handoff).is_none());
    outputs.apply(&handoff_done(1), at(20));
    let body = Body::AgentHandoff(AgentHandoff {
        previous_agent_id: "agent_a".into(),
        previous_agent_name: "A".into(),
        next_agent_id: "agent_b".into(),
        next_agent_name: "B".into(),
    });
    assert_eq!(outputs.get(handoff), Some(&Arc::new(entry(handoff, 10, Some(20), body))));
    assert!(!outputs.has_open());
}

#[test]
fn a_handoff_to_a_person_has_ended_at_once() {
    let entry_id = id(EntryKind::HumanHandoff, 1);
    let asked = EventKind::HumanHandoff { entry_id, output_index: 0, message: "help".into(), author: author() };
    let outputs = after(&[asked]);
    let body = Body::HumanHandoff(HumanHandoff { message: "help".into() });
    assert_eq!(outputs.get(entry_id), Some(&Arc::new(entry(entry_id, 10, Some(10), body))));
}

#[test]
fn a_call_keeps_until_when_consent_is_waited_for() {
    let mut outputs = after(&[call(1, "{\"a\""), call(1, ":1}")]);
    assert!(outputs.has_open_calls());
    let body = Body::FunctionCall(FunctionCall {
        tool_call_id: "call-a".into(),
        name: "pay".into(),
        arguments: "{\"a\":1}".into(),
        confirmation: Some(Confirmation::Pending),
        confirmation_expires_at: Some(at(99)),
    });
    assert_eq!(outputs.finish(at(30)), [Arc::new(entry(id(EntryKind::FunctionCall, 1), 10, Some(30), body))]);
}

/// The model's answer ends; what the service has run before it ended earlier.
#[test]
fn finishing_gives_what_was_open_and_nothing_twice() {
    let mut outputs = after(&[started(1), done(1, "found", None), text(2, "It is"), call(3, "{}")]);
    let kinds = |ended: Vec<Arc<Entry>>| ended.iter().map(|entry| entry.id.kind).collect::<Vec<_>>();
    assert_eq!(kinds(outputs.finish(at(50))), [EntryKind::MessageOutput, EntryKind::FunctionCall]);
    assert_eq!(kinds(outputs.finish(at(60))), []);
    outputs.apply(&text(4, "More"), at(70));
    let more = outputs.finish(at(80));
    assert_eq!((more[0].completed_at, more.len()), (Some(at(80)), 1));
    assert_eq!(outputs.so_far().count(), 4);
}

/// What a tool did when it was cut off is not known: the run stays, so that nobody runs it again.
#[test]
fn cutting_keeps_messages_and_runs_and_drops_calls_and_handoffs() {
    let mut outputs = after(&[
        started(1),
        done(1, "found", None),
        call(2, "{}"),
        text(3, "It"),
        started(4),
        handoff_started(5),
        call(6, "{\"a"),
    ]);
    let ended = outputs.cut();
    let told = |entry: &Arc<Entry>| match &entry.body {
        Body::MessageOutput(message) => (entry.id, message.status, entry.completed_at),
        Body::ToolExecution(run) => (entry.id, run.status, entry.completed_at),
        other => panic!("{other:?}"),
    };
    let message = (id(EntryKind::MessageOutput, 3), OutputStatus::Incomplete, None);
    let run = (run_id(4), OutputStatus::Incomplete, None);
    assert_eq!(ended.iter().map(told).collect::<Vec<_>>(), [message, run]);
    let kept: Vec<_> = outputs.so_far().collect();
    let first = (run_id(1), OutputStatus::Completed, Some(at(20)));
    assert_eq!(kept.iter().map(told).collect::<Vec<_>>(), [first, message, run]);
    assert!(!outputs.has_open());
    assert_eq!(outputs.cut(), []);
}

/// A call that ended before the cut has all its arguments.
#[test]
fn cutting_keeps_calls_that_have_ended() {
    let mut outputs = after(&[call(1, "{}")]);
    outputs.finish(at(20));
    outputs.apply(&text(2, "It"), at(30));
    assert!(!outputs.has_open_calls());
    assert_eq!(outputs.cut().len(), 1);
    assert_eq!(outputs.so_far().count(), 2);
}

#[test]
fn an_entry_that_comes_whole_stands_in_its_place() {
    let mut outputs = after(&[text(1, "It is")]);
    outputs.finish(at(20));
    let denied = run_id(2);
    let whole = Arc::new(entry(denied, 20, Some(20), Body::ToolExecution(run_of(OutputStatus::Completed))));
    outputs.push(Arc::clone(&whole));
    outputs.apply(&text(3, "More"), at(30));
    let ids: Vec<_> = outputs.so_far().map(|entry| entry.id).collect();
    assert_eq!(ids, [id(EntryKind::MessageOutput, 1), denied, id(EntryKind::MessageOutput, 3)]);
    assert!(outputs.get(denied).is_some_and(|entry| Arc::ptr_eq(entry, &whole)));
    assert_eq!(outputs.cut().len(), 1, "what came whole is not cut");
}

#[test]
fn events_about_other_things_make_no_output() {
    let failure = Arc::new(crate::domain::Failure::new(crate::domain::Reason::Timeout, "it took too long"));
    let retry = EventKind::UpstreamRetry { model: "small".into(), attempt: 1, delay_ms: 0, failure: failure.clone() };
    let told = Arc::new(entry(run_id(1), 10, None, Body::ToolExecution(run_of(OutputStatus::Completed))));
    let outputs = after(&[retry, EventKind::EntryDone { entry: told }, EventKind::ResponseError { failure }]);
    assert!(outputs.is_empty() && !outputs.has_open());
}
