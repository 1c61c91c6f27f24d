//! What may be done about a call that did not end well, and what a provider says of its rate limits.

use std::time::Duration;

use causerie::{
    domain::Reason,
    upstream::{Fault, FaultClass, KeySource, Options, Provider, Quota, Reached, Request},
};
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::{
    history::{history, user},
    provider::{Reply, ScriptedProvider},
    upstream::{options, provider, read, request, settings},
};

const SHORT: Duration = Duration::from_millis(60);

/// Runs a call that is expected to fail, at its start or later.
async fn fault(provider: &Provider, stream: bool) -> Fault {
    let settings = settings();
    let transcript = provider.encode(&history([user("Hello")])).expect("taken");
    match provider.complete(Request { stream, ..request(&settings, &transcript) }).await {
        Err(fault) => fault,
        Ok(completion) => read(completion).await.1.expect("this answer fails"),
    }
}

fn refusal(status: u16) -> Reply {
    Reply::json(status, &json!({"message": "no"}))
}

#[tokio::test]
async fn every_refusal_has_its_class() {
    use FaultClass::{Permanent, RateLimited, TooLong, Transient};
    let too_long = json!({"message": "the prompt is too long", "code": "context_length_exceeded"});
    let soon = "Thu, 01 Jan 1970 00:00:00 GMT";
    let rows = [
        (refusal(400), Permanent, None),
        (refusal(401), Permanent, None),
        (refusal(402), Permanent, None),
        (refusal(403).header("retry-after", "7"), Permanent, None),
        (refusal(404), Permanent, None),
        (Reply::plain(404, "text/html", "<html>"), Permanent, None),
        (refusal(408), Transient, None),
        (refusal(422), Permanent, None),
        (refusal(429), RateLimited, None),
        (refusal(429).header("retry-after", "7"), RateLimited, Some(7000)),
        (refusal(429).header("retry-after", soon), RateLimited, Some(100)),
        (refusal(429).header("x-ratelimit-reset-req-minute", "20"), RateLimited, Some(20_000)),
        (refusal(429).header("x-ratelimit-reset-requests", "250ms"), RateLimited, Some(250)),
        (refusal(500), Transient, None),
        (refusal(500).header("x-ratelimit-reset-requests", "20s"), Transient, None),
        (refusal(501), Permanent, None),
        (refusal(502), Transient, None),
        (refusal(503).header("retry-after", "3"), Transient, Some(3000)),
        (refusal(504), Transient, None),
        (refusal(505), Permanent, None),
        (refusal(302).header("location", "http://127.0.0.1:1/"), Permanent, None),
        (Reply::json(400, &too_long), TooLong, None),
        (refusal(413), TooLong, None),
    ];
    let server = ScriptedProvider::start().await;
    let provider = provider(&server.base_url());
    for (reply, class, retry_after_ms) in rows {
        let name = format!("{reply:?}");
        server.reply(reply);
        let fault = fault(&provider, true).await;
        assert_eq!((fault.class, fault.retry_after_ms), (class, retry_after_ms), "{name}");
        assert_eq!(fault.reached, Reached::Refused, "{name}");
        if let Some(ms) = retry_after_ms {
            assert_eq!(fault.failure.retry_after_ms, Some(ms), "{name}");
        }
    }
}

#[tokio::test]
async fn what_breaks_may_be_tried_again_and_says_if_it_was_answered() {
    let half = || Reply::raw_sse(["data: {\"choices\":[{\"delta\":{\"content\":\"half\"}}]}\n\n"]);
    let mut silent = Reply::text("never");
    let _closed = silent.gate();
    let rows = [
        ("hung up", Reply::hang_up(), Reached::Sent, Reason::UpstreamProtocolError),
        ("silent", silent, Reached::Sent, Reason::Timeout),
        ("cut", half().cut_after(1), Reached::Answered, Reason::UpstreamProtocolError),
        ("ended", half(), Reached::Answered, Reason::UpstreamProtocolError),
        ("stalled", half().stall(), Reached::Answered, Reason::Timeout),
        ("garbage", Reply::raw_sse(["data: {\n\n"]), Reached::Answered, Reason::UpstreamProtocolError),
        ("HTML", Reply::plain(200, "text/html", "<html>"), Reached::Answered, Reason::UpstreamProtocolError),
        (
            "error",
            Reply::json(200, &json!({"error": {"code": "1300"}})),
            Reached::Answered,
            Reason::UpstreamProtocolError,
        ),
    ];
    let server = ScriptedProvider::start().await;
    let impatient = Options { first_byte_timeout: SHORT, idle_timeout: SHORT, ..options(&server.base_url()) };
    let provider = Provider::new(impatient).expect("right");
    for (name, reply, reached, reason) in rows {
        server.reply(reply.header("x-ratelimit-remaining-requests", "5").header("retry-after", "9"));
        let fault = fault(&provider, true).await;
        assert_eq!((fault.class, fault.failure.reason), (FaultClass::Transient, reason), "{name}");
        let answered = reached == Reached::Answered;
        assert_eq!((fault.reached, fault.quota.remaining_requests.is_some()), (reached, answered), "{name}");
        assert_eq!(fault.retry_after_ms, None, "{name}: a head that says success asks for no wait");
    }
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("loopback").local_addr().expect("an address");
    let fault = fault(&self::provider(&format!("http://{closed}")), true).await;
    assert_eq!((fault.class, fault.reached), (FaultClass::Transient, Reached::NotSent));
}

#[tokio::test]
async fn a_whole_answer_has_its_own_time() {
    let server = ScriptedProvider::start().await;
    let mut silent = Reply::text("never");
    let _closed = silent.gate();
    server.on_every(silent);
    let options = Options { whole_answer_timeout: SHORT, ..options(&server.base_url()) };
    let fault = fault(&Provider::new(options).expect("right"), false).await;
    assert_eq!(fault.failure.message, "mistral sent no answer for 60 ms");
    assert_eq!(fault.class, FaultClass::Transient);
}

#[tokio::test]
async fn what_another_try_can_t_change_is_permanent() {
    let server = ScriptedProvider::start().await;
    let keyless = Options { key: KeySource::None, ..options(&server.base_url()) };
    let fault = fault(&Provider::new(keyless).expect("right"), true).await;
    assert_eq!((fault.class, fault.reached), (FaultClass::Permanent, Reached::NotSent), "{fault:?}");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn the_quota_is_read_of_answers_and_refusals() {
    let server = ScriptedProvider::start().await;
    let quota = |reply: Reply| {
        reply.header("x-ratelimit-limit-req-minute", "60").header("x-ratelimit-remaining-tokens-minute", "9000")
    };
    let expected = Quota { limit_requests: Some(60), remaining_tokens: Some(9000), ..Quota::default() };
    let provider = provider(&server.base_url());
    let settings = settings();
    let transcript = provider.encode(&history([user("Hello")])).expect("taken");
    server.reply(quota(Reply::text("yes")));
    let completion = provider.complete(request(&settings, &transcript)).await.expect("an answer");
    assert_eq!(completion.quota(), expected);
    for status in [400, 429, 500] {
        server.reply(quota(refusal(status)));
        assert_eq!(fault(&provider, true).await.quota, expected, "{status}");
    }
}
