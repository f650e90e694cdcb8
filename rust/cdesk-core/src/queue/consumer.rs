//! The reading end: batches of good lines in the order (segment, seq), and the position reached.
//!
//! A segment that cannot be read, and damage that cannot be copied aside, delay only themselves: the other segments go
//! on, and [`Consumer::troubles`] says what is wrong. The lines of such a segment come when it can be read again, after
//! those that have overtaken them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::batch::{Batch, BatchLimits, Gathering};
use super::damaged::Damaged;
use super::extent::{extent, segments};
use super::position::Position;
use super::position_file::{self, PositionFile, Progress, REGISTRY_LOCK, check_name};
use super::reader::{SegmentReader, Stopped};
use super::segment::SegmentName;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};
use crate::process::Opener;
use crate::storage::{DirStorage, LockRequest, Storage, take_turn};

/// What a consumer has done since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerStats {
    /// Lines given out in batches.
    pub lines: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Batches given out.
    pub batches: u64,
    /// Segments there were when it looked for them last.
    pub segments: u64,
    /// Segments deleted.
    pub pruned_segments: u64,
    /// Segments that wait because something about them fails; [`Consumer::troubles`] says what.
    pub troubled_segments: u64,
    /// Bytes that crashes left at the ends of segments; never acknowledged.
    pub torn_bytes: u64,
    /// Lines that were written whole and cannot be read any more.
    pub damaged_lines: u64,
    /// Damaged bytes that were found and have a copy in `damaged/`, whoever made it.
    pub copied_bytes: u64,
}

/// What keeps one segment waiting.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Trouble {
    /// The segment.
    pub segment: SegmentName,
    /// What failed when it was tried last.
    pub error: Error,
}

/// One named reader of the log; it holds the lease of its name.
#[derive(Debug)]
pub struct Consumer<S: Storage = DirStorage, C: Clock = SystemClock> {
    pub(super) storage: S,
    pub(super) clock: C,
    pub(super) name: String,
    opener: Opener,
    pub(super) readers: BTreeMap<SegmentName, SegmentReader>,
    /// Where segments that are not in `readers` yet are begun.
    start: Position,
    /// What was committed, or taken over with `seek`.
    pub(super) progress: Progress,
    pub(super) position_file: PositionFile<S>,
    pub(super) damaged: Damaged<S>,
    /// What failed for a segment when it was tried last.
    pub(super) failing: BTreeMap<SegmentName, Error>,
    /// What kept a segment from being deleted when that was tried last.
    pub(super) undeletable: BTreeMap<SegmentName, Error>,
    /// Segments that were deleted, and that power loss may bring back.
    pub(super) undurable_deletions: u64,
    pub(super) stats: ConsumerStats,
    pub(super) buffer: Vec<u8>,
    _lease: S::Lock,
}

impl Consumer {
    /// Takes the lease and stands where the consumer of that name left off, or at the oldest line. From here on no
    /// segment goes away before the consumer of that name is past it, until it is taken back with
    /// [`Consumer::unregister`].
    ///
    /// # Errors
    /// `LeaseHeld`, `LockHeld`, `UnsafeDirectory`, `InvalidName`, and what the operating system says.
    pub fn open(directory: impl AsRef<Path>, name: &str) -> Result<Self> {
        check_name(name)?; // before a directory is made for it
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
        let lock = lease_file(name);
        let lease = storage
            .lock(&lock, LockRequest::Lease)
            .map_err(|error| Error::io("lock", storage.path_of(&lock), error))?
            .ok_or_else(|| Error::LeaseHeld { path: storage.path_of(&lock) })?;
        let turn = take_turn(&storage, REGISTRY_LOCK)?; // waits until nobody registers or deletes
        let (position_file, progress) = PositionFile::open(&storage, name)?;
        drop(turn);
        Ok(Self {
            storage,
            clock,
            name: name.to_owned(),
            opener: Opener::this_process(),
            readers: BTreeMap::new(),
            start: progress.consumed.clone(),
            progress,
            position_file,
            damaged: Damaged::new(name),
            failing: BTreeMap::new(),
            undeletable: BTreeMap::new(),
            undurable_deletions: 0,
            stats: ConsumerStats::default(),
            buffer: Vec::new(),
            _lease: lease,
        })
    }

    /// The next lines, `None` when there are none for now.
    ///
    /// Moves on without waiting for [`Consumer::commit`]: a batch that could not be delivered is kept by the
    /// caller, or read again after [`Consumer::seek`]. A segment that cannot be read is passed over, and tried again by the
    /// next call.
    ///
    /// # Errors
    /// `ForkDetected`, and what the operating system says of the directory.
    pub fn next_batch(&mut self, limits: BatchLimits) -> Result<Option<Batch>> {
        self.check_process()?;
        self.discover()?;
        self.damaged.catch_up(&self.storage);
        let mut batch = Gathering::new(limits);
        let mut gone = Vec::new();
        for (&name, reader) in &mut self.readers {
            match reader.read(&self.storage, &mut self.damaged, &mut batch, &mut self.buffer) {
                Ok(Stopped::Gone) => gone.push(name),
                Ok(stopped) => {
                    self.failing.remove(&name);
                    if stopped == Stopped::Full {
                        break;
                    }
                }
                Err(error) => {
                    self.failing.insert(name, error);
                }
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

    /// Remembers, durably, that everything up to `position` was consumed, and that nobody needs it again: other consumers may
    /// delete it. It never moves backwards.
    ///
    /// # Errors
    /// What the operating system says; the position is as before, already the new one, or, on a full disk with more
    /// segments than the file of the position has room for, right about the oldest of them alone: prune them, and commit
    /// again.
    pub fn commit(&mut self, position: &Position) -> Result<()> {
        self.commit_ahead(position, position)
    }

    /// The same for a sink that may fall back, to a checkpoint for example: everything up to `position` was consumed, and as
    /// much of it as `safe` says is there whatever happens. Other consumers delete nothing beyond that. Neither moves
    /// backwards.
    ///
    /// # Errors
    /// As [`Consumer::commit`].
    pub fn commit_ahead(&mut self, position: &Position, safe: &Position) -> Result<()> {
        self.check_process()?;
        self.discover()?;
        let mut progress = self.progress.clone();
        progress.advance_to(position, safe);
        progress.retain(|segment| self.readers.contains_key(&segment));
        self.position_file.store(&self.storage, &progress)?;
        self.progress = progress;
        Ok(())
    }

    /// Stands at `position`: the sink knows better than the local file what it has. Where that is backwards it is durable, so
    /// that no other consumer deletes what is to come again; forwards it is with the next commit.
    /// Waits while another consumer registers or deletes.
    ///
    /// # Errors
    /// `LockHeld`, `ForkDetected`, and what the operating system says; it stands where it stood.
    pub fn seek(&mut self, position: &Position) -> Result<()> {
        self.check_process()?;
        let turn = take_turn(&self.storage, REGISTRY_LOCK)?; // whoever deletes meanwhile goes by where this consumer was
        self.position_file.fall_back_to(&self.storage, position)?;
        drop(turn);
        for (&name, reader) in &mut self.readers {
            *reader = SegmentReader::new(name, position.lines(name));
        }
        self.failing.clear();
        self.start = position.clone();
        self.progress.consumed = position.clone();
        self.progress.safe.fall_back_to(position);
        Ok(())
    }

    /// Lines appended and not committed, over all segments that can be read.
    ///
    /// # Errors
    /// `ForkDetected`, and what the operating system says of the directory.
    pub fn depth(&mut self) -> Result<u64> {
        self.check_process()?;
        self.discover()?;
        let mut depth = 0_u64;
        for (&name, reader) in &self.readers {
            let lines = match reader.finished() {
                Some(finished) => finished.lines,
                None => match extent(&self.storage, name) {
                    Ok(extent) => extent.lines,
                    Err(error) => {
                        self.failing.insert(name, error);
                        continue;
                    }
                },
            };
            depth = depth.saturating_add(lines.saturating_sub(self.progress.consumed.lines(name)));
        }
        Ok(depth)
    }

    /// What was committed, or taken over with [`Consumer::seek`]; with nothing else to go by, what to [prune](Consumer::prune)
    /// by.
    #[must_use]
    pub fn position(&self) -> &Position {
        &self.progress.consumed
    }

    /// Takes the registration back: nothing waits for the consumer of this name any more, and what it has not consumed may
    /// be deleted. Durable when it returns.
    ///
    /// # Errors
    /// `ForkDetected`, and what the operating system says.
    pub fn unregister(self) -> Result<()> {
        self.check_process()?;
        position_file::remove(&self.storage, &self.name)
    }

    /// What this consumer has done since it was opened.
    #[must_use]
    pub fn stats(&self) -> ConsumerStats {
        let troubled: BTreeSet<_> = self.troubled().map(|(segment, _)| segment).collect();
        ConsumerStats {
            segments: count(self.readers.len()),
            troubled_segments: count(troubled.len()),
            torn_bytes: self.damaged.torn_bytes,
            damaged_lines: self.damaged.lines,
            copied_bytes: self.damaged.copied_bytes,
            ..self.stats
        }
    }

    /// What keeps segments waiting: those that could not be read, copied from or deleted when that was tried last.
    #[must_use]
    pub fn troubles(&self) -> Vec<Trouble> {
        let troubles = self.troubled().map(|(segment, error)| Trouble { segment, error: error.clone() });
        troubles.collect()
    }

    fn troubled(&self) -> impl Iterator<Item = (SegmentName, &Error)> {
        let failing = self.failing.iter().chain(&self.undeletable);
        failing.map(|(&segment, error)| (segment, error)).chain(self.damaged.troubles())
    }

    /// The directory of the log.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.storage.path()
    }

    /// Learns which segments there are.
    pub(super) fn discover(&mut self) -> Result<()> {
        let names: BTreeSet<_> = segments(&self.storage)?.into_iter().collect();
        let gone: Vec<_> = self.readers.keys().filter(|name| !names.contains(name)).copied().collect();
        for name in gone {
            self.forget(name);
        }
        for name in names {
            self.readers.entry(name).or_insert_with(|| SegmentReader::new(name, self.start.lines(name)));
        }
        // Best effort, while there is room: a commit that finds none does what it can.
        let _ = self.position_file.reserve_segments(&self.storage, self.readers.len());
        Ok(())
    }

    pub(super) fn forget(&mut self, name: SegmentName) {
        self.readers.remove(&name);
        self.failing.remove(&name);
        self.undeletable.remove(&name);
        self.damaged.forget(name);
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

/// The file that stands for the lease of a consumer; never unlinked.
pub(super) fn lease_file(consumer: &str) -> String {
    format!("{consumer}.lock")
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
