//! `ContextCache`.

use std::time::Duration;

use cdesk_core::{CacheLimits, Clock, SystemClock};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::queue::{count, seconds};

/// A bounded cache of bytes: least recently used goes first, old goes at once, stale is served meanwhile.
///
/// An entry is fresh for stale_after_s, then stale, and gone after ttl_s. max_bytes counts keys and values. `clock`
/// gives seconds and never steps back; the default is the machine's monotonic clock.
///
/// Raises InvalidOption.
#[pyclass(frozen, module = "cdesk_core")]
pub(crate) struct ContextCache {
    /// The caller's own bytes objects: held, not copied.
    inner: cdesk_core::ContextCache<Py<PyBytes>>,
    system: SystemClock,
    /// A callable that gives seconds, for tests.
    clock: Option<Py<PyAny>>,
}

impl ContextCache {
    /// Asked before the cache is locked: the callable is anybody's code.
    fn now(&self, py: Python<'_>) -> PyResult<Duration> {
        match &self.clock {
            None => Ok(self.system.monotonic()),
            Some(clock) => seconds(py, "the clock's answer", clock.call0(py)?.extract(py)?),
        }
    }
}

#[pymethods]
impl ContextCache {
    #[new]
    #[pyo3(signature = (*, max_entries, max_bytes, ttl_s, stale_after_s, clock=None))]
    fn new(
        py: Python<'_>,
        max_entries: i64,
        max_bytes: i64,
        ttl_s: f64,
        stale_after_s: f64,
        clock: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let (max_entries, max_bytes) =
            (count(py, "max_entries", max_entries)?, count(py, "max_bytes", max_bytes)?);
        let ttl = seconds(py, "ttl_s", ttl_s)?;
        let stale_after = seconds(py, "stale_after_s", stale_after_s)?;
        let limits = CacheLimits::new(max_entries, max_bytes).ttl(ttl).stale_after(stale_after);
        let system = SystemClock::new();
        Ok(Self { inner: cdesk_core::ContextCache::new(limits, system), system, clock })
    }

    /// The value, fresh or stale. Claims no refresh.
    fn get(&self, py: Python<'_>, key: &str) -> PyResult<Option<Py<PyBytes>>> {
        Ok(self.inner.get_at(key, self.now(py)?, |value| value.clone_ref(py)))
    }

    /// The value with its age. Of those who find it stale, one is told to refresh it.
    ///
    /// When no new value was put within another stale_after_s, the next one is told.
    fn lookup(&self, py: Python<'_>, key: &str) -> PyResult<Option<Hit>> {
        let hit = self.inner.lookup_at(key, self.now(py)?, |value| value.clone_ref(py));
        Ok(hit.map(|hit| Hit {
            value: hit.value,
            age_s: hit.age.as_secs_f64(),
            is_stale: hit.is_stale,
            should_refresh: hit.should_refresh,
        }))
    }

    /// Holds the value in place of what was there. One larger than max_bytes is not held, and counted.
    fn put(&self, py: Python<'_>, key: &str, value: Bound<'_, PyBytes>) -> PyResult<()> {
        let now = self.now(py)?;
        let bytes = value.as_bytes().len();
        self.inner.put_at(key, value.unbind(), bytes, now);
        Ok(())
    }

    /// Forgets the entry; says whether there was one.
    fn invalidate(&self, key: &str) -> bool {
        self.inner.invalidate(key)
    }

    /// Forgets every entry.
    fn clear(&self) {
        self.inner.clear();
    }

    /// What the cache has seen since it was made.
    fn stats(&self) -> CacheStats {
        let stats = self.inner.stats();
        CacheStats {
            hits: stats.hits,
            stale_hits: stats.stale_hits,
            misses: stats.misses,
            evictions: stats.evictions,
            expirations: stats.expirations,
            oversized: stats.oversized,
            entries: stats.entries,
            bytes: stats.bytes,
        }
    }
}

/// A value that was found.
#[pyclass(frozen, get_all, module = "cdesk_core")]
pub(crate) struct Hit {
    /// What was put: the same object.
    value: Py<PyBytes>,
    /// How long ago it was put.
    age_s: f64,
    /// Is it stale_after_s old, or older?
    is_stale: bool,
    /// Shall this caller, and no other, get a new one?
    should_refresh: bool,
}

/// What a cache has seen since it was made.
#[pyclass(frozen, get_all, module = "cdesk_core")]
pub(crate) struct CacheStats {
    /// Calls that found a fresh value.
    hits: u64,
    /// Calls that found a stale value.
    stale_hits: u64,
    /// Calls that found nothing.
    misses: u64,
    /// Entries that made room for others.
    evictions: u64,
    /// Entries found too old.
    expirations: u64,
    /// Values not held because they alone are larger than the cache.
    oversized: u64,
    /// Entries held now.
    entries: usize,
    /// Bytes held now.
    bytes: usize,
}

#[pymethods]
impl CacheStats {
    fn __repr__(&self) -> String {
        format!(
            "CacheStats(hits={}, stale_hits={}, misses={}, evictions={}, expirations={}, oversized={}, \
             entries={}, bytes={})",
            self.hits,
            self.stale_hits,
            self.misses,
            self.evictions,
            self.expirations,
            self.oversized,
            self.entries,
            self.bytes
        )
    }
}
