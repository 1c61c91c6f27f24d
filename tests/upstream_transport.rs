//! How a provider is spoken to: headers, connections, time limits, and answers that break.

use std::time::Duration;

use causerie::{
    domain::{FinishReason, Reason},
    upstream::{KeySource, Options, Piece, Provider, Request, Secret},
};
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::{
    history::{cut, history, text, user},
    provider::{Reply, ScriptedProvider},
    upstream::{options, provider, read, request, said, settings},
};

/// Long enough that nothing of a healthy loopback needs it, short enough to wait for.
const SHORT: Duration = Duration::from_millis(60);

fn delta(content: &str) -> String {
    format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"content": content}}]}))
}

fn finish() -> String {
    format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
}

/// Runs a call that is expected to fail, at its start or later.
async fn failure(provider: &Provider) -> (Vec<Piece>, causerie::domain::Failure) {
    let settings = settings();
    let transcript = provider.encode(&history([user("Hello")])).expect("it can be told");
    match provider.complete(request(&settings, &transcript)).await {
        Err(fault) => (Vec::new(), fault.failure),
        Ok(completion) => {
            let (pieces, fault) = read(completion).await;
            (pieces, fault.expect("this answer fails").failure)
        }
    }
}

#[tokio::test]
async fn a_streamed_and_a_whole_answer_hold_the_same() {
    let server = ScriptedProvider::start().await;
    server.on_every(Reply::text("one two three"));
    let provider = provider(&server.base_url());
    let settings = settings();
    let transcript = provider.encode(&history([user("Count")])).expect("it can be told");
    for stream in [true, false] {
        let request = Request { stream, ..request(&settings, &transcript) };
        let (pieces, failure) = read(provider.complete(request).await.expect("an answer")).await;
        assert_eq!(failure, None);
        assert_eq!(said(&pieces), "one two three");
        assert!(pieces.contains(&Piece::Finish(FinishReason::Stop)));
        assert!(matches!(pieces.last(), Some(Piece::Usage(usage)) if usage.total_tokens == 13));

        let captured = server.next_request().await;
        assert_eq!((captured.method.as_str(), captured.path.as_str()), ("POST", "/v1/chat/completions"));
        assert_eq!(captured.header("authorization"), Some("Bearer sk-of-the-test"));
        assert_eq!(captured.header("content-type"), Some("application/json"));
        assert_eq!(captured.header("accept"), Some(if stream { "text/event-stream" } else { "application/json" }));
        assert_eq!(captured.header("user-agent"), Some(concat!("causerie/", env!("CARGO_PKG_VERSION"))));
        assert_eq!(Ok(captured.raw), provider.body(request));
        assert_eq!(captured.json.get("stream").is_some(), stream);
    }
    assert_eq!(server.connections(), 1, "the connection is used again");
}

#[tokio::test]
async fn a_stream_in_single_bytes_is_read() {
    let server = ScriptedProvider::start().await;
    server.reply(Reply::text("déjà vu 😀").split_at_every_byte());
    let provider = provider(&server.base_url());
    let settings = settings();
    let transcript = provider.encode(&history([user("Hello")])).expect("it can be told");
    let (pieces, failure) = read(provider.complete(request(&settings, &transcript)).await.expect("an answer")).await;
    assert_eq!((said(&pieces).as_str(), failure), ("déjà vu 😀", None));
}

#[tokio::test]
async fn a_repeated_prefix_is_taken_off_in_both_modes() {
    let server = ScriptedProvider::start().await;
    server.on_every(Reply::text("Once upon a time"));
    let provider = provider(&server.base_url());
    let settings = settings();
    let transcript = provider.encode(&history([user("Tell"), cut(vec![text("Once upon")])])).expect("it can be told");
    for stream in [true, false] {
        let request = Request { stream, continue_last: true, ..request(&settings, &transcript) };
        let (pieces, _) = read(provider.complete(request).await.expect("an answer")).await;
        assert_eq!(said(&pieces), " a time");
        assert_eq!(server.next_request().await.json["messages"][1]["prefix"], true);
    }
}

#[tokio::test]
async fn a_piece_is_given_as_soon_as_it_is_there() {
    let server = ScriptedProvider::start().await;
    let mut reply = Reply::raw_sse([delta("a"), delta("b"), finish()]);
    let gate = reply.gate();
    server.reply(reply);
    let provider = provider(&server.base_url());
    let settings = settings();
    let transcript = provider.encode(&history([user("Hello")])).expect("it can be told");
    gate.step();
    let mut completion = provider.complete(request(&settings, &transcript)).await.expect("a head");
    for expected in ["a", "b"] {
        gate.step();
        assert_eq!(completion.next().await, Some(Ok(Piece::Text(expected.to_owned()))));
    }
    gate.open();
    assert_eq!(completion.next().await, Some(Ok(Piece::Finish(FinishReason::Stop))));
    assert_eq!(completion.next().await, None);
}

#[tokio::test]
async fn dropping_an_answer_closes_its_connection() {
    let server = ScriptedProvider::start().await;
    server.reply(Reply::raw_sse([delta("a")]).stall());
    let provider = provider(&server.base_url());
    let settings = settings();
    let transcript = provider.encode(&history([user("Hello")])).expect("it can be told");
    let mut completion = provider.complete(request(&settings, &transcript)).await.expect("a head");
    assert_eq!(completion.next().await, Some(Ok(Piece::Text("a".to_owned()))));
    drop(completion);
    server.connection_dropped().await;
}

#[tokio::test]
async fn dropping_a_call_that_waits_for_its_answer_closes_its_connection() {
    let server = ScriptedProvider::start().await;
    let mut reply = Reply::text("never");
    let _closed = reply.gate();
    server.reply(reply);
    let provider = provider(&server.base_url());
    let settings = settings();
    let transcript = provider.encode(&history([user("Hello")])).expect("it can be told");
    tokio::select! {
        _ = provider.complete(request(&settings, &transcript)) => panic!("nothing answers"),
        _ = server.next_request() => {}
    }
    server.connection_dropped().await;
}

#[tokio::test]
async fn every_wait_has_a_limit() {
    let server = ScriptedProvider::start().await;
    let silent = || {
        let mut reply = Reply::text("never");
        reply.gate();
        reply
    };
    let half = || Reply::raw_sse([delta("half")]).stall();
    let first_byte = Options { first_byte_timeout: SHORT, ..options(&server.base_url()) };
    let idle = Options { idle_timeout: SHORT, ..options(&server.base_url()) };
    // As servers do that send the head before the model has read the prompt.
    let head = || Reply::raw_sse(["never"; 0]).stall();
    let reading = Options { first_byte_timeout: 2 * SHORT, ..idle.clone() };
    let rows = [
        ("head", first_byte.clone(), silent(), "mistral sent no answer for 60 ms"),
        ("first byte", first_byte, head(), "mistral sent nothing but the head of its answer for 60 ms"),
        ("no idling before it", reading, head(), "mistral sent nothing but the head of its answer for 120 ms"),
        ("idle", idle, half(), "mistral was silent within its answer for 60 ms"),
    ];
    for (name, options, reply, told) in rows {
        server.reply(reply);
        let provider = Provider::new(options).expect("the options are right");
        let (_, failure) = failure(&provider).await;
        assert_eq!((failure.reason, failure.message.as_str()), (Reason::Timeout, told), "{name}");
        server.connection_dropped().await;
    }
}

#[tokio::test]
async fn an_answer_that_is_whole_survives_what_comes_after_it() {
    let server = ScriptedProvider::start().await;
    let replies = [
        Reply::raw_sse([delta("whole") + &finish()]).cut_after(1),
        Reply::raw_sse([delta("whole") + &finish()]).stall(),
        Reply::raw_sse([delta("whole") + &finish(), "data: {garbage\n\n".to_owned()]),
        Reply::raw_sse([delta("whole") + &finish() + "data: [DONE]\n\n"]).stall(),
    ];
    let provider = Provider::new(Options { idle_timeout: SHORT, ..options(&server.base_url()) }).expect("right");
    let settings = settings();
    let transcript = provider.encode(&history([user("Hello")])).expect("it can be told");
    for reply in replies {
        server.reply(reply);
        let completion = provider.complete(request(&settings, &transcript)).await.expect("a head");
        let (pieces, failure) = read(completion).await;
        assert_eq!(failure, None);
        assert_eq!(pieces, [Piece::Text("whole".to_owned()), Piece::Finish(FinishReason::Stop)]);
    }
}

#[tokio::test]
async fn a_long_answer_that_breaks_keeps_all_that_came() {
    let server = ScriptedProvider::start().await;
    let words = delta("x").repeat(20_000);
    for reply in
        [Reply::raw_sse([words.clone()]).stall(), Reply::raw_sse([words.clone()]), Reply::raw_sse([words]).cut_after(1)]
    {
        server.reply(reply);
        let provider = Provider::new(Options { idle_timeout: SHORT, ..options(&server.base_url()) }).expect("right");
        let (pieces, _) = failure(&provider).await;
        assert_eq!(said(&pieces).len(), 20_000);
    }
}

#[tokio::test]
async fn broken_answers_say_what_was_wrong() {
    let server = ScriptedProvider::start().await;
    let long = "x".repeat(100);
    let rows = [
        ("cut", Reply::raw_sse([delta("half")]).cut_after(1), true, "cut off"),
        ("ended", Reply::raw_sse([delta("half")]), true, "cut off before the model had finished"),
        (
            "garbage",
            Reply::raw_sse([delta("half"), "data: {\"secret".to_owned() + "\n\n"]),
            true,
            "JSON that ends too early",
        ),
        (
            "error",
            Reply::raw_sse([delta("half"), "data: {\"error\":{\"message\":\"secret\"}}\n\n".to_owned()]),
            true,
            "HTTP 200, and then an error",
        ),
        ("too long", Reply::raw_sse([delta("half"), delta(&long)]), true, "longer than 50 bytes"),
        (
            "endless line",
            Reply::raw_sse([delta("half"), "data: ".to_owned() + &"secret".repeat(20_000)]),
            true,
            "an event of it is longer than",
        ),
        ("hung up", Reply::hang_up(), false, "broke before there was one"),
        ("HTML", Reply::plain(200, "text/html; charset=utf-8", "<html>secret</html>"), false, "text/html"),
        (
            "error with status 200",
            Reply::plain(200, "application/json", r#"{"object":"error","message":"secret","code":"1300"}"#),
            false,
            "code 1300",
        ),
        ("long JSON", Reply::plain(200, "application/json", &"[".repeat(100_000)), false, "longer than"),
    ];
    let provider = Provider::new(Options { max_output_bytes: 50, ..options(&server.base_url()) }).expect("right");
    for (name, reply, half, told) in rows {
        server.reply(reply);
        let (pieces, failure) = failure(&provider).await;
        assert_eq!(failure.reason, Reason::UpstreamProtocolError, "{name}: {failure:?}");
        assert!(failure.message.contains(told), "{name}: {}", failure.message);
        assert!(!format!("{failure:?}").contains("secret"), "{name}: {failure:?}");
        assert_eq!(said(&pieces), if half { "half" } else { "" }, "{name}: what came before is kept");
        assert_eq!(failure.retry_after_ms, Some(1000), "{name}");
    }
}

#[tokio::test]
async fn a_provider_that_can_t_be_reached_is_unavailable() {
    // Bound and closed again: nothing listens there.
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("loopback").local_addr().expect("an address");
    // A server that does not speak TLS.
    let plain = ScriptedProvider::start().await;
    let rows = [
        (format!("http://{closed}"), "Connection refused"),
        (plain.base_url().replace("http:", "https:"), "can't be reached at 127.0.0.1:"),
        ("http://nowhere.invalid".to_owned(), "can't be reached at nowhere.invalid"),
    ];
    for (base_url, told) in rows {
        let (_, failure) = failure(&provider(&base_url)).await;
        assert_eq!(failure.reason, Reason::ServiceUnavailable, "{failure:?}");
        assert!(failure.message.contains(told), "{}", failure.message);
        assert!(failure.metadata.iter().any(|(key, _)| key == "host"), "{failure:?}");
    }
}

#[tokio::test]
async fn without_a_key_nothing_is_sent() {
    let server = ScriptedProvider::start().await;
    for key in [KeySource::None, KeySource::Value(Secret::new(" "))] {
        let provider = Provider::new(Options { key, ..options(&server.base_url()) }).expect("it may come later");
        let (_, failure) = failure(&provider).await;
        assert_eq!(failure.reason, Reason::ApiKeyMissing);
        let told = "no API key for mistral: set MISTRAL_API_KEY or providers.mistral.key_file, or start the service with --offline";
        assert_eq!(failure.message, told);
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_rotated_key_file_works_at_once() {
    let server = ScriptedProvider::start().await;
    server.on_every(Reply::text("yes"));
    let file = tempfile::NamedTempFile::new().expect("a file");
    let key = KeySource::File(file.path().to_owned());
    let provider = Provider::new(Options { key, ..options(&server.base_url()) }).expect("the file is there");
    let settings = settings();
    let transcript = provider.encode(&history([user("Hello")])).expect("it can be told");
    for key in ["sk-old", "sk-newer"] {
        std::fs::write(file.path(), format!("{key}\n")).expect("written");
        let completion = provider.complete(request(&settings, &transcript)).await.expect("an answer");
        assert_eq!(read(completion).await.1, None);
        assert_eq!(server.next_request().await.header("authorization"), Some(&*format!("Bearer {key}")));
    }
    drop(file);
    let (_, failure) = failure(&provider).await;
    assert_eq!(failure.reason, Reason::ApiKeyMissing);
    assert!(failure.message.contains("can't be read: entity not found"), "{}", failure.message);
}

#[test]
fn options_that_can_t_work_are_refused() {
    for base_url in [
        "",
        "api.mistral.ai",
        "ftp://api.mistral.ai",
        "https://key@api.mistral.ai",
        "https://api.mistral.ai?key=hidden",
        "http://256.256.256.256",
    ] {
        let error = Provider::new(options(base_url)).expect_err(base_url).to_string();
        assert!(
            error.starts_with("mistral's base URL ") && !error.contains("hidden") && !error.contains("key@"),
            "{error}"
        );
    }
    let key = KeySource::Value(Secret::new("sk\nhidden"));
    let error =
        Provider::new(Options { key, ..options("http://127.0.0.1") }).expect_err("no header holds it").to_string();
    assert!(error.contains("visible ASCII") && !error.contains("hidden"), "{error}");
    let headers = vec![("x-tenant".to_owned(), Secret::new("hidden-\u{e9}"))];
    let error = Provider::new(Options { headers, ..options("http://127.0.0.1") }).expect_err("no ASCII").to_string();
    assert!(error.contains("x-tenant") && error.contains("visible ASCII") && !error.contains("hidden"), "{error}");
    let key = KeySource::File("/nonexistent/key".into());
    let error = Provider::new(Options { key, ..options("http://127.0.0.1") }).expect_err("not there").to_string();
    assert!(error.contains("/nonexistent/key"), "{error}");
}

#[tokio::test]
async fn a_base_url_may_end_in_the_version() {
    let server = ScriptedProvider::start().await;
    server.on_every(Reply::text("yes"));
    let settings = settings();
    for ending in ["/", "/v1", "/v1/"] {
        let provider = provider(&(server.base_url() + ending));
        let transcript = provider.encode(&history([user("Hello")])).expect("it can be told");
        provider.complete(request(&settings, &transcript)).await.expect("an answer");
        assert_eq!(server.next_request().await.path, "/v1/chat/completions");
    }
}

#[test]
fn secrets_and_histories_are_not_shown() {
    let provider = provider("http://127.0.0.1:1");
    let transcript = provider.encode(&history([user("a secret")])).expect("it can be told");
    let shown = format!("{provider:?} {transcript:?} {:?}", options("http://127.0.0.1:1"));
    assert!(!shown.contains("sk-of-the-test") && !shown.contains("a secret"), "{shown}");
}
