//! What becomes of function calls that wait: run, because a person agreed; answered without being run, because a person did not,
//! nobody did in time, or the conversation goes on without them.

use std::collections::HashSet;

use crate::domain::request::{ToolConfirmation, ToolUse};
use crate::domain::{
    Body, Chunk, EntryDraft, Failure, Reason, Time, Violation,
    entry::{Confirmation, Decision, FunctionCall, FunctionResult, Verdict},
};

/// What was decided.
#[derive(Debug, Default)]
pub(super) struct Decided {
    /// The answers of calls that are not run; they come before all other inputs.
    pub(super) answers: Vec<EntryDraft>,
    /// The calls that are run.
    pub(super) agreed: Vec<Agreed>,
}

/// A call that a person agreed to.
#[derive(Debug, Clone)]
pub(super) struct Agreed {
    pub(super) tool_call_id: String,
    pub(super) name: String,
    /// As the model or the person wrote them.
    pub(super) arguments: String,
    pub(super) decision: Decision,
}

/// Decides on the calls that wait, in their order. `inputs`: what the caller puts in, results among it.
pub(super) fn decide(
    waiting: &[FunctionCall],
    tool_use: &ToolUse,
    inputs: &[EntryDraft],
    now: Time,
) -> Result<Decided, Failure> {
    check(waiting, tool_use, inputs, now)?;
    let answered = results(inputs);
    let mut decided = Decided::default();
    for call in waiting.iter().filter(|call| !answered.contains(call.tool_call_id.as_str())) {
        let confirmation = tool_use.confirmations.iter().find(|given| given.tool_call_id == call.tool_call_id);
        match confirmation {
            Some(given) if given.allowed => decided.agreed.push(agreed(call, given, now)),
            Some(given) => {
                let ToolConfirmation { reason, decided_by, .. } = given;
                let text = match reason.is_empty() {
                    true => "a person did not agree to this call".to_owned(),
                    false => format!("a person did not agree to this call: {reason}"),
                };
                let decision = decision(Verdict::Denied, reason, decided_by, now);
                decided.answers.push(answer(call, text, decision));
            }
            None if is_expired(call, now) => {
                let text = "nobody agreed to this call in time".to_owned();
                decided.answers.push(answer(call, text, decision(Verdict::Expired, "", "", now)));
            }
            None if tool_use.skip_pending => {
                let text = "skipped: the conversation went on without running this call".to_owned();
                decided.answers.push(answer(call, text, decision(Verdict::Skipped, "", "", now)));
            }
            None => {}
        }
    }
    Ok(decided)
}

/// What is missing before a model can go on: results, decisions or both.
pub(super) fn missing(waiting: &[FunctionCall], pending: &[String]) -> Failure {
    let needs_consent = |id: &&str| {
        let call = waiting.iter().find(|call| call.tool_call_id == **id);
        call.is_some_and(|call| call.confirmation == Some(Confirmation::Pending))
    };
    let (decisions, results): (Vec<&str>, Vec<&str>) = pending.iter().map(String::as_str).partition(needs_consent);
    let mut parts = Vec::new();
    if !results.is_empty() {
        parts.push(format!("send the results of these function calls first: {}", results.join(", ")));
    }
    if !decisions.is_empty() {
        parts.push(format!("decide on these with `tool_confirmations`: {}", decisions.join(", ")));
    }
    let text = format!("{}; or skip them with `pending_calls`", parts.join("; "));
    let failure = Failure::new(Reason::ToolResultsMissing, text).with("tool_call_ids", pending.join(","));
    if decisions.is_empty() { failure } else { failure.with("unconfirmed_tool_call_ids", decisions.join(",")) }
}

/// The calls that these entries answer.
pub(super) fn results(inputs: &[EntryDraft]) -> HashSet<&str> {
    let answers = inputs.iter().filter_map(|input| match &input.body {
        Body::FunctionResult(result) => Some(result.tool_call_id.as_str()),
        Body::ToolExecution(run) => run.tool_call_id.as_deref(),
        Body::MessageInput(_)
        | Body::MessageOutput(_)
        | Body::FunctionCall(_)
        | Body::AgentHandoff(_)
        | Body::HumanHandoff(_) => None,
    });
    answers.collect()
}

fn check(waiting: &[FunctionCall], tool_use: &ToolUse, inputs: &[EntryDraft], now: Time) -> Result<(), Failure> {
    let answered = results(inputs);
    let mut violations = Vec::new();
    let mut late = Vec::new();
    for (i, given) in tool_use.confirmations.iter().enumerate() {
        let call = waiting.iter().find(|call| call.tool_call_id == given.tool_call_id);
        let wrong = match call {
            None => Some(no_such_call(waiting)),
            Some(_) if answered.contains(given.tool_call_id.as_str()) => {
                Some("names a call that `inputs` answers: leave out one of them".to_owned())
            }
            Some(call) if call.confirmation != Some(Confirmation::Pending) => {
                Some("names a function that the caller runs: send its result in `inputs`".to_owned())
            }
            Some(call) if given.allowed && is_expired(call, now) => {
                late.push(given.tool_call_id.as_str());
                None
            }
            Some(_) => None,
        };
        let field = format!("tool_confirmations[{i}].tool_call_id");
        violations.extend(wrong.map(|description| Violation { field, description }));
    }
    let agrees = tool_use.confirmations.iter().any(|given| given.allowed);
    let is_answer = |input: &EntryDraft| matches!(input.body, Body::FunctionResult(_) | Body::ToolExecution(_));
    if let Some(i) = inputs.iter().position(|input| !is_answer(input)).filter(|_| agrees) {
        violations.push(Violation {
            field: format!("inputs[{i}]"),
            description: "must come in a later turn: the calls that are allowed run first".to_owned(),
        });
    }
    if !violations.is_empty() {
        return Err(Failure::invalid(violations));
    }
    if late.is_empty() {
        return Ok(());
    }
    let ids = late.join(", ");
    let text = format!("these calls were not agreed to in time and are not run: {ids}; append without them to go on");
    Err(Failure::new(Reason::ConfirmationExpired, text).with("tool_call_ids", late.join(",")))
}

fn no_such_call(waiting: &[FunctionCall]) -> String {
    let undecided = waiting.iter().filter(|call| call.confirmation == Some(Confirmation::Pending));
    let ids: Vec<&str> = undecided.map(|call| call.tool_call_id.as_str()).collect();
    match ids.is_empty() {
        true => "must name a function call that waits for a decision, and none does".to_owned(),
        false => format!("must name a function call that waits for a decision: {}", ids.join(", ")),
    }
}

fn is_expired(call: &FunctionCall, now: Time) -> bool {
    call.confirmation == Some(Confirmation::Pending) && call.confirmation_expires_at.is_some_and(|at| at <= now)
}

fn agreed(call: &FunctionCall, given: &ToolConfirmation, now: Time) -> Agreed {
    Agreed {
        tool_call_id: call.tool_call_id.clone(),
        name: call.name.clone(),
        arguments: given.arguments.clone().unwrap_or_else(|| call.arguments.clone()),
        decision: decision(Verdict::Allowed, &given.reason, &given.decided_by, now),
    }
}

fn decision(verdict: Verdict, reason: &str, decided_by: &str, decided_at: Time) -> Decision {
    Decision { verdict, reason: reason.to_owned(), decided_by: decided_by.to_owned(), decided_at }
}

fn answer(call: &FunctionCall, text: String, decision: Decision) -> EntryDraft {
    EntryDraft::new(Body::FunctionResult(FunctionResult {
        tool_call_id: call.tool_call_id.clone(),
        content: vec![Chunk::Text(text)],
        is_error: true,
        decision: Some(decision),
    }))
}
