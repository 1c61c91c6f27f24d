//! A batch from its first item to its end.

use std::time::Instant;

use causerie::proto::{
    self, ChangeKind, ListBatchesRequest, batch::State, batch_item::Request, turn::State as TurnState,
    watch_service_client::WatchServiceClient,
};

use super::caller::{Call, Client, get, in_time, item, options};
use crate::support::{
    completion::{event, finish, says},
    provider::Reply,
    random::rounds,
    server::{TestServer, append, start, text_of},
};

/// A dollar for a million tokens read, two for a million written.
const PRICES: &str = "[providers.mistral.models.scripted-model]\ninput_price = \"1.00\"\noutput_price = \"2.00\"\n";

fn whole_at_once(text: &str) -> Reply {
    Reply::raw_sse([[event(&says(text)), event(&finish("stop")), "data: [DONE]\n\n".to_owned()].concat()])
}

#[tokio::test]
async fn a_thousand_items_have_one_result_each_and_run_so_many_at_once() {
    const ITEMS: i32 = 1000;
    let server = TestServer::configured(PRICES, &[]).await;
    // Headers, and one piece with all of it.
    let mut reply = whole_at_once("fine");
    let gate = reply.gate();
    server.provider.on_every(reply);
    let mut client = Client::new(server.channel().await);
    let mut call = Call::begin(&mut client, options("", 5)).await;
    assert_eq!((call.batch.state(), call.batch.item_count), (State::Open, 0));
    let id = call.batch.id.clone();

    call.send_all(0..ITEMS);
    for _ in 0..5 {
        in_time(server.provider.next_request()).await;
        gate.step();
    }
    // As long as there are more, five are under way.
    for _ in 5..ITEMS {
        gate.step();
        gate.step();
        in_time(server.provider.next_request()).await;
    }
    gate.open();
    let results = call.rest().await;

    results.assert_numbered(1);
    results.assert_each_once(0..ITEMS);
    results.assert_summed();
    assert_eq!((results.batch.state(), results.batch.completed_count), (State::Ended, ITEMS.into()));
    assert_eq!(results.batch.unpriced_count, 0);
    for (_, item) in &results.items {
        let turn = item.turn.as_ref().expect("it is kept");
        assert_eq!((item.state(), text_of(turn).as_str()), (TurnState::Completed, "fine"));
        assert_eq!(turn.id, item.turn_id);
    }
    assert_eq!(server.provider.most_at_once(), 5);
    assert_eq!(get(&mut client, &id).await, results.batch);
    server.stop().await;
}

#[tokio::test]
async fn items_may_go_on_from_versions_and_results_come_while_items_are_sent() {
    let server = TestServer::start().await;
    server.provider.on_every(Reply::text("fine"));
    let turn = server.client().await.start(start("Hello")).await.expect("a turn").into_inner();
    let mut client = Client::new(server.channel().await);
    let mut call = Call::begin(&mut client, options("", 0)).await;

    for index in [7, 3, 99_999] {
        call.send(item(index, Request::Append(append(&turn.conversation_id, "And now?")))).await;
        let (sequence, result) = call.result().await;
        let told = result.turn.expect("it is kept");
        assert_eq!((result.index, told.parent_conversation_id.as_str()), (index, turn.conversation_id.as_str()));
        assert_eq!(get(&mut client, &call.batch.id).await.ended_count, sequence);
    }
    call.close();
    let results = call.rest().await;
    assert!(results.items.is_empty(), "each result comes once");
    assert_eq!(results.batch.item_count, 3);
    server.stop().await;
}

#[tokio::test]
async fn a_batch_without_items_ends_at_once() {
    let server = TestServer::start().await;
    let mut client = Client::new(server.channel().await);
    let mut call = Call::begin(&mut client, options("", 0)).await;
    call.close();
    let results = call.rest().await;
    results.assert_each_once([]);
    assert_eq!(results.batch.state(), State::Ended);
    server.stop().await;
}

#[tokio::test]
async fn other_callers_are_not_held_up() {
    let server = TestServer::with(&[("background.max_running", "4")]).await;
    let mut slow = Reply::text("slow");
    let gate = slow.gate();
    server.provider.on_model("scripted-model", [slow]);
    server.provider.on_model("other-model", [Reply::text("quick")]);
    let mut client = Client::new(server.channel().await);
    let mut call = Call::begin(&mut client, options("", 3)).await;
    for index in 0..50 {
        call.send(super::caller::prompt(index)).await;
    }
    for _ in 0..3 {
        in_time(server.provider.next_request()).await;
    }

    // One that waits in the queue, and one that does not.
    let other = |background| proto::StartRequest { model: "other-model".into(), background, ..start("Hello") };
    let mut conversations = server.client().await;
    let queued = conversations.start(other(true)).await.expect("it is taken").into_inner();
    let events = crate::support::events::full(proto::stream_events_request::Request::Resume(proto::ResumeRequest {
        turn_id: queued.id.clone(),
        after_sequence: 0,
    }));
    let ended = in_time(crate::support::events::events_of(&conversations, events)).await;
    assert_eq!(text_of(ended.turn()), "quick");
    let direct = in_time(conversations.start(other(false))).await.expect("a turn").into_inner();
    assert_eq!(text_of(&direct), "quick");

    gate.open();
    call.close();
    call.rest().await.assert_each_once(0..50);
    server.stop().await;
}

#[tokio::test]
async fn the_end_of_a_batch_is_told_once_and_its_turns_name_it() {
    let server = TestServer::start().await;
    server.provider.on_every(Reply::text("fine"));
    let mut client = Client::new(server.channel().await);
    let mut call = Call::begin(&mut client, options("", 2)).await;
    let id = call.batch.id.clone();
    call.send_all(0..10);
    call.rest().await;

    let start = Some(proto::watch_request::Start::AfterRevision(0));
    let request = proto::WatchRequest { start, ..Default::default() };
    let mut watch = WatchServiceClient::new(server.channel().await);
    let mut changes = in_time(watch.watch(request)).await.expect("a stream").into_inner();
    let mut kinds = Vec::new();
    while !kinds.contains(&ChangeKind::BatchEnded) {
        let told = in_time(changes.message()).await.expect("no error").expect("a message");
        assert!(told.changes.iter().all(|change| change.batch_id == id));
        kinds.extend(told.changes.iter().map(proto::Change::kind));
    }
    assert_eq!(kinds.last(), Some(&ChangeKind::BatchEnded), "it is the last, and the only one");
    assert_eq!(kinds.iter().filter(|kind| **kind == ChangeKind::VersionCreated).count(), 10);
    drop(changes);
    server.stop().await;
}

#[tokio::test]
async fn batches_are_listed_newest_first() {
    let server = TestServer::start().await;
    let mut client = Client::new(server.channel().await);
    let mut made = Vec::new();
    for number in 0..5 {
        let mut call = Call::begin(&mut client, options(&format!("b{number}"), 0)).await;
        call.close();
        made.insert(0, call.rest().await.batch);
    }
    let mut listed = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListBatchesRequest { page_size: 2, page_token };
        let page = in_time(client.list_batches(request)).await.expect("a page").into_inner();
        listed.extend(page.batches);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, made);
    server.stop().await;
}

/// `CAUSERIE_BATCH_ITEMS=100000` with a release build says how long the largest batch takes to be accepted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_batch_is_accepted_and_cancelled_as_one() {
    let items = rounds("CAUSERIE_BATCH_ITEMS", 3000) as i32;
    let server = TestServer::with(&[("events.heartbeat", "1s")]).await;
    let mut never = Reply::text("never");
    let _gate = never.gate();
    server.provider.on_every(never);
    let mut client = Client::new(server.channel().await);
    let mut call = Call::begin(&mut client, options("", 4)).await;
    let id = call.batch.id.clone();

    let begun = Instant::now();
    call.send_all(0..items);
    let batch = call.until(|batch| batch.state() == State::Running).await;
    println!("{items} items were accepted in {:?}", begun.elapsed());
    assert_eq!((batch.item_count, batch.ended_count), (items.into(), 0));

    let begun = Instant::now();
    let request = proto::CancelBatchRequest { batch_id: id };
    in_time(client.cancel_batch(request)).await.expect("it is cancelled");
    let results = call.rest().await;
    println!("and cancelled in {:?}", begun.elapsed());
    results.assert_numbered(1);
    results.assert_each_once(0..items);
    results.assert_summed();
    assert_eq!(results.batch.cancelled_count, i64::from(items));
    server.stop().await;
}
