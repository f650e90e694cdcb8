//! `flock`, which the kernel releases when its process dies, however it dies.
//!
//! Not `fcntl` locks, which a process loses when it closes *any* handle on the file; not pid files, which outlive
//! their process.

use std::fs::{File, TryLockError};
use std::{io, thread};

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

    /// Locks the file alone, after everyone before, however long they hold it: a signal does not end the wait.
    pub(crate) fn wait(file: File) -> io::Result<Self> {
        loop {
            match file.lock() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome.map(|()| Self::held(file)),
            }
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

impl Drop for FileLock {
    /// Unlocks in the process that locked, even while a fork still has the handle open; a fork only closes its
    /// handle, because an unlock there would take the lock from its parent.
    fn drop(&mut self) {
        if self.opener.confirm().is_ok() {
            let _ = self.file.unlock(); // closing is next, and would do it too
        }
    }
}
