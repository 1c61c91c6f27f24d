//! The transport edge, held to what callers, proxies and operators see of it.

pub(crate) mod caller;
mod scripted;
mod server;

mod connections;
mod deadlines;
mod health;
mod http1;
mod limits;
mod log;
mod panics;
mod reasons;
mod reflection;
mod shutdown;
