//! The models that a provider lists, and whether it can be used at all: `GET …/models`.

use std::time::Duration;

use http::{
    HeaderValue, Method,
    header::{ACCEPT, DATE},
};
use jiff::{Timestamp, fmt::rfc2822};
use reqwest::Response;
use tokio::time::{Instant, timeout_at};

use super::{
    Failure, Fault, FaultClass, Form, Provider, Quota, Reached,
    card::{self, ModelCard},
    client::{Inner, cause, send_fault},
    completion::Until,
    refusal::{Asked, Refused, Sent},
};
use crate::domain::Reason;

/// Of the list. The longest known, of an aggregator of hundreds of models, has 1 MB.
const LIST_BYTES: usize = 4 * 1024 * 1024;
/// HTTP dates are cut to the second: on average they are this much too early.
const DATE_CUT_MS: i64 = 500;

/// What a try of a provider showed.
#[derive(Debug, Clone)]
pub struct Check {
    /// It answered, whatever it said.
    pub reachable: bool,
    /// The HTTP status of its answer.
    pub status: Option<u16>,
    /// What is known of its key.
    pub key: KeyState,
    /// How many models it lists.
    pub models: Option<usize>,
    /// How far its clock is ahead of ours (behind: negative), in milliseconds. Known to half a second and half the round trip.
    pub clock_skew_ms: Option<i64>,
    /// From the request to the head of the answer, connecting included; or to the failure.
    pub round_trip: Duration,
    /// What is wrong, if anything is.
    pub failure: Option<Failure>,
}

/// What is known of a provider's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// None is configured, or there is none where it should be. The provider was asked without one.
    Missing,
    /// The provider wants none, and was asked without one.
    NotNeeded,
    /// The provider listed its models for it.
    Accepted,
    /// The provider answered 401.
    Refused,
    /// The answer does not tell.
    Unknown,
}

/// How the question for the models went.
struct Listed {
    result: Result<Vec<ModelCard>, Fault>,
    status: Option<u16>,
    clock_skew_ms: Option<i64>,
    round_trip: Duration,
}

impl Provider {
    /// The models that the provider lists now. Costs no tokens. Bounded by the first-byte timeout and the deadline.
    ///
    /// Fails as [`Provider::complete`] does; UPSTREAM_PROTOCOL_ERROR, not worth a retry, if it has no such list.
    pub async fn models(&self, deadline: Instant) -> Result<Vec<ModelCard>, Fault> {
        let key = self.inner.key_by(deadline).await?;
        self.inner.list(Sent { key, is_own: false }, deadline).await.result
    }

    /// Tries whether the provider can be used, without spending tokens: asks for its models. Never fails; what is wrong is said
    /// in the answer.
    pub async fn check(&self, deadline: Instant) -> Check {
        let (key, key_fault) = match self.inner.key_by(deadline).await {
            Ok(key) => (key, None),
            Err(fault) => (None, Some(fault)),
        };
        let listed = self.inner.list(Sent { key, is_own: false }, deadline).await;
        let Listed { result, status, clock_skew_ms, round_trip } = listed;
        let key = match (&key_fault, status) {
            // The deadline passed while a command ran for it.
            (Some(fault), _) if fault.failure.reason == Reason::Timeout => KeyState::Unknown,
            (Some(_), _) => KeyState::Missing,
            (None, _) if self.inner.key_is_not_needed() => KeyState::NotNeeded,
            (None, Some(200)) => KeyState::Accepted,
            (None, Some(401)) => KeyState::Refused,
            (None, Some(_) | None) => KeyState::Unknown,
        };
        let (models, list_fault) = match result {
            Ok(cards) => (Some(cards.len()), None),
            Err(fault) => (None, Some(fault)),
        };
        let failure = key_fault.or(list_fault).map(|fault| fault.failure);
        Check { reachable: status.is_some(), status, key, models, clock_skew_ms, round_trip, failure }
    }
}

impl Inner {
    async fn key_by(&self, deadline: Instant) -> Result<Option<HeaderValue>, Fault> {
        let text = "the deadline passed before the provider was asked";
        let too_late = || Fault::new(FaultClass::Permanent, self.origin.failure(Reason::Timeout, text));
        timeout_at(deadline, self.configured_key()).await.unwrap_or_else(|_| Err(too_late()))
    }

    async fn list(&self, sent: Sent, deadline: Instant) -> Listed {
        let (started, began) = (Instant::now(), Timestamp::now());
        let sending = self.request(Method::GET, &self.endpoint.models, &sent).header(ACCEPT, "application/json").send();
        let until = Until::after(self.first_byte_timeout).or_at(deadline);
        let answered = match timeout_at(until.at, sending).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(send_fault(&error, &self.origin)),
            Err(_) => Err(until.fault(&self.origin, "sent no answer")),
        };
        let round_trip = started.elapsed();
        let (status, clock_skew_ms) = match &answered {
            Ok(response) => {
                let date = response.headers().get(DATE);
                (Some(response.status().as_u16()), date.and_then(|date| skew_ms(date, began, round_trip)))
            }
            Err(_) => (None, None),
        };
        let mut result = match answered {
            Ok(response) => self.read_list(response, &sent, deadline).await,
            Err(fault) => Err(fault),
        };
        if let Err(fault) = &mut result {
            self.secrets(&sent).hide_in(&mut fault.failure);
        }
        Listed { result, status, clock_skew_ms, round_trip }
    }

    async fn read_list(&self, response: Response, sent: &Sent, deadline: Instant) -> Result<Vec<ModelCard>, Fault> {
        let origin = self.origin.answered(&response);
        let quota = Quota::read(response.headers());
        match response.status().as_u16() {
            200 => {}
            status @ (404 | 405 | 501) => {
                let text = format!("{} does not list its models (HTTP {status})", origin.provider);
                let failure = origin.failure(Reason::UpstreamProtocolError, text);
                return Err(Fault { reached: Reached::Refused, quota, ..Fault::new(FaultClass::Permanent, failure) });
            }
            status => {
                if let Some(key) = sent.key.as_ref().filter(|_| status == 401) {
                    self.keys.refused(key).await;
                }
                let asked = Asked { form: Form::Chat, model: "", hosted: false };
                let refused = Refused { response, asked, deadline: Some(deadline), sent };
                return Err(self.refused(refused, &origin).await);
            }
        }
        let fault = |fault: Fault| Fault { reached: Reached::Answered, quota, ..fault };
        let unusable = |what: String| fault(Fault::new(FaultClass::Transient, origin.protocol(what)));
        let until = Until::after(self.first_byte_timeout).or_at(deadline);
        let body = match timeout_at(until.at, read_body(response)).await {
            Ok(Ok(body)) => body,
            Ok(Err(what)) => return Err(unusable(what)),
            Err(_) => return Err(fault(until.fault(&origin, "did not end its list of models"))),
        };
        card::read_list(&body).ok_or_else(|| unusable("it is no list of models".to_owned()))
    }
}

async fn read_body(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(bytes)) if body.len() + bytes.len() > LIST_BYTES => {
                return Err(format!("its list of models is longer than {LIST_BYTES} bytes"));
            }
            Ok(Some(bytes)) => body.extend_from_slice(&bytes),
            Ok(None) => return Ok(body),
            Err(error) => return Err(format!("it was cut off: {}", cause(&error))),
        }
    }
}

/// The provider wrote its date, on average, half a round trip after we began.
fn skew_ms(date: &HeaderValue, began: Timestamp, round_trip: Duration) -> Option<i64> {
    // Every HTTP date of today's form is also one of RFC 2822 mails.
    let date = rfc2822::DateTimeParser::new().parse_timestamp(date.to_str().ok()?).ok()?;
    let half_trip_ms = i64::try_from(round_trip.as_millis() / 2).ok()?;
    Some(date.as_millisecond() + DATE_CUT_MS - (began.as_millisecond() + half_trip_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_provider_s_clock_is_compared_with_the_middle_of_the_round_trip() {
        let began: Timestamp = "2026-11-21T08:00:00.300Z".parse().expect("a time");
        let rows = [
            ("Sat, 21 Nov 2026 08:00:00 GMT", 400, Some(0)),
            ("Sat, 21 Nov 2026 08:00:10 GMT", 400, Some(10_000)),
            ("Sat, 21 Nov 2026 07:59:00 GMT", 0, Some(-59_800)),
            ("yesterday", 400, None),
            ("", 400, None),
        ];
        for (date, round_trip_ms, expected) in rows {
            let date = HeaderValue::from_static(date);
            assert_eq!(skew_ms(&date, began, Duration::from_millis(round_trip_ms)), expected, "{date:?}");
        }
    }
}
