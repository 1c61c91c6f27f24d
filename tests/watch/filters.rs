//! Which changes a reader gets, and how its cursor moves past the others.

use std::collections::BTreeMap;

use causerie::proto::{self, ChangeFilter, ChangeKind, turn::State};
use tonic::Code;

use super::{after, all, filtered, from_oldest, now, refused, say, watch, watcher};
use crate::support::{
    provider::Reply,
    refusal::{fields, told},
    server::{TestServer, append, start},
};

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn a_filter_lets_through_what_fits_in_all() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    server.provider.on_every(Reply::text("Yes"));
    // 1: a conversation with metadata.
    let metadata = pairs(&[("team", "red"), ("tier", "1")]);
    let red = client.start(proto::StartRequest { metadata, ..start("Hello") }).await.expect("a turn").into_inner();
    // 2: on it, with another model.
    let other = proto::AppendRequest { model: "other-model".into(), ..append(&red.conversation_id, "And?") };
    client.append(other).await.expect("a turn");
    // 3: another one.
    let blue = say(&client, "Hello").await;
    // 4: which fails.
    server.provider.on_model("scripted-model", [Reply::json(503, &serde_json::json!({"message": "later"}))]);
    client.append(append(&blue.conversation_id, "And?")).await.expect_err("the provider fails");
    // 5: and is deleted.
    let request = proto::DeleteConversationRequest { conversation_id: blue.conversation_id.clone(), force: false };
    client.delete_conversation(request).await.expect("it is there");

    let watcher = watcher(&server).await;
    let any = ChangeFilter::default;
    let kinds = |kinds: &[ChangeKind]| kinds.iter().map(|kind| (*kind).into()).collect::<Vec<i32>>();
    let created = kinds(&[ChangeKind::VersionCreated]);
    let cases = [
        ("all", any(), vec![1, 2, 3, 4, 5]),
        ("tree", ChangeFilter { root_id: red.conversation_id.clone(), ..any() }, vec![1, 2]),
        ("a tree that is gone", ChangeFilter { root_id: blue.conversation_id.clone(), ..any() }, vec![3, 4, 5]),
        ("model", ChangeFilter { model: "other-model".into(), ..any() }, vec![2]),
        ("agent", ChangeFilter { agent_id: "agent_none".into(), ..any() }, vec![]),
        ("a pair", ChangeFilter { metadata: pairs(&[("team", "red")]), ..any() }, vec![1, 2]),
        ("two pairs", ChangeFilter { metadata: pairs(&[("team", "red"), ("tier", "1")]), ..any() }, vec![1, 2]),
        ("a pair that is not", ChangeFilter { metadata: pairs(&[("team", "red"), ("tier", "2")]), ..any() }, vec![]),
        (
            "kind",
            ChangeFilter { kinds: kinds(&[ChangeKind::TurnEnded, ChangeKind::VersionDeleted]), ..any() },
            vec![4, 5],
        ),
        ("state", ChangeFilter { states: vec![State::Completed.into()], ..any() }, vec![1, 2, 3]),
        ("both", ChangeFilter { kinds: created, model: "scripted-model".into(), ..any() }, vec![1, 3]),
        ("batch", ChangeFilter { batch_id: "batch_00000000000070008000000000000000".into(), ..any() }, vec![]),
    ];
    for (what, filter, expected) in cases {
        assert_eq!(all(&watcher, filter).await.revisions(), expected, "{what}");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_agents_changes_can_be_chosen() {
    let server = TestServer::start().await;
    server.provider.on_every(Reply::text("Yes"));
    let mut agents = proto::agent_service_client::AgentServiceClient::new(server.channel().await);
    let agent = proto::Agent { name: "support".into(), model: "scripted-model".into(), ..Default::default() };
    let request = proto::CreateAgentRequest { agent: Some(agent), ..Default::default() };
    let agent_id = agents.create_agent(request).await.expect("an agent").into_inner().id;
    let mut client = server.client().await;
    say(&client, "Hello").await;
    let led = proto::StartRequest { model: String::new(), agent_id: agent_id.clone(), ..start("Hello") };
    client.start(led).await.expect("a turn");

    let watcher = watcher(&server).await;
    let found = all(&watcher, ChangeFilter { agent_id: agent_id.clone(), ..Default::default() }).await;
    assert_eq!(found.revisions(), [2]);
    assert_eq!((&found.changes[0].agent_id, &*found.changes[0].model), (&agent_id, "scripted-model"));
    server.stop().await;
}

/// A reader must not have to read everything again because nothing was for it.
#[tokio::test]
async fn the_cursor_moves_while_nothing_fits() {
    let server = TestServer::with(&[("events.heartbeat", "1s")]).await;
    let client = server.client().await;
    let nothing = ChangeFilter { model: "nobody".into(), ..Default::default() };
    let watcher = watcher(&server).await;
    let mut following = watch(&watcher, filtered(now(), nothing)).await;
    for _ in 0..3 {
        say(&client, "Hello").await;
    }
    following.until(3).await;
    assert_eq!(following.revisions(), [0; 0]);
    let idle = following.next().await;
    assert_eq!((idle.revision, idle.changes.len()), (3, 0), "it says so again while nothing happens");
    server.stop().await;
}

#[tokio::test]
async fn a_reader_is_told_when_it_has_caught_up() {
    let server = TestServer::with(&[("events.heartbeat", "5m")]).await;
    let client = server.client().await;
    for _ in 0..3 {
        say(&client, "Hello").await;
    }
    let nothing = ChangeFilter { model: "nobody".into(), ..Default::default() };
    let watcher = watcher(&server).await;
    for begin in [from_oldest(), after(1)] {
        let mut following = watch(&watcher, filtered(begin, nothing.clone())).await;
        assert_eq!(following.next().await.revision, 3, "long before a heartbeat");
    }
    server.stop().await;
}

#[tokio::test]
async fn all_that_is_wrong_with_a_request_is_told() {
    let server = TestServer::start().await;
    let filter = ChangeFilter {
        root_id: "conv_1".into(),
        model: "no model".into(),
        agent_id: "an agent".into(),
        metadata: pairs(&[("", "x")]),
        kinds: vec![ChangeKind::VersionCreated.into(), 0, 99],
        states: vec![0],
        batch_id: "batch_1".into(),
    };
    let mut request = filtered(from_oldest(), filter);
    request.start = Some(proto::watch_request::Start::FromOldest(false));
    let status = refused(&watcher(&server).await, request).await;
    assert_eq!(told(&status), (Code::InvalidArgument, "INVALID_REQUEST".to_owned()));
    let expected = [
        "from_oldest",
        "filter.root_id",
        "filter.batch_id",
        "filter.model",
        "filter.agent_id",
        "filter.metadata",
        "filter.kinds[1]",
        "filter.kinds[2]",
        "filter.states[0]",
    ];
    assert_eq!(fields(&status), expected);
    server.stop().await;
}
