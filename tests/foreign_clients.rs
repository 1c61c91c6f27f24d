//! Clients that share no code with us talk to the whole server, which runs offline.

use crate::support::{
    outside::{BUF, PYTHON},
    server::TestServer,
};

#[tokio::test]
async fn pythons_grpcio_through_reflection() {
    let server = TestServer::offline().await;
    PYTHON.check("grpcio_client.py", server.address().to_string()).await;
    server.stop().await;
}

#[tokio::test]
async fn buf_curl_through_both_reflections() {
    let server = TestServer::offline().await;
    BUF.check("buf_curl.sh", server.address().to_string()).await;
    server.stop().await;
}
