//! Webhooks: endpoints that are told of changes, and what was told them.

use std::{collections::BTreeMap, fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use uuid::Uuid;

use super::{
    change::{ChangeFilter, ChangeKind},
    ids::{ParseIdError, Time, WebhookId, parse},
};

/// An endpoint that is told of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its name for ever.
    pub id: WebhookId,
    /// When it was made.
    pub created_at: Time,
    /// What its maker says of it.
    pub spec: WebhookSpec,
    /// How far it has come.
    pub progress: Progress,
}

/// What the maker of an endpoint says of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WebhookSpec {
    /// Where it is told: an http or https URL.
    pub url: String,
    /// For people; may be empty.
    pub description: String,
    /// Which changes; `None`: ends of turns, deletes and ends of batches.
    pub filter: Option<WebhookFilter>,
    /// How much it is told.
    pub payload: Payload,
    /// What it is signed with, the newest first. At least one.
    pub secrets: Vec<WebhookSecret>,
}

/// Which changes an endpoint wants, as its maker wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WebhookFilter {
    /// The filter, its labels made of `metadata`.
    pub changes: ChangeFilter,
    /// Only of trees that have all of these pairs.
    pub metadata: BTreeMap<String, String>,
}

/// How much a delivery carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Payload {
    /// Ids, type and time.
    #[default]
    Thin = 1,
    /// The whole turn, too.
    Full = 2,
}

/// A key of signatures: `whsec_` and the base64 of 24 to 64 bytes. Its `Debug` hides it, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(String);

impl WebhookSecret {
    const PREFIX: &'static str = "whsec_";

    /// The secret of a text; `None`: it is none.
    pub fn parse(text: &str) -> Option<WebhookSecret> {
        let secret = WebhookSecret(text.to_owned());
        let bytes = secret.key()?.len();
        (24..=64).contains(&bytes).then_some(secret)
    }

    /// A secret of these bytes, 24 to 64.
    pub fn of_key(key: &[u8]) -> WebhookSecret {
        WebhookSecret(format!("{}{}", WebhookSecret::PREFIX, STANDARD.encode(key)))
    }

    /// A secret as a store has kept it.
    pub fn stored(text: String) -> WebhookSecret {
        WebhookSecret(text)
    }

    /// The text, for whoever signs or stores.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The bytes that the Standard Webhooks scheme signs with; `None`: a text that never was a secret.
    pub fn key(&self) -> Option<Vec<u8>> {
        STANDARD.decode(self.0.strip_prefix(WebhookSecret::PREFIX)?).ok()
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret")
    }
}

/// How far an endpoint has come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// Whether it is told.
    pub state: WebhookState,
    /// Why it is disabled; empty if it is not.
    pub disabled_reason: String,
    /// Since when it is enabled: failures before that count no more.
    pub enabled_at: Time,
    /// All changes up to this revision were delivered or are none of its.
    pub delivered: u64,
    /// How often it was sent back to an earlier revision: what was delivered in an earlier round is delivered again.
    pub round: u32,
    /// Changes that are delivered again though they are behind it.
    pub again: Vec<u64>,
    /// Attempts in a row that have failed.
    pub failures: u32,
    /// What the last attempt that failed came to; empty: none has.
    pub last_error: String,
    /// When the next attempt is due at a change that could not be delivered.
    pub next_attempt_at: Option<Time>,
}

/// Whether an endpoint is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum WebhookState {
    /// It is.
    #[default]
    Enabled = 1,
    /// Not until it is enabled again.
    Disabled = 2,
}

/// Names what is sent to an endpoint, the same for each attempt: `msg_` and 48 hex digits. It follows from the endpoint and the
/// revision, so that whoever sends a change again after a crash uses the same one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId {
    /// The endpoint; for a test: made for it; for the callback of a turn: the turn.
    pub uuid: Uuid,
    /// The change; 0 for a test.
    pub revision: u64,
}

impl DeliveryId {
    const PREFIX: &'static str = "msg_";
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:016x}", Self::PREFIX, self.uuid.simple(), self.revision)
    }
}

impl fmt::Debug for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for DeliveryId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<DeliveryId, ParseIdError> {
        let read = || {
            let (id, revision) = text.split_at_checked(text.len().checked_sub(16)?)?;
            let plain = revision.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
            let revision = u64::from_str_radix(revision, 16).ok().filter(|_| plain)?;
            Some(DeliveryId { uuid: parse(id, Self::PREFIX)?, revision })
        };
        read().ok_or(ParseIdError::digits(Self::PREFIX, 48))
    }
}

/// What was sent to an endpoint, or is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The `webhook-id`.
    pub id: DeliveryId,
    /// The newest revision when it came up: its own, if it is no test.
    pub place: u64,
    /// The type: "turn.completed".
    pub type_name: String,
    /// Where it stands.
    pub state: DeliveryState,
    /// The round of the endpoint that it belongs to.
    pub round: u32,
    /// How many attempts were made.
    pub attempts: u32,
    /// The status of the last answer; `None`: there was none.
    pub http_status: Option<u16>,
    /// Why the last attempt failed; empty if it did not.
    pub error: String,
    /// How long the last attempt took, in milliseconds.
    pub duration_ms: u64,
    /// When the last attempt was made.
    pub attempted_at: Time,
    /// When the first of the attempts failed that have failed in a row.
    pub failing_since: Option<Time>,
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DeliveryState {
    /// Another attempt follows.
    Pending = 1,
    /// The endpoint took it.
    Delivered = 2,
    /// It was given up.
    Failed = 3,
}

/// What is to be told of the end of a turn, to the URL that came with its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    /// What is sent, and how that went so far.
    pub delivery: Delivery,
    /// Whom.
    pub url: String,
    /// What is sent.
    pub body: String,
    /// The time that it tells.
    pub told_at: Time,
    /// When the next attempt is due.
    pub next_attempt_at: Time,
}

impl WebhookSpec {
    /// Which changes it is told of.
    pub fn wanted(&self) -> ChangeFilter {
        let ends = || ChangeFilter {
            kinds: vec![
                ChangeKind::TurnEnded,
                ChangeKind::VersionCreated,
                ChangeKind::VersionDeleted,
                ChangeKind::BatchEnded,
            ],
            ..ChangeFilter::default()
        };
        self.filter.as_ref().map_or_else(ends, |filter| filter.changes.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_id_comes_back_and_nothing_else_is_one() {
        let id = DeliveryId { uuid: Uuid::from_u128(7), revision: 0xabc };
        let text = id.to_string();
        assert_eq!(text, "msg_000000000000000000000000000000070000000000000abc");
        assert_eq!(text.parse(), Ok(id));
        for other in ["", "msg_", &text[1..], &text[..text.len() - 1], &text.to_uppercase(), &format!("{text}0")] {
            let error = other.parse::<DeliveryId>().expect_err(other);
            assert_eq!(error.to_string(), "must be msg_ followed by 48 hex digits");
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        let secret = WebhookSecret::of_key(&[7; 24]);
        let shown = secret.expose().to_owned();
        let spec = WebhookSpec { secrets: vec![secret], ..WebhookSpec::default() };
        assert!(!format!("{spec:?}").contains(&shown[6..]));
    }

    #[test]
    fn a_secret_has_24_to_64_bytes_of_base64() {
        for (bytes, fits) in [(23, false), (24, true), (64, true), (65, false)] {
            let text = WebhookSecret::of_key(&vec![7; bytes]).expose().to_owned();
            assert_eq!(WebhookSecret::parse(&text).is_some(), fits, "{bytes}");
            assert_eq!(WebhookSecret::parse(&text[6..]), None, "without its prefix");
            assert_eq!(WebhookSecret::parse(&format!("{text} ")), None, "with a blank");
        }
    }
}
