//! Claims of the recipient, from outside.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
#![expect(clippy::print_stdout, reason = "a test says in one line why it was skipped")]

mod broker;
mod car;
mod command;
mod opening;
mod rfc9180;
mod streams;
mod vectors;
