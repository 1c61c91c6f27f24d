//! One line of the log for every call, whatever becomes of it.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;

use super::scripted::Event;
use super::server::Server;

/// What all tests of this process log. A subscriber of one thread would miss lines: tracing decides once for the process
/// whether a line is wanted, and may ask a thread that wants none.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn listen() -> &'static Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Self::default();
            tracing_subscriber::fmt().json().with_env_filter("causerie=debug").with_writer(log.clone()).init();
            log
        })
    }

    /// The lines of finished calls whose request id begins with `ids`, as (method, request id, code).
    fn calls(&self, ids: &str) -> Vec<(String, String, String)> {
        self.lines(ids)
            .iter()
            .filter(|line| line["fields"]["message"] == "rpc finished")
            .map(|line| {
                assert!(line["fields"]["duration_ms"].is_f64(), "{line}");
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let code = text(&line["fields"]["code"]);
                let span = &line["span"];
                (text(&span["method"]), text(&span["request_id"]), code)
            })
            .collect()
    }

    fn lines(&self, ids: &str) -> Vec<Value> {
        let bytes = self.0.lock().expect("no panic").clone();
        let text = String::from_utf8(bytes).expect("text");
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("a JSON line"))
            .filter(|line| {
                let id = line["span"]["request_id"].as_str();
                id.is_some_and(|id| id.starts_with(ids))
            })
            .collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

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
