//! How the model answers: completion arguments and their ranges.

use super::{json, number, path::Path, response_format, rules, violations::Violations};
use crate::{
    domain::settings::{CompletionArgs, ReasoningEffort, ToolChoice},
    proto::{self, tool_choice::Mode},
};

const MAX_STOPS: usize = 16;
const MAX_STOP: usize = 256;
const MAX_CACHE_KEY: usize = 256;
const MAX_GUARDRAILS: usize = 16;

/// The arguments as the wire has them.
pub fn write(args: &CompletionArgs) -> proto::CompletionArgs {
    let CompletionArgs {
        temperature,
        top_p,
        max_tokens,
        stop,
        random_seed,
        presence_penalty,
        frequency_penalty,
        response_format,
        tool_choice,
        parallel_tool_calls,
        prediction,
        reasoning_effort,
        safe_prompt,
        prompt_cache_key,
        prompt_mode,
        service_tier,
        min_tokens,
        repetition_penalty,
        top_k,
        guardrails,
    } = args;
    proto::CompletionArgs {
        temperature: *temperature,
        top_p: *top_p,
        max_tokens: max_tokens.map(number::write_small),
        stop: stop.clone(),
        random_seed: random_seed.map(number::write),
        presence_penalty: *presence_penalty,
        frequency_penalty: *frequency_penalty,
        response_format: response_format.as_ref().map(response_format::write),
        tool_choice: tool_choice.as_ref().map(write_choice),
        parallel_tool_calls: *parallel_tool_calls,
        prediction: prediction.as_ref().map(|content| proto::Prediction { content: content.clone() }),
        reasoning_effort: write_effort(*reasoning_effort).into(),
        safe_prompt: *safe_prompt,
        prompt_cache_key: prompt_cache_key.clone(),
        prompt_mode: prompt_mode.clone(),
        service_tier: service_tier.clone(),
        min_tokens: min_tokens.map(number::write_small),
        repetition_penalty: *repetition_penalty,
        top_k: top_k.map(number::write_small),
        guardrails: guardrails.iter().map(json::write).collect(),
    }
}

/// The arguments, each in its range.
pub(super) fn read(at: &Path<'_>, args: proto::CompletionArgs, violations: &mut Violations) -> Option<CompletionArgs> {
    let proto::CompletionArgs {
        temperature,
        top_p,
        max_tokens,
        stop,
        random_seed,
        presence_penalty,
        frequency_penalty,
        response_format,
        tool_choice,
        parallel_tool_calls,
        prediction,
        reasoning_effort,
        safe_prompt,
        prompt_cache_key,
        prompt_mode,
        service_tier,
        min_tokens,
        repetition_penalty,
        top_k,
        guardrails,
    } = args;
    let v = violations;
    let zero_to_one_and_a_half = |x| (0.0..=1.5).contains(&x);
    in_range(&at.field("temperature"), temperature, "0 to 1.5", zero_to_one_and_a_half, v);
    in_range(&at.field("top_p"), top_p, "above 0, up to 1", |x| x > 0.0 && x <= 1.0, v);
    in_range(&at.field("presence_penalty"), presence_penalty, "-2 to 2", |x| (-2.0..=2.0).contains(&x), v);
    in_range(&at.field("frequency_penalty"), frequency_penalty, "-2 to 2", |x| (-2.0..=2.0).contains(&x), v);
    let positive = |x: f64| x > 0.0 && x.is_finite();
    in_range(&at.field("repetition_penalty"), repetition_penalty, "above 0 and finite", positive, v);
    check_stop(at, &stop, v);
    rules::at_most(&at.field("prompt_cache_key"), &prompt_cache_key, MAX_CACHE_KEY, v);
    one_of(&at.field("prompt_mode"), &prompt_mode, &["reasoning"], v);
    one_of(&at.field("service_tier"), &service_tier, &["auto", "standard_only"], v);
    Some(CompletionArgs {
        temperature,
        top_p,
        max_tokens: max_tokens.and_then(|n| number::read_small(&at.field("max_tokens"), n, 1, v)),
        stop,
        random_seed: random_seed.and_then(|n| number::read(&at.field("random_seed"), n, v)),
        presence_penalty,
        frequency_penalty,
        response_format: response_format.and_then(|f| response_format::read(&at.field("response_format"), f, v)),
        tool_choice: tool_choice.and_then(|choice| read_choice(&at.field("tool_choice"), choice, v)),
        parallel_tool_calls,
        prediction: prediction.and_then(|prediction| read_prediction(&at.field("prediction"), prediction, v)),
        reasoning_effort: read_effort(&at.field("reasoning_effort"), reasoning_effort, v),
        safe_prompt,
        prompt_cache_key,
        prompt_mode,
        service_tier,
        min_tokens: min_tokens.and_then(|n| number::read_small(&at.field("min_tokens"), n, 0, v)),
        repetition_penalty,
        top_k: top_k.and_then(|n| number::read_small(&at.field("top_k"), n, 0, v)),
        guardrails: read_guardrails(at, guardrails, v),
    })
}

/// NaN lies in no range.
fn in_range(at: &Path<'_>, value: Option<f64>, range: &str, holds: impl Fn(f64) -> bool, violations: &mut Violations) {
    if let Some(value) = value.filter(|value| !holds(*value)) {
        violations.add(at, format_args!("must be {range}, is {value}"));
    }
}

fn one_of(at: &Path<'_>, text: &str, allowed: &[&str], violations: &mut Violations) {
    if !text.is_empty() && !allowed.contains(&text) {
        let allowed = allowed.join("\" or \"");
        violations.add(at, format_args!("must be \"{allowed}\" or left out, has {} bytes of other text", text.len()));
    }
}

fn check_stop(at: &Path<'_>, stop: &[String], violations: &mut Violations) {
    if stop.len() > MAX_STOPS {
        violations.add(&at.field("stop"), format_args!("must be at most {MAX_STOPS} texts, has {}", stop.len()));
    }
    for (i, text) in stop.iter().enumerate().take(MAX_STOPS) {
        if text.is_empty() || text.len() > MAX_STOP {
            violations.add(&at.item("stop", i), format_args!("must be 1 to {MAX_STOP} bytes, has {}", text.len()));
        }
    }
}

fn read_guardrails(
    at: &Path<'_>,
    guardrails: Vec<prost_types::Struct>,
    violations: &mut Violations,
) -> Vec<serde_json::Map<String, serde_json::Value>> {
    if guardrails.len() > MAX_GUARDRAILS {
        let at = at.field("guardrails");
        violations.add(&at, format_args!("must be at most {MAX_GUARDRAILS}, has {}", guardrails.len()));
        return Vec::new();
    }
    let guardrails = guardrails.into_iter().enumerate();
    guardrails.filter_map(|(i, guardrail)| json::read(&at.item("guardrails", i), guardrail, violations)).collect()
}

fn read_prediction(at: &Path<'_>, prediction: proto::Prediction, violations: &mut Violations) -> Option<String> {
    let proto::Prediction { content } = prediction;
    rules::required(&at.field("content"), &content, violations);
    Some(content)
}

fn write_choice(choice: &ToolChoice) -> proto::ToolChoice {
    use proto::tool_choice::Kind;
    let kind = match choice {
        ToolChoice::Auto => Kind::Mode(Mode::Auto.into()),
        ToolChoice::None => Kind::Mode(Mode::None.into()),
        ToolChoice::Any => Kind::Mode(Mode::Any.into()),
        ToolChoice::Required => Kind::Mode(Mode::Required.into()),
        ToolChoice::Function(name) => Kind::FunctionName(name.clone()),
    };
    proto::ToolChoice { kind: Some(kind) }
}

/// Whether the function is among the tools is checked where both are known.
fn read_choice(at: &Path<'_>, choice: proto::ToolChoice, violations: &mut Violations) -> Option<ToolChoice> {
    use proto::tool_choice::Kind;
    let proto::ToolChoice { kind } = choice;
    let mode_at = at.field("mode");
    match kind {
        Some(Kind::FunctionName(name)) => {
            rules::name(&at.field("function_name"), &name, violations);
            Some(ToolChoice::Function(name))
        }
        Some(Kind::Mode(number)) => match Mode::try_from(number) {
            Ok(Mode::Auto) => Some(ToolChoice::Auto),
            Ok(Mode::None) => Some(ToolChoice::None),
            Ok(Mode::Any) => Some(ToolChoice::Any),
            Ok(Mode::Required) => Some(ToolChoice::Required),
            Ok(Mode::Unspecified) => {
                violations.add(&mode_at, format_args!("must be stated"));
                None
            }
            Err(_) => {
                rules::unknown_number(&mode_at, number, violations);
                None
            }
        },
        None => {
            violations.add(at, format_args!("must be exactly one of `mode` and `function_name`"));
            None
        }
    }
}

fn write_effort(effort: Option<ReasoningEffort>) -> proto::ReasoningEffort {
    match effort {
        None => proto::ReasoningEffort::Unspecified,
        Some(ReasoningEffort::None) => proto::ReasoningEffort::None,
        Some(ReasoningEffort::Minimal) => proto::ReasoningEffort::Minimal,
        Some(ReasoningEffort::Low) => proto::ReasoningEffort::Low,
        Some(ReasoningEffort::Medium) => proto::ReasoningEffort::Medium,
        Some(ReasoningEffort::High) => proto::ReasoningEffort::High,
        Some(ReasoningEffort::Xhigh) => proto::ReasoningEffort::Xhigh,
        Some(ReasoningEffort::Max) => proto::ReasoningEffort::Max,
    }
}

fn read_effort(at: &Path<'_>, number: i32, violations: &mut Violations) -> Option<ReasoningEffort> {
    match proto::ReasoningEffort::try_from(number) {
        Ok(proto::ReasoningEffort::Unspecified) => None,
        Ok(proto::ReasoningEffort::None) => Some(ReasoningEffort::None),
        Ok(proto::ReasoningEffort::Minimal) => Some(ReasoningEffort::Minimal),
        Ok(proto::ReasoningEffort::Low) => Some(ReasoningEffort::Low),
        Ok(proto::ReasoningEffort::Medium) => Some(ReasoningEffort::Medium),
        Ok(proto::ReasoningEffort::High) => Some(ReasoningEffort::High),
        Ok(proto::ReasoningEffort::Xhigh) => Some(ReasoningEffort::Xhigh),
        Ok(proto::ReasoningEffort::Max) => Some(ReasoningEffort::Max),
        Err(_) => {
            rules::unknown_number(at, number, violations);
            None
        }
    }
}
