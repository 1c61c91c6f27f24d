//! The door for browsers and plain HTTP readers, beside gRPC on the same port. Shut unless it is configured.
//!
//! | file | what it does |
//! |---|---|
//! | [`front`] | tells the kinds of requests apart; outermost, it translates what the layers and handlers say in gRPC |
//! | [`guard`] | who may ask: the names of this server, the pages that are allowed; innermost, so that a refusal is a call too |
//! | [`plain`] | what plain HTTP can ask for |
//!
//! A plain answer passes the same layers as a gRPC call: it has an id, a line in the log, a deadline, a slot among the calls in
//! flight. To them it looks like one, with its status in headers or trailers; [`front`] makes HTTP of it.

mod answer;
mod events;
mod front;
mod guard;
mod page;
mod plain;
mod sse;
mod watch;

use std::sync::Arc;

use http::HeaderValue;
use tower_http::cors::CorsLayer;

pub(super) use self::{front::Front, guard::Guarded, plain::Readers};
use self::{guard::Guard, plain::Plain};

/// What is spoken besides gRPC.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Server-sent events and JSON reads.
    pub events: bool,
    /// gRPC-Web.
    pub grpc_web: bool,
    /// The page at `/`, and what it reads.
    pub page: bool,
    /// Origins of other pages that may read and call.
    pub cors_origins: Vec<String>,
    /// Names of this server besides localhost and IP addresses, in small letters.
    pub hosts: Vec<String>,
}

/// The open door. Clones share it.
#[derive(Debug, Clone)]
pub struct Door {
    grpc_web: bool,
    plain: Plain,
    guard: Arc<Guard>,
    cors: CorsLayer,
}

impl Door {
    /// A door to these answers; `None` if it stays shut.
    pub(super) fn open(options: &Options, readers: Readers) -> Option<Door> {
        if !(options.events || options.grpc_web || options.page) {
            return None;
        }
        let origins: Vec<HeaderValue> =
            options.cors_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
        Some(Door {
            grpc_web: options.grpc_web,
            plain: Plain::new(options, readers),
            cors: front::cors(origins),
            guard: Arc::new(Guard::new(&options.cors_origins, &options.hosts)),
        })
    }
}

/// What a request is, if not a gRPC call. In its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A gRPC-Web call.
    Web,
    /// Plain HTTP.
    Plain,
}
