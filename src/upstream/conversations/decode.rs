//! Answers of Mistral's conversations to pieces, streamed and whole alike.
//!
//! The endpoint tells no finish reason: an answer that asks for functions ends with ToolCalls, any other with Stop. One that
//! `max_tokens` cut can't be told from one that came to its end. Nor does it tell when a message ends: another one begins with
//! another id.

use std::collections::BTreeMap;

use serde_json::Value;

use super::wire;
use crate::{
    domain::{Failure, FinishReason, Reason, Usage},
    upstream::{
        Form, Piece,
        answer::Answer,
        chat::{self, Output, json_text, wire as chat_wire},
        origin::Origin,
    },
};

/// What an entry counts towards the output limit beside its texts.
const ENTRY_BYTES: usize = 256;

/// An answer of conversations.
pub(in crate::upstream) struct Conversations {
    output: Output,
    /// The id of the message that is written, once one is.
    message: Option<Option<String>>,
    runs: Begun,
    handoffs: Begun,
}

/// Things that begin and end, in the order in which they began.
#[derive(Default)]
struct Begun(Vec<Thing>);

struct Thing {
    id: Option<String>,
    is_done: bool,
}

impl Begun {
    /// The one with this id that is under way. Without an id it is the newest.
    fn open(&mut self, id: Option<&String>) -> Option<(u32, &mut Thing)> {
        let at = self.0.iter().rposition(|thing| !thing.is_done && (id.is_none() || thing.id.as_ref() == id))?;
        Some((number(at), &mut self.0[at]))
    }

    /// Whether one with this id began, and may have ended.
    fn knows(&self, id: Option<&String>) -> bool {
        id.is_some() && self.0.iter().any(|thing| thing.id.as_ref() == id)
    }

    fn begin(&mut self, id: Option<String>) -> u32 {
        self.0.push(Thing { id, is_done: false });
        number(self.0.len() - 1)
    }
}

/// No answer that keeps to the size limit has 2³² entries.
fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl Conversations {
    /// `continued`: the text that the model was asked to continue. More output than `max_output_bytes` is an error.
    pub(in crate::upstream) fn new(
        origin: Origin,
        continued: Option<String>,
        max_output_bytes: usize,
    ) -> Conversations {
        Conversations {
            output: Output::new(origin, Form::Conversations, continued, max_output_bytes),
            message: None,
            runs: Begun::default(),
            handoffs: Begun::default(),
        }
    }

    fn take(&mut self, event: wire::Event) -> Result<(), Failure> {
        match event {
            wire::Event::Message(message) => self.take_message(message),
            wire::Event::ToolStarted(run) => self.begin_run(run),
            wire::Event::ToolDelta(run) => self.continue_run(run),
            wire::Event::ToolDone(run) => self.end_run(run),
            wire::Event::HandoffStarted(handoff) => self.begin_handoff(handoff),
            wire::Event::HandoffDone(handoff) => self.end_handoff(handoff),
            wire::Event::Call(call) => self.take_call(call),
            wire::Event::Done { usage } => self.finish(usage),
            wire::Event::Error { code } => Err(chat::coded_in_answer(code.as_ref(), &self.output.origin)),
            wire::Event::Other => Ok(()),
        }
    }

    fn take_output(&mut self, output: wire::Output) -> Result<(), Failure> {
        match output {
            wire::Output::Message(message) => self.take_message(message),
            wire::Output::Run(run) => self.end_run(run),
            wire::Output::Handoff(handoff) => self.end_handoff(handoff),
            wire::Output::Call(call) => self.take_call(call),
            wire::Output::Other => Ok(()),
        }
    }

    fn take_message(&mut self, message: wire::Message) -> Result<(), Failure> {
        let wire::Message { id, content } = message;
        if self.message.as_ref().is_some_and(|last| *last != id) {
            self.output.release_echo();
            self.output.take_piece(Piece::Message, ENTRY_BYTES)?;
        }
        self.message = Some(id);
        match content {
            None => Ok(()),
            Some(wire::MessageContent::Chunk(chunk)) => self.output.take_chunk(chunk),
            Some(wire::MessageContent::Content(content)) => self.output.take_content(content),
        }
    }

    fn take_call(&mut self, call: wire::Call) -> Result<(), Failure> {
        let wire::Call { id, tool_call_id, name, arguments, confirmation_status } = call;
        if confirmation_status.as_deref() == Some("pending") {
            let provider = &self.output.origin.provider;
            let text = format!(
                "{provider} wants a person's consent to a tool of its agent or connector, and takes it only in conversations that it \
                 stores; none is stored there: take requires_confirmation off the agent or the connector at {provider}"
            );
            return Err(self.output.origin.failure(Reason::InvalidRequest, text));
        }
        let function = Some(chat_wire::FunctionPart { name, arguments });
        let part = chat_wire::ToolCallPart { index: None, id: tool_call_id.or(id), function };
        self.output.take_call(part, 0, 1)
    }

    fn begin_run(&mut self, run: wire::Run) -> Result<(), Failure> {
        let wire::Run { id, name, arguments, info: _ } = run;
        if self.runs.knows(id.as_ref()) {
            return Ok(());
        }
        let (name, arguments) = (name.unwrap_or_default(), arguments.map(json_text).unwrap_or_default());
        let bytes = ENTRY_BYTES + id.as_ref().map_or(0, String::len) + name.len() + arguments.len();
        let index = self.runs.begin(id);
        self.output.take_piece(Piece::ToolStarted { index, name, arguments }, bytes)
    }

    fn continue_run(&mut self, run: wire::Run) -> Result<(), Failure> {
        let Some((index, _)) = self.runs.open(run.id.as_ref()) else { return self.begin_run(run) };
        match run.arguments.map(json_text) {
            Some(arguments) if !arguments.is_empty() => {
                let bytes = arguments.len();
                self.output.take_piece(Piece::ToolArguments { index, arguments }, bytes)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Also one that was told only when it had ended.
    fn end_run(&mut self, mut run: wire::Run) -> Result<(), Failure> {
        let info = run.info.take().map(info_text).unwrap_or_default();
        let id = run.id.clone();
        if self.runs.open(id.as_ref()).is_none() {
            self.begin_run(run)?;
        }
        let Some((index, thing)) = self.runs.open(id.as_ref()) else { return Ok(()) };
        thing.is_done = true;
        let bytes = info.len();
        self.output.take_piece(Piece::ToolDone { index, info }, bytes)
    }

    fn begin_handoff(&mut self, handoff: wire::Handoff) -> Result<(), Failure> {
        let wire::Handoff { id, previous_agent_id, previous_agent_name, next_agent_id: _, next_agent_name: _ } =
            handoff;
        if self.handoffs.knows(id.as_ref()) {
            return Ok(());
        }
        let (previous_id, previous_name) =
            (previous_agent_id.unwrap_or_default(), previous_agent_name.unwrap_or_default());
        let bytes = ENTRY_BYTES + id.as_ref().map_or(0, String::len) + previous_id.len() + previous_name.len();
        let index = self.handoffs.begin(id);
        self.output.take_piece(Piece::HandoffStarted { index, previous_id, previous_name }, bytes)
    }

    /// Also one that was told only when it had ended.
    fn end_handoff(&mut self, mut handoff: wire::Handoff) -> Result<(), Failure> {
        let next_id = handoff.next_agent_id.take().unwrap_or_default();
        let next_name = handoff.next_agent_name.take().unwrap_or_default();
        let id = handoff.id.clone();
        if self.handoffs.open(id.as_ref()).is_none() {
            self.begin_handoff(handoff)?;
        }
        let Some((index, thing)) = self.handoffs.open(id.as_ref()) else { return Ok(()) };
        thing.is_done = true;
        let bytes = next_id.len() + next_name.len();
        self.output.take_piece(Piece::HandoffDone { index, next_id, next_name }, bytes)
    }

    fn finish(&mut self, usage: Option<wire::Usage>) -> Result<(), Failure> {
        self.output.close()?;
        (self.output.is_finished, self.output.is_done) = (true, true);
        let asks = self.output.has_calls();
        self.output.push(Piece::Finish(if asks { FinishReason::ToolCalls } else { FinishReason::Stop }));
        // What has output has used something: noughts say that it is not known.
        let is_silent = self.output.is_empty();
        if let Some(usage) = usage.map(count).filter(|usage| is_silent || usage.total_tokens > 0) {
            self.output.push(Piece::Usage(usage));
        }
        Ok(())
    }

    /// What no event or answer is may be an error in the form of chat completions.
    fn parse<T: serde::de::DeserializeOwned>(&self, json: &[u8]) -> Result<T, Failure> {
        self.output.parse(json).map_err(|failure| self.plain_error(json).unwrap_or(failure))
    }

    fn plain_error(&self, json: &[u8]) -> Option<Failure> {
        let reply: chat_wire::Reply = serde_json::from_slice(json).ok()?;
        chat::is_error(&reply).then(|| chat::in_answer(&reply, &self.output.origin))
    }
}

impl Answer for Conversations {
    fn output(&self) -> &Output {
        &self.output
    }

    fn output_mut(&mut self) -> &mut Output {
        &mut self.output
    }

    fn take_event(&mut self, data: &[u8]) -> Result<(), Failure> {
        let data = data.trim_ascii();
        if self.output.is_done || data.is_empty() {
            return Ok(());
        }
        // It is the end mark of chat completions, and may come from a gateway.
        if data == b"[DONE]" {
            self.output.is_done = true;
            return Ok(());
        }
        match self.parse(data)? {
            wire::Event::Other => self.plain_error(data).map_or(Ok(()), Err),
            event => self.take(event),
        }
    }

    fn take_whole(&mut self, body: &[u8]) -> Result<(), Failure> {
        let wire::Response { outputs, usage } = self.parse(body)?;
        self.output.is_done = true;
        outputs.into_iter().try_for_each(|output| self.take_output(output))?;
        self.finish(usage)
    }
}

/// What a run says of itself, as JSON text; an empty object says nothing.
fn info_text(info: Value) -> String {
    match info {
        Value::Object(object) if object.is_empty() => String::new(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The total is what budgets are charged: never less than its parts, and what connectors fed to the model is one.
fn count(usage: wire::Usage) -> Usage {
    let wire::Usage { prompt_tokens, completion_tokens, total_tokens, connector_tokens, connectors } = usage;
    let prompt_tokens = prompt_tokens.unwrap_or(0);
    let completion_tokens = completion_tokens.unwrap_or(0);
    let connector_tokens = connector_tokens.unwrap_or(0);
    let parts = prompt_tokens.saturating_add(completion_tokens).saturating_add(connector_tokens);
    let calls = connectors.into_iter().flatten();
    let connector_calls: BTreeMap<String, u64> =
        calls.filter_map(|(name, calls)| Some((name, calls.filter(|calls| *calls > 0)?))).collect();
    Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens: total_tokens.map_or(parts, |total| total.max(parts)),
        connector_tokens,
        connector_calls,
        ..Usage::default()
    }
}
