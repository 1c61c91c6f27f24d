//! INTERNAL, and never the reset stream that callers see as CANCELLED.

use tonic::Code;

use super::caller::Answer;
use super::server::Server;

fn assert_internal_without_the_panics_text(answer: &Answer) {
    assert_eq!(answer.status.code(), Code::Internal);
    assert_eq!(answer.reason(), "INTERNAL");
    assert_eq!(answer.retry_pushback(), Some("-1"));
    assert_eq!(answer.request_id(), answer.head["x-request-id"]);
    let sent = format!("{:?} {:?}", answer.head, answer.status);
    assert!(!sent.contains("secret"), "{sent}");
}

#[tokio::test]
async fn a_handler_that_panics_answers_internal_and_other_calls_live_on() {
    let server = Server::start().await;
    let caller = server.caller().await;
    let mut other = caller.open("DripStream", &[]).await;
    other.data().await.expect("a message");
    assert_internal_without_the_panics_text(&caller.call("Panic", &[]).await);
    let echo = caller.call("Echo", &[]).await;
    assert_eq!(echo.status.code(), Code::Ok);
}

#[tokio::test]
async fn a_stream_that_panics_keeps_its_messages_and_ends_internal() {
    let server = Server::start().await;
    let caller = server.caller().await;
    let answer = caller.call("PanicStream", &[]).await;
    assert_internal_without_the_panics_text(&answer);
    let text = String::from_utf8_lossy(&answer.data);
    assert!(text.contains("one"), "the first message was lost");
}
