//! What the service refuses about webhooks, and where they may not go.

use causerie::proto::{
    ChangeFilter, DeleteWebhookRequest, RedeliverRequest, TestWebhookRequest, create_webhook_request::Start,
    redeliver_request::What, webhook_delivery,
};

use super::*;
use crate::support::status::{fields_of, reason_of};

const NO_WEBHOOK: &str = "hook_019f0000000070008000000000000000";

async fn refused(webhooks: &mut Webhooks, webhook: Webhook, start: Option<Start>) -> Status {
    let request = CreateWebhookRequest { webhook: Some(webhook), start };
    webhooks.create_webhook(named("refused", request)).await.map(drop).expect_err("it is refused")
}

#[tokio::test]
async fn what_is_wrong_with_a_webhook_is_told_field_by_field() {
    let (server, receiver) = (server().await, receiver().await);
    let mut webhooks = client(&server).await;
    let url = || receiver.base_url();
    let secret = |bytes: usize| format!("whsec_{}", "A".repeat(bytes));
    let rows: Vec<(Webhook, Option<Start>, &[&str])> = vec![
        (Webhook::default(), None, &["webhook.url"]),
        (Webhook { url: "ftp://example.com".into(), ..Webhook::default() }, None, &["webhook.url"]),
        (Webhook { url: format!("https://e.com/{}", "x".repeat(2048)), ..Webhook::default() }, None, &["webhook.url"]),
        (
            Webhook { url: url(), description: "x".repeat(513), payload: 9, ..Webhook::default() },
            None,
            &["webhook.description", "webhook.payload"],
        ),
        (
            Webhook { url: url(), secrets: vec![secret(32), "x".into(), secret(28)], ..Webhook::default() },
            None,
            &["webhook.secrets[1]", "webhook.secrets[2]"],
        ),
        (Webhook { url: url(), secrets: vec![secret(32); 5], ..Webhook::default() }, None, &["webhook.secrets"]),
        (
            Webhook {
                url: url(),
                filter: Some(ChangeFilter { root_id: "x".into(), kinds: vec![0, 99], ..ChangeFilter::default() }),
                ..Webhook::default()
            },
            None,
            &["webhook.filter.root_id", "webhook.filter.kinds[0]", "webhook.filter.kinds[1]"],
        ),
        (Webhook { url: url(), ..Webhook::default() }, Some(Start::AfterRevision(-1)), &["after_revision"]),
        (Webhook { url: url(), ..Webhook::default() }, Some(Start::AfterRevision(7)), &["after_revision"]),
        (Webhook { url: url(), ..Webhook::default() }, Some(Start::FromOldest(false)), &["from_oldest"]),
    ];
    for (webhook, start, fields) in rows {
        let status = refused(&mut webhooks, webhook.clone(), start).await;
        assert_eq!(reason_of(&status), "INVALID_REQUEST");
        assert_eq!(fields_of(&status), fields, "{webhook:?}");
    }
    let made = create(&mut webhooks, &receiver).await;
    let id = || made.id.clone();
    let change = |webhook, mask: &'static [&'static str]| (Webhook { id: id(), ..webhook }, mask);
    for ((webhook, mask), field) in [
        (change(Webhook::default(), &["secrets"]), "webhook.secrets"),
        (change(Webhook::default(), &["state"]), "webhook.state"),
        (change(Webhook::default(), &["url"]), "webhook.url"),
        (change(Webhook::default(), &["delivered_revision"]), "update_mask.paths[0]"),
        ((Webhook::default(), &[]), "webhook.id"),
    ] {
        let status = update(&mut webhooks, webhook, mask).await.expect_err("it is refused");
        assert_eq!(fields_of(&status), [field]);
    }
    for (what, field) in [
        (None, "delivery_id"),
        (Some(What::DeliveryId("msg_1".into())), "delivery_id"),
        (Some(What::DeliveryId(format!("msg_{}", "0".repeat(48)))), "delivery_id"),
        (Some(What::AfterRevision(3)), "after_revision"),
    ] {
        let request = RedeliverRequest { webhook_id: id(), what };
        let status = webhooks.redeliver(named("redeliver", request)).await.map(drop).expect_err("it is refused");
        assert_eq!(fields_of(&status), [field]);
    }
    server.stop().await;
}

/// The calls that name a webhook that is not there.
pub(crate) async fn webhook_not_found() -> Vec<(&'static str, Status)> {
    let server = server().await;
    let mut webhooks = client(&server).await;
    let id = || NO_WEBHOOK.to_owned();
    let mut refused = vec![("get", get(&mut webhooks, NO_WEBHOOK).await.expect_err("get"))];
    let change = Webhook { id: id(), description: "x".into(), ..Webhook::default() };
    refused.push(("update", update(&mut webhooks, change, &["description"]).await.expect_err("update")));
    let delete = named("delete-webhook", DeleteWebhookRequest { webhook_id: id() });
    refused.push(("delete-webhook", webhooks.delete_webhook(delete).await.map(drop).expect_err("delete")));
    let test = named("test-webhook", TestWebhookRequest { webhook_id: id() });
    refused.push(("test-webhook", webhooks.test_webhook(test).await.map(drop).expect_err("test")));
    let list = named("deliveries", ListDeliveriesRequest { webhook_id: id(), ..Default::default() });
    refused.push(("deliveries", webhooks.list_deliveries(list).await.map(drop).expect_err("deliveries")));
    let what = Some(What::AfterRevision(0));
    let redeliver = named("redeliver", RedeliverRequest { webhook_id: id(), what });
    refused.push(("redeliver", webhooks.redeliver(redeliver).await.map(drop).expect_err("redeliver")));
    server.stop().await;
    refused
}

#[tokio::test]
async fn a_deleted_webhook_is_told_nothing_and_is_not_found() {
    let (mut server, receiver) = (server().await, receiver().await);
    let mut webhooks = client(&server).await;
    let made = create(&mut webhooks, &receiver).await;
    let mut hangs = taken();
    hangs.gate();
    receiver.reply(hangs);
    let first = begin(&mut server.client().await).await;
    assert_eq!(turn_of(&receiver.next_request().await), first.id);
    webhooks.delete_webhook(DeleteWebhookRequest { webhook_id: made.id.clone() }).await.expect("deleted");
    receiver.connection_dropped().await;
    for restarted in [false, true] {
        if restarted {
            server.restart().await;
            webhooks = client(&server).await;
        }
        begin(&mut server.client().await).await;
        let status = get(&mut webhooks, &made.id).await.expect_err("it is gone");
        assert_eq!(reason_of(&status), "WEBHOOK_NOT_FOUND");
        assert_eq!(receiver.requests().len(), 1);
    }
    server.stop().await;
}

#[tokio::test]
async fn webhooks_go_where_tools_may_go() {
    // Nothing is listed.
    let server = TestServer::with(&AT_ONCE).await;
    server.provider.on_every(Reply::text("ok"));
    let (mut client, mut webhooks) = (server.client().await, client(&server).await);
    let inside = receiver().await;
    let port = inside.base_url().rsplit(':').next().expect("a port").to_owned();
    for url in [
        inside.base_url(),
        format!("http://2130706433:{port}/"),
        "http://[::1]/".to_owned(),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "https://10.0.0.1/".to_owned(),
        "http://user@example.com/".to_owned(),
    ] {
        let status = refused(&mut webhooks, Webhook { url: url.clone(), ..Webhook::default() }, None).await;
        assert_eq!(fields_of(&status), ["webhook.url"], "{url}");
        assert!(status.message().contains("must be an address that may be reached: "), "{}", status.message());
    }
    // What a name means is known when it is asked.
    let url = format!("http://localhost:{port}/");
    let made = create_with(&mut webhooks, Webhook { url, ..Webhook::default() }).await;
    let test = TestWebhookRequest { webhook_id: made.id.clone() };
    let tested = webhooks.test_webhook(test).await.expect("a delivery").into_inner();
    assert_eq!(tested.state(), webhook_delivery::State::Failed);
    begin(&mut client).await;
    let failed = until(&mut webhooks, &made.id, |webhook| webhook.failure_count > 0).await;
    for told in [&tested.error, &failed.last_error] {
        assert!(told.contains("an address that may not be reached") && !told.contains("127.0.0.1"), "{told}");
    }
    assert_eq!(inside.connections(), 0);
    let change = Webhook { id: made.id, url: "http://127.0.0.1/".into(), ..Webhook::default() };
    let status = update(&mut webhooks, change, &["url"]).await.expect_err("it is refused");
    assert_eq!(fields_of(&status), ["webhook.url"]);
    server.stop().await;
}
