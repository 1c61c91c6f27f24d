//! Answers of chat completions to pieces, streamed and whole alike.
//!
//! What real servers of this API do differently is normalised here: content as a string or as chunks, calls whole or piece by
//! piece, arguments as text or as an object. What isn't known (fields, kinds of chunks) is passed over. Errors tell the
//! place and the kind of a fault, never the content.

use std::mem;

use serde_json::Value;

use super::{errors, output::Output, wire};
use crate::{
    domain::{Failure, FinishReason, Usage},
    upstream::{Form, Piece, answer::Answer, origin::Origin},
};

/// An answer of chat completions.
pub(in crate::upstream) struct Chat {
    output: Output,
}

impl Chat {
    /// `continued`: the text that the model was asked to continue. More output than `max_output_bytes` is an error.
    pub(in crate::upstream) fn new(origin: Origin, continued: Option<String>, max_output_bytes: usize) -> Chat {
        Chat { output: Output::new(origin, Form::Chat, continued, max_output_bytes) }
    }

    fn take_reply(&mut self, reply: wire::Reply) -> Result<(), Failure> {
        if errors::is_error(&reply) {
            return Err(errors::in_answer(&reply, &self.output.origin));
        }
        let wire::Reply { object: _, error: _, code: _, kind: _, choices, usage } = reply;
        // Only one answer is ever asked for.
        let first = choices.into_iter().flatten().find(|choice| choice.index.unwrap_or(0) == 0);
        let taken = first.map_or(Ok(()), |choice| self.take_choice(choice));
        // Some servers count in every event, and write noughts until they know, or always: what has output has used something.
        // What they count is told at once: an answer may be cut, be no good or be given up, and is billed up to there.
        let is_silent = self.output.is_finished && self.output.is_empty();
        if let Some(usage) = usage.map(|usage| count(&usage)).filter(|usage| is_silent || usage.total_tokens > 0) {
            self.output.push(Piece::Usage(usage));
        }
        taken
    }

    fn take_choice(&mut self, choice: wire::Choice) -> Result<(), Failure> {
        let wire::Choice { index: _, delta, message, messages, finish_reason } = choice;
        let whole = message.map_or_else(|| own_calls_only(messages.unwrap_or_default()), |message| vec![message]);
        for part in delta.into_iter().chain(whole) {
            self.take_part(part)?;
        }
        // Some servers write an empty reason while the answer goes on.
        match finish_reason.filter(|reason| !reason.is_empty()) {
            Some(reason) => self.finish(&reason),
            None => Ok(()),
        }
    }

    fn take_part(&mut self, part: wire::Part) -> Result<(), Failure> {
        // What a tool returned that the provider ran is not the model's answer. Nor is anything after the end: the event that
        // tells the end may repeat the role.
        if part.role.as_deref() == Some("tool") || self.output.is_finished {
            return Ok(());
        }
        let wire::Part { role: _, content, refusal, reasoning_content, reasoning, tool_calls, function_call } = part;
        // Servers that write both write the same into both.
        let thought = [reasoning_content, reasoning].into_iter().flatten().find_map(thought);
        if let Some(text) = thought {
            self.output.take_thought(text)?;
        }
        if let Some(content) = content {
            self.output.take_content(content)?;
        }
        // It stands in place of an answer, and is what the caller has to read.
        if let Some(refusal) = refusal {
            self.output.take_text(refusal)?;
        }
        let only = function_call.map(|function| wire::ToolCallPart { index: None, id: None, function: Some(function) });
        let calls: Vec<wire::ToolCallPart> = tool_calls.unwrap_or_default().into_iter().chain(only).collect();
        let of = calls.len();
        for (position, call) in calls.into_iter().enumerate() {
            self.output.take_call(call, position, of)?;
        }
        Ok(())
    }

    fn finish(&mut self, reason: &str) -> Result<(), Failure> {
        self.output.close()?;
        if !mem::replace(&mut self.output.is_finished, true) {
            let reason = match finish_reason(reason) {
                // vLLM says so, and OpenAI where one function was demanded.
                FinishReason::Stop if self.output.has_calls() => FinishReason::ToolCalls,
                reason => reason,
            };
            self.output.push(Piece::Finish(reason));
        }
        Ok(())
    }
}

impl Answer for Chat {
    fn output(&self) -> &Output {
        &self.output
    }

    fn output_mut(&mut self) -> &mut Output {
        &mut self.output
    }

    fn take_event(&mut self, data: &[u8]) -> Result<(), Failure> {
        let data = data.trim_ascii();
        // A second [DONE], or anything after the first, means nothing.
        if self.output.is_done || data.is_empty() {
            return Ok(());
        }
        if data == b"[DONE]" {
            self.output.is_done = true;
            return Ok(());
        }
        match self.output.parse(data).and_then(|reply| self.take_reply(reply)) {
            // The answer is whole: what comes after it can't spoil it.
            Err(_) if self.output.is_finished => {
                self.output.is_done = true;
                Ok(())
            }
            taken => taken,
        }
    }

    fn take_whole(&mut self, body: &[u8]) -> Result<(), Failure> {
        let reply = self.output.parse(body)?;
        self.output.is_done = true;
        self.take_reply(reply)
    }
}

/// Where the provider ran tools, only the calls of the last message are left for the caller to run.
fn own_calls_only(mut messages: Vec<wire::Part>) -> Vec<wire::Part> {
    if let Some((_, earlier)) = messages.split_last_mut() {
        earlier.iter_mut().for_each(|message| message.tool_calls = None);
    }
    messages
}

/// The text of a thinking field, if it is one and says something.
fn thought(field: Value) -> Option<String> {
    match field {
        Value::String(text) if !text.is_empty() => Some(text),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn finish_reason(reason: &str) -> FinishReason {
    match reason {
        "length" => FinishReason::Length,
        "model_length" => FinishReason::ModelLength,
        // The second is from the time when there was only one call.
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        "error" => FinishReason::Error,
        // "stop", and reasons that this version does not know: the model did come to an end.
        _ => FinishReason::Stop,
    }
}

/// The total is what budgets are charged: it may be more than the parts, as where thinking is in none of them, never less.
fn count(usage: &wire::Usage) -> Usage {
    let prompt_tokens = usage.prompt_tokens.unwrap_or(0);
    let completion_tokens = usage.completion_tokens.unwrap_or(0);
    let parts = prompt_tokens.saturating_add(completion_tokens);
    Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens: usage.total_tokens.map_or(parts, |total| total.max(parts)),
        cached_tokens: usage.prompt_tokens_details.as_ref().and_then(|details| details.cached_tokens).unwrap_or(0),
        reasoning_tokens: usage
            .completion_tokens_details
            .as_ref()
            .and_then(|details| details.reasoning_tokens)
            .unwrap_or(0),
        ..Usage::default()
    }
}
