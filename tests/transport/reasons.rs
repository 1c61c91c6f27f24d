//! Every error says why, under the code that other gRPC servers use.

use bytes::Bytes;
use tonic::Code;
use tonic_types::StatusExt;

use super::caller::{frame, frame_of};
use super::server::Server;

#[tokio::test]
async fn a_message_over_the_limit_is_resource_exhausted() {
    let server = Server::start().await;
    let caller = server.caller().await;
    let mut head_of_5_mb = vec![0];
    head_of_5_mb.extend(5_000_000_u32.to_be_bytes());
    let answer = caller.call_with("Echo", &[], head_of_5_mb.into()).await;
    assert_eq!(answer.status.code(), Code::ResourceExhausted);
    assert_eq!(answer.reason(), "MESSAGE_TOO_LARGE");
    let text = answer.status.message();
    assert!(text.contains("5000000") && !text.contains("Error"), "{text}");
}

#[tokio::test]
async fn bytes_that_are_no_message_are_the_callers_mistake() {
    let server = Server::start().await;
    let caller = server.caller().await;
    let unfinished = Bytes::from_static(&[0, 0, 0, 0, 9, 1]);
    let flag = Bytes::from_static(&[7, 0, 0, 0, 0]);
    for body in [frame_of(&[0x0a, 0xff]), Bytes::new(), unfinished, flag] {
        let answer = caller.call_with("Echo", &[], body.clone()).await;
        assert_eq!(answer.status.code(), Code::InvalidArgument, "{body:?}");
        assert_eq!(answer.reason(), "INVALID_REQUEST");
    }
}

#[tokio::test]
async fn an_unknown_method_is_named() {
    let server = Server::start().await;
    let caller = server.caller().await;
    for path in ["/test.Scripted/Unknown", "/no.Service/Method", "/x"] {
        let answer = caller.call(path, &[]).await;
        assert_eq!(answer.status.code(), Code::Unimplemented);
        assert_eq!(answer.reason(), "UNKNOWN_METHOD");
        let text = answer.status.message();
        assert!(text.contains(path), "{text}");
    }
}

#[tokio::test]
async fn details_of_a_handler_are_kept_and_completed() {
    let server = Server::start().await;
    let caller = server.caller().await;
    let answer = caller.call("FailInDetail", &[("x-request-id", "r-1")]).await;
    assert_eq!(answer.status.code(), Code::Aborted);
    assert_eq!(answer.status.message(), "detailed");
    assert_eq!(answer.reason(), "HEAD_MOVED");
    assert_eq!(answer.request_id(), "r-1");
    assert!(answer.status.get_details_quota_failure().is_some());
}

#[tokio::test]
async fn a_status_without_details_gets_them() {
    let server = Server::start().await;
    let caller = server.caller().await;
    let answer = caller.call("FailBriefly", &[]).await;
    assert_eq!(answer.status.code(), Code::NotFound);
    assert_eq!(answer.status.message(), "no details");
    assert_eq!(answer.reason(), "NOT_FOUND");
    assert_eq!(answer.request_id(), answer.head["x-request-id"]);
}

#[tokio::test]
async fn a_call_keeps_the_id_of_its_caller_and_otherwise_gets_one() {
    let server = Server::start().await;
    let caller = server.caller().await;
    let given = caller.call_with("Echo", &[("x-request-id", "mine-1")], frame("a"));
    assert_eq!(given.await.head["x-request-id"], "mine-1");
    let minted = caller.call("Echo", &[("x-request-id", "not mine")]).await;
    assert_eq!(minted.head["x-request-id"].len(), 32);
}
