//! Which pages may ask: the service's own and those that are allowed, under names that are known.

use reqwest::Method;
use serde_json::json;

use super::{get, open, open_with, sse::refused};
use crate::support::{
    events::{events_of, run},
    http::{Answer, client, read},
    log::Log,
    provider::Reply,
    server::{TestServer, start},
};

async fn preflight(server: &TestServer, path: &str, origin: &str, method: &str) -> Answer {
    let request = client().request(Method::OPTIONS, format!("http://{}{path}", server.address()));
    let request = request.header("origin", origin).header("access-control-request-method", method);
    let request = request.header("access-control-request-headers", "content-type,x-grpc-web,last-event-id");
    read(request.send().await.expect("an answer")).await
}

const START: &str = "/causerie.v1.ConversationService/Start";
const APP: &str = "https://app.example.com";

#[tokio::test]
async fn pages_of_allowed_origins_may_read_and_call() {
    let server = open_with(&[("http.cors_origins", "https://app.example.com,http://localhost:3000")]).await;
    for (path, method) in [(START, "POST"), ("/v1/conversations", "GET")] {
        for origin in [APP, "http://localhost:3000"] {
            let allowed = preflight(&server, path, origin, method).await;
            assert_eq!(allowed.status, 200);
            assert_eq!(allowed.headers["access-control-allow-origin"], origin);
            let sent = allowed.headers["access-control-allow-headers"].to_str().expect("text").to_owned();
            for name in ["content-type", "x-grpc-web", "grpc-timeout", "last-event-id", "x-provider-api-key"] {
                assert!(sent.split(',').any(|sent| sent == name), "{name} is not in {sent}");
            }
        }
        let refused = preflight(&server, path, "https://evil.example", method).await;
        assert!(!refused.headers.contains_key("access-control-allow-origin"));
    }
    let read = get(&server, "/v1/conversations", &[("origin", APP)]).await;
    assert_eq!((read.status, &read.headers["access-control-allow-origin"]), (200, &APP.parse().expect("a value")));
    let seen = read.headers["access-control-expose-headers"].to_str().expect("text").to_owned();
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-retry-pushback-ms", "x-request-id"] {
        assert!(seen.split(',').any(|seen| seen == name), "{name} is not in {seen}");
    }
    assert!(!read.headers.contains_key("access-control-allow-credentials"));
    // What went wrong may be read, too.
    let missing = get(&server, "/v1/turns/turn_1", &[("origin", APP)]).await;
    assert_eq!(
        (missing.status, &missing.headers["access-control-allow-origin"]),
        (400, &APP.parse().expect("a value"))
    );
    server.stop().await;
}

#[tokio::test]
async fn pages_of_other_origins_get_nothing() {
    let log = Log::listen();
    let server = open().await;
    server.provider.reply(Reply::text("secret"));
    let turn = events_of(&server.client().await, run(start("Hello"))).await;
    let events = super::sse::path(turn.turn_id());
    for path in ["/v1/conversations", "/", &events] {
        let headers = [("origin", "https://evil.example"), ("x-request-id", "door-evil")];
        let (status, reason, error) = refused(&server, path, &headers).await;
        assert_eq!((status, reason.as_str()), (403, "PERMISSION_DENIED"));
        assert!(error["message"].as_str().expect("text").contains("http.cors_origins"), "{error}");
        let loads = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "script")];
        assert_eq!(refused(&server, path, &loads).await.0, 403);
        // Its own page asks without an origin, or with its own.
        let own = format!("http://{}", server.address());
        assert_eq!(get(&server, path, &[("origin", &own), ("sec-fetch-site", "same-origin")]).await.status, 200);
        assert_eq!(get(&server, path, &[("sec-fetch-site", "same-origin")]).await.status, 200);
    }
    assert!(log.calls("door-evil").iter().all(|(_, _, code)| code == "PERMISSION_DENIED"));
    assert_eq!(log.calls("door-evil").len(), 3);
    server.stop().await;
}

/// DNS rebinding: to the browser the page and this server are one origin, since both have the page's name.
#[tokio::test]
async fn a_page_whose_name_was_pointed_here_gets_nothing() {
    let server = open_with(&[("http.hosts", "Chat.example.com")]).await;
    let (host, origin) = ("rebound.example:50051", "http://rebound.example:50051");
    for path in ["/", "/v1/conversations"] {
        let (status, reason, error) = refused(&server, path, &[("host", host), ("origin", origin)]).await;
        assert_eq!((status, reason.as_str()), (403, "PERMISSION_DENIED"));
        assert_eq!(error["code"], json!(7));
        assert!(error["message"].as_str().expect("text").contains("http.hosts"), "{error}");
        for known in ["localhost:9", "127.0.0.1", "[::1]:50051", "chat.example.com"] {
            assert_eq!(get(&server, path, &[("host", known)]).await.status, 200, "{known}");
        }
    }
    let call = client().post(format!("http://{}/causerie.v1.ConversationService/ListConversations", server.address()));
    let call = call.header("host", host).header("content-type", "application/grpc-web+proto").body(vec![0; 5]);
    let answer = read(call.send().await.expect("an answer")).await;
    assert_eq!((answer.headers["grpc-status"].to_str().expect("text"), answer.text.as_str()), ("7", ""));
    server.stop().await;
}

/// What is said of pages does not hold for callers that are none: gRPC over HTTP/2 has any authority.
#[tokio::test]
async fn grpc_callers_are_not_asked_for_names() {
    let server = open().await;
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", server.address())).expect("an address");
    let channel = endpoint.origin("http://dns-name.example".parse().expect("an origin")).connect_lazy();
    let mut client = crate::support::server::Client::new(channel);
    server.provider.reply(Reply::text("one"));
    client.start(start("Hello")).await.expect("an answer");
    server.stop().await;
}
