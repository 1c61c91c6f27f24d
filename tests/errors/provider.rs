//! What the provider's refusals become: every body that Mistral and its gateways are known to send.

use std::ops::RangeInclusive;

use causerie::proto::{self, ErrorReason, event::Kind, stream_events_request::Request};
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tonic::Status;
use tonic_types::StatusExt;

use super::PROMPT;
use crate::support::{
    calls::{self, get_turn},
    events::name,
    provider::Reply,
    server::{Client, TestServer, start},
    status::{assert_promised, assert_retry, carried, reason_of, retry_ms, told},
};

/// A reply of the provider, and what becomes of it.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) reply: Reply,
    pub(crate) reason: ErrorReason,
    /// Milliseconds of `RetryInfo`.
    retry_ms: Option<RangeInclusive<u64>>,
    /// A part of the message.
    says: &'static str,
    /// A pair of the metadata, beside those that all have.
    told: Option<(&'static str, &'static str)>,
}

fn row(name: &'static str, reply: Reply, reason: ErrorReason) -> Row {
    use ErrorReason as R;
    let later = matches!(reason, R::RateLimitExceeded | R::ServiceUnavailable | R::Timeout | R::UpstreamProtocolError);
    Row { name, reply, reason, retry_ms: later.then_some(1000..=1000), says: "mistral", told: None }
}

impl Row {
    fn says(self, says: &'static str) -> Row {
        Row { says, ..self }
    }

    fn told(self, key: &'static str, value: &'static str) -> Row {
        Row { told: Some((key, value)), ..self }
    }

    fn never(self) -> Row {
        Row { retry_ms: None, ..self }
    }

    fn after(self, ms: u64) -> Row {
        Row { retry_ms: Some(ms..=ms), ..self }
    }

    /// The provider names no time: that of our own gate, up to a quarter more than 1 s, then 2 s.
    fn at_the_gate(self) -> Row {
        Row { retry_ms: Some(1000..=2500), ..self }
    }
}

/// Mistral's usual error.
fn error(status: u16, code: &str, message: &str) -> Reply {
    let body = json!({"object": "error", "message": message, "type": "invalid_request", "param": null, "code": code});
    Reply::json(status, &body)
}

/// The table. Bodies that quote the request do so here too.
pub(crate) fn rows() -> Vec<Row> {
    [keys_and_money(), models(), invalid(), limits(), outages(), no_answers()].into_iter().flatten().collect()
}

fn keys_and_money() -> Vec<Row> {
    use ErrorReason as R;
    let guardrail = json!({"object": "error", "message": "input blocked by guardrail", "code": "3201",
        "guardrails": [{"moderation": {"violence": {"violated": true}, "quote": PROMPT}}]});
    vec![
        row("401-detail", Reply::json(401, &json!({"detail": "Unauthorized"})), R::InvalidApiKey)
            .says("providers.mistral.key_file"),
        row(
            "401-gateway",
            Reply::json(401, &json!({"message": "No key test-key", "request_id": "1"})),
            R::InvalidApiKey,
        )
        .says("providers.mistral.key_file"),
        row("402", Reply::json(402, &json!({"detail": "Payment required for test-key"})), R::InsufficientCredits)
            .says("credit"),
        row("403", Reply::json(403, &json!({"detail": "tier of test-key"})), R::PermissionDenied)
            .says("does not allow"),
        row("403-guardrail", Reply::json(403, &guardrail), R::GuardrailBlocked)
            .says("guardrail")
            .told("categories", "violence"),
    ]
}

fn models() -> Vec<Row> {
    use ErrorReason as R;
    let not_found = Reply::json(404, &json!({"detail": "Not Found"}));
    let no_route = Reply::json(404, &json!({"message": "no Route matched with those values"}));
    vec![
        row("404-detail", not_found, R::ModelNotFound).says("scripted-model"),
        row("404-gateway", no_route, R::UpstreamProtocolError).says("providers.mistral.base_url").never(),
        row("404-code-3040", error(404, "3040", "model not found"), R::ModelNotFound).told("provider_code", "3040"),
        row("400-code-1500", error(400, "1500", "Invalid model"), R::ModelNotFound).told("provider_code", "1500"),
    ]
}

fn invalid() -> Vec<Row> {
    use ErrorReason as R;
    let list: Value = json!([{"type": "string_type", "loc": ["body", "messages", 0, "content"],
        "msg": "Input should be a valid string", "input": PROMPT, "ctx": {"seen": PROMPT}}]);
    let wrapped =
        json!({"object": "error", "message": {"detail": list}, "type": "invalid_request_error", "code": null});
    let both = json!({"object": "Error", "detail": list, "message": "wrong order", "code": 3001});
    vec![
        row("400", error(400, "3230", "Expected last role User"), R::InvalidRequest).says("Expected last role User"),
        row("422-list", Reply::json(422, &json!({"detail": list})), R::InvalidRequest)
            .says("messages.0.content: Input should be a valid string"),
        row("422-wrapped", Reply::json(422, &wrapped), R::InvalidRequest)
            .says("messages.0.content: Input should be a valid string"),
        row("422-both", Reply::json(422, &both), R::InvalidRequest).told("provider_code", "3001"),
        row("400-too-long", error(400, "3051", "Prompt is too long for the context window"), R::ContextLengthExceeded)
            .says("does not fit"),
        row("422-too-long", error(422, "model_context_exceeded", "too much"), R::ContextLengthExceeded),
        row("413", Reply::plain(413, "text/html", "<h1>Too Large</h1>"), R::ContextLengthExceeded),
    ]
    .into_iter()
    .map(|row| if row.says == "mistral" { row.says("") } else { row })
    .collect()
}

fn limits() -> Vec<Row> {
    use ErrorReason as R;
    let code = || {
        let body = json!({"object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "code": "1300",
            "raw_status_code": 429});
        Reply::json(429, &body)
    };
    let capacity = || error(429, "3505", "Service tier capacity exceeded for this model.");
    let gateway = || Reply::json(429, &json!({"message": "Requests rate limit exceeded"}));
    let limit = |name, reply| row(name, reply, R::RateLimitExceeded).says("rate limit");
    vec![
        limit("429-code", code()).told("provider_code", "1300").at_the_gate(),
        limit("429-code-after", code().header("retry-after", "7")).after(7000),
        limit("429-capacity", capacity()).told("provider_code", "3505").at_the_gate(),
        limit("429-capacity-after", capacity().header("retry-after", "30")).after(30_000),
        limit("429-gateway", gateway()).at_the_gate(),
        limit("429-gateway-after", gateway().header("retry-after", "2")).after(2000),
    ]
}

fn outages() -> Vec<Row> {
    use ErrorReason as R;
    let html = |status| Reply::plain(status, "text/html", &format!("<html><h1>{PROMPT}</h1></html>"));
    vec![
        row("408", Reply::json(408, &json!({"message": "timed out"})), R::Timeout).says("too long"),
        row("500", error(500, "3000", PROMPT), R::ServiceUnavailable).told("provider_code", "3000"),
        row("500-plain", Reply::plain(500, "text/plain", PROMPT), R::ServiceUnavailable).told("http_status", "500"),
        row("502-html", html(502), R::ServiceUnavailable).told("http_status", "502"),
        row("503", html(503).header("retry-after", "4"), R::ServiceUnavailable).after(4000),
        row("504", html(504), R::ServiceUnavailable).told("http_status", "504"),
    ]
}

fn no_answers() -> Vec<Row> {
    use ErrorReason as R;
    let in_answer = json!({"object": "error", "message": PROMPT, "type": "internal_error", "code": "3000"});
    let moved = Reply::plain(307, "text/plain", "").header("location", "http://127.0.0.1:9/v1/chat/completions");
    let wrong = |name, reply| row(name, reply, R::UpstreamProtocolError).says("not usable");
    vec![
        wrong("hang-up", Reply::hang_up()),
        wrong("garbage", Reply::plain(200, "application/json", &format!("{{\"choices\": {PROMPT}"))),
        wrong("html-200", Reply::plain(200, "text/html", &format!("<p>{PROMPT}</p>"))),
        wrong("empty-200", Reply::json(200, &json!({}))),
        wrong("error-in-200", Reply::json(200, &in_answer)).told("provider_code", "3000"),
        wrong("redirect", moved).says("redirect").never(),
        wrong("204", Reply::plain(204, "text/plain", "")).never(),
        wrong("501", Reply::json(501, &json!({"message": PROMPT}))).says("can't do what was asked").never(),
    ]
}

#[tokio::test]
async fn what_the_provider_refuses_is_told_and_makes_no_version() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    for row in rows() {
        server.provider.reply(row.reply.clone());
        check_unary(&mut client, &row).await;
        server.provider.reply(row.reply.clone());
        check_stream(&mut client, &row).await;
    }
    assert_eq!(calls::list_all(&mut client).await, [], "no version was made");
    server.stop().await;
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_told() {
    // Bound and not listening: connections are refused, and nobody else gets the port.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let nowhere = format!("http://{}", socket.local_addr().expect("an address"));
    let server = TestServer::with(&[("providers.mistral.base_url", &nowhere)]).await;
    let mut client = server.client().await;
    let row = row("refused", Reply::hang_up(), ErrorReason::ServiceUnavailable).says("can't be reached");
    check_unary(&mut client, &row).await;
    check_stream(&mut client, &row).await;
    assert_eq!(calls::list_all(&mut client).await, []);
    server.stop().await;
}

/// Each call has a model of its own: a rate limit would keep the next call waiting.
fn asking(row: &Row, how: &str) -> proto::StartRequest {
    proto::StartRequest { model: format!("scripted-model-{}-{how}", row.name), ..start(PROMPT) }
}

async fn check_unary(client: &mut Client, row: &Row) {
    let failed = calls::run(client, row.name, Request::Start(asking(row, "unary"))).await;
    let status = failed.expect_err(row.name);
    check_status(&status, row);
    check_turn(client, &status, row).await;
}

async fn check_stream(client: &mut Client, row: &Row) {
    let (events, end) = calls::watch(client, row.name, Request::Start(asking(row, "stream"))).await;
    let status = end.expect_err(row.name);
    check_status(&status, row);
    let kinds: Vec<_> = events.iter().map(|event| (event.sequence, name(event))).collect();
    assert_eq!(kinds, [(1, "response_started"), (2, "response_error")], "{}", row.name);
    let Some(Kind::ResponseError(proto::ResponseError { status: Some(said) })) = &events[1].kind else {
        panic!("{}: {events:?}", row.name)
    };
    check_same(&carried(said), &status, row);
    let turn_id = told(&status, "turn_id");
    assert!(events.iter().all(|event| event.turn_id == turn_id), "{}: {turn_id}", row.name);
    check_turn(client, &status, row).await;
    let (again, end) = calls::watch(client, row.name, calls::resume(&turn_id, 0)).await;
    assert_eq!(again, events, "{}: a replay equals the original", row.name);
    check_status(&end.expect_err("it ends as the original did"), row);
}

fn check_status(status: &Status, row: &Row) {
    assert_promised(status, row.reason, row.name);
    assert!(status.message().contains(row.says), "{}: {}", row.name, status.message());
    assert_retry(status, row.retry_ms.as_ref(), row.name);
    assert_eq!(told(status, "provider"), "mistral", "{}", row.name);
    if let Some((key, value)) = row.told {
        assert_eq!(told(status, key), value, "{}: {key} in {status:?}", row.name);
    }
    assert!(!format!("{status:?}").contains(PROMPT), "{}: {status:?}", row.name);
}

/// The turn that failed tells the same as the call did.
async fn check_turn(client: &mut Client, status: &Status, row: &Row) {
    let turn = get_turn(client, &told(status, "turn_id")).await.expect("the status names the turn");
    assert_eq!(turn.state(), proto::turn::State::Failed, "{}", row.name);
    assert_eq!((turn.conversation_id.as_str(), turn.outputs.len()), ("", 0), "{}: no version", row.name);
    assert!(turn.completed_at.is_some() && turn.last_sequence == 2, "{}: {turn:?}", row.name);
    check_same(&carried(turn.error.as_ref().expect("an error")), status, row);
}

fn check_same(said: &Status, status: &Status, row: &Row) {
    assert_eq!((said.code(), said.message()), (status.code(), status.message()), "{}", row.name);
    assert_eq!(reason_of(said), reason_of(status), "{}", row.name);
    assert_eq!(retry_ms(&said.get_error_details()), retry_ms(&status.get_error_details()), "{}", row.name);
}
