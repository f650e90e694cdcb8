//! How much is in the log, told from the ends of the segments, without a lease and without reading them through.

use std::io;
use std::path::Path;

use super::consumer::check_name;
use super::line::{Content, MAX_FRAMED_BYTES};
use super::position::{self, Position};
use super::reader::{Finished, has_writer};
use super::scan::{Scan, Tail};
use super::segment::SegmentName;
use crate::error::{Error, Result};
use crate::storage::{DirStorage, LockRequest, Storage};

/// What waits for one consumer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Lines appended minus lines committed by the consumer.
    pub lines: u64,
    /// Segments in the directory.
    pub segments: u64,
    /// Their size on disk, with the zeros written ahead.
    pub bytes: u64,
    /// Does a process hold the consumer's lease now?
    pub has_consumer: bool,
}

/// Looks at a log without a lease and without changing anything. A directory that does not exist has no backlog.
///
/// # Errors
/// `UnsafeDirectory`, `InvalidName`, and what the operating system says.
pub fn backlog(directory: impl AsRef<Path>, consumer: &str) -> Result<Backlog> {
    check_name(consumer)?;
    let Some(storage) = DirStorage::open_existing(directory)? else { return Ok(Backlog::default()) };
    let position = position::load(&storage, consumer).unwrap_or_default();
    let mut backlog = Backlog { has_consumer: has_consumer(&storage, consumer)?, ..Backlog::default() };
    for name in segments(&storage)? {
        let extent = extent(&storage, name)?;
        let waiting = extent.lines.saturating_sub(Position::lines(&position, name));
        backlog.lines = backlog.lines.saturating_add(waiting);
        backlog.bytes += extent.bytes;
        backlog.segments += 1;
    }
    Ok(backlog)
}

fn has_consumer<S: Storage>(storage: &S, consumer: &str) -> Result<bool> {
    let name = format!("{consumer}.lock");
    match storage.lock(&name, LockRequest::Probe) {
        Ok(lock) => Ok(lock.is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("lock", storage.path_of(&name), error)),
    }
}

/// The segments in the directory, oldest first.
pub(super) fn segments<S: Storage>(storage: &S) -> Result<Vec<SegmentName>> {
    let names = storage.list().map_err(|error| Error::io("list", storage.path(), error))?;
    let mut segments: Vec<_> = names.iter().filter_map(|name| name.parse().ok()).collect();
    segments.sort_unstable();
    Ok(segments)
}

/// How far a segment goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// Lines appended, whether or not each can still be read.
    pub(super) lines: u64,
    pub(super) bytes: u64,
    pub(super) is_sealed: bool,
}

/// Finds the last good line of a segment, from its end. A segment that is gone has none.
pub(super) fn extent<S: Storage>(storage: &S, name: SegmentName) -> Result<Extent> {
    let file_name = name.to_string();
    let found = storage.stat(&file_name).and_then(|stat| {
        let last = last_content(storage, &file_name, stat.bytes)?;
        Ok(match last {
            Some(Content::Line { seq }) => Extent { lines: seq + 1, bytes: stat.bytes, is_sealed: false },
            Some(Content::Seal { lines }) => Extent { lines, bytes: stat.bytes, is_sealed: true },
            Some(Content::Foreign { .. }) | None => Extent { bytes: stat.bytes, ..Extent::default() },
        })
    });
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Extent::default()),
        other => other.map_err(|error| Error::io("read", storage.path_of(&file_name), error)),
    }
}

/// Nothing will be added to the segment: its end, or `None` while its writer lives.
pub(super) fn is_segment_finished<S: Storage>(storage: &S, name: SegmentName) -> Result<Option<Finished>> {
    let file_name = name.to_string();
    let has_writer = match has_writer(storage, &file_name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| Error::io("lock", storage.path_of(&file_name), error))?,
    };
    let extent = extent(storage, name)?;
    let is_finished = extent.is_sealed || (!has_writer && extent.lines > 0);
    Ok(is_finished.then_some(Finished { lines: extent.lines, is_sealed: extent.is_sealed }))
}

fn last_content<S: Storage>(storage: &S, name: &str, bytes: u64) -> io::Result<Option<Content>> {
    /// What a short look back takes: a few lines.
    const SHORT_BYTES: u64 = 8 << 10;
    /// Any line fits in, wherever it begins in the half of it.
    const LONG_BYTES: u64 = 4 << 20;
    const _: () = assert!(MAX_FRAMED_BYTES < 2 << 20);
    let mut end = skip_nuls_back(storage, name, bytes)?;
    let mut step = SHORT_BYTES;
    let mut buffer = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(step);
        buffer.resize(usize::try_from(end - start).unwrap_or(0), 0);
        let read = storage.read(name, start, &mut buffer)?;
        let window = buffer.get(..read).unwrap_or_default();
        if let Some(found) = Scan::new(window, Tail::End).last() {
            return Ok(Some(found.content));
        }
        if start == 0 {
            break;
        }
        if step == SHORT_BYTES {
            step = LONG_BYTES;
        } else {
            end -= LONG_BYTES / 2;
        }
    }
    Ok(None)
}

/// Where the zeros at the end of the file begin.
fn skip_nuls_back<S: Storage>(storage: &S, name: &str, bytes: u64) -> io::Result<u64> {
    const PIECE_BYTES: u64 = 64 << 10;
    let mut buffer = Vec::new();
    let mut end = bytes;
    while end > 0 {
        let start = end.saturating_sub(PIECE_BYTES);
        buffer.resize(usize::try_from(end - start).unwrap_or(0), 0);
        let read = storage.read(name, start, &mut buffer)?;
        let piece = buffer.get(..read).unwrap_or_default();
        if let Some(last) = piece.iter().rposition(|&byte| byte != 0) {
            return Ok(start + u64::try_from(last + 1).unwrap_or(u64::MAX));
        }
        end = start;
    }
    Ok(0)
}
