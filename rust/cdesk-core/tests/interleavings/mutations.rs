//! A proof that cannot fail proves nothing: what is broken on purpose is noticed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cdesk_core::LostWakeUps;
use shuttle::scheduler::RandomScheduler;

use crate::disk::{Fault, Sync};
use crate::log::Log;
use crate::programs::appending;
use crate::run;

/// Every bug shows itself in so many orders, with room to spare.
const ENOUGH: usize = 2_000;

/// The words of the first failure, if there is one.
fn failure(sync: Sync, lost: Option<LostWakeUps>) -> Option<String> {
    let program = move || drop(appending(&Log::new(Fault::None, sync, lost)));
    let outcome = catch_unwind(AssertUnwindSafe(|| run(RandomScheduler::new(ENOUGH), program)));
    let words = outcome.err()?;
    let text = words.downcast_ref::<String>().cloned();
    text.or_else(|| words.downcast_ref::<&str>().map(ToString::to_string)).or(Some(String::new()))
}

#[test]
fn a_lost_wake_up_is_noticed_wherever_it_was_sent() {
    for (from, after) in [("append.rs", 0), ("handover.rs", 0), ("group.rs", 0), ("group.rs", 1)] {
        let failure = failure(Sync::Honest, Some(LostWakeUps { from, after }));
        let failure = failure.unwrap_or_else(|| panic!("nobody missed what {from} sends"));
        assert!(failure.contains("deadlock"), "{failure}");
    }
}

#[test]
fn a_sync_that_does_nothing_is_noticed() {
    let failure = failure(Sync::Lying, None).expect("nobody missed the sync");
    assert!(failure.contains("is not durable"), "{failure}");
}

#[test]
fn with_nothing_broken_nothing_is_noticed() {
    assert_eq!(failure(Sync::Honest, None), None);
}
