//! causerie.
pub mod cli;
pub mod config;
pub mod domain;
pub mod engine;
pub mod grpc;
pub mod offline;
pub mod proto;
pub mod upstream;
