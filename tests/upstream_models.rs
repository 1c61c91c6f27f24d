//! What a provider says of its models, and the check of a provider.

use std::time::Duration;

use causerie::{
    domain::Reason,
    offline::{MODELS, Offline},
    upstream::{Catalogue, FaultClass, KeySource, KeyState, Options, Provider, Providers, Secret},
};
use serde_json::json;
use tokio::{net::TcpListener, time::Instant};

use crate::support::{
    provider::{Reply, ScriptedProvider},
    upstream::{options, provider},
};

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn list(ids: &[&str]) -> Reply {
    let data: Vec<_> = ids.iter().map(|id| json!({"id": id, "max_model_len": 4096, "aliases": ["same"]})).collect();
    Reply::json(200, &json!({"object": "list", "data": data}))
}

#[tokio::test]
async fn the_stand_in_lists_its_models_and_is_well() {
    let offline = Offline::start().await.expect("a free port");
    let provider = provider(&offline.base_url());
    let cards = provider.models(soon()).await.expect("a list");
    assert_eq!(cards.iter().map(|card| card.id.as_str()).collect::<Vec<_>>(), MODELS);
    // What it says is what the built-in table says: a turn is cut to one window, whoever was asked for it.
    for card in &cards {
        let known = Catalogue::default().card("offline", &card.id);
        assert_eq!((card.context_tokens.is_some(), card.context_tokens), (true, known.context_tokens), "{}", card.id);
    }
    assert!(cards[0].capabilities.iter().any(|name| name == "function_calling"), "{cards:?}");

    let check = provider.check(soon()).await;
    assert_eq!((check.reachable, check.status, check.key), (true, Some(200), KeyState::Accepted));
    assert_eq!((check.models, &check.failure), (Some(MODELS.len()), &None));
    let skew_ms = check.clock_skew_ms.expect("the stand-in sends a date");
    assert!(skew_ms.abs() < 2000 + i64::try_from(check.round_trip.as_millis()).expect("short"), "{check:?}");
}

#[tokio::test]
async fn the_list_is_asked_for_beside_chat_completions() {
    let server = ScriptedProvider::start().await;
    server.on_every(list(&["a"]));
    for (ending, path) in [("", "/v1/models"), ("/openai/deployments/d/chat/completions?v=1", "/openai/models?v=1")] {
        provider(&(server.base_url() + ending)).models(soon()).await.expect("a list");
        let captured = server.next_request().await;
        assert_eq!((captured.method.as_str(), captured.path.as_str()), ("GET", path));
        assert_eq!(captured.header("authorization"), Some("Bearer sk-of-the-test"));
        assert!(captured.raw.is_empty() && captured.header("content-type").is_none());
    }
}

#[tokio::test]
async fn lists_that_can_t_be_had_say_why() {
    use FaultClass::{Permanent, RateLimited, Transient};
    let long = format!("{{\"data\":[\"{}\"]}}", "x".repeat(4 << 20));
    let rows = [
        (Reply::json(401, &json!({"detail": "Unauthorized"})), Reason::InvalidApiKey, Permanent, "refused the API key"),
        (Reply::json(404, &json!({"detail": "Not Found"})), Reason::UpstreamProtocolError, Permanent, "does not list"),
        (Reply::plain(405, "text/html", ""), Reason::UpstreamProtocolError, Permanent, "does not list its models"),
        (Reply::json(429, &json!({})), Reason::RateLimitExceeded, RateLimited, "rate limit"),
        (Reply::json(503, &json!({})), Reason::ServiceUnavailable, Transient, "HTTP 503"),
        (Reply::plain(200, "text/html", "<html>"), Reason::UpstreamProtocolError, Transient, "it is no list of models"),
        (Reply::plain(200, "application/json", &long), Reason::UpstreamProtocolError, Transient, "longer than 4194304"),
        (Reply::json(200, &json!({"data": []})).cut_after(0), Reason::UpstreamProtocolError, Transient, "cut off"),
        (Reply::hang_up(), Reason::UpstreamProtocolError, Transient, "broke before there was one"),
    ];
    let server = ScriptedProvider::start().await;
    let provider = provider(&server.base_url());
    for (reply, reason, class, told) in rows {
        server.reply(reply);
        let fault = provider.models(soon()).await.expect_err(told);
        assert_eq!((fault.failure.reason, fault.class), (reason, class), "{fault:?}");
        assert!(fault.failure.message.contains(told), "{}", fault.failure.message);
    }
    let mut silent = list(&["a"]);
    let _closed = silent.gate();
    server.on_every(silent);
    let fault = provider.models(Instant::now() + Duration::from_millis(60)).await.expect_err("silence");
    assert_eq!((fault.failure.reason, fault.class), (Reason::Timeout, Permanent));
}

#[tokio::test]
async fn a_check_tells_what_is_wrong() {
    let (value, none) = (KeySource::Value(Secret::new("sk")), KeySource::None);
    let refused = || Reply::json(401, &json!({}));
    let dated = |reply: Reply| reply.header("date", "Sat, 21 Nov 2020 08:00:00 GMT");
    let rows = [
        (value.clone(), dated(list(&["a", "b"])), KeyState::Accepted, Some(2), None),
        (KeySource::NotNeeded, dated(list(&[])), KeyState::NotNeeded, Some(0), None),
        (value.clone(), dated(refused()), KeyState::Refused, None, Some(Reason::InvalidApiKey)),
        (none, dated(refused()), KeyState::Missing, None, Some(Reason::ApiKeyMissing)),
        (
            value.clone(),
            dated(Reply::json(404, &json!({}))),
            KeyState::Unknown,
            None,
            Some(Reason::UpstreamProtocolError),
        ),
        (value.clone(), dated(Reply::json(500, &json!({}))), KeyState::Unknown, None, Some(Reason::ServiceUnavailable)),
    ];
    let server = ScriptedProvider::start().await;
    for (key, reply, state, models, reason) in rows {
        let name = format!("{reply:?}");
        let sends_key = matches!(key, KeySource::Value(_));
        server.reply(reply);
        let provider = Provider::new(Options { key, ..options(&server.base_url()) }).expect("right");
        let check = provider.check(soon()).await;
        assert!(check.reachable && check.status.is_some(), "{name}");
        assert_eq!((check.key, check.models), (state, models), "{name}");
        assert_eq!(check.failure.map(|failure| failure.reason), reason, "{name}");
        assert!(check.clock_skew_ms.is_some_and(|ms| ms < -1_000_000), "{name}: {:?}", check.clock_skew_ms);
        assert_eq!(server.next_request().await.header("authorization").is_some(), sends_key, "{name}");
    }
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("loopback").local_addr().expect("an address");
    let check = provider(&format!("http://{closed}")).check(soon()).await;
    assert_eq!((check.reachable, check.status, check.key), (false, None, KeyState::Unknown));
    assert_eq!((check.clock_skew_ms, check.models), (None, None));
    assert_eq!(check.failure.map(|failure| failure.reason), Some(Reason::ServiceUnavailable));
}

#[tokio::test]
async fn lists_are_kept_and_asked_for_once_by_all() {
    let server = ScriptedProvider::start().await;
    server.reply(list(&["a", "b"]));
    let providers = Providers::new("mistral", vec![provider(&server.base_url())]).expect("right");
    let mistral = providers.default();
    assert!(providers.known_card(mistral, "a").is_none(), "nobody asked yet");
    let asked = (0..20).map(|_| providers.cards(mistral, soon()));
    for cards in futures_util::future::join_all(asked).await {
        assert_eq!(cards.expect("a list").len(), 2);
    }
    assert_eq!(server.requests().len(), 1);
    let known = |name: &str| providers.known_card(mistral, name).map(|card| card.id.clone());
    assert_eq!(["a", "b", "same", "c"].map(known), [Some("a".into()), Some("b".into()), Some("a".into()), None]);

    // Time passes only for the age of the list: the request itself has no timer that is near.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(599)).await;
    assert_eq!(providers.cards(mistral, soon()).await.expect("the kept list").len(), 2);
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::resume();
    server.reply(list(&["c"]));
    assert_eq!(providers.cards(mistral, soon()).await.expect("a new list").len(), 1);
    assert!(providers.known_card(mistral, "c").is_some() && providers.known_card(mistral, "a").is_none());
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_failure_is_told_to_all_who_waited_and_then_forgotten() {
    let server = ScriptedProvider::start().await;
    server.reply(Reply::json(500, &json!({})));
    let providers = Providers::new("mistral", vec![provider(&server.base_url())]).expect("right");
    let mistral = providers.default();
    let asked = (0..20).map(|_| providers.cards(mistral, soon()));
    for cards in futures_util::future::join_all(asked).await {
        assert_eq!(cards.expect_err("it failed").reason, Reason::ServiceUnavailable);
    }
    assert_eq!(server.requests().len(), 1);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(5)).await;
    tokio::time::resume();
    server.reply(list(&["a"]));
    assert_eq!(providers.cards(mistral, soon()).await.expect("a list").len(), 1);
}

#[tokio::test]
async fn who_has_no_time_takes_none_from_others() {
    let server = ScriptedProvider::start().await;
    let mut silent = list(&["a"]);
    let gate = silent.gate();
    server.reply(silent);
    server.reply(list(&["a"]));
    let providers = Providers::new("mistral", vec![provider(&server.base_url())]).expect("right");
    let hasty = providers.cards(providers.default(), Instant::now() + Duration::from_millis(60)).await;
    assert_eq!(hasty.expect_err("too late").reason, Reason::Timeout);
    assert_eq!(providers.cards(providers.default(), soon()).await.expect("a list").len(), 1);
    gate.open();
}
