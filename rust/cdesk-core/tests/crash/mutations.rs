//! A proof that cannot fail proves nothing: every rule of the log, broken, is noticed.

use crate::histories::find_violation;
use crate::sim::Bug;

/// Every bug shows itself in this many histories, with room to spare.
const ENOUGH: u64 = 10_000;

#[test]
#[expect(clippy::print_stderr, reason = "how soon is worth knowing")]
fn every_mutation_is_caught() {
    let missed: Vec<_> = Bug::ALL
        .into_iter()
        .filter(|&bug| match find_violation(1, ENOUGH, bug) {
            Some((index, _, violation)) => {
                eprintln!("{bug:?}: caught in history {index}: {violation:.80}");
                false
            }
            None => true,
        })
        .collect();
    assert!(missed.is_empty(), "nobody noticed {missed:?}");
}
