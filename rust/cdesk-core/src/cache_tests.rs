use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::clock::ManualClock;

const SECOND: Duration = Duration::from_secs(1);

fn cache(max_entries: usize, max_bytes: usize) -> (ContextCache<u32, Arc<ManualClock>>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(0));
    let limits = CacheLimits::new(max_entries, max_bytes).ttl(60 * SECOND).stale_after(30 * SECOND);
    (ContextCache::new(limits, Arc::clone(&clock)), clock)
}

#[test]
fn a_value_is_fresh_then_stale_then_gone() {
    let (cache, clock) = cache(10, 1_000);
    cache.put("a", 1, 4);
    clock.advance(29 * SECOND);
    let hit = cache.lookup("a").unwrap();
    assert_eq!((hit.value, hit.age, hit.is_stale, hit.should_refresh), (1, 29 * SECOND, false, false));
    clock.advance(SECOND);
    assert!(cache.lookup("a").unwrap().is_stale);
    clock.advance(29 * SECOND);
    assert_eq!(cache.get("a"), Some(1));
    clock.advance(SECOND);
    assert_eq!(cache.get("a"), None);
    assert_eq!(cache.stats().expirations, 1);
    assert_eq!(cache.stats().bytes, 0);
}

#[test]
fn one_caller_of_many_is_told_to_refresh() {
    let (cache, clock) = cache(10, 1_000);
    cache.put("a", 1, 4);
    clock.advance(30 * SECOND);
    assert_eq!(cache.get("a"), Some(1)); // claims nothing
    let refreshers = std::thread::scope(|scope| {
        let cache = &cache;
        let callers: Vec<_> = (0..8).map(|_| scope.spawn(move || cache.lookup("a").unwrap())).collect();
        callers.into_iter().filter_map(|caller| caller.join().ok()).filter(|hit| hit.should_refresh).count()
    });
    assert_eq!(refreshers, 1);
    cache.put("a", 2, 4);
    assert!(!cache.lookup("a").unwrap().is_stale);
    clock.advance(30 * SECOND);
    assert!(cache.lookup("a").unwrap().should_refresh);
}

#[test]
fn a_refresh_that_never_came_is_given_to_another() {
    let clock = Arc::new(ManualClock::new(0));
    let limits = CacheLimits::new(1, 100).ttl(600 * SECOND).stale_after(30 * SECOND);
    let cache = ContextCache::new(limits, Arc::clone(&clock));
    cache.put("a", 1, 1);
    clock.advance(30 * SECOND);
    assert!(cache.lookup("a").unwrap().should_refresh);
    clock.advance(29 * SECOND);
    assert!(!cache.lookup("a").unwrap().should_refresh);
    clock.advance(SECOND);
    assert!(cache.lookup("a").unwrap().should_refresh);
}

#[test]
fn the_least_recently_used_makes_room() {
    let (cache, _) = cache(2, 1_000);
    cache.put("a", 1, 4);
    cache.put("b", 2, 4);
    assert_eq!(cache.get("a"), Some(1));
    cache.put("c", 3, 4);
    assert_eq!((cache.get("a"), cache.get("b"), cache.get("c")), (Some(1), None, Some(3)));
    assert_eq!(cache.stats().evictions, 1);
}

#[test]
fn a_value_larger_than_the_cache_replaces_the_old_one_with_nothing() {
    let (cache, _) = cache(2, 10);
    cache.put("a", 1, 9);
    cache.put("a", 2, 10); // with its key 11 bytes
    assert_eq!(cache.get("a"), None);
    assert_eq!((cache.stats().oversized, cache.stats().bytes, cache.stats().entries), (1, 0, 0));
}

#[test]
fn invalidate_and_clear_forget() {
    let (cache, _) = cache(10, 1_000);
    cache.put("a", 1, 4);
    cache.put("b", 2, 4);
    assert!(cache.invalidate("a"));
    assert!(!cache.invalidate("a"));
    cache.clear();
    assert_eq!((cache.get("b"), cache.stats().entries, cache.stats().bytes), (None, 0, 0));
    cache.put("c", 3, 4);
    assert_eq!(cache.get("c"), Some(3));
}

#[derive(Debug, Clone)]
enum Act {
    Put(u8, usize),
    Get(u8),
    Invalidate(u8),
    Wait(u32),
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0_u8..12, 0_usize..40).prop_map(|(key, bytes)| Act::Put(key, bytes)),
        4 => (0_u8..12).prop_map(Act::Get),
        1 => (0_u8..12).prop_map(Act::Invalidate),
        1 => (0_u32..40).prop_map(Act::Wait),
    ]
}

proptest! {
    #[test]
    fn it_behaves_as_a_list_in_order_of_use(acts in prop::collection::vec(any_act(), 0..200)) {
        let (cache, clock) = cache(5, 100);
        // Most recently used last: key, value, bytes, put at.
        let mut model: Vec<(u8, u32, usize, Duration)> = Vec::new();
        for (number, act) in (0..).zip(acts) {
            match act {
                Act::Put(key, bytes) => {
                    cache.put(&key.to_string(), number, bytes);
                    let bytes = bytes + key.to_string().len();
                    model.retain(|entry| entry.0 != key);
                    while model.len() >= 5 || model.iter().map(|entry| entry.2).sum::<usize>() + bytes > 100 {
                        model.remove(0);
                    }
                    model.push((key, number, bytes, clock.monotonic()));
                }
                Act::Get(key) => {
                    let at = model.iter().position(|entry| entry.0 == key);
                    let entry = at.map(|at| model.remove(at));
                    let entry = entry.filter(|entry| clock.monotonic().saturating_sub(entry.3) < 60 * SECOND);
                    prop_assert_eq!(cache.get(&key.to_string()), entry.map(|entry| entry.1));
                    model.extend(entry);
                }
                Act::Invalidate(key) => {
                    let before = model.len();
                    model.retain(|entry| entry.0 != key);
                    prop_assert_eq!(cache.invalidate(&key.to_string()), model.len() < before);
                }
                Act::Wait(seconds) => clock.advance(seconds * SECOND),
            }
            let stats = cache.stats();
            prop_assert_eq!(stats.entries, model.len());
            prop_assert_eq!(stats.bytes, model.iter().map(|entry| entry.2).sum::<usize>());
        }
    }
}
