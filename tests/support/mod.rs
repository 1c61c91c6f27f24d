//! What the tests share.

pub(crate) mod golden;
pub(crate) mod history;
pub(crate) mod http;
pub(crate) mod outside;
pub(crate) mod provider;
pub(crate) mod server;
pub(crate) mod upstream;
