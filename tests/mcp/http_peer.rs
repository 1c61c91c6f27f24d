//! A server at an address that forgets its sessions and changes its mind about tokens.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::any,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// What a peer does, and what it saw.
#[derive(Debug)]
pub(super) struct Script {
    /// Only this value of `authorization` is let in, if any.
    pub(super) authorization: Option<&'static str>,
    /// It knows this session alone.
    pub(super) session: &'static str,
    /// How it says that it does not know one.
    pub(super) lost: Lost,
    /// How the next call fails, once.
    pub(super) fails_with: Option<u16>,
    /// Methods of the protocol, in the order in which they were let in.
    pub(super) methods: Vec<String>,
    /// The headers of the last request that was let in.
    pub(super) headers: HeaderMap,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Lost {
    /// As the protocol wants it.
    NotFound,
    /// As many do: an error that answers no request.
    BadRequest,
}

/// A peer. It ends when it is dropped.
pub(super) struct Peer {
    pub(super) url: String,
    script: Arc<Mutex<Script>>,
    _task: AbortOnDropHandle<()>,
}

impl Peer {
    pub(super) async fn start() -> Peer {
        let script = Script {
            authorization: None,
            session: "first",
            lost: Lost::NotFound,
            fails_with: None,
            methods: Vec::new(),
            headers: HeaderMap::new(),
        };
        let script = Arc::new(Mutex::new(script));
        let router = Router::new().route("/mcp", any(answer)).with_state(script.clone());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback can be bound");
        let url = format!("http://{}/mcp?key=sk-visible", listener.local_addr().expect("an address"));
        let serve = async move { axum::serve(listener, router).await.expect("it serves") };
        Peer { url, script, _task: AbortOnDropHandle::new(tokio::spawn(serve)) }
    }

    pub(super) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("no thread panics while it holds the script")
    }
}

async fn answer(State(script): State<Arc<Mutex<Script>>>, headers: HeaderMap, body: Bytes) -> Response {
    let mut script = script.lock().expect("no thread panics while it holds the script");
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    if script.authorization.is_some_and(|wanted| headers.get("authorization").is_none_or(|value| value != wanted)) {
        return (StatusCode::UNAUTHORIZED, "who are you, sk-visible?").into_response();
    }
    let Some(method) = request["method"].as_str() else {
        // It has nothing to say unasked, and forgets sessions by itself.
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    };
    let session = headers.get("mcp-session-id").and_then(|value| value.to_str().ok());
    if method != "initialize" && session != Some(script.session) {
        return match script.lost {
            Lost::NotFound => StatusCode::NOT_FOUND.into_response(),
            Lost::BadRequest => {
                let error = json!({"jsonrpc": "2.0", "error": {"code": -32000, "message": "Bad Request"}});
                (StatusCode::BAD_REQUEST, axum::Json(error)).into_response()
            }
        };
    }
    script.methods.push(method.to_owned());
    script.headers = headers;
    if method == "tools/call"
        && let Some(status) = script.fails_with.take()
    {
        return StatusCode::from_u16(status).expect("a status").into_response();
    }
    let result = match method {
        "initialize" => json!({
            "protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "peer", "version": "1"},
        }),
        "tools/list" => json!({"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]}),
        "tools/call" => json!({"content": [{"type": "text", "text": script.session}]}),
        _ => return StatusCode::ACCEPTED.into_response(),
    };
    let body = axum::Json(json!({"jsonrpc": "2.0", "id": request["id"], "result": result}));
    ([("mcp-session-id", script.session)], body).into_response()
}
