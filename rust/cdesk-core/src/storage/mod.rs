//! The one door to files.
//!
//! Everything above it is generic over [`Storage`], so that a simulated disk can stand in for the real one. The
//! trait says what a filesystem is trusted with, and nothing more: bytes are durable after [`Storage::sync_data`],
//! names after [`Storage::sync_dir`], a rename is atomic, and a lock goes away with the process that held it.

mod dir;
mod lock;
mod safety;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use dir::{DirFile, DirStorage};
pub use lock::FileLock;

use crate::error::{Error, Result};

/// Who waits for a turn gives up after this time: turns are held for a moment, so their holder was stopped or hangs.
pub(crate) const TURN_PATIENCE: Duration = Duration::from_secs(10);

/// How a lock is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockRequest {
    /// At once or not at all; the file is created when it is missing.
    Lease,
    /// After whoever holds it, who is waited for at most 10 seconds; the file is created when it is missing.
    Turn,
    /// Together with others who ask the same, at once or not at all, and only if the file exists: does anybody hold it?
    Probe,
}

/// What a directory knows about a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileStat {
    /// Its size.
    pub bytes: u64,
    /// When its content last changed, by the wall clock.
    pub modified_unix_ms: u64,
}

/// Only this crate's storages keep what [`Storage`] is trusted with.
#[cfg(not(feature = "simulation"))]
mod sealed {
    pub trait Sealed {}
}

/// Only this crate's storages keep what [`Storage`] is trusted with; the proofs bring disks that break on purpose.
#[cfg(feature = "simulation")]
#[expect(unreachable_pub, reason = "reached through `cdesk_core::Sealed`")]
pub mod sealed {
    /// A storage of this crate or of its proofs.
    pub trait Sealed {}
}

impl FileStat {
    /// A file of that size that last changed then.
    #[must_use]
    pub fn new(bytes: u64, modified_unix_ms: u64) -> Self {
        Self { bytes, modified_unix_ms }
    }
}

/// One directory of files. Names are plain: no separators. Sealed: what it promises is proved for this crate's own.
pub trait Storage: sealed::Sealed + Send + Sync + Sized + 'static {
    /// A file that this process writes.
    type File: Send + Sync + 'static;
    /// A lock, held for as long as the value lives.
    type Lock: Send + Sync + 'static;

    /// Creates a file that did not exist and locks it for as long as the value lives.
    ///
    /// # Errors
    /// `AlreadyExists` when it did, or when somebody else locked or removed it before it was locked: try another name.
    fn create_new(&self, name: &str) -> io::Result<Self::File>;

    /// Opens a file that exists, to overwrite bytes of it and to make them durable. Takes no lock.
    ///
    /// # Errors
    /// `NotFound` and what the device says.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Writes at an offset and says how many bytes went in, which may be fewer than given.
    ///
    /// # Errors
    /// What the device says. Bytes may have been written.
    fn write(&self, file: &Self::File, offset: u64, bytes: &[u8]) -> io::Result<usize>;

    /// Blocks until every byte written to the file is durable, and its size.
    ///
    /// # Errors
    /// What the device says. After an error nothing is known about any byte since the last success.
    fn sync_data(&self, file: &Self::File) -> io::Result<()>;

    /// Whether the file still has a name, by which others find it.
    ///
    /// # Errors
    /// What the device says.
    fn has_name(&self, file: &Self::File) -> io::Result<bool>;

    /// Cuts the file.
    ///
    /// # Errors
    /// What the device says.
    fn truncate(&self, file: &Self::File, bytes: u64) -> io::Result<()>;

    /// Reads at an offset until `into` is full or the file ends; says how many bytes came.
    ///
    /// # Errors
    /// What the device says.
    fn read(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Size and age of a file, which need not be readable.
    ///
    /// # Errors
    /// `NotFound` and what the device says.
    fn stat(&self, name: &str) -> io::Result<FileStat>;

    /// The names of the regular files, in no order.
    ///
    /// # Errors
    /// What the device says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Gives a file another name, replacing what had it.
    ///
    /// # Errors
    /// What the device says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name.
    ///
    /// # Errors
    /// What the device says.
    fn unlink(&self, name: &str) -> io::Result<()>;

    /// Blocks until every create, rename and unlink so far is durable.
    ///
    /// # Errors
    /// What the device says.
    fn sync_dir(&self) -> io::Result<()>;

    /// Takes the lock that a file stands for; `None` when another holds it, and still does after the wait for a turn.
    ///
    /// # Errors
    /// `NotFound` for a missing file that may not be created, and what the device says.
    fn lock(&self, name: &str, request: LockRequest) -> io::Result<Option<Self::Lock>>;

    /// Opens a directory inside this one, creating it durably when it is missing.
    ///
    /// # Errors
    /// `UnsafeDirectory`, and what the device says.
    fn subdirectory(&self, name: &str) -> Result<Self>;

    /// Where the directory is, for messages.
    fn path(&self) -> &Path;

    /// Where a file is, for messages.
    fn path_of(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

/// Takes a turn.
///
/// # Errors
/// `LockHeld` when another holds it for longer than is waited, and what the operating system says.
pub(crate) fn take_turn<S: Storage>(storage: &S, name: &str) -> Result<S::Lock> {
    let path = storage.path_of(name);
    match storage.lock(name, LockRequest::Turn) {
        Ok(lock) => lock.ok_or(Error::LockHeld { path }),
        Err(error) => Err(Error::io("lock", path, error)),
    }
}

/// Writes all of `bytes`, however many writes that takes.
pub(crate) fn write_all<S: Storage>(
    storage: &S,
    file: &S::File,
    offset: u64,
    bytes: &[u8],
) -> io::Result<()> {
    let mut rest = bytes;
    let mut at = offset;
    while !rest.is_empty() {
        let written = storage.write(file, at, rest)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        rest = rest.get(written..).unwrap_or_default();
        at = at.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
    }
    Ok(())
}

/// Puts `bytes` under `name` so that a crash leaves the old content or the new one, and returns when the new one
/// is durable. Gives that file.
///
/// The caller holds a lock that makes it the only one to use `temporary`.
pub(crate) fn replace_durably<S: Storage>(
    storage: &S,
    name: &str,
    temporary: &str,
    bytes: &[u8],
) -> Result<S::File> {
    let fail = |action| move |source| Error::io(action, storage.path_of(name), source);
    match storage.unlink(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail("replace")(error)),
        _ => {} // one that a crash left behind, or none
    }
    let file = storage.create_new(temporary).map_err(fail("create"))?;
    let put = || {
        write_all(storage, &file, 0, bytes).map_err(fail("write"))?;
        storage.sync_data(&file).map_err(fail("sync"))?;
        storage.rename(temporary, name).map_err(fail("replace"))
    };
    put().inspect_err(|_| {
        let _ = storage.unlink(temporary); // best effort: a full disk must not fill with what failed
    })?;
    storage.sync_dir().map_err(fail("sync the directory of"))?;
    Ok(file)
}
