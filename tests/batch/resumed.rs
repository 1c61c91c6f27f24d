//! Results from any place on, and callers that come back.

use causerie::proto::batch::State;

use super::caller::{Call, Client, get, next_result, options, prompt, rest, watch};
use crate::support::{provider::Reply, refusal::told, server::TestServer};

#[tokio::test]
async fn results_are_read_from_any_sequence_on_while_it_runs_and_after_a_restart() {
    let mut server = TestServer::start().await;
    let mut slow = Reply::text("slow");
    let gate = slow.gate();
    server.provider.on_every(slow);
    let mut client = Client::new(server.channel().await);
    let mut call = Call::begin(&mut client, options("", 3)).await;
    let id = call.batch.id.clone();
    call.send_all(0..20);
    let mut early = Client::new(server.channel().await);
    let (_, mut live) = watch(&mut early, &id, 4).await;
    gate.open();
    let all = call.rest().await;
    let followed = rest(&mut live).await;
    assert_eq!(followed.items, all.items[4..]);
    for after in [0, 7, 20, 21, i64::MAX] {
        let (first, mut later) = watch(&mut early, &id, after).await;
        let found = rest(&mut later).await;
        assert_eq!(found.items, all.items[after.min(20) as usize..]);
        assert_eq!((&first, &found.batch), (&all.batch, &all.batch));
    }
    drop((live, early));
    server.restart().await;
    let mut client = Client::new(server.channel().await);
    let (_, mut later) = watch(&mut client, &id, 11).await;
    let found = rest(&mut later).await;
    assert_eq!((found.items, found.batch), (all.items[11..].to_vec(), all.batch));
    server.stop().await;
}

#[tokio::test]
async fn a_caller_that_was_cut_off_sends_the_rest() {
    let server = TestServer::start().await;
    server.provider.on_every(Reply::text("fine"));
    let mut client = Client::new(server.channel().await);
    let mut call = Call::begin(&mut client, options("mine", 4)).await;
    let id = call.batch.id.clone();
    for index in 0..10 {
        call.send(prompt(index)).await;
    }
    let mut seen = 0;
    while seen < 10 {
        (seen, _) = call.result().await;
    }
    // Reset in the middle: not all were sent.
    drop(call);
    drop(client);

    let mut client = Client::new(server.channel().await);
    let (batch, mut results) = watch(&mut client, &id, 9).await;
    assert_eq!((batch.state(), batch.item_count), (State::Open, 10));
    assert_eq!(next_result(&mut results).await.0, 10);
    let mut again = Call::try_begin(&mut client, options("mine", 4), 10).await.expect("it is there");
    assert_eq!(again.batch.id, id);
    again.send_all(0..25);
    let rest = again.rest().await;
    rest.assert_numbered(11);
    rest.assert_each_once(10..25);
    assert_eq!(rest.batch.completed_count, 25);
    assert_eq!(server.provider.requests().len(), 25, "what was there was passed over");
    drop(results);
    server.stop().await;
}

#[tokio::test]
async fn a_caller_that_resets_its_call_has_not_sent_all() {
    let server = TestServer::start().await;
    let mut slow = Reply::text("slow");
    let gate = slow.gate();
    server.provider.on_every(slow);
    let mut client = Client::new(server.channel().await);
    for round in 0..10 {
        let call = Call::begin(&mut client, options(&format!("r{round}"), 1)).await;
        let id = call.batch.id.clone();
        call.send(prompt(0)).await;
        server.provider.next_request().await;
        // The connection stays.
        drop(call);
        let (_, results) = watch(&mut client, &id, 0).await;
        assert_eq!(get(&mut client, &id).await.state(), State::Open);
        drop(results);
    }
    gate.open();
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_goes_down_says_so_and_goes_on_when_it_is_back() {
    let mut server = TestServer::start().await;
    let mut slow = Reply::text("slow");
    let _gate = slow.gate();
    server.provider.on_model("scripted-model", [slow]);
    let mut client = Client::new(server.channel().await);
    let mut call = Call::begin(&mut client, options("mine", 2)).await;
    let id = call.batch.id.clone();
    for index in 0..6 {
        call.send(prompt(index)).await;
    }
    server.provider.next_request().await;
    server.provider.next_request().await;
    let stopping = server.begin_stop();
    let status = call.error().await;
    assert_eq!(told(&status).1, "SHUTTING_DOWN");
    stopping.await.expect("no panic").expect("it ends well");

    server.provider.on_model("scripted-model", [Reply::text("fine")]);
    server.start_again().await;
    let mut client = Client::new(server.channel().await);
    let batch = get(&mut client, &id).await;
    assert_eq!(batch.state(), State::Open);
    call = Call::begin(&mut client, options("mine", 2)).await;
    call.send_all(0..8);
    let results = call.rest().await;
    results.assert_numbered(1);
    results.assert_each_once(0..8);
    results.assert_summed();
    assert_eq!(results.batch.completed_count, 8);
    server.stop().await;
}
