//! Connections: what they accept, how long they last, how a dead one is noticed.

use causerie::grpc::serve::Options;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::caller::soon;
use super::scripted::Event;
use super::server::{Server, millis};

#[tokio::test]
async fn a_compressed_request_is_accepted() {
    let server = Server::start().await;
    let client = HealthClient::new(server.channel().await);
    let mut client = client.send_compressed(CompressionEncoding::Gzip);
    let request = HealthCheckRequest { service: String::new() };
    soon(client.check(request)).await.expect("an answer");
}

#[tokio::test]
async fn calls_at_a_time_on_one_connection_are_limited() {
    let options = Options { streams_per_connection_max: 7, ..Options::default() };
    let server = Server::with(options).await;
    let caller = server.caller().await;
    caller.call("Echo", &[]).await;
    assert_eq!(caller.streams_max(), 7);
}

#[tokio::test]
async fn a_handler_knows_who_calls() {
    let server = Server::start().await;
    let caller = server.caller().await;
    let answer = caller.call("Peer", &[]).await;
    let peer = String::from_utf8_lossy(&answer.data);
    assert!(peer.contains("127.0.0.1:"), "{peer:?}");
}

#[tokio::test]
async fn a_caller_that_froze_loses_its_stream_by_keepalive() {
    let options = Options { keepalive_interval: millis(100), keepalive_timeout: millis(100), ..Options::default() };
    let mut server = Server::with(options).await;
    let (requests, mut connection) = {
        let socket = tokio::net::TcpStream::connect(server.address).await;
        let socket = socket.expect("connected");
        h2::client::handshake(socket).await.expect("handshake")
    };
    let open = async {
        let mut requests = requests.ready().await.expect("open");
        let request = http::Request::post("http://test/test.Scripted/DripStream")
            .header("content-type", "application/grpc")
            .body(())
            .expect("a request");
        let (response, mut body) = requests.send_request(request, false).expect("sent");
        body.send_data(super::caller::frame("hello"), true).expect("sent");
        (response.await.expect("an answer"), requests)
    };
    // The connection is driven until the answer begins, and never again; its socket stays open.
    let _frozen = tokio::select! {
        opened = open => opened,
        _ = &mut connection => panic!("the connection ended"),
    };
    server.expect(Event::Entered).await;
    server.expect(Event::Left).await;
}

#[tokio::test]
async fn an_old_connection_ends_without_harm() {
    let options = Options { connection_age_max: Some(millis(50)), ..Options::default() };
    let server = Server::with(options).await;
    for _ in 0..3 {
        let caller = server.caller().await;
        assert_eq!(caller.call("Echo", &[]).await.status.code(), Code::Ok);
        // A GOAWAY without error is an end in peace.
        let ended = soon(caller.connection).await.expect("no panic");
        assert!(ended.is_ok(), "{ended:?}");
    }
}
