//! What a provider says of its rate limits in the head of an answer, success or refusal.

/// What is left of a provider's rate limits. `None`: it does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Requests that a minute has.
    pub limit_requests: Option<u64>,
    /// Requests left of this minute.
    pub remaining_requests: Option<u64>,
    /// Tokens that a minute has.
    pub limit_tokens: Option<u64>,
    /// Tokens left of this minute.
    pub remaining_tokens: Option<u64>,
    /// When the requests are all there again, in milliseconds from now.
    pub reset_requests_ms: Option<u64>,
    /// When the tokens are all there again, in milliseconds from now.
    pub reset_tokens_ms: Option<u64>,
}
