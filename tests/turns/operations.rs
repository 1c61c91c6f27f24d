//! `google.longrunning.Operations`: turns for clients that know operations, and nothing of ours.

use causerie::proto::{
    self,
    longrunning::{
        CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest, Operation,
        WaitOperationRequest, operation, operations_client::OperationsClient,
    },
    turn::State,
};
use prost::Message;
use tonic::{Code, Status, transport::Channel};

use super::{for_tomorrow, get, ms, queue, silent_turn};
use crate::support::{
    events::soon,
    outside::PYTHON,
    provider::Reply,
    refusal::{as_status, fields, reason, told, value},
    server::{TestServer, start},
};

type Operations = OperationsClient<Channel>;

fn name(turn_id: &str) -> String {
    format!("operations/{turn_id}")
}

async fn operation(client: &mut Operations, turn_id: &str) -> Result<Operation, Status> {
    let request = GetOperationRequest { name: name(turn_id) };
    client.get_operation(request).await.map(tonic::Response::into_inner)
}

async fn wait(client: &mut Operations, turn_id: &str, timeout_ms: u64) -> Operation {
    let request = WaitOperationRequest { name: name(turn_id), timeout: Some(ms(timeout_ms)) };
    soon(client.wait_operation(request)).await.expect("an operation").into_inner()
}

fn turn_in(packed: &prost_types::Any) -> proto::Turn {
    assert_eq!(packed.type_url, "type.googleapis.com/causerie.v1.Turn");
    proto::Turn::decode(packed.value.as_slice()).expect("a turn")
}

fn metadata(operation: &Operation) -> proto::Turn {
    turn_in(operation.metadata.as_ref().expect("every operation has them"))
}

#[tokio::test]
async fn a_turn_is_an_operation() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let mut operations = OperationsClient::new(server.channel().await);
    let (_reader, id) = silent_turn(&server, &client).await;
    server.provider.next_request().await;
    let running = wait(&mut operations, &id, 50).await;
    assert_eq!((running.name.clone(), running.done, running.result.clone()), (name(&id), false, None));
    assert_eq!(metadata(&running).state(), State::Running);

    for _ in 0..2 {
        operations.cancel_operation(CancelOperationRequest { name: name(&id) }).await.expect("it is idempotent");
    }
    let cancelled = operation(&mut operations, &id).await.expect("an operation");
    let Some(operation::Result::Error(error)) = &cancelled.result else { panic!("{cancelled:?}") };
    assert_eq!((cancelled.done, reason(&as_status(error)).as_str()), (true, "TURN_CANCELLED"));

    server.provider.reply(Reply::text("Hello"));
    let queued = queue(&mut client, proto::StartRequest { background: true, ..start("Hi") }).await;
    let done = wait(&mut operations, &queued, 3_600_000).await;
    let Some(operation::Result::Response(response)) = &done.result else { panic!("{done:?}") };
    let turn = get(&mut client, &queued).await.expect("the turn");
    assert_eq!((done.done, turn_in(response)), (true, turn.clone()));
    assert_eq!(metadata(&done), proto::Turn { outputs: Vec::new(), ..turn });
    assert_eq!(operation(&mut operations, &queued).await.expect("an operation"), done);

    operations.delete_operation(DeleteOperationRequest { name: name(&queued) }).await.expect("nobody minds");
    assert_eq!(operation(&mut operations, &queued).await.expect("nothing changed"), done);
    server.stop().await;
}

#[tokio::test]
async fn operations_are_listed() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let mut operations = OperationsClient::new(server.channel().await);
    let refusal = serde_json::json!({"object": "error", "message": "no", "type": "invalid_request_error"});
    server.provider.reply(Reply::json(400, &refusal));
    let failed = client.start(start("Hi")).await.expect_err("the provider refuses it");
    let failed = value(&failed, "turn_id");
    server.provider.reply(Reply::text("Hello"));
    let done = client.start(start("Hi")).await.expect("a turn").into_inner().id;
    let waits = queue(&mut client, for_tomorrow("later")).await;
    for (filter, expected) in
        [("", vec![&waits, &done, &failed]), ("done = true", vec![&done, &failed]), ("done=false", vec![&waits])]
    {
        for page_size in [1, 0] {
            let mut request = ListOperationsRequest {
                name: "operations".to_owned(),
                filter: filter.to_owned(),
                page_size,
                ..Default::default()
            };
            let mut listed = Vec::new();
            loop {
                let page = operations.list_operations(request.clone()).await.expect("a page").into_inner();
                listed.extend(page.operations);
                request.page_token = page.next_page_token;
                if request.page_token.is_empty() {
                    break;
                }
            }
            let names: Vec<_> = listed.iter().map(|operation| operation.name.clone()).collect();
            let expected: Vec<_> = expected.iter().map(|id| name(id)).collect();
            assert_eq!(names, expected, "{filter:?}");
            for operation in listed.iter().filter(|operation| operation.done) {
                if let Some(operation::Result::Response(response)) = &operation.result {
                    assert_eq!(turn_in(response).outputs, [], "a list has no outputs");
                }
            }
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_operation_is_told() {
    let server = TestServer::start().await;
    let mut operations = OperationsClient::new(server.channel().await);
    let unknown = "turn_019f0000000070008000000000000000";
    let not_found = (Code::NotFound, "TURN_NOT_FOUND".to_owned());
    assert_eq!(told(&operation(&mut operations, unknown).await.expect_err("there is none")), not_found);
    let request = DeleteOperationRequest { name: name(unknown) };
    assert_eq!(told(&operations.delete_operation(request).await.expect_err("there is none")), not_found);
    let request = CancelOperationRequest { name: name(unknown) };
    assert_eq!(told(&operations.cancel_operation(request).await.expect_err("there is none")), not_found);
    for wrong in ["", unknown, "operations/1", "operations/turn_1", "operationsturn_1"] {
        let timeout = Some(prost_types::Duration { seconds: -1, nanos: 0 });
        let request = WaitOperationRequest { name: wrong.to_owned(), timeout };
        let refused = operations.wait_operation(request).await.expect_err("no name");
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec!["name".into(), "timeout".into()]));
    }
    let request = ListOperationsRequest {
        name: "turns".to_owned(),
        filter: "done".to_owned(),
        page_size: -1,
        ..Default::default()
    };
    let refused = operations.list_operations(request).await.expect_err("nothing of it is right");
    assert_eq!(fields(&refused), ["page_size", "name", "filter"]);
    server.stop().await;
}

#[tokio::test]
async fn googles_own_client_polls_a_turn_to_its_end() {
    let server = TestServer::offline().await;
    PYTHON.check("operations_client.py", server.address().to_string()).await;
    server.stop().await;
}
