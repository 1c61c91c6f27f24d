//! What the servers of chat completions do differently, all in one place.
//!
//! Answers need no dialect: what any server is known to write is read from all of them.

use std::borrow::Cow;

use super::tool_id;
use crate::{
    domain::{Chunk, Failure, failure::Violation, settings::CompletionArgs},
    upstream::Form,
};

/// Whose form of chat completions a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Mistral's: refuses fields that it does not know, replays thinking, continues a prefix.
    Mistral,
    /// OpenAI's, and that of all who follow it: Azure OpenAI, vLLM, llama.cpp, Ollama, Bedrock …
    OpenAi,
}

/// The field of chat completions that bounds an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxTokensField {
    /// `max_tokens`, the older one. OpenAI's reasoning models refuse it.
    MaxTokens,
    /// `max_completion_tokens`. Mistral refuses it; Ollama (<https://github.com/ollama/ollama/issues/7125>) and other servers
    /// that don't know it pass over it, and then nothing bounds the answer.
    MaxCompletionTokens,
}

impl MaxTokensField {
    pub(super) fn name(self) -> &'static str {
        match self {
            MaxTokensField::MaxTokens => "max_tokens",
            MaxTokensField::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}

/// The provider that a history is encoded for.
#[derive(Debug, Clone, Copy)]
pub(in crate::upstream) struct Target<'a> {
    /// Its name: whose thinking is replayed.
    pub(in crate::upstream) provider: &'a str,
    /// What it speaks.
    pub(in crate::upstream) dialect: Dialect,
    /// The endpoint that is asked.
    pub(in crate::upstream) form: Form,
}

/// What to do instead of showing a picture in a function's result.
const RESULT_IS_TEXT: &str = "function results hold text only: give the picture in a user message";

/// The place that content is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    User,
    Assistant,
    System,
    /// A function's result.
    Result,
    /// What a tool returned that was run for the model.
    Execution,
}

/// How a chunk goes into a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// As what it is.
    Whole,
    /// As a text that names it.
    Told,
    /// Not at all, and nothing of the history is lost with it.
    LeftOut,
    /// Not at all, and an answer without it would be a wrong one: what to do instead.
    Refused(&'static str),
}

impl Target<'_> {
    /// How a chunk goes into a message, unless it is thinking, which depends on who thought.
    pub(super) fn takes(self, chunk: &Chunk, place: Place) -> Taken {
        use Taken::{Refused, Told};
        match (self.form, chunk, place) {
            (Form::Conversations, Chunk::InputAudio { .. } | Chunk::File { .. }, Place::User) => {
                Refused("its conversations endpoint has none: leave out Mistral's own tools and agents")
            }
            (Form::Conversations, Chunk::ImageUrl { .. }, Place::Result) => Refused(RESULT_IS_TEXT),
            (Form::Conversations, Chunk::ImageUrl { .. }, Place::Execution) => Told,
            (Form::Conversations | Form::Chat, _, _) => self.dialect.takes(chunk, place),
        }
    }

    /// Whether a system message may stand here. `fits`: chat completions of Mistral take one here. Its conversations know none.
    pub(super) fn takes_system(self, fits: bool) -> bool {
        match self.form {
            Form::Chat => fits || self.dialect.system_anywhere(),
            Form::Conversations => false,
        }
    }
}

impl Dialect {
    /// Checks that the target has all arguments that were set. Fails with INVALID_REQUEST and a violation for each that it does
    /// not have: an answer that quietly ignores them would be another one than was asked for.
    pub fn check_args(self, args: &CompletionArgs) -> Result<(), Failure> {
        let violations = self.missing_args(args);
        if violations.is_empty() { Ok(()) } else { Err(Failure::invalid(violations)) }
    }

    fn missing_args(self, args: &CompletionArgs) -> Vec<Violation> {
        if self == Dialect::Mistral {
            // The arguments are Mistral's.
            return Vec::new();
        }
        let CompletionArgs {
            temperature: _,
            top_p: _,
            max_tokens: _,
            stop: _,
            random_seed: _,
            presence_penalty: _,
            frequency_penalty: _,
            response_format: _,
            tool_choice: _,
            parallel_tool_calls: _,
            prediction: _,
            reasoning_effort: _,
            safe_prompt,
            prompt_cache_key: _,
            prompt_mode,
            service_tier: _,
            min_tokens,
            repetition_penalty,
            top_k,
            guardrails,
        } = args;
        let set = [
            // Not to add one is what everybody else does too.
            ("safe_prompt", *safe_prompt == Some(true)),
            ("prompt_mode", !prompt_mode.is_empty()),
            ("min_tokens", min_tokens.is_some()),
            ("repetition_penalty", repetition_penalty.is_some()),
            ("top_k", top_k.is_some()),
            ("guardrails", !guardrails.is_empty()),
        ];
        let missing = set.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| Violation {
            field: format!("completion_args.{name}"),
            description:
                "is not known to the chat completions of OpenAI's dialect: clear it, or use a provider of Mistral's \
                          dialect"
                    .to_owned(),
        });
        missing.collect()
    }

    /// The field of `random_seed`.
    pub(super) fn seed_field(self) -> &'static str {
        match self {
            Dialect::Mistral => "random_seed",
            Dialect::OpenAi => "seed",
        }
    }

    /// The field that bounds an answer, unless a provider is set to another. OpenAI refuses both at once.
    pub(in crate::upstream) fn max_tokens_field(self) -> MaxTokensField {
        match self {
            Dialect::Mistral => MaxTokensField::MaxTokens,
            Dialect::OpenAi => MaxTokensField::MaxCompletionTokens,
        }
    }

    /// Whether there is a safety prompt to ask for or to do without.
    pub(super) fn has_safe_prompt(self) -> bool {
        self == Dialect::Mistral
    }

    /// The tool choice "at least one call", by Mistral's older name for it.
    pub(super) fn any_tool(self) -> &'static str {
        match self {
            Dialect::Mistral => "any",
            Dialect::OpenAi => "required",
        }
    }

    /// The word for a service tier. "standard_only" is what OpenAI calls "default".
    pub(super) fn service_tier(self, tier: &str) -> &str {
        match (self, tier) {
            (Dialect::OpenAi, "standard_only") => "default",
            (Dialect::OpenAi | Dialect::Mistral, tier) => tier,
        }
    }

    /// `parallel_tool_calls` is refused where there are no tools.
    pub(super) fn parallel_calls_need_tools(self) -> bool {
        self == Dialect::OpenAi
    }

    /// The usage of a streamed answer comes only if `stream_options` asks for it; Mistral sends it anyway and refuses the field.
    pub(super) fn usage_on_request(self) -> bool {
        self == Dialect::OpenAi
    }

    /// The provider's form of one of our tool call ids.
    pub(super) fn tool_id(self, ours: &str) -> Cow<'_, str> {
        match self {
            Dialect::Mistral => tool_id::nine_characters(ours),
            Dialect::OpenAi => tool_id::with_prefix(ours),
        }
    }

    /// A function's result names the function.
    pub(super) fn names_results(self) -> bool {
        self == Dialect::Mistral
    }

    /// Text and calls stand in one assistant message. Mistral takes an assistant after an assistant, and refuses one message
    /// with both content and calls (https://github.com/github/copilot-cli/issues/4884).
    pub(super) fn text_beside_calls(self) -> bool {
        self == Dialect::OpenAi
    }

    /// A system message may stand anywhere. Mistral takes none after an assistant's or a tool's, nor as the last one.
    pub(super) fn system_anywhere(self) -> bool {
        self == Dialect::OpenAi
    }

    /// How a text to continue is marked: Mistral has `prefix: true`, and refuses it as the only message.
    ///
    /// Others are sent the text as the last assistant message and nothing else. llama.cpp and Ollama go on with exactly that
    /// text; OpenAI and vLLM begin a new message, which as a rule goes on where the text ends or repeats it, and then the
    /// repetition is taken off. What would make vLLM continue (`continue_final_message`) is refused by OpenAI as an unknown
    /// field, and a user message that asks to go on would break the true continuation of the first two.
    pub(super) fn marks_prefix(self) -> bool {
        self == Dialect::Mistral
    }

    /// Whether a provider's own thinking is sent back to it. OpenAI's dialect has no field for it: `reasoning_content` is told to
    /// the client only, and DeepSeek's API refuses it in a request.
    pub(super) fn replays_thinking(self) -> bool {
        self == Dialect::Mistral
    }

    /// How a chunk goes into a message of chat completions.
    fn takes(self, chunk: &Chunk, place: Place) -> Taken {
        use Taken::{LeftOut, Refused, Told, Whole};
        match (chunk, place) {
            (Chunk::Text(_), _) => Whole,
            (Chunk::Thinking(_) | Chunk::Reference { .. }, _) => LeftOut,
            (Chunk::ToolFile { .. } | Chunk::ToolReference { .. }, _) => Told,
            (Chunk::ImageUrl { .. }, Place::User) => Whole,
            (Chunk::ImageUrl { .. }, Place::Result | Place::Execution) if self == Dialect::Mistral => Whole,
            (Chunk::ImageUrl { .. }, Place::Result) => Refused(RESULT_IS_TEXT),
            (Chunk::DocumentUrl { .. }, Place::User) if self == Dialect::OpenAi => {
                Refused("give the document's text as a text chunk, or its pages as image_url chunks")
            }
            (Chunk::InputAudio { data }, Place::User) if self == Dialect::OpenAi && audio(data).is_none() => {
                Refused("give the recording itself, as base64 of a WAV, MP3, FLAC or Ogg file")
            }
            (Chunk::DocumentUrl { .. } | Chunk::InputAudio { .. } | Chunk::File { .. }, Place::User) => Whole,
            (
                Chunk::ImageUrl { .. } | Chunk::DocumentUrl { .. } | Chunk::InputAudio { .. } | Chunk::File { .. },
                Place::Assistant | Place::System | Place::Result | Place::Execution,
            ) => Told,
        }
    }
}

/// Speech as OpenAI's dialect takes it: base64, and the kind of file, which is read from its first bytes. `None`: it is an
/// address, or no such file.
pub(super) fn audio(data: &str) -> Option<(&str, &'static str)> {
    const STARTS: &[(&str, &str)] = &[
        ("UklGR", "wav"),  // RIFF
        ("SUQz", "mp3"),   // ID3
        ("//", "mp3"),     // the sync word of an MPEG frame
        ("ZkxhQ", "flac"), // fLaC
        ("T2dnU", "ogg"),  // OggS
    ];
    let base64 = match data.strip_prefix("data:") {
        Some(uri) => uri.split_once(";base64,")?.1,
        None => data,
    };
    STARTS.iter().find(|(start, _)| base64.starts_with(start)).map(|(_, format)| (base64, *format))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_are_known_by_their_first_bytes() {
        assert_eq!(audio("UklGRiQAAABXQVZF"), Some(("UklGRiQAAABXQVZF", "wav")));
        assert_eq!(audio("data:audio/mpeg;base64,SUQzBAAA"), Some(("SUQzBAAA", "mp3")));
        assert_eq!(audio("//uQxAAA"), Some(("//uQxAAA", "mp3")));
        assert_eq!(audio("https://example.org/a.wav"), None);
        assert_eq!(audio("AAAA"), None);
        assert_eq!(audio("data:audio/wav,plain"), None);
    }

    #[test]
    fn every_argument_that_the_target_lacks_is_named_at_once() {
        let args = CompletionArgs {
            safe_prompt: Some(true),
            prompt_mode: "reasoning".to_owned(),
            min_tokens: Some(0),
            repetition_penalty: Some(1.0),
            top_k: Some(1),
            guardrails: vec![serde_json::Map::new()],
            temperature: Some(0.1),
            ..CompletionArgs::default()
        };
        assert_eq!(Dialect::Mistral.check_args(&args), Ok(()));
        let failure = Dialect::OpenAi.check_args(&args).expect_err("OpenAI has none of them");
        let fields: Vec<&str> = failure.violations.iter().map(|violation| &*violation.field).collect();
        let expected = ["safe_prompt", "prompt_mode", "min_tokens", "repetition_penalty", "top_k", "guardrails"]
            .map(|name| format!("completion_args.{name}"));
        assert_eq!(fields, expected);
        let harmless = CompletionArgs { safe_prompt: Some(false), ..CompletionArgs::default() };
        assert_eq!(Dialect::OpenAi.check_args(&harmless), Ok(()));
    }
}
