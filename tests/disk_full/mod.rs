//! A store without room, and one that is taken: callers are told, nothing acknowledged is lost, and it goes on again.

mod mount;

use std::{collections::BTreeMap, path::Path};

use causerie::proto::{self, ErrorReason, stream_events_request::Request};
use tempfile::TempDir;
use tonic::{Code, Streaming, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_client::HealthClient,
};

use self::mount::Mount;
use crate::support::{
    calls::{self, get_conversation, history},
    process::{self, Flags, Process},
    provider::{Reply, ScriptedProvider},
    random::Dice,
    server::{Client, TestServer, append, entry_text, start},
    status::{assert_promised, reason_of},
};

/// How the service is, from now on.
async fn watch(channel: Channel) -> Streaming<HealthCheckResponse> {
    let request = HealthCheckRequest { service: "causerie.v1.ConversationService".to_owned() };
    HealthClient::new(channel).watch(request).await.expect("a watch").into_inner()
}

/// Waits until the service is so.
async fn wait_for(health: &mut Streaming<HealthCheckResponse>, status: ServingStatus) {
    while health.message().await.expect("no error").expect("the watch goes on").status() != status {}
}

/// A question without an answer: stored, and no model is asked.
fn note(text: &str) -> proto::StartRequest {
    proto::StartRequest { skip_completion: true, ..start(text) }
}

/// 200 KiB that no compression makes smaller.
fn bulk(dice: &mut Dice) -> String {
    (0..200 << 10).map(|_| char::from(b'!' + dice.below(90) as u8)).collect()
}

/// Fills the store until it refuses. What it acknowledged, and the status of what it refused.
async fn fill(client: &mut Client, dice: &mut Dice) -> (BTreeMap<String, String>, tonic::Status) {
    let mut acknowledged = BTreeMap::new();
    for _ in 0..1000 {
        let text = bulk(dice);
        match calls::run(client, "full", Request::Start(note(&text))).await {
            Ok(turn) => drop(acknowledged.insert(turn.conversation_id, text)),
            Err(status) => return (acknowledged, status),
        }
    }
    panic!("200 MB went into a smaller disk");
}

async fn assert_kept(flags: &Flags, acknowledged: &BTreeMap<String, String>) {
    let process = Process::start(flags).await;
    let mut client = process.client().await;
    let listed: Vec<String> = calls::list_all(&mut client).await.into_iter().map(|version| version.id).collect();
    for id in &listed {
        let entries = history(&mut client, id).await.expect("whole, whether acknowledged or not");
        let said = acknowledged.get(id).is_none_or(|text| entry_text(&entries[0]) == *text);
        assert!(said && entries.len() == 1, "{id} has changed");
    }
    assert!(acknowledged.keys().all(|id| listed.contains(id)), "something acknowledged is lost");
    calls::run(&mut client, "room", Request::Start(note("There is room again."))).await.expect("it goes on");
    assert_eq!(process.stop().await.code, Some(0));
}

#[tokio::test]
async fn a_full_disk_is_told_ends_the_process_and_costs_nothing_acknowledged() {
    let Some(disk) = Mount::new(64) else { return };
    let provider = ScriptedProvider::start().await;
    let flags = process::flags(&disk.path().join("store"), &provider.base_url());
    let process = Process::start(&flags).await;
    let mut health = watch(process.channel().await).await;
    wait_for(&mut health, ServingStatus::Serving).await;

    let mut dice = Dice::seeded_by("CAUSERIE_DISK_SEED");
    let (acknowledged, status) = fill(&mut process.client().await, &mut dice).await;

    assert!(acknowledged.len() > 20, "{} fit into 64 MiB", acknowledged.len());
    assert_promised(&status, ErrorReason::StoreFailed, "full");
    wait_for(&mut health, ServingStatus::NotServing).await;
    let ended = process.ended().await;
    assert_eq!(ended.code, Some(1), "{}", ended.said);
    assert!(ended.said.contains("nothing acknowledged is lost"), "{}", ended.said);
    // On a disk that is still full it may start or say why not; either way it harms nothing.
    start_and_end(&flags).await;
    disk.enlarge(160);
    assert_kept(&flags, &acknowledged).await;
}

async fn start_and_end(flags: &Flags) {
    match Process::try_start(flags).await {
        Ok(process) => process.kill(),
        Err(ended) => assert!(ended.code == Some(1) && ended.said.contains("store"), "{ended:?}"),
    }
}

/// A turn that is under way when the disk fills up has cost something: no mesh may try it again by itself.
#[tokio::test]
async fn an_answer_that_cannot_be_stored_is_no_call_to_retry() {
    let Some(disk) = Mount::new(64) else { return };
    let provider = ScriptedProvider::start().await;
    let flags = process::flags(&disk.path().join("store"), &provider.base_url());
    let process = Process::start(&flags).await;
    let mut client = process.client().await;
    let mut dice = Dice::seeded_by("CAUSERIE_DISK_SEED");
    let mut slow = Reply::text(&(0..8).map(|_| bulk(&mut dice)).collect::<String>());
    let gate = slow.gate();
    provider.reply(slow);
    let mut second = client.clone();
    let running = tokio::spawn(async move { calls::run(&mut second, "spent", Request::Start(start("Hello"))).await });
    provider.next_request().await;
    disk.fill();
    gate.open();

    let status = running.await.expect("no panic").expect_err("there is no room for the answer");

    assert_eq!((status.code(), reason_of(&status).as_str()), (Code::Aborted, "STORE_FAILED"), "{status:?}");
    assert_eq!(crate::support::status::pushback(&status), Some("-1"));
    let refused = calls::run(&mut client, "after", Request::Start(note("more"))).await;
    assert!(refused.is_err(), "it writes no more");
    assert_eq!(process.ended().await.code, Some(1));
    disk.clear();
    assert_kept(&flags, &BTreeMap::new()).await;
}

#[tokio::test]
async fn below_the_floor_no_turn_begins_and_those_that_run_are_stored() {
    let Some(disk) = Mount::new(200) else { return };
    let path = disk.path().join("store").display().to_string();
    let server = TestServer::with(&[("store.path", &path), ("store.min_free_mib", "100")]).await;
    let mut client = server.client().await;
    let mut health = watch(server.channel().await).await;
    wait_for(&mut health, ServingStatus::Serving).await;
    server.provider.reply(Reply::text("ok"));
    let first = calls::run(&mut client, "first", Request::Start(start("Hello"))).await.expect("there is room");
    let mut slow = Reply::text("in spite of it");
    let gate = slow.gate();
    server.provider.reply(slow);
    let mut second = client.clone();
    let more = Request::Append(append(&first.conversation_id, "more"));
    let running = tokio::spawn(async move { calls::run(&mut second, "running", more).await });
    server.provider.next_request().await;
    server.provider.next_request().await;

    disk.put("ballast", 120);
    wait_for(&mut health, ServingStatus::NotServing).await;

    let refused = calls::run(&mut client, "low", Request::Start(start("Hello"))).await.expect_err("there is no room");
    assert_promised(&refused, ErrorReason::StoreFailed, "low");
    assert!(refused.message().contains("store.min_free_mib"), "{}", refused.message());
    gate.open();
    let stored = running.await.expect("no panic").expect("a turn that runs is stored");
    assert_eq!(history(&mut client, &stored.conversation_id).await.expect("reads go on").len(), 4);
    server.provider.on_every(Reply::text("ok"));
    let aside = proto::StartRequest { store: Some(false), ..start("Hello") };
    calls::run(&mut client, "aside", Request::Start(aside)).await.expect("what is not stored needs no room");

    disk.remove("ballast");
    wait_for(&mut health, ServingStatus::Serving).await;
    calls::run(&mut client, "again", Request::Start(start("Hello"))).await.expect("there is room again");
    server.stop().await;
}

#[tokio::test]
async fn a_second_process_is_told_that_the_store_is_taken() {
    let dir = TempDir::new().expect("a temporary folder");
    let provider = ScriptedProvider::start().await;
    let store: &Path = &dir.path().join("store");
    let flags = process::flags(store, &provider.base_url());
    let first = Process::start(&flags).await;
    let mut client = first.client().await;
    let turn = calls::run(&mut client, "note", Request::Start(note("mine"))).await.expect("it is stored");

    let second = Process::spawn(&flags).ended().await;

    assert_eq!(second.code, Some(1));
    let told = format!("the store {} is in use by another process", store.display());
    assert!(second.said.contains(&told), "{}", second.said);
    get_conversation(&mut client, &turn.conversation_id).await.expect("the first is unharmed");
    assert_eq!(first.stop().await.code, Some(0));
    let third = Process::start(&flags).await;
    get_conversation(&mut third.client().await, &turn.conversation_id).await.expect("the store is free again");
    assert_eq!(third.stop().await.code, Some(0));
}
