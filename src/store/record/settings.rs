//! Settings on disk. JSON values are kept as JSON text.

use std::collections::BTreeMap;

use prost::Message;
use serde_json::{Map, Value};

use super::{
    Damaged, decode, encode, required,
    spend::BudgetRecord,
    tool::{ToolRecord, tool, tool_record},
};
use crate::domain::{
    Budget,
    agent::AgentPin,
    settings::{CompletionArgs, ReasoningEffort, ResponseFormat, Settings, ToolChoice},
};

#[derive(Clone, PartialEq, Message)]
struct SettingsRecord {
    #[prost(string, tag = "1")]
    model: String,
    #[prost(string, optional, tag = "2")]
    agent_id: Option<String>,
    #[prost(string, tag = "3")]
    instructions: String,
    #[prost(message, repeated, tag = "4")]
    tools: Vec<ToolRecord>,
    #[prost(message, optional, tag = "5")]
    completion_args: Option<ArgsRecord>,
    #[prost(btree_map = "string, string", tag = "6")]
    metadata: BTreeMap<String, String>,
    #[prost(message, optional, tag = "7")]
    tree_budget: Option<BudgetRecord>,
    #[prost(message, optional, tag = "8")]
    agent_pin: Option<PinRecord>,
}

/// A version of an agent that is kept to.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PinRecord {
    #[prost(uint32, optional, tag = "1")]
    version: Option<u32>,
    #[prost(string, tag = "2")]
    alias: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ArgsRecord {
    #[prost(double, optional, tag = "1")]
    temperature: Option<f64>,
    #[prost(double, optional, tag = "2")]
    top_p: Option<f64>,
    #[prost(uint32, optional, tag = "3")]
    max_tokens: Option<u32>,
    #[prost(string, repeated, tag = "4")]
    stop: Vec<String>,
    #[prost(uint64, optional, tag = "5")]
    random_seed: Option<u64>,
    #[prost(double, optional, tag = "6")]
    presence_penalty: Option<f64>,
    #[prost(double, optional, tag = "7")]
    frequency_penalty: Option<f64>,
    #[prost(message, optional, tag = "8")]
    response_format: Option<FormatRecord>,
    #[prost(message, optional, tag = "9")]
    tool_choice: Option<ChoiceRecord>,
    #[prost(bool, optional, tag = "10")]
    parallel_tool_calls: Option<bool>,
    #[prost(string, optional, tag = "11")]
    prediction: Option<String>,
    /// 0: none was asked for.
    #[prost(uint32, tag = "12")]
    reasoning_effort: u32,
    #[prost(bool, optional, tag = "13")]
    safe_prompt: Option<bool>,
    #[prost(string, tag = "14")]
    prompt_cache_key: String,
    #[prost(string, tag = "15")]
    prompt_mode: String,
    #[prost(string, tag = "16")]
    service_tier: String,
    #[prost(uint32, optional, tag = "17")]
    min_tokens: Option<u32>,
    #[prost(double, optional, tag = "18")]
    repetition_penalty: Option<f64>,
    #[prost(uint32, optional, tag = "19")]
    top_k: Option<u32>,
    #[prost(string, repeated, tag = "20")]
    guardrails: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct FormatRecord {
    /// 1 text, 2 JSON object, 3 JSON schema.
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    description: String,
    #[prost(string, tag = "4")]
    schema: String,
    #[prost(bool, tag = "5")]
    strict: bool,
    #[prost(bool, tag = "6")]
    check: bool,
}

#[derive(Clone, PartialEq, Message)]
struct ChoiceRecord {
    /// 1 auto, 2 none, 3 any, 4 required, 5 function.
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(string, tag = "2")]
    function: String,
}

/// A row of settings.
pub(in crate::store) fn encode_settings(settings: &Settings) -> Vec<u8> {
    let Settings { model, agent_id, agent_pin, instructions, tools, completion_args, metadata, tree_budget } = settings;
    encode(&SettingsRecord {
        model: model.clone(),
        agent_id: agent_id.clone(),
        instructions: instructions.clone(),
        tools: tools.iter().map(tool_record).collect(),
        completion_args: Some(args_record(completion_args)),
        metadata: metadata.clone(),
        tree_budget: tree_budget.as_ref().map(BudgetRecord::from),
        agent_pin: agent_pin.as_ref().map(pin_record),
    })
}

/// The settings of a row.
pub(in crate::store) fn decode_settings(row: &[u8]) -> Result<Settings, Damaged> {
    let SettingsRecord { model, agent_id, instructions, tools, completion_args, metadata, tree_budget, agent_pin } =
        decode(row)?;
    Ok(Settings {
        model,
        agent_id,
        agent_pin: agent_pin.map(pin),
        instructions,
        tools: tools.into_iter().map(tool).collect::<Result<_, _>>()?,
        completion_args: args(required(completion_args)?)?,
        metadata,
        tree_budget: tree_budget.map(Budget::from),
    })
}

pub(super) fn pin_record(pin: &AgentPin) -> PinRecord {
    match pin {
        AgentPin::Version(version) => PinRecord { version: Some(*version), alias: String::new() },
        AgentPin::Alias(alias) => PinRecord { version: None, alias: alias.clone() },
    }
}

pub(super) fn pin(record: PinRecord) -> AgentPin {
    let PinRecord { version, alias } = record;
    version.map_or(AgentPin::Alias(alias), AgentPin::Version)
}

pub(super) fn json_text(object: &Map<String, Value>) -> String {
    serde_json::to_string(object).expect("a JSON object has string keys and no other source of errors")
}

pub(super) fn json(text: &str) -> Result<Map<String, Value>, Damaged> {
    serde_json::from_str(text).map_err(|_| Damaged("a JSON text is malformed"))
}

pub(super) fn args_record(args: &CompletionArgs) -> ArgsRecord {
    ArgsRecord {
        temperature: args.temperature,
        top_p: args.top_p,
        max_tokens: args.max_tokens,
        stop: args.stop.clone(),
        random_seed: args.random_seed,
        presence_penalty: args.presence_penalty,
        frequency_penalty: args.frequency_penalty,
        response_format: args.response_format.as_ref().map(format_record),
        tool_choice: args.tool_choice.as_ref().map(choice_record),
        parallel_tool_calls: args.parallel_tool_calls,
        prediction: args.prediction.clone(),
        reasoning_effort: args.reasoning_effort.map_or(0, effort_number),
        safe_prompt: args.safe_prompt,
        prompt_cache_key: args.prompt_cache_key.clone(),
        prompt_mode: args.prompt_mode.clone(),
        service_tier: args.service_tier.clone(),
        min_tokens: args.min_tokens,
        repetition_penalty: args.repetition_penalty,
        top_k: args.top_k,
        guardrails: args.guardrails.iter().map(json_text).collect(),
    }
}

pub(super) fn args(record: ArgsRecord) -> Result<CompletionArgs, Damaged> {
    Ok(CompletionArgs {
        temperature: record.temperature,
        top_p: record.top_p,
        max_tokens: record.max_tokens,
        stop: record.stop,
        random_seed: record.random_seed,
        presence_penalty: record.presence_penalty,
        frequency_penalty: record.frequency_penalty,
        response_format: record.response_format.map(format).transpose()?,
        tool_choice: record.tool_choice.map(choice).transpose()?,
        parallel_tool_calls: record.parallel_tool_calls,
        prediction: record.prediction,
        reasoning_effort: if record.reasoning_effort == 0 { None } else { Some(effort(record.reasoning_effort)?) },
        safe_prompt: record.safe_prompt,
        prompt_cache_key: record.prompt_cache_key,
        prompt_mode: record.prompt_mode,
        service_tier: record.service_tier,
        min_tokens: record.min_tokens,
        repetition_penalty: record.repetition_penalty,
        top_k: record.top_k,
        guardrails: record.guardrails.iter().map(|text| json(text)).collect::<Result<_, _>>()?,
    })
}

fn format_record(format: &ResponseFormat) -> FormatRecord {
    match format {
        ResponseFormat::Text => FormatRecord { kind: 1, ..FormatRecord::default() },
        ResponseFormat::JsonObject => FormatRecord { kind: 2, ..FormatRecord::default() },
        ResponseFormat::JsonSchema { name, description, schema, strict, check } => FormatRecord {
            kind: 3,
            name: name.clone(),
            description: description.clone(),
            schema: json_text(schema),
            strict: *strict,
            check: *check,
        },
    }
}

fn format(record: FormatRecord) -> Result<ResponseFormat, Damaged> {
    let FormatRecord { kind, name, description, schema, strict, check } = record;
    Ok(match kind {
        1 => ResponseFormat::Text,
        2 => ResponseFormat::JsonObject,
        3 => ResponseFormat::JsonSchema { name, description, schema: json(&schema)?, strict, check },
        _ => return Err(Damaged("a response format is unknown")),
    })
}

fn choice_record(choice: &ToolChoice) -> ChoiceRecord {
    let (kind, function) = match choice {
        ToolChoice::Auto => (1, String::new()),
        ToolChoice::None => (2, String::new()),
        ToolChoice::Any => (3, String::new()),
        ToolChoice::Required => (4, String::new()),
        ToolChoice::Function(name) => (5, name.clone()),
    };
    ChoiceRecord { kind, function }
}

fn choice(record: ChoiceRecord) -> Result<ToolChoice, Damaged> {
    Ok(match record.kind {
        1 => ToolChoice::Auto,
        2 => ToolChoice::None,
        3 => ToolChoice::Any,
        4 => ToolChoice::Required,
        5 => ToolChoice::Function(record.function),
        _ => return Err(Damaged("a tool choice is unknown")),
    })
}

fn effort_number(effort: ReasoningEffort) -> u32 {
    match effort {
        ReasoningEffort::None => 1,
        ReasoningEffort::Minimal => 2,
        ReasoningEffort::Low => 3,
        ReasoningEffort::Medium => 4,
        ReasoningEffort::High => 5,
        ReasoningEffort::Xhigh => 6,
        ReasoningEffort::Max => 7,
    }
}

fn effort(number: u32) -> Result<ReasoningEffort, Damaged> {
    let found = ReasoningEffort::ALL.into_iter().find(|effort| effort_number(*effort) == number);
    found.ok_or(Damaged("a reasoning effort is unknown"))
}
