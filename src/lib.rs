//! causerie.
pub mod domain;
pub mod engine;
pub mod offline;
pub mod proto;
