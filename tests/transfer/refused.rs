//! Imports that are refused: cut off, tampered with, or of a version that is there with other content.

use causerie::proto::{self, ErrorReason, ExportRecord, export_record::Kind};

use super::{export, import, store::fill, timeless, versions};
use crate::support::{
    calls::{self, get_turn, history},
    server::{Client, TestServer},
    status::{assert_promised, fields_of, told},
};

async fn exported() -> Vec<ExportRecord> {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    fill(&server, &mut client).await;
    let records = export(&mut client, "").await;
    server.stop().await;
    records
}

/// What is stored is whole.
async fn assert_whole(client: &mut Client) -> usize {
    let listed = calls::list_all(client).await;
    for version in &listed {
        assert_eq!(history(client, &version.id).await.expect("a history").len() as i64, version.entry_count);
        get_turn(client, &version.turn_id).await.expect("its turn");
    }
    listed.len()
}

#[tokio::test]
async fn an_export_that_was_cut_off_is_told_and_can_be_completed() {
    let records = exported().await;
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let mut stored = 0;
    for end in 0..records.len() {
        let status = import(&mut client, &records[..end]).await.expect_err("it was cut off");
        assert_promised(&status, ErrorReason::InvalidRequest, "import");
        assert_eq!(fields_of(&status), ["record"], "{end}: {status:?}");
        let now = assert_whole(&mut client).await;
        assert!(now >= stored && now <= versions(&records[..end]).len(), "{now} of {end} records");
        stored = now;
    }
    let all = versions(&records).len();
    assert_eq!(stored, all, "versions that came whole are kept");
    assert_eq!(import(&mut client, &records).await.expect("the whole export"), (0, all as i64));
    assert_eq!(timeless(export(&mut client, "").await), timeless(records));
    server.stop().await;
}

/// What is changed in an export, and the field that is told.
type Change = (&'static str, fn(&mut Vec<ExportRecord>), &'static str);

fn version(records: &mut [ExportRecord]) -> &mut proto::ExportedVersion {
    match &mut records[1].kind {
        Some(Kind::Version(version)) => version,
        other => panic!("a version follows the header: {other:?}"),
    }
}

fn conversation(records: &mut [ExportRecord]) -> &mut proto::Conversation {
    version(records).conversation.as_mut().expect("it is there")
}

fn turn(records: &mut [ExportRecord]) -> &mut proto::Turn {
    version(records).turn.as_mut().expect("it is there")
}

fn event(records: &mut [ExportRecord], nth: usize) -> &mut proto::Event {
    let mut events = records.iter_mut().filter_map(|record| match &mut record.kind {
        Some(Kind::Event(event)) => Some(event),
        _ => None,
    });
    events.nth(nth).expect("so many events")
}

fn entry(records: &mut [ExportRecord]) -> &mut proto::Entry {
    match &mut records[2].kind {
        Some(Kind::Entry(entry)) => entry,
        other => panic!("entries follow their version: {other:?}"),
    }
}

const OTHER: &str = "019f0000000070008000000000000000";

/// All of them in the first version, so that nothing may be stored.
const CHANGES: [Change; 27] = [
    ("no header", |r| drop(r.remove(0)), "record"),
    ("two headers", |r| r.insert(1, r[0].clone()), "record.header"),
    ("another format", |r| r[0] = header(2), "record.header.format"),
    ("an empty record", |r| r[1] = ExportRecord::default(), "record"),
    ("no version", |r| drop(r.remove(1)), "record.entry"),
    ("two versions at once", |r| r.insert(2, r[1].clone()), "record"),
    ("an entry missing", |r| drop(r.remove(3)), "record.event"),
    ("an entry twice", |r| r.insert(3, r[2].clone()), "record.entry"),
    ("an event missing", |r| drop(r.remove(4)), "record.event.sequence"),
    ("a sequence", |r| event(r, 1).sequence = 7, "record.event.sequence"),
    ("an event of nothing", |r| event(r, 0).kind = None, "record.event"),
    ("an id of an entry", |r| entry(r).id = format!("turn_{OTHER}"), "record.entry.id"),
    ("an entry of nothing", |r| entry(r).kind = None, "record.entry"),
    ("a conversation missing", |r| version(r).conversation = None, "record.version.conversation"),
    ("a turn missing", |r| version(r).turn = None, "record.version.turn"),
    ("an id", |r| conversation(r).id = format!("conv_{OTHER}"), "record.version.turn.id"),
    ("a root", |r| conversation(r).root_id = format!("conv_{OTHER}"), "record.version.conversation.root_id"),
    ("a count of turns", |r| conversation(r).turn_count = 5, "record.version.conversation.turn_count"),
    ("a count of entries", |r| conversation(r).entry_count = 99, "record.version.added_entry_count"),
    ("a negative count", |r| version(r).event_count = -1, "record.version.event_count"),
    ("a state", |r| turn(r).state = 4711, "record.version.turn.state"),
    ("another state", |r| turn(r).set_state(proto::turn::State::Incomplete), "record.version.turn.state"),
    ("the last sequence", |r| turn(r).last_sequence += 1, "record.version.turn.last_sequence"),
    (
        "a call that waits",
        |r| conversation(r).pending_tool_call_ids.push("c".to_owned()),
        "record.version.conversation.pending_tool_call_ids",
    ),
    (
        "the last entry",
        |r| conversation(r).last_entry_id = format!("msg_{OTHER}"),
        "record.version.conversation.last_entry_id",
    ),
    ("what is kept of no parent", |r| keep_one(r), "record.version.kept_entry_count"),
    ("a fingerprint", |r| version(r).request_fingerprint.truncate(15), "record.version.request_fingerprint"),
];

fn header(format: i32) -> ExportRecord {
    ExportRecord { kind: Some(Kind::Header(proto::ExportHeader { format, ..Default::default() })) }
}

fn keep_one(records: &mut [ExportRecord]) {
    version(records).kept_entry_count = 1;
    conversation(records).entry_count += 1;
}

#[tokio::test]
async fn a_record_that_was_tampered_with_is_refused_by_its_field() {
    let records = exported().await;
    let server = TestServer::start().await;
    let mut client = server.client().await;
    for (name, change, field) in CHANGES {
        let mut records = records.clone();
        change(&mut records);
        let status = import(&mut client, &records).await.expect_err(name);
        assert_promised(&status, ErrorReason::InvalidRequest, "import");
        assert!(fields_of(&status).iter().any(|told| told.starts_with(field)), "{name}: {status:?}");
        assert_eq!(calls::list_all(&mut client).await, [], "{name}: nothing is stored");
    }
    server.stop().await;
}

/// The end of an export, after all versions are stored.
#[tokio::test]
async fn an_end_that_was_tampered_with_is_refused() {
    let records = exported().await;
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let mut more = records.clone();
    let last = more.len() - 1;
    more[last].kind = Some(Kind::Summary(proto::ExportSummary { version_count: 4711 }));
    let status = import(&mut client, &more).await.expect_err("another count");
    assert_eq!(fields_of(&status), ["record.summary.version_count"]);
    assert_eq!(told(&status, "record"), records.len().to_string(), "the number of the record, which is its line");
    let mut beyond = records.clone();
    beyond.push(records[1].clone());
    let status = import(&mut client, &beyond).await.expect_err("a record after the summary");
    assert_eq!(fields_of(&status), ["record"]);
    server.stop().await;
}

#[tokio::test]
async fn a_version_without_its_parent_is_refused() {
    let mut records = exported().await;
    let second = records.iter().enumerate().filter(|(_, record)| matches!(record.kind, Some(Kind::Version(_))));
    let second = second.map(|(at, _)| at).nth(1).expect("a second version");
    records.drain(1..second);
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let status = import(&mut client, &records).await.expect_err("its parent is not there");
    assert_promised(&status, ErrorReason::ConversationNotFound, "import");
    assert_eq!(calls::list_all(&mut client).await, []);
    server.stop().await;
}

#[tokio::test]
async fn a_version_that_is_there_with_other_content_is_not_replaced() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    fill(&server, &mut client).await;
    let records = export(&mut client, "").await;
    let changes: [fn(&mut Vec<ExportRecord>); 3] = [
        |r| turn(r).usage.as_mut().expect("usage").total_tokens += 1,
        |r| conversation(r).instructions = "Be long.".to_owned(),
        |r| entry(r).model = "forged".to_owned(),
    ];
    for change in changes {
        let mut forged = records.clone();
        change(&mut forged);
        let status = import(&mut client, &forged).await.expect_err("it is there with other content");
        assert_promised(&status, ErrorReason::VersionExists, "import");
        assert_eq!(told(&status, "conversation_id"), conversation(&mut forged).id);
    }
    assert_eq!(timeless(export(&mut client, "").await), timeless(records), "nothing has changed");
    server.stop().await;
}
