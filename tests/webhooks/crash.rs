//! A server that is killed tells again what it may have told already, under the same id, and loses nothing.

use std::collections::{BTreeMap, BTreeSet};

use tempfile::TempDir;

use super::*;
use crate::support::process::{Process, flags};

const ROUNDS: usize = 6;
const TURNS: usize = 5;

#[tokio::test]
async fn what_was_due_arrives_after_kills_under_one_id_each() {
    let (provider, receiver) = (ScriptedProvider::start().await, receiver().await);
    provider.on_every(Reply::text("ok"));
    let folder = TempDir::new().expect("a temporary folder");
    let mut flags = flags(&folder.path().join("store"), &provider.base_url());
    flags.insert("--tools-http-allow", "127.0.0.1".to_owned());
    flags.insert("--webhooks-backoff-base", "1ms".to_owned());
    flags.insert("--webhooks-backoff-max", "5ms".to_owned());
    let mut process = Process::start(&flags).await;
    let made = create(&mut Webhooks::new(process.channel().await), &receiver).await;
    let mut due = BTreeSet::new();
    for round in 0..ROUNDS {
        // The first delivery of each round hangs: it is under way when the process dies.
        let mut hangs = taken();
        hangs.gate();
        receiver.reply(hangs);
        let mut client = process.client().await;
        let mut turn = begin(&mut client).await;
        due.insert(turn.id.clone());
        for _ in 1..TURNS {
            turn = if round % 2 == 0 { begin(&mut client).await } else { go_on(&mut client, &turn).await };
            due.insert(turn.id.clone());
        }
        receiver.next_request().await;
        process.kill();
        process = Process::start(&flags).await;
    }
    let mut webhooks = Webhooks::new(process.channel().await);
    let all = i64::try_from(ROUNDS * TURNS).expect("a small number");
    until(&mut webhooks, &made.id, |webhook| webhook.delivered_revision == all).await;

    let requests = receiver.requests();
    assert_one_id_each(&requests);
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    requests.iter().for_each(|request| *told.entry(turn_of(request)).or_default() += 1);
    let arrived: BTreeSet<String> = told.keys().map(|turn| (*turn).to_owned()).collect();
    assert_eq!(arrived, due);
    println!("{} deliveries of {all} changes after {ROUNDS} kills", requests.len());
    assert_eq!(process.stop().await.code, Some(0));
}
