use prost_types::Duration as ProtoDuration;

use super::*;
use crate::proto::{ConfirmationStatus, HumanHandoff, MessageOutput};

fn text(text: &str) -> Vec<Chunk> {
    vec![Chunk { kind: Some(chunk::Kind::Text(text.into())) }]
}

fn said(kind: entry::Kind) -> (String, String) {
    let names = Names::from([("agent_1".into(), "triage".into())]);
    spoken(&Entry { kind: Some(kind), model: "small".into(), agent_id: "agent_1".into(), ..Entry::default() }, &names)
}

fn decision(verdict: Verdict, decided_by: &str) -> Option<Decision> {
    Some(Decision { verdict: verdict.into(), decided_by: decided_by.into(), ..Decision::default() })
}

#[test]
fn the_first_words_fit_one_line() {
    assert_eq!(shortened(" what\n is  sled? ", 20), "what is sled?");
    assert_eq!(shortened("Größe und Höhe", 6), "Größe…");
    assert_eq!(shortened("", 3), "");
}

#[test]
fn an_agent_speaks_by_its_name_if_it_is_known() {
    let output = entry::Kind::MessageOutput(MessageOutput { content: text("Hello"), ..MessageOutput::default() });
    assert_eq!(said(output.clone()), ("triage".into(), "Hello".into()));
    let who = |agent_id: &str, model: &str| {
        let (agent_id, model) = (agent_id.to_owned(), model.to_owned());
        spoken(&Entry { kind: Some(output.clone()), agent_id, model, ..Entry::default() }, &Names::new()).0
    };
    assert_eq!(who("agent_1", "small"), "agent_1");
    assert_eq!(who("", "small"), "small");
    assert_eq!(who("", ""), "assistant");
}

#[test]
fn a_tool_run_is_told_with_its_time_its_consent_and_how_it_ended() {
    let run = ToolExecution {
        name: "weather".into(),
        arguments: "{\"city\":\"Paris\"}".into(),
        result: text("18 °C"),
        duration: Some(ProtoDuration { seconds: 1, nanos: 240_000_000 }),
        ..ToolExecution::default()
    };
    let told = said(entry::Kind::ToolExecution(run.clone()));
    assert_eq!(told, ("tool weather, 1.2 s".into(), "weather({\"city\":\"Paris\"})\n18 °C".into()));

    let agreed = ToolExecution {
        decision: decision(Verdict::Allowed, "mia"),
        duration: None,
        error: "no city".into(),
        ..run.clone()
    };
    let told = said(entry::Kind::ToolExecution(agreed));
    assert_eq!(told, ("tool weather, mia agreed".into(), "weather({\"city\":\"Paris\"})\nfailed: no city".into()));

    let cut = ToolExecution { status: OutputStatus::Incomplete.into(), ..run };
    assert!(said(entry::Kind::ToolExecution(cut)).1.ends_with("whether it did its work is not known"));
}

#[test]
fn a_call_that_was_not_run_says_why() {
    let who = |result: FunctionResult| said(entry::Kind::FunctionResult(result)).0;
    for (verdict, expected) in [
        (Verdict::Denied, "mia did not agree"),
        (Verdict::Expired, "nobody agreed in time"),
        (Verdict::Skipped, "the call was skipped"),
    ] {
        // Also of a result that is no error.
        let result = FunctionResult { decision: decision(verdict, "mia"), is_error: true, ..FunctionResult::default() };
        assert_eq!(who(result), expected);
    }
    let denied = FunctionResult { decision: decision(Verdict::Denied, ""), ..FunctionResult::default() };
    assert_eq!(who(denied), "a person did not agree");
    assert_eq!(who(FunctionResult { is_error: true, ..FunctionResult::default() }), "the function failed");
    assert_eq!(who(FunctionResult::default()), "the function returned");
}

#[test]
fn calls_and_handoffs_name_who_asks_and_whom() {
    let asked = FunctionCall { name: "delete".into(), arguments: "{}".into(), ..FunctionCall::default() };
    let consent = FunctionCall { confirmation_status: ConfirmationStatus::Pending.into(), ..asked.clone() };
    assert_eq!(said(entry::Kind::FunctionCall(asked)), ("triage asks for".into(), "delete({})".into()));
    assert_eq!(said(entry::Kind::FunctionCall(consent)).0, "triage asks for consent to");

    let handoff = AgentHandoff {
        previous_agent_id: "agent_1".into(),
        previous_agent_name: "triage".into(),
        next_agent_id: "agent_2".into(),
        next_agent_name: "billing".into(),
    };
    let kind = entry::Kind::AgentHandoff(handoff.clone());
    assert_eq!(said(kind.clone()), ("handoff".into(), "triage hands over to billing".into()));
    let from_nobody = AgentHandoff { previous_agent_name: String::new(), ..handoff };
    assert_eq!(handed_over(&from_nobody), "the conversation is handed over to billing");
    let mut names = Names::new();
    learn(&mut names, &Entry { kind: Some(kind), ..Entry::default() });
    assert_eq!(names, Names::from([("agent_1".into(), "triage".into()), ("agent_2".into(), "billing".into())]));

    let asked = entry::Kind::HumanHandoff(HumanHandoff { message: "Refund?".into() });
    assert_eq!(said(asked), ("triage asks a person".into(), "Refund?".into()));
}

#[test]
fn who_decides_on_a_call_sees_all_of_it() {
    let arguments = "{\"path\":\"\u{202e}cod.a\u{1b}[2K\u{200b}\"}\n".to_owned();
    let asked = FunctionCall { name: "delete".into(), arguments, ..FunctionCall::default() };
    assert_eq!(whole_call(&asked), "delete({\"path\":\"\\u{202e}cod.a\\u{1b}[2K\\u{200b}\"}\n)");
}

#[test]
fn durations_are_short() {
    assert_eq!(took(Duration::from_millis(999)), "999 ms");
    assert_eq!(took(Duration::from_millis(61_250)), "61.2 s");
}
