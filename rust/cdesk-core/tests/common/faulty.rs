//! A disk that fails at the n-th operation, once or for ever.
//!
//! A sync that fails takes the bytes since the last one with it, and the next sync succeeds, as ext4 and xfs do. A
//! write for which there is no space leaves half of itself behind.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

/// What others do just before an operation.
type Meanwhile = Box<dyn FnOnce() + Send>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Read,
    Stat,
    Lock,
    Sync,
}

pub(crate) struct Plan {
    fault: Mutex<Option<Fault>>,
    /// What is done to a file whose name ends like this fails.
    barred: Mutex<Option<(String, i32)>>,
    /// Another program holds the lock of that name, and never gives it back.
    held: Mutex<Option<&'static str>>,
    /// There is no room for another byte or name; what is there may be overwritten.
    is_full: AtomicBool,
    meanwhile: Mutex<Option<(Moment, &'static str, Meanwhile)>>,
    operations: AtomicU64,
}

impl Plan {
    pub(crate) fn new(fault: Option<Fault>) -> Arc<Self> {
        Arc::new(Self {
            fault: Mutex::new(fault),
            barred: Mutex::default(),
            held: Mutex::default(),
            is_full: AtomicBool::new(false),
            meanwhile: Mutex::default(),
            operations: AtomicU64::new(0),
        })
    }

    /// The disk is well again.
    pub(crate) fn heal(&self) {
        *self.fault.lock().unwrap() = None;
        *self.barred.lock().unwrap() = None;
        *self.held.lock().unwrap() = None;
        self.is_full.store(false, Ordering::SeqCst);
    }

    /// One file, or all of an ending, cannot be got at.
    pub(crate) fn bar(&self, ending: &str, errno: i32) {
        *self.barred.lock().unwrap() = Some((ending.to_owned(), errno));
    }

    /// Another program holds a lock from now on.
    pub(crate) fn hold(&self, name: &'static str) {
        *self.held.lock().unwrap() = Some(name);
    }

    /// Something that others do just before the next read of a segment.
    pub(crate) fn before_read(&self, meanwhile: impl FnOnce() + Send + 'static) {
        self.before(Moment::Read, ".ndjson", meanwhile);
    }

    /// Something that others do just before the next such operation on a file whose name ends like this.
    pub(crate) fn before(
        &self,
        moment: Moment,
        ending: &'static str,
        meanwhile: impl FnOnce() + Send + 'static,
    ) {
        *self.meanwhile.lock().unwrap() = Some((moment, ending, Box::new(meanwhile)));
    }

    fn arrive(&self, now: Moment, name: &str) {
        let is_now =
            |(moment, ending, _): &mut (Moment, &str, Meanwhile)| *moment == now && name.ends_with(*ending);
        let due = self.meanwhile.lock().unwrap().take_if(is_now);
        if let Some((_, _, meanwhile)) = due {
            meanwhile();
        }
    }

    pub(crate) fn fill(&self) {
        self.is_full.store(true, Ordering::SeqCst);
    }

    fn step_at(&self, name: &str) -> io::Result<()> {
        if let Some((ending, errno)) = &*self.barred.lock().unwrap()
            && name.ends_with(ending)
        {
            return Err(io::Error::from_raw_os_error(*errno));
        }
        self.step().map_or(Ok(()), Err)
    }

    fn check_room(&self) -> io::Result<()> {
        let is_full = self.is_full.load(Ordering::SeqCst);
        if is_full { Err(io::Error::from_raw_os_error(ENOSPC)) } else { Ok(()) }
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

pub(crate) struct FaultyStorage {
    inner: DirStorage,
    plan: Arc<Plan>,
}

pub(crate) struct FaultyFile {
    inner: DirFile,
    bytes: AtomicU64,
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
        self.plan.check_room()?;
        self.plan.step_at(name)?;
        Ok(FaultyFile { inner: self.inner.create_new(name)?, bytes: 0.into(), unsynced: Mutex::default() })
    }

    fn open(&self, name: &str) -> io::Result<FaultyFile> {
        self.plan.step_at(name)?;
        let bytes = self.inner.stat(name)?.bytes.into();
        Ok(FaultyFile { inner: self.inner.open(name)?, bytes, unsynced: Mutex::default() })
    }

    fn write(&self, file: &FaultyFile, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let end = offset + u64::try_from(bytes.len()).unwrap();
        if file.bytes.fetch_max(end, Ordering::SeqCst) < end {
            self.plan.check_room()?;
        }
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
        self.plan.arrive(Moment::Sync, "");
        let unsynced = std::mem::take(&mut *file.unsynced.lock().unwrap());
        if let Some(error) = self.plan.step() {
            for (offset, length) in unsynced {
                self.inner.write(&file.inner, offset, &vec![0; length])?;
            }
            return Err(error);
        }
        self.inner.sync_data(&file.inner)
    }

    fn has_name(&self, file: &FaultyFile) -> io::Result<bool> {
        self.inner.has_name(&file.inner)
    }

    fn truncate(&self, file: &FaultyFile, bytes: u64) -> io::Result<()> {
        self.step()?;
        self.inner.truncate(&file.inner, bytes)
    }

    fn read(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.plan.arrive(Moment::Read, name);
        self.plan.step_at(name)?;
        self.inner.read(name, offset, into)
    }

    fn stat(&self, name: &str) -> io::Result<FileStat> {
        self.plan.arrive(Moment::Stat, name);
        self.step()?;
        self.inner.stat(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.step()?;
        self.inner.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.plan.step_at(to)?;
        self.inner.rename(from, to)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.plan.step_at(name)?;
        self.inner.unlink(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.step()?;
        self.inner.sync_dir()
    }

    fn lock(&self, name: &str, request: LockRequest) -> io::Result<Option<FileLock>> {
        self.plan.arrive(Moment::Lock, name);
        self.plan.step_at(name)?;
        if *self.plan.held.lock().unwrap() == Some(name) {
            return Ok(None); // after some time, if it was to be waited for
        }
        self.inner.lock(name, request)
    }

    fn subdirectory(&self, name: &str) -> Result<Self> {
        Ok(Self { inner: self.inner.subdirectory(name)?, plan: Arc::clone(&self.plan) })
    }

    fn path(&self) -> &Path {
        self.inner.path()
    }
}
