//! Turns that outlive their calls.

use causerie::proto::{self, turn::State};

use super::{
    events::{Seen, events_of, resume, soon},
    provider::{Captured, ScriptedProvider},
    server::{Client, append, start},
};

/// A Start of one user message, in the background.
pub(crate) fn queued(input: &str) -> proto::StartRequest {
    proto::StartRequest { background: true, ..start(input) }
}

/// The same on a model of its own, so that a test can script what it gets.
pub(crate) fn queued_on(model: &str, input: &str) -> proto::StartRequest {
    proto::StartRequest { model: model.to_owned(), ..queued(input) }
}

/// An Append of one user message, in the background.
pub(crate) fn queued_append(conversation_id: &str, input: &str) -> proto::AppendRequest {
    proto::AppendRequest { background: true, ..append(conversation_id, input) }
}

/// Has a turn queued; its id.
pub(crate) async fn accepted(client: &Client, request: proto::StartRequest) -> String {
    let turn = soon(client.clone().start(request)).await.expect("it is queued").into_inner();
    assert!(matches!(turn.state(), State::Queued | State::Running), "{turn:?}");
    turn.id
}

/// The same of an Append.
pub(crate) async fn accepted_append(client: &Client, request: proto::AppendRequest) -> String {
    let turn = soon(client.clone().append(request)).await.expect("it is queued").into_inner();
    assert!(matches!(turn.state(), State::Queued | State::Running), "{turn:?}");
    turn.id
}

/// All events of a turn, to its end.
pub(crate) async fn log_of(client: &Client, turn_id: &str) -> Seen {
    events_of(client, resume(turn_id, 0)).await
}

/// Cancels a turn.
pub(crate) async fn cancel(client: &Client, turn_id: &str) -> proto::Turn {
    let request = proto::CancelTurnRequest { turn_id: turn_id.to_owned() };
    soon(client.clone().cancel_turn(request)).await.expect("the turn").into_inner()
}

/// What a request to the provider asks last.
pub(crate) fn asked(request: &Captured) -> String {
    let messages = request.json["messages"].as_array().expect("messages");
    messages.last().and_then(|last| last["content"].as_str()).expect("a text").to_owned()
}

/// What the next request to the provider asks.
pub(crate) async fn next_asked(provider: &ScriptedProvider) -> String {
    asked(&soon(provider.next_request()).await)
}

/// The version that a turn makes.
pub(crate) fn version_of(turn_id: &str) -> String {
    turn_id.replace("turn_", "conv_")
}
