//! Nothing of it is there unless it is switched on, each part by itself.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{get, sse::refused};
use crate::support::{
    events::{events_of, run, soon},
    http::client,
    provider::Reply,
    server::{TestServer, start},
};

#[tokio::test]
async fn http_1_is_refused_by_default() {
    let server = TestServer::start().await;
    let mut socket = tokio::net::TcpStream::connect(server.address()).await.expect("connected");
    socket.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("written");
    let mut answer = Vec::new();
    // A reset closes as well as an end does.
    let _ = soon(socket.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
    assert!(client().get(format!("http://{}/", server.address())).send().await.is_err());
    server.stop().await;
}

/// A closed door changes nothing for HTTP/2 either: what is no gRPC call is answered as gRPC answers it.
#[tokio::test]
async fn over_http_2_there_is_nothing_by_default() {
    let server = TestServer::start().await;
    let socket = tokio::net::TcpStream::connect(server.address()).await.expect("connected");
    let (mut requests, connection) = h2::client::handshake(socket).await.expect("a handshake");
    let connection = tokio::spawn(connection);
    for path in ["/", "/v1/conversations"] {
        let request = http::Request::get(format!("http://localhost{path}")).body(()).expect("a request");
        let (response, _) = requests.send_request(request, true).expect("sent");
        let response = soon(response).await.expect("an answer");
        assert_eq!(response.headers()["grpc-status"], "12", "{path}");
    }
    drop(requests);
    let _ = soon(connection).await;
    server.stop().await;
}

#[tokio::test]
async fn each_part_is_switched_on_by_itself() {
    let parts = [("http.events", [404, 200, 404]), ("http.page", [200, 200, 404]), ("http.grpc_web", [404, 404, 200])];
    for (part, [page, reads, grpc_web]) in parts {
        let server = TestServer::with(&[(part, "true")]).await;
        server.provider.reply(Reply::text("one"));
        let turn = events_of(&server.client().await, run(start("Hello"))).await;
        assert_eq!(get(&server, "/", &[]).await.status, page, "{part}");
        for path in ["/v1/conversations".to_owned(), super::sse::path(turn.turn_id())] {
            assert_eq!(get(&server, &path, &[]).await.status, reads, "{part} {path}");
        }
        let call = client().post(format!("http://{}/causerie.v1.ConversationService/Start", server.address()));
        let call = call.header("content-type", "application/grpc-web+proto").body(vec![0; 5]);
        assert_eq!(call.send().await.expect("an answer").status().as_u16(), grpc_web, "{part}");
        server.stop().await;
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_so() {
    let server = super::open().await;
    for path in ["/index.html", "/v1", "/v1/", "/v1/turns/x/y", "/v2/turns", "/page.css/", "//"] {
        let (status, reason, error) = refused(&server, path, &[]).await;
        assert_eq!((status, reason.as_str()), (404, "UNKNOWN_METHOD"), "{error}");
    }
    let post = client().post(format!("http://{}/v1/conversations", server.address())).send().await.expect("an answer");
    assert_eq!(post.status().as_u16(), 404);
    server.stop().await;
}

/// A page can send what looks like a gRPC call over HTTP/1.1, to a server that takes it for its own.
#[tokio::test]
async fn grpc_proper_is_not_spoken_over_http_1() {
    let server = super::open().await;
    for content_type in ["application/grpc", "application/grpc+proto"] {
        let call =
            client().post(format!("http://{}/causerie.v1.ConversationService/ListConversations", server.address()));
        let call = call.header("content-type", content_type).header("te", "trailers").body(vec![0; 5]);
        assert_eq!(call.send().await.expect("an answer").status().as_u16(), 404, "{content_type}");
    }
    server.stop().await;
}
