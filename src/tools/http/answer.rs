//! From an HTTP answer to what the model is told.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, header};
use reqwest::Response;
use serde_json::json;

use super::secret::Hidden;
use crate::{
    domain::{Chunk, tool::ToolOutcome},
    tools::net::Error,
};

/// So much of the body of a refusal is told.
const REFUSAL_CHARS: usize = 2000;
const REFUSAL_BYTES: usize = 4 * REFUSAL_CHARS;
const TYPE_CHARS: usize = 100;

/// What was read of a body.
struct Body {
    bytes: Vec<u8>,
    /// There is more than was read.
    is_cut: bool,
}

/// What kind of body the answer says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// A picture that models take.
    Picture(&'static str),
    Binary,
}

/// Reads an answer.
pub(super) async fn read(mut response: Response, limit: usize, hidden: &Hidden) -> ToolOutcome {
    let status = response.status();
    let kind_text = content_type(response.headers());
    let limit = if status.is_success() { limit } else { limit.min(REFUSAL_BYTES) };
    // What the cut would go through is read to its end, and a byte more: that tells whether there is more.
    let body = match read_body(&mut response, limit + hidden.longest() + 1).await {
        Ok(body) => body,
        Err(error) => {
            let host = response.url().host_str().unwrap_or_default();
            let error =
                Error::Unreachable { host: host.to_owned(), why: format!("its answer broke off ({})", cause(&error)) };
            return ToolOutcome::failed(hidden.hide_all(&error.to_string()));
        }
    };
    let kind = match response.headers().get(header::CONTENT_ENCODING).map(|encoding| encoding.as_bytes()) {
        None | Some(b"" | b"identity") => kind(&kind_text, &body.bytes),
        Some(_) => Kind::Binary,
    };
    let info = json!({"http_status": status.as_u16()}).to_string();
    if !status.is_success() {
        let error = refusal(status.as_u16(), &kind_text, kind, &body, hidden);
        return ToolOutcome { content: Vec::new(), info, error: Some(error) };
    }
    ToolOutcome { content: vec![content(status.as_u16(), &kind_text, kind, body, limit, hidden)], info, error: None }
}

async fn read_body(response: &mut Response, most: usize) -> reqwest::Result<Body> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = most - bytes.len();
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Ok(Body { bytes, is_cut: true });
        }
    }
    Ok(Body { bytes, is_cut: false })
}

fn refusal(status: u16, kind_text: &str, kind: Kind, body: &Body, hidden: &Hidden) -> String {
    if body.bytes.is_empty() {
        return format!("HTTP {status}");
    }
    if kind != Kind::Text {
        return format!("HTTP {status}: {}", described(kind_text, body, hidden));
    }
    let text = hidden.hide(&String::from_utf8_lossy(&body.bytes), REFUSAL_BYTES);
    let end = text.char_indices().nth(REFUSAL_CHARS).map_or(text.len(), |(at, _)| at);
    format!("HTTP {status}: {}", text[..end].trim())
}

fn content(status: u16, kind_text: &str, kind: Kind, body: Body, limit: usize, hidden: &Hidden) -> Chunk {
    let is_cut = body.is_cut || body.bytes.len() > limit;
    match kind {
        Kind::Text if body.bytes.is_empty() => Chunk::Text(format!("HTTP {status}: the answer has no content")),
        Kind::Text => {
            let mut text = hidden.hide(&String::from_utf8_lossy(&body.bytes), limit);
            if is_cut {
                text.push_str(&format!("\n[cut off here: the answer is longer than {limit} bytes]"));
            }
            Chunk::Text(text)
        }
        Kind::Picture(kind) if !is_cut => Chunk::ImageUrl {
            url: format!("data:{kind};base64,{}", STANDARD.encode(&body.bytes)),
            detail: String::new(),
        },
        Kind::Picture(_) | Kind::Binary if is_cut => {
            let what = shown_type(kind_text, hidden);
            Chunk::Text(format!("HTTP {status}: the answer is {what}, of more than {limit} bytes; it is not shown"))
        }
        Kind::Picture(_) | Kind::Binary => Chunk::Text(format!(
            "HTTP {status}: the answer is {}; it is not shown",
            described(kind_text, &body, hidden)
        )),
    }
}

fn described(kind_text: &str, body: &Body, hidden: &Hidden) -> String {
    let more = if body.is_cut { "more than " } else { "" };
    format!("{}, {more}{} bytes", shown_type(kind_text, hidden), body.bytes.len())
}

fn shown_type(kind_text: &str, hidden: &Hidden) -> String {
    match kind_text {
        "" => "of no known type".to_owned(),
        named => hidden.hide_all(named).chars().take(TYPE_CHARS).collect(),
    }
}

/// The media type, without its parameters.
fn content_type(headers: &HeaderMap) -> String {
    let named = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    named.and_then(|named| Some(named.split(';').next()?.trim().to_ascii_lowercase())).unwrap_or_default()
}

fn kind(named: &str, bytes: &[u8]) -> Kind {
    let is_text = named.starts_with("text/")
        || named.ends_with("+json")
        || named.ends_with("+xml")
        || matches!(
            named,
            "application/json"
                | "application/x-ndjson"
                | "application/xml"
                | "application/yaml"
                | "application/x-yaml"
                | "application/javascript"
                | "application/x-www-form-urlencoded"
        );
    // A picture that is none would make every later turn fail at the provider.
    let picture = match named {
        "image/png" => bytes.starts_with(b"\x89PNG\r\n\x1a\n").then_some("image/png"),
        "image/jpeg" => bytes.starts_with(b"\xff\xd8\xff").then_some("image/jpeg"),
        "image/gif" => bytes.starts_with(b"GIF8").then_some("image/gif"),
        "image/webp" => (bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP")).then_some("image/webp"),
        _ => None,
    };
    match picture {
        Some(picture) => Kind::Picture(picture),
        None if is_text || bytes.is_empty() => Kind::Text,
        None if named.is_empty() && is_utf8(bytes) => Kind::Text,
        None => Kind::Binary,
    }
}

/// The last character may be cut off.
fn is_utf8(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true)
}

fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
