//! A disk that fails at the n-th operation, once or for ever.
//!
//! A sync that fails takes the bytes since the last one with it, and the next sync succeeds, as ext4 and xfs do. A
//! write for which there is no space leaves half of itself behind.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use cdesk_core::{DirFile, DirStorage, FileLock, FileStat, LockRequest, Result, Sealed, Storage};

pub(crate) const EIO: i32 = 5;
pub(crate) const ENOSPC: i32 = 28;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasts {
    Once,
    Forever,
}

/// Which operation fails, how, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) at: u64,
    pub(crate) errno: i32,
    pub(crate) lasts: Lasts,
}

#[derive(Debug)]
pub(crate) struct Plan {
    fault: Mutex<Option<Fault>>,
    operations: AtomicU64,
}

impl Plan {
    pub(crate) fn new(fault: Option<Fault>) -> Arc<Self> {
        Arc::new(Self { fault: Mutex::new(fault), operations: AtomicU64::new(0) })
    }

    /// The disk is well again.
    pub(crate) fn heal(&self) {
        *self.fault.lock().unwrap() = None;
    }

    pub(crate) fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = Some(fault);
    }

    pub(crate) fn operations(&self) -> u64 {
        self.operations.load(Ordering::SeqCst)
    }

    fn step(&self) -> Option<io::Error> {
        let now = self.operations.fetch_add(1, Ordering::SeqCst) + 1;
        let fault = (*self.fault.lock().unwrap())?;
        let fails = now == fault.at || (fault.lasts == Lasts::Forever && now > fault.at);
        fails.then(|| io::Error::from_raw_os_error(fault.errno))
    }
}

#[derive(Debug)]
pub(crate) struct FaultyStorage {
    inner: DirStorage,
    plan: Arc<Plan>,
}

pub(crate) struct FaultyFile {
    inner: DirFile,
    unsynced: Mutex<Vec<(u64, usize)>>,
}

impl FaultyStorage {
    pub(crate) fn open(path: &Path, plan: &Arc<Plan>) -> Self {
        Self { inner: DirStorage::open(path).unwrap(), plan: Arc::clone(plan) }
    }

    fn step(&self) -> io::Result<()> {
        self.plan.step().map_or(Ok(()), Err)
    }
}

impl Sealed for FaultyStorage {}

impl Storage for FaultyStorage {
    type File = FaultyFile;
    type Lock = FileLock;

    fn create_new(&self, name: &str) -> io::Result<FaultyFile> {
        self.step()?;
        Ok(FaultyFile { inner: self.inner.create_new(name)?, unsynced: Mutex::default() })
    }

    fn open(&self, name: &str) -> io::Result<FaultyFile> {
        self.step()?;
        Ok(FaultyFile { inner: self.inner.open(name)?, unsynced: Mutex::default() })
    }

    fn write(&self, file: &FaultyFile, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        if let Some(error) = self.plan.step() {
            if error.raw_os_error() == Some(ENOSPC) && bytes.len() > 1 {
                self.inner.write(&file.inner, offset, &bytes[..bytes.len() / 2])?;
            }
            return Err(error);
        }
        let written = self.inner.write(&file.inner, offset, bytes)?;
        file.unsynced.lock().unwrap().push((offset, written));
        Ok(written)
    }

    fn sync_data(&self, file: &FaultyFile) -> io::Result<()> {
        let unsynced = std::mem::take(&mut *file.unsynced.lock().unwrap());
        if let Some(error) = self.plan.step() {
            for (offset, length) in unsynced {
                self.inner.write(&file.inner, offset, &vec![0; length])?;
            }
            return Err(error);
        }
        self.inner.sync_data(&file.inner)
    }

    fn truncate(&self, file: &FaultyFile, bytes: u64) -> io::Result<()> {
        self.step()?;
        self.inner.truncate(&file.inner, bytes)
    }

    fn read(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.step()?;
        self.inner.read(name, offset, into)
    }

    fn stat(&self, name: &str) -> io::Result<FileStat> {
        self.step()?;
        self.inner.stat(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.step()?;
        self.inner.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.step()?;
        self.inner.rename(from, to)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.step()?;
        self.inner.unlink(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.step()?;
        self.inner.sync_dir()
    }

    fn lock(&self, name: &str, request: LockRequest) -> io::Result<Option<FileLock>> {
        self.step()?;
        self.inner.lock(name, request)
    }

    fn subdirectory(&self, name: &str) -> Result<Self> {
        Ok(Self { inner: self.inner.subdirectory(name)?, plan: Arc::clone(&self.plan) })
    }

    fn path(&self) -> &Path {
        self.inner.path()
    }
}
