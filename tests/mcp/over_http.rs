//! A server at an address: what it is sent, and what follows when it does not know us any more.

use std::{
    collections::VecDeque,
    future::{Future, ready},
    pin::Pin,
    sync::{Arc, Mutex},
};

use causerie::tools::mcp::{McpServers, McpTransport, TokenSource};
use http::{HeaderMap, HeaderValue};

use super::{
    call, error,
    http_peer::{Lost, Peer},
    options, text,
};

/// Gives one token until it is refused, then the next.
#[derive(Debug)]
struct Tokens(Mutex<VecDeque<&'static str>>);

impl TokenSource for Tokens {
    fn token(&self) -> Pin<Box<dyn Future<Output = Result<HeaderValue, String>> + Send + '_>> {
        let token = self.0.lock().expect("no panic").front().copied();
        Box::pin(ready(token.map(HeaderValue::from_static).ok_or_else(|| "no token is left".to_owned())))
    }

    fn refused<'a>(&'a self, value: &'a HeaderValue) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        let mut tokens = self.0.lock().expect("no panic");
        if tokens.len() > 1 && tokens.front().is_some_and(|token| value == token) {
            tokens.pop_front();
        }
        Box::pin(ready(()))
    }
}

fn servers(peer: &Peer, tokens: &[&'static str]) -> McpServers {
    let headers = HeaderMap::from_iter([(http::HeaderName::from_static("x-tenant"), HeaderValue::from_static("t1"))]);
    let bearer: Option<Arc<dyn TokenSource>> = match tokens {
        [] => None,
        tokens => Some(Arc::new(Tokens(Mutex::new(tokens.iter().copied().collect())))),
    };
    McpServers::new(vec![options("peer", McpTransport::Http { url: peer.url.clone(), headers, bearer })])
}

#[tokio::test]
async fn headers_and_the_token_arrive() {
    let peer = Peer::start().await;
    peer.script().authorization = Some("Bearer good");
    let servers = servers(&peer, &["Bearer good"]);
    assert_eq!(text(&call(&servers, "peer", "echo", "{}").await), "first");
    let headers = peer.script().headers.clone();
    assert_eq!(headers["x-tenant"], "t1");
    assert_eq!(headers["authorization"], "Bearer good");
    assert_eq!(headers["mcp-session-id"], "first");
    assert!(headers["user-agent"].to_str().expect("text").starts_with("causerie/"));
    let seen = servers.inspect("peer").await.expect("it is configured");
    assert!(!format!("{seen:?} {servers:?}").contains("sk-visible"), "{seen:?}");
    let (info, tools) = seen.found.expect("it answers");
    assert_eq!(
        (info.name.as_str(), info.version.as_str(), info.protocol_version.as_str()),
        ("peer", "1", "2025-06-18")
    );
    assert_eq!(tools[0].spec.name, "peer_echo");
    servers.close().await;
}

#[tokio::test]
async fn a_refused_token_is_renewed_once() {
    let peer = Peer::start().await;
    peer.script().authorization = Some("Bearer second");
    let servers = servers(&peer, &["Bearer first", "Bearer second", "Bearer third"]);
    assert_eq!(text(&call(&servers, "peer", "echo", "{}").await), "first", "refused at the start");
    peer.script().authorization = Some("Bearer third");
    assert_eq!(text(&call(&servers, "peer", "echo", "{}").await), "first", "refused later");
    assert_eq!(peer.script().methods.iter().filter(|method| *method == "tools/call").count(), 2);
    peer.script().authorization = Some("Bearer fourth");
    let refused = call(&servers, "peer", "echo", "{}").await;
    assert_eq!(error(&refused), "the server `peer` refuses the bearer token, or wants one; nothing was called");
    servers.close().await;
}

#[tokio::test]
async fn a_lost_session_is_replaced_and_the_refused_call_made_in_it() {
    let peer = Peer::start().await;
    let servers = servers(&peer, &[]);
    for (lost, session) in [(Lost::NotFound, "second"), (Lost::BadRequest, "third")] {
        servers.tools("peer").await.expect("listed");
        {
            let mut script = peer.script();
            (script.lost, script.session) = (lost, session);
            script.methods.clear();
        }
        assert_eq!(text(&call(&servers, "peer", "echo", "{}").await), session);
        servers.tools("peer").await.expect("listed anew");
        let methods = peer.script().methods.clone();
        assert_eq!(methods, ["initialize", "notifications/initialized", "tools/call", "tools/list"], "{lost:?}");
    }
    servers.close().await;
}

#[tokio::test]
async fn a_call_that_failed_is_not_made_again() {
    let peer = Peer::start().await;
    let servers = servers(&peer, &[]);
    peer.script().fails_with = Some(503);
    assert_eq!(error(&call(&servers, "peer", "echo", "{}").await), "the server `peer` answers HTTP 503");
    assert_eq!(text(&call(&servers, "peer", "echo", "{}").await), "first", "the session goes on");
    let calls = peer.script().methods.iter().filter(|method| *method != "tools/list").count();
    assert_eq!(calls, 4, "two to begin with, two calls");
    servers.close().await;
}

#[tokio::test]
async fn one_that_is_gone_rests() {
    let peer = Peer::start().await;
    let servers = servers(&peer, &[]);
    servers.tools("peer").await.expect("listed");
    drop(peer);
    let outcome = call(&servers, "peer", "echo", "{}").await;
    assert!(error(&outcome).ends_with("while `echo` was called: what the call did is not known"), "{outcome:?}");
    let resting = servers.tools("peer").await.expect_err("it rests").to_string();
    assert!(resting.contains("is tried again in 3600 s at the earliest"), "{resting}");
    assert!(!resting.contains("sk-visible"), "{resting}");
    servers.close().await;
}

#[tokio::test]
async fn what_is_no_address_of_a_server_is_told() {
    let peer = Peer::start().await;
    let url = peer.url.replace("/mcp", "/elsewhere");
    let transport = McpTransport::Http { url, headers: HeaderMap::new(), bearer: None };
    let servers = McpServers::new(vec![options("peer", transport)]);
    let why = servers.tools("peer").await.expect_err("nobody is there").to_string();
    assert!(why.starts_with("the server `peer` answers HTTP 404; it is tried again in "), "{why}");
    servers.close().await;
}
