//! The machine's disk, as one of its processes sees it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use cdesk_core::{Clock, FileStat, LockRequest, ManualClock, Result, Sealed, Storage};

use super::disk::{Disk, InodeId, ProcessId};
use super::machine::{ENOSPC, Event, Failure, Machine, Operation};

/// Called between two operations of a process: the moment of all others.
type Meanwhile = Box<dyn Fn() + Send + Sync>;

struct Inner {
    machine: Mutex<Machine>,
    clock: Arc<ManualClock>,
    meanwhile: OnceLock<Meanwhile>,
}

/// A machine, shared by everything that runs on it.
#[derive(Clone)]
pub(crate) struct Host(Arc<Inner>);

impl Host {
    pub(crate) fn new(seed: u64, clock: Arc<ManualClock>) -> Self {
        let machine = Mutex::new(Machine::new(PathBuf::from("/sim"), seed));
        Self(Arc::new(Inner { machine, clock, meanwhile: OnceLock::new() }))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Machine> {
        self.0.machine.lock().unwrap()
    }

    /// What other processes do between two operations of one.
    pub(crate) fn interleave(&self, meanwhile: impl Fn() + Send + Sync + 'static) {
        assert!(self.0.meanwhile.set(Box::new(meanwhile)).is_ok(), "one machine has one schedule");
    }

    /// Starts a process and gives it the directory of the log.
    pub(crate) fn start(&self) -> SimStorage {
        let process = self.lock().start_process();
        self.start_in(process)
    }

    /// Gives a process the directory once more.
    pub(crate) fn start_in(&self, process: ProcessId) -> SimStorage {
        SimStorage { host: self.clone(), process, directory: 0, path: PathBuf::from("/sim") }
    }
}

/// A directory of a simulated machine, opened by one process.
pub(crate) struct SimStorage {
    host: Host,
    pub(crate) process: ProcessId,
    directory: usize,
    path: PathBuf,
}

/// A lock, gone when it is dropped or its process dies.
pub(crate) struct SimLock {
    host: Host,
    inode: InodeId,
    lock: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.host.lock().disk.unlock(self.inode, self.lock);
    }
}

/// A file and the lock of its writer.
pub(crate) struct SimFile {
    pub(crate) inode: InodeId,
    /// `None` for one that was opened, not created.
    _lock: Option<SimLock>,
}

impl SimStorage {
    /// One operation: others may run before it, it may fail, and it may be the last.
    fn operate<T>(
        &self,
        operation: Operation,
        effect: impl FnOnce(&mut Disk, Option<Failure>) -> io::Result<T>,
    ) -> io::Result<T> {
        if let Some(meanwhile) = self.host.0.meanwhile.get() {
            meanwhile();
        }
        let mut machine = self.host.lock();
        let failure = machine.begin(self.process, &operation)?;
        let result = effect(&mut machine.disk, failure);
        let process = self.process;
        machine.note(|| match &result {
            Ok(_) => Event::Done { process, operation },
            Err(_) => Event::Failed { process, operation },
        });
        machine.end(self.process)?;
        result
    }

    /// An operation that has no effect when it fails.
    fn operate_or_fail<T>(
        &self,
        operation: Operation,
        effect: impl FnOnce(&mut Disk) -> io::Result<T>,
    ) -> io::Result<T> {
        self.operate(operation, |disk, failure| {
            errno(failure)?;
            effect(disk)
        })
    }

    /// An operation that may have taken effect although it failed.
    fn operate_perhaps<T>(
        &self,
        operation: Operation,
        effect: impl FnOnce(&mut Disk) -> io::Result<T>,
    ) -> io::Result<T> {
        self.operate(operation, |disk, failure| {
            if errno(failure).is_ok() || disk.rng.one_in(4) {
                let done = effect(disk)?;
                return errno(failure).map(|()| done);
            }
            errno(failure).and_then(|()| Err(io::ErrorKind::Other.into()))
        })
    }

    fn held(&self, inode: InodeId, lock: u64) -> SimLock {
        SimLock { host: self.host.clone(), inode, lock }
    }

    /// Opens a file that another process created, and locks it: no honest writer does that.
    pub(crate) fn adopt(&self, name: &str) -> Option<(SimFile, usize)> {
        let mut machine = self.host.lock();
        let inode = machine.disk.directories[self.directory].find(name)?;
        let lock = machine.disk.lock(inode, self.process)?;
        let end = machine.disk.inodes[inode].bytes().iter().rposition(|&byte| byte != 0)? + 1;
        drop(machine);
        Some((SimFile { inode, _lock: Some(self.held(inode, lock)) }, end))
    }
}

fn errno(failure: Option<Failure>) -> io::Result<()> {
    match failure {
        Some(Failure::Errno(errno)) => Err(io::Error::from_raw_os_error(errno)),
        Some(Failure::ShortWrite) | None => Ok(()),
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

/// The ids of lines that begin in these bytes.
fn ids_in(bytes: &[u8]) -> Vec<u64> {
    let lines = bytes.split(|&byte| byte == b'\n').filter_map(|line| line.strip_prefix(b"{\"id\":"));
    let digits = lines.filter_map(|line| line.split(|&byte| byte == b',').next());
    digits.filter_map(|digits| std::str::from_utf8(digits).ok()?.parse().ok()).collect()
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

impl Sealed for SimStorage {}

impl Storage for SimStorage {
    type File = SimFile;
    type Lock = SimLock;

    fn create_new(&self, name: &str) -> io::Result<SimFile> {
        let operation = Operation::Create { name: name.to_owned() };
        let now = self.host.0.clock.unix_ms();
        let inode = self.operate_perhaps(operation, |disk| {
            if disk.directories[self.directory].find(name).is_some() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Ok(disk.create(self.directory, name, now))
        })?;
        self.host.lock().note(|| Event::Created { name: name.to_owned(), inode });
        // A consumer may come between the creation and the lock, and delete the file.
        let lock = self.operate(Operation::Lock { name: name.to_owned() }, |disk, _| {
            let is_there = disk.directories[self.directory].find(name) == Some(inode);
            let lock = if is_there { disk.lock(inode, self.process) } else { None };
            lock.ok_or_else(|| io::ErrorKind::AlreadyExists.into())
        })?;
        Ok(SimFile { inode, _lock: Some(self.held(inode, lock)) })
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        self.operate_or_fail(Operation::Read { name: name.to_owned() }, |disk| {
            let inode = disk.directories[self.directory].find(name).ok_or_else(missing)?;
            Ok(SimFile { inode, _lock: None })
        })
    }

    fn write(&self, file: &SimFile, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let now = self.host.0.clock.unix_ms();
        let machine = self.host.lock();
        let max_zeros = machine.max_zeros;
        let ids = if machine.events.is_some() { ids_in(bytes) } else { Vec::new() };
        drop(machine);
        let operation = Operation::Write { inode: file.inode, offset, bytes: bytes.len(), ids };
        self.operate(operation, |disk, failure| {
            let is_short = disk.rng.one_in(16) || failure == Some(Failure::ShortWrite);
            let taken = match failure {
                Some(Failure::Errno(ENOSPC)) => bytes.len() / 2,
                Some(Failure::Errno(_)) => disk.rng.pick([0, 0, 0, bytes.len() / 2, bytes.len()]),
                _ if is_short => disk.rng.index(bytes.len()) + 1,
                _ => bytes.len(),
            };
            // A line has no NUL.
            let is_zeros = bytes.len() > max_zeros && bytes.first() == Some(&0);
            let stored = if is_zeros { taken.min(max_zeros) } else { taken };
            let inode = &mut disk.inodes[file.inode];
            if stored > 0 {
                inode.write(place(offset), &bytes[..stored]);
                inode.modified_unix_ms = now;
            }
            errno(failure)?;
            Ok(if is_zeros { bytes.len() } else { taken })
        })
    }

    fn sync_data(&self, file: &SimFile) -> io::Result<()> {
        self.operate(Operation::Sync { inode: file.inode }, |disk, failure| {
            let Disk { inodes, rng, .. } = disk;
            match errno(failure) {
                Ok(()) => inodes[file.inode].sync(),
                Err(_) => inodes[file.inode].fail_sync(rng),
            }
            errno(failure)
        })
    }

    fn truncate(&self, file: &SimFile, bytes: u64) -> io::Result<()> {
        self.operate_perhaps(Operation::Truncate { inode: file.inode }, |disk| {
            disk.inodes[file.inode].truncate(place(bytes));
            Ok(())
        })
    }

    fn read(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.operate_or_fail(Operation::Read { name: name.to_owned() }, |disk| {
            let inode = disk.directories[self.directory].find(name).ok_or_else(missing)?;
            let bytes = disk.inodes[inode].bytes();
            let bytes = bytes.get(place(offset)..).unwrap_or_default();
            let read = bytes.len().min(into.len());
            into[..read].copy_from_slice(&bytes[..read]);
            Ok(read)
        })
    }

    fn stat(&self, name: &str) -> io::Result<FileStat> {
        self.operate_or_fail(Operation::Read { name: name.to_owned() }, |disk| {
            let inode = disk.directories[self.directory].find(name).ok_or_else(missing)?;
            let inode = &disk.inodes[inode];
            let bytes = u64::try_from(inode.bytes().len()).unwrap();
            Ok(FileStat::new(bytes, inode.modified_unix_ms))
        })
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.operate_or_fail(Operation::Read { name: String::new() }, |disk| {
            Ok(disk.directories[self.directory].names().cloned().collect())
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut is_renamed = false;
        let result = self.operate_perhaps(Operation::Rename { to: to.to_owned() }, |disk| {
            let directory = &mut disk.directories[self.directory];
            let inode = directory.find(from).ok_or_else(missing)?;
            directory.rename(from, to, inode);
            is_renamed = true;
            Ok(())
        });
        if is_renamed {
            self.host.lock().note(|| Event::Renamed { to: to.to_owned() });
        }
        result
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.operate_perhaps(Operation::Unlink { name: name.to_owned() }, |disk| {
            let directory = &mut disk.directories[self.directory];
            directory.find(name).ok_or_else(missing)?;
            directory.unlink(name);
            Ok(())
        })
    }

    fn sync_dir(&self) -> io::Result<()> {
        // Unlike a file's, a directory's changes are kept in the order of a journal: what failed may still come.
        self.operate_or_fail(Operation::SyncDirectory, |disk| {
            disk.directories[self.directory].sync();
            Ok(())
        })
    }

    fn lock(&self, name: &str, request: LockRequest) -> io::Result<Option<SimLock>> {
        let now = self.host.0.clock.unix_ms();
        let lock = self.operate_or_fail(Operation::Lock { name: name.to_owned() }, |disk| {
            let known = disk.directories[self.directory].find(name);
            let inode = match request {
                LockRequest::Probe => known.ok_or_else(missing)?,
                _ => known.unwrap_or_else(|| disk.create(self.directory, name, now)),
            };
            if request == LockRequest::Turn && disk.is_locked(inode) {
                return Err(io::ErrorKind::Deadlock.into()); // nobody else runs who could give it back
            }
            Ok(disk.lock(inode, self.process).map(|lock| (inode, lock)))
        })?;
        Ok(lock.map(|(inode, lock)| self.held(inode, lock)))
    }

    fn subdirectory(&self, name: &str) -> Result<Self> {
        let path = self.path.join(name);
        let opened = self.operate_or_fail(Operation::Read { name: name.to_owned() }, |disk| {
            Ok(disk.directory(path.clone()))
        });
        let directory = opened.map_err(|source| cdesk_core::Error::Io {
            action: "open the directory",
            path: path.clone(),
            offset: None,
            source: Arc::new(source),
        })?;
        Ok(Self { host: self.host.clone(), process: self.process, directory, path })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}
