//! grpc.health.v1 as its document wants it.

use tonic::{Code, Request, Streaming};
use tonic_health::ServingStatus;
use tonic_health::pb::health_check_response::ServingStatus as Wire;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_types::StatusExt;

use super::caller::soon;
use super::server::Server;

fn of(service: &str) -> Request<HealthCheckRequest> {
    Request::new(HealthCheckRequest { service: service.to_owned() })
}

async fn next(watch: &mut Streaming<HealthCheckResponse>) -> Wire {
    let message = soon(watch.message()).await.expect("no error");
    message.expect("a message").status()
}

#[tokio::test]
async fn the_server_is_not_serving_until_it_says_so() {
    let server = Server::start().await;
    let mut client = HealthClient::new(server.channel().await);
    let before = soon(client.check(of(""))).await.expect("an answer");
    assert_eq!(before.into_inner().status(), Wire::NotServing);
    server.health.set("", ServingStatus::Serving);
    let after = soon(client.check(of(""))).await.expect("an answer");
    assert_eq!(after.into_inner().status(), Wire::Serving);
}

#[tokio::test]
async fn a_check_of_an_unknown_service_is_not_found() {
    let server = Server::start().await;
    let mut client = HealthClient::new(server.channel().await);
    let error = soon(client.check(of("nobody"))).await.expect_err("unknown");
    assert_eq!(error.code(), Code::NotFound);
    let info = error.get_details_error_info().expect("an ErrorInfo");
    assert_eq!(info.reason, "NOT_FOUND");
}

#[tokio::test]
async fn a_watch_of_an_unknown_service_stays_open_until_it_is_known() {
    let server = Server::start().await;
    let mut client = HealthClient::new(server.channel().await);
    let watch = soon(client.watch(of("later"))).await.expect("a stream");
    let mut watch = watch.into_inner();
    assert_eq!(next(&mut watch).await, Wire::ServiceUnknown);
    server.health.set("other", ServingStatus::Serving);
    server.health.set("later", ServingStatus::Serving);
    assert_eq!(next(&mut watch).await, Wire::Serving);
}

#[tokio::test]
async fn drain_is_for_good_and_its_watchers_are_told() {
    let server = Server::start().await;
    let mut client = HealthClient::new(server.channel().await);
    server.health.set("", ServingStatus::Serving);
    let watch = soon(client.watch(of(""))).await.expect("a stream");
    let mut watch = watch.into_inner();
    assert_eq!(next(&mut watch).await, Wire::Serving);
    server.health.drain();
    assert_eq!(next(&mut watch).await, Wire::NotServing);
    server.health.set("", ServingStatus::Serving);
    server.health.set("late", ServingStatus::Serving);
    for service in ["", "late"] {
        let answer = soon(client.check(of(service))).await.expect("an answer");
        assert_eq!(answer.into_inner().status(), Wire::NotServing);
    }
}
