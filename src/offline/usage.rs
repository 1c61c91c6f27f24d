//! Tokens. The stand-in's token is a word between white space.

use serde_json::{Value, json};

use super::request::{Message, Request};

/// Mistral caches prompts in blocks of this many tokens.
const CACHE_BLOCK_TOKENS: usize = 64;

/// What a request cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    prompt: usize,
    cached: usize,
    completion: usize,
}

impl Usage {
    /// With a `prompt_cache_key`, whole blocks of everything before the last message count as cached.
    pub(super) fn of(request: &Request, completion: usize) -> Self {
        let prompt = request.messages.iter().map(tokens).sum();
        let last = request.messages.last().map_or(0, tokens);
        let before = if request.prompt_cache_key.is_some() { prompt - last } else { 0 };
        Self { prompt, cached: before / CACHE_BLOCK_TOKENS * CACHE_BLOCK_TOKENS, completion }
    }

    pub(super) fn total(self) -> usize {
        self.prompt + self.completion
    }

    pub(super) fn to_json(self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.total(),
            "prompt_tokens_details": {"cached_tokens": self.cached},
        })
    }
}

/// Words of a text.
pub(super) fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

/// One token for the role, one for each word, attachment and call.
fn tokens(message: &Message) -> usize {
    1 + words(&message.text()) + message.attachments().count() + message.calls().len()
}
