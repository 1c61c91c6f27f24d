//! Stopping a batch as a whole.

use causerie::proto::{CancelBatchRequest, batch::State, turn::State as TurnState};

use super::caller::{Call, Client, get, in_time, options, prompt};
use crate::support::{provider::Reply, server::TestServer};

#[tokio::test]
async fn those_that_wait_are_cancelled_those_that_run_are_stopped_and_none_is_taken() {
    let mut server = TestServer::start().await;
    let mut slow = Reply::text("slow");
    let _gate = slow.gate();
    server.provider.on_every(slow);
    let mut client = Client::new(server.channel().await);
    let mut call = Call::begin(&mut client, options("mine", 2)).await;
    let id = call.batch.id.clone();
    for index in 0..30 {
        call.send(prompt(index)).await;
    }
    for _ in 0..2 {
        in_time(server.provider.next_request()).await;
    }
    let mut other = Client::new(server.channel().await);
    let request = CancelBatchRequest { batch_id: id.clone() };
    let cancelled = in_time(other.cancel_batch(request.clone())).await.expect("it is cancelled").into_inner();
    assert_eq!(cancelled.state(), State::Cancelled);
    call.send_late(prompt(30)).await;
    call.close();
    let results = call.rest().await;

    results.assert_numbered(1);
    results.assert_summed();
    assert_eq!(results.batch.state(), State::Cancelled);
    assert_eq!(results.batch.cancelled_count, results.batch.item_count);
    assert!(results.items.iter().all(|(_, item)| item.state() == TurnState::Cancelled && item.index < 30));
    assert_eq!(server.provider.requests().len(), 2, "no other was begun");
    assert_eq!(in_time(other.cancel_batch(request)).await.expect("as before").into_inner(), results.batch);
    server.restart().await;
    let mut client = Client::new(server.channel().await);
    assert_eq!(get(&mut client, &id).await, results.batch);
    server.stop().await;
}
