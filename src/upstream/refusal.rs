//! A refusal of a provider: what is read of it, and what is hidden in it.

use std::time::Duration;

use http::HeaderValue;
use jiff::Timestamp;
use reqwest::Response;
use tokio::time::{Instant, timeout_at};

use super::{
    Fault, FaultClass, Form, Quota, Reached, chat,
    origin::Origin,
    retry_after::{retry_after_ms, told_ms},
    secrets::Secrets,
};

/// Of its body; the explanation is short.
const BODY_BYTES: usize = 64 * 1024;
/// For its body: the status says the most.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The key that a request was sent with.
#[derive(Debug)]
pub(super) struct Sent {
    /// Its header; `None`: there was none.
    pub(super) key: Option<HeaderValue>,
    /// It is the caller's, not the configured one.
    pub(super) is_own: bool,
}

/// What was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The endpoint.
    pub(super) form: Form,
    /// The model, or the hosted agent.
    pub(super) model: &'a str,
    /// It is an agent's id.
    pub(super) hosted: bool,
}

/// An answer with another status than 200.
pub(super) struct Refused<'a> {
    /// The answer; its body is not read yet.
    pub(super) response: Response,
    /// What was asked.
    pub(super) asked: Asked<'a>,
    /// Bounds the reading of the body.
    pub(super) deadline: Option<Instant>,
    /// What the provider may quote.
    pub(super) sent: &'a Sent,
}

impl Refused<'_> {
    /// What it means.
    pub(super) async fn read(self, origin: &Origin, key_place: &str, secrets: &Secrets) -> Fault {
        let Refused { mut response, asked, deadline, sent } = self;
        let body = read_body(&mut response, deadline).await;
        let (status, headers, now) = (response.status().as_u16(), response.headers(), Timestamp::now());
        let refusal = chat::Refusal { status, body: &body, asked, sent, key_place, secrets };
        let mut fault = chat::refused(&refusal, origin);
        fault.reached = Reached::Refused;
        fault.quota = Quota::read(headers);
        fault.retry_after_ms = match fault.class {
            FaultClass::RateLimited => retry_after_ms(headers, now),
            // The reset times of limits that were not reached say nothing of when the provider is well again.
            FaultClass::Transient => told_ms(headers, now),
            FaultClass::Permanent | FaultClass::TooLong => None,
        };
        fault.failure.retry_after_ms = fault.retry_after_ms.or(fault.failure.retry_after_ms);
        secrets.hide_in(&mut fault.failure);
        fault
    }
}

/// What has come in time is read as far as it goes.
async fn read_body(response: &mut Response, deadline: Option<Instant>) -> Vec<u8> {
    let mut body = Vec::new();
    let reading = async {
        while let Ok(Some(bytes)) = response.chunk().await
            && body.len() < BODY_BYTES
        {
            body.extend_from_slice(&bytes);
        }
    };
    let end = Instant::now() + BODY_TIMEOUT;
    let _ = timeout_at(deadline.map_or(end, |deadline| deadline.min(end)), reading).await;
    body
}
