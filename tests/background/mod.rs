//! Turns that outlive their calls.

mod accepted;
mod attempts;
mod cancelled;
mod changes;
mod durable;
mod limits;
mod repeated;
