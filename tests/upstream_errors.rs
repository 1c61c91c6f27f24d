//! Every refusal of Mistral that users have reported (one row each), and what a caller is told.

use causerie::domain::{Failure, Reason};

use crate::support::{
    history::{history, user},
    provider::{Reply, ScriptedProvider},
    upstream::{provider, request, settings},
};

/// What the input of a validation error, or anything else that must not be told, contains in these rows.
const SECRET: &str = "the user's secret";

struct Row {
    name: &'static str,
    reply: Reply,
    reason: Reason,
    /// A part of the message.
    told: &'static str,
    code: Option<&'static str>,
    retry_after_ms: Option<u64>,
}

fn json(status: u16, body: &str) -> Reply {
    Reply::plain(status, "application/json", body)
}

fn row(name: &'static str, reply: Reply, reason: Reason, told: &'static str) -> Row {
    Row { name, reply, reason, told, code: None, retry_after_ms: None }
}

impl Row {
    fn code(self, code: &'static str) -> Row {
        Row { code: Some(code), ..self }
    }

    fn retry(self, ms: u64) -> Row {
        Row { retry_after_ms: Some(ms), ..self }
    }
}

async fn refusal(reply: Reply) -> Failure {
    let server = ScriptedProvider::start().await;
    server.reply(reply);
    let provider = provider(&server.base_url());
    let transcript = provider.encode(&history([user(SECRET)])).expect("it can be told");
    let settings = settings();
    provider.complete(request(&settings, &transcript)).await.expect_err("a refusal").failure
}

async fn assert_rows(rows: Vec<Row>) {
    for Row { name, reply, reason, told, code, retry_after_ms } in rows {
        let failure = refusal(reply).await;
        assert_eq!(failure.reason, reason, "{name}: {failure:?}");
        assert!(failure.message.contains(told), "{name}: {}", failure.message);
        let meta = |key: &str| failure.metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        assert_eq!(meta("provider"), Some("mistral"), "{name}");
        assert!(meta("http_status").is_some(), "{name}");
        assert_eq!(meta("provider_code"), code, "{name}");
        assert_eq!(failure.retry_after_ms, retry_after_ms, "{name}");
        let all = format!("{failure:?}");
        assert!(!all.contains(SECRET) && !all.contains("sk-of-the-test"), "{name}: {all}");
    }
}

#[tokio::test]
async fn the_caller_s_mistakes_are_explained() {
    use Reason::{ContextLengthExceeded, InvalidRequest};
    assert_rows(vec![
        row(
            "message order",
            json(400, r#"{"object":"error","message":"Unexpected role 'user' after role 'tool'","type":"invalid_request_message_order","param":null,"code":"3230"}"#),
            InvalidRequest,
            "mistral refused the request: Unexpected role 'user' after role 'tool'",
        )
        .code("3230"),
        row(
            "function call",
            json(400, r#"{"object":"error","message":"Function name was x y","type":"invalid_function_call","param":null,"code":"3280"}"#),
            InvalidRequest,
            "Function name was x y",
        )
        .code("3280"),
        row(
            "the other service's shape",
            json(400, r#"{"object":"Error","message":"Bad input","type":"invalid_request_error","code":3001}"#),
            InvalidRequest,
            "Bad input",
        )
        .code("3001"),
        row(
            "validation errors",
            json(422, r#"{"detail":[{"type":"extra_forbidden","loc":["body","messages",0,"user","name"],"msg":"Extra inputs are not permitted","input":"the user's secret"},{"type":"missing","loc":["body","model"],"msg":"Field required","input":{"a":"the user's secret"},"ctx":{"b":"the user's secret"}}]}"#),
            InvalidRequest,
            "refused the request: messages.0.user.name: Extra inputs are not permitted; model: Field required",
        ),
        row(
            "wrapped validation errors",
            json(422, r#"{"object":"error","message":{"detail":[{"type":"less_than_equal","loc":["body","temperature"],"msg":"Input should be less than or equal to 1.5","input":2.0}]},"type":"invalid_request_error","param":null,"code":null}"#),
            InvalidRequest,
            "refused the request: temperature: Input should be less than or equal to 1.5",
        )
        .code("invalid_request_error"),
        row(
            "validation errors beside a message",
            json(422, r#"{"message":"Not the same number of function calls and responses","code":3001,"detail":[{"loc":["body"],"msg":"x"}]}"#),
            InvalidRequest,
            "Not the same number of function calls and responses",
        )
        .code("3001"),
        row("no explanation", json(400, "{}"), InvalidRequest, "it gave no explanation"),
        row("no JSON", Reply::plain(400, "text/html", "<html>the user's secret</html>"), InvalidRequest, "it gave no explanation"),
        row(
            "too long, told in words",
            json(400, r#"{"object":"error","message":"Prompt contains 262145 tokens and 0 draft tokens, too large for model with 262144 maximum context length","type":"invalid_request_prompt","param":null,"code":"3051"}"#),
            ContextLengthExceeded,
            "does not fit the model's context window: Prompt contains 262145 tokens",
        )
        .code("3051"),
        row(
            "too long, told by type",
            json(422, r#"{"object":"error","message":"Too much","type":"model_context_exceeded"}"#),
            ContextLengthExceeded,
            "Too much",
        )
        .code("model_context_exceeded"),
        row(
            "too long, told by code",
            json(422, r#"{"object":"error","message":"Too much","code":"prompt_too_long"}"#),
            ContextLengthExceeded,
            "Too much",
        )
        .code("prompt_too_long"),
        row("too long for the gateway", Reply::plain(413, "text/html", "<html>"), ContextLengthExceeded, "context window"),
        row(
            "a guardrail",
            json(403, r#"{"error":{"message":"Request blocked by guardrails","status":403},"guardrails":[{"action":"block","moderation_llm_v2":{"pii":{"score":0.1,"violated":false},"violence_and_threats":{"threshold":0.2,"score":0.97,"violated":true}}}]}"#),
            Reason::GuardrailBlocked,
            "blocked the input (violence_and_threats): Request blocked by guardrails",
        ),
        row(
            "a guardrail that failed",
            json(403, r#"{"object":"Error","message":"Guardrail could not be evaluated","type":"invalid_request_error","code":3201}"#),
            Reason::GuardrailBlocked,
            "Guardrail could not be evaluated",
        )
        .code("3201"),
    ])
    .await;
}

#[tokio::test]
async fn unknown_models_are_named() {
    let rows = [
        (400, r#"{"object":"error","message":"Invalid model: x","type":"invalid_model","param":null,"code":"1500"}"#),
        (404, r#"{"object":"error","message":"Model not found","type":"model_not_found","code":"3040"}"#),
        (404, r#"{"object":"Error","message":"Model not found","code":3040}"#),
        (404, r#"{"detail":"Not Found"}"#),
    ];
    for (status, body) in rows {
        let failure = refusal(json(status, body)).await;
        assert_eq!(failure.reason, Reason::ModelNotFound, "{body}");
        assert_eq!(failure.resource, Some(("model".into(), "mistral-small-latest".to_owned())));
        assert!(failure.message.contains("mistral-small-latest"));
        assert_eq!(failure.retry_after_ms, None);
    }
}

#[tokio::test]
async fn the_operator_s_mistakes_are_told_without_the_provider_s_words() {
    let secret = |status| json(status, r#"{"message":"the user's secret","request_id":"1"}"#);
    assert_rows(vec![
        row("key, by detail", json(401, r#"{"detail":"Unauthorized"}"#), Reason::InvalidApiKey, "MISTRAL_API_KEY"),
        row("key, by the gateway", secret(401), Reason::InvalidApiKey, "providers.mistral.key_file"),
        row("no credit", secret(402), Reason::InsufficientCredits, "no credit"),
        row("not allowed", secret(403), Reason::PermissionDenied, "does not allow"),
        row(
            "wrong base URL",
            json(404, r#"{"message":"no Route matched with those values","request_id":"1"}"#),
            Reason::UpstreamProtocolError,
            "check providers.mistral.base_url",
        ),
        row(
            "some web server",
            Reply::plain(404, "text/html", "<html>"),
            Reason::UpstreamProtocolError,
            "providers.mistral.base_url",
        ),
        row(
            "a redirect",
            secret(307).header("location", "http://elsewhere/"),
            Reason::UpstreamProtocolError,
            "redirect",
        ),
        row("an unheard-of status", secret(418), Reason::UpstreamProtocolError, "418"),
        row("not implemented", secret(501), Reason::UpstreamProtocolError, "can't do what was asked"),
        row("no content", secret(204), Reason::UpstreamProtocolError, "204"),
    ])
    .await;
}

#[tokio::test]
async fn what_is_worth_a_retry_says_when() {
    use Reason::{RateLimitExceeded, ServiceUnavailable};
    let rate = r#"{"object":"error","message":"Rate limit exceeded","type":"rate_limited","param":null,"code":"1300","raw_status_code":429}"#;
    let tier = r#"{"object":"error","message":"Service tier capacity exceeded for this model.","type":"service_tier_capacity_exceeded","param":null,"code":"3505"}"#;
    let gateway = r#"{"message":"Requests rate limit exceeded"}"#;
    assert_rows(vec![
        row("rate", json(429, rate), RateLimitExceeded, "rate limit").code("1300").retry(1000),
        row("rate, seconds", json(429, rate).header("retry-after", "7"), RateLimitExceeded, "rate limit")
            .code("1300")
            .retry(7000),
        row("tier", json(429, tier).header("retry-after-ms", "1500"), RateLimitExceeded, "rate limit")
            .code("3505")
            .retry(1500),
        row(
            "gateway",
            json(429, gateway).header("x-ratelimit-reset-req-minute", "13"),
            RateLimitExceeded,
            "rate limit",
        )
        .retry(13_000),
        row("408", json(408, "{}"), Reason::Timeout, "408").retry(1000),
        row(
            "500",
            json(500, r#"{"object":"error","message":"the user's secret","code":3000}"#),
            ServiceUnavailable,
            "500",
        )
        .code("3000")
        .retry(1000),
        row("502", Reply::plain(502, "text/html", "<html>"), ServiceUnavailable, "502").retry(1000),
        row("503", json(503, "").header("retry-after", "2"), ServiceUnavailable, "503").retry(2000),
        row("504", json(504, "{}"), ServiceUnavailable, "504").retry(1000),
        row("529", json(529, "{}"), ServiceUnavailable, "529").retry(1000),
    ])
    .await;
}

#[tokio::test]
async fn a_date_is_a_time_to_wait_for() {
    let failure = refusal(json(429, "{}").header("retry-after", "Thu, 31 Dec 2099 23:59:59 GMT")).await;
    assert_eq!(failure.retry_after_ms, Some(3_600_000), "an hour at most");
}

#[tokio::test]
async fn long_explanations_are_cut_and_odd_codes_dropped() {
    let body = format!(r#"{{"message":"{}","code":"no code, but {SECRET}"}}"#, "é".repeat(600));
    let failure = refusal(json(400, &body)).await;
    assert!(failure.message.ends_with(&format!("{}…", "é".repeat(500))));
    assert!(!format!("{failure:?}").contains(SECRET));
}

#[tokio::test]
async fn a_key_that_is_quoted_where_a_text_is_cut_is_hidden() {
    for before in 485..=500 {
        let message = format!("{}sk-of-the-test is refused", "x".repeat(before));
        let escaped = message.replace('-', "\\u002d");
        for body in
            [format!(r#"{{"message":"{escaped}"}}"#), format!(r#"{{"detail":[{{"loc":["body"],"msg":"{message}"}}]}}"#)]
        {
            let failure = refusal(json(400, &body)).await;
            assert!(!format!("{failure:?}").contains("sk-"), "{before}: {failure:?}");
        }
    }
}

#[tokio::test]
async fn the_id_for_the_provider_s_support_is_kept() {
    let failure = refusal(json(500, "{}").header("mistral-correlation-id", "0190c9d2")).await;
    assert!(failure.metadata.contains(&("correlation_id".into(), "0190c9d2".to_owned())), "{failure:?}");
}
