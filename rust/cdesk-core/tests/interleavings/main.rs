//! The group commit in every order that threads can have, or a good part of them.
//!
//! Shuttle runs the queue itself, its locks and threads replaced, in one order after the other, and finds those in
//! which somebody waits for ever. Run it with
//! `RUSTFLAGS="--cfg shuttle" cargo test --release --package cdesk-core --test interleavings`; in any other build it is
//! empty. What fails prints its schedule, which `shuttle::replay` repeats.
#![cfg(shuttle)]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod disk;
mod log;
mod mutations;
mod programs;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

/// Orders in which every step is drawn.
const RANDOM: usize = 100_000;
/// Orders in which one thread is always ahead of the other, but for a few steps: they find what needs long waits.
const PRIORITIES: usize = 20_000;
const PRIORITY_CHANGES: usize = 3;

/// Runs a program in many orders; the panic of the first in which it fails comes through.
fn explore(program: impl Fn() + Send + Sync + Clone + 'static) {
    run(RandomScheduler::new(RANDOM), program.clone());
    run(PctScheduler::new(PRIORITY_CHANGES, PRIORITIES), program);
}

fn run(scheduler: impl Scheduler + 'static, program: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = 1 << 17; // a failed assertion formats its message there
    config.silence_warnings = true; // of atomics, which only count here
    Runner::new(scheduler, config).run(program);
}
