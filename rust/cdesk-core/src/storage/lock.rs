//! `flock`, which the kernel releases when its process dies, however it dies.
//!
//! Not `fcntl` locks, which a process loses when it closes *any* handle on the file; not pid files, which outlive
//! their process.

use std::fs::{File, TryLockError};
use std::time::Duration;
use std::{io, thread};

use rustix::thread::{NanosleepRelativeResult, nanosleep};
use rustix::time::Timespec;

use super::TURN_PATIENCE;
use crate::clock::Clock;
use crate::process::Opener;

/// A file with its lock held; dropping it releases the lock.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    opener: Opener,
}

impl FileLock {
    /// Locks the file alone, at once or not at all.
    pub(crate) fn attempt(file: File) -> io::Result<Option<Self>> {
        Self::outcome(file.try_lock(), file)
    }

    /// Locks the file alone, at once or not at all. Who only probes does not count: no lease is refused because somebody
    /// asked, at that moment, whether it is held. Whoever shares it for longer than many moments holds it all the same.
    pub(crate) fn attempt_beside_probes(file: File) -> io::Result<Option<Self>> {
        const MOMENTS: u32 = 10_000;
        for _ in 0..MOMENTS {
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => {}
                outcome => return Self::outcome(outcome, file),
            }
            match file.try_lock_shared() {
                Ok(()) => file.unlock()?, // nobody holds it alone
                outcome => return Self::outcome(outcome, file),
            }
            thread::yield_now();
        }
        Ok(None)
    }

    /// Locks the file together with others who share it, at once or not at all.
    pub(crate) fn attempt_shared(file: File) -> io::Result<Option<Self>> {
        Self::outcome(file.try_lock_shared(), file)
    }

    /// Locks the file alone, after whoever holds it, within [`TURN_PATIENCE`] or not at all: the kernel would wait for ever
    /// for a holder that was stopped. `pause` rests for about so long.
    pub(crate) fn attempt_in_turn(
        file: File,
        clock: &impl Clock,
        pause: impl Fn(Duration),
    ) -> io::Result<Option<Self>> {
        const FIRST_PAUSE: Duration = Duration::from_micros(100);
        const LONGEST_PAUSE: Duration = Duration::from_millis(10);
        let began = clock.monotonic();
        let mut rest = FIRST_PAUSE;
        loop {
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => {}
                outcome => return Self::outcome(outcome, file),
            }
            if clock.monotonic().saturating_sub(began) >= TURN_PATIENCE {
                return Ok(None);
            }
            pause(rest);
            rest = (2 * rest).min(LONGEST_PAUSE);
        }
    }

    /// Locks the file alone, after everyone before. A signal ends the wait with `Interrupted`.
    pub(crate) fn wait_or_signal(file: File) -> io::Result<Self> {
        file.lock().map(|()| Self::held(file))
    }

    /// Locks the file together with other readers, after everyone before. A signal ends the wait with `Interrupted`.
    pub(crate) fn wait_shared_or_signal(file: File) -> io::Result<Self> {
        file.lock_shared().map(|()| Self::held(file))
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    fn held(file: File) -> Self {
        Self { file, opener: Opener::this_process() }
    }

    fn outcome(attempt: Result<(), TryLockError>, file: File) -> io::Result<Option<Self>> {
        match attempt {
            Ok(()) => Ok(Some(Self::held(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Rests, until a signal comes at the latest. The standard library's sleep panics where the clock of a process is faked.
pub(crate) fn rest(pause: Duration) {
    let Ok(pause) = Timespec::try_from(pause) else { return };
    match nanosleep(&pause) {
        NanosleepRelativeResult::Ok | NanosleepRelativeResult::Interrupted(_) => {}
        NanosleepRelativeResult::Err(_) => thread::yield_now(), // then it asks more often
    }
}

impl Drop for FileLock {
    /// Unlocks in the process that locked, even while a fork still has the handle open; a fork only closes its
    /// handle, because an unlock there would take the lock from its parent.
    fn drop(&mut self) {
        if self.opener.confirm().is_ok() {
            let _ = self.file.unlock(); // closing is next, and would do it too
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::clock::ManualClock;

    /// A file that another has locked, opened once more.
    fn held() -> (File, File) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (holder, other) = (file.reopen().unwrap(), file.reopen().unwrap());
        holder.lock().unwrap();
        (holder, other)
    }

    #[test]
    fn who_waits_for_a_holder_that_was_stopped_gives_up() {
        let (_holder, file) = held();
        let clock = ManualClock::new(0);
        let pauses = RefCell::new(vec![]);
        let lock = FileLock::attempt_in_turn(file, &clock, |pause| {
            clock.advance(pause);
            pauses.borrow_mut().push(pause);
        });
        assert!(lock.unwrap().is_none());
        let waited = clock.monotonic();
        assert!((TURN_PATIENCE..TURN_PATIENCE + Duration::from_millis(10)).contains(&waited), "{waited:?}");
        let pauses = pauses.into_inner();
        assert!(pauses[0] < Duration::from_millis(1), "who gives it back soon costs little: {:?}", pauses[0]);
        assert!(pauses.len() < 1_100, "it is asked {} times", pauses.len());
    }

    #[test]
    fn who_waits_for_a_turn_has_it_as_soon_as_it_is_given_back() {
        let (holder, file) = held();
        let clock = ManualClock::new(0);
        let lock = FileLock::attempt_in_turn(file, &clock, |pause| {
            clock.advance(pause);
            if clock.monotonic() > TURN_PATIENCE / 2 {
                holder.unlock().unwrap();
            }
        });
        assert!(lock.unwrap().is_some());
        assert!(clock.monotonic() < TURN_PATIENCE);
    }

    #[test]
    fn a_turn_that_nobody_holds_is_not_waited_for() {
        let (holder, file) = held();
        holder.unlock().unwrap();
        let lock =
            FileLock::attempt_in_turn(file, &ManualClock::new(0), |_| panic!("there is nothing to wait for"));
        assert!(lock.unwrap().is_some());
    }

    #[test]
    fn a_rest_ends() {
        rest(Duration::from_nanos(1));
        rest(Duration::MAX); // which is no time at all
    }
}
