//! Calls in flight, connections and silent sockets are bounded.

use causerie::grpc::serve::Options;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic_types::StatusExt;

use super::caller::{frame, soon};
use super::scripted::Event;
use super::server::{Server, millis};

#[tokio::test]
async fn a_stream_counts_as_in_flight_until_its_end() {
    let options = Options { calls_in_flight_max: 1, ..Options::default() };
    let mut server = Server::with(options).await;
    let caller = server.caller().await;
    let mut stream = caller.open("DripStream", &[]).await;
    stream.data().await.expect("a message");
    server.expect(Event::Entered).await;

    let refused = caller.call("Echo", &[]).await;
    assert_eq!(refused.status.code(), Code::ResourceExhausted);
    assert_eq!(refused.reason(), "OVERLOADED");
    let retry = refused.status.get_details_retry_info().expect("RetryInfo");
    assert!(retry.retry_delay.is_some());
    let health = "/grpc.health.v1.Health/Check";
    let health = caller.call_with(health, &[], frame("")).await;
    assert_eq!(health.status.code(), Code::Ok, "health passes by the limit");

    drop(stream);
    server.expect(Event::Left).await;
    let accepted = caller.call("Echo", &[]).await;
    assert_eq!(accepted.status.code(), Code::Ok);
}

#[tokio::test]
async fn a_connection_too_many_is_closed_at_once() {
    let options = Options { connections_max: 1, ..Options::default() };
    let server = Server::with(options).await;
    let caller = server.caller().await;
    assert_eq!(caller.call("Echo", &[]).await.status.code(), Code::Ok);
    let socket = TcpStream::connect(server.address).await.expect("accepted");
    assert_closed(socket).await;
    assert_eq!(caller.call("Echo", &[]).await.status.code(), Code::Ok);
}

#[tokio::test]
async fn a_socket_that_sends_no_preface_is_closed() {
    let options = Options { preface_timeout: millis(50), ..Options::default() };
    let server = Server::with(options).await;
    let silent = TcpStream::connect(server.address).await.expect("accepted");
    let mut halting = TcpStream::connect(server.address).await.expect("accepted");
    halting.write_all(b"PRI * HTTP").await.expect("written");
    assert_closed(silent).await;
    assert_closed(halting).await;
}

/// Reads until the server closes, whatever it says before.
async fn assert_closed(mut socket: TcpStream) {
    let mut heard = Vec::new();
    // A reset closes as well as an end does.
    let _ = soon(socket.read_to_end(&mut heard)).await;
}
