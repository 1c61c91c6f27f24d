//! What went wrong, as a caller is told: one reason of the error table, a text, and the details that go with it.

use std::{borrow::Cow, fmt};

/// A reason of the error table (`causerie.v1.ErrorReason`). Its gRPC code and whether it is worth a retry follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "documented once, in error.proto")]
pub enum Reason {
    InvalidApiKey = 1,
    ApiKeyMissing = 2,
    InsufficientCredits = 3,
    PermissionDenied = 4,
    GuardrailBlocked = 5,
    ModelNotFound = 6,
    RateLimitExceeded = 7,
    InvalidRequest = 8,
    ContextLengthExceeded = 9,
    ServiceUnavailable = 10,
    Timeout = 11,
    UpstreamProtocolError = 12,
    ConversationNotFound = 13,
    EntryNotFound = 14,
    TurnNotFound = 15,
    AgentNotFound = 16,
    HeadMoved = 17,
    RequestIdReused = 18,
    ToolResultsMissing = 19,
    NothingToAnswer = 20,
    HasSuccessors = 21,
    StoreFailed = 22,
    Overloaded = 23,
    TurnCancelled = 24,
    TurnLost = 25,
    ShuttingDown = 26,
    VersionExists = 27,
    MessageTooLarge = 28,
    UnknownMethod = 29,
    Internal = 30,
    BudgetExceeded = 31,
    AgentVersionNotFound = 32,
    AgentChanged = 33,
    AgentReadOnly = 34,
    ToolFailed = 35,
    ToolsUnavailable = 36,
    TurnLimitExceeded = 37,
    ConfirmationExpired = 38,
    ResponseFormatMismatch = 39,
    RevisionGone = 40,
    BatchNotFound = 41,
    BatchClosed = 42,
    WebhookNotFound = 43,
}

impl Reason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Reason; 43] = [
        Reason::InvalidApiKey,
        Reason::ApiKeyMissing,
        Reason::InsufficientCredits,
        Reason::PermissionDenied,
        Reason::GuardrailBlocked,
        Reason::ModelNotFound,
        Reason::RateLimitExceeded,
        Reason::InvalidRequest,
        Reason::ContextLengthExceeded,
        Reason::ServiceUnavailable,
        Reason::Timeout,
        Reason::UpstreamProtocolError,
        Reason::ConversationNotFound,
        Reason::EntryNotFound,
        Reason::TurnNotFound,
        Reason::AgentNotFound,
        Reason::HeadMoved,
        Reason::RequestIdReused,
        Reason::ToolResultsMissing,
        Reason::NothingToAnswer,
        Reason::HasSuccessors,
        Reason::StoreFailed,
        Reason::Overloaded,
        Reason::TurnCancelled,
        Reason::TurnLost,
        Reason::ShuttingDown,
        Reason::VersionExists,
        Reason::MessageTooLarge,
        Reason::UnknownMethod,
        Reason::Internal,
        Reason::BudgetExceeded,
        Reason::AgentVersionNotFound,
        Reason::AgentChanged,
        Reason::AgentReadOnly,
        Reason::ToolFailed,
        Reason::ToolsUnavailable,
        Reason::TurnLimitExceeded,
        Reason::ConfirmationExpired,
        Reason::ResponseFormatMismatch,
        Reason::RevisionGone,
        Reason::BatchNotFound,
        Reason::BatchClosed,
        Reason::WebhookNotFound,
    ];

    /// The reason with this number, as the store writes it.
    pub fn from_number(number: u8) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| *reason as u8 == number)
    }
}

/// What went wrong, as a caller is told. Never holds keys, prompts or answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The reason.
    pub reason: Reason,
    /// For a person: what is wrong and what to change.
    pub message: String,
    /// Every dynamic value of the message, for programs (`ErrorInfo.metadata`). Sorted by key.
    pub metadata: Vec<(Cow<'static, str>, String)>,
    /// The fields that break a rule (`BadRequest`), all of them.
    pub violations: Vec<Violation>,
    /// When to try again (`RetryInfo`), in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// What is missing (`ResourceInfo`): its type and its name.
    pub resource: Option<(Cow<'static, str>, String)>,
}

/// A field that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its path, such as `inputs[0].message_input.role`.
    pub field: String,
    /// The rule, and what to change.
    pub description: String,
}

impl Failure {
    /// The metadata that says how many tokens a turn used, or may have used, that failed all the same.
    pub const SPENT_TOKENS: &str = "spent_tokens";

    /// A failure with a reason and a text.
    pub fn new(reason: Reason, message: impl Into<String>) -> Failure {
        Failure {
            reason,
            message: message.into(),
            metadata: Vec::new(),
            violations: Vec::new(),
            retry_after_ms: None,
            resource: None,
        }
    }

    /// The request breaks these rules. At least one.
    pub fn invalid(violations: Vec<Violation>) -> Failure {
        let mut message = String::from("the request is invalid: ");
        for (i, violation) in violations.iter().take(5).enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            message.push_str(&format!("{separator}{} {}", violation.field, violation.description));
        }
        if violations.len() > 5 {
            message.push_str(&format!("; and {} more", violations.len() - 5));
        }
        Failure { violations, ..Failure::new(Reason::InvalidRequest, message) }
    }

    /// One field breaks a rule.
    pub fn invalid_field(field: impl Into<String>, description: impl Into<String>) -> Failure {
        Failure::invalid(vec![Violation { field: field.into(), description: description.into() }])
    }

    /// Something that was named does not exist.
    pub fn not_found(reason: Reason, kind: &'static str, name: impl Into<String>) -> Failure {
        let name = name.into();
        let failure = Failure::new(reason, format!("no {kind} {name}"));
        Failure { resource: Some((kind.into(), name)), ..failure }
    }

    /// The same, with a value of the text for programs.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Failure {
        // Sorted by key, as protobuf's maps are: what was exported and imported again is equal.
        let (key, at) = (Cow::Borrowed(key), self.metadata.partition_point(|(other, _)| other.as_ref() < key));
        self.metadata.insert(at, (key, value.into()));
        self
    }

    /// The same, with when to try again.
    #[must_use]
    pub fn retry_after_ms(mut self, ms: u64) -> Failure {
        self.retry_after_ms = Some(ms);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
