//! What arrives, and that a receiver can tell who sent it.

use causerie::proto::{
    ChangeFilter, ChangeKind, DeleteConversationRequest, ListDeliveriesRequest, TestWebhookRequest, Webhook,
    WebhookPayload, webhook::State, webhook_delivery,
};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::*;
use crate::support::outside::PYTHON;

#[tokio::test]
async fn a_turn_is_told_and_the_receiver_can_tell_by_whom() {
    let (server, receiver) = (server().await, receiver().await);
    let mut webhooks = client(&server).await;
    let made = create_with(
        &mut webhooks,
        Webhook { url: format!("{}/hooks?a=b", receiver.base_url()), description: "mine".into(), ..Webhook::default() },
    )
    .await;
    let turn = begin(&mut server.client().await).await;
    let request = receiver.next_request().await;

    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/hooks?a=b"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    let keys: Vec<&String> = request.json.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["type", "timestamp", "data"]);
    assert_eq!(request.json["type"], "turn.completed");
    let data = &request.json["data"];
    assert_eq!(data["turnId"], turn.id.as_str());
    assert_eq!(data["conversationId"], turn.conversation_id.as_str());
    assert_eq!((&data["state"], &data["model"]), (&json!("STATE_COMPLETED"), &json!("scripted-model")));
    assert_eq!(data.get("turn"), None, "thin");
    let (text, told) = (String::from_utf8_lossy(&request.raw), format!("{:?}", turn.outputs));
    assert!(told.contains("\"ok\"") && !text.contains("hello") && !text.contains("\"ok\""), "{text}");
    assert_eq!(request.header("x-webhook-timestamp"), request.json["timestamp"].as_str());

    let told = until(&mut webhooks, &made.id, |webhook| webhook.delivered_revision == revision_of(&request)).await;
    let expected = Webhook {
        secrets: Vec::new(),
        delivered_revision: told.delivered_revision,
        created_at: made.created_at,
        ..made.clone()
    };
    assert_eq!(told, expected);
    let sent = deliveries(&mut webhooks, &made.id).await;
    let [sent] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!((sent.id.as_str(), sent.revision), (webhook_id(&request), revision_of(&request)));
    assert_eq!((sent.r#type.as_str(), sent.attempt_count, sent.http_status), ("turn.completed", 1, 200));
    assert_eq!(sent.state(), webhook_delivery::State::Delivered);
    server.stop().await;

    verify(&made.secrets, &request).await;
}

/// Checks the signatures with a library that others wrote.
async fn verify(secrets: &[String], request: &Captured) {
    let file = NamedTempFile::new().expect("a file");
    let headers: serde_json::Map<String, Value> =
        request.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let body = String::from_utf8(request.raw.clone()).expect("text");
    let case = json!({"secrets": secrets, "headers": headers, "body": body});
    std::fs::write(file.path(), case.to_string()).expect("a writable file");
    PYTHON.check("verify_webhook.py", file.path().display().to_string()).await;
}

#[tokio::test]
async fn several_secrets_sign_at_once_and_each_is_enough() {
    let (server, receiver) = (server().await, receiver().await);
    let mut webhooks = client(&server).await;
    let secrets = ["whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX", "whsec_GBkaGxwdHh8gISIjJCUmJygpKissLS4v"];
    let secrets = secrets.map(str::to_owned).to_vec();
    let url = receiver.base_url();
    let made = create_with(&mut webhooks, Webhook { url, secrets: secrets.clone(), ..Webhook::default() }).await;
    assert_eq!((made.secrets.len(), made.secret_count), (0, 2));
    begin(&mut server.client().await).await;
    let request = receiver.next_request().await;
    let signatures = request.header("webhook-signature").expect("signatures");
    assert_eq!(signatures.split(' ').filter(|signature| signature.starts_with("v1,")).count(), 2, "{signatures}");
    verify(&secrets, &request).await;
    server.stop().await;
}

#[tokio::test]
async fn a_full_payload_has_the_turn_as_it_is_read() {
    let (server, receiver) = (server().await, receiver().await);
    let mut webhooks = client(&server).await;
    let full = Webhook { url: receiver.base_url(), payload: WebhookPayload::Full.into(), ..Webhook::default() };
    create_with(&mut webhooks, full).await;
    let turn = begin(&mut server.client().await).await;
    let told = receiver.next_request().await.json["data"]["turn"].clone();
    assert_eq!((&told["id"], &told["state"]), (&json!(turn.id), &json!("STATE_COMPLETED")));
    assert_eq!(told["outputs"][0]["messageOutput"]["content"][0]["text"], "ok");
    assert_eq!(told["usage"]["promptTokens"], "10");
    server.stop().await;
}

#[tokio::test]
async fn ends_and_deletes_are_told_and_what_the_filter_wants() {
    let (server, all, some) = (server().await, receiver().await, receiver().await);
    let mut webhooks = client(&server).await;
    create(&mut webhooks, &all).await;
    let filter = ChangeFilter {
        model: "other".to_owned(),
        metadata: [("team".to_owned(), "one".to_owned())].into(),
        kinds: vec![ChangeKind::VersionCreated.into()],
        ..ChangeFilter::default()
    };
    let wanted = Webhook { url: some.base_url(), filter: Some(filter.clone()), ..Webhook::default() };
    assert_eq!(create_with(&mut webhooks, wanted).await.filter, Some(filter));

    let mut client = server.client().await;
    let turn = begin(&mut client).await;
    let (deleted, force) = (turn.conversation_id.clone(), false);
    let delete = DeleteConversationRequest { conversation_id: deleted, force };
    client.delete_conversation(delete).await.expect("deleted");
    server.provider.reply(Reply::json(400, &json!({"message": "no"})));
    client.start(start("hello")).await.expect_err("it fails");
    for team in ["two", "one"] {
        let metadata = [("team".to_owned(), team.to_owned())].into();
        let request = proto::StartRequest { model: "other".to_owned(), metadata, ..start("hello") };
        client.start(request).await.expect("an answer");
    }
    let mut told = Vec::new();
    for _ in 0..5 {
        told.push(all.next_request().await);
    }
    // Trees go side by side.
    told.sort_by_key(revision_of);
    let types: Vec<&str> = told.iter().map(|request| request.json["type"].as_str().expect("a type")).collect();
    assert_eq!(types, ["turn.completed", "conversation.deleted", "turn.failed", "turn.completed", "turn.completed"]);
    assert_eq!(turn_of(&told[1]), turn.id);
    assert_eq!(revision_of(&some.next_request().await), 5);
    assert_eq!(some.requests().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_webhook_begins_where_it_is_asked_to() {
    let (server, receiver) = (server().await, receiver().await);
    let (mut client, mut webhooks) = (server.client().await, client(&server).await);
    let first = begin(&mut client).await;
    let second = begin(&mut client).await;
    let third = begin(&mut client).await;
    use causerie::proto::create_webhook_request::Start;
    for (path, start) in [("/oldest", Start::FromOldest(true)), ("/after", Start::AfterRevision(2))] {
        let webhook = Webhook { url: format!("{}{path}", receiver.base_url()), ..Webhook::default() };
        let request = CreateWebhookRequest { webhook: Some(webhook), start: Some(start) };
        webhooks.create_webhook(request).await.expect("a webhook");
    }
    create_with(&mut webhooks, Webhook { url: format!("{}/now", receiver.base_url()), ..Webhook::default() }).await;
    let fourth = begin(&mut client).await;
    for _ in 0..7 {
        receiver.next_request().await;
    }
    let mut told: Vec<_> = receiver.requests().iter().map(|r| (r.path.clone(), turn_of(r).to_owned())).collect();
    told.sort();
    let row = |path: &str, turn: &proto::Turn| (path.to_owned(), turn.id.clone());
    let mut expected = [&first, &second, &third, &fourth].map(|turn| row("/oldest", turn)).to_vec();
    expected.extend([row("/after", &third), row("/after", &fourth), row("/now", &fourth)]);
    expected.sort();
    assert_eq!(told, expected);
    server.stop().await;
}

#[tokio::test]
async fn a_test_is_sent_at_once_and_says_what_came_of_it() {
    let (server, receiver) = (server().await, receiver().await);
    let mut webhooks = client(&server).await;
    let made = create(&mut webhooks, &receiver).await;
    set_state(&mut webhooks, &made.id, State::Disabled).await;
    let request = || TestWebhookRequest { webhook_id: made.id.clone() };
    let taken = webhooks.test_webhook(request()).await.expect("a delivery").into_inner();
    let sent = receiver.next_request().await;
    assert_eq!((sent.json["type"].as_str(), taken.r#type.as_str()), (Some("webhook.test"), "webhook.test"));
    assert_eq!(sent.json["data"], json!({"webhookId": made.id}));
    assert_eq!((taken.state(), taken.http_status, taken.revision), (webhook_delivery::State::Delivered, 200, 0));
    assert_eq!(webhook_id(&sent), taken.id);
    verify(&made.secrets, &sent).await;

    receiver.reply(no());
    let refused = webhooks.test_webhook(request()).await.expect("a delivery").into_inner();
    assert_eq!((refused.state(), refused.error.as_str()), (webhook_delivery::State::Failed, "it answered 500"));
    assert_ne!(refused.id, taken.id);
    assert_eq!(deliveries(&mut webhooks, &made.id).await, [refused.clone(), taken]);
    let failed = ListDeliveriesRequest {
        webhook_id: made.id.clone(),
        states: vec![webhook_delivery::State::Failed.into()],
        ..Default::default()
    };
    assert_eq!(webhooks.list_deliveries(failed).await.expect("a list").into_inner().deliveries, [refused]);
    server.stop().await;
}

#[tokio::test]
async fn lists_are_read_page_by_page() {
    let (server, receiver) = (server().await, receiver().await);
    let (mut client, mut webhooks) = (server.client().await, client(&server).await);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.insert(0, create(&mut webhooks, &receiver).await.id);
    }
    for _ in 0..3 {
        begin(&mut client).await;
    }
    until(&mut webhooks, &ids[0], |webhook| webhook.delivered_revision == 3).await;
    let (mut listed, mut sent) = (Vec::new(), Vec::new());
    let mut page = proto::ListWebhooksRequest { page_size: 2, ..Default::default() };
    loop {
        let found = webhooks.list_webhooks(page.clone()).await.expect("a page").into_inner();
        listed.extend(found.webhooks.into_iter().map(|webhook| webhook.id));
        page.page_token = found.next_page_token;
        if page.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, ids);
    let mut page = ListDeliveriesRequest { webhook_id: ids[0].clone(), page_size: 2, ..Default::default() };
    loop {
        let found = webhooks.list_deliveries(page.clone()).await.expect("a page").into_inner();
        sent.extend(found.deliveries.into_iter().map(|delivery| delivery.revision));
        page.page_token = found.next_page_token;
        if page.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(sent, [3, 2, 1]);
    server.stop().await;
}
