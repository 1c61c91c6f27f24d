//! Start, Append, Restart: versions, their histories and their place in the tree.

use causerie::proto::{self, restart_request::Boundary};

use crate::support::{
    provider::Reply,
    server::{Client, TestServer, append, entry_text, start, text_of},
};

async fn history(client: &mut Client, conversation_id: &str) -> Vec<proto::Entry> {
    let request = proto::ListEntriesRequest {
        conversation_id: conversation_id.to_owned(),
        page_size: 1000,
        ..Default::default()
    };
    client.list_entries(request).await.expect("a history").into_inner().entries
}

async fn texts(client: &mut Client, conversation_id: &str) -> Vec<String> {
    history(client, conversation_id).await.iter().map(entry_text).collect()
}

async fn conversation(client: &mut Client, id: &str) -> proto::Conversation {
    let request = proto::GetConversationRequest { conversation_id: id.to_owned() };
    client.get_conversation(request).await.expect("a version").into_inner()
}

#[tokio::test]
async fn a_turn_is_answered_stored_and_read_back() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    server.provider.reply(Reply::text("Hello to you."));

    let turn = client.start(start("Hello")).await.expect("an answer").into_inner();

    assert_eq!(turn.state(), proto::turn::State::Completed);
    assert_eq!(turn.finish_reason(), proto::turn::FinishReason::Stop);
    assert_eq!(text_of(&turn), "Hello to you.");
    assert!(turn.usage.expect("usage").total_tokens > 0);
    assert_eq!(texts(&mut client, &turn.conversation_id).await, ["Hello", "Hello to you."]);
    let version = conversation(&mut client, &turn.conversation_id).await;
    assert_eq!((version.head, version.turn_count, version.entry_count), (true, 1, 2));
    assert_eq!(version.turn_id, turn.id);
    assert_eq!(version.root_id, version.id);
    let asked = server.provider.next_request().await;
    assert_eq!(asked.path, "/v1/chat/completions");
    assert_eq!(asked.header("authorization"), Some("Bearer test-key"));
    assert_eq!(asked.json["messages"], serde_json::json!([{"role": "user", "content": "Hello"}]));
    server.stop().await;
}

#[tokio::test]
async fn each_append_makes_a_version_and_old_ones_stay() {
    let mut server = TestServer::start().await;
    let mut client = server.client().await;
    server.provider.on_every(Reply::text("ok"));
    let first = client.start(start("one")).await.expect("an answer").into_inner();
    let second = client.append(append(&first.conversation_id, "two")).await.expect("an answer").into_inner();
    let sibling = client.append(append(&first.conversation_id, "zwei")).await.expect("an answer").into_inner();

    server.restart().await;
    let mut client = server.client().await;

    assert_eq!(texts(&mut client, &first.conversation_id).await, ["one", "ok"]);
    assert_eq!(texts(&mut client, &second.conversation_id).await, ["one", "ok", "two", "ok"]);
    assert_eq!(texts(&mut client, &sibling.conversation_id).await, ["one", "ok", "zwei", "ok"]);
    let shared = history(&mut client, &first.conversation_id).await;
    assert_eq!(history(&mut client, &sibling.conversation_id).await[..2], shared[..], "entries are shared");
    assert!(!conversation(&mut client, &first.conversation_id).await.head);
    assert!(conversation(&mut client, &second.conversation_id).await.head);
    let request = proto::ListVersionsRequest { conversation_id: second.conversation_id.clone(), ..Default::default() };
    let versions = client.list_versions(request).await.expect("a tree").into_inner().versions;
    let ids: Vec<&str> = versions.iter().map(|version| version.id.as_str()).collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(ids[0], first.conversation_id, "parents come before children");
    assert!(versions[1..].iter().all(|version| version.parent_id == first.conversation_id));
    server.stop().await;
}

#[tokio::test]
async fn restart_edits_a_question_and_asks_for_another_answer() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    server.provider.on_every(Reply::text("ok"));
    let first = client.start(start("one")).await.expect("an answer").into_inner();
    let second = client.append(append(&first.conversation_id, "two")).await.expect("an answer").into_inner();
    let entries = history(&mut client, &second.conversation_id).await;

    let edited = proto::RestartRequest {
        conversation_id: second.conversation_id.clone(),
        from_entry_id: entries[2].id.clone(),
        boundary: Boundary::BeforeEntry.into(),
        input: "two, please".to_owned(),
        ..Default::default()
    };
    let edited = client.restart(edited).await.expect("an answer").into_inner();
    let again = proto::RestartRequest {
        conversation_id: second.conversation_id.clone(),
        from_entry_id: entries[2].id.clone(),
        ..Default::default()
    };
    let again = client.restart(again).await.expect("an answer").into_inner();
    let branch = proto::RestartRequest {
        conversation_id: second.conversation_id.clone(),
        from_entry_id: entries[1].id.clone(),
        skip_completion: true,
        ..Default::default()
    };
    let branch = client.restart(branch).await.expect("a branch").into_inner();

    assert_eq!(texts(&mut client, &edited.conversation_id).await, ["one", "ok", "two, please", "ok"]);
    assert_eq!(texts(&mut client, &again.conversation_id).await, ["one", "ok", "two", "ok"]);
    assert_eq!(texts(&mut client, &branch.conversation_id).await, ["one", "ok"]);
    for turn in [&edited, &again, &branch] {
        assert_eq!(turn.parent_conversation_id, second.conversation_id);
    }
    assert_eq!(texts(&mut client, &second.conversation_id).await, ["one", "ok", "two", "ok"], "nothing changed");
    server.stop().await;
}

#[tokio::test]
async fn a_turn_that_is_not_stored_leaves_no_trace() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    server.provider.on_every(Reply::text("ok"));
    let first = client.start(start("one")).await.expect("an answer").into_inner();

    let aside = proto::AppendRequest { store: Some(false), ..append(&first.conversation_id, "between us") };
    let aside = client.append(aside).await.expect("an answer").into_inner();

    assert_eq!(text_of(&aside), "ok");
    assert_eq!(aside.conversation_id, "");
    assert!(conversation(&mut client, &first.conversation_id).await.head);
    let gone = client
        .get_turn(proto::GetTurnRequest { turn_id: aside.id, ..Default::default() })
        .await
        .expect_err("nothing to read");
    assert_eq!(gone.code(), tonic::Code::NotFound);
    let asked = server.provider.requests();
    assert_eq!(asked[1].json["messages"].as_array().expect("messages").len(), 3, "it ran over the history");
    server.stop().await;
}

#[tokio::test]
async fn a_history_that_was_read_can_be_posted_again() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    server.provider.on_every(Reply::text("ok"));
    let first = client.start(start("one")).await.expect("an answer").into_inner();
    let second = client.append(append(&first.conversation_id, "two")).await.expect("an answer").into_inner();
    let entries = history(&mut client, &second.conversation_id).await;

    let copy = proto::StartRequest {
        model: "scripted-model".to_owned(),
        inputs: entries.clone(),
        skip_completion: true,
        ..Default::default()
    };
    let copy = client.start(copy).await.expect("an import").into_inner();

    let copied = history(&mut client, &copy.conversation_id).await;
    let without_ids = |entries: &[proto::Entry]| -> Vec<proto::Entry> {
        entries.iter().cloned().map(|entry| proto::Entry { id: String::new(), ..entry }).collect()
    };
    assert_eq!(without_ids(&copied), without_ids(&entries));
    assert_eq!(server.provider.requests().len(), 2, "no model was asked");
    server.stop().await;
}

#[tokio::test]
async fn require_head_names_who_was_faster() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    server.provider.on_every(Reply::text("ok"));
    let first = client.start(start("one")).await.expect("an answer").into_inner();
    let careful = |text: &str| proto::AppendRequest { require_head: true, ..append(&first.conversation_id, text) };

    let second = client.append(careful("two")).await.expect("the head").into_inner();
    let late = client.append(careful("zwei")).await.expect_err("somebody was faster");

    assert_eq!(late.code(), tonic::Code::Aborted);
    assert!(late.message().contains(&second.conversation_id), "{}", late.message());
    server.stop().await;
}

#[tokio::test]
async fn an_empty_answer_leaves_the_question_open_as_often_as_it_comes() {
    let mut server = TestServer::start().await;
    let mut client = server.client().await;
    server.provider.on_every(Reply::text(""));
    let mut turn = client.start(start("one")).await.expect("an answer").into_inner();
    for again in ["from the cache", "from the cache again", "from the store"] {
        if again == "from the store" {
            server.restart().await;
            client = server.client().await;
        }
        let ask = proto::AppendRequest { conversation_id: turn.conversation_id.clone(), ..Default::default() };
        turn = client.append(ask).await.expect(again).into_inner();
        assert!(turn.outputs.is_empty());
    }
    server.stop().await;
}
