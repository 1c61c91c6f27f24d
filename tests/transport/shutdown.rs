//! The server ends in time, whatever its callers do, and tells them before.

use std::time::{Duration, Instant};

use causerie::grpc::serve::Options;
use tokio::net::TcpStream;
use tonic::Code;
use tonic_health::ServingStatus;

use super::caller::{begin, frame, frame_of, soon};
use super::scripted::Event;
use super::server::{Server, millis};

const WATCH: &str = "/grpc.health.v1.Health/Watch";

fn says(status: u8) -> bytes::Bytes {
    frame_of(&[0x08, status])
}

#[tokio::test]
async fn an_idle_watch_and_a_silent_socket_do_not_hold_the_server_up() {
    let server = Server::start().await;
    server.health.set("", ServingStatus::Serving);
    let caller = server.caller().await;
    let watch = caller.send(WATCH, &[], frame("")).await;
    let mut watch = begin(watch).await.expect("a watch");
    assert_eq!(watch.data().await, Some(says(1)));
    let _silent = TcpStream::connect(server.address).await.expect("accepted");
    // The silent socket is accepted before the next call's connection is.
    server.caller().await.call("Echo", &[]).await;

    let stopped = Instant::now();
    server.stop.cancel();
    let end = watch.rest().await;
    assert_eq!(end.data, says(2), "NOT_SERVING comes before the end");
    assert_eq!(end.status.code(), Code::Unavailable);
    assert_eq!(end.reason(), "SERVICE_UNAVAILABLE");
    let address = server.address;
    server.ended().await;
    // Far below the drain timeout of 20 s and the preface timeout of 10 s.
    assert!(stopped.elapsed() < Duration::from_secs(5));
    assert!(TcpStream::connect(address).await.is_err(), "still listening");
}

#[tokio::test]
async fn calls_in_flight_are_finished_and_new_ones_accepted_in_the_lame_duck_time() {
    let options = Options { lame_duck: millis(200), ..Options::default() };
    let server = Server::with(options).await;
    server.health.set("", ServingStatus::Serving);
    let caller = server.caller().await;
    let watch = caller.send(WATCH, &[], frame("")).await;
    let mut watch = begin(watch).await.expect("a watch");
    assert_eq!(watch.data().await, Some(says(1)));
    server.stop.cancel();
    assert_eq!(watch.data().await, Some(says(2)));
    let late = server.caller().await;
    assert_eq!(late.call("Echo", &[]).await.status.code(), Code::Ok);
    let running = late.call("DripStream", &[("grpc-timeout", "400m")]).await;
    assert_eq!(running.status.code(), Code::DeadlineExceeded);
    server.ended().await;
}

#[tokio::test]
async fn a_stream_that_does_not_end_is_cut_at_the_drain_timeout() {
    let options = Options { drain_timeout: millis(100), ..Options::default() };
    let mut server = Server::with(options).await;
    let caller = server.caller().await;
    let mut stream = caller.open("DripStream", &[]).await;
    stream.data().await.expect("a message");
    let hanging = caller.send("Hang", &[], frame("hello")).await;
    server.expect(Event::Entered).await;
    server.expect(Event::Entered).await;

    let stopped = Instant::now();
    server.stop.cancel();
    assert!(begin(hanging).await.is_err());
    server.expect(Event::Left).await;
    server.expect(Event::Left).await;
    server.ended().await;
    // Connections are cut by the timeout itself, not by the second of grace after it.
    assert!(stopped.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_caller_that_reads_nothing_is_cut_too() {
    let options = Options { drain_timeout: millis(100), ..Options::default() };
    let mut server = Server::with(options).await;
    let caller = server.caller().await;
    // Its windows are full after 64 KiB, and then the server's writes wait for ever.
    let _unread = caller.open("FloodStream", &[]).await;
    server.stop.cancel();
    server.expect(Event::Entered).await;
    server.expect(Event::Left).await;
    server.ended().await;
}

#[tokio::test]
async fn cut_ends_everything_at_once() {
    let mut server = Server::start().await;
    let caller = server.caller().await;
    let hanging = caller.send("Hang", &[], frame("hello")).await;
    server.expect(Event::Entered).await;
    server.cut.cancel();
    assert!(begin(hanging).await.is_err());
    server.ended().await;
}

#[tokio::test]
async fn a_server_that_is_dropped_leaves_no_connection_behind() {
    let mut server = Server::start().await;
    let caller = server.caller().await;
    let hanging = caller.send("Hang", &[], frame("hello")).await;
    server.expect(Event::Entered).await;
    server.task.abort();
    assert!(begin(hanging).await.is_err());
    server.expect(Event::Left).await;
    // The caller's side sees an end of the connection too.
    let _ = soon(caller.connection).await;
}
