//! Receivers that go wrong, and what arrives when they don't any more.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
};

use causerie::proto::webhook_delivery;
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::*;

/// What a receiver does at first, and the error that follows; `None`: it has taken the delivery all the same.
fn faults(elsewhere: &ScriptedProvider) -> Vec<(&'static str, Vec<Reply>, Option<&'static str>)> {
    let elsewhere = elsewhere.base_url();
    let mut slow = taken();
    // Nobody ever opens it.
    slow.gate();
    vec![
        ("slow", vec![slow], Some("there was no answer within 300 ms")),
        ("errors", vec![no(), Reply::plain(503, "text/plain", ""), no()], Some("it answered 500")),
        (
            "redirects",
            vec![Reply::plain(307, "text/plain", "").header("location", &elsewhere)],
            Some("it answered 307, and redirects are not followed"),
        ),
        ("hangs up", vec![Reply::hang_up()], Some("gives no answer")),
        ("not found", vec![Reply::plain(404, "text/plain", "")], Some("it answered 404")),
        (
            "wants to be left alone",
            // Longer than the longest wait.
            vec![Reply::plain(429, "text/plain", "").header("retry-after", "86400")],
            Some("it answered 429"),
        ),
        ("speaks no HTTP", vec![Reply::plain(99, "text/plain", "")], Some("gives no answer")),
        ("cuts its answer", vec![taken().cut_after(0)], None),
        ("never ends its answer", vec![taken().stall()], Some("there was no answer within 300 ms")),
    ]
}

#[tokio::test]
async fn what_a_receiver_does_not_take_is_sent_again_until_it_does() {
    let settings = [AT_ONCE[0], AT_ONCE[1], ("webhooks.timeout", "300ms")];
    let server = server_with(&settings).await;
    let mut webhooks = client(&server).await;
    let elsewhere = receiver().await;
    let mut rows = Vec::new();
    for (name, replies, error) in faults(&elsewhere) {
        let receiver = receiver().await;
        let wrong = replies.len();
        replies.into_iter().for_each(|reply| receiver.reply(reply));
        let made = create(&mut webhooks, &receiver).await;
        rows.push((name, receiver, made, wrong, error));
    }
    let turn = begin(&mut server.client().await).await;
    for (name, receiver, made, wrong, error) in rows {
        let told = until(&mut webhooks, &made.id, |webhook| webhook.delivered_revision == 1).await;
        let expected = if error.is_some() { wrong + 1 } else { 1 };
        let requests = receiver.requests();
        assert_eq!(requests.len(), expected, "{name}");
        assert!(requests.iter().all(|request| turn_of(request) == turn.id), "{name}");
        assert_one_id_each(&requests);
        assert_eq!((told.failure_count, told.next_attempt_at), (0, None), "{name}");
        assert!(told.last_error.contains(error.unwrap_or_default()), "{name}: {}", told.last_error);
        assert!(!told.last_error.contains("said the receiver"), "{name}: {}", told.last_error);
        let sent = deliveries(&mut webhooks, &made.id).await;
        let [sent] = sent.as_slice() else { panic!("{name}: {sent:?}") };
        assert_eq!((sent.attempt_count as usize, sent.http_status), (expected, 200), "{name}");
        assert_eq!(sent.state(), webhook_delivery::State::Delivered, "{name}");
    }
    assert_eq!(elsewhere.connections(), 0, "no redirect is followed");
    server.stop().await;
}

/// A receiver with a certificate that nobody vouches for. What it is sent over TLS: nothing, if all is well.
fn unknown_certificate() -> (SocketAddr, thread::JoinHandle<usize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let pem = |name: &str| format!("{}/tests/fixtures/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    let certificate = CertificateDer::from_pem_file(pem("unknown.crt")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(pem("unknown.key")).expect("its key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they belong together");
    let config = Arc::new(config);
    let serve = move || {
        let (socket, _) = listener.accept().expect("a connection");
        let connection = ServerConnection::new(config).expect("a configuration that holds");
        let mut stream = StreamOwned::new(connection, socket);
        let mut told = Vec::new();
        // The other side breaks the handshake off.
        let _ = stream.read_to_end(&mut told);
        let _ = stream.flush();
        told.len()
    };
    (address, thread::spawn(serve))
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_told_nothing() {
    let (server, plain) = (server_with(&[("webhooks.backoff_base", "1h")]).await, receiver().await);
    let mut webhooks = client(&server).await;
    let (address, listened) = unknown_certificate();
    let mut made = Vec::new();
    for url in [format!("https://{address}/"), plain.base_url().replace("http:", "https:")] {
        made.push(create_with(&mut webhooks, Webhook { url, ..Webhook::default() }).await);
    }
    begin(&mut server.client().await).await;
    for webhook in made {
        let told = until(&mut webhooks, &webhook.id, |webhook| webhook.failure_count == 1).await;
        assert!(told.last_error.starts_with("127.0.0.1 gives no answer: "), "{}", told.last_error);
        assert!(told.next_attempt_at.is_some());
    }
    let told = tokio::task::spawn_blocking(|| listened.join()).await.expect("no panic").expect("no panic");
    assert_eq!((told, plain.requests().len()), (0, 0));
    server.stop().await;
}
