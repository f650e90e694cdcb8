//! The proof of the log on a simulated machine.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod every_operation;
mod histories;
mod history;
mod ledger;
mod mutations;
mod order;
mod schedule;
mod sim;
mod workload;
mod world;
