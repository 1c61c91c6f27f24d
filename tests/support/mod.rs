//! What the tests share.

pub(crate) mod calls;
pub(crate) mod completion;
pub(crate) mod event_log;
pub(crate) mod events;
pub(crate) mod files;
pub(crate) mod forwarding;
pub(crate) mod golden;
pub(crate) mod history;
pub(crate) mod http;
pub(crate) mod log;
pub(crate) mod outside;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod provider;
pub(crate) mod queued;
pub(crate) mod random;
pub(crate) mod raw;
pub(crate) mod reads;
pub(crate) mod refusal;
pub(crate) mod server;
pub(crate) mod status;
pub(crate) mod time;
pub(crate) mod tools;
pub(crate) mod upstream;
