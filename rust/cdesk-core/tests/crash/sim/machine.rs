//! One machine: its disk, its processes, and what goes wrong at which operation.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use super::disk::{Disk, InodeId, ProcessId};
use super::landing::Landing;

pub(crate) const EIO: i32 = 5;
pub(crate) const ENOSPC: i32 = 28;

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// With this number of errno(3).
    Errno(i32),
    /// A write takes fewer bytes than it was given; anything else succeeds.
    ShortWrite,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasts {
    Once,
    /// Until the machine is healed.
    Forever,
}

/// Operations that fail.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) at: u64,
    pub(crate) failure: Failure,
    pub(crate) lasts: Lasts,
    /// Do operations that change nothing succeed all the same?
    pub(crate) spares_reads: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CrashKind {
    /// The process that is at it dies; what it wrote is still seen.
    Kill,
    /// Everything dies, and what was not synced may go.
    PowerLoss,
}

/// An operation that does not return.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crash {
    pub(crate) at: u64,
    pub(crate) kind: CrashKind,
    /// Has the operation taken effect?
    pub(crate) is_done: bool,
}

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
    fn changes_something(&self) -> bool {
        !matches!(self, Self::Lock { .. } | Self::Read { .. })
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
    /// A file has this name now, whether or not its process was told so.
    Renamed { to: String },
    /// A caller was told that its line is durable.
    Acknowledged { id: u64 },
    /// A sink committed the line, and the position with it.
    Stored { sink: usize, id: u64 },
    /// Somebody has a query tag.
    TagGiven { process: ProcessId },
}

#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) disk: Disk,
    /// The last operation of every process that lives.
    alive: BTreeMap<ProcessId, u64>,
    /// The operation before the present one, of the same process.
    before: u64,
    processes: ProcessId,
    operations: u64,
    pub(crate) fault: Option<Fault>,
    pub(crate) crash: Option<Crash>,
    /// How many operations failed.
    pub(crate) faults_met: u64,
    pub(crate) power_losses: u64,
    /// How often one process came between two operations of another.
    pub(crate) pauses: u64,
    /// One operation in so many lets others run before it.
    pub(crate) patience: u64,
    /// `None` unless somebody wants to know.
    pub(crate) events: Option<Vec<Event>>,
    /// More zeros in a row than this are not stored: a segment of a few hundred bytes stands for a long one.
    pub(crate) max_zeros: usize,
}

impl Machine {
    pub(crate) fn new(root: PathBuf, seed: u64) -> Self {
        Self {
            disk: Disk::new(root, seed),
            alive: BTreeMap::new(),
            before: 0,
            processes: 0,
            operations: 0,
            fault: None,
            crash: None,
            faults_met: 0,
            power_losses: 0,
            pauses: 0,
            patience: 24,
            events: None,
            max_zeros: usize::MAX,
        }
    }

    pub(crate) fn start_process(&mut self) -> ProcessId {
        self.processes += 1;
        self.alive.insert(self.processes, self.operations);
        self.processes
    }

    pub(crate) fn is_alive(&self, process: ProcessId) -> bool {
        self.alive.contains_key(&process)
    }

    pub(crate) fn kill(&mut self, process: ProcessId) {
        self.alive.remove(&process);
        self.disk.locks.forget_process(process);
    }

    pub(crate) fn lose_power(&mut self) {
        self.alive.clear();
        self.disk.lose_power();
        self.power_losses += 1;
    }

    pub(crate) fn operations(&self) -> u64 {
        self.operations
    }

    /// Nothing fails or crashes any more.
    pub(crate) fn heal(&mut self) {
        (self.fault, self.crash) = (None, None);
    }

    pub(crate) fn note(&mut self, event: impl FnOnce() -> Event) {
        if let Some(events) = &mut self.events {
            events.push(event());
        }
    }

    /// Before an operation takes effect: does it fail, or the machine?
    pub(super) fn begin(&mut self, process: ProcessId, operation: &Operation) -> io::Result<Option<Failure>> {
        self.check_alive(process)?;
        self.operations += 1;
        self.before = self.alive.insert(process, self.operations).unwrap_or_default();
        self.crash_if(process, false)?;
        let now = self.operations;
        let failing = self.fault.filter(|fault| {
            let is_time = now == fault.at || (fault.lasts == Lasts::Forever && now > fault.at);
            is_time && (operation.changes_something() || !fault.spares_reads)
        });
        self.faults_met += u64::from(failing.is_some());
        Ok(failing.map(|fault| fault.failure))
    }

    /// After an operation took effect: does its process live to know?
    pub(super) fn end(&mut self, process: ProcessId) -> io::Result<()> {
        self.crash_if(process, true)?;
        self.check_alive(process)
    }

    /// What a process reads, of one file.
    pub(super) fn read(&mut self, inode: InodeId, offset: usize, into: &mut [u8]) -> usize {
        let Self { disk, alive, before, .. } = self;
        let Disk { inodes, rng, .. } = disk;
        // A call that reads may have begun right after the reader's last operation, and one that writes may go on until
        // the next of the writer, if that lives.
        let may_land = |write: &Landing| write.at > *before || alive.get(&write.process) == Some(&write.at);
        inodes[inode].read(offset, into, may_land, rng)
    }

    /// What a process writes, to one file.
    pub(super) fn write(&mut self, process: ProcessId, inode: InodeId, offset: usize, bytes: &[u8]) {
        self.disk.inodes[inode].write(self.operations, process, offset, bytes);
    }

    fn crash_if(&mut self, process: ProcessId, is_done: bool) -> io::Result<()> {
        let is_now = |crash: &Crash| crash.at == self.operations && crash.is_done == is_done;
        let Some(crash) = self.crash.filter(is_now) else { return Ok(()) };
        self.crash = None;
        self.note(|| Event::Crashed { process, kind: crash.kind });
        match crash.kind {
            CrashKind::Kill => self.kill(process),
            CrashKind::PowerLoss => self.lose_power(),
        }
        self.check_alive(process)
    }

    fn check_alive(&self, process: ProcessId) -> io::Result<()> {
        if self.is_alive(process) { Ok(()) } else { Err(io::Error::other("this process is dead")) }
    }
}
