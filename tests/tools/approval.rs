//! Consent: a person allows a call, denies it, changes its arguments, or says nothing in time.

use causerie::proto::{
    self, ErrorReason, PendingCalls, decision::Verdict, entry::Kind, stream_events_request::Request,
    tool_confirmation::Confirmation, turn::State,
};
use prost_types::Timestamp;

use super::{asked, calls_of, function, http_tool, runs_of, server, stream, texts, tool, with_tools};
use crate::support::{
    calls,
    completion::{stream_of, stream_of_calls},
    event_log,
    events::{Seen, soon},
    golden::assert_golden,
    provider::{Reply, ScriptedProvider},
    refusal::fields,
    server::{Client, TestServer, append, text_of},
    status::{assert_promised, carried, named, reason_of},
};

/// A server, a peer that answers, and a client.
async fn stage() -> (TestServer, ScriptedProvider, Client) {
    let (server, peer) = (server().await, ScriptedProvider::start().await);
    let client = server.client().await;
    peer.on_path("/delete", Reply::plain(200, "text/plain", "gone"));
    (server, peer, client)
}

fn guarded(peer: &ScriptedProvider) -> Vec<proto::Tool> {
    vec![tool(proto::HttpRequestTool { requires_confirmation: true, ..http_tool("delete", peer, "/delete") })]
}

/// A turn that asks for consent to these calls.
async fn pending(server: &TestServer, client: &Client, tools: Vec<proto::Tool>, arguments: &[&str]) -> Seen {
    let asks: Vec<(&str, &str)> = arguments.iter().map(|arguments| ("delete", *arguments)).collect();
    server.provider.reply(stream_of_calls(&asks));
    let seen = stream(client, Request::Start(with_tools("Delete them", tools))).await;
    assert_eq!(seen.turn().state(), State::RequiresAction);
    let calls = calls_of(seen.turn());
    assert_eq!(calls.len(), arguments.len());
    assert!(calls.iter().all(|call| call.confirmation_status() == proto::ConfirmationStatus::Pending));
    seen
}

fn decide(call: &proto::FunctionCall, confirmation: Confirmation) -> proto::ToolConfirmation {
    let confirmation = confirmation.into();
    proto::ToolConfirmation { tool_call_id: call.tool_call_id.clone(), confirmation, ..Default::default() }
}

fn decided(turn: &proto::Turn, confirmations: Vec<proto::ToolConfirmation>) -> proto::AppendRequest {
    proto::AppendRequest { tool_confirmations: confirmations, ..append(&turn.conversation_id, "") }
}

#[tokio::test]
async fn an_allowed_call_is_run() {
    let (server, peer, client) = stage().await;
    let asked_for = pending(&server, &client, guarded(&peer), &[r#"{"q":"a"}"#]).await;
    assert!(peer.requests().is_empty(), "nothing runs without consent");
    server.provider.reply(stream_of(&["It is gone."], "stop"));
    let call = calls_of(asked_for.turn())[0].clone();
    let allowed = proto::ToolConfirmation { decided_by: "anna".to_owned(), ..decide(&call, Confirmation::Allow) };
    let done = stream(&client, Request::Append(decided(asked_for.turn(), vec![allowed]))).await;
    let logs = [("the call is asked for", &asked_for.events[..]), ("it is allowed", &done.events)];
    assert_golden("turns/approval_allowed.jsonl", &event_log::told(&logs));
    let run = runs_of(done.turn())[0];
    assert_eq!((run.tool_call_id.as_str(), texts(&run.result).as_str()), (call.tool_call_id.as_str(), "gone"));
    let decision = run.decision.as_ref().expect("a decision");
    assert_eq!((decision.verdict(), decision.decided_by.as_str()), (Verdict::Allowed, "anna"));
    assert_eq!(peer.requests().len(), 1);
    let told = asked(&server.provider.requests()[1]);
    assert_eq!(told[1..], [r#"assistant: delete({"q":"a"})"#, "tool: gone"]);
    server.stop().await;
}

#[tokio::test]
async fn a_denied_call_is_told_to_the_model() {
    let (server, peer, client) = stage().await;
    let asked_for = pending(&server, &client, guarded(&peer), &[r#"{"q":"a"}"#]).await;
    server.provider.reply(stream_of(&["Then not."], "stop"));
    let denied = proto::ToolConfirmation {
        reason: "too dangerous".to_owned(),
        decided_by: "ben".to_owned(),
        ..decide(calls_of(asked_for.turn())[0], Confirmation::Deny)
    };
    let done = stream(&client, Request::Append(decided(asked_for.turn(), vec![denied]))).await;
    let logs = [("the call is asked for", &asked_for.events[..]), ("it is denied", &done.events)];
    assert_golden("turns/approval_denied.jsonl", &event_log::told(&logs));
    assert!(peer.requests().is_empty(), "nothing was run");
    let told = asked(&server.provider.requests()[1]);
    assert_eq!(told[2], r#"tool: {"error":"a person did not agree to this call: too dangerous"}"#);
    let history = calls::history(&mut client.clone(), &done.turn().conversation_id).await.expect("a history");
    let Some(Kind::FunctionResult(result)) = &history[2].kind else { panic!("{history:?}") };
    let decision = result.decision.as_ref().expect("the decision is kept");
    assert_eq!((decision.verdict(), decision.reason.as_str()), (Verdict::Denied, "too dangerous"));
    server.stop().await;
}

#[tokio::test]
async fn arguments_can_be_changed_before_the_call_is_run() {
    let (server, peer, client) = stage().await;
    let asked_for = pending(&server, &client, guarded(&peer), &[r#"{"q":"everything"}"#]).await;
    server.provider.reply(stream_of(&["Only that."], "stop"));
    let edited = proto::ToolConfirmation {
        arguments: r#"{"q":"one"}"#.to_owned(),
        ..decide(calls_of(asked_for.turn())[0], Confirmation::Allow)
    };
    let done = stream(&client, Request::Append(decided(asked_for.turn(), vec![edited]))).await;
    let logs = [("the call is asked for", &asked_for.events[..]), ("it is changed", &done.events)];
    assert_golden("turns/approval_edited.jsonl", &event_log::told(&logs));
    assert_eq!(runs_of(done.turn())[0].arguments, r#"{"q":"one"}"#);
    assert_eq!(peer.requests()[0].path, "/delete?q=one");
    server.stop().await;
}

/// A history that waits for consent to two calls, one of which nobody gave in time.
async fn expired(server: &TestServer, client: &Client, peer: &ScriptedProvider) -> proto::Turn {
    let asked_for = pending(server, client, guarded(peer), &[r#"{"q":"a"}"#, r#"{"q":"b"}"#]).await;
    let mut inputs = calls::history(&mut client.clone(), &asked_for.turn().conversation_id).await.expect("a history");
    for input in &mut inputs[1..2] {
        let Some(Kind::FunctionCall(call)) = &mut input.kind else { panic!("{input:?}") };
        call.confirmation_expires_at = Some(Timestamp { seconds: 1_000_000_000, nanos: 0 });
    }
    let request =
        proto::StartRequest { input: String::new(), inputs, skip_completion: true, ..with_tools("", guarded(peer)) };
    client.clone().start(request).await.expect("a history that was given out").into_inner()
}

#[tokio::test]
async fn what_nobody_agreed_to_in_time_is_not_run() {
    let (server, peer, client) = stage().await;
    let start = expired(&server, &client, &peer).await;
    let version = calls::get_conversation(&mut client.clone(), &start.conversation_id).await.expect("a version");
    let waiting = version.pending_tool_call_ids;
    let allow = |id: &String| proto::ToolConfirmation {
        tool_call_id: id.clone(),
        confirmation: Confirmation::Allow.into(),
        ..Default::default()
    };
    let both = waiting.iter().map(allow).collect();
    let late = client.clone().append(named("late", decided(&start, both))).await.expect_err("too late");
    assert_promised(&late, ErrorReason::ConfirmationExpired, "late");
    assert!(peer.requests().is_empty(), "nothing was run");

    server.provider.reply(stream_of(&["One of them."], "stop"));
    let done = stream(&client, Request::Append(decided(&start, vec![allow(&waiting[1])]))).await;
    assert_golden("turns/approval_expired.jsonl", &event_log::told(&[("one came in time", &done.events)]));
    let verdicts = done.started().inputs.iter().map(|input| match &input.kind {
        Some(Kind::FunctionResult(result)) => result.decision.as_ref().expect("a decision").verdict(),
        other => panic!("{other:?}"),
    });
    assert_eq!(verdicts.collect::<Vec<_>>(), [Verdict::Expired]);
    assert_eq!(peer.requests().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn calls_are_decided_one_by_one() {
    let (server, peer, client) = stage().await;
    let asked_for = pending(&server, &client, guarded(&peer), &[r#"{"q":"a"}"#, r#"{"q":"b"}"#]).await;
    let turn = asked_for.turn();
    let first = decided(turn, vec![decide(calls_of(turn)[0], Confirmation::Allow)]);
    let half = stream(&client, Request::Append(first)).await;
    assert_eq!(half.turn().state(), State::RequiresAction, "the other one waits");
    assert_eq!((runs_of(half.turn()).len(), server.provider.requests().len()), (1, 1), "no model was asked");
    server.provider.reply(stream_of(&["One is gone."], "stop"));
    let last = decided(half.turn(), vec![decide(calls_of(turn)[1], Confirmation::Deny)]);
    let done = stream(&client, Request::Append(last)).await;
    assert_eq!(done.turn().state(), State::Completed);
    let told = asked(&server.provider.requests()[1]);
    assert_eq!(
        told[1..],
        [
            r#"assistant: delete({"q":"a"}) + delete({"q":"b"})"#,
            "tool: gone",
            r#"tool: {"error":"a person did not agree to this call"}"#
        ]
    );
    // Another branch may decide otherwise: the versions before are as they were.
    server.provider.reply(stream_of(&["Both are gone."], "stop"));
    let both = calls_of(turn).into_iter().map(|call| decide(call, Confirmation::Allow)).collect();
    let other = stream(&client, Request::Append(decided(turn, both))).await;
    assert_eq!((other.turn().state(), runs_of(other.turn()).len()), (State::Completed, 2));
    server.stop().await;
}

#[tokio::test]
async fn calls_that_wait_can_be_skipped() {
    let (server, peer, client) = stage().await;
    let tools = [guarded(&peer), vec![function("mine")]].concat();
    server.provider.reply(stream_of_calls(&[("delete", r#"{"q":"a"}"#), ("mine", "{}")]));
    let asked_for = stream(&client, Request::Start(with_tools("Both", tools))).await;
    let turn = asked_for.turn();
    let missing = client.clone().append(named("missing", append(&turn.conversation_id, "Never mind"))).await;
    let missing = missing.expect_err("calls wait");
    assert_promised(&missing, ErrorReason::ToolResultsMissing, "missing");
    assert!(missing.message().contains("tool_confirmations"), "{missing:?}");

    server.provider.reply(stream_of(&["As you like."], "stop"));
    let request = proto::AppendRequest {
        pending_calls: PendingCalls::Skip.into(),
        ..append(&turn.conversation_id, "Never mind")
    };
    let done = stream(&client, Request::Append(request)).await;
    assert_golden("turns/pending_skipped.jsonl", &event_log::told(&[("what waits is skipped", &done.events)]));
    assert_eq!(text_of(done.turn()), "As you like.");
    assert!(peer.requests().is_empty(), "nothing was run");
    let told = asked(&server.provider.requests()[1]);
    assert_eq!(told.last().map(String::as_str), Some("user: Never mind"));
    server.stop().await;
}

#[tokio::test]
async fn decisions_that_do_not_fit_are_refused_and_nothing_is_run() {
    let (server, peer, client) = stage().await;
    let tools = [guarded(&peer), vec![function("mine")]].concat();
    server.provider.reply(stream_of_calls(&[("delete", r#"{"q":"a"}"#), ("mine", "{}")]));
    let asked_for = stream(&client, Request::Start(with_tools("Both", tools))).await;
    let turn = asked_for.turn();
    let [delete, mine] = calls_of(turn)[..] else { panic!("{turn:?}") };
    let allow = |call| decide(call, Confirmation::Allow);
    let unknown = proto::ToolConfirmation { tool_call_id: "call_x".to_owned(), ..allow(delete) };
    let with_input = proto::AppendRequest { input: "And?".to_owned(), ..decided(turn, vec![allow(delete)]) };
    let denied_with_arguments =
        proto::ToolConfirmation { arguments: "{}".to_owned(), ..decide(delete, Confirmation::Deny) };
    let no_object = proto::ToolConfirmation { arguments: "[1]".to_owned(), ..allow(delete) };
    let skipping = proto::AppendRequest { skip_completion: true, ..decided(turn, vec![allow(delete)]) };
    let rows = [
        (decided(turn, vec![unknown]), "tool_confirmations[0].tool_call_id"),
        (decided(turn, vec![allow(mine)]), "tool_confirmations[0].tool_call_id"),
        (decided(turn, vec![allow(delete), allow(delete)]), "tool_confirmations[1].tool_call_id"),
        (with_input, "inputs[0]"),
        (decided(turn, vec![denied_with_arguments]), "tool_confirmations[0].arguments"),
        (decided(turn, vec![no_object]), "tool_confirmations[0].arguments"),
        (skipping, "skip_completion"),
    ];
    for (request, field) in rows {
        let refused = client.clone().append(request).await.expect_err(field);
        assert_eq!(fields(&refused), [field], "{refused:?}");
    }
    assert!(peer.requests().is_empty(), "nothing was run");
    server.stop().await;
}

/// A caller's ids may come again. Only the call that waits is run.
#[tokio::test]
async fn a_call_whose_id_was_used_before_is_run_once() {
    let (server, peer, client) = stage().await;
    let asked_for = pending(&server, &client, guarded(&peer), &[r#"{"q":"a"}"#]).await;
    let history = calls::history(&mut client.clone(), &asked_for.turn().conversation_id).await.expect("a history");
    let call = calls_of(asked_for.turn())[0].clone();
    let result = proto::FunctionResult { tool_call_id: call.tool_call_id.clone(), ..Default::default() };
    let result = proto::Entry { kind: Some(Kind::FunctionResult(result)), ..Default::default() };
    let answered = proto::AppendRequest {
        inputs: vec![result, history[1].clone()],
        skip_completion: true,
        ..append(&asked_for.turn().conversation_id, "")
    };
    let again = client.clone().append(answered).await.expect("a call may follow").into_inner();
    server.provider.reply(stream_of(&["It is gone."], "stop"));
    let done = stream(&client, Request::Append(decided(&again, vec![decide(&call, Confirmation::Allow)]))).await;
    assert_eq!((runs_of(done.turn()).len(), peer.requests().len()), (1, 1));
    server.stop().await;
}

/// Somebody else was faster while the tool ran: what it did must not be forgotten.
#[tokio::test]
async fn a_turn_whose_tools_have_run_is_kept_beside_one_that_was_faster() {
    let (server, peer, client) = stage().await;
    let mut slow = Reply::plain(200, "text/plain", "gone");
    let gate = slow.gate();
    peer.on_path("/delete", slow);
    let asked_for = pending(&server, &client, guarded(&peer), &[r#"{"q":"a"}"#]).await;
    let turn = asked_for.turn();
    server.provider.on_every(stream_of(&["Well."], "stop"));
    let allow = decided(turn, vec![decide(calls_of(turn)[0], Confirmation::Allow)]);
    let careful = proto::AppendRequest { require_head: true, ..allow.clone() };
    let running = tokio::spawn({
        let client = client.clone();
        async move { stream(&client, Request::Append(careful)).await }
    });
    soon(peer.next_request()).await;
    let faster = proto::AppendRequest {
        pending_calls: PendingCalls::Skip.into(),
        ..append(&turn.conversation_id, "Never mind")
    };
    client.clone().append(faster).await.expect("a version beside it");
    gate.open();
    let seen = soon(running).await.expect("no panic");
    let error = carried(seen.turn().error.as_ref().expect("an error"));
    assert_eq!((seen.turn().state(), reason_of(&error).as_str()), (State::Incomplete, "HEAD_MOVED"));
    let kept = calls::history(&mut client.clone(), &seen.turn().conversation_id).await.expect("a version of its own");
    assert!(matches!(&kept[2].kind, Some(Kind::ToolExecution(run)) if texts(&run.result) == "gone"), "{kept:?}");
    // Who comes after it is told before anything runs.
    let late = proto::AppendRequest { require_head: true, ..allow };
    let refused = client.clone().append(late).await.expect_err("it is no head any more");
    assert_eq!((reason_of(&refused).as_str(), peer.requests().len()), ("HEAD_MOVED", 1));
    server.stop().await;
}
