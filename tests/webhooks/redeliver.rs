//! What is sent again because somebody asked for it.

use causerie::proto::{RedeliverRequest, redeliver_request::What, webhook_delivery};

use super::*;

async fn redeliver(webhooks: &mut Webhooks, id: &str, what: What) -> Webhook {
    let request = RedeliverRequest { webhook_id: id.to_owned(), what: Some(what) };
    webhooks.redeliver(request).await.expect("it is kept").into_inner()
}

#[tokio::test]
async fn one_delivery_is_sent_again_and_moves_nothing() {
    let (server, receiver) = (server().await, receiver().await);
    let (mut client, mut webhooks) = (server.client().await, client(&server).await);
    let made = create(&mut webhooks, &receiver).await;
    for _ in 0..3 {
        begin(&mut client).await;
        receiver.next_request().await;
    }
    until(&mut webhooks, &made.id, |webhook| webhook.delivered_revision == 3).await;
    let sent = deliveries(&mut webhooks, &made.id).await[1].clone();
    receiver.reply(no());
    let told = redeliver(&mut webhooks, &made.id, What::DeliveryId(sent.id.clone())).await;
    assert_eq!(told.delivered_revision, 3);
    for _ in 0..2 {
        let again = receiver.next_request().await;
        assert_eq!((webhook_id(&again), revision_of(&again)), (sent.id.as_str(), 2));
    }
    // Its row is written before its successor begins.
    begin(&mut client).await;
    receiver.next_request().await;
    until(&mut webhooks, &made.id, |webhook| webhook.delivered_revision == 4).await;
    let rows = deliveries(&mut webhooks, &made.id).await;
    let row = rows.iter().find(|row| row.revision == 2).expect("it is there");
    assert_eq!((row.attempt_count, row.state()), (3, webhook_delivery::State::Delivered));
    assert_one_id_each(&receiver.requests());
    server.stop().await;
}

#[tokio::test]
async fn an_endpoint_goes_back_and_is_told_all_again() {
    let (mut server, receiver) = (server().await, receiver().await);
    let (mut client, mut webhooks) = (server.client().await, client(&server).await);
    let made = create(&mut webhooks, &receiver).await;
    for _ in 0..4 {
        begin(&mut client).await;
        receiver.next_request().await;
    }
    until(&mut webhooks, &made.id, |webhook| webhook.delivered_revision == 4).await;
    assert_eq!(redeliver(&mut webhooks, &made.id, What::AfterRevision(2)).await.delivered_revision, 2);
    let mut again = [receiver.next_request().await, receiver.next_request().await].map(|r| revision_of(&r));
    again.sort_unstable();
    assert_eq!(again, [3, 4]);
    until(&mut webhooks, &made.id, |webhook| webhook.delivered_revision == 4).await;

    // What is asked of a disabled endpoint is done when it is enabled, and survives a restart.
    set_state(&mut webhooks, &made.id, State::Disabled).await;
    let id = deliveries(&mut webhooks, &made.id).await.last().expect("the first one").id.clone();
    redeliver(&mut webhooks, &made.id, What::DeliveryId(id)).await;
    server.restart().await;
    webhooks = super::client(&server).await;
    set_state(&mut webhooks, &made.id, State::Enabled).await;
    assert_eq!(revision_of(&receiver.next_request().await), 1);
    assert_eq!(receiver.requests().len(), 7);
    assert_one_id_each(&receiver.requests());
    server.stop().await;
}
