//! The conversions at the edge: what is refused and how, what is taken, and that nothing is lost or panics.

mod fuzz;
mod refused;
mod round_trip;
mod spending;
mod strategies;
mod taken;
