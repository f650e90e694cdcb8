//! A right that one process has at a time, for as long as it lives.

use std::fs::File;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::error::{Error, Result};
use crate::storage::FileLock;

/// Who may hold the lease together?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseKind {
    /// One holder.
    Exclusive,
    /// Any number of shared holders, and no exclusive one.
    Shared,
}

/// What if somebody else holds it?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseWait {
    /// `LeaseHeld` at once.
    No,
    /// Block until it is free.
    Yes,
}

/// A lease on a file of any directory. The file is never unlinked: who locks a name that another unlinks holds
/// nothing. Dropping the lease, or the death of the process, however it dies, gives it back; of children that it forked
/// and that never started another program, the last must have died too.
#[derive(Debug)]
pub struct Lease {
    _lock: FileLock,
}

impl Lease {
    /// Takes the lease that `path` stands for. The file is created (0600) when it is missing.
    ///
    /// # Errors
    /// `LeaseHeld`, and what the operating system says: `Interrupted` when a signal came while waiting.
    pub fn acquire(path: impl AsRef<Path>, kind: LeaseKind, wait: LeaseWait) -> Result<Self> {
        let path = path.as_ref();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fail = |error| Error::io("lock", path, error);
        let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(|error| fail(error.into()))?;
        let lock = match (kind, wait) {
            (LeaseKind::Exclusive, LeaseWait::No) => FileLock::attempt(file),
            (LeaseKind::Shared, LeaseWait::No) => FileLock::attempt_shared(file),
            (LeaseKind::Exclusive, LeaseWait::Yes) => FileLock::wait_or_signal(file).map(Some),
            (LeaseKind::Shared, LeaseWait::Yes) => FileLock::wait_shared_or_signal(file).map(Some),
        };
        match lock.map_err(fail)? {
            Some(lock) => Ok(Self { _lock: lock }),
            None => Err(Error::LeaseHeld { path: path.to_owned() }),
        }
    }
}
