//! The models that the stand-in serves, and their cards as `GET /v1/models` gives them.

use serde_json::{Value, json};

/// The names of the models served. None of them is a real model, and their names say it.
pub const MODELS: &[&str] = &[SMALL, LARGE, REASONING];

const SMALL: &str = "offline-small";
const LARGE: &str = "offline-large";
/// Answers with thinking chunks first, and streams its function calls in pieces, as the hosted GLM models do.
const REASONING: &str = "offline-reasoning";

/// When everything here was made, in Unix seconds (2026-01-01): a constant, so that the same request gets the same bytes.
pub(super) const CREATED_S: u64 = 1_767_225_600;

/// How many tokens history and answer may have together.
fn context_tokens(model: &str) -> u64 {
    // A small window, so that a full one can be tried.
    if model == SMALL { 32_768 } else { 262_144 }
}

/// Whether the model thinks before it answers.
pub(super) fn reasons(model: &str) -> bool {
    model == REASONING
}

/// The body of `GET /v1/models`.
pub(super) fn list() -> Value {
    json!({"object": "list", "data": MODELS.iter().map(|model| card(model)).collect::<Vec<_>>()})
}

fn card(model: &str) -> Value {
    json!({
        "id": model,
        "object": "model",
        "created": CREATED_S,
        "owned_by": "offline",
        "capabilities": {
            "completion_chat": true,
            "function_calling": true,
            "reasoning": reasons(model),
            "completion_fim": false,
            "fine_tuning": false,
            "vision": true,
            "ocr": false,
            "classification": false,
            "moderation": false,
            "audio": true,
            "audio_transcription": false,
            "unified_resources": false,
        },
        "name": model,
        "description": "Offline stand-in: repeats what it is told. Not a real model.",
        "max_context_length": context_tokens(model),
        "aliases": [],
        "deprecation": null,
        "deprecation_replacement_model": null,
        "default_model_temperature": 0.3,
        "type": "base",
    })
}
