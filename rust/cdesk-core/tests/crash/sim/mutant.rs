//! A layer between the log and its disk that makes one mistake: what the log would be without one of its rules.

use std::io;
use std::path::Path;

use cdesk_core::{FileStat, LockRequest, Result, Sealed, Storage};

use super::checksum::correct_checksums;
use super::disk::ProcessId;
use super::storage::{SimFile, SimLock, SimStorage};

/// A rule of the log that is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// None: the log as it is.
    None,
    // What follows is done here, below the log.
    NoDirectorySync,
    NoSync,
    /// What failed once is tried again on the same file, and believed.
    RetrySync,
    IgnoreFailedSync,
    /// A write that took a part is taken for whole.
    IgnoreShortWrite,
    /// A writer goes on in the last segment of a dead one.
    AppendAfterTornTail,
    /// Every line has the checksum it should have.
    NoChecksum,
    /// Every writer is taken for dead.
    NoLocks,
    // What follows is done by the program that consumes.
    DeleteBeforePosition,
    DeleteBeforeCheckpoint,
    PositionBeforeCommit,
    NoDeduplication,
    // What follows is done to query tags: a reservation that failed is taken for good.
    TagsIgnoreFailedWrite,
    TagsIgnoreFailedSync,
    TagsIgnoreFailedRename,
    TagsWithoutSync,
    TagsWithoutDirectorySync,
    /// Two may reserve at the same time.
    TagsWithoutTurn,
}

impl Bug {
    pub(crate) const ALL: [Self; 18] = [
        Self::NoDirectorySync,
        Self::NoSync,
        Self::RetrySync,
        Self::IgnoreFailedSync,
        Self::IgnoreShortWrite,
        Self::AppendAfterTornTail,
        Self::NoChecksum,
        Self::NoLocks,
        Self::DeleteBeforePosition,
        Self::DeleteBeforeCheckpoint,
        Self::PositionBeforeCommit,
        Self::NoDeduplication,
        Self::TagsIgnoreFailedWrite,
        Self::TagsIgnoreFailedSync,
        Self::TagsIgnoreFailedRename,
        Self::TagsWithoutSync,
        Self::TagsWithoutDirectorySync,
        Self::TagsWithoutTurn,
    ];

    /// What it is to a process that writes or consumes.
    pub(crate) fn of_log(self) -> Self {
        match self {
            Self::TagsIgnoreFailedWrite
            | Self::TagsIgnoreFailedSync
            | Self::TagsIgnoreFailedRename
            | Self::TagsWithoutSync
            | Self::TagsWithoutDirectorySync
            | Self::TagsWithoutTurn => Self::None,
            other => other,
        }
    }

    /// What it is to a process that takes tags.
    pub(crate) fn of_tags(self) -> Self {
        match self {
            Self::TagsIgnoreFailedSync => Self::IgnoreFailedSync,
            Self::TagsWithoutSync => Self::NoSync,
            Self::TagsWithoutDirectorySync => Self::NoDirectorySync,
            Self::TagsIgnoreFailedWrite | Self::TagsIgnoreFailedRename | Self::TagsWithoutTurn => self,
            _ => Self::None,
        }
    }
}

/// The disk, with a mistake in between.
pub(crate) struct Mutant {
    disk: SimStorage,
    bug: Bug,
}

pub(crate) struct MutantFile {
    file: SimFile,
    /// What stands in it before the bytes of its new writer.
    base: u64,
}

impl Mutant {
    pub(crate) fn new(disk: SimStorage, bug: Bug) -> Self {
        Self { disk, bug }
    }

    pub(crate) fn process(&self) -> ProcessId {
        self.disk.process
    }

    /// The end of the last segment, unless it lives or was sealed.
    fn torn_tail(&self) -> Option<MutantFile> {
        let names = self.disk.list().ok()?;
        let last = names.iter().filter(|name| name.starts_with("seg-")).max()?;
        let mut bytes = vec![0; 1 << 16];
        let read = self.disk.read(last, 0, &mut bytes).ok()?;
        if bytes[..read].windows(9).any(|window| window == b"\"_sealed\"") {
            return None;
        }
        let (file, end) = self.disk.adopt(last)?;
        Some(MutantFile { file, base: u64::try_from(end).ok()? })
    }
}

impl Sealed for Mutant {}

impl Storage for Mutant {
    type File = MutantFile;
    type Lock = Option<SimLock>;

    fn create_new(&self, name: &str) -> io::Result<MutantFile> {
        if self.bug == Bug::AppendAfterTornTail
            && name.starts_with("seg-")
            && let Some(file) = self.torn_tail()
        {
            return Ok(file);
        }
        Ok(MutantFile { file: self.disk.create_new(name)?, base: 0 })
    }

    fn open(&self, name: &str) -> io::Result<MutantFile> {
        Ok(MutantFile { file: self.disk.open(name)?, base: 0 })
    }

    fn write(&self, file: &MutantFile, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let written = self.disk.write(&file.file, file.base + offset, bytes);
        match self.bug {
            Bug::IgnoreShortWrite => written.map(|_| bytes.len()),
            Bug::TagsIgnoreFailedWrite => written.or(Ok(bytes.len())),
            _ => written,
        }
    }

    fn sync_data(&self, file: &MutantFile) -> io::Result<()> {
        match self.bug {
            Bug::NoSync => Ok(()),
            Bug::RetrySync => self.disk.sync_data(&file.file).or_else(|_| self.disk.sync_data(&file.file)),
            Bug::IgnoreFailedSync => self.disk.sync_data(&file.file).or(Ok(())),
            _ => self.disk.sync_data(&file.file),
        }
    }

    fn has_name(&self, file: &MutantFile) -> io::Result<bool> {
        self.disk.has_name(&file.file)
    }

    fn truncate(&self, file: &MutantFile, bytes: u64) -> io::Result<()> {
        self.disk.truncate(&file.file, file.base + bytes)
    }

    fn read(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let read = self.disk.read(name, offset, into)?;
        if self.bug == Bug::NoChecksum && name.starts_with("seg-") {
            correct_checksums(name, offset, &mut into[..read]);
        }
        Ok(read)
    }

    fn stat(&self, name: &str) -> io::Result<FileStat> {
        self.disk.stat(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let renamed = self.disk.rename(from, to);
        if self.bug == Bug::TagsIgnoreFailedRename { Ok(()) } else { renamed }
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.disk.unlink(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        if self.bug == Bug::NoDirectorySync { Ok(()) } else { self.disk.sync_dir() }
    }

    fn lock(&self, name: &str, request: LockRequest) -> io::Result<Option<Self::Lock>> {
        if self.bug == Bug::TagsWithoutTurn && request == LockRequest::Turn {
            return Ok(Some(None));
        }
        let lock = self.disk.lock(name, request)?;
        if self.bug == Bug::NoLocks && request == LockRequest::Probe {
            return Ok(Some(lock));
        }
        Ok(lock.map(Some))
    }

    fn subdirectory(&self, name: &str) -> Result<Self> {
        Ok(Self { disk: self.disk.subdirectory(name)?, bug: self.bug })
    }

    fn path(&self) -> &Path {
        self.disk.path()
    }
}
