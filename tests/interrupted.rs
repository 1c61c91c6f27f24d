//! Answers that don't come to their end: what is kept of them, and what the caller is told.

use causerie::proto::{
    self,
    turn::{FinishReason, State},
};
use serde_json::json;
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::{
    completion::{delta, event, finish, says, silence, stream_of, whole},
    events::{assert_whole, events_of, joined, names, run},
    provider::Reply,
    reads,
    refusal::{told, turn_reason, value},
    server::{Client, TestServer, append, start, text_of},
};

async fn versions(client: &mut Client) -> usize {
    let request = proto::ListConversationsRequest::default();
    client.list_conversations(request).await.expect("a list").into_inner().conversations.len()
}

/// A stream that begins well and breaks after its first two pieces of text.
fn half(rest: &str) -> Reply {
    Reply::raw_sse([event(&says("Once ")), event(&says("upon")), rest.to_owned()])
}

const ERROR: &str = "data: {\"object\":\"error\",\"message\":\"it broke\",\"code\":\"3700\"}\n\n";

#[tokio::test]
async fn an_answer_that_breaks_before_it_begins_is_a_failed_turn_without_a_version() {
    let server =
        TestServer::with(&[("providers.mistral.idle_timeout", "1s"), ("providers.mistral.first_byte_timeout", "1s")])
            .await;
    let mut client = server.client().await;
    let protocol = (Code::Unavailable, "UPSTREAM_PROTOCOL_ERROR");
    let timeout = (Code::DeadlineExceeded, "TIMEOUT");
    let rows = [
        ("hang up", Reply::hang_up(), protocol),
        ("cut after the headers", stream_of(&["never"], "stop").cut_after(0), protocol),
        ("an empty stream", Reply::raw_sse([""; 0]), protocol),
        ("no JSON", Reply::raw_sse(["data: {\"choices\":[\n\n"]), protocol),
        ("an error with status 200", Reply::raw_sse([ERROR]), protocol),
        ("a page of HTML", Reply::plain(200, "text/html", "<html>"), protocol),
        ("no headers", silence(), timeout),
        ("headers and nothing more", Reply::raw_sse([": comment\n\n"]).stall(), timeout),
        ("the model stops with an error", Reply::sse(&[finish("error")]), protocol),
    ];
    for (what, reply, (code, reason)) in rows {
        server.provider.reply(reply);
        let seen = events_of(&client, run(start("Hello"))).await;
        assert_eq!(names(&seen.events), ["response_started", "response_error"], "{what}");
        assert_eq!(told(seen.error()), (code, reason.to_owned()), "{what}");
        assert_eq!(value(seen.error(), "turn_id"), seen.turn_id());
        assert!(seen.error().get_details_retry_info().is_some(), "{what}");
        let turn = reads::turn(&client, seen.turn_id()).await;
        assert_eq!((turn.state(), turn_reason(&turn).as_str()), (State::Failed, reason), "{what}");
        assert_eq!((turn.conversation_id.as_str(), turn.last_sequence), ("", 2), "{what}");
    }
    assert_eq!(versions(&mut client).await, 0);
    server.stop().await;
}

#[tokio::test]
async fn a_unary_answer_that_breaks_off_has_its_reason_and_no_version() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let good = json!({"role": "assistant", "content": "Once upon"});
    let rows = [
        ("hang up", Reply::hang_up()),
        ("cut", whole(good.clone(), "stop").cut_after(0)),
        ("half of it", Reply::plain(200, "application/json", "{\"choices\":[{\"mess")),
        ("no answer in it", Reply::json(200, &json!({"object": "chat.completion"}))),
    ];
    for (what, reply) in rows {
        server.provider.reply(reply);
        let refused = client.start(start("Hello")).await.expect_err(what);
        assert_eq!(told(&refused), (Code::Unavailable, "UPSTREAM_PROTOCOL_ERROR".to_owned()), "{what}");
        let turn = reads::turn(&client, &value(&refused, "turn_id")).await;
        assert_eq!(turn.state(), State::Failed, "{what}");
    }
    assert_eq!(versions(&mut client).await, 0);
    server.stop().await;
}

#[tokio::test]
async fn an_answer_that_breaks_after_it_began_is_kept_as_far_as_it_came() {
    let mut server = TestServer::with(&[("providers.mistral.idle_timeout", "1s")]).await;
    let rows = [
        ("cut", half("").cut_after(2), "UPSTREAM_PROTOCOL_ERROR"),
        ("the end without a finish", half("data: [DONE]\n\n"), "UPSTREAM_PROTOCOL_ERROR"),
        ("no JSON", half("data: {\"choices\":[\n\n"), "UPSTREAM_PROTOCOL_ERROR"),
        ("an error in the stream", half(ERROR), "UPSTREAM_PROTOCOL_ERROR"),
        ("silence", half("").cut_after(2).stall(), "TIMEOUT"),
        ("the model stops with an error", half(&event(&finish("error"))), "UPSTREAM_PROTOCOL_ERROR"),
    ];
    let mut kept = Vec::new();
    for (what, reply, reason) in rows {
        server.provider.reply(reply);
        let seen = events_of(&server.client().await, run(start("Tell a tale"))).await;
        assert_whole(&seen.events);
        assert_eq!(joined(&seen.events), "Once upon", "{what}");
        let turn = seen.turn().clone();
        assert_eq!((turn.state(), turn_reason(&turn).as_str()), (State::Incomplete, reason), "{what}");
        let Some(proto::entry::Kind::MessageOutput(said)) = &turn.outputs[0].kind else { panic!("{turn:?}") };
        assert_eq!(said.status(), proto::OutputStatus::Incomplete, "{what}");
        assert!(turn.outputs[0].completed_at.is_none(), "{what}");
        kept.push(turn);
    }
    server.restart().await;
    let mut client = server.client().await;
    server.provider.on_every(Reply::text(" a time."));
    for turn in kept {
        assert_eq!(reads::turn(&client, &turn.id).await, turn);
        assert_eq!(reads::texts(&client, &turn.conversation_id).await, ["Tell a tale", "Once upon"]);
        let more = client.append(append(&turn.conversation_id, "")).await.expect("it goes on").into_inner();
        assert_eq!(reads::texts(&client, &more.conversation_id).await, ["Tell a tale", "Once upon", " a time."]);
        let instead = client.append(append(&turn.conversation_id, "Another")).await.expect("an answer").into_inner();
        assert_eq!(text_of(&instead), " a time.");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_answer_that_the_provider_ends_early_is_incomplete_without_an_error() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let rows = [
        ("length", FinishReason::Length),
        ("model_length", FinishReason::ModelLength),
        ("content_filter", FinishReason::ContentFilter),
    ];
    for (reason, expected) in rows {
        server.provider.reply(stream_of(&["Once ", "upon"], reason));
        let streamed = events_of(&client, run(start("Tell a tale"))).await;
        assert_whole(&streamed.events);
        server.provider.reply(whole(json!({"role": "assistant", "content": "Once upon"}), reason));
        let unary = client.start(start("Tell a tale")).await.expect("an answer").into_inner();
        for turn in [streamed.turn(), &unary] {
            assert_eq!((turn.state(), turn.finish_reason()), (State::Incomplete, expected));
            assert_eq!((turn.error.is_none(), text_of(turn).as_str()), (true, "Once upon"));
            assert_eq!(turn.usage.as_ref().expect("usage").total_tokens, 7);
        }
        server.provider.reply(Reply::text("Once upon a time."));
        let more = client.append(append(&unary.conversation_id, "")).await.expect("it goes on").into_inner();
        assert_eq!((more.state(), text_of(&more).as_str()), (State::Completed, " a time."));
    }
    server.stop().await;
}

/// max_tokens can be used up by thinking alone, or by nothing that can be kept.
#[tokio::test]
async fn an_answer_that_is_cut_before_its_first_word_leaves_the_question_open() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    server.provider.reply(stream_of(&[], "length"));
    let cut = events_of(&client, run(start("Tell a tale"))).await;
    assert_eq!((cut.turn().state(), cut.turn().outputs.len()), (State::Incomplete, 0));
    server.provider.reply(Reply::text("Once upon a time."));
    let more = client.append(append(&cut.turn().conversation_id, "")).await.expect("an answer").into_inner();
    assert_eq!(reads::texts(&client, &more.conversation_id).await, ["Tell a tale", "Once upon a time."]);
    server.stop().await;
}

#[tokio::test]
async fn an_answer_of_nothing_is_a_completed_turn() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    server.provider.reply(Reply::sse(&[delta(json!({"role": "assistant", "content": ""})), finish("stop")]));
    let streamed = events_of(&client, run(start("Say nothing"))).await;
    assert_whole(&streamed.events);
    server.provider.reply(whole(json!({"role": "assistant", "content": ""}), "stop"));
    let unary = client.start(start("Say nothing")).await.expect("an answer").into_inner();
    server.provider.on_every(Reply::text("Yes."));
    for turn in [streamed.turn(), &unary] {
        assert_eq!((turn.state(), turn.finish_reason()), (State::Completed, FinishReason::Stop));
        assert_eq!(text_of(turn), "");
        // An empty assistant message would make the provider refuse every later request.
        client.append(append(&turn.conversation_id, "Still there?")).await.expect("an answer");
        let messages = server.provider.requests().pop().expect("a request").json["messages"].clone();
        let user = |content: &str| json!({"role": "user", "content": content});
        assert_eq!(messages, json!([user("Say nothing"), user("Still there?")]));
    }
    server.stop().await;
}

#[tokio::test]
async fn what_comes_after_the_finish_can_not_spoil_the_answer() {
    let server = TestServer::start().await;
    let client = server.client().await;
    let chunks = [event(&says("whole")), event(&finish("stop")), "data: {garbage\n\n".to_owned()];
    for reply in [Reply::raw_sse(chunks.clone()), Reply::raw_sse(chunks).cut_after(2)] {
        server.provider.reply(reply);
        let seen = events_of(&client, run(start("Hello"))).await;
        assert_eq!((seen.turn().state(), text_of(seen.turn()).as_str()), (State::Completed, "whole"));
    }
    server.stop().await;
}

/// However it was cut in pieces: four bytes are a token until the model has said otherwise.
#[tokio::test]
async fn what_was_written_is_estimated_by_its_text() {
    let server = TestServer::start().await;
    let client = server.client().await;
    for (model, word, pieces) in [("in-words", "word ", 100), ("at-once", &*"word ".repeat(100), 1)] {
        let events = (0..pieces).map(|_| event(&says(word)));
        server.provider.on_model(model, [Reply::raw_sse(events.chain(["never".to_owned()])).cut_after(pieces)]);
        let start = proto::StartRequest { model: model.to_owned(), ..start("Hello") };
        let seen = events_of(&client, run(start)).await;
        let usage = seen.turn().usage.clone().expect("an estimate");
        assert_eq!((usage.completion_tokens, usage.estimated), (125, true), "{model}");
    }
    server.stop().await;
}
