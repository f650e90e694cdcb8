//! The machine's disk, as one of its processes sees it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cdesk_core::{FileStat, LockRequest, Result, Sealed, Storage};

use super::disk::{Disk, InodeId, ProcessId};
use super::event::{Event, Operation};
use super::fault::{ENOSPC, Failure};
use super::host::Host;
use super::locks::{Attempt, Hold};
use super::machine::Machine;
use super::turns::Crew;

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
    lock: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.host.lock().disk.locks.give_back(self.lock);
    }
}

/// A file and the lock of its writer.
pub(crate) struct SimFile {
    pub(crate) inode: InodeId,
    /// `None` for one that was opened, not created.
    _lock: Option<SimLock>,
}

impl SimStorage {
    pub(super) fn new(host: Host, process: ProcessId) -> Self {
        Self { host, process, directory: 0, path: PathBuf::from("/sim") }
    }

    /// One operation: others may run before it, it may fail, and it may be the last.
    fn operate<T>(
        &self,
        operation: Operation,
        effect: impl FnOnce(&mut Machine, Option<Failure>) -> io::Result<T>,
    ) -> io::Result<T> {
        self.host.let_others_run(self.process);
        let mut machine = self.host.lock();
        let failure = machine.begin(self.process, &operation)?;
        let result = effect(&mut machine, failure);
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
        self.operate(operation, |machine, failure| {
            errno(failure)?;
            effect(&mut machine.disk)
        })
    }

    /// An operation that may have taken effect although it failed.
    fn operate_perhaps<T>(
        &self,
        operation: Operation,
        effect: impl FnOnce(&mut Disk) -> io::Result<T>,
    ) -> io::Result<T> {
        self.operate(operation, |machine, failure| {
            let disk = &mut machine.disk;
            if errno(failure).is_ok() || disk.rng.one_in(4) {
                let done = effect(disk)?;
                return errno(failure).map(|()| done);
            }
            errno(failure).and_then(|()| Err(io::ErrorKind::Other.into()))
        })
    }

    fn held(&self, lock: u64) -> SimLock {
        SimLock { host: self.host.clone(), lock }
    }

    /// Sleeps until somebody else may have given back a lock.
    fn wait() -> io::Result<()> {
        if Crew::wait() { Ok(()) } else { Err(io::ErrorKind::Deadlock.into()) }
    }

    /// Opens a file that another process created, and locks it: no honest writer does that.
    pub(crate) fn adopt(&self, name: &str) -> Option<(SimFile, usize)> {
        let mut machine = self.host.lock();
        let inode = machine.disk.directories[self.directory].find(name)?;
        let Attempt::Taken(lock) = machine.disk.locks.attempt(inode, self.process, Hold::Alone) else {
            return None;
        };
        let end = machine.disk.inodes[inode].bytes().iter().rposition(|&byte| byte != 0)? + 1;
        drop(machine);
        Some((SimFile { inode, _lock: Some(self.held(lock)) }, end))
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
        let now = self.host.unix_ms();
        let inode = self.operate_perhaps(operation, |disk| {
            if disk.directories[self.directory].find(name).is_some() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Ok(disk.create(self.directory, name, now))
        })?;
        let process = self.process;
        self.host.lock().note(|| Event::Created { process, name: name.to_owned(), inode });
        // A consumer may come between the creation and the lock: to ask for the writer, or to delete the file.
        let attempt = self.operate(Operation::Lock { name: name.to_owned() }, |machine, _| {
            Ok(machine.disk.locks.attempt(inode, self.process, Hold::Alone))
        })?;
        let Attempt::Taken(lock) = attempt else {
            self.unlink(name)?;
            return Err(io::ErrorKind::AlreadyExists.into());
        };
        let lock = self.held(lock);
        let is_there = self.host.lock().disk.directories[self.directory].has(inode);
        if is_there {
            Ok(SimFile { inode, _lock: Some(lock) })
        } else {
            Err(io::ErrorKind::AlreadyExists.into())
        }
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        let inode = self.operate_or_fail(Operation::Read { name: name.to_owned() }, |disk| {
            disk.directories[self.directory].find(name).ok_or_else(missing)
        })?;
        let process = self.process;
        self.host.lock().note(|| Event::Opened { process, name: name.to_owned(), inode });
        Ok(SimFile { inode, _lock: None })
    }

    fn write(&self, file: &SimFile, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let now = self.host.unix_ms();
        let machine = self.host.lock();
        let max_zeros = machine.max_zeros;
        let ids = if machine.events.is_some() { ids_in(bytes) } else { Vec::new() };
        drop(machine);
        let operation = Operation::Write { inode: file.inode, offset, bytes: bytes.len(), ids };
        self.operate(operation, |machine, failure| {
            let disk = &mut machine.disk;
            let is_short = disk.rng.one_in(16) || failure == Some(Failure::ShortWrite);
            let taken = match failure {
                Some(Failure::Errno(ENOSPC)) => bytes.len() / 2,
                Some(Failure::Errno(_)) => disk.rng.pick([0, 0, 0, bytes.len() / 2, bytes.len()]),
                _ if is_short => disk.rng.index(bytes.len()) + 1,
                _ => bytes.len(),
            };
            // A line has no NUL.
            let is_zeros =
                disk.inodes[file.inode].is_segment && bytes.len() > max_zeros && bytes.first() == Some(&0);
            let stored = if is_zeros { taken.min(max_zeros) } else { taken };
            if stored > 0 {
                disk.inodes[file.inode].modified_unix_ms = now;
                machine.write(self.process, file.inode, place(offset), &bytes[..stored]);
            }
            errno(failure)?;
            Ok(if is_zeros { bytes.len() } else { taken })
        })
    }

    fn sync_data(&self, file: &SimFile) -> io::Result<()> {
        self.operate(Operation::Sync { inode: file.inode }, |machine, failure| {
            let Disk { inodes, rng, .. } = &mut machine.disk;
            match errno(failure) {
                Ok(()) => inodes[file.inode].sync(),
                Err(_) => inodes[file.inode].fail_sync(rng),
            }
            errno(failure)
        })
    }

    /// Nobody here deletes what has a writer.
    fn has_name(&self, _: &SimFile) -> io::Result<bool> {
        Ok(true)
    }

    fn truncate(&self, file: &SimFile, bytes: u64) -> io::Result<()> {
        self.operate_perhaps(Operation::Truncate { inode: file.inode }, |disk| {
            disk.inodes[file.inode].truncate(place(bytes));
            Ok(())
        })
    }

    fn read(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.operate(Operation::Read { name: name.to_owned() }, |machine, failure| {
            errno(failure)?;
            let inode = machine.disk.directories[self.directory].find(name).ok_or_else(missing)?;
            Ok(machine.read(inode, place(offset), into))
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
        let mut renamed = None;
        let result = self.operate_perhaps(Operation::Rename { to: to.to_owned() }, |disk| {
            let directory = &mut disk.directories[self.directory];
            let inode = directory.find(from).ok_or_else(missing)?;
            directory.rename(from, to, inode);
            disk.inodes[inode].settle();
            renamed = Some(inode);
            Ok(())
        });
        if let Some(inode) = renamed {
            self.host.lock().note(|| Event::Renamed { to: to.to_owned(), inode });
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
        // Unlike those of a file, changes of a directory outlive a sync that fails: they may still come.
        self.operate_or_fail(Operation::SyncDirectory, |disk| {
            disk.directories[self.directory].sync();
            Ok(())
        })
    }

    fn lock(&self, name: &str, request: LockRequest) -> io::Result<Option<SimLock>> {
        let now = self.host.unix_ms();
        loop {
            let attempt = self.operate_or_fail(Operation::Lock { name: name.to_owned() }, |disk| {
                let known = disk.directories[self.directory].find(name);
                let (inode, hold) = match request {
                    LockRequest::Probe => (known.ok_or_else(missing)?, Hold::Together),
                    LockRequest::Lease | LockRequest::Turn => {
                        let inode = known.unwrap_or_else(|| disk.create(self.directory, name, now));
                        (inode, Hold::Alone)
                    }
                };
                Ok(disk.locks.attempt(inode, self.process, hold))
            })?;
            match (attempt, request) {
                (Attempt::Taken(lock), _) => return Ok(Some(self.held(lock))),
                (Attempt::Held(Hold::Together), LockRequest::Lease) | (_, LockRequest::Turn) => Self::wait()?,
                _ => return Ok(None),
            }
        }
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
