//! What the tests share.

pub(crate) mod http;
pub(crate) mod provider;
