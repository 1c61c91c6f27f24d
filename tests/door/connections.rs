//! HTTP/1.1 connections: what they may cost, and how they end.

use causerie::config::Config;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{get, open, open_with};
use crate::support::{events::soon, server::TestServer};

async fn said(server: &TestServer, text: &str) -> TcpStream {
    let mut socket = TcpStream::connect(server.address()).await.expect("connected");
    socket.write_all(text.as_bytes()).await.expect("written");
    socket
}

/// Everything until the server closes.
async fn closed(mut socket: TcpStream) -> String {
    let mut heard = Vec::new();
    // A reset closes as well as an end does.
    let _ = soon(socket.read_to_end(&mut heard)).await;
    String::from_utf8_lossy(&heard).into_owned()
}

#[tokio::test]
async fn both_protocols_share_the_port_and_keep_their_connections() {
    let server = open().await;
    let mut socket = said(&server, "").await;
    for _ in 0..3 {
        socket.write_all(b"GET /v1/conversations HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("written");
        let mut answer = vec![0; 4096];
        let count = soon(socket.read(&mut answer)).await.expect("an answer");
        assert!(answer[..count].starts_with(b"HTTP/1.1 200 OK"));
    }
    let two = TcpStream::connect(server.address()).await.expect("connected");
    let (mut requests, two) = h2::client::handshake(two).await.expect("a handshake");
    let two = tokio::spawn(two);
    let request = http::Request::get("http://localhost/v1/conversations").body(()).expect("a request");
    let (answer, _) = requests.send_request(request, true).expect("sent");
    assert_eq!(soon(answer).await.expect("an answer").status().as_u16(), 200);
    // An idle connection holds up no shutdown.
    server.stop().await;
    assert_eq!(closed(socket).await, "");
    let _ = soon(two).await;
}

#[tokio::test]
async fn connections_are_limited_for_both() {
    let server = open_with(&[("limits.max_connections", "1")]).await;
    let mut first = said(&server, "GET /v1/conversations HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let mut answer = vec![0; 4096];
    assert!(soon(first.read(&mut answer)).await.expect("an answer") > 0);
    assert_eq!(closed(said(&server, "").await).await, "");
    drop(first);
    server.stop().await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let server = open().await;
    let large = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-Large: {}\r\n\r\n", "x".repeat(20 * 1024));
    let answer = closed(said(&server, &large).await).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(get(&server, "/v1/conversations", &[]).await.status, 200);
    server.stop().await;
}

/// By default HTTP is no part of what the service speaks.
#[test]
fn the_door_is_shut_by_default() {
    let http = Config::default().http;
    assert_eq!(http, causerie::config::Http::default());
}
