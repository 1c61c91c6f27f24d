//! What the engine tells callers when it can't do what they ask.

use std::time::Duration;

use crate::domain::request::Truncation;
use crate::{
    domain::{BatchId, ConversationId, EntryId, Failure, Reason, TurnId},
    store,
    tools::mcp::McpError,
    upstream::{
        Secret,
        guard::{Limit, Refused},
    },
};

/// The store could not do it.
pub(super) fn store(error: store::Error) -> Failure {
    match error {
        store::Error::HeadMoved(heads) => head_moved(&heads),
        store::Error::ParentGone => {
            Failure::new(Reason::ConversationNotFound, "the conversation was deleted while the turn ran")
        }
        store::Error::NotFound => Failure::new(Reason::ConversationNotFound, "no such conversation"),
        store::Error::HasSuccessors(count) => {
            let text = format!("{count} later versions descend from this one: set `force` to delete them too");
            Failure::new(Reason::HasSuccessors, text).with("successors", count.to_string())
        }
        store::Error::RevisionGone { oldest } => {
            let text = format!(
                "changes before revision {oldest} are not kept any more (watch.retention, watch.max_mib): begin with the oldest \
                 one (`from_oldest`), and read anew what has to be known of the time before"
            );
            Failure::new(Reason::RevisionGone, text).with("oldest_revision", oldest.to_string())
        }
        store::Error::Exists => {
            Failure::new(Reason::VersionExists, "a version with this id is in the store, with other content")
        }
        store::Error::LowSpace { free_bytes, floor_bytes } => {
            let text = format!(
                "the store's disk has {free_bytes} bytes left, less than the floor of {floor_bytes} (store.min_free_mib): \
                 no new turns until there is room"
            );
            Failure::new(Reason::StoreFailed, text).retry_after_ms(30_000)
        }
        store::Error::Failed(cause) => {
            tracing::error!(%cause, "the store failed");
            let text = "the store cannot be read or written; nothing that was acknowledged is lost, restart the server \
                        when its disk is well";
            Failure::new(Reason::StoreFailed, text).retry_after_ms(30_000)
        }
    }
}

/// `require_head`, and somebody was faster.
pub(super) fn head_moved(heads: &[ConversationId]) -> Failure {
    let heads: Vec<String> = heads.iter().map(ToString::to_string).collect();
    let text = format!("the version has successors; the heads that descend from it: {}", heads.join(", "));
    Failure::new(Reason::HeadMoved, text).with("heads", heads.join(","))
}

pub(super) fn no_conversation(id: ConversationId) -> Failure {
    Failure::not_found(Reason::ConversationNotFound, "conversation", id.to_string())
}

/// An import brings other content for a version that is there.
pub(super) fn version_exists(id: ConversationId) -> Failure {
    let text = format!("{id} is in the store with other content, which stays as it is");
    Failure::new(Reason::VersionExists, text).with("conversation_id", id.to_string())
}

/// What the turn ran on was deleted before it could be stored.
pub(super) fn deleted_meanwhile(parent: ConversationId) -> Failure {
    Failure { message: format!("{parent} was deleted while the turn ran"), ..no_conversation(parent) }
}

pub(super) fn no_entry(id: EntryId, of: ConversationId) -> Failure {
    let failure = Failure::not_found(Reason::EntryNotFound, "entry", id.to_string());
    Failure { message: format!("the history of {of} has no entry {id}"), ..failure }
}

pub(super) fn no_batch(id: BatchId) -> Failure {
    Failure::not_found(Reason::BatchNotFound, "batch", id.to_string())
}

/// An item comes after all were said to be there.
pub(super) fn batch_closed(id: BatchId, index: u32) -> Failure {
    let text = format!("all items of {id} were sent, as its caller said: item {index} is none of them");
    Failure::new(Reason::BatchClosed, text).with("batch_id", id.to_string()).with("index", index.to_string())
}

/// The request id of a batch comes again, with other options.
pub(super) fn batch_request_reused(id: BatchId) -> Failure {
    let text = format!("the request_id made {id}, with other options");
    Failure::new(Reason::RequestIdReused, text).with("batch_id", id.to_string())
}

/// What is kept must not depend on a key that is not.
pub(super) fn refuse_key(key: Option<&Secret>) -> Result<(), Failure> {
    let text =
        "is never kept, and a background turn outlives its call: leave it out, or run the turn without `background`";
    key.map_or(Ok(()), |_| Err(Failure::invalid_field("x-provider-api-key", text)))
}

/// A reader of changes names one that was never told.
pub(super) fn no_revision(revision: u64, newest: u64) -> Failure {
    let text = format!(
        "must be at most {newest}, the newest revision, is {revision}: it is of another store, or of a later state of this one"
    );
    Failure::invalid_field("after_revision", text).with("newest_revision", newest.to_string())
}

pub(super) fn no_turn(id: TurnId) -> Failure {
    Failure::not_found(Reason::TurnNotFound, "turn", id.to_string())
}

/// The server goes down; the next one goes on with the turn.
pub(super) fn suspended() -> Failure {
    let text = "the server is shutting down; the turn goes on when it is back: resume it then";
    Failure::new(Reason::ShuttingDown, text).retry_after_ms(1000)
}

/// The id was issued here, and neither the store nor the process knows it any more.
pub(super) fn turn_lost(id: TurnId) -> Failure {
    let text = "the server stopped before this turn was stored, and nothing of it was kept: run it again";
    Failure::new(Reason::TurnLost, text).with("turn_id", id.to_string())
}

pub(super) fn overloaded(max: usize) -> Failure {
    let text = format!("{max} turns are in flight, as many as the server takes (turns.max_in_flight): try again");
    Failure::new(Reason::Overloaded, text).with("max_in_flight", max.to_string()).retry_after_ms(1000)
}

pub(super) fn shutting_down() -> Failure {
    Failure::new(Reason::ShuttingDown, "the server is shutting down: try again").retry_after_ms(1000)
}

pub(super) fn request_id_reused(turn: TurnId) -> Failure {
    let text = format!("the request_id was used with another request, for {turn}: choose a new one");
    Failure::new(Reason::RequestIdReused, text).with("turn_id", turn.to_string())
}

pub(super) fn broken_off(model: &str) -> Failure {
    let text = format!("{model} ended its answer with an error");
    Failure::new(Reason::UpstreamProtocolError, text).with("model", model)
}

/// The history does not fit, by our own reckoning.
pub(super) fn too_long(model: &str, tokens: u64, window: u64, truncation: Truncation) -> Failure {
    let advice = match truncation {
        Truncation::Off => "shorten it, take another model, or set forwarding.truncation",
        Truncation::DropOldest => {
            "what must stay of it (instructions, and the last message) is too long; shorten that, or take another model"
        }
    };
    let text =
        format!("the history has about {tokens} tokens, and the context window of {model} has {window}: {advice}");
    Failure::new(Reason::ContextLengthExceeded, text)
        .with("model", model)
        .with("requested_tokens", tokens.to_string())
        .with("context_tokens", window.to_string())
}

/// Our own guard did not let a call through.
pub(super) fn not_admitted(model: &str, refused: Refused) -> Failure {
    match refused {
        Refused::BreakerOpen { retry_in } => {
            let text = format!("{model} has failed too often lately and is left alone for {}", seconds(retry_in));
            Failure::new(Reason::ServiceUnavailable, text).with("model", model).retry_after_ms(ms(retry_in))
        }
        Refused::QueueFull { limit, waiting, retry_in } => {
            let text = format!(
                "{waiting} turns wait for {model} already, as many as may (max_waiting), because of {}",
                limit_text(limit)
            );
            Failure::new(Reason::RateLimitExceeded, text)
                .with("model", model)
                .with("limit", limit_name(limit))
                .retry_after_ms(ms(retry_in))
        }
        Refused::TooLate { limit, retry_in } => {
            let text = format!(
                "it would be this turn's turn at {model} in {}, after its deadline, because of {}",
                seconds(retry_in),
                limit_text(limit)
            );
            Failure::new(Reason::RateLimitExceeded, text)
                .with("model", model)
                .with("limit", limit_name(limit))
                .retry_after_ms(ms(retry_in))
        }
        Refused::TooLarge { limit, tokens, most } => {
            let text = format!(
                "must be shorter: the history needs about {tokens} tokens at {model}, more than {most}, which is {}",
                limit_text(limit)
            );
            Failure::invalid_field("inputs", text).with("model", model).with("limit", limit_name(limit))
        }
    }
}

fn limit_name(limit: Limit) -> &'static str {
    match limit {
        Limit::Requests => "requests_per_minute",
        Limit::Tokens => "tokens_per_minute",
        Limit::RetryAfter => "retry_after",
        Limit::Concurrency => "max_concurrent",
    }
}

fn limit_text(limit: Limit) -> &'static str {
    match limit {
        Limit::Requests => "the limit on requests per minute",
        Limit::Tokens => "the limit on tokens per minute",
        Limit::RetryAfter => "the provider's own rate limit",
        Limit::Concurrency => "the limit on calls at once (max_concurrent)",
    }
}

/// An MCP server that the configuration does not name.
pub(super) fn no_mcp_server(server: &str, there: &[&str]) -> String {
    let known = match there {
        [] => "none is configured".to_owned(),
        _ => format!("there are {}", there.join(", ")),
    };
    format!("must name an MCP server of the configuration, and {server:?} is none: {known}")
}

/// The tools of a server can't be told to the model, so it is not asked.
pub(super) fn tools_unavailable(server: &str, error: &McpError) -> Failure {
    let text = format!("the tools of {server} are not there: {error}");
    let failure = Failure::new(Reason::ToolsUnavailable, text).with("server", server);
    match error {
        McpError::Unavailable { retry_after: Some(after), .. } => failure.retry_after_ms(ms(*after)),
        McpError::Unavailable { retry_after: None, .. } | McpError::Unknown { .. } => failure,
    }
}

/// The turn came to one of its own limits.
pub(super) fn turn_limit(limit: &'static str, text: String) -> Failure {
    Failure::new(Reason::TurnLimitExceeded, text).with("limit", limit)
}

/// A tool failed that the turn can't go on without.
pub(super) fn tool_failed(tool: &str) -> Failure {
    let text = format!("the tool {tool} failed, and the turn can't go on without it; its entry says why");
    Failure::new(Reason::ToolFailed, text).with("tool", tool)
}

pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
