//! A directory of the local filesystem.
//!
//! The directory is opened once and every name is resolved relative to it, so that nobody can slide another
//! directory or a symbolic link underneath, and a process that changes its working directory goes on here.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{self, Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::lock::{self, FileLock};
use super::{FileStat, LockRequest, Storage, safety};
use crate::clock::SystemClock;
use crate::error::{Error, Result};

/// Files are for their owner alone.
pub(super) const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
/// Every file is opened like this: no links followed, not inherited by a program that is started, and a pipe in its place
/// not waited for.
const SAFE: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// The real storage: one safe, local directory.
#[derive(Debug)]
pub struct DirStorage {
    /// Absolute, so that messages stay true whatever the working directory becomes.
    path: PathBuf,
    directory: File,
}

/// A file that this process writes.
#[derive(Debug)]
pub struct DirFile(Handle);

#[derive(Debug)]
enum Handle {
    /// Created here; its writer's lock is held until it is dropped.
    Created(FileLock),
    Opened(File),
}

impl DirFile {
    fn file(&self) -> &File {
        match &self.0 {
            Handle::Created(lock) => lock.file(),
            Handle::Opened(file) => file,
        }
    }
}

impl DirStorage {
    /// Opens a directory, creating it (0700, every level, durably) when it is missing.
    ///
    /// # Errors
    /// `UnsafeDirectory` for a symbolic link, a directory that others can write to, or a network filesystem.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = absolute(path.as_ref())?;
        safety::create_durably(&path)?;
        let directory = safety::open_checked(rustix::fs::CWD, &path, &path)?;
        Ok(Self { path, directory })
    }

    /// Opens a directory if it is there, and changes nothing.
    ///
    /// # Errors
    /// As [`DirStorage::open`].
    pub fn open_existing(path: impl AsRef<Path>) -> Result<Option<Self>> {
        let path = absolute(path.as_ref())?;
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("look at", path, error)),
            Ok(_) => {
                let directory = safety::open_checked(rustix::fs::CWD, &path, &path)?;
                Ok(Some(Self { path, directory }))
            }
        }
    }

    /// Is it a regular file, by what the directory says of it? Some filesystems do not say; on those a file may go away
    /// before it is looked at.
    fn is_file(&self, name: &str, kind: FileType) -> io::Result<bool> {
        let kind = match kind {
            FileType::Unknown => match rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => return Ok(false),
                stat => FileType::from_raw_mode(stat?.st_mode),
            },
            kind => kind,
        };
        Ok(kind == FileType::RegularFile)
    }

    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        Ok(File::from(rustix::fs::openat(&self.directory, name, flags | SAFE, FILE_MODE)?))
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path::absolute(path).map_err(|error| Error::io("find", path, error))
}

impl super::sealed::Sealed for DirStorage {}

impl Storage for DirStorage {
    type File = DirFile;
    type Lock = FileLock;

    fn create_new(&self, name: &str) -> io::Result<DirFile> {
        let file = self.open_file(name, OFlags::CREATE | OFlags::EXCL | OFlags::RDWR)?;
        // A consumer may have come between: to ask whether there is a writer, for a moment unless it was stopped in it,
        // or to delete what it took for empty and left. It is not waited for.
        let taken = io::Error::from(io::ErrorKind::AlreadyExists);
        let Some(lock) = FileLock::attempt(file)? else {
            return match self.unlink(name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Err(taken),
            };
        };
        if names_of(lock.file())? == 0 {
            return Err(taken);
        }
        Ok(DirFile(Handle::Created(lock)))
    }

    fn open(&self, name: &str) -> io::Result<DirFile> {
        Ok(DirFile(Handle::Opened(self.open_file(name, OFlags::RDWR)?)))
    }

    fn write(&self, file: &DirFile, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        retry(|| file.file().write_at(bytes, offset))
    }

    fn sync_data(&self, file: &DirFile) -> io::Result<()> {
        file.file().sync_data()
    }

    fn has_name(&self, file: &DirFile) -> io::Result<bool> {
        Ok(names_of(file.file())? > 0)
    }

    fn truncate(&self, file: &DirFile, bytes: u64) -> io::Result<()> {
        file.file().set_len(bytes)
    }

    fn read(&self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let file = self.open_file(name, OFlags::RDONLY)?;
        let mut filled = 0;
        while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
            match retry(|| file.read_at(rest, at))? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    }

    fn stat(&self, name: &str) -> io::Result<FileStat> {
        let stat = rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let seconds = i128::from(stat.st_mtime);
        let modified_ms = seconds * 1_000 + i128::from(stat.st_mtime_nsec) / 1_000_000;
        Ok(FileStat {
            bytes: u64::try_from(stat.st_size).unwrap_or_default(),
            modified_unix_ms: u64::try_from(modified_ms).unwrap_or_default(), // before 1970 is long ago
        })
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.directory)? {
            let entry = entry?;
            // A name that is not UTF-8 is none of ours.
            let Ok(name) = entry.file_name().to_str() else { continue };
            if self.is_file(name, entry.file_type())? {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.directory, from, &self.directory, to)?)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.directory, name, AtFlags::empty())?)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.directory.sync_all()
    }

    fn lock(&self, name: &str, request: LockRequest) -> io::Result<Option<FileLock>> {
        match request {
            LockRequest::Lease => {
                FileLock::attempt_beside_probes(self.open_file(name, OFlags::RDWR | OFlags::CREATE)?)
            }
            LockRequest::Turn => {
                let file = self.open_file(name, OFlags::RDWR | OFlags::CREATE)?;
                FileLock::attempt_in_turn(file, &SystemClock::new(), lock::rest)
            }
            LockRequest::Probe => FileLock::attempt_shared(self.open_file(name, OFlags::RDONLY)?),
        }
    }

    fn subdirectory(&self, name: &str) -> Result<Self> {
        let path = self.path.join(name);
        safety::create_within(&self.directory, name, &path)?;
        let directory = safety::open_checked(&self.directory, Path::new(name), &path)?;
        Ok(Self { path, directory })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// How many names a file has. Its times are not asked for: where they are fine-grained, the next write after somebody saw
/// them would make new ones, and an append would take half as long again.
#[cfg(target_os = "linux")]
fn names_of(file: &File) -> io::Result<u64> {
    use rustix::fs::{StatxFlags, statx};
    Ok(statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::NLINK)?.stx_nlink.into())
}

#[cfg(not(target_os = "linux"))]
fn names_of(file: &File) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(file.metadata()?.nlink())
}

/// Again, for as long as a signal interrupts it.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_directory_does_not_say_what_a_name_is_the_file_says_and_one_that_is_gone_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let storage = DirStorage::open(directory.path()).unwrap();
        std::fs::write(directory.path().join("file"), "").unwrap();
        std::fs::create_dir(directory.path().join("directory")).unwrap();
        for (name, expected) in [("file", true), ("directory", false), ("gone", false)] {
            assert_eq!(storage.is_file(name, FileType::Unknown).unwrap(), expected, "{name}");
        }
    }
}
