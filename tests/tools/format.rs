//! Structured output: the message that a turn ends with is checked, and mended once.

use causerie::proto::{self, ErrorReason, response_format::Type, stream_events_request::Request, turn::State};

use super::{asked, http_tool, object, server, stream, tool, with_tools};
use crate::support::{
    completion::{calls, finish, says, stream_of},
    event_log,
    golden::assert_golden,
    provider::{Reply, ScriptedProvider},
    refusal::fields,
    server::{append, text_of},
    status::{carried, reason_of},
};

/// `{"city": TEXT}`, checked.
fn city() -> Option<proto::CompletionArgs> {
    args(object(&["city"]), true)
}

fn args(schema: prost_types::Struct, check: bool) -> Option<proto::CompletionArgs> {
    let schema = proto::JsonSchema { name: "city".to_owned(), schema: Some(schema), ..Default::default() };
    let format = proto::ResponseFormat { r#type: Type::JsonSchema.into(), json_schema: Some(schema), check };
    Some(proto::CompletionArgs { response_format: Some(format), ..Default::default() })
}

fn checked(input: &str, tools: Vec<proto::Tool>) -> proto::StartRequest {
    proto::StartRequest { completion_args: city(), ..with_tools(input, tools) }
}

#[tokio::test]
async fn only_the_last_message_has_to_fit() {
    let (server, peer) = (server().await, ScriptedProvider::start().await);
    peer.on_path("/where", Reply::plain(200, "text/plain", "Paris"));
    let first = [says("Let me look."), calls(0, Some("where"), r#"{"q":"me"}"#), finish("tool_calls")];
    server.provider.reply(Reply::sse(&first));
    server.provider.reply(stream_of(&[r#"{"city":"#, r#""Paris"}"#], "stop"));
    let tools = vec![tool(http_tool("where", &peer, "/where"))];
    let seen = stream(&server.client().await, Request::Start(checked("Where am I?", tools))).await;
    assert_eq!(seen.turn().state(), State::Completed);
    assert_eq!(server.provider.requests().len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_mended_once() {
    let server = server().await;
    let client = server.client().await;
    server.provider.reply(stream_of(&["Paris, I ", "think."], "stop"));
    server.provider.reply(stream_of(&[r#"{"city":"Paris"}"#], "stop"));
    let seen = stream(&client, Request::Start(checked("Where am I?", Vec::new()))).await;
    assert_golden("turns/format_mended.jsonl", &event_log::told(&[("an answer that is mended", &seen.events)]));
    let turn = seen.turn();
    assert_eq!((turn.state(), turn.outputs.len()), (State::Completed, 3));
    let told = asked(&server.provider.requests()[1]);
    assert_eq!(told[1], "assistant: Paris, I think.");
    assert!(told[2].contains("does not fit") && !told[2].contains("Paris"), "{told:?}");
    // What was said in between stays part of the history.
    server.provider.reply(stream_of(&[r#"{"city":"Rome"}"#], "stop"));
    let on = stream(&client, Request::Append(append(&turn.conversation_id, "And now?"))).await;
    assert_eq!(on.turn().state(), State::Completed);
    assert_eq!(asked(&server.provider.requests()[2])[..3], told[..3]);
    server.stop().await;
}

#[tokio::test]
async fn an_answer_that_does_not_fit_twice_is_told_so() {
    let server = server().await;
    server.provider.reply(stream_of(&[r#"{"town":"Paris"}"#], "stop"));
    server.provider.reply(stream_of(&[r#"{"city":7}"#], "stop"));
    let seen = stream(&server.client().await, Request::Start(checked("Where am I?", Vec::new()))).await;
    let turn = seen.turn();
    let error = carried(turn.error.as_ref().expect("an error"));
    assert_eq!(reason_of(&error), ErrorReason::ResponseFormatMismatch.as_str_name());
    assert!(error.message().contains("/city") && !error.message().contains('7'), "{error:?}");
    assert_eq!((turn.state(), turn.outputs.len()), (State::Incomplete, 3), "what was said is kept");
    assert!(text_of(turn).ends_with(r#"{"city":7}"#));
    assert_eq!(server.provider.requests().len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn nothing_is_checked_unless_it_is_asked_for() {
    let server = server().await;
    server.provider.reply(stream_of(&["Paris"], "stop"));
    let completion_args = args(object(&["city"]), false);
    let request = proto::StartRequest { completion_args, ..with_tools("Where am I?", Vec::new()) };
    let seen = stream(&server.client().await, Request::Start(request)).await;
    assert_eq!((seen.turn().state(), text_of(seen.turn()).as_str()), (State::Completed, "Paris"));
    server.stop().await;
}

#[tokio::test]
async fn a_schema_that_cannot_be_checked_is_refused_before_the_model_is_asked() {
    let server = server().await;
    let mut schema = object(&["city"]);
    let recursive = prost_types::Struct {
        fields: [(
            "$ref".to_owned(),
            prost_types::Value { kind: Some(prost_types::value::Kind::StringValue("#".to_owned())) },
        )]
        .into(),
    };
    let recursive = prost_types::Value { kind: Some(prost_types::value::Kind::StructValue(recursive)) };
    schema.fields.insert("additionalProperties".to_owned(), recursive);
    let request = proto::StartRequest { completion_args: args(schema, true), ..with_tools("Where?", Vec::new()) };
    let refused = server.client().await.start(request).await.expect_err("it refers to itself");
    assert_eq!(fields(&refused), ["completion_args.response_format.json_schema.schema"], "{refused:?}");
    assert!(server.provider.requests().is_empty());
    server.stop().await;
}
