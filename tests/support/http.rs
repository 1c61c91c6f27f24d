//! A plain HTTP client for the tests.

use std::sync::LazyLock;

use serde_json::Value;

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
    /// Whether the connection was dropped before the body's end.
    pub(crate) broken: bool,
}

impl Answer {
    /// The body, which must be JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {}", self.text))
    }

    /// The `data:` fields of a stream that are JSON, `[DONE]` left out.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.data().filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).expect(data)).collect()
    }

    /// Whether the stream ended as Mistral ends one.
    pub(crate) fn is_done(&self) -> bool {
        self.data().last() == Some("[DONE]")
    }

    fn data(&self) -> impl Iterator<Item = &str> {
        self.text.split("\n\n").filter_map(|event| event.strip_prefix("data: "))
    }
}

/// A client that keeps connections alive. The TLS provider is set for the whole process, as the binary does.
pub(crate) fn client() -> reqwest::Client {
    static TLS: LazyLock<()> = LazyLock::new(|| {
        // Whoever was first has set the same one.
        drop(rustls::crypto::ring::default_provider().install_default());
    });
    LazyLock::force(&TLS);
    // Reading the system's certificates takes longer than most of these tests, and nothing here speaks TLS.
    reqwest::Client::builder().tls_certs_only([]).build().expect("the options fit together")
}

/// Posts JSON with a bearer token and reads the whole answer.
pub(crate) async fn post(url: &str, body: &Value) -> Answer {
    let request = client().post(url).header("authorization", "Bearer test").header("content-type", "application/json");
    read(request.body(body.to_string()).send().await.expect("the server answers")).await
}

/// Reads an answer to its end, or to where it breaks off.
pub(crate) async fn read(mut response: reqwest::Response) -> Answer {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let (mut bytes, mut broken) = (Vec::new(), false);
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(_) => {
                broken = true;
                break;
            }
        }
    }
    Answer { status, headers, text: String::from_utf8(bytes).expect("the body is UTF-8"), broken }
}
