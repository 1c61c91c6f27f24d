//! ListEntries: pages of a history, in both orders, filtered or not.

use causerie::proto::{
    self, EntryKind, chunk::Kind as ChunkKind, entry::Kind, list_entries_request::Order, stream_events_request::Request,
};
use prost::Message;

use super::{make, more, question};
use crate::support::{
    calls::history,
    server::{Client, TestServer, entry_text, start},
};

/// What clients take in one message unless told otherwise.
const MESSAGE_BYTES: usize = 4 << 20;

fn message(text: &str) -> proto::Entry {
    let content = vec![proto::Chunk { kind: Some(ChunkKind::Text(text.to_owned())) }];
    let kind = Kind::MessageInput(proto::MessageInput { role: proto::Role::User.into(), content, prefix: false });
    proto::Entry { kind: Some(kind), ..Default::default() }
}

fn called(n: usize) -> [proto::Entry; 2] {
    let tool_call_id = format!("call_{n}");
    let call = proto::FunctionCall { tool_call_id: tool_call_id.clone(), name: "f".to_owned(), ..Default::default() };
    let result = proto::FunctionResult { tool_call_id, ..Default::default() };
    [Kind::FunctionCall(call), Kind::FunctionResult(result)]
        .map(|kind| proto::Entry { kind: Some(kind), ..Default::default() })
}

/// All pages of a request, and how long each was.
async fn pages(client: &mut Client, mut request: proto::ListEntriesRequest) -> (Vec<proto::Entry>, Vec<usize>) {
    let (mut entries, mut sizes) = (Vec::new(), Vec::new());
    loop {
        let page = client.list_entries(request.clone()).await.expect("a page").into_inner();
        assert!(page.encoded_len() < MESSAGE_BYTES, "a page never exceeds the message limit");
        sizes.push(page.entries.len());
        entries.extend(page.entries);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return (entries, sizes);
        }
    }
}

/// A history of 12 turns with a branch at every third: each branch is a restart, so that the path crosses them all.
async fn branched(client: &mut Client) -> (String, Vec<String>) {
    let mut id = make(client, Request::Start(question("0"))).await;
    let mut texts = vec!["0".to_owned()];
    for turn in 1..12 {
        let inputs: Vec<proto::Entry> = called(turn).into_iter().chain([message(&turn.to_string())]).collect();
        let added = [String::new(), String::new(), turn.to_string()];
        if turn % 3 == 0 {
            // The newest entry goes, and a sibling takes its place.
            let entries = history(client, &id).await.expect("a history");
            make(client, Request::Append(more(&id, "aside"))).await;
            texts.pop();
            let restart = proto::RestartRequest {
                conversation_id: id,
                from_entry_id: entries[entries.len() - 2].id.clone(),
                inputs,
                skip_completion: true,
                ..Default::default()
            };
            id = make(client, Request::Restart(restart)).await;
        } else {
            let append =
                proto::AppendRequest { conversation_id: id, inputs, skip_completion: true, ..Default::default() };
            id = make(client, Request::Append(append)).await;
        }
        texts.extend(added);
    }
    (id, texts)
}

#[tokio::test]
async fn pages_make_the_history_in_both_orders_across_branches() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    // A restart after the second-last entry needs two entries.
    let (id, texts) = branched(&mut client).await;
    let ask = |page_size, order: Order, kinds: &[EntryKind]| proto::ListEntriesRequest {
        conversation_id: id.clone(),
        page_size,
        order: order.into(),
        kinds: kinds.iter().map(|kind| i32::from(*kind)).collect(),
        page_token: String::new(),
    };
    let (whole, _) = pages(&mut client, ask(1000, Order::Unspecified, &[])).await;
    assert_eq!(whole.iter().map(entry_text).collect::<Vec<_>>(), texts);
    let backwards: Vec<proto::Entry> = whole.iter().rev().cloned().collect();
    for size in [1, 2, 7, 31, 32, 33] {
        let (oldest_first, sizes) = pages(&mut client, ask(size, Order::OldestFirst, &[])).await;
        assert_eq!(oldest_first, whole, "{size} a page");
        assert!(sizes.iter().rev().skip(1).all(|len| *len == size as usize), "{size} a page: {sizes:?}");
        let (newest_first, _) = pages(&mut client, ask(size, Order::NewestFirst, &[])).await;
        assert_eq!(newest_first, backwards, "{size} a page");
    }
    let calls = |entry: &&proto::Entry| matches!(entry.kind, Some(Kind::FunctionCall(_)));
    let results = |entry: &&proto::Entry| matches!(entry.kind, Some(Kind::FunctionResult(_)));
    let only: Vec<proto::Entry> = whole.iter().filter(calls).cloned().collect();
    assert_eq!(pages(&mut client, ask(2, Order::OldestFirst, &[EntryKind::FunctionCall])).await.0, only);
    let both: Vec<proto::Entry> = backwards.iter().filter(|e| calls(e) || results(e)).cloned().collect();
    let kinds = [EntryKind::FunctionCall, EntryKind::FunctionResult];
    assert_eq!(pages(&mut client, ask(5, Order::NewestFirst, &kinds)).await.0, both);
    assert_eq!(pages(&mut client, ask(5, Order::OldestFirst, &[EntryKind::AgentHandoff])).await.0, []);
    server.stop().await;
}

#[tokio::test]
async fn a_long_history_is_read_whole() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let block = |first: usize| (first..first + 300).map(|n| message(&n.to_string())).collect();
    let first = proto::StartRequest { inputs: block(0), skip_completion: true, ..start("") };
    let mut id = make(&mut client, Request::Start(first)).await;
    for turn in 1..40 {
        let request = proto::AppendRequest { inputs: block(300 * turn), ..more(&id, "") };
        id = make(&mut client, Request::Append(request)).await;
    }
    let texts: Vec<String> = history(&mut client, &id).await.expect("a history").iter().map(entry_text).collect();
    assert!(texts.iter().map(|text| text.parse()).eq((0..12_000).map(Ok)));
    // A kind that is rare is looked for page by page, none of which takes long.
    let rare = proto::ListEntriesRequest {
        conversation_id: id,
        kinds: vec![EntryKind::HumanHandoff.into()],
        ..Default::default()
    };
    let (found, sizes) = pages(&mut client, rare).await;
    assert_eq!((found.len(), sizes.len() > 1), (0, true), "empty pages that are not the last one: {sizes:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_page_of_large_entries_ends_before_it_outgrows_a_message() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let large = |n: usize| message(&format!("{n} {}", "x".repeat(900 << 10)));
    let request = proto::StartRequest { inputs: (0..3).map(large).collect(), skip_completion: true, ..start("") };
    let mut id = make(&mut client, Request::Start(request)).await;
    for turn in 1..4 {
        let inputs = (3 * turn..3 * turn + 3).map(large).collect();
        let request = proto::AppendRequest { inputs, ..more(&id, "") };
        id = make(&mut client, Request::Append(request)).await;
    }
    // The largest entry that there is fills a page alone.
    let largest =
        proto::AppendRequest { inputs: vec![message(&format!("12 {}", "y".repeat((3 << 20) - 100)))], ..more(&id, "") };
    id = make(&mut client, Request::Append(largest)).await;
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let request = proto::ListEntriesRequest {
            conversation_id: id.clone(),
            page_size: 1000,
            order: order.into(),
            ..Default::default()
        };
        let (entries, sizes) = pages(&mut client, request).await;
        let mut numbers: Vec<usize> = entries
            .iter()
            .map(|entry| entry_text(entry).split(' ').next().expect("a number").parse().expect("one"))
            .collect();
        if order == Order::NewestFirst {
            numbers.reverse();
        }
        assert!(numbers.into_iter().eq(0..13));
        assert!(sizes.len() > 4 && sizes.iter().all(|len| *len > 0), "pages ended early: {sizes:?}");
    }
    server.stop().await;
}
