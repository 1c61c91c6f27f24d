//! What the body of a refusal says. The servers of chat completions and the gateways before them write errors in some twenty
//! shapes; all are read here:
//!
//! - Mistral: `{object, message, type, param, code}`, `{detail: TEXT}`, `{detail: [{loc, msg, input}]}`, `{message: {detail}}`
//! - OpenAI, Azure, newer vLLM, llama.cpp: `{error: {message, type, param, code}}`, with `innererror` or token counts in it
//! - older vLLM: `{object, message, type, param, code}` with a number as code
//! - Ollama, LM Studio: `{error: TEXT}`; Google: the same as OpenAI within a list; gateways: `{message}`

use serde_json::{Map, Value};

use super::window::Window;
use crate::upstream::secrets::Secrets;

const LONGEST_TEXT: usize = 500;

/// What the body of a refusal says, whatever its shape.
#[derive(Debug, Default)]
pub(super) struct Said {
    message: Option<String>,
    pub(super) code: Option<String>,
    pub(super) kind: Option<String>,
    /// The guardrails' categories that the input falls into.
    pub(super) violated: Vec<String>,
    has_guardrails: bool,
    is_json: bool,
    /// How large the context window is, and what did not fit, if it says.
    pub(super) window: Window,
}

impl Said {
    /// The secrets are hidden in what it explains, before that is cut.
    pub(super) fn read(body: &[u8], secrets: &Secrets) -> Said {
        let body = match serde_json::from_slice(body) {
            Ok(Value::Array(items)) => items.into_iter().next(),
            Ok(other) => Some(other),
            Err(_) => None,
        };
        let Some(Value::Object(body)) = body else { return Said::default() };
        let inner = body.get("error").and_then(Value::as_object);
        let field = |name: &str| body.get(name).or_else(|| inner.and_then(|inner| inner.get(name)));
        let mut explained = [field("message"), field("detail"), body.get("error")].into_iter().flatten();
        let message = explained.find_map(explanation).map(|mut text| {
            secrets.hide(&mut text);
            shortened(&text)
        });
        let mut violated = Vec::new();
        for told in [field("guardrails"), field("innererror")].into_iter().flatten() {
            collect_violated(told, &mut violated);
        }
        Said {
            window: Window::read(message.as_deref().unwrap_or_default(), inner.unwrap_or(&body)),
            message,
            code: field("code").and_then(identifier),
            kind: field("type").and_then(identifier),
            violated,
            has_guardrails: field("guardrails").is_some(),
            is_json: true,
        }
    }

    pub(super) fn text(&self) -> &str {
        self.message.as_deref().unwrap_or("it gave no explanation")
    }

    fn has_code(&self, codes: &[&str]) -> bool {
        [&self.code, &self.kind].into_iter().flatten().any(|code| codes.contains(&code.as_str()))
    }

    fn mentions(&self, phrases: &[&str]) -> bool {
        let message = self.message.as_deref().unwrap_or_default().to_lowercase();
        phrases.iter().any(|phrase| message.contains(phrase))
    }

    pub(super) fn names_unknown_model(&self) -> bool {
        self.has_code(&["1500", "3040", "invalid_model", "model_not_found", "DeploymentNotFound"])
    }

    pub(super) fn has_too_long_code(&self) -> bool {
        self.has_code(&[
            "model_context_exceeded",
            "prompt_too_long",
            "context_length_exceeded",
            "exceed_context_size_error",
        ])
    }

    /// In words, of which the ones before are as free as any: they count only where nothing else explains the refusal.
    pub(super) fn tells_too_long(&self) -> bool {
        self.mentions(&[
            "model_context_exceeded",
            "prompt_too_long",
            "maximum context length",
            "longer than the maximum model length",
            "too large for model",
            "context window",
            "exceeds the available context size",
            "exceeds the context length",
            "exceeds the maximum number of tokens",
            "prompt is too long",
            "input is too long",
        ])
    }

    /// The account, not the rate: a 429 that no waiting mends.
    pub(super) fn is_without_credit(&self) -> bool {
        self.has_code(&[
            "insufficient_quota",
            "billing_hard_limit_reached",
            "billing_not_active",
            "insufficient_balance",
        ])
    }

    pub(super) fn is_no_route(&self) -> bool {
        const PHRASES: &[&str] = &[
            "no route matched",
            "method not allowed",
            // OpenAI, Azure, llama.cpp and LM Studio.
            "invalid url",
            "resource not found",
            "file not found",
            "unexpected endpoint",
        ];
        !self.is_json || self.mentions(PHRASES)
    }

    /// Azure's filter, and OpenAI's.
    pub(super) fn has_filter_code(&self) -> bool {
        self.has_code(&["content_filter", "content_policy_violation"])
    }

    /// Mistral's guardrails.
    pub(super) fn is_guardrail(&self) -> bool {
        self.has_guardrails || self.has_code(&["3201"]) || self.mentions(&["guardrail"])
    }
}

/// A text, whole, or the list of a validation error as `place: message` without the rejected values.
fn explanation(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => told_by_python(text).unwrap_or(text).to_owned(),
        Value::Array(errors) => errors.iter().filter_map(validation_error).collect::<Vec<_>>().join("; "),
        Value::Object(wrapped) => explanation(wrapped.get("detail").or_else(|| wrapped.get("message"))?)?,
        Value::Null | Value::Bool(_) | Value::Number(_) => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// vLLM writes the list of a validation error as Python shows it. Of such a text the first error's message, which stands before
/// the rejected value.
fn told_by_python(text: &str) -> Option<&str> {
    let (before, _) = text.split_once("'input': ")?;
    let (_, message) = before.rsplit_once("'msg': ").unwrap_or(("", before));
    Some(message.trim_end_matches([' ', ',']).trim_matches(['\'', '"']))
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
pub(super) fn identifier(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    ((1..=64).contains(&text.len()) && text.bytes().all(plain)).then_some(text)
}

/// The names of all objects that hold `"violated": true` (Mistral) or `"filtered": true` (Azure), however deep.
fn collect_violated(value: &Value, found: &mut Vec<String>) {
    let visit = |(name, value): (&String, &Value), found: &mut Vec<String>| {
        let says = |field: &str| value.get(field) == Some(&Value::Bool(true));
        let name = (says("violated") || says("filtered")).then(|| identifier(&Value::String(name.clone()))).flatten();
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
