//! How large a context window is and what did not fit it, from the words that servers refuse a history with.

use serde_json::{Map, Value};

/// Numbers of a refusal; `None` where it does not tell them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    /// The model's context window.
    pub(super) context_tokens: Option<u64>,
    /// What was asked for: the history, and the answer where it is counted too.
    pub(super) requested_tokens: Option<u64>,
}

/// What stands right before the number.
const BEFORE_CONTEXT: &[&str] = &[
    "maximum context length is ",         // OpenAI, vLLM, DeepSeek
    "maximum model length of ",           // vLLM
    "available context size (",           // llama.cpp
    "maximum number of tokens allowed (", // Google
    "tokens > ",                          // Anthropic behind a gateway
];
/// What stands right after the number.
const AFTER_CONTEXT: &[&str] = &[" maximum context length"]; // Mistral
const BEFORE_REQUESTED: &[&str] = &[
    "you requested ",             // OpenAI, vLLM, DeepSeek
    "your messages resulted in ", // OpenAI
    "your request has ",          // vLLM
    "prompt contains ",           // Mistral
    "prompt (length ",            // vLLM
    "request (",                  // llama.cpp
    "input token count (",        // Google
    "prompt is too long: ",       // Anthropic behind a gateway
];

impl Window {
    /// `message`: the explanation. `error`: the object that it stood in; llama.cpp counts in fields of their own.
    pub(super) fn read(message: &str, error: &Map<String, Value>) -> Window {
        let message = message.to_lowercase();
        let field = |name: &str| error.get(name).and_then(Value::as_u64);
        let after = |phrases: &[&str]| phrases.iter().find_map(|phrase| number_after(&message, phrase));
        let before = |phrases: &[&str]| phrases.iter().find_map(|phrase| number_before(&message, phrase));
        Window {
            context_tokens: field("n_ctx").or_else(|| after(BEFORE_CONTEXT)).or_else(|| before(AFTER_CONTEXT)),
            requested_tokens: field("n_prompt_tokens").or_else(|| after(BEFORE_REQUESTED)),
        }
    }
}

fn number_after(text: &str, phrase: &str) -> Option<u64> {
    let (_, rest) = text.split_once(phrase)?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
    digits.parse().ok()
}

fn number_before(text: &str, phrase: &str) -> Option<u64> {
    let (rest, _) = text.split_once(phrase)?;
    let digits = rest.rfind(|c: char| !c.is_ascii_digit()).map_or(rest, |end| &rest[end..]);
    digits.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_every_server_are_found() {
        let rows = [
            (
                "This model's maximum context length is 32768 tokens. However, you requested 35000 tokens (34000 in the messages, 1000 in the completion). Please reduce the length of the messages or completion.",
                Some(32_768),
                Some(35_000),
            ),
            (
                "This model's maximum context length is 128000 tokens. However, your messages resulted in 150123 tokens.",
                Some(128_000),
                Some(150_123),
            ),
            (
                "This model's maximum context length is 2048 tokens. However, your request has 2050 input tokens. Please reduce the length of the input messages.",
                Some(2048),
                Some(2050),
            ),
            (
                "The decoder prompt (length 50000) is longer than the maximum model length of 32768.",
                Some(32_768),
                Some(50_000),
            ),
            (
                "Prompt contains 262145 tokens and 0 draft tokens, too large for model with 262144 maximum context length",
                Some(262_144),
                Some(262_145),
            ),
            (
                "request (14429 tokens) exceeds the available context size (8192 tokens), try increasing it",
                Some(8192),
                Some(14_429),
            ),
            (
                "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
                Some(1_048_576),
                Some(1_200_000),
            ),
            ("prompt is too long: 210000 tokens > 200000 maximum", Some(200_000), Some(210_000)),
            ("Your input exceeds the context window of this model.", None, None),
            ("you requested é99999999999999999999999 maximum context length", None, None),
            ("", None, None),
        ];
        for (text, context_tokens, requested_tokens) in rows {
            assert_eq!(Window::read(text, &Map::new()), Window { context_tokens, requested_tokens }, "{text}");
        }
    }
}
