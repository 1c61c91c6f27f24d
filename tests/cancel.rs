//! How a turn is stopped before the model is done: by CancelTurn, or by a caller that leaves.

use causerie::proto::{self, stream_events_request::Request, turn::State};
use serde_json::json;
use tonic::Code;

use crate::support::{
    completion::{calls, event, says, silence, stream_of},
    events::{Reader, assert_whole, departures_seen, events_of, full, joined, names, run, soon, watch},
    provider::Reply,
    reads,
    refusal::{told, turn_reason},
    server::{Client, TestServer, append, start, text_of},
};

async fn cancel(client: &mut Client, turn_id: &str) -> proto::Turn {
    let request = proto::CancelTurnRequest { turn_id: turn_id.to_owned() };
    soon(client.cancel_turn(request)).await.expect("the turn").into_inner()
}

/// A turn whose provider says nothing yet.
async fn silent_turn(server: &TestServer, client: &Client) -> (Reader, String) {
    server.provider.reply(silence());
    let mut reader = watch(client, run(start("Hello"))).await;
    let turn_id = reader.started().await;
    (reader, turn_id)
}

/// A turn whose provider has said "Once upon" and then nothing.
async fn talking_turn(server: &TestServer, client: &Client) -> (Reader, String) {
    server.provider.reply(stream_of(&["Once ", "upon"], "stop").cut_after(2).stall());
    let mut reader = watch(client, run(start("Tell a tale"))).await;
    let turn_id = reader.started().await;
    reader.until("Once upon").await;
    (reader, turn_id)
}

#[tokio::test]
async fn a_turn_that_is_cancelled_before_output_makes_no_version() {
    let mut server = TestServer::start().await;
    let mut client = server.client().await;
    let (reader, turn_id) = silent_turn(&server, &client).await;
    server.provider.next_request().await;

    let turn = cancel(&mut client, &turn_id).await;

    soon(server.provider.connection_dropped()).await;
    assert_eq!((turn.state(), turn_reason(&turn).as_str()), (State::Cancelled, "TURN_CANCELLED"));
    assert!(turn.conversation_id.is_empty() && turn.outputs.is_empty());
    let seen = reader.rest().await;
    assert_eq!(names(&seen.events), ["response_started", "response_error"]);
    assert_eq!(told(seen.error()), (Code::Aborted, "TURN_CANCELLED".to_owned()));
    let request = proto::GetConversationRequest { conversation_id: seen.started().conversation_id.clone() };
    let none = client.get_conversation(request).await.expect_err("no version");
    assert_eq!(told(&none), (Code::NotFound, "CONVERSATION_NOT_FOUND".to_owned()));
    assert_eq!(cancel(&mut client, &turn_id).await, turn);
    server.restart().await;
    let mut client = server.client().await;
    assert_eq!(cancel(&mut client, &turn_id).await, turn);
    assert_eq!(reads::turn(&client, &turn_id).await, turn);
    server.stop().await;
}

#[tokio::test]
async fn a_turn_that_is_cancelled_after_output_keeps_it() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let (reader, turn_id) = talking_turn(&server, &client).await;

    let turn = cancel(&mut client, &turn_id).await;

    soon(server.provider.connection_dropped()).await;
    assert_eq!((turn.state(), turn_reason(&turn).as_str()), (State::Incomplete, "TURN_CANCELLED"));
    assert_eq!(text_of(&turn), "Once upon");
    let seen = reader.rest().await;
    assert_whole(&seen.events);
    assert_eq!(*seen.turn(), turn);
    assert_eq!(cancel(&mut client, &turn_id).await, turn);
    assert_eq!(reads::texts(&client, &turn.conversation_id).await, ["Tell a tale", "Once upon"]);
    server.stop().await;
}

#[tokio::test]
async fn a_turn_that_was_cut_off_can_be_continued() {
    let mut server = TestServer::start().await;
    let mut client = server.client().await;
    let (reader, turn_id) = talking_turn(&server, &client).await;
    let cut = cancel(&mut client, &turn_id).await;
    reader.rest().await;
    // From the store, and not from the memory of what was said.
    server.restart().await;
    let mut client = server.client().await;
    // Mistral repeats the prefix; only what is new may come out.
    server.provider.on_every(Reply::text("Once upon a time."));

    let go_on = proto::AppendRequest { input: String::new(), ..append(&cut.conversation_id, "") };
    let streamed = events_of(&client, full(Request::Append(go_on.clone()))).await;
    let unary = client.append(go_on).await.expect("an answer").into_inner();
    let next = client.append(append(&unary.conversation_id, "And then?")).await.expect("an answer").into_inner();

    assert_whole(&streamed.events);
    assert_eq!(joined(&streamed.events), " a time.");
    assert_eq!((unary.state(), text_of(&unary).as_str()), (State::Completed, " a time."));
    assert_eq!(reads::texts(&client, &unary.conversation_id).await, ["Tell a tale", "Once upon", " a time."]);
    let asked = server.provider.requests();
    let question = json!({"role": "user", "content": "Tell a tale"});
    let prefix = json!({"role": "assistant", "content": "Once upon", "prefix": true});
    assert_eq!(asked[1].json["messages"], json!([question, prefix]));
    assert_eq!(asked[2].json["messages"], json!([question, prefix]));
    let whole = json!({"role": "assistant", "content": "Once upon a time."});
    assert_eq!(asked[3].json["messages"], json!([question, whole, {"role": "user", "content": "And then?"}]));
    assert_eq!(next.parent_conversation_id, unary.conversation_id);
    server.stop().await;
}

#[tokio::test]
async fn cancelling_a_turn_that_has_ended_changes_nothing() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    server.provider.reply(Reply::text("done"));
    let turn = client.start(start("Hello")).await.expect("an answer").into_inner();
    assert_eq!(cancel(&mut client, &turn.id).await, turn);
    assert_eq!(cancel(&mut client, &turn.id).await, turn);
    server.stop().await;
}

/// A call whose arguments were cut off can't be run, so nothing of it is kept, and nobody waits for its result.
#[tokio::test]
async fn a_function_call_that_was_cut_off_is_not_kept() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let torn = [event(&says("Wait.")), event(&calls(0, Some("weather"), "{\"in\":"))];
    server.provider.reply(Reply::raw_sse(torn).stall());
    let mut reader = watch(&client, run(start("Weather?"))).await;
    let turn_id = reader.started().await;
    while !names(&[reader.next().await]).contains(&"function_call_delta") {}

    let turn = cancel(&mut client, &turn_id).await;

    assert_eq!((turn.state(), turn.outputs.len()), (State::Incomplete, 1));
    let version = reads::version(&client, &turn.conversation_id).await;
    assert!(version.pending_tool_call_ids.is_empty());
    assert_eq!(reader.rest().await.turn().outputs, turn.outputs);
    server.stop().await;
}

#[tokio::test]
async fn a_unary_call_that_nobody_can_come_back_to_is_cancelled_with_its_caller() {
    let server = TestServer::with(&[("turns.grace", "1h")]).await;
    let mut client = server.client().await;
    server.provider.on_every(silence());
    let call = tokio::spawn(async move { client.start(start("Hello")).await });
    server.provider.next_request().await;
    call.abort();
    soon(server.provider.connection_dropped()).await;
    server.stop().await;
}

#[tokio::test]
async fn a_unary_call_with_a_request_id_outlives_its_caller_by_the_grace_time() {
    for (grace, lives) in [("1h", true), ("50ms", false)] {
        let server = TestServer::with(&[("turns.grace", grace)]).await;
        let mut client = server.client().await;
        let mut reply = Reply::text("still there");
        let gate = reply.gate();
        server.provider.reply(reply);
        let request = proto::StartRequest { request_id: "mine".to_owned(), ..start("Hello") };
        let mut first = client.clone();
        let call = tokio::spawn({
            let request = request.clone();
            async move { first.start(request).await }
        });
        server.provider.next_request().await;
        call.abort();
        if lives {
            departures_seen(&server, &client).await;
            let mut reader = watch(&client, run(request.clone())).await;
            reader.started().await;
            gate.open();
            assert_eq!(text_of(&client.start(request).await.expect("an answer").into_inner()), "still there");
            let asked = server.provider.requests();
            let again = asked.iter().filter(|asked| asked.json["messages"][0]["content"] == "Hello");
            assert_eq!(again.count(), 1);
        } else {
            soon(server.provider.connection_dropped()).await;
        }
        server.stop().await;
    }
}
