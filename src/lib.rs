//! causerie.
pub mod domain;
pub mod engine;
pub mod proto;
