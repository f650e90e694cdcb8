//! Who holds which file.

use super::disk::{InodeId, ProcessId};

/// How a file may be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// By one.
    Alone,
    /// By any number who ask the same.
    Together,
}

/// What came of asking for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// It is held from now on, under this number.
    Taken(u64),
    /// It is held in that way by others.
    Held(Hold),
}

/// One open file of one process.
#[derive(Debug, Clone, Copy)]
struct Holder {
    inode: InodeId,
    process: ProcessId,
    lock: u64,
    hold: Hold,
}

/// All locks of a machine.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    holders: Vec<Holder>,
    given: u64,
}

impl Locks {
    /// Locks a file, which ends with [`Locks::give_back`] or with its process.
    pub(crate) fn attempt(&mut self, inode: InodeId, process: ProcessId, hold: Hold) -> Attempt {
        let other = self.holders.iter().find(|holder| holder.inode == inode);
        if let Some(other) = other.filter(|other| hold == Hold::Alone || other.hold == Hold::Alone) {
            return Attempt::Held(other.hold);
        }
        self.given += 1;
        self.holders.push(Holder { inode, process, lock: self.given, hold });
        Attempt::Taken(self.given)
    }

    pub(crate) fn give_back(&mut self, lock: u64) {
        self.holders.retain(|holder| holder.lock != lock);
    }

    /// The locks of a process go with it, however it dies.
    pub(crate) fn forget_process(&mut self, process: ProcessId) {
        self.holders.retain(|holder| holder.process != process);
    }

    pub(crate) fn forget_all(&mut self) {
        self.holders.clear();
    }
}
