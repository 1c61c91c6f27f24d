//! What a version fixes for the turns that run on it: model, instructions, tools, completion arguments, metadata.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{agent::AgentPin, spend::Budget, tool::Tool};

/// What a version fixes for the turns that run on it. Shared between versions until one overrides it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// The model; empty only where an agent leads.
    pub model: String,
    /// The agent that leads, if one does. The settings beside it stand in for its own where they are not empty.
    pub agent_id: Option<String>,
    /// The version of the agent that is kept to; `None`: the current one of each turn.
    pub agent_pin: Option<AgentPin>,
    /// The system text; empty: none.
    pub instructions: String,
    /// What the model may use.
    pub tools: Vec<Tool>,
    /// How the model answers.
    pub completion_args: CompletionArgs,
    /// The caller's own pairs; the same in the whole tree.
    pub metadata: BTreeMap<String, String>,
    /// What all turns of the tree may spend together; the same in the whole tree.
    pub tree_budget: Option<Budget>,
}

/// How the model answers; `None` and empty leave it to the model. Ranges are checked at the edge.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CompletionArgs {
    /// 0 to 1.5.
    pub temperature: Option<f64>,
    /// Above 0, up to 1.
    pub top_p: Option<f64>,
    /// At least 1.
    pub max_tokens: Option<u32>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// Same seed, same answer.
    pub random_seed: Option<u64>,
    /// -2 to 2.
    pub presence_penalty: Option<f64>,
    /// -2 to 2.
    pub frequency_penalty: Option<f64>,
    /// The form of the answer.
    pub response_format: Option<ResponseFormat>,
    /// Whether functions may, must or must not be called.
    pub tool_choice: Option<ToolChoice>,
    /// Several functions at once.
    pub parallel_tool_calls: Option<bool>,
    /// What most of the answer will be.
    pub prediction: Option<String>,
    /// How much to think.
    pub reasoning_effort: Option<ReasoningEffort>,
    /// Add the provider's safety prompt.
    pub safe_prompt: Option<bool>,
    /// Share the provider's prompt cache; empty: none.
    pub prompt_cache_key: String,
    /// "reasoning" or empty.
    pub prompt_mode: String,
    /// "auto", "standard_only" or empty.
    pub service_tier: String,
    /// At least so many tokens.
    pub min_tokens: Option<u32>,
    /// Above 0.
    pub repetition_penalty: Option<f64>,
    /// Sample from so many tokens.
    pub top_k: Option<u32>,
    /// The provider's guardrail configurations, as they are.
    pub guardrails: Vec<Map<String, Value>>,
}

/// The form of the answer.
#[derive(Debug, Clone, PartialEq)]
pub enum ResponseFormat {
    /// Plain text.
    Text,
    /// Some JSON object.
    JsonObject,
    /// JSON that fits a schema.
    JsonSchema {
        /// `[A-Za-z0-9_-]{1,64}`.
        name: String,
        /// May be empty.
        description: String,
        /// The schema.
        schema: Map<String, Value>,
        /// Keep to it exactly.
        strict: bool,
        /// The service checks what the model answers, and has it mended once.
        check: bool,
    },
}

/// Whether functions may, must or must not be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// No call.
    None,
    /// At least one call (Mistral's older name).
    Any,
    /// At least one call.
    Required,
    /// This function.
    Function(String),
}

/// How much a reasoning model thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ReasoningEffort {
    /// Not at all.
    None = 1,
    /// The least.
    Minimal = 2,
    /// Little.
    Low = 3,
    /// Medium.
    Medium = 4,
    /// Much.
    High = 5,
    /// More.
    Xhigh = 6,
    /// The most.
    Max = 7,
}

impl ReasoningEffort {
    /// All levels, from the least to the most.
    pub const ALL: [ReasoningEffort; 7] = [
        ReasoningEffort::None,
        ReasoningEffort::Minimal,
        ReasoningEffort::Low,
        ReasoningEffort::Medium,
        ReasoningEffort::High,
        ReasoningEffort::Xhigh,
        ReasoningEffort::Max,
    ];
}
