//! DEADLINE_EXCEEDED, and never the CANCELLED that meshes retry.

use causerie::grpc::serve::Options;
use futures_util::future::join_all;
use prost::Message;
use tonic::Code;
use tonic_health::ServingStatus;

use super::caller::{begin, frame};
use super::scripted::Event;
use super::server::{Server, millis};

#[tokio::test]
async fn a_unary_call_at_its_deadline_is_deadline_exceeded_every_time() {
    let mut server = Server::start().await;
    let caller = server.caller().await;
    let calls = (0..300).map(|i| {
        let timeout = format!("{}u", 4_000 + i * 150);
        let caller = &caller;
        async move { caller.call("Hang", &[("grpc-timeout", &timeout)]).await }
    });
    for answer in join_all(calls).await {
        assert_eq!(answer.status.code(), Code::DeadlineExceeded);
        assert_eq!(answer.reason(), "TIMEOUT");
        assert_eq!(answer.retry_pushback(), Some("-1"));
    }
    drop(caller);
    server.stop.cancel();
    let (mut entered, mut left) = (0, 0);
    while let Ok(event) = server.events.try_recv() {
        match event {
            Event::Entered => entered += 1,
            Event::Left => left += 1,
        }
    }
    assert!(entered > 0, "no handler ever ran");
    assert_eq!(entered, left, "a handler outlived its call");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_short_deadline_is_ever_cancelled_on_several_threads_either() {
    let server = Server::start().await;
    let caller = server.caller().await;
    for round in 0..20 {
        let calls = (0..15).map(|i| {
            let timeout = format!("{}u", 1_000 + round * 37 + i * 211);
            let caller = &caller;
            async move { caller.call("Hang", &[("grpc-timeout", &timeout)]).await }
        });
        for answer in join_all(calls).await {
            assert_eq!(answer.status.code(), Code::DeadlineExceeded);
        }
    }
}

#[tokio::test]
async fn a_running_stream_is_cut_at_its_deadline() {
    let mut server = Server::start().await;
    let caller = server.caller().await;
    let answer = caller.call("DripStream", &[("grpc-timeout", "50m")]).await;
    assert_eq!(answer.data, frame("one"));
    assert_eq!(answer.status.code(), Code::DeadlineExceeded);
    assert_eq!(answer.reason(), "TIMEOUT");
    server.expect(Event::Entered).await;
    server.expect(Event::Left).await;
}

#[tokio::test]
async fn a_stream_that_always_has_more_is_cut_too() {
    let server = Server::start().await;
    let caller = server.caller().await;
    let answer = caller.call("FloodStream", &[("grpc-timeout", "50m")]).await;
    assert_eq!(answer.status.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_timeout_that_cannot_be_read_is_an_invalid_argument() {
    let server = Server::start().await;
    let caller = server.caller().await;
    for timeout in ["soon", "5", "123456789S", "-1S"] {
        let answer = caller.call("Echo", &[("grpc-timeout", timeout)]).await;
        assert_eq!(answer.status.code(), Code::InvalidArgument, "{timeout}");
        assert_eq!(answer.reason(), "INVALID_REQUEST");
    }
}

#[tokio::test]
async fn the_longest_timeout_is_no_trouble() {
    let options = Options { call_timeout_max: None, ..Options::default() };
    let server = Server::with(options).await;
    let caller = server.caller().await;
    let echo = caller.call("Echo", &[("grpc-timeout", "99999999H")]).await;
    assert_eq!(echo.status.code(), Code::Ok);
}

#[tokio::test]
async fn the_handler_is_told_the_earlier_of_both_deadlines() {
    let options = Options { call_timeout_max: Some(millis(60_000)), ..Options::default() };
    let server = Server::with(options).await;
    let caller = server.caller().await;
    for (timeout, at_most) in [("10S", 10_000), ("1H", 60_000)] {
        let answer = caller.call("Deadline", &[("grpc-timeout", timeout)]).await;
        let text = String::decode(&answer.data[5..]).expect("a string");
        let remaining: u64 = text.parse().expect("a number");
        assert!((at_most - 5_000..=at_most).contains(&remaining), "{text}");
    }
}

#[tokio::test]
async fn the_servers_maximum_ends_calls_without_a_deadline_but_no_health_watch() {
    let options = Options { call_timeout_max: Some(millis(50)), ..Options::default() };
    let server = Server::with(options).await;
    let caller = server.caller().await;
    let watch = caller.send("/grpc.health.v1.Health/Watch", &[], frame("")).await;
    let mut watch = begin(watch).await.expect("a watch");
    watch.data().await.expect("the first status");
    let answer = caller.call("Hang", &[]).await;
    assert_eq!(answer.status.code(), Code::DeadlineExceeded);
    server.health.set("", ServingStatus::Serving);
    watch.data().await.expect("the watch goes on");
}
