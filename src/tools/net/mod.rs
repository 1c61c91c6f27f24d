//! The guard: which addresses requests may reach that a caller, a model or a redirect has chosen.
//!
//! Names are judged where the connection is made, by the addresses that are connected to and not by an earlier look-up: nothing
//! lies between the check and the connection that could change what a name means. Addresses in a URL are judged before each
//! request, redirects included; proxies of the environment are not asked.

mod address;
mod allow;
mod client;
mod error;
mod host;
mod lookup;
mod redirect;

pub use self::{
    allow::{AllowList, BadEntry},
    client::{Client, MAX_REDIRECTS, Request},
    error::Error,
    host::HostPort,
    lookup::{Addresses, Lookup, SystemLookup},
};
