//! Which segments there are, which of them may still grow, and how far they go.

use std::io;

use super::line::{self, Binding, Content, MAX_FRAMED_BYTES};
use super::scan::{Scan, Start, Tail};
use super::segment::SegmentName;
use crate::error::{Error, Result};
use crate::storage::{LockRequest, Storage};

/// The segments in the directory, oldest first.
pub(super) fn segments<S: Storage>(storage: &S) -> Result<Vec<SegmentName>> {
    let names = storage.list().map_err(|error| Error::io("list", storage.path(), error))?;
    let mut segments: Vec<_> = names.iter().filter_map(|name| name.parse().ok()).collect();
    segments.sort_unstable();
    Ok(segments)
}

/// May a segment still grow?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    /// Its writer lives, or has only just created it.
    Open,
    /// Its writer has gone. What is read from now on is all there will ever be.
    Over,
}

/// Asks for the lock that a writer holds. A file that is empty while nobody holds it may have been created a moment ago,
/// by a writer that is about to lock it: it is asked for its size while it cannot be locked.
pub(super) fn growth<S: Storage>(storage: &S, file_name: &str) -> io::Result<Growth> {
    let Some(_lock) = storage.lock(file_name, LockRequest::Probe)? else { return Ok(Growth::Open) };
    let is_empty = storage.stat(file_name)?.bytes == 0;
    Ok(if is_empty { Growth::Open } else { Growth::Over })
}

/// How far a segment goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// Lines appended, whether or not each can still be read.
    pub(super) lines: u64,
    pub(super) bytes: u64,
    pub(super) is_sealed: bool,
}

/// A segment without one good line, whose first line claims another version, was written by that version: it is not damage,
/// and it must not be deleted as if it held nothing.
///
/// # Errors
/// `UnsupportedFormat`, and what the operating system says.
pub(super) fn refuse_foreign<S: Storage>(storage: &S, name: SegmentName) -> Result<()> {
    let file_name = name.to_string();
    let path = storage.path_of(&file_name);
    let mut bytes = vec![0; MAX_FRAMED_BYTES];
    let read = storage
        .read(&file_name, 0, &mut bytes)
        .map_err(|error| Error::io_at("read", path.clone(), 0, error))?;
    let bytes = bytes.get(..read).unwrap_or_default();
    let first = bytes.split(|byte| matches!(byte, b'\n' | 0)).next().unwrap_or_default();
    match line::foreign_version(first, Binding::of(name)) {
        Some(version) => Err(Error::UnsupportedFormat { path, offset: 0, version }),
        None => Ok(()),
    }
}

/// Finds the last good line of a segment, from its end: a count for people, by which nothing is delivered or deleted. A
/// segment that is gone has none.
///
/// # Errors
/// As [`refuse_foreign`].
pub(super) fn extent<S: Storage>(storage: &S, name: SegmentName) -> Result<Extent> {
    let file_name = name.to_string();
    let found = storage.stat(&file_name).and_then(|stat| {
        let last = last_content(storage, name, &file_name, stat.bytes)?;
        Ok(Extent {
            lines: last.map_or(0, Content::lines_after),
            bytes: stat.bytes,
            is_sealed: matches!(last, Some(Content::Seal { .. })),
        })
    });
    let extent = match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Extent::default()),
        other => other.map_err(|error| Error::io("read", storage.path_of(&file_name), error))?,
    };
    if extent.lines == 0 && !extent.is_sealed && extent.bytes > 0 {
        refuse_foreign(storage, name)?;
    }
    Ok(extent)
}

fn last_content<S: Storage>(
    storage: &S,
    name: SegmentName,
    file_name: &str,
    bytes: u64,
) -> io::Result<Option<Content>> {
    /// What a short look back takes: a few lines.
    const SHORT_BYTES: u64 = 8 << 10;
    /// Any line fits in, wherever it begins in the half of it.
    const LONG_BYTES: u64 = 4 << 20;
    const _: () = assert!(MAX_FRAMED_BYTES < 2 << 20);
    let binding = Binding::of(name);
    let mut end = skip_nuls_back(storage, file_name, bytes)?;
    let mut step = SHORT_BYTES;
    let mut buffer = Vec::new();
    while end > 0 {
        let offset = end.saturating_sub(step);
        buffer.resize(usize::try_from(end - offset).unwrap_or(0), 0);
        let read = storage.read(file_name, offset, &mut buffer)?;
        let window = buffer.get(..read).unwrap_or_default();
        let start = if offset == 0 { Start::Line } else { Start::Anywhere };
        if let Some(found) = Scan::new(binding, offset, window, start, Tail::End).last() {
            return Ok(Some(found.content));
        }
        if offset == 0 {
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
