//! Damaged bytes: copied aside, counted once, never delivered.
//!
//! A file in `damaged/` is named after the segment and the offset its bytes were found at, so that a consumer
//! which meets the same damage again, after a restart or beside another consumer, does not copy it twice.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::segment::SegmentName;
use crate::error::{Error, Result};
use crate::storage::{Storage, replace_durably};

const DIRECTORY: &str = "damaged";
/// Longer damage is copied in pieces of this size.
const PIECE_BYTES: u64 = 1 << 20;

/// One damaged stretch of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// Where it starts in the file.
    pub offset: u64,
    /// How many of its bytes are not line breaks or NULs alone; 0 for a hole in the sequence without any.
    pub bytes: u64,
    /// Lines that are missing because of it.
    pub missing_lines: u64,
}

/// What to think of a copy that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Existing {
    /// Another consumer, or this one in another life, made it.
    Trusted,
    /// It may be what a failed sync left, which the next sync says nothing about: it is made anew.
    Distrusted,
}

/// What one consumer has found wrong.
#[derive(Debug)]
pub(super) struct Damaged<S: Storage> {
    /// Whose it is: two consumers may copy the same bytes at the same time. `None` copies nothing.
    consumer: Option<String>,
    /// What was found, when nothing is copied.
    pub(super) seen: Vec<Damage>,
    directory: Option<S>,
    known: BTreeSet<(SegmentName, u64)>,
    /// What could not be copied yet, from where to where, and why. Its segment stays until it is.
    uncopied: BTreeMap<(SegmentName, u64), (u64, Error)>,
    pub(super) torn_bytes: u64,
    pub(super) lines: u64,
    pub(super) copied_bytes: u64,
}

impl<S: Storage> Damaged<S> {
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
            uncopied: BTreeMap::new(),
            torn_bytes: 0,
            lines: 0,
            copied_bytes: 0,
        }
    }

    /// Copies a damaged range, and counts the lines that are missing because of it. Where it cannot be copied, on a full
    /// disk for example, it is kept in mind: damage must not hold up the lines after it.
    pub(super) fn take(&mut self, storage: &S, segment: SegmentName, range: Range<u64>, missing_lines: u64) {
        if !self.known.insert((segment, range.start)) {
            return;
        }
        self.lines = self.lines.saturating_add(missing_lines);
        let outcome = self.copy_range(storage, segment, range.clone(), Existing::Trusted);
        if self.consumer.is_none() {
            let bytes = outcome.unwrap_or(range.end - range.start);
            self.seen.push(Damage { offset: range.start, bytes, missing_lines });
        } else {
            self.note(segment, range, outcome);
        }
    }

    /// Tries again what could not be copied before.
    pub(super) fn catch_up(&mut self, storage: &S) {
        for ((segment, start), (end, _)) in std::mem::take(&mut self.uncopied) {
            let outcome = self.copy_range(storage, segment, start..end, Existing::Distrusted);
            self.note(segment, start..end, outcome);
        }
    }

    /// What keeps damaged bytes of a segment from being copied, for each of those segments.
    pub(super) fn troubles(&self) -> impl Iterator<Item = (SegmentName, &Error)> {
        self.uncopied.iter().map(|((segment, _), (_, error))| (*segment, error))
    }

    /// Is there damage in the segment that has no copy yet?
    pub(super) fn needs(&self, segment: SegmentName) -> bool {
        self.uncopied.range((segment, 0)..=(segment, u64::MAX)).next().is_some()
    }

    fn note(&mut self, segment: SegmentName, range: Range<u64>, outcome: Result<u64>) {
        match outcome {
            Ok(bytes) => self.copied_bytes += bytes,
            Err(error) => {
                self.uncopied.insert((segment, range.start), (range.end, error));
            }
        }
    }

    /// Says how many bytes were worth a copy.
    fn copy_range(
        &mut self,
        storage: &S,
        segment: SegmentName,
        range: Range<u64>,
        existing: Existing,
    ) -> Result<u64> {
        let mut copied = 0;
        let mut start = range.start;
        while start < range.end {
            let piece = read_range(storage, segment, start..range.end.min(start + PIECE_BYTES))?;
            if piece.is_empty() {
                break; // the file is shorter than it was
            }
            if piece.iter().any(|byte| !matches!(byte, 0 | b'\n')) {
                self.copy(storage, segment, start, &piece, existing)?;
                copied += length(&piece);
            }
            start += length(&piece);
        }
        Ok(copied)
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
        self.uncopied.retain(|(known, _), _| *known != segment);
    }

    fn copy(
        &mut self,
        storage: &S,
        segment: SegmentName,
        offset: u64,
        bytes: &[u8],
        existing: Existing,
    ) -> Result<()> {
        let Some(consumer) = &self.consumer else { return Ok(()) };
        let directory = match self.directory.take() {
            Some(directory) => directory,
            None => storage.subdirectory(DIRECTORY)?,
        };
        let name = format!("seg-{}-{offset:012}.bytes", segment.short());
        let is_there = existing == Existing::Trusted
            && directory.stat(&name).is_ok_and(|stat| stat.bytes >= length(bytes));
        let copied = if is_there {
            // Whoever made it may have died, or failed, before its name was durable.
            directory
                .sync_dir()
                .map_err(|error| Error::io("sync the directory", directory.path_of(&name), error))
        } else {
            replace_durably(&directory, &name, &format!("{name}.{consumer}.tmp"), bytes).map(drop)
        };
        if copied.is_ok() {
            self.directory = Some(directory); // opened anew after a failure: somebody may have removed it
        }
        copied
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
