use super::{reader::Reader, rule::Rule};

/// The door for browsers and plain HTTP readers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Http {
    /// Server-sent events and JSON reads.
    pub events: bool,
    /// gRPC-Web.
    pub grpc_web: bool,
    /// The page at `/`, and what it reads.
    pub page: bool,
    /// The origins of other pages that may read and call.
    pub cors_origins: Vec<String>,
    /// The names under which browsers may reach the service, in small letters.
    pub hosts: Vec<String>,
}

impl Http {
    pub(super) fn read(from: &mut Reader<'_>) -> Http {
        Http {
            events: from.get(
                "http.events",
                Rule::switch(),
                "false",
                "Answer plain HTTP, on the same port: the events of a turn and Watch as server-sent events, stored \
                 conversations and turns as JSON.",
            ),
            grpc_web: from.get(
                "http.grpc_web",
                Rule::switch(),
                "false",
                "Take gRPC-Web calls, on the same port: clients in browsers may do what others may.",
            ),
            page: from.get(
                "http.page",
                Rule::switch(),
                "false",
                "Show a page at / with conversations, their versions and running turns. Brings http.events with it.",
            ),
            cors_origins: from.list(
                "http.cors_origins",
                Rule::origin(),
                "The origins of web pages that may read and call, besides the service's own. Separated by commas in flags and \
                 variables.",
            ),
            hosts: from
                .list(
                    "http.hosts",
                    Rule::host(),
                    "Names under which browsers and plain HTTP clients may ask for the service, besides localhost and IP \
                     addresses: those of a proxy in front. Others are refused, lest a foreign page reads by a name that it \
                     points here (DNS rebinding). Separated by commas in flags and variables.",
                )
                .into_iter()
                .map(|host| host.to_ascii_lowercase())
                .collect(),
        }
    }
}
