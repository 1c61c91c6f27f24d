//! Which key a provider is sent, and how; and the operator's own headers.

use std::{fs, time::Duration};

use causerie::{
    domain::{Failure, Reason},
    upstream::{KeyHeader, KeySource, Options, Provider, Request, Secret},
};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{
    history::{history, user},
    provider::{Captured, Reply, ScriptedProvider},
    upstream::{options, provider, read, request, settings},
};

/// Calls the model once; with the caller's own key, if there is one.
async fn call(provider: &Provider, own: Option<&str>) -> Result<(), Failure> {
    let settings = settings();
    let transcript = provider.encode(&history([user("Hello")])).expect("taken");
    let own = own.map(Secret::new);
    let request = Request { key: own.as_ref(), ..request(&settings, &transcript) };
    provider.complete(request).await.map(drop).map_err(|fault| fault.failure)
}

/// What keys a request carries: `authorization` and `api-key`.
fn keys(captured: &Captured) -> (Option<&str>, Option<&str>) {
    (captured.header("authorization"), captured.header("api-key"))
}

#[tokio::test]
async fn each_source_and_header_sends_its_key() {
    let value = || KeySource::Value(Secret::new("sk-configured"));
    let command = || KeySource::Command(Secret::new("echo sk-printed"));
    let (bearer, azure) = (KeyHeader::Bearer, KeyHeader::ApiKey);
    let rows = [
        (value(), bearer, None, (Some("Bearer sk-configured"), None)),
        (value(), azure, None, (None, Some("sk-configured"))),
        (command(), bearer, None, (Some("Bearer sk-printed"), None)),
        (KeySource::NotNeeded, bearer, None, (None, None)),
        (value(), bearer, Some("sk-own"), (Some("Bearer sk-own"), None)),
        (value(), azure, Some("sk-own"), (None, Some("sk-own"))),
        (KeySource::None, bearer, Some(" sk-own "), (Some("Bearer sk-own"), None)),
        (KeySource::NotNeeded, bearer, Some("sk-own"), (Some("Bearer sk-own"), None)),
        (KeySource::Command(Secret::new("false")), bearer, Some("sk-own"), (Some("Bearer sk-own"), None)),
    ];
    let server = ScriptedProvider::start().await;
    server.on_every(Reply::text("yes"));
    for (key, key_header, own, expected) in rows {
        let name = format!("{key:?} {key_header:?} {own:?}");
        let options = Options { key, key_header, ..options(&server.base_url()) };
        call(&Provider::new(options).expect("right"), own).await.expect("an answer");
        assert_eq!(keys(&server.next_request().await), expected, "{name}");
    }
}

#[tokio::test]
async fn a_key_of_the_caller_s_that_can_t_be_one_is_the_caller_s_mistake() {
    let server = ScriptedProvider::start().await;
    for own in ["", " ", "sk\nhidden", "sk\u{0}hidden", "sk hidden"] {
        let failure = call(&provider(&server.base_url()), Some(own)).await.expect_err(own);
        assert_eq!(failure.reason, Reason::InvalidRequest);
        assert_eq!(failure.violations[0].field, "x-provider-api-key");
        assert!(!format!("{failure:?}").contains("hidden"), "{failure:?}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_refused_key_is_named_by_where_it_came_from() {
    let server = ScriptedProvider::start().await;
    server.on_every(Reply::json(401, &json!({"detail": "Unauthorized"})));
    let provider = provider(&server.base_url());
    let keyless = Options { key: KeySource::NotNeeded, ..options(&server.base_url()) };
    let keyless = Provider::new(keyless).expect("right");
    for (provider, own, told) in [
        (&provider, None, "refused the API key; put a valid one into MISTRAL_API_KEY or providers.mistral.key_file"),
        (&provider, Some("sk-own-key"), "refused the API key in x-provider-api-key"),
        (&keyless, None, "wants an API key, and none is sent to it"),
    ] {
        let failure = call(provider, own).await.expect_err("refused");
        assert_eq!(failure.reason, Reason::InvalidApiKey);
        assert!(failure.message.contains(told), "{}", failure.message);
    }
}

#[tokio::test]
async fn what_the_provider_quotes_of_keys_and_headers_is_hidden() {
    let server = ScriptedProvider::start().await;
    let quoted = "you sent sk-own-secret and org-secret-value and sk-configured";
    server.on_every(Reply::json(400, &json!({"message": quoted})));
    for key_header in [KeyHeader::Bearer, KeyHeader::ApiKey] {
        let headers = vec![("x-organization".to_owned(), Secret::new("org-secret-value"))];
        let options = Options { headers, key_header, ..options(&server.base_url()) };
        let failure = call(&Provider::new(options).expect("right"), Some("sk-own-secret")).await.expect_err("refused");
        assert!(failure.message.ends_with("you sent [key] and [hidden] and sk-configured"), "{}", failure.message);
    }
}

#[tokio::test]
async fn what_an_answer_quotes_that_began_with_success_is_hidden_too() {
    let server = ScriptedProvider::start().await;
    let provider = Provider::new(Options {
        key: KeySource::Value(Secret::new("sk-configured")),
        headers: vec![("x-organization".to_owned(), Secret::new("org-secret-value"))],
        ..options(&server.base_url())
    });
    let provider = provider.expect("right");
    let settings = settings();
    let transcript = provider.encode(&history([user("Hello")])).expect("taken");
    let own = Secret::new("sk-own-secret");
    let no_list = || Reply::plain(200, "application/json", "7");
    for (key, shown) in [(None, "sk-configured"), (Some(&own), "sk-own-secret")] {
        let error = json!({"error": {"message": shown, "type": "org-secret-value", "code": shown}});
        let text = json!({"choices": [{"delta": {"content": "half"}}]});
        let long = format!("text/{}{shown}", "x".repeat(90));
        let replies = [
            (Reply::json(200, &json!({"object": "error", "code": shown})), "(code [key])"),
            (Reply::sse(&[text, error]), "(type [hidden], code [key])"),
            (Reply::plain(200, &format!("text/{shown}"), ""), r#"its content type is "text/[key]","#),
            // It is cut in the middle of the key.
            (Reply::plain(200, &long, ""), r#"x[key]","#),
            (no_list().header("mistral-correlation-id", &format!("for-{shown}")), "JSON of another shape"),
        ];
        for (reply, told) in replies {
            server.reply(reply);
            let failure = match provider.complete(Request { key, ..request(&settings, &transcript) }).await {
                Ok(completion) => read(completion).await.1.expect("it fails").failure,
                Err(fault) => fault.failure,
            };
            assert!(failure.message.contains(told), "{}", failure.message);
            assert!(!format!("{failure:?}").contains(&shown[3..]), "{failure:?}");
        }
    }
    // Nor where models are listed.
    server.reply(no_list().header("mistral-correlation-id", "for-sk-configured"));
    let failure = provider.models(Instant::now() + Duration::from_secs(10)).await.expect_err("no list").failure;
    assert!(failure.metadata.contains(&("correlation_id".into(), "for-[key]".to_owned())), "{failure:?}");
}

#[tokio::test]
async fn a_command_is_run_again_after_a_refused_key() {
    let server = ScriptedProvider::start().await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    let line = format!("cat '{}'", file.path().display());
    let key = KeySource::Command(Secret::new(line));
    let provider = Provider::new(Options { key, ..options(&server.base_url()) }).expect("right");
    let rows = [("sk-1", 200, "sk-1"), ("sk-2", 200, "sk-1"), ("sk-1", 401, "sk-1"), ("sk-1", 200, "sk-1")];
    for (printed, status, sent) in rows {
        fs::write(file.path(), printed).expect("written");
        server.reply(if status == 200 { Reply::text("yes") } else { Reply::json(status, &json!({})) });
        assert_eq!(call(&provider, None).await.is_ok(), status == 200);
        assert_eq!(server.next_request().await.header("authorization"), Some(&*format!("Bearer {sent}")));
    }
    // Another one is sent at once, and may be refused too.
    for (printed, status) in [("sk-2", 200), ("sk-3", 401), ("sk-2", 200)] {
        fs::write(file.path(), printed).expect("written");
        server.reply(Reply::json(401, &json!({})));
        server.reply(if status == 200 { Reply::text("yes") } else { Reply::json(status, &json!({})) });
        assert_eq!(call(&provider, None).await.is_ok(), status == 200, "{printed}");
        server.next_request().await;
        assert_eq!(server.next_request().await.header("authorization"), Some(&*format!("Bearer {printed}")));
    }
    // A refused key of a caller's own says nothing of the command's.
    fs::write(file.path(), "sk-3").expect("written");
    server.reply(Reply::json(401, &json!({})));
    call(&provider, Some("sk-own")).await.expect_err("refused");
    server.reply(Reply::text("yes"));
    call(&provider, None).await.expect("an answer");
    assert_eq!(server.requests().last().expect("one").header("authorization"), Some("Bearer sk-2"));
}

#[tokio::test]
async fn a_command_that_fails_is_a_missing_key() {
    let server = ScriptedProvider::start().await;
    for (line, told) in [
        (
            "sh -c 'echo sk-hidden; exit 7'",
            "(providers.mistral.key_command, which runs \"sh\") failed (exit status: 7)",
        ),
        ("true sk-hidden", "printed no key in its first line"),
        ("/nonexistent/sk", "can't be run: entity not found"),
        (
            "echo sk-hidden | tr 1 2",
            "(providers.mistral.key_command, which runs \"echo\") must print the key and nothing else",
        ),
    ] {
        let key = KeySource::Command(Secret::new(line));
        let key_place = "providers.mistral.key_command".to_owned();
        let options = Options { key, key_place, ..options(&server.base_url()) };
        let provider = Provider::new(options).expect("it may work later");
        let failure = call(&provider, None).await.expect_err(line);
        assert_eq!(failure.reason, Reason::ApiKeyMissing);
        assert!(failure.message.contains(told) && !failure.message.contains("hidden"), "{}", failure.message);
    }
    assert_eq!(server.connections(), 0);
    let key = KeySource::Command(Secret::new("sh -c 'hidden"));
    let error = Provider::new(Options { key, ..options("http://127.0.0.1") }).expect_err("no command").to_string();
    assert!(error.contains("a quotation in it does not end") && !error.contains("hidden"), "{error}");
}

#[tokio::test]
async fn a_file_that_holds_more_than_a_key_is_a_missing_key() {
    let server = ScriptedProvider::start().await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    let (key, key_place) = (KeySource::File(file.path().to_owned()), "providers.mistral.key_file".to_owned());
    let provider = Provider::new(Options { key, key_place, ..options(&server.base_url()) }).expect("it may come later");
    for text in ["sk hidden", "sk\nhidden", "sk\thidden"] {
        fs::write(file.path(), text).expect("written");
        let failure = call(&provider, None).await.expect_err(text);
        assert_eq!(failure.reason, Reason::ApiKeyMissing);
        assert!(failure.message.contains("(providers.mistral.key_file) must be the key and nothing else"), "{failure}");
        assert!(!failure.message.contains("hidden"), "{failure}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn the_operator_s_headers_go_with_every_request() {
    let server = ScriptedProvider::start().await;
    server.reply(Reply::text("yes"));
    server.reply(Reply::json(200, &json!({"data": []})));
    let headers = [("X-Organization", "org"), ("user-agent", "mine")];
    let headers = headers.map(|(name, value)| (name.to_owned(), Secret::new(value))).into();
    let provider = Provider::new(Options { headers, ..options(&server.base_url()) }).expect("right");
    call(&provider, None).await.expect("an answer");
    provider.check(Instant::now() + Duration::from_secs(10)).await;
    for _ in 0..2 {
        let captured = server.next_request().await;
        assert_eq!((captured.header("x-organization"), captured.header("user-agent")), (Some("org"), Some("mine")));
    }
}

#[test]
fn headers_that_can_t_be_sent_are_refused() {
    for (name, value, told) in [
        ("x y: hidden", "v", "extra header \"x\" is no name"),
        ("", "v", "extra header \"\" is no name"),
        ("x-team", "hid\nhidden", "extra header \"x-team\" has a value"),
        ("Authorization", "hidden", "extra header \"Authorization\" is set by the service"),
        ("content-length", "7", "is set by the service"),
    ] {
        let headers = vec![(name.to_owned(), Secret::new(value))];
        let error = Provider::new(Options { headers, ..options("http://127.0.0.1") }).expect_err(name).to_string();
        assert!(error.starts_with("mistral's ") && error.contains(told), "{error}");
        assert!(!error.contains("hidden"), "{error}");
    }
}
