//! One line of the log for every call, whatever becomes of it.

use super::scripted::Event;
use super::server::Server;
use crate::support::log::Log;

fn line(method: &str, id: &str, code: &str) -> (String, String, String) {
    let method = format!("/test.Scripted/{method}");
    (method, id.to_owned(), code.to_owned())
}

#[tokio::test]
async fn every_call_is_logged_once_with_its_code() {
    let log = Log::listen();
    let server = Server::start().await;
    let caller = server.caller().await;
    let secret = ("authorization", "Bearer sesame");
    caller.call("Echo", &[("x-request-id", "log-one-a"), secret]).await;
    caller.call("FailBriefly", &[("x-request-id", "log-one-b")]).await;
    caller.call("Panic", &[("x-request-id", "log-one-c")]).await;
    caller.call("DripStream", &[("x-request-id", "log-one-d"), ("grpc-timeout", "20m")]).await;
    let expected = [
        line("Echo", "log-one-a", "OK"),
        line("FailBriefly", "log-one-b", "NOT_FOUND"),
        line("Panic", "log-one-c", "INTERNAL"),
        line("DripStream", "log-one-d", "DEADLINE_EXCEEDED"),
    ];
    assert_eq!(log.calls("log-one-"), expected);
    let lines = format!("{:?}", log.lines("log-one-"));
    assert!(lines.contains("secret 42"), "the panic's text is in the log");
    assert!(!lines.contains("sesame"), "credentials are not");
}

#[tokio::test]
async fn calls_that_their_caller_gives_up_are_logged_as_cancelled() {
    let log = Log::listen();
    let mut server = Server::start().await;
    let caller = server.caller().await;
    let unary = caller.send("Hang", &[("x-request-id", "log-two-u")], super::caller::frame("hello")).await;
    server.expect(Event::Entered).await;
    drop(unary);
    server.expect(Event::Left).await;
    let mut stream = caller.open("DripStream", &[("x-request-id", "log-two-s")]).await;
    stream.data().await.expect("a message");
    drop(stream);
    server.expect(Event::Entered).await;
    server.expect(Event::Left).await;
    let expected = [line("Hang", "log-two-u", "CANCELLED"), line("DripStream", "log-two-s", "CANCELLED")];
    assert_eq!(log.calls("log-two-"), expected);
}
