//! Mistral's refusals as failures of the error table.
//!
//! Its services and gateways write errors in a dozen shapes; `Said` reads them all. The provider's own text reaches the caller
//! only where it explains the caller's mistake (400, 404, 422, a guardrail's 403), cut to 500 characters and without the
//! rejected input that validation errors echo.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::wire;
use crate::{
    domain::{Failure, Reason},
    upstream::{origin::Origin, retry_after::retry_after_ms},
};

const LONGEST_TEXT: usize = 500;

/// A refusal as it came.
pub(in crate::upstream) struct Refusal<'a> {
    /// Its status, not 200.
    pub(in crate::upstream) status: u16,
    /// Its headers.
    pub(in crate::upstream) headers: &'a http::HeaderMap,
    /// Its body, perhaps cut.
    pub(in crate::upstream) body: &'a [u8],
    /// The model that was asked for.
    pub(in crate::upstream) model: &'a str,
    /// The time, for dates in the headers.
    pub(in crate::upstream) now: Timestamp,
}

/// The failure that a refusal is.
pub(in crate::upstream) fn refused(refusal: &Refusal<'_>, origin: &Origin) -> Failure {
    let said = Said::read(refusal.body);
    let mut failure = match refusal.status {
        400 | 404 | 422 if said.names_unknown_model() => model_not_found(&said, refusal.model, origin),
        400 | 422 if said.is_too_long() => too_long(&said, origin),
        400 | 422 => invalid(&said, origin),
        404 | 405 if said.is_no_route() => no_route(refusal.status, origin),
        404 => model_not_found(&said, refusal.model, origin),
        413 => too_long(&said, origin),
        401 => key_refused(origin),
        402 => no_credit(origin),
        403 if said.is_guardrail() => guardrail(&said, origin),
        403 => not_allowed(origin),
        408 => origin.failure(Reason::Timeout, format!("{} took too long to answer (HTTP 408)", origin.provider)),
        429 => rate_limited(origin),
        status @ 500..=599 => {
            origin.failure(Reason::ServiceUnavailable, format!("{} failed (HTTP {status}); try again", origin.provider))
        }
        status @ 300..=399 => origin.protocol(format!(
            "HTTP {status}, a redirect, which is not followed because the API key would travel with it; check provider.base_url"
        )),
        status => origin.protocol(format!("HTTP {status} is not an answer of chat completions")),
    };
    if let Some(code) = said.code.as_deref().or(said.kind.as_deref()) {
        failure = failure.with("provider_code", code);
    }
    if failure.retry_after_ms.is_some()
        && let Some(ms) = retry_after_ms(refusal.headers, refusal.now)
    {
        failure = failure.retry_after_ms(ms);
    }
    failure
}

/// Whether an answer with status 200 is an error all the same.
pub(super) fn is_error(reply: &wire::Reply) -> bool {
    let named = reply.object.as_ref().is_some_and(|object| object.eq_ignore_ascii_case("error"));
    named || reply.error.as_ref().is_some_and(|error| !error.is_null())
}

/// The failure that an error within an answer is. Its text is not passed on: it may quote what the model was writing.
pub(super) fn in_answer(reply: &wire::Reply, origin: &Origin) -> Failure {
    let inner = |field: &str| reply.error.as_ref().and_then(|error| error.get(field));
    let code = reply.code.as_ref().and_then(identifier).or_else(|| inner("code").and_then(identifier));
    let kind = reply.kind.as_ref().and_then(identifier).or_else(|| inner("type").and_then(identifier));
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

fn model_not_found(said: &Said, model: &str, origin: &Origin) -> Failure {
    let Origin { provider, host, .. } = origin;
    // A server that is no such API says the same "Not Found" as one that lacks the model.
    let doubt = if said.code.is_none() {
        format!(", or {host} is no server of its API (provider.base_url)")
    } else {
        String::new()
    };
    let text = format!("{provider} has no model {model:?} for this key{doubt}; a retired model is gone too");
    let failure = origin.failure(Reason::ModelNotFound, text).with("model", model);
    Failure { resource: Some(("model".into(), model.to_owned())), ..failure }
}

fn no_route(status: u16, origin: &Origin) -> Failure {
    let text =
        format!("{} has no chat completions at this address (HTTP {status}); check provider.base_url", origin.host);
    origin.failure(Reason::ServiceUnavailable, text)
}

fn too_long(said: &Said, origin: &Origin) -> Failure {
    let text = format!("the history does not fit the model's context window: {}", said.text());
    origin.failure(Reason::ContextLengthExceeded, text)
}

fn invalid(said: &Said, origin: &Origin) -> Failure {
    origin.failure(Reason::InvalidRequest, format!("{} refused the request: {}", origin.provider, said.text()))
}

fn key_refused(origin: &Origin) -> Failure {
    let text = format!(
        "{} refused the API key; put a valid one into {} or provider.key_file",
        origin.provider,
        origin.key_variable()
    );
    origin.failure(Reason::InvalidApiKey, text)
}

fn no_credit(origin: &Origin) -> Failure {
    let text = format!("the {} account has no credit left or its spending limit is reached", origin.provider);
    origin.failure(Reason::InsufficientCredits, text)
}

fn not_allowed(origin: &Origin) -> Failure {
    let text = format!("{} does not allow this with the configured API key or its plan", origin.provider);
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

/// What the body of a refusal says, whatever its shape.
#[derive(Debug, Default)]
struct Said {
    message: Option<String>,
    code: Option<String>,
    kind: Option<String>,
    /// The guardrails' categories that the input falls into.
    violated: Vec<String>,
    has_guardrails: bool,
    is_json: bool,
}

impl Said {
    fn read(body: &[u8]) -> Said {
        let Ok(Value::Object(body)) = serde_json::from_slice(body) else { return Said::default() };
        let inner = body.get("error").and_then(Value::as_object);
        let field = |name: &str| body.get(name).or_else(|| inner.and_then(|inner| inner.get(name)));
        let message =
            [field("message"), field("detail"), body.get("error")].into_iter().flatten().find_map(explanation);
        let mut violated = Vec::new();
        if let Some(guardrails) = field("guardrails") {
            collect_violated(guardrails, &mut violated);
        }
        Said {
            message,
            code: field("code").and_then(identifier),
            kind: field("type").and_then(identifier),
            violated,
            has_guardrails: field("guardrails").is_some(),
            is_json: true,
        }
    }

    fn text(&self) -> &str {
        self.message.as_deref().unwrap_or("it gave no explanation")
    }

    fn has_code(&self, codes: &[&str]) -> bool {
        [&self.code, &self.kind].into_iter().flatten().any(|code| codes.contains(&code.as_str()))
    }

    fn mentions(&self, phrases: &[&str]) -> bool {
        let message = self.message.as_deref().unwrap_or_default().to_lowercase();
        phrases.iter().any(|phrase| message.contains(phrase))
    }

    fn names_unknown_model(&self) -> bool {
        self.has_code(&["1500", "3040", "invalid_model", "model_not_found"])
    }

    fn is_too_long(&self) -> bool {
        const CODES: &[&str] = &["model_context_exceeded", "prompt_too_long", "context_length_exceeded"];
        const PHRASES: &[&str] = &[
            "model_context_exceeded",
            "prompt_too_long",
            "maximum context length",
            "too large for model",
            "context window",
            "prompt is too long",
        ];
        self.has_code(CODES) || self.mentions(PHRASES)
    }

    fn is_no_route(&self) -> bool {
        !self.is_json || self.mentions(&["no route matched", "method not allowed"])
    }

    fn is_guardrail(&self) -> bool {
        self.has_guardrails || self.has_code(&["3201"]) || self.mentions(&["guardrail"])
    }
}

/// A text, or the list of a validation error as `place: message` without the rejected values.
fn explanation(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(errors) => errors.iter().filter_map(validation_error).collect::<Vec<_>>().join("; "),
        Value::Object(wrapped) => explanation(wrapped.get("detail").or_else(|| wrapped.get("message"))?)?,
        Value::Null | Value::Bool(_) | Value::Number(_) => return None,
    };
    (!text.is_empty()).then(|| shortened(&text))
}

fn validation_error(error: &Value) -> Option<String> {
    let message = error.get("msg")?.as_str()?;
    let steps = error.get("loc").and_then(Value::as_array).into_iter().flatten();
    let steps = steps.filter_map(|step| match step {
        Value::String(name) => Some(name.clone()),
        Value::Number(index) => Some(index.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    });
    let place: Vec<String> = steps.skip_while(|step| step == "body").collect();
    Some(if place.is_empty() { message.to_owned() } else { format!("{}: {message}", place.join(".")) })
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A code or type, if it looks like one: anything else may be a text that quotes something.
fn identifier(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    ((1..=64).contains(&text.len()) && text.bytes().all(plain)).then_some(text)
}

/// The names of all objects that hold `"violated": true`, however deep.
fn collect_violated(value: &Value, found: &mut Vec<String>) {
    let visit = |(name, value): (&String, &Value), found: &mut Vec<String>| {
        let violated = value.get("violated") == Some(&Value::Bool(true));
        let name = violated.then(|| identifier(&Value::String(name.clone()))).flatten();
        found.extend(name.filter(|name| !found.contains(name)));
        collect_violated(value, found);
    };
    match value {
        Value::Object(object) => {
            let object: &Map<String, Value> = object;
            object.iter().for_each(|pair| visit(pair, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_violated(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
