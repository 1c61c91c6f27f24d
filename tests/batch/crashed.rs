//! The process is killed in the middle of a batch, and the next one goes on.

use causerie::proto::{CancelBatchRequest, batch::State};
use tempfile::TempDir;

use super::caller::{Call, Client, in_time, next_result, options, rest, watch};
use crate::support::{
    process::{self, Process},
    provider::{Reply, ScriptedProvider},
    random::{Dice, rounds},
};

const ITEMS: i32 = 120;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_goes_on_after_kills_and_ends_with_exact_counts_and_sums() {
    let mut dice = Dice::seeded_by("CAUSERIE_KILL_SEED");
    for _ in 0..rounds("CAUSERIE_KILL_ROUNDS", 2) {
        let provider = ScriptedProvider::start().await;
        provider.on_every(Reply::text("one two three"));
        let dir = TempDir::new().expect("a temporary folder");
        let flags = process::flags(&dir.path().join("store"), &provider.base_url());
        let process = Process::start(&flags).await;
        let mut client = Client::new(process.channel().await);
        let mut call = Call::begin(&mut client, options("mine", 8)).await;
        let id = call.batch.id.clone();
        call.send_all(0..ITEMS);
        let mut seen = Vec::new();
        for _ in 0..dice.below(40) {
            seen.push(call.result().await);
        }
        process.kill();

        let process = Process::start(&flags).await;
        let mut client = Client::new(process.channel().await);
        let (_, mut results) = watch(&mut client, &id, seen.len() as i64).await;
        let mut again = Call::try_begin(&mut client, options("mine", 8), 0).await.expect("it is there");
        again.send_all(0..ITEMS);
        for _ in 0..dice.below(30) {
            seen.push(next_result(&mut results).await);
        }
        process.kill();

        let process = Process::start(&flags).await;
        let mut client = Client::new(process.channel().await);
        let mut again = Call::try_begin(&mut client, options("mine", 8), 0).await.expect("it is there");
        again.send_all(0..ITEMS);
        let all = again.rest().await;
        all.assert_numbered(1);
        all.assert_each_once(0..ITEMS);
        all.assert_summed();
        assert_eq!((all.batch.state(), all.batch.completed_count), (State::Ended, ITEMS.into()));
        assert_eq!(all.items[..seen.len()], seen, "what was told before is as it was");
        assert_eq!(process.stop().await.code, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_that_a_kill_cut_short_is_finished() {
    let provider = ScriptedProvider::start().await;
    let mut never = Reply::text("never");
    let _gate = never.gate();
    provider.on_every(never);
    let dir = TempDir::new().expect("a temporary folder");
    let flags = process::flags(&dir.path().join("store"), &provider.base_url());
    let process = Process::start(&flags).await;
    let mut client = Client::new(process.channel().await);
    let mut call = Call::begin(&mut client, options("", 2)).await;
    let id = call.batch.id.clone();
    for index in 0..ITEMS {
        call.send(super::caller::prompt(index)).await;
    }
    provider.next_request().await;
    let request = CancelBatchRequest { batch_id: id.clone() };
    in_time(client.cancel_batch(request)).await.expect("it is cancelled");
    let first = call.result().await;
    process.kill();

    let process = Process::start(&flags).await;
    let mut client = Client::new(process.channel().await);
    let (batch, mut results) = watch(&mut client, &id, 0).await;
    assert_eq!(batch.state(), State::Cancelled);
    let all = rest(&mut results).await;
    all.assert_numbered(1);
    all.assert_summed();
    assert_eq!((all.batch.cancelled_count, &all.items[0]), (all.batch.item_count, &first));
    assert_eq!(process.stop().await.code, Some(0));
}
