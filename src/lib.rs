//! causerie: a self-hosted conversations service that speaks gRPC.
//!
//! A conversation id names an immutable version of a history. A turn runs a model over a version and makes a new one; it has
//! a numbered event log, and whoever waits for it, unary call, stream or re-attached stream, reads that log. What turns do to the
//! store is one log of changes; watchers and webhooks are cursors over it.
//!
//! The folders are the architecture, and these are the only imports between them:
//!
//! ```text
//! main -> config, cli, server        server -> all of them but cli and proto
//! grpc -> engine, domain, proto      engine -> store, upstream, tools, domain
//! store -> domain                    upstream -> domain            tools -> domain
//! cli -> proto, config               domain, offline, config, proto -> nothing of ours
//! ```
//!
//! Read `server.rs`, then `engine/run.rs`: a turn's way from a request to its terminal event is one screen there; then
//! `engine/ask`: what happens when a model does not answer; `engine/background`: turns that outlive their calls; `store/changes.rs`
//! and `engine/watch`: the log of changes and its readers.
//!
//! What must never be: a terminal event before its version is on disk; a version that is half there; a write between a
//! request and the provider call, unless a budget has to be held; a background turn that is acknowledged before it is on disk, or an
//! event of it that readers have seen and a crash takes back; a change without a revision, or a revision without its change; a tool
//! that is run twice, or forgotten, because the server died; a key, a prompt or an answer in a log line or a status; a panic that a
//! client, a provider or a disk can cause.

pub mod cli;
pub mod config;
pub mod domain;
pub mod engine;
pub mod grpc;
pub mod offline;
pub mod proto;
pub mod server;
pub mod store;
pub mod tools;
pub mod upstream;
