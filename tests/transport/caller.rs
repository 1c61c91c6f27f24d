//! A caller on bare HTTP/2. tonic's client would hide what is tested here: it has a deadline timer of its own that answers
//! CANCELLED, and it mends what it can.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Request};
use prost::Message;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic_types::StatusExt;

/// More than any script sends before its deadline.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Fails the test instead of hanging it.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, future).await.expect("did not happen in time")
}

/// One HTTP/2 connection.
pub(crate) struct Caller {
    requests: SendRequest<Bytes>,
    /// Ends when the connection does.
    pub(crate) connection: JoinHandle<Result<(), h2::Error>>,
}

/// The whole answer to a call.
pub(crate) struct Answer {
    pub(crate) head: HeaderMap,
    pub(crate) data: Bytes,
    pub(crate) status: Status,
}

/// An answer that has begun.
pub(crate) struct Stream {
    pub(crate) head: HeaderMap,
    body: h2::RecvStream,
}

impl Caller {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.expect("connected");
        let (requests, connection) = soon(h2::client::handshake(socket)).await.expect("handshake");
        let connection = tokio::spawn(connection);
        Self { requests, connection }
    }

    /// The calls at a time that the server allows, known after the first answer.
    pub(crate) fn streams_max(&self) -> usize {
        self.requests.current_max_send_streams()
    }

    /// Sends `body` to `/test.Scripted/{method}`, or to `method` as it is if it is a whole path.
    pub(crate) async fn send(&self, method: &str, metadata: &[(&str, &str)], body: Bytes) -> ResponseFuture {
        let path = match method.starts_with('/') {
            true => method.to_owned(),
            false => format!("/test.Scripted/{method}"),
        };
        let mut request = Request::post(format!("http://test{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in metadata {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let mut requests = soon(self.requests.clone().ready()).await.expect("open");
        let (response, mut stream) = requests.send_request(request, false).expect("sent");
        stream.send_data(body, true).expect("sent");
        response
    }

    /// Opens a call whose answer is read piece by piece.
    pub(crate) async fn open(&self, method: &str, metadata: &[(&str, &str)]) -> Stream {
        let response = self.send(method, metadata, frame("hello")).await;
        begin(response).await.expect("an answer")
    }

    /// Makes a whole call with the message "hello".
    pub(crate) async fn call(&self, method: &str, metadata: &[(&str, &str)]) -> Answer {
        self.call_with(method, metadata, frame("hello")).await
    }

    /// Makes a whole call.
    pub(crate) async fn call_with(&self, method: &str, metadata: &[(&str, &str)], body: Bytes) -> Answer {
        let response = self.send(method, metadata, body).await;
        begin(response).await.expect("an answer").rest().await
    }
}

/// Waits for the head of an answer; an error if the stream is reset.
pub(crate) async fn begin(response: ResponseFuture) -> Result<Stream, h2::Error> {
    let (head, body) = soon(response).await?.into_parts();
    assert_eq!(head.status, 200, "gRPC errors are HTTP successes");
    let head = head.headers;
    Ok(Stream { head, body })
}

impl Stream {
    /// The next piece of data; `None` at the end.
    pub(crate) async fn data(&mut self) -> Option<Bytes> {
        let data = soon(self.body.data()).await?.expect("no reset");
        let mut window = self.body.flow_control().clone();
        window.release_capacity(data.len()).expect("a window");
        Some(data)
    }

    /// Reads to the end, which must be a gRPC status and no reset.
    pub(crate) async fn rest(mut self) -> Answer {
        let mut all = BytesMut::new();
        while let Some(data) = self.data().await {
            all.put(data);
            assert!(all.len() < ANSWER_BYTES_MAX, "the answer does not end");
        }
        let trailers = soon(self.body.trailers()).await.expect("no reset");
        let last = trailers.as_ref().unwrap_or(&self.head);
        let status = Status::from_header_map(last).expect("a status");
        Answer { head: self.head, data: all.freeze(), status }
    }
}

impl Answer {
    /// The reason in the `ErrorInfo`.
    pub(crate) fn reason(&self) -> String {
        let info = self.status.get_details_error_info();
        let info = info.unwrap_or_else(|| panic!("no ErrorInfo in {:?}", self.status));
        assert_eq!(info.domain, "causerie");
        info.reason
    }

    /// The id in the `RequestInfo`.
    pub(crate) fn request_id(&self) -> String {
        let info = self.status.get_details_request_info();
        info.expect("a RequestInfo").request_id
    }

    /// What the trailers tell automatic retries.
    pub(crate) fn retry_pushback(&self) -> Option<&str> {
        let value = self.status.metadata().get("grpc-retry-pushback-ms")?;
        value.to_str().ok()
    }
}

/// One gRPC message that holds `text`.
pub(crate) fn frame(text: &str) -> Bytes {
    frame_of(&text.to_owned().encode_to_vec())
}

/// One gRPC message of these bytes.
pub(crate) fn frame_of(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("a small message"));
    frame.put_slice(message);
    frame.freeze()
}

/// The gRPC messages in the data of an answer.
pub(crate) fn messages<M: Message + Default>(mut data: &[u8]) -> Vec<M> {
    let mut messages = Vec::new();
    while let [0, a, b, c, d, rest @ ..] = data {
        let (message, rest) = rest.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        messages.push(M::decode(message).expect("a message"));
        data = rest;
    }
    assert!(data.is_empty(), "whole messages only: {data:?}");
    messages
}
