//! Refusals as failures of the error table, and what may be done about them.
//!
//! The provider's own text reaches the caller only where it explains the caller's mistake (400, 404, 422, a guardrail's 403), cut
//! and without the rejected input that validation errors echo. What a 500 means is told by its status; only llama.cpp writes one
//! for a history that is too long.

use serde_json::Value;

use super::{
    said::{Said, identifier},
    wire,
};
use crate::{
    domain::{Failure, Reason},
    upstream::{
        Fault, FaultClass, Form,
        origin::Origin,
        refusal::{Asked, Sent},
        secrets::Secrets,
    },
};

/// A refusal as it came.
pub(in crate::upstream) struct Refusal<'a> {
    /// Its status, not 200.
    pub(in crate::upstream) status: u16,
    /// Its body, perhaps cut.
    pub(in crate::upstream) body: &'a [u8],
    /// What was asked.
    pub(in crate::upstream) asked: Asked<'a>,
    /// The key that was sent.
    pub(in crate::upstream) sent: &'a Sent,
    /// Where the operator puts the key.
    pub(in crate::upstream) key_place: &'a str,
    /// What it may quote and nobody is told.
    pub(in crate::upstream) secrets: &'a Secrets,
}

/// The failure that a refusal is, and what may be done about it. What has no such API is UPSTREAM_PROTOCOL_ERROR: it is not
/// unavailable, and who asks again meets it again. When to try again stands in its head, which is not read here.
pub(in crate::upstream) fn refused(refusal: &Refusal<'_>, origin: &Origin) -> Fault {
    use FaultClass::{Permanent, RateLimited, TooLong, Transient};
    let said = Said::read(refusal.body, refusal.secrets);
    let Asked { form, model: _, hosted: _ } = refusal.asked;
    let (mut failure, class) = match refusal.status {
        400 | 404 | 422 if said.names_unknown_model() => (not_found(&said, refusal.asked, origin), Permanent),
        400 | 413 | 422 | 500 if said.has_too_long_code() => (too_long(&said, origin), TooLong),
        400 | 402 | 403 | 429 if said.is_without_credit() => (no_credit(origin), Permanent),
        400 | 403 if said.has_filter_code() => (guardrail(&said, origin), Permanent),
        403 if said.is_guardrail() => (guardrail(&said, origin), Permanent),
        400 | 422 if said.tells_too_long() => (too_long(&said, origin), TooLong),
        400 | 422 => (invalid(&said, origin), Permanent),
        404 | 405 if said.is_no_route() => (no_route(refusal.status, form, origin), Permanent),
        404 => (not_found(&said, refusal.asked, origin), Permanent),
        413 => (too_long(&said, origin), TooLong),
        401 => (key_refused(refusal.sent, refusal.key_place, origin), Permanent),
        402 => (no_credit(origin), Permanent),
        403 => (not_allowed(origin), Permanent),
        408 => (slow(origin), Transient),
        409 if form == Form::Conversations => (failed(409, origin), Transient),
        429 => (rate_limited(origin), RateLimited),
        // Not implemented, or another version of HTTP: no try changes that.
        status @ (501 | 505) => (unable(status, origin), Permanent),
        status @ 500..=599 => (failed(status, origin), Transient),
        status @ 300..=399 => (redirected(status, origin), Permanent),
        status => (origin.protocol(format!("HTTP {status} is not an answer of {}", form.name())), Permanent),
    };
    if let Some(code) = said.code.as_deref().or(said.kind.as_deref()) {
        failure = failure.with("provider_code", code);
    }
    Fault::new(class, failure)
}

/// Whether an answer with status 200 is an error all the same.
pub(in crate::upstream) fn is_error(reply: &wire::Reply) -> bool {
    let named = reply.object.as_ref().is_some_and(|object| object.eq_ignore_ascii_case("error"));
    named || reply.error.as_ref().is_some_and(|error| !error.is_null())
}

/// The failure that an error within an answer is. Its text is not passed on: it may quote what the model was writing.
pub(in crate::upstream) fn in_answer(reply: &wire::Reply, origin: &Origin) -> Failure {
    let inner = |field: &str| reply.error.as_ref().and_then(|error| error.get(field));
    let code = reply.code.as_ref().and_then(identifier).or_else(|| inner("code").and_then(identifier));
    let kind = reply.kind.as_ref().and_then(identifier).or_else(|| inner("type").and_then(identifier));
    told(code, kind, origin)
}

/// The same of an error that tells but a code.
pub(in crate::upstream) fn coded_in_answer(code: Option<&Value>, origin: &Origin) -> Failure {
    told(code.and_then(identifier), None, origin)
}

fn told(code: Option<String>, kind: Option<String>, origin: &Origin) -> Failure {
    let named: Vec<String> =
        [kind.as_ref().map(|kind| format!("type {kind}")), code.as_ref().map(|code| format!("code {code}"))]
            .into_iter()
            .flatten()
            .collect();
    let named = if named.is_empty() { "no code".to_owned() } else { named.join(", ") };
    let failure = origin.protocol(format!("HTTP 200, and then an error ({named})"));
    match code.or(kind) {
        Some(code) => failure.with("provider_code", code),
        None => failure,
    }
}

fn not_found(said: &Said, asked: Asked<'_>, origin: &Origin) -> Failure {
    let Origin { provider, host, .. } = origin;
    let Asked { form: _, model, hosted } = asked;
    // A server that is no such API says the same "Not Found" as one that lacks the model.
    let doubt = if said.code.is_none() {
        format!(", or {host} is no server of its API ({})", origin.setting("base_url"))
    } else {
        String::new()
    };
    if hosted {
        let text = format!("{provider} has no agent {model:?}, or not this version of it, for this key{doubt}");
        let failure = origin.failure(Reason::AgentNotFound, text).with("agent_id", model);
        return Failure { resource: Some(("agent".into(), model.to_owned())), ..failure };
    }
    let text = format!("{provider} has no model {model:?} for this key{doubt}; a retired model is gone too");
    let failure = origin.failure(Reason::ModelNotFound, text).with("model", model);
    Failure { resource: Some(("model".into(), model.to_owned())), ..failure }
}

fn no_route(status: u16, form: Form, origin: &Origin) -> Failure {
    let Origin { host, .. } = origin;
    let setting = origin.setting("base_url");
    let text = format!("{host} has no {} at this address (HTTP {status}); check {setting}", form.name());
    origin.failure(Reason::UpstreamProtocolError, text)
}

fn too_long(said: &Said, origin: &Origin) -> Failure {
    let text = format!("the history does not fit the model's context window: {}", said.text());
    let mut failure = origin.failure(Reason::ContextLengthExceeded, text);
    if let Some(tokens) = said.window.context_tokens {
        failure = failure.with("context_tokens", tokens.to_string());
    }
    if let Some(tokens) = said.window.requested_tokens {
        failure = failure.with("requested_tokens", tokens.to_string());
    }
    failure
}

fn invalid(said: &Said, origin: &Origin) -> Failure {
    origin.failure(Reason::InvalidRequest, format!("{} refused the request: {}", origin.provider, said.text()))
}

fn key_refused(sent: &Sent, place: &str, origin: &Origin) -> Failure {
    let provider = &origin.provider;
    let text = match &sent.key {
        Some(_) if sent.is_own => format!("{provider} refused the API key in x-provider-api-key"),
        Some(_) => format!("{provider} refused the API key; put a valid one into {place}"),
        None => format!("{provider} wants an API key, and none is sent to it; put one into {place}"),
    };
    origin.failure(Reason::InvalidApiKey, text)
}

fn no_credit(origin: &Origin) -> Failure {
    let text = format!("the {} account has no credit left or its spending limit is reached", origin.provider);
    origin.failure(Reason::InsufficientCredits, text)
}

fn not_allowed(origin: &Origin) -> Failure {
    let text = format!("{} does not allow this with this API key or its plan", origin.provider);
    origin.failure(Reason::PermissionDenied, text)
}

fn guardrail(said: &Said, origin: &Origin) -> Failure {
    let categories = said.violated.join(", ");
    let which = if categories.is_empty() { String::new() } else { format!(" ({categories})") };
    let text = format!("a guardrail of {} blocked the input{which}: {}", origin.provider, said.text());
    let failure = origin.failure(Reason::GuardrailBlocked, text);
    if categories.is_empty() { failure } else { failure.with("categories", categories) }
}

fn rate_limited(origin: &Origin) -> Failure {
    origin.failure(Reason::RateLimitExceeded, format!("the rate limit of {} is reached", origin.provider))
}

fn slow(origin: &Origin) -> Failure {
    origin.failure(Reason::Timeout, format!("{} took too long to answer (HTTP 408)", origin.provider))
}

fn failed(status: u16, origin: &Origin) -> Failure {
    origin.failure(Reason::ServiceUnavailable, format!("{} failed (HTTP {status}); try again", origin.provider))
}

fn unable(status: u16, origin: &Origin) -> Failure {
    let Origin { provider, .. } = origin;
    origin.failure(Reason::UpstreamProtocolError, format!("{provider} can't do what was asked (HTTP {status})"))
}

fn redirected(status: u16, origin: &Origin) -> Failure {
    origin.protocol(format!(
        "HTTP {status}, a redirect, which is not followed because the API key would travel with it; check {}",
        origin.setting("base_url")
    ))
}
