//! Are we still the process that opened this?
//!
//! A fork gets everything its parent had and may use none of it: its locks, its tags and its segments are its parent's.
//! Asking the kernel who we are is a system call, which costs more than a tag. So a fork is told by a counter that
//! the C library moves in the child, which costs one load. A child made without the C library's `fork` moves no counter:
//! [`Opener::confirm`] asks the kernel, and stands before everything that touches the disk.

use std::process;

use forkguard::atfork::Guard;

use crate::error::{Error, Result};

/// The process that opened something.
#[derive(Debug)]
pub(crate) struct Opener {
    process_id: u32,
    /// `None` where the C library refused to tell of forks: then every check asks the kernel.
    guard: Option<Guard>,
}

impl Opener {
    pub(crate) fn this_process() -> Self {
        Self { process_id: process::id(), guard: Guard::try_new().ok() }
    }

    /// Refuses a fork, without a system call.
    pub(crate) fn check(&self) -> Result<()> {
        match self.has_forked() {
            Some(false) => Ok(()),
            Some(true) => Err(self.refusal()),
            None => self.confirm(),
        }
    }

    /// Refuses a fork, however it was made. One that was seen is a fork whatever its number: the first process of a
    /// container has number 1, and so has its child in a container within.
    pub(crate) fn confirm(&self) -> Result<()> {
        if self.has_forked() == Some(true) || self.process_id != process::id() {
            return Err(self.refusal());
        }
        Ok(())
    }

    /// `None` where nobody counts.
    fn has_forked(&self) -> Option<bool> {
        // The copy forgets what it detected: a fork is refused every time.
        self.guard.as_ref().map(|guard| guard.clone().detected_fork())
    }

    fn refusal(&self) -> Error {
        Error::ForkDetected { opened_by: self.process_id, called_by: process::id() }
    }
}
