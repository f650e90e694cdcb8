//! The proof of the log on a simulated machine.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod every_operation;
mod failed_commit;
mod histories;
mod history;
mod ledger;
mod machine_tests;
mod mutations;
mod order;
mod payload;
mod reading;
mod record;
mod schedule;
mod sim;
mod sink;
mod tagging;
mod workload;
mod world;
mod writing;
