//! Context at hand: least recently used goes first, old goes at once, stale is served while one caller refreshes.
//!
//! An entry is *fresh* for `stale_after`, then *stale*, and gone after `ttl`. The first `lookup` of a stale entry is
//! told to refresh it, and nobody else, until a new value is put or another `stale_after` has passed: a caller that
//! died with the task must not leave the entry stale for good.

mod list;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::clock::{Clock, SystemClock};
use list::List;

/// How much a cache holds, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct CacheLimits {
    max_entries: usize,
    max_bytes: usize,
    ttl: Duration,
    stale_after: Duration,
}

impl CacheLimits {
    /// So many entries at the most, and so many bytes, keys and values together. None of them grows old.
    #[must_use]
    pub const fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self { max_entries, max_bytes, ttl: Duration::MAX, stale_after: Duration::MAX }
    }

    /// Entries of this age are gone.
    #[must_use]
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Entries of this age are stale.
    #[must_use]
    pub const fn stale_after(mut self, age: Duration) -> Self {
        self.stale_after = age;
        self
    }
}

/// A value that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hit<V> {
    /// What was put.
    pub value: V,
    /// How long ago.
    pub age: Duration,
    /// Is it `stale_after` old, or older?
    pub is_stale: bool,
    /// Shall this caller, and no other, get a new one?
    pub should_refresh: bool,
}

/// What a cache has seen since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Calls that found a fresh value.
    pub hits: u64,
    /// Calls that found a stale value.
    pub stale_hits: u64,
    /// Calls that found nothing.
    pub misses: u64,
    /// Entries that made room for others.
    pub evictions: u64,
    /// Entries found too old.
    pub expirations: u64,
    /// Values not kept because they alone are larger than the cache.
    pub oversized: u64,
    /// Entries held now.
    pub entries: usize,
    /// Bytes held now.
    pub bytes: usize,
}

/// A bounded cache that threads share by reference.
#[derive(Debug)]
pub struct ContextCache<V, C: Clock = SystemClock> {
    limits: CacheLimits,
    clock: C,
    inner: Mutex<Inner<V>>,
}

#[derive(Debug)]
struct Inner<V> {
    /// Where each key is in `list`.
    index: HashMap<Box<str>, u32, RandomState>,
    list: List<Entry<V>>,
    stats: CacheStats,
}

#[derive(Debug)]
struct Entry<V> {
    key: Box<str>,
    value: V,
    bytes: usize,
    put_at: Duration,
    /// When somebody was last told to refresh it.
    refresh_at: Option<Duration>,
}

impl<V, C: Clock> ContextCache<V, C> {
    /// An empty cache. An entry that becomes stale only after its end is never stale.
    pub fn new(limits: CacheLimits, clock: C) -> Self {
        let inner = Inner { index: HashMap::default(), list: List::new(), stats: CacheStats::default() };
        Self { limits, clock, inner: Mutex::new(inner) }
    }

    /// The value, fresh or stale. Claims no refresh.
    pub fn get(&self, key: &str) -> Option<V>
    where
        V: Clone,
    {
        self.get_at(key, self.clock.monotonic(), V::clone)
    }

    /// The value, its age, and whether this caller shall refresh it.
    pub fn lookup(&self, key: &str) -> Option<Hit<V>>
    where
        V: Clone,
    {
        self.lookup_at(key, self.clock.monotonic(), V::clone)
    }

    /// Holds `value`, which takes `bytes`, under `key`, in place of what was there. A value larger than the whole
    /// cache is not held, and what was there is gone all the same.
    pub fn put(&self, key: &str, value: V, bytes: usize) {
        self.put_at(key, value, bytes, self.clock.monotonic());
    }

    /// [`ContextCache::get`] at a time the caller tells. `copy` runs with the cache locked.
    pub fn get_at<R>(&self, key: &str, now: Duration, copy: impl FnOnce(&V) -> R) -> Option<R> {
        let mut inner = self.lock();
        let (at, is_stale) = inner.find(key, now, &self.limits)?;
        inner.count(is_stale);
        inner.list.get_mut(at).map(|entry| copy(&entry.value))
    }

    /// [`ContextCache::lookup`] at a time the caller tells. `copy` runs with the cache locked.
    pub fn lookup_at<R>(&self, key: &str, now: Duration, copy: impl FnOnce(&V) -> R) -> Option<Hit<R>> {
        let mut inner = self.lock();
        let (at, is_stale) = inner.find(key, now, &self.limits)?;
        inner.count(is_stale);
        let stale_after = self.limits.stale_after;
        let entry = inner.list.get_mut(at)?;
        let is_claimed = entry.refresh_at.is_some_and(|then| now.saturating_sub(then) < stale_after);
        let should_refresh = is_stale && !is_claimed;
        if should_refresh {
            entry.refresh_at = Some(now);
        }
        let age = now.saturating_sub(entry.put_at);
        Some(Hit { value: copy(&entry.value), age, is_stale, should_refresh })
    }

    /// [`ContextCache::put`] at a time the caller tells.
    pub fn put_at(&self, key: &str, value: V, bytes: usize, now: Duration) {
        let bytes = bytes.saturating_add(key.len());
        let mut inner = self.lock();
        inner.remove(key);
        if bytes > self.limits.max_bytes || self.limits.max_entries == 0 {
            inner.stats.oversized += 1;
            return;
        }
        while inner.index.len() >= self.limits.max_entries
            || inner.stats.bytes + bytes > self.limits.max_bytes
        {
            if !inner.evict() {
                break;
            }
        }
        let entry = Entry { key: key.into(), value, bytes, put_at: now, refresh_at: None };
        if let Some(at) = inner.list.push_front(entry) {
            inner.index.insert(key.into(), at);
            inner.stats.bytes += bytes;
        }
    }

    /// Forgets the entry; says whether there was one.
    pub fn invalidate(&self, key: &str) -> bool {
        self.lock().remove(key)
    }

    /// Forgets every entry.
    pub fn clear(&self) {
        let mut inner = self.lock();
        inner.index.clear();
        inner.list = List::new();
        inner.stats.bytes = 0;
    }

    /// What the cache has seen since it was made.
    pub fn stats(&self) -> CacheStats {
        let inner = self.lock();
        CacheStats { entries: inner.index.len(), ..inner.stats }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<V>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Inner<V> {
    /// Where the entry is, now the most recently used, and whether it is stale. Drops it when it is too old.
    fn find(&mut self, key: &str, now: Duration, limits: &CacheLimits) -> Option<(u32, bool)> {
        let Some(&at) = self.index.get(key) else {
            self.stats.misses += 1;
            return None;
        };
        let age = now.saturating_sub(self.list.get_mut(at)?.put_at);
        if age >= limits.ttl {
            self.remove(key);
            self.stats.expirations += 1;
            self.stats.misses += 1;
            return None;
        }
        self.list.move_to_front(at);
        Some((at, age >= limits.stale_after))
    }

    fn count(&mut self, is_stale: bool) {
        if is_stale {
            self.stats.stale_hits += 1;
        } else {
            self.stats.hits += 1;
        }
    }

    fn remove(&mut self, key: &str) -> bool {
        let entry = self.index.remove(key).and_then(|at| self.list.remove(at));
        self.stats.bytes -= entry.as_ref().map_or(0, |entry| entry.bytes);
        entry.is_some()
    }

    /// Drops the least recently used entry, if there is any.
    fn evict(&mut self) -> bool {
        let Some(entry) = self.list.pop_back() else { return false };
        self.index.remove(&entry.key);
        self.stats.bytes -= entry.bytes;
        self.stats.evictions += 1;
        true
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
