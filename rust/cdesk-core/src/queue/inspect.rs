//! Looks at a log without a lease and without changing anything, for people and their tools.
//!
//! It judges lines, damage and torn tails exactly as a consumer does, because the same reader does it; it only copies
//! nothing to copy aside and remembers no position.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::batch::{BatchLimits, Gathering};
use super::damaged::{Damage, Damaged};
use super::extent::{Growth, extent, growth, segments};
use super::reader::{SegmentReader, Stopped};
use super::segment::SegmentName;
use crate::error::{Error, Result};
use crate::storage::{DirStorage, Storage};

/// What may still happen to a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SegmentState {
    /// Its writer lives and may append.
    Open,
    /// Its writer finished it.
    Sealed,
    /// Its writer died, or left it after an error; nothing will be appended.
    Abandoned,
    /// It cannot be read; [`SegmentView::error`] says why.
    Unreadable,
}

/// What was found in a segment, as far as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Findings {
    /// Good lines.
    pub lines: u64,
    /// Their bytes, with what the log adds.
    pub line_bytes: u64,
    /// Bytes that a crash left at the end; they were never acknowledged.
    pub torn_bytes: u64,
    /// Lines that were written whole and cannot be read any more: the holes in the sequence.
    pub missing_lines: u64,
    /// Where, oldest first.
    pub damage: Vec<Damage>,
}

/// One segment, to be looked at.
#[derive(Debug)]
pub struct SegmentView<S: Storage = DirStorage> {
    storage: Arc<S>,
    name: SegmentName,
    bytes: u64,
    modified_unix_ms: u64,
    state: SegmentState,
    error: Option<Error>,
    reader: SegmentReader,
    damaged: Damaged<S>,
    buffer: Vec<u8>,
    is_gone: bool,
    lines: u64,
    line_bytes: u64,
}

/// The segments of a log, oldest first, without a lease and without changing anything. A directory that does not
/// exist has none; a segment that cannot be read is [`SegmentState::Unreadable`].
///
/// # Errors
/// `UnsafeDirectory`, and what the operating system says of the directory.
pub fn inspect(directory: impl AsRef<Path>) -> Result<Vec<SegmentView>> {
    DirStorage::open_existing(directory)?.map_or_else(|| Ok(Vec::new()), views)
}

/// [`inspect()`] on any storage, for the proofs.
///
/// # Errors
/// As [`inspect()`].
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub fn inspect_on<S: Storage>(storage: S) -> Result<Vec<SegmentView<S>>> {
    views(storage)
}

fn views<S: Storage>(storage: S) -> Result<Vec<SegmentView<S>>> {
    let storage = Arc::new(storage);
    let names = segments(&*storage)?;
    Ok(names.into_iter().filter_map(|name| SegmentView::open(&storage, name)).collect())
}

impl<S: Storage> SegmentView<S> {
    /// `None` when the segment is gone.
    fn open(storage: &Arc<S>, name: SegmentName) -> Option<Self> {
        let (state, error) = match look(&**storage, name) {
            Ok(state) => (state, None),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => (SegmentState::Unreadable, Some(error)),
        };
        let stat = storage.stat(&name.to_string()).ok();
        Some(Self {
            storage: Arc::clone(storage),
            name,
            bytes: stat.map_or(0, |stat| stat.bytes),
            modified_unix_ms: stat.map_or(0, |stat| stat.modified_unix_ms),
            state,
            error,
            reader: SegmentReader::new(name, 0),
            damaged: Damaged::looking(),
            buffer: Vec::new(),
            is_gone: false,
            lines: 0,
            line_bytes: 0,
        })
    }

    /// Its name, which has its age and its writer.
    #[must_use]
    pub fn name(&self) -> SegmentName {
        self.name
    }

    /// Its size on disk when it was looked at, with the zeros written ahead; 0 where that is not known.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When its content had last changed when it was looked at, by the wall clock.
    #[must_use]
    pub fn modified_unix_ms(&self) -> u64 {
        self.modified_unix_ms
    }

    /// What may still happen to it, by what was seen last.
    #[must_use]
    pub fn state(&self) -> SegmentState {
        match self.reader.finished() {
            _ if self.error.is_some() => SegmentState::Unreadable,
            Some(finished) if finished.is_sealed => SegmentState::Sealed,
            Some(_) => SegmentState::Abandoned,
            None => self.state,
        }
    }

    /// What kept it from being read when that was tried last.
    #[must_use]
    pub fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// Was it read to an end that will not move any more?
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.is_gone || self.reader.finished().is_some()
    }

    /// The next good lines, each with its `\n`; empty when there are none for now. Holds one line at least, however
    /// long.
    ///
    /// # Errors
    /// What the operating system says; `UnsupportedFormat` for a segment of another version.
    pub fn read(&mut self, limits: BatchLimits) -> Result<Vec<u8>> {
        let mut batch = Gathering::new(limits);
        if !self.is_gone {
            let stopped = self.reader.read(&*self.storage, &mut self.damaged, &mut batch, &mut self.buffer);
            match stopped {
                Ok(stopped) => (self.is_gone, self.error) = (stopped == Stopped::Gone, None),
                Err(error) => {
                    self.error = Some(error.clone());
                    // What was gathered has been passed: give it out, and meet the error again.
                    if batch.lines == 0 {
                        return Err(error);
                    }
                }
            }
        }
        self.lines += count(batch.lines);
        self.line_bytes += count(batch.ndjson.len());
        Ok(batch.ndjson)
    }

    /// Checks every line from here on to the end, as it is for now.
    ///
    /// # Errors
    /// As [`SegmentView::read`].
    pub fn check(&mut self) -> Result<()> {
        let limits = BatchLimits::NONE.max_bytes(1 << 20);
        while !self.read(limits)?.is_empty() {}
        Ok(())
    }

    /// What was found so far.
    #[must_use]
    pub fn findings(&self) -> Findings {
        Findings {
            lines: self.lines,
            line_bytes: self.line_bytes,
            torn_bytes: self.damaged.torn_bytes,
            missing_lines: self.damaged.lines,
            damage: self.damaged.seen.clone(),
        }
    }
}

fn look<S: Storage>(storage: &S, name: SegmentName) -> Result<SegmentState> {
    let file_name = name.to_string();
    let growth = growth(storage, &file_name)
        .map_err(|error| Error::io("look at", storage.path_of(&file_name), error))?;
    Ok(match growth {
        _ if extent(storage, name)?.is_sealed => SegmentState::Sealed,
        Growth::Open => SegmentState::Open,
        Growth::Over => SegmentState::Abandoned,
    })
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
