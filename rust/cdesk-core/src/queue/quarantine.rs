//! Damaged bytes: copied aside, counted once, never delivered.
//!
//! A file in `quarantine/` is named after the segment and the offset its bytes were found at, so that a consumer
//! which meets the same damage again, after a restart or beside another consumer, does not copy it twice.

use std::collections::BTreeSet;
use std::ops::Range;

use super::segment::SegmentName;
use crate::error::{Error, Result};
use crate::storage::{Storage, replace_durably};

const DIRECTORY: &str = "quarantine";
/// Longer damage is copied in pieces of this size.
const PIECE_BYTES: u64 = 1 << 20;

/// One damaged stretch of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// Where it starts in the file.
    pub offset: u64,
    /// How many of its bytes are not line breaks or NULs alone; 0 for a hole in the sequence without any.
    pub bytes: u64,
    /// Lines that are missing because of it.
    pub missing_lines: u64,
}

/// What one consumer has found wrong.
#[derive(Debug)]
pub(super) struct Quarantine<S: Storage> {
    /// Whose it is: two consumers may copy the same bytes at the same time. `None` copies nothing.
    consumer: Option<String>,
    /// What was found, when nothing is copied.
    pub(super) seen: Vec<Damage>,
    directory: Option<S>,
    known: BTreeSet<(SegmentName, u64)>,
    pub(super) torn_bytes: u64,
    pub(super) damaged_lines: u64,
    pub(super) quarantined_bytes: u64,
}

impl<S: Storage> Quarantine<S> {
    pub(super) fn new(consumer: &str) -> Self {
        Self::of(Some(consumer.to_owned()))
    }

    /// One that looks, remembers what it saw, and changes nothing.
    pub(super) fn looking() -> Self {
        Self::of(None)
    }

    fn of(consumer: Option<String>) -> Self {
        Self {
            consumer,
            seen: Vec::new(),
            directory: None,
            known: BTreeSet::new(),
            torn_bytes: 0,
            damaged_lines: 0,
            quarantined_bytes: 0,
        }
    }

    /// Copies a damaged range, and counts the lines that are missing because of it.
    pub(super) fn take_damaged(
        &mut self,
        storage: &S,
        segment: SegmentName,
        range: Range<u64>,
        missing_lines: u64,
    ) -> Result<()> {
        if self.known.contains(&(segment, range.start)) {
            return Ok(());
        }
        let mut quarantined = 0;
        let mut start = range.start;
        while start < range.end {
            let piece = read_range(storage, segment, start..range.end.min(start + PIECE_BYTES))?;
            if piece.is_empty() {
                break; // the file is shorter than it was
            }
            if piece.iter().any(|byte| !matches!(byte, 0 | b'\n')) {
                self.copy(storage, segment, start, &piece)?;
                quarantined += length(&piece);
            }
            start += length(&piece);
        }
        if self.consumer.is_none() {
            self.seen.push(Damage { offset: range.start, bytes: quarantined, missing_lines });
        }
        self.known.insert((segment, range.start));
        self.damaged_lines = self.damaged_lines.saturating_add(missing_lines);
        self.quarantined_bytes += quarantined;
        Ok(())
    }

    /// Counts what a crash left at the end of a segment. Zeros were written ahead and are no loss.
    pub(super) fn count_torn(&mut self, segment: SegmentName, start: u64, torn_bytes: u64) {
        if self.known.insert((segment, start)) {
            self.torn_bytes += torn_bytes;
        }
    }

    /// Forgets a segment that is gone.
    pub(super) fn forget(&mut self, segment: SegmentName) {
        self.known.retain(|(known, _)| *known != segment);
    }

    fn copy(&mut self, storage: &S, segment: SegmentName, offset: u64, bytes: &[u8]) -> Result<()> {
        let Some(consumer) = &self.consumer else { return Ok(()) };
        let directory = match self.directory.take() {
            Some(directory) => directory,
            None => storage.subdirectory(DIRECTORY)?,
        };
        let directory = self.directory.insert(directory);
        let name = format!("seg-{}-{offset:012}.bytes", segment.short());
        if directory.stat(&name).is_ok() {
            return Ok(());
        }
        replace_durably(directory, &name, &format!("{name}.{consumer}.tmp"), bytes)
    }
}

/// How many bytes of a segment from `start` on are not NUL.
pub(super) fn count_non_nul<S: Storage>(storage: &S, segment: SegmentName, mut start: u64) -> Result<u64> {
    let mut count = 0;
    loop {
        let piece = read_range(storage, segment, start..start + PIECE_BYTES)?;
        if piece.is_empty() {
            return Ok(count);
        }
        start += length(&piece);
        count += u64::try_from(piece.iter().filter(|&&byte| byte != 0).count()).unwrap_or(u64::MAX);
    }
}

fn read_range<S: Storage>(storage: &S, segment: SegmentName, range: Range<u64>) -> Result<Vec<u8>> {
    let name = segment.to_string();
    let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
    let read = storage
        .read(&name, range.start, &mut bytes)
        .map_err(|error| Error::io_at("read", storage.path_of(&name), range.start, error))?;
    bytes.truncate(read);
    Ok(bytes)
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
