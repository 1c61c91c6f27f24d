//! Endpoints that are away for long, on a clock that the test moves.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::support::time::pass;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Lets time pass until one more attempt has failed.
async fn fail_again(webhooks: &mut Webhooks, id: &str, step: Duration) -> Webhook {
    let before = get(webhooks, id).await.expect("it is there");
    pass(step).await;
    until(webhooks, id, |webhook| webhook.failure_count > before.failure_count || webhook.state() == State::Disabled)
        .await
}

#[tokio::test]
async fn a_receiver_that_is_gone_for_an_hour_gets_all_when_it_is_back() {
    let server = server_with(&[]).await;
    let (mut client, mut webhooks) = (server.client().await, client(&server).await);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    drop(listener);
    let made = create_with(&mut webhooks, Webhook { url: format!("http://{address}/"), ..Webhook::default() }).await;
    let mut turns = vec![begin(&mut client).await];
    turns.push(go_on(&mut client, &turns[0]).await);
    let mut gone = until(&mut webhooks, &made.id, |webhook| webhook.failure_count > 0).await;
    for _ in 0..6 {
        gone = fail_again(&mut webhooks, &made.id, 10 * MINUTE).await;
    }
    assert!(gone.failure_count >= 7 && gone.state() == State::Enabled, "{gone:?}");
    assert!(gone.last_error.contains("gives no answer"), "{}", gone.last_error);
    assert_eq!(gone.delivered_revision, 0);

    let listener = TcpListener::bind(address).await.expect("its port is free");
    let heard = tokio::spawn(async move { (hear(&listener).await, hear(&listener).await) });
    pass(6 * HOUR).await;
    let (first, second) = heard.await.expect("no panic");
    assert!(first.contains(&turns[0].id) && second.contains(&turns[1].id), "{first}\n{second}");
    let back = until(&mut webhooks, &made.id, |webhook| webhook.delivered_revision == 2).await;
    assert_eq!((back.failure_count, back.next_attempt_at), (0, None));
    server.stop().await;
}

/// Takes one delivery on a connection of its own.
async fn hear(listener: &TcpListener) -> String {
    let (mut socket, _) = listener.accept().await.expect("a connection");
    let (mut text, mut part) = (String::new(), [0; 4096]);
    while !text.ends_with("}}") {
        let read = socket.read(&mut part).await.expect("a request");
        text.push_str(&String::from_utf8_lossy(&part[..read]));
    }
    socket.write_all(b"HTTP/1.1 204 Fine\r\nconnection: close\r\n\r\n").await.expect("it is read");
    text
}

#[tokio::test]
async fn an_endpoint_that_fails_for_too_long_is_disabled_and_goes_on_where_it_stopped() {
    let settings = [("webhooks.give_up_after", "1h"), ("webhooks.backoff_base", "1m"), ("webhooks.backoff_max", "10m")];
    let (mut server, receiver) = (server_with(&settings).await, receiver().await);
    let (mut client, mut webhooks) = (server.client().await, client(&server).await);
    let made = create(&mut webhooks, &receiver).await;
    let taken_turn = begin(&mut client).await;
    until(&mut webhooks, &made.id, |webhook| webhook.delivered_revision == 1).await;

    receiver.on_every(no());
    let mut turns = vec![begin(&mut client).await];
    let mut last = until(&mut webhooks, &made.id, |webhook| webhook.failure_count > 0).await;
    let mut rounds = 0;
    while last.state() == State::Enabled {
        assert!(rounds < 60, "{last:?}");
        last = fail_again(&mut webhooks, &made.id, 10 * MINUTE).await;
        rounds += 1;
    }
    assert!(rounds >= 5, "an hour is no less than five times ten minutes");
    let reason = &last.disabled_reason;
    assert!(reason.starts_with("the change 2 could not be delivered since 20"), "{reason}");
    assert!(reason.ends_with(": it answered 500"), "{reason}");
    assert_eq!((last.delivered_revision, last.next_attempt_at), (1, None));

    turns.push(go_on(&mut client, &turns[0]).await);
    turns.push(begin(&mut client).await);
    let sent = receiver.requests().len();
    server.restart().await;
    (client, webhooks) = (server.client().await, super::client(&server).await);
    turns.push(begin(&mut client).await);
    assert_eq!(get(&mut webhooks, &made.id).await.expect("it is there").state(), State::Disabled);
    assert_eq!(receiver.requests().len(), sent, "it is told nothing while it is disabled");

    receiver.on_every(taken());
    let enabled = set_state(&mut webhooks, &made.id, State::Enabled).await;
    assert_eq!((enabled.state(), enabled.disabled_reason.as_str()), (State::Enabled, ""));
    until(&mut webhooks, &made.id, |webhook| webhook.delivered_revision == 5).await;
    let told: Vec<String> = receiver.requests()[sent..].iter().map(|r| turn_of(r).to_owned()).collect();
    assert_eq!(told.len(), 4, "each once");
    assert!(turns.iter().all(|turn| told.contains(&turn.id)) && !told.contains(&taken_turn.id));
    assert_one_id_each(&receiver.requests());
    server.stop().await;
}

#[tokio::test]
async fn a_receiver_is_left_alone_as_long_as_it_says() {
    let settings = [("webhooks.backoff_base", "1s"), ("webhooks.backoff_max", "1h")];
    let (server, receiver) = (server_with(&settings).await, receiver().await);
    let (mut client, mut webhooks) = (server.client().await, client(&server).await);
    let made = create(&mut webhooks, &receiver).await;
    receiver.reply(Reply::plain(503, "text/plain", "").header("retry-after", "600"));
    begin(&mut client).await;
    until(&mut webhooks, &made.id, |webhook| webhook.failure_count == 1).await;
    // Another tree's change would not have waited for the first one's.
    begin(&mut client).await;
    pass(9 * MINUTE).await;
    let waiting = get(&mut webhooks, &made.id).await.expect("it is there");
    assert_eq!((waiting.delivered_revision, receiver.requests().len()), (0, 1));
    pass(MINUTE).await;
    until(&mut webhooks, &made.id, |webhook| webhook.delivered_revision == 2).await;
    assert_eq!(receiver.requests().len(), 3);
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_kept_is_not_told_and_that_is_said() {
    let settings = [("watch.retention", "0s"), AT_ONCE[0], AT_ONCE[1]];
    let (server, receiver) = (server_with(&settings).await, receiver().await);
    let (mut client, mut webhooks) = (server.client().await, client(&server).await);
    let made = create(&mut webhooks, &receiver).await;
    set_state(&mut webhooks, &made.id, State::Disabled).await;
    begin(&mut client).await;
    begin(&mut client).await;
    let last = begin(&mut client).await;
    let mut watch = proto::watch_service_client::WatchServiceClient::new(server.channel().await);
    pass(2 * MINUTE).await;
    while watch.get_revisions(causerie::proto::GetRevisionsRequest {}).await.expect("an answer").into_inner().oldest < 3
    {
    }
    set_state(&mut webhooks, &made.id, State::Enabled).await;
    assert_eq!(turn_of(&receiver.next_request().await), last.id);
    let told = until(&mut webhooks, &made.id, |webhook| webhook.delivered_revision == 3).await;
    assert!(told.last_error.starts_with("the changes 1 to 2 are not kept any more"), "{}", told.last_error);
    server.stop().await;
}
