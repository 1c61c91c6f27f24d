//! Whose failure it is: every failure of this room names the provider, and what is known of its answer.

use std::sync::Arc;

use reqwest::Response;

use crate::domain::{Failure, Reason};

/// How long to wait where a failure is worth a retry and the provider doesn't say for how long.
pub(super) const DEFAULT_RETRY_MS: u64 = 1000;

/// The provider that was asked, and what its answer's head says.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    /// Its name, such as "mistral".
    pub(super) provider: Arc<str>,
    /// Host and port, as in the base URL.
    pub(super) host: Arc<str>,
    /// The status of its answer, if there is one.
    pub(super) http_status: Option<u16>,
    /// What its support asks for, if it gave one.
    pub(super) correlation_id: Option<String>,
}

impl Origin {
    /// The same with what the head of an answer says.
    pub(super) fn answered(&self, response: &Response) -> Origin {
        let names = ["mistral-correlation-id", "x-kong-request-id", "x-request-id", "apim-request-id"];
        let id = names.into_iter().find_map(|name| response.headers().get(name)).and_then(|id| id.to_str().ok());
        let correlation_id = id.filter(|id| !id.is_empty() && id.len() <= 128).map(str::to_owned);
        Origin { http_status: Some(response.status().as_u16()), correlation_id, ..self.clone() }
    }

    /// A failure with its metadata. Reasons that are worth a retry say when: after [`DEFAULT_RETRY_MS`], unless changed.
    pub(super) fn failure(&self, reason: Reason, message: impl Into<String>) -> Failure {
        let mut failure = Failure::new(reason, message).with("provider", &*self.provider);
        if let Some(status) = self.http_status {
            failure = failure.with("http_status", status.to_string());
        }
        if let Some(id) = &self.correlation_id {
            failure = failure.with("correlation_id", id);
        }
        let worth_a_retry = matches!(
            reason,
            Reason::RateLimitExceeded | Reason::ServiceUnavailable | Reason::Timeout | Reason::UpstreamProtocolError
        );
        if worth_a_retry { failure.retry_after_ms(DEFAULT_RETRY_MS) } else { failure }
    }

    /// The name of one of the provider's settings, such as `providers.mistral.base_url`.
    pub(super) fn setting(&self, field: &str) -> String {
        format!("providers.{}.{field}", self.provider)
    }

    /// The answer is not what the API promises.
    pub(super) fn protocol(&self, what: impl std::fmt::Display) -> Failure {
        self.failure(Reason::UpstreamProtocolError, format!("{}'s answer is not usable: {what}", self.provider))
    }
}
