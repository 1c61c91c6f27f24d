//! Callbacks: the end of a turn is told to the URL that came with its request.

use std::time::Duration;

use tempfile::NamedTempFile;

use super::*;
use crate::support::{
    status::{fields_of, reason_of},
    time::pass,
};

const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

/// A file with the secret of callbacks.
fn secret() -> NamedTempFile {
    let file = NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("{SECRET}\n")).expect("a writable file");
    file
}

async fn server_with_secret(secret: &NamedTempFile, settings: &[(&str, &str)]) -> TestServer {
    let path = secret.path().display().to_string();
    let settings: Vec<(&str, &str)> =
        settings.iter().copied().chain([("webhooks.callback_secret_file", path.as_str())]).collect();
    server_with(&settings).await
}

fn with_callback(url: String) -> proto::StartRequest {
    proto::StartRequest { callback_url: url, ..start("hello") }
}

fn assert_signed(request: &Captured) {
    let headers = request.headers.iter().map(|(name, value)| {
        let name: http::HeaderName = name.parse().expect("a header");
        (name, value.parse().expect("a value"))
    });
    let verifier = standardwebhooks::Webhook::new(SECRET).expect("a secret");
    verifier.verify(&request.raw, &headers.collect()).expect("its signature");
}

#[tokio::test]
async fn the_end_of_a_turn_is_told_to_its_callback_and_to_nobody_elses() {
    let (secret, one, other) = (secret(), receiver().await, receiver().await);
    let server = server_with_secret(&secret, &AT_ONCE).await;
    let mut client = server.client().await;
    one.reply(no());
    one.reply(Reply::plain(302, "text/plain", "").header("location", &other.base_url()));
    let turn = client.start(with_callback(one.base_url())).await.expect("an answer").into_inner();
    begin(&mut client).await;
    for _ in 0..3 {
        let request = one.next_request().await;
        assert_eq!((turn_of(&request), request.json["type"].as_str()), (turn.id.as_str(), Some("turn.completed")));
        assert_signed(&request);
    }
    server.provider.reply(Reply::json(400, &serde_json::json!({"message": "no"})));
    client.start(with_callback(other.base_url())).await.expect_err("it fails");
    assert_eq!(other.next_request().await.json["type"], "turn.failed");
    assert_one_id_each(&one.requests());
    assert_eq!((one.requests().len(), other.requests().len()), (3, 1));
    server.stop().await;
}

#[tokio::test]
async fn a_callback_survives_restarts_and_a_url_that_fails_holds_up_no_other() {
    let (secret, gone, well) = (secret(), receiver().await, receiver().await);
    let settings = [("webhooks.backoff_base", "1h"), ("webhooks.backoff_max", "1h")];
    let mut server = server_with_secret(&secret, &settings).await;
    gone.on_every(no());
    let turn = server.client().await.start(with_callback(gone.base_url())).await.expect("an answer").into_inner();
    gone.next_request().await;
    server.client().await.start(with_callback(well.base_url())).await.expect("an answer");
    well.next_request().await;
    for _ in 0..2 {
        server.restart().await;
        gone.on_every(taken());
        // Callbacks are told again when another one has come.
        server.client().await.start(with_callback(well.base_url())).await.expect("an answer");
        well.next_request().await;
        pass(Duration::from_secs(3600)).await;
        if gone.requests().len() == 1 {
            assert_eq!(turn_of(&gone.next_request().await), turn.id);
        }
    }
    assert_one_id_each(&gone.requests());
    assert_eq!((gone.requests().len(), well.requests().len()), (2, 3), "what was taken is not sent again");
    server.stop().await;
}

#[tokio::test]
async fn a_callback_that_fails_for_too_long_is_given_up() {
    let (secret, receiver) = (secret(), receiver().await);
    let settings = [("webhooks.backoff_base", "1m"), ("webhooks.backoff_max", "1m"), ("webhooks.give_up_after", "10m")];
    let server = server_with_secret(&secret, &settings).await;
    let mut client = server.client().await;
    receiver.on_every(no());
    client.start(with_callback(receiver.base_url())).await.expect("an answer");
    receiver.next_request().await;
    // The last attempt is made when the time is over.
    pass(Duration::from_secs(600)).await;
    receiver.next_request().await;
    receiver.on_every(taken());
    let last = client.start(with_callback(receiver.base_url())).await.expect("an answer").into_inner();
    pass(Duration::from_secs(600)).await;
    assert_eq!(turn_of(&receiver.next_request().await), last.id);
    server.stop().await;
}

#[tokio::test]
async fn a_callback_that_could_not_be_told_is_refused() {
    let server = server().await;
    let url = || "https://example.com/".to_owned();
    let status = server.client().await.start(with_callback(url())).await.expect_err("there is no secret");
    assert_eq!((reason_of(&status).as_str(), fields_of(&status)), ("INVALID_REQUEST", vec!["callback_url".to_owned()]));
    assert!(status.message().contains("webhooks.callback_secret_env"), "{}", status.message());
    server.stop().await;

    let server = server_with(&[("webhooks.callback_secret_env", "NOBODY_HAS_SET_THIS")]).await;
    let status = server.client().await.start(with_callback(url())).await.expect_err("there is no secret");
    assert!(status.message().contains("set the environment variable NOBODY_HAS_SET_THIS"), "{}", status.message());
    server.stop().await;

    let secret = secret();
    let server = server_with_secret(&secret, &AT_ONCE).await;
    let status = server.client().await.start(with_callback("http://10.0.0.1/".into())).await.expect_err("inside");
    assert_eq!(fields_of(&status), ["callback_url"]);
    assert_eq!(server.provider.requests().len(), 0);
    server.stop().await;
}
