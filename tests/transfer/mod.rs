//! Export and import: what goes out comes in again, and whole or not at all.

mod refused;
mod store;

use causerie::{
    domain::ConversationId,
    proto::{self, ExportRecord, ImportConversationsResponse, export_record::Kind, stream_events_request::Request},
    store::{Account, Options, Store},
};
use tonic::Status;

use self::store::fill;
use crate::support::{
    calls::{self, get_turn, history},
    server::{Client, TestServer, append, start},
    status::{named, told},
};

/// An export of one tree, or of all (empty).
pub(crate) async fn export(client: &mut Client, tree: &str) -> Vec<ExportRecord> {
    let request = proto::ExportConversationsRequest { conversation_id: tree.to_owned() };
    let mut stream = client.export_conversations(request).await.expect("an export").into_inner();
    let mut records = Vec::new();
    while let Some(record) = stream.message().await.expect("an export that does not break") {
        records.push(record);
    }
    records
}

pub(crate) async fn import(client: &mut Client, records: &[ExportRecord]) -> Result<(i64, i64), Status> {
    let requests: Vec<_> = records.iter().map(|record| request(record.clone())).collect();
    let answer = client.import_conversations(named("import", tokio_stream::iter(requests))).await?.into_inner();
    let ImportConversationsResponse { imported_version_count, skipped_version_count } = answer;
    Ok((imported_version_count, skipped_version_count))
}

fn request(record: ExportRecord) -> proto::ImportConversationsRequest {
    proto::ImportConversationsRequest { record: Some(record) }
}

/// The records without the time of the export.
pub(crate) fn timeless(mut records: Vec<ExportRecord>) -> Vec<ExportRecord> {
    let Some(Kind::Header(header)) = &mut records[0].kind else { panic!("a header first: {:?}", records[0]) };
    assert!(header.created_at.take().is_some());
    records
}

fn versions(records: &[ExportRecord]) -> Vec<&proto::ExportedVersion> {
    let versions = records.iter().filter_map(|record| match &record.kind {
        Some(Kind::Version(version)) => Some(version),
        _ => None,
    });
    versions.collect()
}

#[tokio::test]
async fn an_import_gives_what_was_exported() {
    let from = TestServer::start().await;
    let mut source = from.client().await;
    fill(&from, &mut source).await;
    let records = export(&mut source, "").await;
    let mut to = TestServer::start().await;

    let count = versions(&records).len() as i64;
    assert_eq!(import(&mut to.client().await, &records).await.expect("an import"), (count, 0));
    assert_eq!(import(&mut to.client().await, &records).await.expect("once more"), (0, count));

    to.restart().await;
    let mut target = to.client().await;
    assert_eq!(timeless(export(&mut target, "").await), timeless(records));
    let listed = calls::list_all(&mut source).await;
    assert_eq!(calls::list_all(&mut target).await, listed);
    for version in listed {
        let id = &version.id;
        assert_eq!(
            history(&mut target, id).await.expect("a history"),
            history(&mut source, id).await.expect("a history")
        );
        let turn = get_turn(&mut source, &version.turn_id).await.expect("its turn");
        assert_eq!(get_turn(&mut target, &version.turn_id).await.expect("its turn"), turn);
        let (events, _) = calls::watch(&mut target, "replay", calls::resume(&turn.id, 0)).await;
        assert_eq!(events, calls::watch(&mut source, "replay", calls::resume(&turn.id, 0)).await.0);
    }
    from.stop().await;
    to.stop().await;
}

#[tokio::test]
async fn one_tree_is_exported_alone() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let filled = fill(&server, &mut client).await;
    let records = export(&mut client, &filled.leaf).await;
    let roots: Vec<&str> = versions(&records)
        .into_iter()
        .map(|version| version.conversation.as_ref().expect("a version").root_id.as_str())
        .collect();
    assert!(roots.len() > 3 && roots.iter().all(|root| *root == filled.root), "{roots:?}");
    let Some(Kind::Header(header)) = &records[0].kind else { panic!("a header first") };
    let Some(Kind::Summary(summary)) = &records[records.len() - 1].kind else { panic!("a summary last") };
    assert_eq!((header.version_count, summary.version_count), (roots.len() as i64, roots.len() as i64));
    assert!(versions(&export(&mut client, "").await).len() > roots.len());
    server.stop().await;
}

#[tokio::test]
async fn what_was_imported_goes_on() {
    let from = TestServer::start().await;
    let mut source = from.client().await;
    let filled = fill(&from, &mut source).await;
    let to = TestServer::start().await;
    let mut client = to.client().await;
    import(&mut client, &export(&mut source, "").await).await.expect("an import");

    let again = calls::run(&mut client, "again", Request::Start(filled.request.clone())).await.expect("its turn");
    assert_eq!((&again.id, &again.conversation_id), (&filled.turn, &filled.root));
    assert!(to.provider.requests().is_empty(), "a request that was answered asks no model");
    let other = proto::StartRequest { request_id: filled.request.request_id, ..start("another question") };
    let status = calls::run(&mut client, "reused", Request::Start(other)).await.expect_err("its id is used");
    assert_eq!(told(&status, "turn_id"), again.id);

    to.provider.on_every(crate::support::provider::Reply::text("on we go"));
    let turn = calls::run(&mut client, "on", Request::Append(append(&filled.leaf, "Go on."))).await.expect("an answer");
    let whole = history(&mut client, &turn.conversation_id).await.expect("a history");
    let before = history(&mut source, &filled.leaf).await.expect("a history");
    assert_eq!((&whole[..before.len()], whole.len()), (&before[..], before.len() + 2));
    let results = proto::AppendRequest { inputs: filled.results, ..append(&filled.waiting, "") };
    calls::run(&mut client, "results", Request::Append(results)).await.expect("the calls that wait are known");
    from.stop().await;
    to.stop().await;
}

#[tokio::test]
async fn an_imported_tree_has_spent_what_its_turns_used() {
    let from = TestServer::start().await;
    from.provider.on_every(crate::support::provider::Reply::text("so many words"));
    let mut source = from.client().await;
    let tree_budget = Some(proto::Budget { max_tokens: Some(1_000_000), max_cost: None });
    let request = Request::Start(proto::StartRequest { tree_budget, ..start("One?") });
    let root = calls::run(&mut source, "root", request).await.expect("an answer");
    let next = Request::Append(append(&root.conversation_id, "Two?"));
    let next = calls::run(&mut source, "next", next).await.expect("an answer");
    let free = calls::run(&mut source, "free", Request::Start(start("Free?"))).await.expect("an answer");
    let mut to = TestServer::start().await;
    let mut target = to.client().await;
    let records = export(&mut source, "").await;
    assert_eq!(import(&mut target, &records).await.expect("an import"), (3, 0));
    assert_eq!(import(&mut target, &records).await.expect("once more"), (0, 3));
    to.begin_stop().await.expect("no panic").expect("it stops well");

    let store = Store::open(&Options::new(to.store_path())).expect("it opens");
    let spent = |turn: &proto::Turn| {
        let tree = Account::Tree(turn.conversation_id.parse::<ConversationId>().expect("an id"));
        store.spent(&tree).expect("readable").tokens as i64
    };
    let used = |turn: &proto::Turn| turn.usage.as_ref().expect("usage").total_tokens;
    assert!(used(&root) > 0);
    assert_eq!((spent(&root), spent(&free)), (used(&root) + used(&next), 0));
    from.stop().await;
}
