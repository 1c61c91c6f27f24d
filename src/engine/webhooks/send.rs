//! One attempt at one delivery.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header::RETRY_AFTER};
use jiff::{Timestamp, fmt::rfc2822};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::{super::ids, sign};
use crate::{
    domain::{
        Time,
        webhook::{DeliveryId, WebhookSecret},
    },
    tools::net::{Client, Request},
};

/// So much of an answer is read, so that its connection can be used again. Nothing in it counts.
const ANSWER_BYTES: usize = 64 << 10;

/// What is sent.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) id: DeliveryId,
    pub(super) url: String,
    /// The time that the body tells.
    pub(super) told_at: Time,
    pub(super) body: String,
    pub(super) secrets: Vec<WebhookSecret>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The status of the answer; `None`: there was none.
    pub(super) http_status: Option<u16>,
    /// Why it failed; `None`: the receiver took it. Never holds what was answered.
    pub(super) error: Option<String>,
    /// How long the receiver wants to be left alone.
    pub(super) retry_after: Option<Duration>,
    pub(super) took: Duration,
}

/// The time as bodies tell it.
pub(super) fn rfc3339(time: Time) -> String {
    Timestamp::from_microsecond(time.unix_us).map_or_else(|_| String::new(), |time| time.to_string())
}

/// A body, in the form that the Standard Webhooks scheme has for all.
pub(super) fn body(type_name: &str, told_at: Time, data: &Value) -> String {
    json!({"type": type_name, "timestamp": rfc3339(told_at), "data": data}).to_string()
}

/// Sends a parcel once. Redirects are not followed: whoever answers with one has not taken it.
pub(super) async fn attempt(client: &Client, longest: Duration, parcel: Parcel) -> Outcome {
    let began = Instant::now();
    let answered = timeout(longest, post(client, parcel)).await;
    let mut outcome = match answered {
        Ok(Ok((status, headers))) => judge(status, &headers),
        Ok(Err(why)) => failed(why),
        Err(_) => failed(format!("there was no answer within {} ms", longest.as_millis())),
    };
    outcome.took = began.elapsed();
    outcome
}

async fn post(client: &Client, parcel: Parcel) -> Result<(StatusCode, HeaderMap), String> {
    let Parcel { id, url, told_at, body, secrets } = parcel;
    let url = url.parse().map_err(|_| "its address is no URL".to_owned())?;
    // Receivers compare it with their own clocks.
    let now = ids::now().unix_us.div_euclid(1_000_000);
    let headers = sign::headers(id, now, &rfc3339(told_at), &body, &secrets);
    let headers = headers.ok_or("there is no secret to sign it with")?;
    let request = Request { method: Method::POST, url, headers, body: Some(Bytes::from(body)) };
    let mut response = client.send_once(&request).await.map_err(|error| error.to_string())?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut read = 0;
    // The status says it all: what goes wrong from here on is none of the delivery's business.
    while let Ok(Some(chunk)) = response.chunk().await
        && read < ANSWER_BYTES
    {
        read += chunk.len();
    }
    Ok((status, headers))
}

fn judge(status: StatusCode, headers: &HeaderMap) -> Outcome {
    let error = match status {
        status if status.is_success() => None,
        status if status.is_redirection() => {
            Some(format!("it answered {}, and redirects are not followed", status.as_u16()))
        }
        status => Some(format!("it answered {}", status.as_u16())),
    };
    let retry_after = if error.is_some() { told(headers) } else { None };
    Outcome { http_status: Some(status.as_u16()), error, retry_after, took: Duration::ZERO }
}

fn failed(why: String) -> Outcome {
    Outcome { http_status: None, error: Some(why), retry_after: None, took: Duration::ZERO }
}

/// `Retry-After`: seconds or a date (RFC 9110).
fn told(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    // Every HTTP date of today's form is also one of RFC 2822 mails.
    let at = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Duration::try_from(at.duration_since(Timestamp::now())).ok()
}
