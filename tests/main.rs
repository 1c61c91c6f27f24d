//! The integration tests: one binary, one file for each behaviour.

mod architecture;
mod bad_input;
mod conversations;
mod crash;
mod deleting;
mod edge;
mod errors;
mod foreign_clients;
mod fuzz_edge;
mod listing;
mod offline_sdk;
mod offline_strictness;
mod offline_wire;
mod scripted_provider;
mod secrets;
mod store;
mod support;
mod transport;
mod upstream_errors;
mod upstream_order;
mod upstream_requests;
mod upstream_transport;
