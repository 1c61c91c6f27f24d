//! The program as a process: exit codes, what it prints where, and how it starts and ends.

mod agents;
mod approval;
mod batch;
mod chat;
mod providers;
mod serve;
mod transfer;
mod turns;
mod watch;
mod webhooks;
