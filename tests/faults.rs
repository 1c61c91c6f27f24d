//! Every fault that a provider can have, through gRPC: the code, the reason and the details that callers get, what readers
//! see, what is stored, and how often the provider was asked.

use std::ops::RangeInclusive;

use causerie::proto::{self, ErrorReason, stream_events_request::Request, turn};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tonic::Status;

use crate::support::{
    calls::{self, get_conversation, get_turn, history},
    completion::{event, finish, says},
    events::{assert_gapless, assert_whole, names},
    forwarding::{RETRIES, asked, retries, start_on, with},
    provider::Reply,
    server::{Client, TestServer, entry_text, text_of},
    status::{assert_promised, assert_retry, carried, reason_of, told},
};

const ATTEMPTS: usize = 3;

/// A fault that stands before any output.
struct Row {
    name: &'static str,
    reply: Reply,
    reason: ErrorReason,
    /// How often the provider is asked.
    asked: usize,
    /// What `RetryInfo` says, if there is one.
    retry_ms: Option<RangeInclusive<u64>>,
    /// The provider had said 200: it may bill.
    billed: bool,
    /// What the status says, of a turn that is not streamed and of one that is.
    says: [&'static str; 2],
}

/// The same request would fail again: asked once.
fn once(name: &'static str, reply: Reply, reason: ErrorReason) -> Row {
    Row { name, reply, reason, asked: 1, retry_ms: None, billed: false, says: [""; 2] }
}

/// The same request may succeed: asked as often as allowed.
fn again(name: &'static str, reply: Reply, reason: ErrorReason) -> Row {
    Row { name, reply, reason, asked: ATTEMPTS, retry_ms: Some(1000..=1000), billed: false, says: [""; 2] }
}

impl Row {
    fn after(self, ms: RangeInclusive<u64>) -> Row {
        Row { retry_ms: Some(ms), ..self }
    }

    fn billed(self) -> Row {
        Row { billed: true, ..self }
    }

    fn saying(self, unary: &'static str, streamed: &'static str) -> Row {
        Row { says: [unary, streamed], ..self }
    }
}

fn error(status: u16, code: &str, message: &str) -> Reply {
    let body = json!({"object": "error", "message": message, "type": "invalid_request", "param": null, "code": code});
    Reply::json(status, &body)
}

/// Refusals of the caller's request, in all bodies that are known.
fn refusals() -> Vec<Row> {
    use ErrorReason as R;
    let detail = |status, detail: Value| Reply::json(status, &json!({"detail": detail}));
    let said = |status, text: &str| Reply::json(status, &json!({"message": text, "request_id": "1"}));
    let list = json!([{"type": "missing", "loc": ["body", "messages"], "msg": "Field required", "input": {}}]);
    let wrapped = json!({"object": "error", "message": {"detail": list}, "type": "invalid_request_error"});
    let conversations =
        json!({"object": "Error", "message": "wrong order", "type": "invalid_request_error", "code": 3001});
    let guardrail = json!({"object": "error", "message": "blocked by guardrail", "code": "3201",
        "guardrails": [{"moderation": {"violence": {"violated": true}}}]});
    let text = |status| Reply::plain(status, "text/plain", "no");
    vec![
        once("400", error(400, "3230", "Expected last role User"), R::InvalidRequest),
        once("400-int-code", Reply::json(400, &conversations), R::InvalidRequest),
        once("400-text", text(400), R::InvalidRequest),
        once("400-model", error(400, "1500", "Invalid model"), R::ModelNotFound),
        once("400-too-long", error(400, "3051", "Prompt is too long"), R::ContextLengthExceeded),
        once("401-detail", detail(401, json!("Unauthorized")), R::InvalidApiKey),
        once("401-gateway", said(401, "No API key found in request"), R::InvalidApiKey),
        once("402", detail(402, json!("Payment required")), R::InsufficientCredits),
        once("402-text", text(402), R::InsufficientCredits),
        once("403-tier", detail(403, json!("not in your plan")), R::PermissionDenied),
        once("403-guardrail", Reply::json(403, &guardrail), R::GuardrailBlocked),
        once("404-detail", detail(404, json!("Not Found")), R::ModelNotFound),
        once("404-code", error(404, "3040", "model not found"), R::ModelNotFound),
        once("404-gateway", said(404, "no Route matched with those values"), R::UpstreamProtocolError),
        once("409", said(409, "Conversation is being updated"), R::UpstreamProtocolError),
        once("413", Reply::plain(413, "text/html", "<h1>Too Large</h1>"), R::ContextLengthExceeded),
        once("422-list", detail(422, list.clone()), R::InvalidRequest),
        once("422-wrapped", Reply::json(422, &wrapped), R::InvalidRequest),
        once("422-both", Reply::json(422, &json!({"detail": list, "message": "no", "code": 3001})), R::InvalidRequest),
        once("422-window", error(422, "model_context_exceeded", "too much"), R::ContextLengthExceeded),
        once("501", text(501), R::UpstreamProtocolError),
    ]
}

/// What may pass.
fn outages() -> Vec<Row> {
    use ErrorReason as R;
    let html = |status| Reply::plain(status, "text/html", "<html><h1>Bad Gateway</h1></html>");
    let limited =
        |name, reply: Reply| again(name, reply.header("retry-after", "0"), R::RateLimitExceeded).after(100..=100);
    let code = json!({"object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "code": "1300",
        "raw_status_code": 429});
    let gateway = || Reply::json(429, &json!({"message": "Requests rate limit exceeded"}));
    vec![
        again("408", Reply::json(408, &json!({"message": "timed out"})), R::Timeout),
        limited("429-code", Reply::json(429, &code)),
        limited("429-capacity", error(429, "3505", "Service tier capacity exceeded for this model.")),
        limited("429-gateway", gateway()),
        // Our own waits: 1 s, 2 s, then 4 s and up to a quarter more.
        again("429-without-a-word", gateway(), R::RateLimitExceeded).after(4000..=5000),
        again("500-handoff", error(500, "3000", "handoff"), R::ServiceUnavailable),
        again("500-text", Reply::plain(500, "text/plain", "Internal Server Error"), R::ServiceUnavailable),
        again("502", html(502), R::ServiceUnavailable),
        again("503", html(503).header("retry-after", "0.2"), R::ServiceUnavailable).after(200..=200),
        again("503-json", Reply::json(503, &json!({"message": "no"})), R::ServiceUnavailable),
        again("504", html(504), R::ServiceUnavailable),
        again("hang-up", Reply::hang_up(), R::UpstreamProtocolError),
    ]
}

/// Answers that are none. Redirects are not followed: the key would travel with them.
fn no_answers() -> Vec<Row> {
    use ErrorReason::UpstreamProtocolError as Broken;
    let moved = |status| Reply::plain(status, "text/html", "moved").header("location", "http://127.0.0.1:9/v1");
    let in_answer = json!({"object": "error", "message": "no", "type": "internal_error", "code": "3000"});
    let broken = |name, reply| again(name, reply, Broken).billed();
    let begun = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
    vec![
        once("301", moved(301), Broken),
        once("302", moved(302), Broken),
        once("307", moved(307), Broken),
        once("308", moved(308), Broken),
        broken("garbage-json", Reply::plain(200, "application/json", "{\"choices\": [")),
        broken("garbage-events", Reply::raw_sse(["data: {\"choices\": [\n\n"])),
        broken("html", Reply::plain(200, "text/html", "<p>Hello</p>")),
        broken("empty-object", Reply::json(200, &json!({}))),
        broken("nothing-at-all", Reply::plain(200, "text/event-stream", ": nothing\n\n")),
        broken("only-done", Reply::raw_sse(["data: [DONE]\n\n", "data: [DONE]\n\n"])),
        broken("error-in-200", Reply::json(200, &in_answer)),
        broken("error-in-events", Reply::raw_sse([format!("data: {in_answer}\n\n")])),
        broken("cut-in-the-head-frame", Reply::raw_sse(["data: {\"choi"]).cut_after(1)),
        broken("cut-after-the-role", Reply::raw_sse([begun, "never"]).cut_after(1)),
        broken("cut-json", Reply::plain(200, "application/json", "{\"id\": \"half").cut_after(1)),
        broken("half-a-character", Reply::raw_sse([&b"data: {\"choices\":[{\"delta\":{\"content\":\"\xe2\x82"[..]])),
        broken("a-frame-of-14-MiB", Reply::raw_sse([format!("data: {{\"id\":\"{}\"}}\n\n", "x".repeat(14 << 20))])),
    ]
}

#[tokio::test]
async fn a_fault_before_output_is_asked_again_if_that_may_help_and_told_precisely() {
    let server = TestServer::with(&RETRIES).await;
    let client = server.client().await;
    let rows: Vec<Row> = [refusals(), outages(), no_answers()].into_iter().flatten().collect();
    check_all(&server, &client, &rows).await;
    assert_eq!(calls::list_all(&mut client.clone()).await, [], "no version");
    server.stop().await;
}

#[tokio::test]
async fn silence_is_told_from_slowness() {
    // Each says how long it was, and so which one it was.
    let timeouts = [
        ("providers.mistral.idle_timeout", "1000ms"),
        ("providers.mistral.first_byte_timeout", "1100ms"),
        ("providers.mistral.answer_timeout", "1200ms"),
    ];
    let server = TestServer::with(&with(&RETRIES, &timeouts)).await;
    let client = server.client().await;
    let mut slow = Reply::text("never");
    // Nobody opens it.
    slow.gate();
    let stalled =
        |name, sent: &[&str]| again(name, Reply::raw_sse(sent.iter().copied()).stall(), ErrorReason::Timeout).billed();
    let silent = "was silent within its answer for 1000 ms";
    let rows = [
        again("slow-headers", slow, ErrorReason::Timeout)
            .saying("sent no answer for 1200 ms", "sent no answer for 1100 ms"),
        stalled("stall-after-the-head", &[]).saying(
            "sent nothing but the head of its answer for 1200 ms",
            "sent nothing but the head of its answer for 1100 ms",
        ),
        stalled("stall-before-output", &[": hi\n\n"]).saying(silent, silent),
        stalled("stall-in-a-frame", &["data: {\"cho"]).saying(silent, silent),
    ];
    let after = [("stall", Reply::raw_sse([event(&says("some"))]).stall(), ErrorReason::Timeout)];
    tokio::join!(check_all(&server, &client, &rows), check_cut(&server, &client, &after));
    server.stop().await;
}

#[tokio::test]
async fn nobody_listens() {
    // Bound and never listening: a connection is refused for as long as the socket lives.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let nowhere = format!("http://{}", socket.local_addr().expect("an address"));
    let server = TestServer::with(&with(&RETRIES, &[("providers.mistral.base_url", &nowhere)])).await;
    let mut client = server.client().await;
    for streamed in [false, true] {
        let row = again("refused", Reply::hang_up(), ErrorReason::ServiceUnavailable);
        let status = fail(&mut client, &row, streamed).await;
        check_told(&mut client, &row, &status).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn what_was_relayed_is_kept_and_never_asked_for_again() {
    use ErrorReason::UpstreamProtocolError as Broken;
    let some = || event(&says("some"));
    let in_stream = json!({"object": "error", "message": "no", "code": "3000"});
    let rows = [
        ("cut", Reply::raw_sse([some(), "never".to_owned()]).cut_after(1), Broken),
        ("cut-in-a-frame", Reply::raw_sse([some(), "data: {\"choices\":[{\"del".to_owned()]).cut_after(2), Broken),
        ("ended-without-a-finish", Reply::raw_sse([some()]), Broken),
        ("done-without-a-finish", Reply::raw_sse([some(), "data: [DONE]\n\n".to_owned()]), Broken),
        ("garbage", Reply::raw_sse([some(), "data: }{\n\n".to_owned()]), Broken),
        ("error-event", Reply::raw_sse([some(), format!("data: {in_stream}\n\n")]), Broken),
        ("finish-error", Reply::sse(&[says("some"), finish("error")]), Broken),
    ];
    let server = TestServer::with(&RETRIES).await;
    let client = server.client().await;
    check_cut(&server, &client, &rows).await;
    server.stop().await;
}

#[tokio::test]
async fn odd_answers_are_answers() {
    let done = || "data: [DONE]\n\n".to_owned();
    let long = "word ".repeat(100_000);
    let whole = |text: &str| vec![event(&says(text)), event(&finish("stop"))];
    let rows = [
        ("done-twice", Reply::raw_sse([whole("fine"), vec![done(), done()]].concat()), "fine"),
        ("no-done", Reply::raw_sse(whole("fine")), "fine"),
        ("garbage-after-finish", Reply::raw_sse([whole("fine"), vec!["data: {".to_owned()]].concat()), "fine"),
        ("cut-after-finish", Reply::raw_sse(whole("fine")).cut_after(2), "fine"),
        ("every-byte-alone", Reply::sse(&[says("fïne 🙂"), finish("stop")]).split_at_every_byte(), "fïne 🙂"),
        ("all-in-one", Reply::raw_sse([[whole("fine"), vec![done()]].concat().concat()]), "fine"),
        ("a-large-chunk", Reply::sse(&[says(&long), finish("stop")]), long.as_str()),
        ("whole-in-place-of-a-stream", whole_answer("fine"), "fine"),
    ];
    let server = TestServer::with(&RETRIES).await;
    let mut client = server.client().await;
    for (name, reply, text) in rows {
        for streamed in [false, true] {
            let model = format!("{name}-{streamed}");
            server.provider.on_model(&model, [reply.clone()]);
            let request = Request::Start(start_on(&model, "Hello"));
            let turn = match streamed {
                false => calls::run(&mut client, &model, request).await.expect(name),
                true => {
                    let (events, end) = calls::watch(&mut client, &model, request).await;
                    end.expect(name);
                    assert_whole(&events);
                    assert_eq!(retries(&events).len(), 0, "{name}");
                    crate::support::events::done(&events).expect(name).clone()
                }
            };
            assert_eq!((turn.state(), text_of(&turn).as_str()), (turn::State::Completed, text), "{name}");
            assert_eq!(turn.usage.as_ref().expect(name).total_tokens, 7, "{name}");
            assert_eq!((server.provider.requests_for(&model).len(), asked(&turn)), (1, vec![]), "{name}");
        }
    }
    server.stop().await;
}

fn whole_answer(text: &str) -> Reply {
    crate::support::completion::whole(json!({"role": "assistant", "content": text}), "stop")
}

/// All of them at once, each at a model of its own, unary and as a stream.
async fn check_all(server: &TestServer, client: &Client, rows: &[Row]) {
    let checks = rows.iter().flat_map(|row| [(row, false), (row, true)]).map(|(row, streamed)| async move {
        let mut client = client.clone();
        let model = model_of(row, streamed);
        server.provider.on_model(&model, [row.reply.clone()]);
        let status = fail(&mut client, row, streamed).await;
        check_told(&mut client, row, &status).await;
        assert_eq!(server.provider.requests_for(&model).len(), row.asked, "{model}: requests");
    });
    join_all(checks).await;
}

fn model_of(row: &Row, streamed: bool) -> String {
    format!("{}-{}", row.name, if streamed { "stream" } else { "unary" })
}

/// Runs a turn that fails; what the call says.
async fn fail(client: &mut Client, row: &Row, streamed: bool) -> Status {
    let model = model_of(row, streamed);
    let request = Request::Start(start_on(&model, "Hello"));
    let status = match streamed {
        false => calls::run(client, &model, request).await.expect_err(&model),
        true => calls::watch(client, &model, request).await.1.expect_err(&model),
    };
    assert_promised(&status, row.reason, &model);
    let says = row.says[usize::from(streamed)];
    assert!(status.message().contains(says), "{model} says {says:?}: {}", status.message());
    status
}

/// What the call, its events and its turn say.
async fn check_told(client: &mut Client, row: &Row, status: &Status) {
    let Row { name, reply: _, reason, asked: calls, retry_ms: after, billed, says: _ } = row;
    assert_retry(status, after.as_ref(), name);
    let attempts = told(status, "attempts");
    assert_eq!((told(status, "provider").as_str(), attempts), ("mistral", calls.to_string()), "{name}");
    assert_eq!(status.message().contains("(after 3 attempts)"), *calls == ATTEMPTS, "{name}: {}", status.message());

    let turn_id = told(status, "turn_id");
    let (events, end) = calls::watch(client, "again", calls::resume(&turn_id, 0)).await;
    assert_eq!(end.expect_err(name).message(), status.message(), "{name}: a replay ends as the turn did");
    let expected = [&["response_started"][..], &vec!["upstream_retry"; calls - 1], &["response_error"]].concat();
    assert_eq!(names(&events), expected, "{name}");
    assert_gapless(&events, 1);
    for (past, retry) in (1..).zip(retries(&events)) {
        let why = carried(retry.error.as_ref().expect(name));
        assert_eq!((retry.attempt, reason_of(&why).as_str()), (past, reason.as_str_name()), "{name}");
        assert!(retry.model.starts_with(name) && retry.delay_ms >= 0, "{name}: {retry:?}");
    }

    let turn = get_turn(client, &turn_id).await.expect("the status names the turn");
    assert_eq!((turn.state(), turn.conversation_id.as_str()), (turn::State::Failed, ""), "{name}");
    assert_eq!(turn.last_sequence, events.last().expect(name).sequence, "{name}");
    assert_eq!(turn.outputs, [], "{name}");
    let said = carried(turn.error.as_ref().expect("an error"));
    assert_eq!((said.message(), reason_of(&said).as_str()), (status.message(), reason.as_str_name()), "{name}");
    let usage = turn.usage.clone().unwrap_or_default();
    // An answer that is not streamed is written before its head comes, which may have been under way.
    let may_be = turn.model.ends_with("-unary") && ["slow-headers", "hang-up"].contains(name);
    let billed = *billed || may_be;
    assert_eq!((usage.total_tokens > 0, usage.estimated), (billed, billed), "{name}: {usage:?}");
    let counted: Vec<i32> = asked(&turn).into_iter().map(|(_, attempts)| attempts).collect();
    let several = if *calls > 1 { vec![i32::try_from(*calls).expect("few")] } else { Vec::new() };
    assert_eq!(counted, several, "{name}: Turn.models");
}

/// Turns that say "some" and are cut off: INCOMPLETE, for a stream and for its turn and version.
async fn check_cut(server: &TestServer, client: &Client, rows: &[(&str, Reply, ErrorReason)]) {
    let checks = rows.iter().map(|(name, reply, reason)| async move {
        let mut client = client.clone();
        server.provider.on_model(name, [reply.clone()]);
        let (events, end) = calls::watch(&mut client, name, Request::Start(start_on(name, "Hello"))).await;
        end.expect("a cut turn is one that is done");
        assert_whole(&events);
        let expected = ["response_started", "message_output_delta", "entry_done", "response_done"];
        assert_eq!(names(&events), expected, "{name}");
        assert_eq!(server.provider.requests_for(name).len(), 1, "{name}: what was relayed can't be taken back");
        let turn = get_turn(&mut client, &events[0].turn_id).await.expect("stored");
        assert_eq!((turn.state(), text_of(&turn).as_str()), (turn::State::Incomplete, "some"), "{name}");
        let why = carried(turn.error.as_ref().expect("why"));
        assert_eq!(reason_of(&why), reason.as_str_name(), "{name}");
        assert_eq!(told(&why, "attempts"), "1", "{name}");
        assert!(turn.usage.as_ref().is_some_and(|usage| usage.total_tokens > 0), "{name}: it was paid for");
        let version = get_conversation(&mut client, &turn.conversation_id).await.expect("a version");
        assert_eq!(version.id, turn.conversation_id, "{name}");
        let entries: Vec<proto::Entry> = history(&mut client, &version.id).await.expect("a history");
        assert_eq!(entries.iter().map(entry_text).collect::<Vec<_>>(), ["Hello", "some"], "{name}");
    });
    join_all(checks).await;
}
