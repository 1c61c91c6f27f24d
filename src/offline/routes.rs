//! The endpoints, and the way of a request through the room.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::directive::Script;
use super::failure::Failure;
use super::identity::Dice;
use super::request::{Message, Request};
use super::stream::{self, End, Paced};
use super::usage::Usage;
use super::wire::{self, Envelope};
use super::{answer, check, conversation, directive, models};

/// The longest request body taken: a context window of 256k tokens and some images fit.
const BODY_MAX_BYTES: usize = 64 << 20;

/// Tokens per minute that the rate limit headers speak of. Nothing is limited.
const TOKENS_A_MINUTE: usize = 2_000_000;
const REQUESTS_A_MINUTE: usize = 600;

struct Room {
    pace: Duration,
    stopping: CancellationToken,
}

/// All routes. `stopping` ends whatever waits.
pub(super) fn router(pace: Duration, stopping: CancellationToken) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/conversations", post(converse))
        .route("/v1/models", get(list_models))
        .route("/tools/weather/{city}", get(weather))
        .fallback(no_route)
        .method_not_allowed_fallback(no_route)
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .with_state(Arc::new(Room { pace, stopping }))
}

async fn no_route() -> Response {
    Failure::no_route().into_response()
}

async fn list_models(headers: HeaderMap) -> Response {
    match authorize(&headers) {
        Ok(()) => json_response(models::list().to_string().into()),
        Err(failure) => failure.into_response(),
    }
}

/// No part of Mistral: what the tool asks that the stand-in brings. Always fair.
async fn weather(Path(city): Path<String>) -> Response {
    json_response(json!({"city": city, "degrees": 18, "sky": "clear", "offline": true}).to_string().into())
}

async fn chat(State(room): State<Arc<Room>>, headers: HeaderMap, body: Bytes) -> Response {
    let mut dice = Dice::of(&body);
    let correlation_id = dice.correlation_id();
    let (mut response, tokens) = match complete(&room, &headers, &body, &mut dice).await {
        Ok((response, tokens)) => (response, tokens),
        Err(failure) => (failure.into_response(), 0),
    };
    add_headers(response.headers_mut(), &correlation_id, tokens);
    response
}

async fn converse(State(room): State<Arc<Room>>, headers: HeaderMap, body: Bytes) -> Response {
    let mut dice = Dice::of(&body);
    let correlation_id = dice.correlation_id();
    let answered = converse_on(&room, &headers, &body, &mut dice).await;
    let (mut response, tokens) = answered.unwrap_or_else(|failure| (failure.into_response(), 0));
    add_headers(response.headers_mut(), &correlation_id, tokens);
    response
}

/// The same as [`complete`] for conversations.
async fn converse_on(
    room: &Room,
    headers: &HeaderMap,
    body: &[u8],
    dice: &mut Dice,
) -> Result<(Response, usize), Failure> {
    authorize(headers)?;
    let conversation = check::accept_conversation(body)?;
    let request = &conversation.request;
    let said = request.last_user().map(Message::text).unwrap_or_default();
    let (script, text) = obey(room, request, &said).await?;
    let answers = answer::all(request, &script, text, dice);
    let Some(answer) = answers.first() else { return Err(Failure::stopping()) };
    let (told, tokens) = conversation.respond(answer, text, dice);
    let response = match request.stream {
        true => {
            let events = conversation::events(&told);
            streamed(room, &script, events.iter().map(|event| conversation::frame(event).into()).collect(), 1)
        }
        false => whole(room, &script, told.to_string()).await?,
    };
    Ok((response, tokens))
}

/// What a message asks of the stand-in, as far as that can be done before the answer; and what is left of the message.
async fn obey<'a>(room: &Room, request: &Request, said: &'a str) -> Result<(Script, &'a str), Failure> {
    let (script, text) = directive::parse(said);
    let mut script = script.of(&request.model);
    if let Some(delay) = script.delay {
        wait(delay, room).await?;
    }
    match script.failure.take() {
        Some(failure) => Err(failure),
        None => Ok((script, text)),
    }
}

/// Answers a request; gives the tokens it cost as well.
async fn complete(
    room: &Room,
    headers: &HeaderMap,
    body: &[u8],
    dice: &mut Dice,
) -> Result<(Response, usize), Failure> {
    authorize(headers)?;
    let request = check::accept(body)?;
    let said = request.last_user().map(Message::text).unwrap_or_default();
    let (script, text) = obey(room, &request, &said).await?;
    let answers = answer::all(&request, &script, text, dice);
    let usage = Usage::of(&request, answers.iter().map(answer::Answer::tokens).sum());
    let envelope = Envelope { id: dice.completion_id(), model: request.model.clone(), usage };
    let response = match request.stream {
        true => {
            let chunks = envelope.chunks(&answers).into_iter().map(|chunk| wire::frame(chunk, dice).into());
            let done = Bytes::from_static(b"data: [DONE]\n\n");
            streamed(room, &script, chunks.chain([done]).collect(), 2)
        }
        false => whole(room, &script, envelope.complete(&answers).to_string()).await?,
    };
    Ok((response, usage.total()))
}

fn authorize(headers: &HeaderMap) -> Result<(), Failure> {
    let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    match token.is_some_and(|token| !token.trim().is_empty()) {
        true => Ok(()),
        false => Err(Failure::unauthorized()),
    }
}

async fn wait(time: Duration, room: &Room) -> Result<(), Failure> {
    match stream::sleep(time, &room.stopping).await {
        true => Ok(()),
        false => Err(Failure::stopping()),
    }
}

/// The answer to a request without `stream`.
async fn whole(room: &Room, script: &Script, body: String) -> Result<Response, Failure> {
    if script.stall {
        room.stopping.cancelled().await;
        return Err(Failure::stopping());
    }
    let body = Bytes::from(body);
    let half = body.slice(..body.len() / 2);
    if script.cut.is_some() {
        let cut = Paced { pieces: vec![half], pace: Duration::ZERO, end: End::Cut, stopping: room.stopping.clone() };
        let mut response = json_response(cut.into_body());
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        return Ok(response);
    }
    Ok(json_response(if script.garbage { half } else { body }.into()))
}

/// The answer to a request with `stream`. `last`: how many pieces at the end say that the answer is whole.
fn streamed(room: &Room, script: &Script, mut pieces: Vec<Bytes>, last: usize) -> Response {
    if script.garbage {
        // After the first chunk, so that the answer has begun.
        pieces.insert(1, Bytes::from_static(b"data: {\"id\": \"offline\", \"choices\": [{\"ind\n\n"));
    }
    let mut end = End::Complete;
    if script.stall {
        // Nothing says that the answer is whole.
        pieces.truncate(pieces.len().saturating_sub(last));
        end = End::Stall;
    }
    if let Some(count) = script.cut {
        pieces.truncate(count);
        end = End::Cut;
    }
    let pace = script.pace.unwrap_or(room.pace);
    let body = Paced { pieces, pace, end, stopping: room.stopping.clone() }.into_body();
    response("text/event-stream; charset=utf-8", body)
}

fn json_response(body: Body) -> Response {
    response("application/json", body)
}

fn response(content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn add_headers(headers: &mut HeaderMap, correlation_id: &str, tokens: usize) {
    let numbers = [
        ("x-ratelimit-limit-tokens-minute", TOKENS_A_MINUTE),
        ("x-ratelimit-remaining-tokens-minute", TOKENS_A_MINUTE.saturating_sub(tokens)),
        ("x-ratelimit-tokens-query-cost", tokens),
        ("x-ratelimit-limit-req-minute", REQUESTS_A_MINUTE),
        ("x-ratelimit-remaining-req-minute", REQUESTS_A_MINUTE - 1),
        ("x-envoy-upstream-service-time", 1),
    ];
    for (name, number) in numbers {
        headers.insert(name, HeaderValue::from(number));
    }
    // An id of hex digits and dashes is always a valid header value.
    if let Ok(id) = HeaderValue::from_str(correlation_id) {
        headers.insert("x-kong-request-id", id.clone());
        headers.insert("mistral-correlation-id", id);
    }
}
