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
        match &self.guard {
            // The copy forgets what it detected: a fork is refused every time.
            Some(guard) if !guard.clone().detected_fork() => Ok(()),
            _ => self.confirm(),
        }
    }

    /// Refuses a fork, however it was made.
    pub(crate) fn confirm(&self) -> Result<()> {
        let (opened_by, called_by) = (self.process_id, process::id());
        if opened_by == called_by { Ok(()) } else { Err(Error::ForkDetected { opened_by, called_by }) }
    }
}
