//! The edge: everything that knows gRPC and HTTP/2.
//!
//! `serve` runs a server from a bound listener to its drained end; `listener` makes connections, `layers` stand around
//! every call, `health` and `reflection` are the standard services. `convert` turns messages into what the rest of the house
//! speaks about and back, `status` tells failures, `page_token` goes on with lists.

pub mod convert;
pub mod health;
pub mod layers;
pub mod listener;
pub mod page_token;
pub mod reflection;
pub mod serve;
pub mod status;

/// The `domain` of every `google.rpc.ErrorInfo` that this service sends; with the reason it names an error for good (AIP-193).
pub const DOMAIN: &str = "causerie";
