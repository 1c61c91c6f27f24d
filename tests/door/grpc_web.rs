//! gRPC-Web: unary calls and streams, by a client that others wrote and by raw frames.

use bytes::{BufMut, Bytes, BytesMut};
use causerie::proto;
use prost::Message;
use tempfile::TempDir;

use super::open;
use crate::support::{
    events::soon,
    http::{Answer, client, read},
    log::Log,
    outside::WEB_CLIENTS,
    provider::Reply,
    server::{TestServer, start},
};

#[tokio::test]
async fn connects_client() {
    let server =
        TestServer::with(&[("offline", "true"), ("providers.mistral.key_file", ""), ("http.grpc_web", "true")]).await;
    let folder = TempDir::new().expect("a temporary folder");
    let sets = [
        ("CAUSERIE_DESCRIPTORS", proto::FILE_DESCRIPTOR_SET),
        ("DETAILS_DESCRIPTORS", tonic_types::pb::FILE_DESCRIPTOR_SET),
    ];
    let settings = sets.map(|(name, set)| {
        let path = folder.path().join(name);
        std::fs::write(&path, set).expect("a writable folder");
        (name, path.into_os_string())
    });
    WEB_CLIENTS.check_with("grpc_web.cjs", server.address().to_string(), &settings).await;
    server.stop().await;
}

/// A message of gRPC, and of gRPC-Web.
fn frame(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len()).expect("a small message"));
    message.encode(&mut frame).expect("room");
    frame.freeze()
}

async fn call(server: &TestServer, method: &str, id: &str, body: impl Into<reqwest::Body>) -> Answer {
    let path = format!("http://{}/causerie.v1.ConversationService/{method}", server.address());
    let call = client().post(path).header("content-type", "application/grpc-web-text").header("x-request-id", id);
    let call = call.header("accept", "application/grpc-web-text").body(body);
    soon(async { read(call.send().await.expect("an answer")).await }).await
}

fn in_base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// As text, since that is what the older clients stream.
#[tokio::test]
async fn raw_frames_and_the_log() {
    let log = Log::listen();
    let server = open().await;
    server.provider.reply(Reply::text("one"));
    let answer = call(&server, "Start", "web-raw", in_base64(&frame(&start("Hello")))).await;
    assert_eq!((answer.status, answer.headers["x-request-id"].to_str().expect("text")), (200, "web-raw"));
    assert_eq!(answer.headers["content-type"], "application/grpc-web-text+proto");
    assert!(!answer.text.is_empty());
    // Bytes that are no message are the caller's fault.
    for (body, id) in [("!!!!", "web-raw-base64"), ("AAAAAAH/", "web-raw-proto")] {
        let refused = call(&server, "Start", id, body).await;
        assert_eq!(refused.headers["grpc-status"], "3", "{id}: {:?}", refused.headers);
    }
    let unknown = call(&server, "Nothing", "web-raw-unknown", in_base64(&frame(&()))).await;
    assert_eq!(unknown.headers["grpc-status"], "12");
    let codes: Vec<_> = log.calls("web-raw").into_iter().map(|(_, id, code)| (id, code)).collect();
    let expected = [
        ("web-raw", "OK"),
        ("web-raw-base64", "INVALID_ARGUMENT"),
        ("web-raw-proto", "INVALID_ARGUMENT"),
        ("web-raw-unknown", "UNIMPLEMENTED"),
    ];
    assert_eq!(codes, expected.map(|(id, code)| (id.to_owned(), code.to_owned())));
    server.stop().await;
}
