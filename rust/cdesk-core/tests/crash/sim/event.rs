//! What processes ask of a machine, and what happened.

use super::disk::{InodeId, ProcessId};
use super::fault::CrashKind;

/// What a process asks of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    Create {
        name: String,
    },
    /// `ids` are those of the lines, if somebody wants to know what happened.
    Write {
        inode: InodeId,
        offset: u64,
        bytes: usize,
        ids: Vec<u64>,
    },
    Sync {
        inode: InodeId,
    },
    Truncate {
        inode: InodeId,
    },
    Rename {
        to: String,
    },
    Unlink {
        name: String,
    },
    SyncDirectory,
    Lock {
        name: String,
    },
    Read {
        name: String,
    },
}

impl Operation {
    pub(super) fn changes_something(&self) -> bool {
        !matches!(self, Self::Lock { .. } | Self::Read { .. })
    }

    /// The segment that it only looks at.
    pub(super) fn segment(&self) -> Option<&str> {
        match self {
            Self::Lock { name } | Self::Read { name } if name.starts_with("seg-") => Some(name),
            _ => None,
        }
    }
}

/// What happened, in order; for the tests of the order itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// An operation succeeded.
    Done { process: ProcessId, operation: Operation },
    /// An operation failed.
    Failed { process: ProcessId, operation: Operation },
    /// A process died, or all did.
    Crashed { process: ProcessId, kind: CrashKind },
    /// A file was created.
    Created { process: ProcessId, name: String, inode: InodeId },
    /// A file was opened, to be overwritten.
    Opened { process: ProcessId, name: String, inode: InodeId },
    /// A file has this name now, whether or not its process was told so.
    Renamed { to: String, inode: InodeId },
    /// A caller was told that its line is durable.
    Acknowledged { id: u64 },
    /// A sink committed the line, and the position with it.
    Stored { sink: usize, id: u64 },
    /// Somebody has a query tag.
    TagGiven { process: ProcessId },
}
