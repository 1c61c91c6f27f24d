//! Deleting: what goes, what stays, and what is said of what is gone.

use causerie::proto::{self, ErrorReason, event::Kind, stream_events_request::Request};
use tonic::Status;

use crate::support::{
    calls::{self, delete, get_conversation, get_turn, history},
    events::name,
    provider::Reply,
    server::{Client, TestServer, append, start},
    status::{assert_promised, reason_of, told},
};

/// A tree: `root`, below it `left` and `right`, below `left` a `leaf`.
struct Tree {
    root: proto::Turn,
    left: proto::Turn,
    right: proto::Turn,
    leaf: proto::Turn,
}

async fn plant(server: &TestServer, client: &mut Client) -> Tree {
    server.provider.on_every(Reply::text("ok"));
    let root = calls::run(client, "root", Request::Start(start("root"))).await.expect("an answer");
    let left = below(client, &root, "left").await;
    let right = below(client, &root, "right").await;
    let leaf = below(client, &left, "leaf").await;
    Tree { root, left, right, leaf }
}

async fn below(client: &mut Client, parent: &proto::Turn, text: &str) -> proto::Turn {
    let request = proto::AppendRequest { request_id: text.to_owned(), ..append(&parent.conversation_id, text) };
    calls::run(client, text, Request::Append(request)).await.expect("an answer")
}

fn id(turn: &proto::Turn) -> &str {
    &turn.conversation_id
}

#[track_caller]
fn assert_gone<T: std::fmt::Debug>(answer: Result<T, Status>, reason: ErrorReason) {
    let status = answer.expect_err("it is gone");
    assert_eq!(reason_of(&status), reason.as_str_name(), "{status:?}");
}

/// Nothing of a version is left: neither itself, its history, its turn nor its events, and it is no ground for a turn.
async fn assert_all_gone(client: &mut Client, gone: &proto::Turn) {
    assert_gone(get_conversation(client, id(gone)).await, ErrorReason::ConversationNotFound);
    assert_gone(history(client, id(gone)).await, ErrorReason::ConversationNotFound);
    assert_gone(delete(client, id(gone), true).await, ErrorReason::ConversationNotFound);
    let versions = proto::ListVersionsRequest { conversation_id: id(gone).to_owned(), ..Default::default() };
    assert_gone(client.list_versions(versions).await, ErrorReason::ConversationNotFound);
    let more = Request::Append(append(id(gone), "more"));
    assert_gone(calls::run(client, "more", more).await, ErrorReason::ConversationNotFound);
    assert_gone(get_turn(client, &gone.id).await, ErrorReason::TurnNotFound);
    let (events, end) = calls::watch(client, "gone", calls::resume(&gone.id, 0)).await;
    assert_eq!(events, []);
    assert_gone(end, ErrorReason::TurnNotFound);
}

async fn versions(client: &mut Client) -> Vec<String> {
    let mut ids: Vec<String> = calls::list_all(client).await.into_iter().map(|version| version.id).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn a_version_with_successors_goes_only_by_force_and_takes_them_along() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let tree = plant(&server, &mut client).await;

    let status = delete(&mut client, id(&tree.left), false).await.expect_err("it has a successor");
    assert_promised(&status, ErrorReason::HasSuccessors, "delete");
    assert_eq!((versions(&mut client).await.len(), told(&status, "successors").as_str()), (4, "1"));
    let sibling = history(&mut client, id(&tree.right)).await.expect("a sibling");
    delete(&mut client, id(&tree.left), true).await.expect("by force");

    assert_all_gone(&mut client, &tree.left).await;
    assert_all_gone(&mut client, &tree.leaf).await;
    assert_eq!(versions(&mut client).await, [id(&tree.root), id(&tree.right)]);
    assert_eq!(history(&mut client, id(&tree.right)).await.expect("the sibling stays"), sibling);
    assert!(!get_conversation(&mut client, id(&tree.root)).await.expect("the root stays").head);
    server.stop().await;
}

#[tokio::test]
async fn a_head_goes_without_force_and_its_parent_is_a_head_again() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let tree = plant(&server, &mut client).await;

    delete(&mut client, id(&tree.leaf), false).await.expect("a head");

    assert_all_gone(&mut client, &tree.leaf).await;
    assert!(get_conversation(&mut client, id(&tree.left)).await.expect("its parent").head);
    let careful = proto::AppendRequest { require_head: true, ..append(id(&tree.left), "again") };
    calls::run(&mut client, "again", Request::Append(careful)).await.expect("its parent can be gone on from");
    server.stop().await;
}

#[tokio::test]
async fn the_root_by_force_takes_the_tree_and_nothing_else_and_it_stays_so() {
    let mut server = TestServer::start().await;
    let mut client = server.client().await;
    let tree = plant(&server, &mut client).await;
    let other = calls::run(&mut client, "other", Request::Start(start("other"))).await.expect("another tree");

    delete(&mut client, id(&tree.root), true).await.expect("by force");
    for _ in 0..2 {
        let mut client = server.client().await;
        for gone in [&tree.root, &tree.left, &tree.right, &tree.leaf] {
            assert_all_gone(&mut client, gone).await;
        }
        assert_eq!(versions(&mut client).await, [id(&other)]);
        assert_eq!(history(&mut client, id(&other)).await.expect("the other tree stays").len(), 2);
        server.restart().await;
    }
    server.stop().await;
}

/// What is gone is told as gone, not as lost: `TURN_LOST` says that a crash took the turn, and asks to run it again.
#[tokio::test]
async fn turns_that_failed_on_a_version_go_with_it() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let tree = plant(&server, &mut client).await;
    server.provider.reply(Reply::json(401, &serde_json::json!({"detail": "Unauthorized"})));
    let more = Request::Append(append(id(&tree.leaf), "more"));
    let failed = calls::run(&mut client, "failed", more).await.expect_err("the key is refused");
    let failed = told(&failed, "turn_id");
    get_turn(&mut client, &failed).await.expect("a failed turn is kept");

    delete(&mut client, id(&tree.leaf), false).await.expect("a head");

    assert_gone(get_turn(&mut client, &failed).await, ErrorReason::TurnNotFound);
    server.stop().await;
}

#[tokio::test]
async fn request_ids_of_what_is_gone_are_free() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let tree = plant(&server, &mut client).await;

    delete(&mut client, id(&tree.leaf), false).await.expect("a head");

    let again = below(&mut client, &tree.left, "leaf").await;
    assert_ne!(again.id, tree.leaf.id, "the same request runs anew");
    let other = proto::StartRequest { request_id: "right".to_owned(), ..start("other") };
    let status = calls::run(&mut client, "reused", Request::Start(other)).await.expect_err("its turn is there");
    assert_eq!(told(&status, "turn_id"), tree.right.id);
    server.stop().await;
}

#[tokio::test]
async fn a_turn_that_runs_on_what_is_deleted_fails() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let tree = plant(&server, &mut client).await;
    let mut slow = Reply::text("too late");
    let gate = slow.gate();
    server.provider.reply(slow);
    let more = Request::Append(append(id(&tree.leaf), "more"));
    let stream = proto::StreamEventsRequest { request: Some(more), ..Default::default() };
    let stream = crate::support::status::named("running", stream);
    let mut stream = client.stream_events(stream).await.expect("a stream").into_inner();
    let started = stream.message().await.expect("no error").expect("the turn is announced");

    delete(&mut client, id(&tree.leaf), false).await.expect("a head, for the turn has made no version yet");
    gate.open();

    let (events, end) = calls::rest(stream).await;
    let status = end.expect_err("its parent is gone");
    assert_promised(&status, ErrorReason::ConversationNotFound, "running");
    assert_eq!(name(events.last().expect("a terminal event")), "response_error");
    assert!(!events.iter().any(|event| matches!(event.kind, Some(Kind::ResponseDone(_)))));
    assert_gone(
        get_conversation(&mut client, &started.turn_id.replace("turn_", "conv_")).await,
        ErrorReason::ConversationNotFound,
    );
    assert_eq!(versions(&mut client).await, [id(&tree.root), id(&tree.left), id(&tree.right)]);
    server.stop().await;
}
