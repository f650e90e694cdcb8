//! A hundred thousand histories that never were.

use std::env;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::history::{self, Outcome};
use crate::sim::{Bug, mix};

/// How many a plain `cargo test` lives through; `CDESK_HISTORIES` asks for more.
const FEW: u64 = 2_000;
/// A plain `cargo test` does the same every time.
const FIRST_SEED: u64 = 1;

/// A number that the environment sets.
fn setting(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// Lives through `count` histories on all processors; gives the seed and fault of one that went wrong.
pub(crate) fn find_violation(first: u64, count: u64, bug: Bug) -> Option<(u64, u64, String)> {
    let next = AtomicU64::new(0);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let work = || {
            let crew = history::crew();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    return None;
                }
                let seed = mix(first.wrapping_add(index));
                if let Outcome { violation: Some(violation), .. } = history::live(&crew, seed, bug) {
                    next.store(count, Ordering::Relaxed);
                    return Some((index, seed, violation));
                }
            }
        };
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).min()
    })
}

#[test]
#[expect(clippy::print_stderr, reason = "a run that nobody can repeat proves little")]
fn what_was_acknowledged_is_delivered_once_whatever_the_machine_does() {
    if let Some(seed) = setting("CDESK_SEED") {
        let world = history::prepare(seed, Bug::None);
        world.host.lock().events = Some(Vec::new());
        let outcome = history::finish(&history::crew(), &world, seed);
        for event in world.host.lock().events.take().unwrap() {
            eprintln!("{event:?}");
        }
        eprintln!("{:?}\n{outcome:?}", world.habits);
        assert_eq!(outcome.violation, None, "the history of CDESK_SEED={seed}");
        return;
    }
    let (count, first) = match setting("CDESK_HISTORIES") {
        Some(count) => (count, RandomState::new().hash_one(count)),
        None => (FEW, FIRST_SEED),
    };
    eprintln!("{count} histories, the first is CDESK_SEED={}", mix(first));
    if let Some((index, seed, violation)) = find_violation(first, count, Bug::None) {
        panic!(
            "history {index}: {violation}\nto see it again: CDESK_SEED={seed} cargo test --test crash -- what_was --nocapture"
        );
    }
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in (1..50).map(mix) {
        let run = || {
            let world = history::prepare(seed, Bug::None);
            world.host.lock().events = Some(Vec::new());
            history::finish(&history::crew(), &world, seed);
            world.host.lock().events.take().unwrap()
        };
        assert!(run() == run(), "seed {seed}");
    }
}

#[test]
fn the_histories_are_full_of_accidents() {
    let crew = history::crew();
    let outcomes: Vec<_> = (0..300).map(|seed| history::live(&crew, mix(seed), Bug::None)).collect();
    let with = |is: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| is(outcome)).count();
    assert!(with(|outcome| outcome.acknowledged > 10) > 100);
    assert!(with(|outcome| outcome.tags > 5) > 100);
    assert!(with(|outcome| outcome.tags > 1_000) > 20);
    assert!(with(|outcome| outcome.faults > 0) > 50);
    assert!(with(|outcome| outcome.power_losses > 1) > 50);
    assert!(with(|outcome| outcome.pauses > 5) > 150);
    assert!(with(|outcome| outcome.is_ordered) > 230, "{}", with(|outcome| outcome.is_ordered));
    assert!(with(|outcome| !outcome.is_ordered) > 20);
    assert!(with(|outcome| outcome.operations > 200) > 100);
}
