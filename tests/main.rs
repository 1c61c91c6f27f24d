//! The integration tests: one binary, one file for each behaviour.

mod scripted_provider;
mod support;
