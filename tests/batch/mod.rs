//! Batches: many turns run as one, each result once, whatever happens in between.

mod caller;
mod cancelled;
mod crashed;
mod refused;
mod resumed;
mod run;
