//! Which directories the log refuses, and how it creates one.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// Creates a directory and every missing level above it, 0700, and makes every level durable in the one above, up to the
/// root of its filesystem.
///
/// Without these syncs, power loss could take the whole log away with the name of a directory. Those that were there
/// are no exception: who made them may have died before their names were durable. A level above that this user can neither
/// read nor write to is left to whoever made it.
pub(super) fn create_durably(path: &Path) -> Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    let is_there = match path.symlink_metadata() {
        Ok(metadata) if parent.metadata().is_ok_and(|parent| parent.dev() != metadata.dev()) => {
            return Ok(()); // who mounted it answers for its name
        }
        Ok(metadata) => {
            if metadata.is_symlink()
                && let Ok(target) = path.canonicalize()
            {
                create_durably(&target)?; // it is there; its levels are not those of the link
            }
            true
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(Error::io("look at", path, error)),
    };
    create_durably(parent)?;
    if !is_there {
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {} // another process was first
            Err(error) => return Err(Error::io("create the directory", path, error)),
        }
    }
    match File::open(parent).and_then(|parent| parent.sync_all()) {
        // Whoever may not write to the parent, or to its filesystem, has made nothing in it.
        Err(error) if is_there && cannot_create_in(parent, &error) => Ok(()),
        outcome => outcome.map_err(|error| Error::io("sync the directory", parent, error)),
    }
}

/// A directory that may be written and not read takes names that cannot be made durable.
fn cannot_create_in(directory: &Path, error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem};
    match error.kind() {
        PermissionDenied => {
            rustix::fs::accessat(rustix::fs::CWD, directory, Access::WRITE_OK, AtFlags::EACCESS).is_err()
        }
        kind => matches!(kind, ReadOnlyFilesystem | InvalidInput),
    }
}

/// Creates a directory inside an open one, 0700, and makes its name durable.
pub(super) fn create_within(parent: &File, name: &str, shown: &Path) -> Result<()> {
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(Error::io("create the directory", shown, error.into())),
    }
    parent.sync_all().map_err(|error| Error::io("sync the directory of", shown, error))
}

/// Opens the directory itself, not what a link points to, and refuses one that is not safe. `path` is relative to
/// `parent`, `shown` is for messages.
pub(super) fn open_checked(parent: impl AsFd, path: &Path, shown: &Path) -> Result<File> {
    let refuse = |reason: String| Error::UnsafeDirectory { path: shown.to_owned(), reason };
    let found = rustix::fs::statat(&parent, path, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| Error::io("look at", shown, error.into()))?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => {}
        FileType::Symlink => {
            return Err(refuse("it is a symbolic link; name the directory that it points to".into()));
        }
        _ => return Err(refuse("it is not a directory; name a folder".into())),
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    let directory = rustix::fs::openat(&parent, path, flags, Mode::empty())
        .map_err(|error| Error::io("open the directory", shown, error.into()))?;
    let stat = rustix::fs::fstat(&directory).map_err(|error| Error::io("look at", shown, error.into()))?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    if mode.intersects(Mode::WGRP | Mode::WOTH) {
        let bits = mode.bits() & 0o777;
        return Err(refuse(format!("others can write to it (mode {bits:04o}); chmod go-w it")));
    }
    let user = rustix::process::geteuid();
    if !user.is_root() && stat.st_uid != user.as_raw() && stat.st_uid != 0 {
        return Err(refuse(format!(
            "it belongs to user {}, this process runs as {}; use a directory of its own",
            stat.st_uid,
            user.as_raw()
        )));
    }
    if let Some(filesystem) = network_filesystem(directory.as_fd())
        .map_err(|error| Error::io("look at the filesystem of", shown, error))?
    {
        return Err(refuse(format!(
            "it is on a network filesystem ({filesystem}), where a sync and a lock promise nothing; use a local disk"
        )));
    }
    Ok(File::from(directory))
}

/// The name of the network filesystem, `None` for a local one.
#[cfg(target_os = "linux")]
fn network_filesystem(directory: impl AsFd) -> io::Result<Option<&'static str>> {
    /// `f_type` of statfs(2).
    const NETWORK: [(u64, &str); 14] = [
        (0x0000_6969, "nfs"),
        (0x0000_517b, "smb"),
        (0xff53_4d42, "cifs"),
        (0xfe53_4d42, "smb2"),
        (0x0102_1997, "9p"),
        (0x6573_5546, "fuse"), // sshfs and the like; a local one cannot be told from them
        (0x00c3_6400, "ceph"),
        (0x5346_414f, "afs"),
        (0x6b41_4653, "afs"),
        (0x7375_7245, "coda"),
        (0x0000_564c, "ncp"),
        (0x0bd0_0bd0, "lustre"),
        (0x4750_4653, "gpfs"),
        (0x786f_4256, "vboxsf"),
    ];
    let stat = rustix::fs::fstatfs(directory)?;
    // The type is signed on some machines; every magic number has 32 bits.
    let Ok(kind) = u64::try_from(i128::from(stat.f_type) & 0xffff_ffff) else { return Ok(None) };
    Ok(NETWORK.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| *name))
}

/// The name of the network filesystem, `None` for a local one.
#[cfg(not(target_os = "linux"))]
fn network_filesystem(directory: impl AsFd) -> io::Result<Option<&'static str>> {
    /// `MNT_LOCAL` of statfs(2) on macOS and the BSDs.
    const LOCAL: u64 = 0x1000;
    let stat = rustix::fs::fstatfs(directory)?;
    Ok((u64::from(stat.f_flags) & LOCAL == 0).then_some("a mount that is not local"))
}
