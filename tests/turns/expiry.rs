//! Trees that go by themselves: by default, as Start says, as SetExpiration says; while the server runs, and at its start.

use std::time::Duration;

use causerie::{
    proto::{
        self, set_expiration_request, start_request::Expiration, stream_events_request::Request, turn::State,
        watch_service_client::WatchServiceClient,
    },
    store::{Options, Store},
};
use prost_types::Timestamp;
use tonic::{Code, Status};

use super::{from_now, get, silent_turn};
use crate::support::{
    calls,
    completion::silence,
    events::{full, soon, watch},
    reads,
    refusal::{fields, told},
    server::{Client, TestServer, append, start},
};

fn question(expiration: Option<Expiration>) -> proto::StartRequest {
    proto::StartRequest { skip_completion: true, expiration, ..start("Keep this for a while") }
}

async fn begin(client: &mut Client, expiration: Option<Expiration>) -> String {
    client.start(question(expiration)).await.expect("it is stored").into_inner().conversation_id
}

async fn set(
    client: &mut Client,
    id: &str,
    expiration: Option<set_expiration_request::Expiration>,
) -> Result<proto::Conversation, Status> {
    let request = proto::SetExpirationRequest { conversation_id: id.to_owned(), expiration };
    client.set_expiration(request).await.map(tonic::Response::into_inner)
}

fn at(time: Timestamp) -> Option<set_expiration_request::Expiration> {
    Some(set_expiration_request::Expiration::ExpireTime(time))
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

async fn expiry(client: &Client, id: &str) -> Option<Timestamp> {
    reads::version(client, id).await.expire_time
}

/// How many seconds a version's tree lives, from the version's own time on.
async fn lives(client: &Client, id: &str) -> i64 {
    let version = reads::version(client, id).await;
    let us = |time: Timestamp| time.seconds * 1_000_000 + i64::from(time.nanos) / 1000;
    let lives = us(version.expire_time.expect("it goes")) - us(version.created_at.expect("a time"));
    assert_eq!(lives % 1_000_000, 0, "from its acceptance, to the microsecond");
    lives / 1_000_000
}

/// The first versions of a tree that are deleted, in the order in which Watch tells of them.
async fn deleted(server: &TestServer, root: &str, count: usize) -> Vec<String> {
    let filter = proto::ChangeFilter {
        root_id: root.to_owned(),
        kinds: vec![proto::ChangeKind::VersionDeleted.into()],
        ..Default::default()
    };
    let start = Some(proto::watch_request::Start::AfterRevision(0));
    let request = proto::WatchRequest { start, filter: Some(filter), include_events: false };
    let mut watch = WatchServiceClient::new(server.channel().await);
    let mut changes = watch.watch(request).await.expect("a stream").into_inner();
    let mut seen = Vec::new();
    while seen.len() < count {
        let message = soon(changes.message()).await.expect("no error").expect("it has no end");
        seen.extend(message.changes.into_iter().map(|change| change.conversation_id));
    }
    seen
}

async fn until_gone(client: &mut Client, id: &str) {
    let gone = async { while calls::get_conversation(client, id).await.is_ok() {} };
    soon(gone).await;
}

#[tokio::test]
async fn a_start_says_how_long_its_tree_lives() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let forever = begin(&mut client, None).await;
    assert_eq!(expiry(&client, &forever).await, None);
    let hour = begin(&mut client, Some(Expiration::Ttl(seconds(3600)))).await;
    assert_eq!(lives(&client, &hour).await, 3600);
    let tomorrow = Timestamp { nanos: 5000, ..from_now(86_400) };
    let until = begin(&mut client, Some(Expiration::ExpireTime(tomorrow))).await;
    assert_eq!(expiry(&client, &until).await, Some(tomorrow));
    // It holds for the tree, and every version of it says so.
    let more = proto::AppendRequest { skip_completion: true, ..append(&until, "more") };
    let more = client.append(more).await.expect("it is stored").into_inner().conversation_id;
    assert_eq!(expiry(&client, &more).await, Some(tomorrow));
    let listed = calls::list_all(&mut client).await;
    let times: Vec<_> = listed.into_iter().map(|version| (version.id, version.expire_time)).collect();
    let hour_time = expiry(&client, &hour).await;
    assert_eq!(times, [(more, Some(tomorrow)), (until.clone(), Some(tomorrow)), (hour, hour_time), (forever, None)]);
    let request = proto::ListVersionsRequest { conversation_id: until, ..Default::default() };
    let versions = client.list_versions(request).await.expect("a tree").into_inner().versions;
    assert!(versions.len() == 2 && versions.iter().all(|version| version.expire_time == Some(tomorrow)));
    server.stop().await;
}

#[tokio::test]
async fn the_configuration_says_how_long_the_others_live() {
    let server = TestServer::with(&[("conversations.ttl", "2d")]).await;
    let mut client = server.client().await;
    let usual = begin(&mut client, None).await;
    assert_eq!(lives(&client, &usual).await, 2 * 86_400);
    let short = begin(&mut client, Some(Expiration::Ttl(seconds(60)))).await;
    assert_eq!(lives(&client, &short).await, 60);
    // For ever, whatever the configuration says.
    assert_eq!(set(&mut client, &usual, None).await.expect("the first version").expire_time, None);
    assert_eq!(expiry(&client, &usual).await, None);
    server.stop().await;
}

#[tokio::test]
async fn an_expiration_is_set_changed_and_taken_back() {
    let mut server = TestServer::start().await;
    let mut client = server.client().await;
    let first = begin(&mut client, None).await;
    let more = proto::AppendRequest { skip_completion: true, ..append(&first, "more") };
    let more = client.append(more).await.expect("it is stored").into_inner().conversation_id;
    let tomorrow = Timestamp { nanos: 0, ..from_now(86_400) };
    let changed = set(&mut client, &more, at(tomorrow)).await.expect("the first version");
    assert_eq!((changed.id.as_str(), changed.expire_time, changed.head), (first.as_str(), Some(tomorrow), false));
    server.restart().await;
    let mut client = server.client().await;
    assert_eq!(expiry(&client, &more).await, Some(tomorrow));
    let ttl = set_expiration_request::Expiration::Ttl(seconds(7200));
    let changed = set(&mut client, &first, Some(ttl)).await.expect("the first version").expire_time.expect("a time");
    assert!((7190..=7201).contains(&(changed.seconds - from_now(0).seconds)), "{changed:?}");
    assert_eq!(set(&mut client, &first, None).await.expect("the first version").expire_time, None);
    assert_eq!(expiry(&client, &more).await, None);

    let unknown = "conv_019f0000000070008000000000000000";
    let refused = set(&mut client, unknown, None).await.expect_err("no such tree");
    assert_eq!(told(&refused), (Code::NotFound, "CONVERSATION_NOT_FOUND".to_owned()));
    server.stop().await;
}

#[tokio::test]
async fn an_expiration_that_cannot_be_is_refused() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    for (expiration, field) in [
        (Expiration::ExpireTime(from_now(-1)), "expire_time"),
        (Expiration::ExpireTime(Timestamp { seconds: 0, nanos: -1 }), "expire_time.nanos"),
        (Expiration::Ttl(seconds(0)), "ttl"),
        (Expiration::Ttl(seconds(-5)), "ttl"),
        (Expiration::Ttl(seconds(200 * 366 * 86_400)), "ttl"),
    ] {
        let refused = client.start(question(Some(expiration))).await.expect_err("not so");
        assert_eq!(
            (refused.code(), fields(&refused)),
            (Code::InvalidArgument, vec![field.to_owned()]),
            "{expiration:?}"
        );
    }
    let aside = proto::StartRequest { store: Some(false), ..start("aside") };
    let aside = proto::StartRequest { expiration: Some(Expiration::Ttl(seconds(60))), ..aside };
    let refused = client.start(aside).await.expect_err("there is nothing that could go");
    assert_eq!(fields(&refused), ["ttl"]);
    server.stop().await;
}

/// A request that is sent again finds its turn, also when what it asked for has become the past.
#[tokio::test]
async fn a_repeated_start_is_not_late() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let soon_over = Expiration::ExpireTime(from_now(1));
    let request = proto::StartRequest { request_id: "once".to_owned(), ..question(Some(soon_over)) };
    let turn = client.start(request.clone()).await.expect("it is stored").into_inner();
    set(&mut client, &turn.conversation_id, None).await.expect("it is kept");
    soon(async {
        while from_now(0).seconds <= turn.created_at.map_or(0, |time| time.seconds + 1) {
            tokio::task::yield_now().await
        }
    })
    .await;
    assert_eq!(client.start(request).await.expect("the same turn").into_inner(), turn);
    server.stop().await;
}

#[tokio::test]
async fn a_tree_goes_when_its_time_has_come() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let kept = begin(&mut client, Some(Expiration::Ttl(seconds(3600)))).await;
    let began = std::time::Instant::now();
    let first = begin(&mut client, Some(Expiration::Ttl(seconds(1)))).await;
    let more = proto::AppendRequest { skip_completion: true, ..append(&first, "more") };
    let more = client.append(more).await.expect("it is stored").into_inner();
    server.provider.reply(silence());
    let mut reader = watch(&client, full(Request::Append(append(&first, "and more")))).await;
    let running = reader.started().await;

    assert_eq!(deleted(&server, &first, 2).await, [more.conversation_id.clone(), first.clone()]);

    let lived = began.elapsed();
    assert!(lived >= Duration::from_millis(990) && lived < Duration::from_secs(4), "{lived:?}");
    for id in [&first, &more.conversation_id] {
        until_gone(&mut client, id).await;
    }
    let gone = get(&mut client, &more.id).await.expect_err("its turns go with it");
    assert_eq!(told(&gone), (Code::NotFound, "TURN_NOT_FOUND".to_owned()));
    // The turn in flight ends as with any delete: there is nothing left to go on from.
    let cancelled = super::cancel(&mut client, &running).await;
    assert_eq!(cancelled.state(), State::Cancelled);
    assert_eq!(calls::list_all(&mut client).await.len(), 1);
    assert!(expiry(&client, &kept).await.is_some());
    server.stop().await;
}

/// The sweeper waits for the next tree that it knows of: one that is due earlier wakes it.
#[tokio::test]
async fn an_earlier_time_is_noticed() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let mut trees = Vec::new();
    for hours in 1..4 {
        trees.push(begin(&mut client, Some(Expiration::Ttl(seconds(hours * 3600)))).await);
    }
    for tree in &trees {
        set(&mut client, tree, at(from_now(-60))).await.expect("it is there, a moment longer");
        until_gone(&mut client, tree).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn what_came_due_while_the_server_was_down_goes_at_its_start() {
    let mut server = TestServer::start().await;
    let mut client = server.client().await;
    let first = begin(&mut client, Some(Expiration::Ttl(seconds(3600)))).await;
    let kept = begin(&mut client, None).await;
    let root = first.parse().expect("an id");
    server
        .restart_around(async |path| {
            let store = tokio::task::spawn_blocking({
                let options = Options::new(path);
                move || Store::open(&options)
            });
            let store = store.await.expect("no panic").expect("the server has closed it");
            let an_hour_ago = from_now(-3600).seconds * 1_000_000;
            store.set_expiry(root, Some(causerie::domain::Time { unix_us: an_hour_ago })).await.expect("written");
            tokio::task::spawn_blocking(move || store.close()).await.expect("no panic");
        })
        .await;
    let mut client = server.client().await;
    until_gone(&mut client, &first).await;
    assert_eq!(calls::list_all(&mut client).await.into_iter().map(|version| version.id).collect::<Vec<_>>(), [kept]);
    server.stop().await;
}

/// Exports leave it out: an imported tree is kept until somebody says otherwise.
#[tokio::test]
async fn an_imported_tree_is_kept() {
    let (from, to) = (TestServer::start().await, TestServer::with(&[("conversations.ttl", "1h")]).await);
    let mut client = from.client().await;
    let id = begin(&mut client, Some(Expiration::Ttl(seconds(3600)))).await;
    let records = client.export_conversations(proto::ExportConversationsRequest::default()).await.expect("an export");
    let mut records = records.into_inner();
    let mut requests = Vec::new();
    while let Some(record) = records.message().await.expect("a whole export") {
        requests.push(proto::ImportConversationsRequest { record: Some(record) });
    }
    let mut other = to.client().await;
    other.import_conversations(tokio_stream::iter(requests)).await.expect("imported");
    assert_eq!(expiry(&other, &id).await, None);
    from.stop().await;
    to.stop().await;
}

/// A silent turn that begins a tree: its time counts from its acceptance, not from its end.
#[tokio::test]
async fn a_turn_that_takes_longer_than_its_tree_lives_ends_all_the_same() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let mut answer = crate::support::completion::stream_of(&["Hello"], "stop");
    let gate = answer.gate();
    server.provider.reply(answer);
    let request = proto::StartRequest { expiration: Some(Expiration::Ttl(seconds(1))), ..start("Hi") };
    let mut reader = watch(&client, full(Request::Start(request))).await;
    let id = reader.started().await;
    // Another tree of the same age shows that the time has come.
    let other = begin(&mut client, Some(Expiration::Ttl(seconds(1)))).await;
    until_gone(&mut client, &other).await;
    gate.open();
    let seen = reader.rest().await;
    assert_eq!((seen.turn().state(), seen.turn().id.as_str()), (State::Completed, id.as_str()));
    until_gone(&mut client, &seen.turn().conversation_id).await;
    let (_reader, running) = silent_turn(&server, &client).await;
    super::cancel(&mut client, &running).await;
    server.stop().await;
}
