//! Answers of chat completions to pieces, streamed and whole alike.
//!
//! What real servers of this API do differently is normalised here: content as a string or as chunks, calls whole or piece by
//! piece, arguments as text or as an object. What isn't known (fields, kinds of chunks) is passed over. Errors tell the
//! place and the kind of a fault, never the content.

use std::mem;

use serde_json::Value;

use super::{
    calls::{self, Calls},
    chunks,
    echo::Echo,
    errors,
    pieces::Pieces,
    wire,
};
use crate::{
    domain::{Chunk, Failure, FinishReason, Usage, entry::Thinking},
    upstream::{Piece, origin::Origin},
};

/// An answer while it comes in.
pub(in crate::upstream) struct Answer {
    origin: Origin,
    pieces: Pieces,
    calls: Calls,
    echo: Option<Echo>,
    finish_seen: bool,
    done_seen: bool,
    output_bytes: usize,
    max_output_bytes: usize,
}

impl Answer {
    /// `continued`: the text that the model was asked to continue. More output than `max_output_bytes` is an error.
    pub(in crate::upstream) fn new(origin: Origin, continued: Option<String>, max_output_bytes: usize) -> Answer {
        Answer {
            origin,
            pieces: Pieces::default(),
            calls: Calls::default(),
            echo: continued.and_then(Echo::new),
            finish_seen: false,
            done_seen: false,
            output_bytes: 0,
            max_output_bytes,
        }
    }

    /// The next piece that is there to be given.
    pub(in crate::upstream) fn pop(&mut self) -> Option<Piece> {
        self.pieces.pop(!self.done_seen)
    }

    /// Nothing more is read: what waits for more is given.
    pub(in crate::upstream) fn stop(&mut self) {
        self.done_seen = true;
    }

    /// The model is finished: whatever befalls the connection from here on loses nothing but, perhaps, the usage.
    pub(in crate::upstream) fn is_finished(&self) -> bool {
        self.finish_seen
    }

    /// Nothing more comes.
    pub(in crate::upstream) fn is_done(&self) -> bool {
        self.done_seen
    }

    /// Takes the data of a stream's event.
    pub(in crate::upstream) fn take_event(&mut self, data: &[u8]) -> Result<(), Failure> {
        let data = data.trim_ascii();
        // A second [DONE], or anything after the first, means nothing.
        if self.done_seen || data.is_empty() {
            return Ok(());
        }
        if data == b"[DONE]" {
            self.done_seen = true;
            return Ok(());
        }
        match self.parse(data).and_then(|reply| self.take_reply(reply)) {
            // The answer is whole: what comes after it can't spoil it.
            Err(_) if self.finish_seen => {
                self.done_seen = true;
                Ok(())
            }
            taken => taken,
        }
    }

    /// Takes the body of an answer that was not streamed.
    pub(in crate::upstream) fn take_whole(&mut self, body: &[u8]) -> Result<(), Failure> {
        let reply = self.parse(body)?;
        self.done_seen = true;
        self.take_reply(reply)
    }

    /// The body has ended.
    pub(in crate::upstream) fn end(&mut self) -> Result<(), Failure> {
        self.done_seen = true;
        if self.finish_seen {
            return Ok(());
        }
        self.release_echo();
        Err(self.origin.protocol("it was cut off before the model had finished"))
    }

    fn parse(&self, json: &[u8]) -> Result<wire::Reply, Failure> {
        serde_json::from_slice(json).map_err(|error| {
            // serde's own text quotes what it found.
            let what = match error.classify() {
                serde_json::error::Category::Data => "JSON of another shape than chat completions promise",
                serde_json::error::Category::Syntax => "no JSON",
                serde_json::error::Category::Eof => "JSON that ends too early",
                serde_json::error::Category::Io => "not readable",
            };
            self.origin.protocol(format!("it is {what} (line {}, column {})", error.line(), error.column()))
        })
    }

    fn take_reply(&mut self, reply: wire::Reply) -> Result<(), Failure> {
        if errors::is_error(&reply) {
            return Err(errors::in_answer(&reply, &self.origin));
        }
        let wire::Reply { object: _, error: _, code: _, kind: _, choices, usage } = reply;
        // Only one answer is ever asked for.
        let first = choices.into_iter().flatten().find(|choice| choice.index.unwrap_or(0) == 0);
        let taken = first.map_or(Ok(()), |choice| self.take_choice(choice));
        // Some servers count in every event, and write noughts until they know, or always: what has output has used something.
        // What they count is told at once: an answer may be cut, be no good or be given up, and is billed up to there.
        let is_silent = self.finish_seen && self.output_bytes == 0;
        if let Some(usage) = usage.map(|usage| count(&usage)).filter(|usage| is_silent || usage.total_tokens > 0) {
            self.pieces.push(Piece::Usage(usage));
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
        if part.role.as_deref() == Some("tool") || self.finish_seen {
            return Ok(());
        }
        let wire::Part { role: _, content, refusal, reasoning_content, reasoning, tool_calls, function_call } = part;
        // Servers that write both write the same into both.
        let thought = [reasoning_content, reasoning].into_iter().flatten().find_map(thought);
        if let Some(text) = thought {
            self.take_thought(text)?;
        }
        match content {
            None => {}
            Some(wire::PartContent::Text(text)) => self.take_text(text)?,
            Some(wire::PartContent::Chunks(chunks)) => {
                for chunk in chunks {
                    self.take_chunk(chunk)?;
                }
            }
        }
        // It stands in place of an answer, and is what the caller has to read.
        if let Some(refusal) = refusal {
            self.take_text(refusal)?;
        }
        let only = function_call.map(|function| wire::ToolCallPart { index: None, id: None, function: Some(function) });
        let calls: Vec<wire::ToolCallPart> = tool_calls.unwrap_or_default().into_iter().chain(only).collect();
        let of = calls.len();
        for (position, call) in calls.into_iter().enumerate() {
            self.interrupt_echo();
            self.count(calls::size_bytes(&call))?;
            let before = self.calls.size_bytes();
            if let Some(piece) = self.calls.take(call, position, of) {
                self.pieces.push(piece);
            }
            self.count(self.calls.size_bytes() - before)?;
        }
        Ok(())
    }

    fn take_thought(&mut self, text: String) -> Result<(), Failure> {
        self.interrupt_echo();
        self.count(text.len())?;
        let provider = self.origin.provider.to_string();
        let content = vec![Chunk::Text(text)];
        self.pieces.push(Piece::Thinking(Thinking { content, signature: String::new(), closed: true, provider }));
        Ok(())
    }

    fn take_chunk(&mut self, object: serde_json::Map<String, Value>) -> Result<(), Failure> {
        let size = chunks::size_bytes(&object);
        let Some(chunk) = chunks::decode(object, &self.origin.provider) else { return Ok(()) };
        let piece = match chunk {
            Chunk::Text(text) => return self.take_text(text),
            Chunk::Thinking(thinking) => Piece::Thinking(thinking),
            other @ (Chunk::ImageUrl { .. }
            | Chunk::DocumentUrl { .. }
            | Chunk::ToolFile { .. }
            | Chunk::ToolReference { .. }
            | Chunk::InputAudio { .. }
            | Chunk::File { .. }
            | Chunk::Reference { .. }) => Piece::Chunk(other),
        };
        self.interrupt_echo();
        self.count(size)?;
        self.pieces.push(piece);
        Ok(())
    }

    fn take_text(&mut self, text: String) -> Result<(), Failure> {
        self.count(text.len())?;
        let new = match self.echo.take() {
            None => text,
            Some(echo) => match echo.strip(text) {
                Ok(waiting) => {
                    self.echo = Some(waiting);
                    return Ok(());
                }
                Err(new) => new,
            },
        };
        self.push_text(new);
        Ok(())
    }

    fn push_text(&mut self, text: String) {
        if !text.is_empty() {
            self.pieces.push(Piece::Text(text));
        }
    }

    /// Something that is no text came: text that was held back as a repetition was none. Before any text it says nothing.
    fn interrupt_echo(&mut self) {
        if self.echo.as_ref().is_some_and(Echo::holds_text) {
            self.release_echo();
        }
    }

    fn release_echo(&mut self) {
        if let Some(echo) = self.echo.take() {
            self.push_text(echo.held());
        }
    }

    fn count(&mut self, bytes: usize) -> Result<(), Failure> {
        self.output_bytes += bytes;
        if self.output_bytes.saturating_add(self.pieces.missing_bytes()) <= self.max_output_bytes {
            return Ok(());
        }
        Err(self.origin.protocol(format!("it is longer than {} bytes", self.max_output_bytes)))
    }

    fn finish(&mut self, reason: &str) -> Result<(), Failure> {
        self.release_echo();
        if !self.calls.all_named() {
            return Err(self.origin.protocol("a function call has no name"));
        }
        if !mem::replace(&mut self.finish_seen, true) {
            let reason = match finish_reason(reason) {
                // vLLM says so, and OpenAI where one function was demanded.
                FinishReason::Stop if self.calls.any() => FinishReason::ToolCalls,
                reason => reason,
            };
            self.pieces.push(Piece::Finish(reason));
        }
        Ok(())
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
