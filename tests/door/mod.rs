//! The door for browsers and plain HTTP readers, at the socket.

mod browser;
mod connections;
mod cross_origin;
mod events;
mod grpc_web;
mod reads;
mod reconnect;
mod shut;
mod sse;
mod watch;

use crate::support::{
    events::soon,
    http::{Answer, client, read},
    server::TestServer,
};

/// A server with everything open.
pub(crate) async fn open() -> TestServer {
    open_with(&[]).await
}

/// The same with further settings.
pub(crate) async fn open_with(settings: &[(&str, &str)]) -> TestServer {
    let doors = [("http.page", "true"), ("http.grpc_web", "true")];
    let settings: Vec<_> = doors.iter().chain(settings).copied().collect();
    TestServer::with(&settings).await
}

/// What a path gives, read to its end.
pub(crate) async fn get(server: &TestServer, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = client().get(format!("http://{}{path}", server.address()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    soon(async { read(request.send().await.expect("the server answers")).await }).await
}
