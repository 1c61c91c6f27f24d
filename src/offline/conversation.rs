//! `POST /v1/conversations`: a history of entries, and an answer of entries. Nothing is stored.
//!
//! The entries are read as the messages that they are in chat completions, so that both endpoints say the same. Mistral's own tools
//! run in a canned way: each whose name the user writes.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::calls;
use super::failure::Failure;
use super::identity::Dice;
use super::models::MODELS;
use super::request::{Request, Role};
use super::usage::{self, Usage};
use super::wire;

/// The only agent that the stand-in hosts.
pub(super) const AGENT: &str = "ag_offline";

/// The fields of a request that are not those of chat completions.
#[derive(Deserialize)]
pub(super) struct Asked {
    inputs: Value,
    #[serde(default)]
    stream: bool,
    instructions: Option<String>,
    #[serde(default)]
    tools: Vec<Map<String, Value>>,
    completion_args: Option<Map<String, Value>>,
    agent_id: Option<String>,
    model: Option<String>,
}

/// A request, as chat completions would have it, and the tools of Mistral's own.
pub(super) struct Conversation {
    pub(super) request: Request,
    connectors: Vec<String>,
}

/// A tool that ran.
struct Run {
    name: String,
    arguments: Value,
    info: Value,
    /// What the answer shows of it.
    chunk: Option<Value>,
}

impl Asked {
    /// Fails if not exactly one of model and agent is named, or something is set that the agent brings.
    pub(super) fn read(self) -> Result<Conversation, Failure> {
        let Asked { inputs, stream, instructions, mut tools, completion_args, agent_id, model } = self;
        let model = match (agent_id, model) {
            (None, Some(model)) => model,
            (Some(agent), None) if agent == AGENT => {
                if instructions.is_some() || !tools.is_empty() || completion_args.is_some() {
                    return Err(Failure::conversation(3001, "An agent brings its instructions, tools and arguments"));
                }
                tools = vec![Map::from_iter([("type".to_owned(), json!("web_search"))])];
                MODELS[0].to_owned()
            }
            (Some(_), None) => return Err(Failure::json(404, &json!({"detail": "Not Found"}))),
            (Some(_), Some(_)) | (None, None) => {
                return Err(Failure::conversation(3001, "Exactly one of model and agent_id must be given"));
            }
        };
        let (functions, own): (Vec<_>, Vec<_>) = tools.into_iter().partition(|tool| tool.contains_key("function"));
        let connectors = own.iter().filter_map(|tool| tool.get("connector_id").or(tool.get("type"))?.as_str());
        let mut body = completion_args.unwrap_or_default();
        body.insert("model".to_owned(), json!(model));
        body.insert("stream".to_owned(), json!(stream));
        body.insert("tools".to_owned(), json!(functions));
        body.insert("messages".to_owned(), json!(messages(&inputs, instructions)));
        let connectors = connectors.map(str::to_owned).collect();
        // The tables say all that the types ask for; a gap between them must still refuse and not panic.
        let request = serde_json::from_value(Value::Object(body)).map_err(|error| Failure::malformed_json(&error))?;
        Ok(Conversation { request, connectors })
    }
}

fn messages(inputs: &Value, instructions: Option<String>) -> Vec<Value> {
    let mut messages: Vec<Value> = instructions.iter().map(|text| json!({"role": "system", "content": text})).collect();
    if let Some(text) = inputs.as_str() {
        messages.push(json!({"role": "user", "content": text}));
    }
    for entry in inputs.as_array().into_iter().flatten() {
        match entry["type"].as_str() {
            Some("message.input") => {
                let prefix = entry["prefix"] == true;
                messages.push(json!({"role": entry["role"], "content": entry["content"], "prefix": prefix}));
            }
            Some("function.call") => {
                let call = json!({
                    "id": entry["tool_call_id"],
                    "function": {"name": entry["name"], "arguments": entry["arguments"]},
                });
                match messages.last_mut().and_then(|last| last.get_mut("tool_calls")?.as_array_mut()) {
                    Some(calls) => calls.push(call),
                    None => messages.push(json!({"role": "assistant", "content": "", "tool_calls": [call]})),
                }
            }
            Some("function.result") => {
                let id = &entry["tool_call_id"];
                let mut calls = messages.iter().rev().filter_map(|message| message["tool_calls"].as_array()).flatten();
                let name = calls.find(|call| call["id"] == *id).map(|call| call["function"]["name"].clone());
                let result = &entry["result"];
                messages.push(json!({"role": "tool", "tool_call_id": id, "name": name, "content": result}));
            }
            // An output: the tables let nothing else in.
            _ => messages.push(json!({"role": "assistant", "content": entry["content"]})),
        }
    }
    messages
}

impl Conversation {
    /// What is answered: entries and the usage, and how many tokens that cost. `text` is the last user message without its
    /// directives.
    pub(super) fn respond(&self, answer: &Answer, text: &str, dice: &mut Dice) -> (Value, usize) {
        let runs = self.runs(text);
        let fed: usize = runs.iter().map(|run| usage::words(&run.arguments.to_string()) + 20).sum();
        let usage = Usage::of(&self.request, answer.tokens());
        let mut told = usage.to_json();
        let total = usage.total() + fed;
        told["total_tokens"] = json!(total);
        told["connector_tokens"] = if runs.is_empty() { Value::Null } else { json!(fed) };
        told["connectors"] = if runs.is_empty() { Value::Null } else { json!(counted(&runs)) };
        if let Some(told) = told.as_object_mut() {
            told.remove("prompt_tokens_details");
        }
        let response = json!({
            "object": "conversation.response",
            "conversation_id": format!("conv_{}", dice.completion_id()),
            "outputs": self.outputs(answer, runs, dice),
            "usage": told,
            "guardrails": null,
        });
        (response, total)
    }

    /// The tools that the last message names, if it is a user's.
    fn runs(&self, text: &str) -> Vec<Run> {
        let may_run = self.request.messages.last().is_some_and(|last| last.role == Role::User);
        let named = self.connectors.iter().filter(|name| may_run && calls::place(text, name).is_some());
        named.map(|name| run(name, text)).collect()
    }

    fn outputs(&self, answer: &Answer, runs: Vec<Run>, dice: &mut Dice) -> Vec<Value> {
        let mut chunks = Vec::new();
        if !answer.thinking.is_empty() {
            let thought = json!([{"type": "text", "text": answer.thinking}]);
            chunks.push(json!({"type": "thinking", "thinking": thought, "closed": true}));
        }
        if !answer.content.is_empty() {
            chunks.push(json!({"type": "text", "text": answer.content}));
        }
        let mut outputs = Vec::new();
        for Run { name, arguments, info, chunk } in runs {
            let id = format!("tool_exec_{}", dice.completion_id());
            let arguments = arguments.to_string();
            outputs.push(json!({
                "object": "entry", "type": "tool.execution", "id": id, "name": name, "arguments": arguments, "info": info,
            }));
            chunks.extend(chunk);
        }
        if !chunks.is_empty() {
            let id = format!("msg_{}", dice.completion_id());
            // One text is told as a string.
            let content = match chunks.as_slice() {
                [only] if only["type"] == "text" => only["text"].clone(),
                _ => Value::Array(chunks),
            };
            let model = &self.request.model;
            outputs.push(json!({
                "object": "entry", "type": "message.output", "id": id, "role": "assistant", "model": model, "content": content,
            }));
        }
        outputs.extend(answer.calls.iter().map(|call| {
            let id = format!("fc_{}", dice.completion_id());
            json!({
                "object": "entry", "type": "function.call", "id": id, "tool_call_id": call.id, "name": call.name,
                "arguments": call.arguments, "confirmation_status": null,
            })
        }));
        outputs
    }
}

fn run(name: &str, text: &str) -> Run {
    let said = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let file = |file_name: &str| {
        let file_id = format!("offline-{file_name}");
        json!({"type": "tool_file", "tool": name, "file_id": file_id, "file_name": file_name, "file_type": "png"})
    };
    let (arguments, info, chunk) = match name {
        "web_search" | "web_search_premium" => {
            let source = json!({
                "type": "tool_reference", "tool": name, "title": "Offline stand-in",
                "url": "https://example.org/offline", "description": "Nothing was searched.",
            });
            (json!({"query": said}), json!({}), Some(source))
        }
        "code_interpreter" => (json!({"code": "1 + 1"}), json!({"code": "1 + 1", "code_output": "2"}), None),
        "image_generation" => (json!({"prompt": said}), json!({}), Some(file("image_generated_0"))),
        _ => (json!({"query": said}), json!({"offline": true}), None),
    };
    Run { name: name.to_owned(), arguments, info, chunk }
}

/// How often each tool ran.
fn counted(runs: &[Run]) -> Map<String, Value> {
    let mut counted = Map::new();
    for run in runs {
        let before = counted.get(&run.name).and_then(Value::as_u64).unwrap_or(0);
        counted.insert(run.name.clone(), json!(before + 1));
    }
    counted
}

/// The events of a stream that tells the same as this response.
pub(super) fn events(response: &Value) -> Vec<Value> {
    let mut events = vec![json!({
        "type": "conversation.response.started", "conversation_id": response["conversation_id"],
    })];
    for (index, output) in response["outputs"].as_array().into_iter().flatten().enumerate() {
        let (id, name) = (&output["id"], &output["name"]);
        match output["type"].as_str() {
            Some("tool.execution") => {
                events.push(json!({
                    "type": "tool.execution.started", "output_index": index, "id": id, "name": name,
                    "arguments": output["arguments"],
                }));
                events.push(json!({
                    "type": "tool.execution.done", "output_index": index, "id": id, "name": name, "info": output["info"],
                }));
            }
            Some("function.call") => events.push(json!({
                "type": "function.call.delta", "output_index": index, "id": id, "name": name,
                "tool_call_id": output["tool_call_id"], "arguments": output["arguments"], "confirmation_status": null,
            })),
            _ => events.extend(deltas(output).into_iter().map(|(content_index, content)| {
                json!({
                    "type": "message.output.delta", "output_index": index, "id": id, "content_index": content_index,
                    "model": output["model"], "role": "assistant", "content": content,
                })
            })),
        }
    }
    events.push(json!({"type": "conversation.response.done", "usage": response["usage"]}));
    events
}

/// The content of a message piece by piece, each with its place: texts word by word, other chunks whole.
fn deltas(message: &Value) -> Vec<(usize, Value)> {
    let Some(chunks) = message["content"].as_array() else {
        return spoken(&message["content"]).into_iter().map(|word| (0, word)).collect();
    };
    let pieces = chunks.iter().enumerate().flat_map(|(index, chunk)| {
        let pieces = if chunk["type"] == "text" { spoken(&chunk["text"]) } else { vec![chunk.clone()] };
        pieces.into_iter().map(move |piece| (index, piece))
    });
    pieces.collect()
}

fn spoken(text: &Value) -> Vec<Value> {
    wire::words(text.as_str().unwrap_or_default()).into_iter().map(Value::from).collect()
}

/// The SSE frame of an event.
pub(super) fn frame(event: &Value) -> String {
    format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default())
}
