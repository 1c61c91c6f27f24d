//! Error answers of the checks, in Mistral's shapes. Those that a user asks for stand in [`super::samples`].

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::models::MODELS;

/// An error answer, ready to be sent.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) body: String,
    pub(super) retry_after_s: Option<u32>,
}

impl Failure {
    /// A JSON answer of any status.
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self { status, content_type: "application/json", body: body.to_string(), retry_after_s: None }
    }

    /// 422 as FastAPI writes it; `detail` has one item per violation.
    pub(super) fn validation(detail: Vec<Value>) -> Self {
        Self::json(422, &json!({"detail": detail}))
    }

    /// 422 for a body that is no JSON.
    pub(super) fn malformed_json(error: &serde_json::Error) -> Self {
        Self::validation(vec![json!({
            "type": "json_invalid",
            "loc": ["body", error.column()],
            "msg": "JSON decode error",
            "input": {},
            "ctx": {"error": error.to_string()},
        })])
    }

    /// 400 code 1500.
    pub(super) fn invalid_model(model: &str) -> Self {
        let served = MODELS.join(", ");
        Self::bad_request(
            "invalid_model",
            Some("1500"),
            &format!("Invalid model: {model}. This is the offline stand-in; it serves {served}."),
        )
    }

    /// 400 code 3230.
    pub(super) fn order(message: &str) -> Self {
        Self::bad_request("invalid_request_message_order", Some("3230"), message)
    }

    /// 400 code 3280.
    pub(super) fn function_call(message: &str) -> Self {
        Self::bad_request("invalid_function_call", Some("3280"), message)
    }

    /// 400 in the shape that all of Mistral's model errors share.
    pub(super) fn bad_request(kind: &str, code: Option<&str>, message: &str) -> Self {
        let body = json!({"object": "error", "message": message, "type": kind, "param": null, "code": code});
        Self::json(400, &body)
    }

    /// 400 in the shape of the conversations endpoint: another service, and the code is a number.
    pub(super) fn conversation(code: u32, message: &str) -> Self {
        let body = json!({"object": "Error", "message": message, "type": "invalid_request_error", "code": code});
        Self::json(400, &body)
    }

    /// The same error as that endpoint tells it.
    pub(super) fn of_conversations(self) -> Self {
        let told: Value = serde_json::from_str(&self.body).unwrap_or_default();
        let code = told["code"].as_str().and_then(|code| code.parse().ok()).unwrap_or(3001);
        Self::conversation(code, told["message"].as_str().unwrap_or_default())
    }

    /// 401 for a request without a bearer token.
    pub(super) fn unauthorized() -> Self {
        Self::json(401, &json!({"detail": "Unauthorized"}))
    }

    /// 404 of the gateway, for every path that the stand-in does not have.
    pub(super) fn no_route() -> Self {
        Self::json(404, &json!({"message": "no Route matched with those values"}))
    }

    /// 503 for a request that was waiting when the stand-in stopped.
    pub(super) fn stopping() -> Self {
        Self::json(503, &json!({"detail": "The offline stand-in is stopping."}))
    }

    pub(super) fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
