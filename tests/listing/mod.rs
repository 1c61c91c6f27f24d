//! Lists: what the filters let through, and that pages make a whole that is stable while others write.

mod entries;
mod versions;

use std::collections::BTreeMap;

use causerie::proto::{self, stream_events_request::Request};
use prost_types::Timestamp;

use crate::support::{
    calls::{self, list},
    server::{Client, TestServer, append, start},
};

type Filter = proto::ListConversationsRequest;

/// Stores a question and no answer.
fn question(text: &str) -> proto::StartRequest {
    proto::StartRequest { skip_completion: true, ..start(text) }
}

fn more(id: &str, text: &str) -> proto::AppendRequest {
    proto::AppendRequest { skip_completion: true, ..append(id, text) }
}

async fn make(client: &mut Client, request: Request) -> String {
    calls::run(client, "make", request).await.expect("it is stored").conversation_id
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

async fn ids(client: &mut Client, filter: Filter) -> Vec<String> {
    list(client, filter).await.into_iter().map(|version| version.id).collect()
}

/// Two trees: `a1` with the children `a2` and `a3` (another model), and `b1` with the child `b2`.
struct Forest {
    a1: String,
    a2: String,
    a3: String,
    b1: String,
    b2: String,
}

async fn plant(client: &mut Client) -> Forest {
    let metadata = pairs(&[("user", "ann"), ("topic", "rain")]);
    let a1 = make(client, Request::Start(proto::StartRequest { metadata, ..question("a1") })).await;
    let a2 = make(client, Request::Append(more(&a1, "a2"))).await;
    let other_model = proto::AppendRequest { model: "other-model".to_owned(), ..more(&a1, "a3") };
    let a3 = make(client, Request::Append(other_model)).await;
    let metadata = pairs(&[("user", "bob"), ("topic", "rain")]);
    let b1 = make(client, Request::Start(proto::StartRequest { metadata, ..question("b1") })).await;
    let b2 = make(client, Request::Append(more(&b1, "b2"))).await;
    Forest { a1, a2, a3, b1, b2 }
}

#[tokio::test]
async fn every_filter_lets_through_what_it_says_and_all_must_hold() {
    let mut server = TestServer::start().await;
    let Forest { a1, a2, a3, b1, b2 } = plant(&mut server.client().await).await;
    let none = || Filter { page_size: 2, ..Default::default() };
    let cases: Vec<(&str, Filter, Vec<&String>)> = vec![
        ("all", none(), vec![&b2, &b1, &a3, &a2, &a1]),
        ("heads", Filter { heads_only: true, ..none() }, vec![&b2, &a3, &a2]),
        ("tree", Filter { tree_of: a2.clone(), ..none() }, vec![&a3, &a2, &a1]),
        ("tree by root", Filter { tree_of: b1.clone(), ..none() }, vec![&b2, &b1]),
        ("model", Filter { model: "scripted-model".to_owned(), ..none() }, vec![&b2, &b1, &a2, &a1]),
        ("other model", Filter { model: "other-model".to_owned(), ..none() }, vec![&a3]),
        ("no such model", Filter { model: "third-model".to_owned(), ..none() }, vec![]),
        ("agent", Filter { agent_id: "agent_1".to_owned(), ..none() }, vec![]),
        ("pair", Filter { metadata: pairs(&[("user", "ann")]), ..none() }, vec![&a3, &a2, &a1]),
        ("shared pair", Filter { metadata: pairs(&[("topic", "rain")]), ..none() }, vec![&b2, &b1, &a3, &a2, &a1]),
        ("pairs", Filter { metadata: pairs(&[("topic", "rain"), ("user", "bob")]), ..none() }, vec![&b2, &b1]),
        ("pairs of two", Filter { metadata: pairs(&[("topic", "sun"), ("user", "bob")]), ..none() }, vec![]),
        ("value of another key", Filter { metadata: pairs(&[("topic", "ann")]), ..none() }, vec![]),
        ("heads of a tree", Filter { heads_only: true, tree_of: a1.clone(), ..none() }, vec![&a3, &a2]),
        (
            "heads, model and pair",
            Filter {
                heads_only: true,
                model: "scripted-model".to_owned(),
                metadata: pairs(&[("user", "ann")]),
                ..none()
            },
            vec![&a2],
        ),
    ];
    for _ in 0..2 {
        let mut client = server.client().await;
        for (name, filter, expected) in &cases {
            assert_eq!(ids(&mut client, filter.clone()).await.iter().collect::<Vec<_>>(), *expected, "{name}");
        }
        // The indexes say the same after a restart.
        server.restart().await;
    }
    server.stop().await;
}

/// Times are compared to the millisecond: that of the version's id.
#[tokio::test]
async fn times_bound_a_list() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let Forest { a1, .. } = plant(&mut client).await;
    let all = calls::list_all(&mut client).await;
    let made = |version: &proto::Conversation| version.created_at.expect("a time");
    let key = |time: &Timestamp| (time.seconds, time.nanos / 1_000_000);
    for bound in &all {
        let bound = Timestamp { nanos: made(bound).nanos / 1_000_000 * 1_000_000, ..made(bound) };
        let (from, before): (Vec<_>, Vec<_>) = all.iter().partition(|version| key(&made(version)) >= key(&bound));
        let id_of = |versions: Vec<&proto::Conversation>| -> Vec<String> {
            versions.into_iter().map(|version| version.id.clone()).collect()
        };
        let (from, before) = (id_of(from), id_of(before));
        let after = Filter { created_after: Some(bound), page_size: 1, ..Default::default() };
        assert_eq!(ids(&mut client, after).await, from, "at or after {bound}");
        let before_it = Filter { created_before: Some(bound), page_size: 1, ..Default::default() };
        assert_eq!(ids(&mut client, before_it).await, before, "before {bound}");
    }
    let later = Timestamp { seconds: made(&all[0]).seconds + 1000, nanos: 0 };
    let none = Filter { created_after: Some(later), ..Default::default() };
    assert_eq!(ids(&mut client, none).await, [""; 0]);
    let tree = Filter { created_before: Some(later), tree_of: a1, ..Default::default() };
    assert_eq!(ids(&mut client, tree).await.len(), 3, "with another filter");
    server.stop().await;
}

/// Rows that come while a list is read are newer than all that is left to be read: nothing is seen twice, nothing is missed.
#[tokio::test]
async fn pages_are_stable_while_others_write() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let mut made = Vec::new();
    for n in 0..25 {
        made.push(make(&mut client, Request::Start(question(&n.to_string()))).await);
    }
    for filter in [Filter::default(), Filter { model: "scripted-model".to_owned(), ..Default::default() }] {
        let before: Vec<String> = ids(&mut client, Filter { page_size: 1000, ..filter.clone() }).await;
        let mut seen = Vec::new();
        let mut request = Filter { page_size: 4, ..filter };
        loop {
            let page = client.list_conversations(request.clone()).await.expect("a page").into_inner();
            assert!(page.conversations.len() <= 4);
            seen.extend(page.conversations.into_iter().map(|version| version.id));
            made.push(make(&mut client, Request::Start(question("meanwhile"))).await);
            make(&mut client, Request::Append(more(&made[3], "meanwhile"))).await;
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, before);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_page_holds_fifty_unless_asked_and_never_more_than_a_thousand() {
    let server = TestServer::with(&[("store.sync", "false")]).await;
    let mut client = server.client().await;
    for n in 0..1003 {
        make(&mut client, Request::Start(question(&n.to_string()))).await;
    }
    for (asked, holds) in [(0, 50), (1, 1), (999, 999), (1000, 1000), (5000, 1000), (i32::MAX, 1000)] {
        let page = Filter { page_size: asked, ..Default::default() };
        let page = client.list_conversations(page).await.expect("a page").into_inner();
        assert_eq!((page.conversations.len(), page.next_page_token.is_empty()), (holds, false), "page_size {asked}");
    }
    let last = ids(&mut client, Filter { page_size: 1000, ..Default::default() }).await;
    assert_eq!(last.len(), 1003);
    server.stop().await;
}
