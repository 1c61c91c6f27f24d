//! Names every call, and opens its span.

use std::fmt;
use std::future::Future;

use http::{HeaderMap, HeaderValue, Request, Response};
use tonic::body::Body;
use tracing::Instrument;
use uuid::Uuid;

use super::finish::{Finish, Watched};
use super::{Around, Handler};

/// The metadata key of the id, in requests and in the initial metadata of every answer. Envoy's and most proxies' name.
pub const REQUEST_ID: &str = "x-request-id";

const LENGTH_MAX: usize = 128;

/// Request extension: the id under which the log, the answer's metadata and every status know this call. It is not the
/// `request_id` field of a message, which makes a turn idempotent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// Takes the caller's id if it is 1 to 128 visible ASCII characters, else mints one: 32 hex digits of a UUIDv7.
    fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(REQUEST_ID).filter(|id| is_acceptable(id));
        let id = given.cloned().unwrap_or_else(mint);
        Self(id)
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("only visible ASCII is accepted")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn is_acceptable(id: &HeaderValue) -> bool {
    let bytes = id.as_bytes();
    (1..=LENGTH_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

fn mint() -> HeaderValue {
    let id = Uuid::now_v7().simple().to_string();
    HeaderValue::try_from(id).expect("hex digits are a valid header value")
}

/// The layer.
#[derive(Clone, Debug)]
pub struct NameCalls;

impl Around for NameCalls {
    fn around<H: Handler>(
        self,
        mut request: Request<Body>,
        inner: H,
    ) -> impl Future<Output = Response<Body>> + Send + 'static {
        let id = RequestId::of(request.headers());
        // The log's span and the call's extension use one spelling of the id.
        let span = tracing::info_span!(
            target: "causerie::rpc", "rpc", method = request.uri().path(), request_id = %id
        );
        let mut finish = Finish::new(&request, span.clone());
        request.extensions_mut().insert(id.clone());
        let answer = async move {
            let mut response = inner.answer(request).await;
            response.headers_mut().insert(REQUEST_ID, id.0);
            finish.note(response.headers());
            response.map(|inner| Body::new(Watched::new(inner, finish)))
        };
        answer.instrument(span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_for(given: &[u8]) -> String {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_bytes(given).expect("a header value");
        headers.insert(REQUEST_ID, value);
        RequestId::of(&headers).as_str().to_owned()
    }

    #[test]
    fn keeps_a_visible_id_of_at_most_128_characters() {
        assert_eq!(id_for(b"a/b:c-1~"), "a/b:c-1~");
        let longest = "x".repeat(128);
        assert_eq!(id_for(longest.as_bytes()), longest);
    }

    #[test]
    fn mints_one_in_place_of_any_other() {
        let too_long = "x".repeat(129);
        let others: [&[u8]; 4] = [b"", b"a b", "é".as_bytes(), too_long.as_bytes()];
        for given in others {
            let id = id_for(given);
            assert_eq!(id.len(), 32, "{given:?} became {id}");
            assert!(id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        }
    }
}
