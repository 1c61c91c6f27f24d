//! Secrets are told once, to whoever had one made up, and signed with.

use causerie::proto::TestWebhookRequest;
use standardwebhooks::Webhook as Verifier;

use super::*;
use crate::support::log::Log;

const OLD: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
const NEW: &str = "whsec_GBkaGxwdHh8gISIjJCUmJygpKissLS4v";

fn verifies(secret: &str, request: &Captured) -> bool {
    let headers = request.headers.iter().map(|(name, value)| {
        let name: http::HeaderName = name.parse().expect("a header");
        (name, value.parse().expect("a value"))
    });
    Verifier::new(secret).expect("a secret").verify(&request.raw, &headers.collect()).is_ok()
}

#[tokio::test]
async fn secrets_are_replaced_without_a_gap() {
    let (server, receiver) = (server().await, receiver().await);
    let (mut client, mut webhooks) = (server.client().await, client(&server).await);
    let url = receiver.base_url();
    let made = create_with(&mut webhooks, Webhook { url, secrets: vec![OLD.into()], ..Webhook::default() }).await;
    for (secrets, expected) in [(vec![OLD], [true, false]), (vec![NEW, OLD], [true, true]), (vec![NEW], [false, true])]
    {
        let secrets: Vec<String> = secrets.into_iter().map(str::to_owned).collect();
        let count = i32::try_from(secrets.len()).expect("a small number");
        let change = Webhook { id: made.id.clone(), secrets, ..Webhook::default() };
        let told = update(&mut webhooks, change, &["secrets"]).await.expect("changed");
        assert_eq!((told.secrets.len(), told.secret_count), (0, count));
        begin(&mut client).await;
        let request = receiver.next_request().await;
        assert_eq!([OLD, NEW].map(|secret| verifies(secret, &request)), expected);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_secret_is_told_once_and_in_no_log() {
    let log = Log::listen();
    let (mut server, receiver) = (server().await, receiver().await);
    let mut webhooks = client(&server).await;
    let made = create(&mut webhooks, &receiver).await;
    let [secret] = made.secrets.as_slice() else { panic!("{made:?}") };
    let bytes = secret.strip_prefix("whsec_").expect("its prefix");
    assert_eq!((bytes.len(), made.secret_count), (44, 1), "32 bytes in base64");
    assert_ne!(create(&mut webhooks, &receiver).await.secrets, made.secrets);

    let mut told = vec![format!("{:?}", get(&mut webhooks, &made.id).await.expect("it is there"))];
    let list = webhooks.list_webhooks(proto::ListWebhooksRequest::default()).await.expect("a list");
    told.push(format!("{:?}", list.into_inner()));
    let change = Webhook { id: made.id.clone(), description: "other".into(), ..Webhook::default() };
    told.push(format!("{:?}", update(&mut webhooks, change, &["description"]).await.expect("changed")));
    let change = Webhook { id: made.id.clone(), secrets: vec![format!("{secret}x")], ..Webhook::default() };
    told.push(format!("{:?}", update(&mut webhooks, change, &["secrets"]).await.expect_err("it is none")));
    receiver.reply(no());
    let test = TestWebhookRequest { webhook_id: made.id.clone() };
    told.push(format!("{:?}", webhooks.test_webhook(test).await.expect("a delivery").into_inner()));
    receiver.reply(no());
    begin(&mut server.client().await).await;
    until(&mut webhooks, &made.id, |webhook| webhook.delivered_revision == 1).await;
    told.push(format!("{:?}", deliveries(&mut webhooks, &made.id).await));
    server.restart().await;
    webhooks = client(&server).await;
    told.push(format!("{:?}", get(&mut webhooks, &made.id).await.expect("it is there")));
    told.push(log.text());
    assert!(told.last().is_some_and(|log| log.contains("a delivery failed")), "the log is heard");
    for told in told {
        assert!(!told.contains(bytes), "{told}");
    }
    server.stop().await;
}
