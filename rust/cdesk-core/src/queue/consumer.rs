//! The reading end: batches of good lines in the order (segment, seq), and the position reached.

use std::collections::BTreeMap;
use std::path::Path;

use super::backlog::{extent, is_segment_finished, segments};
use super::position::{self, Position};
use super::quarantine::Quarantine;
use super::reader::{SegmentReader, Stopped};
use super::segment::SegmentName;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};
use crate::process::Opener;
use crate::storage::{DirStorage, LockRequest, Storage};

/// Lines to be delivered together.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The lines as they stand in the log, each with its `\n`.
    pub ndjson: Vec<u8>,
    /// How many there are.
    pub lines: usize,
    /// Where the consumer stands when this batch, and every one before it, is consumed.
    pub position: Position,
}

/// How large a batch may become; it holds one line at least.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// The most lines.
    pub max_lines: usize,
    /// The most bytes.
    pub max_bytes: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { max_lines: 10_000, max_bytes: 8 << 20 }
    }
}

/// What a consumer has done since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConsumerStats {
    /// Lines given out in batches.
    pub lines: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Batches given out.
    pub batches: u64,
    /// Segments there are now.
    pub segments: u64,
    /// Segments deleted.
    pub pruned_segments: u64,
    /// Bytes that crashes left at the ends of segments; never acknowledged.
    pub torn_bytes: u64,
    /// Lines that were written whole and cannot be read any more.
    pub damaged_lines: u64,
    /// Damaged bytes that were copied to `quarantine/`.
    pub quarantined_bytes: u64,
}

/// One named reader of the log; it holds the lease of its name.
#[derive(Debug)]
pub struct Consumer<S: Storage = DirStorage, C: Clock = SystemClock> {
    pub(super) storage: S,
    pub(super) clock: C,
    name: String,
    opener: Opener,
    pub(super) readers: BTreeMap<SegmentName, SegmentReader>,
    /// Where segments that are not in `readers` yet are begun.
    start: Position,
    /// What was committed, or taken over with `seek`.
    pub(super) committed: Position,
    pub(super) quarantine: Quarantine<S>,
    pub(super) stats: ConsumerStats,
    buffer: Vec<u8>,
    _lease: S::Lock,
}

impl Consumer {
    /// Takes the lease and stands where the consumer of that name left off, or at the oldest line.
    ///
    /// # Errors
    /// `LeaseHeld`, `UnsafeDirectory`, `InvalidName`, and what the operating system says.
    pub fn open(directory: impl AsRef<Path>, name: &str) -> Result<Self> {
        Self::with(DirStorage::open(directory)?, SystemClock::new(), name)
    }
}

impl<S: Storage, C: Clock> Consumer<S, C> {
    /// A consumer on any storage and clock.
    ///
    /// # Errors
    /// As [`Consumer::open`].
    pub fn with(storage: S, clock: C, name: &str) -> Result<Self> {
        check_name(name)?;
        let lock = format!("{name}.lock");
        let lease = storage
            .lock(&lock, LockRequest::Lease)
            .map_err(|error| Error::io("lock", storage.path_of(&lock), error))?
            .ok_or_else(|| Error::LeaseHeld { path: storage.path_of(&lock) })?;
        let committed = position::register(&storage, name)?;
        Ok(Self {
            storage,
            clock,
            name: name.to_owned(),
            opener: Opener::this_process(),
            readers: BTreeMap::new(),
            start: committed.clone(),
            committed,
            quarantine: Quarantine::new(name),
            stats: ConsumerStats::default(),
            buffer: Vec::new(),
            _lease: lease,
        })
    }

    /// The next lines, `None` when there are none for now.
    ///
    /// Moves on without waiting for [`Consumer::commit`]: a batch that could not be delivered is kept by the
    /// caller, or read again after [`Consumer::seek`].
    ///
    /// # Errors
    /// What the operating system says; `UnsupportedFormat` for a line of a newer version.
    pub fn next_batch(&mut self, limits: BatchLimits) -> Result<Option<Batch>> {
        self.check_process()?;
        self.discover()?;
        let mut batch = Gathering { ndjson: Vec::new(), lines: 0, limits };
        let mut gone = Vec::new();
        for (&name, reader) in &mut self.readers {
            match reader.read(&self.storage, &mut self.quarantine, &mut batch, &mut self.buffer) {
                Ok(Stopped::AtEnd) => {}
                Ok(Stopped::Gone) => gone.push(name),
                Ok(Stopped::Full) => break,
                // What was gathered has been marked as consumed: give it out, and meet the error again.
                Err(_) if batch.lines > 0 => break,
                Err(error) => return Err(error),
            }
        }
        for name in gone {
            self.forget(name);
        }
        if batch.lines == 0 {
            return Ok(None);
        }
        self.stats.batches += 1;
        self.stats.lines += count(batch.lines);
        self.stats.bytes += count(batch.ndjson.len());
        Ok(Some(Batch { ndjson: batch.ndjson, lines: batch.lines, position: self.reached() }))
    }

    /// Remembers, durably, that everything up to `position` was consumed. It never moves backwards.
    ///
    /// # Errors
    /// What the operating system says; the position is as before, or already the new one.
    pub fn commit(&mut self, position: &Position) -> Result<()> {
        self.check_process()?;
        self.discover()?;
        let mut committed = self.committed.clone();
        committed.advance_to(position);
        committed.retain(|segment| self.readers.contains_key(&segment));
        position::store(&self.storage, &self.name, &committed)?;
        self.committed = committed;
        Ok(())
    }

    /// Stands at `position`: the sink knows better than the local file what it has.
    ///
    /// # Errors
    /// `ForkDetected`.
    pub fn seek(&mut self, position: &Position) -> Result<()> {
        self.check_process()?;
        self.readers.clear();
        self.start = position.clone();
        self.committed = position.clone();
        Ok(())
    }

    /// Lines appended and not committed, over all segments.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn depth(&mut self) -> Result<u64> {
        self.check_process()?;
        self.discover()?;
        let mut depth = 0_u64;
        for (&name, reader) in &self.readers {
            let lines = match reader.finished() {
                Some(finished) => finished.lines,
                None => extent(&self.storage, name)?.lines,
            };
            depth = depth.saturating_add(lines.saturating_sub(self.committed.lines(name)));
        }
        Ok(depth)
    }

    /// What this consumer has done since it was opened.
    #[must_use]
    pub fn stats(&self) -> ConsumerStats {
        ConsumerStats {
            segments: count(self.readers.len()),
            torn_bytes: self.quarantine.torn_bytes,
            damaged_lines: self.quarantine.damaged_lines,
            quarantined_bytes: self.quarantine.quarantined_bytes,
            ..self.stats
        }
    }

    /// The directory of the log.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.storage.path()
    }

    /// Learns which segments there are.
    pub(super) fn discover(&mut self) -> Result<()> {
        let names = segments(&self.storage)?;
        let gone: Vec<_> = self.readers.keys().filter(|name| !names.contains(name)).copied().collect();
        for name in gone {
            self.forget(name);
        }
        for name in names {
            if self.readers.contains_key(&name) {
                continue;
            }
            let consumed = self.start.lines(name);
            // One that was consumed to its end need not be read again.
            let finished = match consumed {
                0 => None,
                _ => is_segment_finished(&self.storage, name)?.filter(|finished| finished.lines <= consumed),
            };
            self.readers.insert(name, SegmentReader::new(name, consumed, finished));
        }
        Ok(())
    }

    pub(super) fn forget(&mut self, name: SegmentName) {
        self.readers.remove(&name);
        self.quarantine.forget(name);
    }

    pub(super) fn check_process(&self) -> Result<()> {
        self.opener.confirm()
    }

    fn reached(&self) -> Position {
        let mut position = Position::default();
        for (&name, reader) in &self.readers {
            position.set(name, reader.consumed);
        }
        position
    }
}

/// A batch that is being filled.
#[derive(Debug)]
pub(super) struct Gathering {
    pub(super) ndjson: Vec<u8>,
    pub(super) lines: usize,
    pub(super) limits: BatchLimits,
}

impl Gathering {
    /// Takes the line, or refuses because the batch is full.
    pub(super) fn push(&mut self, line: &[u8]) -> bool {
        let has_room =
            self.lines < self.limits.max_lines && self.ndjson.len() + line.len() < self.limits.max_bytes;
        if !has_room && self.lines > 0 {
            return false;
        }
        self.ndjson.extend_from_slice(line);
        self.ndjson.push(b'\n');
        self.lines += 1;
        true
    }
}

/// The name becomes part of file names.
pub(super) fn check_name(name: &str) -> Result<()> {
    let is_good = (1..=64).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
    if is_good { Ok(()) } else { Err(Error::InvalidName { noun: "consumer name" }) }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
