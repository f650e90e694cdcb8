//! Time, as something a test can hold in its hand.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// The two clocks the crate needs.
pub trait Clock: Send + Sync + 'static {
    /// Time since some fixed moment; it never steps back. Ages are measured with it.
    fn monotonic(&self) -> Duration;

    /// Milliseconds since 1970 by the wall clock; it may step back. Segments are named with it.
    fn unix_ms(&self) -> u64;
}

/// The clocks of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// What is measured here is seconds, so the clock that is read in a tenth of the time will do: it moves every
    /// few milliseconds.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const MONOTONIC: ClockId = ClockId::MonotonicCoarse;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const MONOTONIC: ClockId = ClockId::Monotonic;

    /// The clocks as they are.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        Duration::try_from(clock_gettime(Self::MONOTONIC)).unwrap_or_default() // it is never negative
    }

    fn unix_ms(&self) -> u64 {
        unix_ms(SystemTime::now())
    }
}

/// Milliseconds since 1970, 0 for anything earlier.
pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    let elapsed = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// A clock that only moves when told to.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<(Duration, u64)>,
}

impl ManualClock {
    /// A clock that stands at `unix_ms` by the wall and at zero by the monotonic clock.
    #[must_use]
    pub fn new(unix_ms: u64) -> Self {
        Self { now: Mutex::new((Duration::ZERO, unix_ms)) }
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.0 += by;
        now.1 += u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
    }

    /// Moves the wall clock alone, as an administrator or NTP does; it may go back.
    pub fn set_unix_ms(&self, unix_ms: u64) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).1 = unix_ms;
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Duration {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn unix_ms(&self) -> u64 {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

impl<C: Clock> Clock for std::sync::Arc<C> {
    fn monotonic(&self) -> Duration {
        (**self).monotonic()
    }

    fn unix_ms(&self) -> u64 {
        (**self).unix_ms()
    }
}
