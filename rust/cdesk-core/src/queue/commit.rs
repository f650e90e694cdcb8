//! Makes one group durable: segments, rotation, and what happens when the disk says no.
//!
//! Only one thread at a time has the [`Committer`]; the [`Queue`](super::Queue) sees to that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::group::Group;
use super::line;
use super::segment::{Durability, SegmentName, SegmentWriter};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::storage::Storage;

/// Framed lines are handed to the device in pieces of about this size.
const WRITE_BYTES: usize = 1 << 20;
/// How many taken names are stepped over before giving up.
const MAX_TAKEN_NAMES: u32 = 1_000;

/// How a queue divides its lines into segments, and what it waits for.
#[derive(Debug, Clone, Copy)]
pub struct QueueOptions {
    max_segment_bytes: u64,
    max_segment_age: Duration,
    durability: Durability,
}

impl QueueOptions {
    /// A segment is sealed when it has this many bytes, at least 1; 50,000,000 by default.
    #[must_use]
    pub const fn max_segment_bytes(mut self, bytes: u64) -> Self {
        self.max_segment_bytes = bytes;
        self
    }

    /// A segment is sealed by the first append after this time; 60 seconds by default.
    #[must_use]
    pub const fn max_segment_age(mut self, age: Duration) -> Self {
        self.max_segment_age = age;
        self
    }

    /// What an append waits for; [`Durability::Fsync`] by default.
    #[must_use]
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// # Errors
    /// `InvalidOption`.
    pub(super) fn check(&self) -> Result<()> {
        if self.max_segment_bytes == 0 {
            let reason =
                "must be at least 1: a segment that takes no line would be followed by another, for ever";
            return Err(Error::InvalidOption { option: "max_segment_bytes", reason });
        }
        Ok(())
    }
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self {
            max_segment_bytes: 50_000_000,
            max_segment_age: Duration::from_secs(60),
            durability: Durability::Fsync,
        }
    }
}

/// Counts that are read while a commit runs.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) lines: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) segments: AtomicU64,
    pub(super) poisoned: AtomicU64,
    pub(super) failed_lines: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// The writing end: the open segment, if there is one, and how to make the next.
pub(super) struct Committer<S: Storage, C: Clock> {
    storage: Arc<S>,
    clock: C,
    options: QueueOptions,
    counters: Arc<Counters>,
    writer_id: u32,
    next_number: u32,
    /// When the last segment was named. The wall clock may step back, the order of a writer's segments may not.
    last_unix_ms: u64,
    segment: Option<SegmentWriter<S>>,
    framed: Vec<u8>,
}

impl<S: Storage, C: Clock> Committer<S, C> {
    pub(super) fn new(
        storage: Arc<S>,
        clock: C,
        options: QueueOptions,
        counters: Arc<Counters>,
        writer_id: u32,
    ) -> Self {
        Self {
            storage,
            clock,
            options,
            counters,
            writer_id,
            next_number: 0,
            last_unix_ms: 0,
            segment: None,
            framed: Vec::new(),
        }
    }

    /// Makes every line of the group durable, or says why not.
    ///
    /// After the first failure the segment is poisoned: once a sync failed, the next one may succeed although the
    /// bytes are gone. What is not durable is written again, from memory, into a new segment. A second failure is
    /// the group's; the next group starts over, which is how the log resumes when space returns.
    pub(super) fn commit(&mut self, group: &Group) -> Result<()> {
        let mut durable = 0;
        let mut result = self.write_group(group, &mut durable);
        if result.is_err() {
            self.poison();
            result = self.write_group(group, &mut durable);
        }
        if result.is_err() {
            self.poison();
        }
        Counters::add(&self.counters.commits, 1);
        if result.is_err() {
            Counters::add(&self.counters.failed_lines, group.len() - durable);
        }
        result
    }

    /// Ends the open segment. `Ok` when there is none.
    pub(super) fn roll(&mut self) -> Result<()> {
        match self.segment.take() {
            Some(segment) => segment.seal(&self.storage).inspect_err(|_| {
                self.counters.poisoned.fetch_add(1, Ordering::Relaxed);
            }),
            None => Ok(()),
        }
    }

    /// Forgets the open segment without a seal.
    fn poison(&mut self) {
        if let Some(segment) = self.segment.take() {
            self.counters.poisoned.fetch_add(1, Ordering::Relaxed);
            segment.abandon(&self.storage);
        }
    }

    /// Writes and syncs the lines from `*durable` on, and moves `*durable` along.
    fn write_group(&mut self, group: &Group, durable: &mut usize) -> Result<()> {
        while *durable < group.len() {
            let mut segment = self.take_segment()?;
            let filled = self.fill(&mut segment, group, *durable);
            let synced = filled.and_then(|lines| segment.sync(&self.storage).map(|()| lines));
            let there = synced.and_then(|lines| segment.check_name(&self.storage).map(|()| lines));
            self.segment = Some(segment);
            let lines = there?;
            *durable += lines;
            Counters::add(&self.counters.lines, lines);
        }
        Ok(())
    }

    /// Writes lines from `first` on until they are all written or the segment is full; says how many.
    fn fill(&mut self, segment: &mut SegmentWriter<S>, group: &Group, first: usize) -> Result<usize> {
        let mut lines = group.lines_from(first).peekable();
        let mut filled = 0;
        while lines.peek().is_some() && segment.bytes() < self.options.max_segment_bytes {
            let room =
                usize::try_from(self.options.max_segment_bytes - segment.bytes()).unwrap_or(usize::MAX);
            self.framed.clear();
            let mut seq = segment.lines();
            while self.framed.len() < WRITE_BYTES.min(room)
                && let Some(line) = lines.next()
            {
                let offset =
                    segment.bytes().saturating_add(u64::try_from(self.framed.len()).unwrap_or(u64::MAX));
                line::frame(line, seq, segment.binding(), offset, &mut self.framed);
                seq += 1;
                filled += 1;
            }
            segment.write(&self.storage, &self.framed, seq)?;
            Counters::add(&self.counters.bytes, self.framed.len());
        }
        self.framed.shrink_to(2 * WRITE_BYTES); // one line of a megabyte is no reason to keep two
        Ok(filled)
    }

    /// The segment the next line goes to: the open one, or a new one when that is full or old.
    fn take_segment(&mut self) -> Result<SegmentWriter<S>> {
        let now = self.clock.monotonic();
        let is_over = self.segment.as_ref().is_some_and(|segment| {
            segment.bytes() >= self.options.max_segment_bytes
                || segment.age(now) >= self.options.max_segment_age
        });
        if is_over {
            // Its lines are durable with or without the seal; a missing one only makes the reader look twice.
            let _ = self.roll();
        }
        match self.segment.take() {
            Some(segment) => Ok(segment),
            None => self.create_segment(now),
        }
    }

    fn create_segment(&mut self, now: Duration) -> Result<SegmentWriter<S>> {
        for _ in 0..MAX_TAKEN_NAMES {
            self.last_unix_ms = self.last_unix_ms.max(self.clock.unix_ms());
            let name = SegmentName::new(self.last_unix_ms, self.writer_id, self.next_number);
            self.next_number += 1;
            let created = SegmentWriter::create(&*self.storage, name, self.options.durability, now)?;
            if let Some(segment) = created {
                self.counters.segments.fetch_add(1, Ordering::Relaxed);
                return Ok(segment);
            }
        }
        Err(Error::io("create a segment in", self.storage.path(), std::io::ErrorKind::AlreadyExists.into()))
    }
}
