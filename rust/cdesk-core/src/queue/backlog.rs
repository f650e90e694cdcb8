//! How much is in the log, told from the ends of the segments, without a lease and without reading them through.

use std::io;
use std::path::Path;

use super::consumer::lease_file;
use super::extent::{extent, segments};
use super::position_file::{self, check_name};
use crate::error::{Error, Result};
use crate::storage::{DirStorage, LockRequest, Storage};

/// What waits for one consumer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backlog {
    /// Lines appended minus lines committed by the consumer, in the segments that can be read.
    pub lines: u64,
    /// Segments in the directory.
    pub segments: u64,
    /// Of those, the ones that cannot be read; [`inspect`](super::inspect()) says why.
    pub unreadable_segments: u64,
    /// Their size on disk, with the zeros written ahead, as far as it is known.
    pub bytes: u64,
    /// Does a process hold the consumer's lease now?
    pub has_consumer: bool,
}

/// Looks at a log without a lease and without changing anything. A directory that does not exist has no backlog.
///
/// # Errors
/// `UnsafeDirectory`, `InvalidName`, and what the operating system says of the directory.
pub fn backlog(directory: impl AsRef<Path>, consumer: &str) -> Result<Backlog> {
    check_name(consumer)?;
    let Some(storage) = DirStorage::open_existing(directory)? else { return Ok(Backlog::default()) };
    let progress = position_file::load(&storage, consumer).unwrap_or_default();
    let mut backlog = Backlog { has_consumer: has_consumer(&storage, consumer)?, ..Backlog::default() };
    for name in segments(&storage)? {
        backlog.segments += 1;
        let Ok(extent) = extent(&storage, name) else {
            backlog.unreadable_segments += 1;
            backlog.bytes += storage.stat(&name.to_string()).map_or(0, |stat| stat.bytes);
            continue;
        };
        let waiting = extent.lines.saturating_sub(progress.consumed.lines(name));
        backlog.lines = backlog.lines.saturating_add(waiting);
        backlog.bytes += extent.bytes;
    }
    Ok(backlog)
}

/// The names of the consumers for which segments are kept, in order. A directory that does not exist has none.
///
/// # Errors
/// `UnsafeDirectory`, and what the operating system says of the directory.
pub fn registered(directory: impl AsRef<Path>) -> Result<Vec<String>> {
    let Some(storage) = DirStorage::open_existing(directory)? else { return Ok(Vec::new()) };
    let names = storage.list().map_err(|error| Error::io("list", storage.path(), error))?;
    let consumers = names.iter().filter_map(|name| position_file::consumer_of(name));
    let mut consumers: Vec<_> = consumers.map(ToOwned::to_owned).collect();
    consumers.sort_unstable();
    Ok(consumers)
}

fn has_consumer<S: Storage>(storage: &S, consumer: &str) -> Result<bool> {
    let name = lease_file(consumer);
    match storage.lock(&name, LockRequest::Probe) {
        Ok(lock) => Ok(lock.is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("lock", storage.path_of(&name), error)),
    }
}
