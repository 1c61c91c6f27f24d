//! Agents' versions, consent, and how a turn deals with tools.

use causerie::{
    domain::Failure,
    grpc::convert::{entry as entries, request},
    proto::{self, entry::Kind, tool_confirmation::Confirmation},
};
use prost_types::Timestamp;

use super::{entry, good};

const UNKNOWN: &str = "has no value with the number 9 in this release";

fn violations(failure: &Failure) -> Vec<(&str, &str)> {
    failure.violations.iter().map(|violation| (violation.field.as_str(), violation.description.as_str())).collect()
}

fn append() -> proto::AppendRequest {
    proto::AppendRequest { conversation_id: format!("conv_{}", "0".repeat(32)), ..Default::default() }
}

#[track_caller]
fn told(request: proto::AppendRequest, expected: &[(&str, &str)]) {
    let failure = request::append("", request).expect_err("the request breaks a rule");
    assert_eq!(violations(&failure), expected);
}

#[test]
fn versions_of_agents() {
    let rule = "must be a version's number, or an alias: 1 to 64 lowercase letters, digits, `_` and `-`, from a letter to a \
                letter or digit";
    let long = "a".repeat(65);
    for version in ["Production", "prod-", "_prod", "1st", "a b", "ä", "-1", &long] {
        told(proto::AppendRequest { agent_version: version.to_owned(), ..append() }, &[("agent_version", rule)]);
    }
    for version in ["0", "4294967296", "99999999999999999999"] {
        let request = proto::AppendRequest { agent_version: version.to_owned(), ..append() };
        told(request, &[("agent_version", "must be a version's number from 1, or an alias")]);
    }
    let of_none = proto::StartRequest { agent_version: "3".to_owned(), ..good() };
    let failure = request::start("", of_none).expect_err("no agent is named");
    assert_eq!(violations(&failure), [("agent_version", "is of an agent: give `agent_id`, or leave it out")]);
}

#[test]
fn how_a_turn_deals_with_tools() {
    let request = proto::AppendRequest { handoff_execution: 9, max_tool_rounds: -1, pending_calls: 9, ..append() };
    let rounds = "must be at least 0, is -1";
    told(request, &[("handoff_execution", UNKNOWN), ("pending_calls", UNKNOWN), ("max_tool_rounds", rounds)]);
    let start = proto::StartRequest { handoff_execution: 9, max_tool_rounds: -1, ..good() };
    let failure = request::start("start", start).expect_err("it breaks rules");
    assert_eq!(violations(&failure), [("start.handoff_execution", UNKNOWN), ("start.max_tool_rounds", rounds)]);
    let restart = proto::RestartRequest {
        conversation_id: append().conversation_id,
        from_entry_id: format!("msg_{}", "0".repeat(32)),
        handoff_execution: 9,
        max_tool_rounds: -1,
        pending_calls: 9,
        ..Default::default()
    };
    let failure = request::restart("", restart).expect_err("it breaks rules");
    let expected = [("handoff_execution", UNKNOWN), ("pending_calls", UNKNOWN), ("max_tool_rounds", rounds)];
    assert_eq!(violations(&failure), expected);
}

fn decided(change: impl FnOnce(&mut proto::ToolConfirmation)) -> proto::AppendRequest {
    let confirmation = Confirmation::Allow.into();
    let mut one = proto::ToolConfirmation { tool_call_id: "c".to_owned(), confirmation, ..Default::default() };
    change(&mut one);
    proto::AppendRequest { tool_confirmations: vec![one], ..append() }
}

#[test]
fn consent() {
    assert!(request::append("", decided(|_| ())).is_ok());
    let required = "is required: 1 to 256 visible ASCII characters";
    let with = |field: &str, text: &str, change: fn(&mut proto::ToolConfirmation)| {
        told(decided(change), &[(&format!("tool_confirmations[0].{field}"), text)]);
    };
    with("tool_call_id", required, |c| c.tool_call_id.clear());
    with("reason", "must be at most 8192 bytes, has 8193: shorten it", |c| c.reason = "x".repeat(8193));
    with("decided_by", "must be at most 256 bytes, has 257: shorten it", |c| c.decided_by = "x".repeat(257));
    with("confirmation", "is required: CONFIRMATION_ALLOW or CONFIRMATION_DENY", |c| c.confirmation = 0);
    with("confirmation", UNKNOWN, |c| c.confirmation = 9);
    with("arguments", "must be at most 1048576 bytes, has 1048577: shorten it", |c| {
        c.arguments = format!("{{{}}}", " ".repeat((1 << 20) - 1));
    });
    for arguments in ["[1]", "{", "null", "{} {}"] {
        let at = "tool_confirmations[0].arguments";
        told(decided(|c| c.arguments = arguments.to_owned()), &[(at, "must be the text of a JSON object")]);
    }
    with("arguments", "is for CONFIRMATION_ALLOW only: leave it out", |c| {
        (c.confirmation, c.arguments) = (Confirmation::Deny.into(), "{}".to_owned());
    });
}

#[test]
fn consent_to_several_calls() {
    let mut request = decided(|_| ());
    request.tool_confirmations = vec![request.tool_confirmations[0].clone(); 2];
    let twice = "is decided by an earlier confirmation too: leave one out";
    told(request.clone(), &[("tool_confirmations[1].tool_call_id", twice)]);
    request.tool_confirmations = vec![request.tool_confirmations[0].clone(); 129];
    told(request, &[("tool_confirmations", "must be at most 128, has 129: send several turns")]);
}

#[test]
fn what_was_decided_before() {
    let decision = |verdict, decided_at| proto::Decision { verdict, decided_at, ..Default::default() };
    let now = Some(Timestamp { seconds: 1, nanos: 0 });
    let cases = [
        (decision(0, now), "verdict", "is required: what was decided"),
        (decision(9, now), "verdict", UNKNOWN),
        (decision(1, None), "decided_at", "is required"),
    ];
    for (decision, field, text) in cases {
        let decision = Some(decision);
        let tool_call_id = "c".to_owned();
        let result = proto::FunctionResult { tool_call_id, decision: decision.clone(), ..Default::default() };
        let run = proto::ToolExecution { name: "t".to_owned(), decision, ..Default::default() };
        for (kind, of) in
            [(Kind::FunctionResult(result), "function_result"), (Kind::ToolExecution(run), "tool_execution")]
        {
            let failure = entries::entry_draft("entry", entry(kind)).expect_err("it breaks a rule");
            assert_eq!(violations(&failure), [(format!("entry.{of}.decision.{field}").as_str(), text)]);
        }
    }
    let named = proto::ToolExecution { name: "t".to_owned(), tool_call_id: "ä".to_owned(), ..Default::default() };
    let failure = entries::entry_draft("entry", entry(Kind::ToolExecution(named))).expect_err("it breaks a rule");
    let text = "must be 1 to 256 visible ASCII characters, 1 of its characters are not";
    assert_eq!(violations(&failure), [("entry.tool_execution.tool_call_id", text)]);
    let status = proto::FunctionCall { tool_call_id: "c".to_owned(), name: "f".to_owned(), ..Default::default() };
    let status = proto::FunctionCall { confirmation_status: 9, ..status };
    let failure = entries::entry_draft("entry", entry(Kind::FunctionCall(status))).expect_err("it breaks a rule");
    assert_eq!(violations(&failure), [("entry.function_call.confirmation_status", UNKNOWN)]);
}
