//! The door for browsers and plain HTTP readers, beside gRPC on the same port. Shut unless it is configured.
//!
//! | file | what it does |
//! |---|---|
//! | `front` | tells the kinds of requests apart; outermost, it translates what the layers and handlers say in gRPC |
//! | `guard` | who may ask: the names of this server, the pages that are allowed; innermost, so that a refusal is a call too |
//! | `plain` | what plain HTTP can ask for |
//!
//! A plain answer passes the same layers as a gRPC call: it has an id, a line in the log, a deadline, a slot among the calls in
//! flight. To them it looks like one, with its status in headers or trailers; `front` makes HTTP of it.

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
        let reads = options.events || options.page;
        let plain = Plain { page: options.page, readers: reads.then_some(readers) };
        (reads || options.grpc_web).then(|| Door::new(options, plain))
    }

    /// A door for gRPC-Web and nothing else, whatever the services behind it are.
    #[must_use]
    pub fn for_grpc_web(options: &Options) -> Door {
        Door::new(&Options { grpc_web: true, ..options.clone() }, Plain::default())
    }

    fn new(options: &Options, plain: Plain) -> Door {
        let origins: Vec<HeaderValue> =
            options.cors_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
        Door {
            grpc_web: options.grpc_web,
            plain,
            cors: front::cors(origins),
            guard: Arc::new(Guard::new(&options.cors_origins, &options.hosts)),
        }
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
