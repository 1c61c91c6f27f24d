//! What is wrong with an item is its result; what is wrong with the call ends it.

use causerie::proto::{self, RunBatchRequest, batch_item::Request, run_batch_request::Kind};
use tokio_stream::iter;
use tonic::{Code, Request as Message};

use super::caller::{Call, Client, in_time, item, options, prompt};
use crate::support::{
    provider::Reply,
    refusal::{as_status, fields, told, turn_reason, value},
    server::{TestServer, append, start},
};

const NOBODY: &str = "conv_00000000000070008000000000000000";

#[tokio::test]
async fn an_item_that_is_refused_has_a_result_and_the_others_go_on() {
    let server = TestServer::start().await;
    server.provider.on_every(Reply::text("fine"));
    let mut client = Client::new(server.channel().await);
    let mut call = Call::begin(&mut client, options("", 2)).await;

    let kept = proto::StartRequest { store: Some(false), ..start("Hello") };
    call.send(item(0, Request::Start(kept))).await;
    call.send(item(1, Request::Append(append(NOBODY, "Hello")))).await;
    call.send(RunBatchRequest {
        kind: Some(Kind::Item(proto::BatchItem { index: 2, request: None })),
        ..Default::default()
    })
    .await;
    call.send(prompt(3)).await;
    call.close();
    let results = call.rest().await;

    results.assert_numbered(1);
    results.assert_each_once(0..4);
    results.assert_summed();
    assert_eq!((results.batch.failed_count, results.batch.completed_count), (3, 1));
    let refused = |index: i32| {
        let (_, item) = results.items.iter().find(|(_, item)| item.index == index).expect("a result");
        let turn = item.turn.clone().expect("a turn of its own");
        assert_eq!((item.turn_id.as_str(), turn.id.as_str()), ("", ""));
        let status = as_status(turn.error.as_ref().expect("an error"));
        assert_eq!(value(&status, "index"), index.to_string());
        (turn_reason(&turn), status)
    };
    let (reason, status) = refused(0);
    assert_eq!((reason.as_str(), fields(&status)), ("INVALID_REQUEST", vec!["item.start.store".to_owned()]));
    assert_eq!(refused(1).0, "CONVERSATION_NOT_FOUND");
    let (reason, status) = refused(2);
    assert_eq!((reason.as_str(), fields(&status)), ("INVALID_REQUEST", vec!["item".to_owned()]));
    server.stop().await;
}

#[tokio::test]
async fn a_call_that_is_wrong_is_refused() {
    let server = TestServer::start().await;
    let mut client = Client::new(server.channel().await);

    let nothing = in_time(client.run_batch(iter([prompt(0)]))).await.expect_err("no options");
    assert_eq!((told(&nothing).1.as_str(), fields(&nothing)), ("INVALID_REQUEST", vec!["options".to_owned()]));
    let wrong = proto::BatchOptions { max_concurrency: 1001, priority: 101, ..options("", 0) };
    let wrong = Call::try_begin(&mut client, wrong, -1).await.err().expect("it is refused");
    let expected = ["options.max_concurrency", "options.priority", "after_sequence"];
    assert_eq!(fields(&wrong), expected.map(str::to_owned));

    let call = Call::begin(&mut client, options("", 0)).await;
    call.send(prompt(100_000)).await;
    let status = call.error().await;
    assert_eq!((told(&status).1.as_str(), fields(&status)), ("INVALID_REQUEST", vec!["item.index".to_owned()]));

    let mut with_key =
        Message::new(iter([RunBatchRequest { kind: Some(Kind::Options(options("", 0))), ..Default::default() }]));
    with_key.metadata_mut().insert("x-provider-api-key", "sk-mine".parse().expect("a header"));
    let status = in_time(client.run_batch(with_key)).await.expect_err("a key is never kept");
    assert_eq!(fields(&status), ["x-provider-api-key"]);

    let nobody = "batch_00000000000070008000000000000000".to_owned();
    let request = proto::GetBatchRequest { batch_id: nobody.clone() };
    let status = client.get_batch(request).await.expect_err("there is none");
    assert_eq!(told(&status), (Code::NotFound, "BATCH_NOT_FOUND".to_owned()));
    let request = proto::CancelBatchRequest { batch_id: nobody.clone() };
    assert_eq!(told(&client.cancel_batch(request).await.expect_err("there is none")).1, "BATCH_NOT_FOUND");
    let request = proto::WatchBatchRequest { batch_id: nobody, after_sequence: 0 };
    assert_eq!(told(&client.watch_batch(request).await.expect_err("there is none")).1, "BATCH_NOT_FOUND");
    server.stop().await;
}

#[tokio::test]
async fn a_request_id_belongs_to_its_options_and_all_items_were_sent_once() {
    let server = TestServer::start().await;
    server.provider.on_every(Reply::text("fine"));
    let mut client = Client::new(server.channel().await);
    let mut call = Call::begin(&mut client, options("mine", 2)).await;
    let id = call.batch.id.clone();
    call.send(prompt(0)).await;
    call.close();
    call.rest().await;

    let reused = Call::try_begin(&mut client, options("mine", 3), 0).await.err().expect("other options");
    assert_eq!(told(&reused).1, "REQUEST_ID_REUSED");
    let call = Call::begin(&mut client, options("mine", 2)).await;
    assert_eq!(call.batch.id, id);
    drop(call);
    // The one item is sent again, and is the same.
    let mut call = Call::begin(&mut client, options("mine", 2)).await;
    call.send(prompt(0)).await;
    call.close();
    call.rest().await.assert_each_once([0]);
    server.stop().await;
}

#[tokio::test]
async fn after_all_were_sent_no_other_item_is_taken() {
    let server = TestServer::start().await;
    let mut slow = Reply::text("slow");
    let gate = slow.gate();
    server.provider.on_every(slow);
    let mut client = Client::new(server.channel().await);
    let mut first = Call::begin(&mut client, options("mine", 2)).await;
    first.send(prompt(0)).await;
    first.close();
    in_time(server.provider.next_request()).await;

    let mut client = Client::new(server.channel().await);
    let again = Call::begin(&mut client, options("mine", 2)).await;
    again.send(prompt(0)).await;
    again.send(prompt(1)).await;
    let status = again.error().await;
    assert_eq!((told(&status).1.as_str(), value(&status, "index").as_str()), ("BATCH_CLOSED", "1"));
    gate.open();
    first.rest().await.assert_each_once([0]);
    server.stop().await;
}
