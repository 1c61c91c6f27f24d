//! What the service runs for a model, and the guard between that and the network.
//!
//! Nothing here knows of turns: a call goes in with its arguments, what came of it goes out. Secrets never get into what goes out.

pub mod http;
pub mod net;
