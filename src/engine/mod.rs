//! The turn: load the history, ask the provider, fold what comes, commit, tell readers.

pub mod request;
