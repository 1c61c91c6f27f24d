//! Refuses what Mistral refuses, so that a request the stand-in takes is one that the real API takes.
//!
//! `shape` walks tables of fields and answers as FastAPI does (422, all violations at once); `body`, `messages`, `conversation` and
//! `chunks` are the tables; `order` holds the rules over several messages (400, the first violation only).

mod body;
mod chunks;
mod conversation;
mod messages;
mod order;
mod shape;

use serde_json::Value;

use super::conversation::{Asked, Conversation};
use super::failure::Failure;
use super::models::MODELS;
use super::request::Request;

/// Reads a request body and refuses it, in the order in which Mistral does: JSON, shape, model, messages, tools.
pub(super) fn accept(bytes: &[u8]) -> Result<Request, Failure> {
    let body: Value = serde_json::from_slice(bytes).map_err(|error| Failure::malformed_json(&error))?;
    let violations = shape::violations(&body, body::check);
    if !violations.is_empty() {
        return Err(Failure::validation(violations));
    }
    // The tables say all that the types ask for; a gap between them must still refuse and not panic.
    let request: Request = serde_json::from_value(body).map_err(|error| Failure::malformed_json(&error))?;
    check_request(&request)?;
    Ok(request)
}

/// The same for a conversation. What is wrong with the order of its entries is told in that endpoint's own shape.
pub(super) fn accept_conversation(bytes: &[u8]) -> Result<Conversation, Failure> {
    let body: Value = serde_json::from_slice(bytes).map_err(|error| Failure::malformed_json(&error))?;
    let violations = shape::violations(&body, conversation::check);
    if !violations.is_empty() {
        return Err(Failure::validation(violations));
    }
    let asked: Asked = serde_json::from_value(body).map_err(|error| Failure::malformed_json(&error))?;
    let conversation = asked.read()?;
    check_request(&conversation.request).map_err(Failure::of_conversations)?;
    Ok(conversation)
}

fn check_request(request: &Request) -> Result<(), Failure> {
    if !MODELS.contains(&request.model.as_str()) {
        return Err(Failure::invalid_model(&request.model));
    }
    order::check(&request.messages)?;
    order::check_tools(request.functions())
}
