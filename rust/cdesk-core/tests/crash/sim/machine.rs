//! One machine: its disk, its processes, and what goes wrong at which operation.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use super::disk::{Disk, InodeId, ProcessId};
use super::event::{Event, Operation};
use super::fault::{Crash, CrashKind, Failure, Fault};
use super::landing::Landing;

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
    /// Could somebody not look at a segment? Its lines come later, and those of other segments need not wait.
    pub(crate) has_hidden_lines: bool,
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
            has_hidden_lines: false,
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
        let failure = self.fault.as_mut().and_then(|fault| fault.meet(now, operation));
        self.faults_met += u64::from(failure.is_some());
        self.has_hidden_lines |= failure.is_some() && operation.segment().is_some();
        Ok(failure)
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
