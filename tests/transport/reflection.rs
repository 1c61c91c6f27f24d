//! Reflection, in both versions that clients ask for.

use tokio_stream::once;
use tonic_reflection::pb::{v1, v1alpha};

use super::caller::soon;
use super::server::Server;

#[tokio::test]
async fn v1_knows_health_and_the_error_details() {
    use v1::server_reflection_client::ServerReflectionClient;
    use v1::server_reflection_request::MessageRequest;
    use v1::server_reflection_response::MessageResponse;

    let server = Server::start().await;
    let mut client = ServerReflectionClient::new(server.channel().await);
    for symbol in ["grpc.health.v1.Health", "google.rpc.ErrorInfo"] {
        let request = v1::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::FileContainingSymbol(symbol.to_owned())),
        };
        let answers = soon(client.server_reflection_info(once(request))).await;
        let mut answers = answers.expect("a stream").into_inner();
        let answer = soon(answers.message()).await.expect("known").expect("one");
        let response = answer.message_response.expect("a response");
        assert!(matches!(response, MessageResponse::FileDescriptorResponse(_)));
    }
}

#[tokio::test]
async fn v1alpha_lists_the_services() {
    use v1alpha::server_reflection_client::ServerReflectionClient;
    use v1alpha::server_reflection_request::MessageRequest;
    use v1alpha::server_reflection_response::MessageResponse;

    let server = Server::start().await;
    let mut client = ServerReflectionClient::new(server.channel().await);
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = soon(client.server_reflection_info(once(request))).await;
    let mut answers = answers.expect("a stream").into_inner();
    let answer = soon(answers.message()).await.expect("known").expect("one");
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("not a list");
    };
    assert!(list.service.iter().any(|it| it.name == "grpc.health.v1.Health"));
}
