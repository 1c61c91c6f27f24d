//! HTTP/1.1, behind an open door: the same limits and ends as HTTP/2, by other means.

use causerie::grpc::{
    door::{self, Door},
    serve::Options,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::caller::{frame, soon};
use super::scripted::Event;
use super::server::{Server, millis};

async fn open(options: Options) -> Server {
    let door = Door::for_grpc_web(&door::Options::default());
    Server::with(Options { door: Some(door), ..options }).await
}

/// A gRPC-Web call; its connection stays open.
async fn call(server: &Server, method: &str, headers: &str) -> TcpStream {
    let body = frame("hello");
    let head = format!(
        "POST /test.Scripted/{method} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/grpc-web+proto\r\n\
         Content-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    let mut socket = said(server, head.as_bytes()).await;
    socket.write_all(&body).await.expect("written");
    socket
}

async fn said(server: &Server, bytes: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(server.address).await.expect("accepted");
    socket.write_all(bytes).await.expect("written");
    socket
}

/// Everything until the server closes.
async fn closed(mut socket: TcpStream) -> String {
    let mut heard = Vec::new();
    // A reset closes as well as an end does.
    let _ = soon(socket.read_to_end(&mut heard)).await;
    String::from_utf8_lossy(&heard).into_owned()
}

/// Reads until this was said.
async fn until(socket: &mut TcpStream, text: &str) -> String {
    let mut heard = String::new();
    while !heard.contains(text) {
        let mut some = [0; 1024];
        let count = soon(socket.read(&mut some)).await.expect("no reset");
        assert!(count > 0, "it ended before {text:?}: {heard}");
        heard.push_str(&String::from_utf8_lossy(&some[..count]));
    }
    heard
}

#[tokio::test]
async fn a_call_is_answered_and_its_connection_kept() {
    let server = open(Options::default()).await;
    let mut socket = call(&server, "Echo", "").await;
    until(&mut socket, "grpc-status:0").await;
    let refused = closed(call(&server, "FailInDetail", "Connection: close\r\n").await).await;
    assert!(refused.contains("\r\ngrpc-status: 10\r\n") && refused.contains("grpc-status-details-bin: "), "{refused}");
}

#[tokio::test]
async fn a_head_that_never_ends_is_not_waited_for() {
    let server = open(Options { preface_timeout: millis(50), ..Options::default() }).await;
    closed(said(&server, b"").await).await;
    closed(said(&server, b"GET").await).await;
    // Longer than HTTP/2's preface, which another timer waits for.
    closed(said(&server, b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: a").await).await;
    // Nor is a second request on an idle connection.
    let mut idle = call(&server, "Echo", "").await;
    until(&mut idle, "grpc-status:0").await;
    closed(idle).await;
}

#[tokio::test]
async fn a_body_that_never_ends_is_not_waited_for() {
    let server = open(Options { body_timeout: millis(50), ..Options::default() }).await;
    let head = "POST /test.Scripted/Echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/grpc-web+proto\r\n";
    for rest in ["Content-Length: 100\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"] {
        let answer = closed(said(&server, format!("{head}{rest}").as_bytes()).await).await;
        assert!(answer.contains("\r\ngrpc-status: 3\r\n") && answer.contains("in%20time"), "{answer}");
    }
}

#[tokio::test]
async fn a_caller_that_takes_nothing_loses_its_stream() {
    let mut server = open(Options { write_timeout: millis(100), ..Options::default() }).await;
    let _idle = call(&server, "FloodStream", "").await;
    server.expect(Event::Entered).await;
    server.expect(Event::Left).await;
}

#[tokio::test]
async fn a_caller_that_leaves_ends_its_stream() {
    let mut server = open(Options::default()).await;
    let mut socket = call(&server, "DripStream", "").await;
    until(&mut socket, "one").await;
    server.expect(Event::Entered).await;
    drop(socket);
    server.expect(Event::Left).await;
}

#[tokio::test]
async fn deadlines_panics_and_the_limit_on_calls_hold() {
    let mut server = open(Options { calls_in_flight_max: 1, ..Options::default() }).await;
    let late = closed(call(&server, "Hang", "grpc-timeout: 50m\r\nConnection: close\r\n").await).await;
    assert!(late.contains("\r\ngrpc-status: 4\r\n"), "{late}");
    let late = closed(call(&server, "DripStream", "grpc-timeout: 50m\r\nConnection: close\r\n").await).await;
    assert!(late.contains("one") && late.contains("grpc-status:4\r\n"), "{late}");
    for method in ["Panic", "PanicStream"] {
        let answer = closed(call(&server, method, "Connection: close\r\n").await).await;
        assert!(answer.replace(": ", ":").contains("grpc-status:13\r\n") && !answer.contains("secret"), "{answer}");
    }
    while server.events.try_recv().is_ok() {}

    let mut stream = call(&server, "DripStream", "").await;
    until(&mut stream, "one").await;
    let refused = closed(call(&server, "Echo", "Connection: close\r\n").await).await;
    assert!(refused.contains("\r\ngrpc-status: 8\r\n"), "{refused}");
    // A plain request counts as a call, too, and hears of it in its own way.
    let refused = closed(said(&server, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await).await;
    assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains("\r\nretry-after: 1\r\n"), "{refused}");
    assert!(refused.contains("\"reason\":\"OVERLOADED\""), "{refused}");
    drop(stream);
    server.expect(Event::Entered).await;
    server.expect(Event::Left).await;
    let found = closed(said(&server, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await).await;
    assert!(found.starts_with("HTTP/1.1 404 "), "{found}");
}

#[tokio::test]
async fn an_old_connection_ends_without_harm() {
    let server = open(Options { connection_age_max: Some(millis(50)), ..Options::default() }).await;
    let mut idle = call(&server, "Echo", "").await;
    until(&mut idle, "grpc-status:0").await;
    assert_eq!(closed(idle).await, "");
    let answer = closed(call(&server, "DripStream", "grpc-timeout: 300m\r\n").await).await;
    assert!(
        answer.contains("one") && answer.contains("grpc-status:4\r\n") && answer.ends_with("0\r\n\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn the_end_of_the_server_waits_for_calls_and_not_for_idle_connections() {
    let server = open(Options { drain_timeout: millis(300), ..Options::default() }).await;
    let mut idle = call(&server, "Echo", "").await;
    until(&mut idle, "grpc-status:0").await;
    let finished = call(&server, "DripStream", "grpc-timeout: 100m\r\n").await;
    let mut cut = call(&server, "DripStream", "").await;
    until(&mut cut, "one").await;
    server.stop.cancel();
    assert_eq!(closed(idle).await, "");
    assert!(closed(finished).await.contains("grpc-status:4\r\n"));
    server.ended().await;
    assert!(!closed(cut).await.contains("grpc-status"));
}
